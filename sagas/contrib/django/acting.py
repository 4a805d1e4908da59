"""Retry, cancel, skip and resolve in the admin: a page that asks for the reason, then acts one by one."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from sagas.contrib.django.models import Instance, InstanceQuerySet
from sagas.errors import InstanceNotFound, RowDamaged, SagaError
from sagas.handle import SagaHandle, Snapshot
from sagas.model import SagaStatus

#: Each is a transaction while the browser waits, and a form field, of which Django allows a thousand.
MOST = 500


class ReasonForm(forms.Form):
    """A form for the reason, which is kept in the saga's history and in the admin's log."""

    reason = forms.CharField(
        widget=forms.TextInput(attrs={"size": 80, "autofocus": True}),
        help_text="Kept in the saga's history, with your name, to say why.",
        error_messages={"required": "Give a reason: it is kept in the history to say why."},
    )

    def __init__(self, data: Any, instances: Sequence[Instance]) -> None:
        super().__init__(data)

    def do(self, do: Callable[..., None], instance: Instance, by: str) -> None:
        do(instance.handle, self.cleaned_data["reason"], by=by)


class StuckForm(ReasonForm):
    """A form that also asks for the step, if there are several, and for its result."""

    result = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80}),
        help_text='The result to use, if later steps or its undo need it: {"shipment_id": "4711"}',
    )

    def __init__(self, data: Any, instances: Sequence[Instance]) -> None:
        super().__init__(data, instances)
        self.instances = instances
        self.stuck = {instance.pk: waits_at(instance.handle) for instance in instances}
        several = {name: label for at in self.stuck.values() if len(at) > 1 for name, label in at.items()}
        if several:
            self.fields["step"] = forms.ChoiceField(
                choices=[("", "---------"), *several.items()],
                help_text="If a saga is stuck at several steps, answer for one of them at a time.",
                error_messages={"required": "Choose one: a saga is stuck at several steps."},
            )
            self.order_fields(self.field_order)

    def clean_result(self) -> Any:
        given = self.cleaned_data["result"]
        try:
            return json.loads(given) if given else None
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"It is not valid JSON: {error}") from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        result = cleaned.get("result")
        if not (result is None or isinstance(result, dict) or self.keeps_under_one_name(cleaned.get("step"))):
            self.add_error("result", 'It must be a JSON object, as in {"shipment_id": "4711"}.')
        return cleaned

    def keeps_under_one_name(self, step: str | None) -> bool:
        """Return whether the chosen step keeps its result under one name, and so may return anything."""
        return all(
            output_of(instance.handle, step if len(self.stuck[instance.pk]) > 1 else None) is not None
            for instance in self.instances
        )

    def do(self, do: Callable[..., None], instance: Instance, by: str) -> None:
        step = self.cleaned_data["step"] if len(self.stuck[instance.pk]) > 1 else None
        do(instance.handle, self.cleaned_data["reason"], step=step, by=by, **self.answer_arguments())

    def answer_arguments(self) -> dict[str, Any]:
        """Return further arguments for the handle's method."""
        return {"result": self.cleaned_data["result"]}


