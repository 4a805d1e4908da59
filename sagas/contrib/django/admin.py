"""The instances in Django's admin: to look at, and to act on with a reason. Nothing else is writable."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from sagas.contrib.django.acting import CANCEL, RETRY, SKIP, VERBS, Verb, act
from sagas.contrib.django.binding import bound
from sagas.contrib.django.models import Instance, InstanceQuerySet
from sagas.errors import InstanceNotFound, RowDamaged
from sagas.handle import HistoryEntry, SagaHandle


class SagaFilter(admin.SimpleListFilter):
    """By saga; the names come from a short table, not from millions of instances."""

    title = "saga"
    parameter_name = "saga"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in bound().engine.store.instances.sagas()]

    def queryset(self, request: HttpRequest, queryset: InstanceQuerySet) -> InstanceQuerySet:
        return queryset.filter(saga=self.value()) if self.value() else queryset


@admin.register(Instance)
class InstanceAdmin(admin.ModelAdmin):
    """Lists instances and shows one; retry, cancel and skip are behind permissions of their own."""

    actions = ("retry_selected", "cancel_selected", "skip_selected")
    list_display = ("shown_key", "saga", "version", "status", "created_at", "finished_at", "age")
    list_filter = ("status", SagaFilter, "created_at")
    # Newest first: ids are made of the time, and have the index that times have not.
    ordering = ("-id",)
    search_fields = ("key", "status", "saga")
    search_help_text = "A key, a status, a saga, or an id"
    show_full_result_count = False

    # -- the list

    @admin.display(description="key", ordering="key")
    def shown_key(self, instance: Instance) -> str:
        return str(instance.key or instance.id)

    @admin.display(description="age")
    def age(self, instance: Instance) -> str:
        """How long it took, or has taken so far."""
        lasted: timedelta = (instance.finished_at or timezone.now()) - instance.created_at
        return str(timedelta(seconds=max(0, round(lasted.total_seconds()))))

    def get_search_results(
        self, request: HttpRequest, queryset: InstanceQuerySet, search_term: str
    ) -> tuple[InstanceQuerySet, bool]:
        try:
            pasted = UUID(search_term.strip())
        except ValueError:
            found: tuple[InstanceQuerySet, bool] = super().get_search_results(request, queryset, search_term)
            return found
        # A business key may well be a UUID too.
        return queryset.filter(Q(pk=pasted) | Q(key__icontains=search_term.strip())), False

    def changelist_view(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponseBase:
        if any(name and name not in self.get_actions(request) for name in request.POST.getlist("action")):
            raise PermissionDenied
        response: HttpResponseBase = super().changelist_view(request, extra_context)
        return response

    # -- one instance

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Mapping[str, Any] | None = None
    ) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        try:
            seen = SagaHandle(bound().engine, UUID(unquote(object_id))).snapshot(history=True)
            read = {
                "seen": seen,
                "data": as_json(seen.shown_data),
                "steps": [(step, as_json(step.result)) for step in seen.steps],
                "history": [(entry, shown_detail(entry)) for entry in seen.history],
            }
        except RowDamaged as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self.list_url())
        except (ValueError, InstanceNotFound):
            self.message_user(request, f"There is no saga instance {unquote(object_id)} (any more).", messages.WARNING)
            return HttpResponseRedirect(self.list_url())
        context = {
            **self.admin_site.each_context(request),
            "title": f"{seen.saga} {seen.key or seen.id}",
            "opts": self.opts,
            "media": self.media,
            **read,
            "verbs": [verb for verb in VERBS if seen.status in verb.possible and self._may(request, verb)],
            "list_url": self.list_url(),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/celery_sagas/instance/page.html", context)

    # -- acting

    @admin.action(permissions=["retry"], description="Retry the selected sagas")
    def retry_selected(self, request: HttpRequest, queryset: InstanceQuerySet) -> HttpResponseBase | None:
        return act(self, request, queryset, RETRY)

    @admin.action(permissions=["cancel"], description="Cancel the selected sagas")
    def cancel_selected(self, request: HttpRequest, queryset: InstanceQuerySet) -> HttpResponseBase | None:
        return act(self, request, queryset, CANCEL)

    @admin.action(permissions=["skip"], description="Skip what the selected sagas are stuck at")
    def skip_selected(self, request: HttpRequest, queryset: InstanceQuerySet) -> HttpResponseBase | None:
        return act(self, request, queryset, SKIP)

    def list_url(self) -> str:
        """Where the list is; the page's buttons post the list's actions there."""
        return str(reverse("admin:celery_sagas_instance_changelist", current_app=self.admin_site.name))

    def page_url(self, instance_id: Any) -> str:
        """Where an instance's page is."""
        return str(reverse("admin:celery_sagas_instance_change", args=[instance_id], current_app=self.admin_site.name))

    # -- who may

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self._may(request, RETRY)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._may(request, CANCEL)

    def has_skip_permission(self, request: HttpRequest) -> bool:
        return self._may(request, SKIP)

    @staticmethod
    def _may(request: HttpRequest, verb: Verb) -> bool:
        return bool(request.user.has_perm(f"celery_sagas.{verb.name}_instance"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        return False


def as_json(value: Any) -> str:
    """For people, so whatever JSON has no word for is shown as text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def shown_detail(entry: HistoryEntry) -> str:
    """What fits on a line of the history."""
    return ", ".join(
        f"{name}: {value}"
        for name, value in entry.detail.items()
        if value is not None and name not in ("traceback", "step", "key")
    )
