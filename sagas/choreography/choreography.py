"""`Choreography`: the events of a business transaction, and the handlers that react to them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, Unpack, get_args
from weakref import WeakKeyDictionary

from sagas.choreography.events import EventType
from sagas.choreography.exchange import Exchange, check_filled
from sagas.choreography.handlers import Handler
from sagas.choreography.known import KnownEvents, is_same, name_of, names, seconds
from sagas.choreography.running import Published
from sagas.choreography.signatures import (
    Awaits,
    EventClass,
    EventClasses,
    HandlerOptions,
    IfDeadWord,
    OrderWord,
    Seconds,
)
from sagas.choreography.starters import starter_plan, starters
from sagas.definition import Retry, Saga
from sagas.definition.checks import Problems
from sagas.definition.compiling import AppCompiler
from sagas.definition.options import choice, whole
from sagas.definition.part import NAME
from sagas.definition.signatures import CeleryTask
from sagas.engine import PlanTarget, current_app, declare_choreography
from sagas.errors import DefinitionError
from sagas.model.choreography import BridgePlan, ChoreographyPlan, IfDead, Order
from sagas.model.choreography.plan import EARLY_FOR, MAX_EVENTS, MOST_HEARERS, QUIET_AFTER

ATask = TypeVar("ATask", bound=CeleryTask)
_UNSET: Any = object()
#: The most events that ``max_events=`` may allow.
MOST_EVENTS = 100_000


class Choreography(Published):
    """A business transaction in which participants react to each other's events, under a name and a version.

    Args:
        name: unique among the choreographies and sagas of a database.
        version: raise it whenever handlers, events or options change; runs in flight go on by the graph that they
            started with.
        starts: the event that a run starts with.
        ends: the events that end a run; the first one counts.
        refuses: the events that end a run and turn it back, so that its handlers are undone.
        on_cancel: an event that is published when a run turns back, in the same commit, so that others hear of it.
        deadline: how long after its start a run turns back, if it has not ended.
        quiet_after: how long a run that has not ended may have nothing to do before it is listed as quiet; an hour by
            default. With None it never is, and ``deadline`` is required.
        awaits: events that come from outside, and how long each may take: meanwhile a run is not quiet. One that a
            bridge accepts may take a day, unless it is named here.
        early_for: how long an event waits for a run that does not exist yet; 7 days by default.
        max_events: how many events a run may have.
        priority: the priority of its messages, as that of `Saga`.

    Raises:
        DefinitionError: it cannot work; the message names the culprit and the cure.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        starts: EventClass,
        ends: EventClasses,
        refuses: EventClasses = (),
        on_cancel: EventClass | None = None,
        deadline: Seconds | None = None,
        quiet_after: Seconds | None = QUIET_AFTER,
        awaits: Awaits | None = None,
        early_for: Seconds = EARLY_FOR,
        max_events: int = MAX_EVENTS,
        priority: int | None = None,
    ) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(f"choreography name {name!r} must be text of letters, digits, '_', '.' or '-'")
        self.name = name
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise DefinitionError(f"{self.who}: version={version!r} must be a whole number from 1 on")
        self.version = version
        self._known = known = KnownEvents(self.who)
        self.handlers: dict[str, Handler] = {}
        self.bridges: dict[str, BridgePlan] = {}
        #: By engine: the plan, and the sagas that start on its events, which may be declared later.
        self._plans: WeakKeyDictionary[PlanTarget, tuple[dict[str, Saga], ChoreographyPlan]] = WeakKeyDictionary()
        self.starts = known.one(starts, "starts")
        self.ends = known.several(ends, "ends")
        self.refuses = known.several(refuses, "refuses")
        self.on_cancel = None if on_cancel is None else known.one(on_cancel, "on_cancel")
        self.awaits = {} if awaits is None else known.with_seconds(awaits, "awaits")
        self.deadline = None if deadline is None else seconds(deadline, f"{self.who}: deadline")
        self.quiet_after = None if quiet_after is None else seconds(quiet_after, f"{self.who}: quiet_after")
        self.early_for = seconds(early_for, f"{self.who}: early_for")
        self.max_events = whole(max_events, 1, MOST_EVENTS, f"{self.who}: max_events") or MAX_EVENTS
        self.priority = whole(priority, 0, 255, f"{self.who}: priority")
        self._check_ends()
        declare_choreography(self)

    def __repr__(self) -> str:
        return f"Choreography({self.name!r}, version={self.version}, handlers={sorted(self.handlers)})"

    @property
    def who(self) -> str:
        """The beginning of an error about it."""
        return f"choreography {self.name!r}"

    # -- declaring handlers

    def on(
        self,
        *events: EventClass,
        publishes: EventClasses = (),
        order: OrderWord = "run",
        if_dead: IfDeadWord = "hold",
        undo: None = _UNSET,
        **options: Unpack[HandlerOptions],
    ) -> Callable[[ATask], ATask]:
        """Declare a Celery task as a handler of events: put it over the task's own decorator.

        The task gets the event as its only argument. It returns an event, a list of events or None; these are published
        together with its completion.

        Args:
            events: the classes of the events that it hears.
            publishes: the classes of the events that it may return.
            order: ``"run"`` gives it the events of one run in the order of their numbers, one after the other;
                ``"none"`` in any order, side by side.
            if_dead: what follows when it has given an event up: ``"hold"`` keeps later events of the run back until a
                person has answered; ``"skip"`` lets them pass; ``"compensate"`` turns the run back.
            undo: None says that it has nothing to undo, so that `check` does not ask for an undo. Otherwise declare
                one with `undo`.
            options: ``name``, ``retry``, ``timeout``, ``idempotent``, ``poll_for``, ``max_losses``, ``queue`` and
                ``clean``, as `Step` has them.

        Raises:
            DefinitionError: it cannot work; the message names the handler and the cure.

        Example:
            ``@fulfilment.on(OrderCreated, publishes=(StockReserved, StockRefused))`` over ``@shared_task``
        """
        if not events:
            raise DefinitionError(f"{self.who}: on(…) names no event: pass the classes of the events that it hears")
        if undo is not _UNSET and undo is not None:
            raise DefinitionError(
                f"{self.who}: on(…, undo=…) takes only None, for a handler with nothing to undo; declare an undo with "
                f"@{self.name}.undo(handler, when=…)"
            )

        def declared(task: ATask) -> ATask:
            with self._within():
                handler = Handler(
                    task,
                    self._known.several(events, "on(…)"),
                    self._known.several(publishes, "publishes"),
                    Order(choice(order, get_args(OrderWord), "order")),
                    IfDead(choice(if_dead, get_args(IfDeadWord), "if_dead")),
                    options,
                    says_nothing_to_undo=undo is None,
                )
                self._add(handler)
            return task

        return declared

    def undo(
        self,
        handler: CeleryTask | str,
        *,
        when: EventClasses = (),
        publishes: EventClasses = (),
        retry: Retry | None = None,
        timeout: Seconds | None = None,
        deadline: Seconds | None = None,
    ) -> Callable[[ATask], ATask]:
        """Declare a Celery task as the undo of a handler: put it over the task's own decorator.

        It gets the event that the handler got. It runs once for each event that the handler has handled, or may
        have, when one of the events in ``when=`` comes or when the run turns back. From then on the handler is closed
        for the rest of the run. It must be safe for an action that never happened.

        Args:
            handler: the handler's task, or its name.
            when: the classes of the events that undo it. Without any it is undone when the run turns back.
            publishes: the classes of the events that it may return.
            retry: when it is tried again; by default on any error, six times.
            timeout: seconds that one execution may take; by default those of the handler.
            deadline: seconds from its first claim after which it is not tried again.

        Raises:
            DefinitionError: it cannot work; the message names the handler and the cure.
        """

        def declared(task: ATask) -> ATask:
            with self._within():
                self._handler(handler).undone_by(
                    task,
                    self._known.several(when, "when"),
                    self._known.several(publishes, "publishes"),
                    retry,
                    timeout,
                    deadline,
                )
                self._plans.clear()
            return task

        return declared

    def _add(self, handler: Handler) -> None:
        former = self.handlers.get(handler.name)
        if former is not None and not is_same(former.step.task, handler.step.task):
            raise DefinitionError(
                f"two handlers are named {handler.name!r}: pass name=… to one, since keys are made of it"
            )
        if former is not None and names(former.hears) != names(handler.hears):
            raise DefinitionError(f"{handler.who} is declared twice: name all events that it hears in one on(…)")
        for type_ in handler.hears:
            if sum(type_ in one.hears for one in self.handlers.values() if one is not former) >= MOST_HEARERS:
                raise DefinitionError(
                    f"more than {MOST_HEARERS} handlers hear {type_.type}: let one of them publish an event for "
                    "the rest"
                )
        self.handlers[handler.name] = handler
        self._plans.clear()

    def _handler(self, given: Any) -> Handler:
        if isinstance(given, str):
            found = [handler for handler in self.handlers.values() if handler.name == given]
        else:
            found = [handler for handler in self.handlers.values() if handler.step.task is given]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(handler.name for handler in found))
            raise DefinitionError(f"undo(…): the task is several handlers ({names}): pass the name of one")
        known = ", ".join(sorted(self.handlers)) or "none"
        called = repr(given) if isinstance(given, str) else name_of(given)
        raise DefinitionError(
            f"undo(…): {called} is not one of its handlers ({known}): declare it with on(…) before its undo, and pass "
            "the handler's own task; an undo itself is not undone"
        )

    def bridged(self, name: str, sends: EventClasses, accepts: EventClasses) -> BridgePlan:
        """Let events leave by a bridge and come by it. Raises DefinitionError. See `Bridge`."""
        with self._within():
            plan = BridgePlan(
                name=name,
                sends=names(self._known.several(sends, "types")),
                accepts=names(self._known.several(accepts, "accepts")),
            )
        self.bridges[name] = plan
        self._plans.clear()
        return plan

    # -- compiling

    def tasks(self) -> list[CeleryTask]:
        """Return every task that it uses: handlers and undos."""
        return [task for handler in self.handlers.values() for task in handler.tasks()]

    def clean_errors(self, step: str) -> list[str | type]:
        """Return the errors that one of its handlers names as clean."""
        handler = self.handlers.get(step)
        return list(handler.step.clean) if handler else []

    def takes(self, handler: str, type_: str) -> bool:
        """Return whether one of its handlers is written for a type of event, also one that it does not hear."""
        found = self.handlers.get(handler)
        return found is not None and found.takes(type_)

    @property
    def types(self) -> Mapping[str, EventType]:
        """Every type of event that it names."""
        return self._known.types

    @property
    def exchange(self) -> Exchange:
        """Writes and reads its events."""
        return Exchange(self.who, self._known.types)

    def plan(self, engine: PlanTarget) -> ChoreographyPlan:
        """Compile to a plan, with the tasks' names on the engine's app.

        Raises:
            DefinitionError: a task, an event or its upcasters cannot work; the message names all of them.
        """
        started = starters(engine, self.types)
        if engine not in self._plans or self._plans[engine][0] != started:
            self._plans[engine] = started, self._compiled(engine, started)
        return self._plans[engine][1]

    def _compiled(self, engine: PlanTarget, started: dict[str, Saga]) -> ChoreographyPlan:
        compiler, problems = AppCompiler(engine), Problems()
        handlers, events = [], []
        for _, type_ in sorted(self.types.items()):
            with problems.noted(), self._within():
                events.append(type_.plan)
            for problem in type_.upcasters.problems():
                with problems.noted(), self._within():
                    raise DefinitionError(problem)
        if self.on_cancel is not None and len(events) == len(self.types):
            with problems.noted(), self._within():
                check_filled(self.starts, self.on_cancel)
        with current_app(engine.app):
            for place, name in enumerate(sorted({*self.handlers, *started})):
                with problems.noted(), self._within():
                    if name not in started:
                        handlers.append(self.handlers[name].compile(place, compiler))
                    elif name in self.handlers:
                        raise DefinitionError(
                            f"handler {name!r} has the name of the start of a saga: pass name=… to it"
                        )
                    else:
                        handlers.append(starter_plan(name, started[name], place))
        problems.refuse(self.who)
        return ChoreographyPlan(
            name=self.name,
            version=self.version,
            starts=self.starts.type,
            ends=names(self.ends),
            refuses=names(self.refuses),
            on_cancel=self.on_cancel.type if self.on_cancel else None,
            handlers=tuple(handlers),
            events=tuple(events),
            deadline=self.deadline,
            quiet_after=self.quiet_after,
            awaits=tuple(sorted((type_.type, within) for type_, within in self.awaits.items())),
            early_for=self.early_for,
            max_events=self.max_events,
            priority=self.priority,
            bridges=tuple(bridge for _, bridge in sorted(self.bridges.items())),
        )

    @contextmanager
    def _within(self) -> Iterator[None]:
        """Let errors begin with the choreography's name."""
        try:
            yield
        except DefinitionError as error:
            message = str(error)
            raise (error if message.startswith(self.who) else DefinitionError(f"{self.who}: {message}")) from error

    def _check_ends(self) -> None:
        if not self.ends:
            raise DefinitionError(f"{self.who}: ends=() leaves its runs open for ever: name the events that end one")
        for type_ in (*self.ends, *self.refuses):
            if type_ is self.starts:
                raise DefinitionError(f"{self.who}: {type_.type} starts its runs, and cannot end them too")
            if type_ is self.on_cancel:
                raise DefinitionError(
                    f"{self.who}: {type_.type} is published when a run turns back, and cannot end it too: take another "
                    "event for on_cancel="
                )
            if type_ in self.ends and type_ in self.refuses:
                raise DefinitionError(
                    f"{self.who}: {type_.type} is in ends= and in refuses=: it cannot both end a run and turn it back"
                )
        if self.quiet_after is None and self.deadline is None:
            raise DefinitionError(
                f"{self.who}: with quiet_after=None and no deadline, a run that stands still is never noticed: pass "
                "one of them"
            )