class ResolveForm(StuckForm):
    """A form that also asks what was found out about an action in doubt, or done by hand."""

    ANSWERS: ClassVar[dict[str, tuple[str, dict[str, Any]]]] = {
        "happened": ("It happened: go on; if the saga has turned back, undo it now", {"happened": True}),
        "undone": ("It happened, and was undone by hand", {"happened": True, "undo": False}),
        "not_happened": ("It did not happen: nothing of it is to be undone, turn back", {"happened": False}),
        "by_hand": ("Its compensation, which failed, was done by hand", {}),
    }

    answer = forms.ChoiceField(
        choices=[("", "---------"), *((name, text) for name, (text, _) in ANSWERS.items())],
        help_text="To try it or its compensation again, retry the saga instead.",
        error_messages={"required": "Choose what was found out, or done by hand."},
    )
    field_order = ("step", "answer", "result", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("result") is not None and cleaned.get("answer") in ("not_happened", "by_hand"):
            self.add_error("result", "Only an action that happened has a result.")
        return cleaned

    def answer_arguments(self) -> dict[str, Any]:
        _, options = self.ANSWERS[self.cleaned_data["answer"]]
        return super().answer_arguments() | options


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """An action of a person on an instance.

    Attributes:
        name: the name of the handle's method, of the permission and of the admin's action.
        past: the verb in the log.
        effect: the effect, for the page that asks.
        is_possible: says whether the page of an instance has a button for it.
    """

    name: str
    past: str
    effect: str
    do: Callable[..., None]
    form: type[ReasonForm]
    is_possible: Callable[[Snapshot], bool]

    @property
    def action(self) -> str:
        return f"{self.name}_selected"


def has_failed(seen: Snapshot) -> bool:
    """Return whether it waits for a person."""
    return seen.status is SagaStatus.FAILED


RETRY = Verb(
    name="retry",
    past="Retried",
    effect="A failed saga goes on: only what is missing runs again, with fresh limits.",
    do=SagaHandle.retry,
    form=ReasonForm,
    is_possible=has_failed,
)
CANCEL = Verb(
    name="cancel",
    past="Cancelled",
    effect="No further step begins, and what was done or is in doubt is undone.",
    do=SagaHandle.cancel,
    form=ReasonForm,
    is_possible=lambda seen: seen.can_be_cancelled,
)
SKIP = Verb(
    name="skip",
    past="Skipped",
    effect="A failed saga goes on past the point where it is stuck. You vouch for that step: it is not run again.",
    do=SagaHandle.skip,
    form=StuckForm,
    is_possible=has_failed,
)
RESOLVE = Verb(
    name="resolve",
    past="Resolved",
    effect="A failed saga goes on with what you found out about an action in doubt, or undid by hand.",
    do=SagaHandle.resolve,
    form=ResolveForm,
    is_possible=has_failed,
)
VERBS = (RETRY, CANCEL, SKIP, RESOLVE)


class InstancePages(ModelAdmin):
    """The admin's pages of instances."""

    def list_url(self) -> str:
        """Return the URL of the list, to which the buttons of a page post the list's actions."""
        return str(reverse("admin:celery_sagas_instance_changelist", current_app=self.admin_site.name))

    def page_url(self, instance_id: Any) -> str:
        """Return the URL of an instance's page."""
        return str(reverse("admin:celery_sagas_instance_change", args=[instance_id], current_app=self.admin_site.name))


def act(admin: InstancePages, request: HttpRequest, queryset: InstanceQuerySet, verb: Verb) -> HttpResponseBase | None:
    """Ask for what is missing; once it is there, act. None leads back to the list."""
    answered = "reason" in request.POST
    asked_about = request.POST.getlist(ACTION_CHECKBOX_NAME) if answered else []
    if answered:
        # Even if the list is filtered by a status that has changed since.
        queryset = admin.get_queryset(request).filter(pk__in=asked_about)
    instances = list(queryset[: MOST + 1])
    if len(instances) > MOST:
        admin.message_user(request, f"Select at most {MOST} at a time. Nothing was changed.", messages.ERROR)
        return None
    form = verb.form(request.POST if answered else None, instances)
    if not (answered and form.is_valid()):
        return _ask(admin, request, verb, instances, form)
    for gone in set(asked_about) - {str(instance.pk) for instance in instances}:
        admin.message_user(request, f"There is no saga instance {gone} any more.", messages.WARNING)
    done = [instance for instance in instances if _did(admin, request, verb, instance, form)]
    if done:
        admin.message_user(request, f"{verb.past}: {', '.join(map(str, done))}", messages.SUCCESS)
    if "from_page" in request.POST and instances:
        return HttpResponseRedirect(admin.page_url(instances[0].pk))
    return None


def _did(admin: InstancePages, request: HttpRequest, verb: Verb, instance: Instance, form: ReasonForm) -> bool:
    try:
        form.do(verb.do, instance, request.user.get_username())
    except SagaError as error:  # one refusal must not stop the others
        admin.message_user(request, f"Refused for {instance}: {error}", messages.WARNING)
        return False
    admin.log_change(request, instance, f"{verb.past}: {form.cleaned_data['reason']}")
    return True


def _ask(
    admin: InstancePages, request: HttpRequest, verb: Verb, instances: Sequence[Instance], form: ReasonForm
) -> HttpResponseBase:
    context = {
        **admin.admin_site.each_context(request),
        "title": verb.name.capitalize(),
        "opts": admin.opts,
        "media": admin.media + form.media,
        "verb": verb,
        "instances": instances,
        "form": form,
        "checkbox": ACTION_CHECKBOX_NAME,
        "from_page": "from_page" in request.POST,
        "list_url": admin.list_url(),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "admin/celery_sagas/instance/act.html", context)


def waits_at(handle: SagaHandle) -> dict[str, str]:
    """Return the steps at which an instance waits for a person: their names, and how they are shown."""
    try:
        waiting = handle.snapshot().needs_a_person
    except (InstanceNotFound, RowDamaged):
        return {}
    return {step.name: step.called + (f" ({step.doubt})" if step.doubt else "") for step in waiting}


def output_of(handle: SagaHandle, step: str | None) -> str | None:
    """Return the single name under which a step keeps its result."""
    try:
        return handle.snapshot().output_of(step)
    except (InstanceNotFound, RowDamaged):
        return None
