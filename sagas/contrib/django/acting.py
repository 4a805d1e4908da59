"""Retry, cancel and skip in the admin: a page that asks for the reason, then one instance after the other."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse

from sagas.contrib.django.models import Instance, InstanceQuerySet
from sagas.errors import InstanceNotFound, RowDamaged, SagaError
from sagas.handle import SagaHandle
from sagas.model import SagaStatus, StepStatus

if TYPE_CHECKING:
    from sagas.contrib.django.admin import InstanceAdmin

#: Each is a transaction while the browser waits, and a field of the form that Django limits to a thousand.
MOST = 500


class ReasonForm(forms.Form):
    """Why; kept in the saga's history and in the admin's log."""

    reason = forms.CharField(
        widget=forms.TextInput(attrs={"size": 80, "autofocus": True}),
        help_text="Kept in the saga's history, with your name, for whoever asks why.",
        error_messages={"required": "Give a reason: it is kept in the history for whoever asks why."},
    )

    def __init__(self, data: Any, instances: Sequence[Instance]) -> None:
        super().__init__(data)

    def do(self, do: Callable[..., None], instance: Instance, by: str) -> None:
        do(instance.handle, self.cleaned_data["reason"], by=by)


class SkipForm(ReasonForm):
    """Also past what, where there are several."""

    result = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80}),
        help_text='What the step would have returned, if later steps need it: {"shipment_id": "4711"}',
    )

    def __init__(self, data: Any, instances: Sequence[Instance]) -> None:
        super().__init__(data, instances)
        self.stuck = {instance.pk: stuck_at(instance.handle) for instance in instances}
        several = {name: name for names in self.stuck.values() if len(names) > 1 for name in names}
        if several:
            self.fields["step"] = forms.ChoiceField(
                choices=[("", "---------"), *several.items()],
                help_text="Where a saga is stuck at several, one of them is skipped at a time.",
                error_messages={"required": "Say which: a saga is stuck at several."},
            )

    def clean_result(self) -> dict[str, Any] | None:
        given = self.cleaned_data["result"]
        try:
            result = json.loads(given) if given else None
        except ValueError as error:
            raise forms.ValidationError(f"It is no JSON: {error}") from error
        if result is not None and not isinstance(result, dict):
            raise forms.ValidationError('It must be a JSON object, as in {"shipment_id": "4711"}.')
        return result

    def do(self, do: Callable[..., None], instance: Instance, by: str) -> None:
        step = self.cleaned_data["step"] if len(self.stuck[instance.pk]) > 1 else None
        do(instance.handle, self.cleaned_data["reason"], step=step, result=self.cleaned_data["result"], by=by)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """What a person may do to an instance.

    Attributes:
        name: of the method of a handle, of the permission and of the admin's action.
        past: how it reads in the log.
        effect: what it does, for the page that asks.
        possible: when there is a button for it.
    """

    name: str
    past: str
    effect: str
    do: Callable[..., None]
    form: type[ReasonForm]
    possible: frozenset[SagaStatus]

    @property
    def action(self) -> str:
        return f"{self.name}_selected"


RETRY = Verb(
    name="retry",
    past="Retried",
    effect="A failed saga goes on: only what is missing runs again, with fresh budgets.",
    do=SagaHandle.retry,
    form=ReasonForm,
    possible=frozenset({SagaStatus.FAILED}),
)
CANCEL = Verb(
    name="cancel",
    past="Cancelled",
    effect="No further step begins, and what was done or is in doubt is undone.",
    do=SagaHandle.cancel,
    form=ReasonForm,
    possible=frozenset({SagaStatus.PENDING, SagaStatus.RUNNING}),
)
SKIP = Verb(
    name="skip",
    past="Skipped",
    effect="A failed saga goes on past what it is stuck at. You vouch for that: it is not run again.",
    do=SagaHandle.skip,
    form=SkipForm,
    possible=frozenset({SagaStatus.FAILED}),
)
VERBS = (RETRY, CANCEL, SKIP)


def act(
    admin: "InstanceAdmin", request: HttpRequest, queryset: InstanceQuerySet, verb: Verb
) -> HttpResponseBase | None:
    """Ask for what is needed; once it is there, do it. None leads back to the list."""
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


def _did(admin: "InstanceAdmin", request: HttpRequest, verb: Verb, instance: Instance, form: ReasonForm) -> bool:
    try:
        form.do(verb.do, instance, request.user.get_username())
    except SagaError as error:  # one refusal is no reason to leave the others
        admin.message_user(request, f"Refused for {instance}: {error}", messages.WARNING)
        return False
    admin.log_change(request, instance, f"{verb.past}: {form.cleaned_data['reason']}")
    return True


def _ask(
    admin: "InstanceAdmin", request: HttpRequest, verb: Verb, instances: Sequence[Instance], form: ReasonForm
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


def stuck_at(handle: SagaHandle) -> list[str]:
    """The steps that a failed instance waits for, by name: undos that failed, or else the step that did."""
    try:
        seen = handle.snapshot()
        steps = seen.steps
    except (InstanceNotFound, RowDamaged):
        return []
    if seen.status is not SagaStatus.FAILED:
        return []
    failed = [step for step in steps if step.status is StepStatus.FAILED]
    undos = [step.name for step in failed if step.compensation_status is StepStatus.FAILED]
    return undos or [step.name for step in failed][-1:]
