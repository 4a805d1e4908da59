"""The instances in Django's admin: to view, and to act on with a reason. Nothing else is writable."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import Truncator

from sagas.contrib.django.acting import CANCEL, RESOLVE, RETRY, SKIP, VERBS, InstancePages, Verb, act
from sagas.contrib.django.binding import bound_sagas, bound_store
from sagas.contrib.django.models import Instance, InstanceQuerySet
from sagas.errors import InstanceNotFound, RowDamaged
from sagas.handle import HistoryEntry, SagaHandle
from sagas.model import SagaStatus
from sagas.store import Filters

#: How far the list goes; beyond that, use a filter. Counting and skipping more rows takes time.
LONGEST_LIST = 10_000
#: Words of a reason in the list; the instance's page has the rest.
WORDS = 24


class StatusFilter(admin.SimpleListFilter):
    """Filter by status, together with the other filters and the search (see `InstanceAdmin.get_search_results`)."""

    title = "status"
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, status.value) for status in SagaStatus]

    def queryset(self, request: HttpRequest, queryset: InstanceQuerySet) -> InstanceQuerySet:
        return queryset


class SagaFilter(StatusFilter):
    """Filter by saga."""

    title = "saga"
    parameter_name = "saga"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in bound_store().listing.names()]


class StartFilter(admin.DateFieldListFilter):
    """Filter by start time, which has an index for each saga."""

    def queryset(self, request: HttpRequest, queryset: InstanceQuerySet) -> InstanceQuerySet:
        found: InstanceQuerySet = super().queryset(request, queryset)
        return found.filter(saga__in=bound_store().listing.names()) if self.used_parameters else found


class ShortPaginator(Paginator):
    """Counts only as far as the list goes."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list[:LONGEST_LIST].count())


class ReasonedList(ChangeList):
    """The instances of a page, with their reasons, which are read in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(vars(self)["result_list"])
        reasons = bound_store().listing.reasons([instance.pk for instance in shown])
        for instance in shown:
            instance.why = reasons.get(instance.pk, "")
        self.result_list = shown


@admin.register(Instance)
class InstanceAdmin(InstancePages):
    """Lists instances and shows one; retry, cancel, skip and resolve have their own permissions."""

    actions = ("retry_selected", "cancel_selected", "skip_selected", "resolve_selected")
    list_display = ("shown_key", "saga", "version", "status", "why", "created_at", "finished_at", "age")
    list_filter = (StatusFilter, SagaFilter, ("created_at", StartFilter))
    # Newest first: ids contain the time and have an index. No other order has one.
    ordering = ("-id",)
    sortable_by = ()
    paginator = ShortPaginator
    search_fields = ("key",)
    search_help_text = "The beginning of a key, words of an error, a status, a saga, or an id"
    show_full_result_count = False

    # -- the list

    @admin.display(description="key", ordering="key")
    def shown_key(self, instance: Instance) -> str:
        return str(instance.key or instance.id)

    @admin.display(description="why")
    def why(self, instance: Any) -> str:
        """Return why it needs a person, and then why it turned back."""
        return str(Truncator(instance.why).words(WORDS))

    @admin.display(description="age")
    def age(self, instance: Instance) -> str:
        """Return how long it took, or has taken so far."""
        lasted: timedelta = (instance.finished_at or timezone.now()) - instance.created_at
        return str(timedelta(seconds=max(0, round(lasted.total_seconds()))))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return ReasonedList

    def get_search_results(
        self, request: HttpRequest, queryset: InstanceQuerySet, search_term: str
    ) -> tuple[InstanceQuerySet, bool]:
        """Search and filter in the same statement that reads lists (see `Sagas.list`)."""
        asked = {"status": request.GET.get("status__exact"), "saga": request.GET.get("saga")}
        try:
            pasted = UUID(search_term.strip())
        except ValueError:
            pass
        else:  # an id is meant, whatever else is chosen; a business key may also look like one
            return queryset.filter(Q(pk=pasted) | listed(key=search_term.strip(), **asked)), False
        rest = []
        names = bound_store().listing.names() if search_term else ()
        for word in search_term.split():
            kind = "status" if word in set(SagaStatus) else "saga" if word in names else None
            if kind is None:
                rest.append(word)
            elif asked[kind] in (None, word):
                asked[kind] = word
            else:
                return queryset.none(), False
        return queryset.filter(listed(text=" ".join(rest) or None, **asked)), False

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
            seen = SagaHandle(bound_sagas().engine, UUID(unquote(object_id))).snapshot(history=True)
            read = {
                "seen": seen,
                "data": as_json(seen.shown_data),
                "steps": [(step, as_json(step.result), [*map(as_json, step.records)]) for step in seen.steps],
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
            "verbs": [verb for verb in VERBS if verb.is_possible(seen) and self._may(request, verb)],
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

    @admin.action(permissions=["skip"], description="Skip the steps at which the selected sagas are stuck")
    def skip_selected(self, request: HttpRequest, queryset: InstanceQuerySet) -> HttpResponseBase | None:
        return act(self, request, queryset, SKIP)

    @admin.action(permissions=["resolve"], description="Resolve the steps for which the selected sagas wait")
    def resolve_selected(self, request: HttpRequest, queryset: InstanceQuerySet) -> HttpResponseBase | None:
        return act(self, request, queryset, RESOLVE)

    # -- permissions

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self._may(request, RETRY)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._may(request, CANCEL)

    def has_skip_permission(self, request: HttpRequest) -> bool:
        return self._may(request, SKIP)

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return self._may(request, RESOLVE)

    @staticmethod
    def _may(request: HttpRequest, verb: Verb) -> bool:
        return bool(request.user.has_perm(f"celery_sagas.{verb.name}_instance"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        return False


def listed(status: str | None, **asked: Any) -> Q:
    """Return a condition for being in a list of the newest with these filters."""
    try:
        filters = Filters(status=None if status is None else SagaStatus(status), **asked)
    except ValueError as error:
        raise IncorrectLookupParameters from error
    if filters == Filters():
        return Q()
    if not filters.is_storable:
        return Q(pk=None)
    return Q(pk__in=RawSQL(*bound_store().listing.ids(filters, LONGEST_LIST)))


def as_json(value: Any) -> str:
    """Format as JSON for people, with anything that JSON lacks as text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def shown_detail(entry: HistoryEntry) -> str:
    """Return the details that fit on a line of the history."""
    return ", ".join(
        f"{name}: {value}"
        for name, value in entry.detail.items()
        if value is not None and name not in ("traceback", "step", "key")
    )
