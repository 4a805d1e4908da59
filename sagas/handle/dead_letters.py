"""`Sagas.dead_letters`: what was given up in choreographies, and the answers of a person."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import Row

from sagas.engine import Engine, choreography_of, redacted_error
from sagas.errors import ConfigurationError
from sagas.handle.editing import edit_of
from sagas.handle.letter_pages import LetterPage, Place, after_deliveries, after_events
from sagas.handle.letters import DeadLetter, LetterAnswer, LetterKind, LetterOutcome
from sagas.handle.words import LONGEST_REASON, checked_text
from sagas.model import Address, payload
from sagas.model.choreography.events import DeliveryRequested, LetterSkipped, ReplayRequested, RunEvent
from sagas.model.choreography.letters import CHANGED
from sagas.model.payload import excerpt
from sagas.store import Joining, error_from

logger = logging.getLogger("sagas")

#: Letters that one call lists or answers at most.
MOST_LETTERS = 1_000
#: Letters that are sent at once. Ten thousand replays are not ten thousand messages in front of all others.
SENT_AT_ONCE = 10
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NUMBER = "[0-9]{1,9}"
_ID = re.compile(
    rf"(?P<run>{_UUID}):(?:(?P<number>{_NUMBER})(?:\.{_NUMBER}\.{_NUMBER})?|(?P<event>{_UUID}))", re.IGNORECASE
)
NO_HANDLER = "no handler gets it: skip it once it has been dealt with by hand"
NOT_NAMED = (
    "no handler gets it by itself: name the one that is to deal with it (to=…; --to), or skip it once it has been "
    "dealt with by hand"
)
ONLY_LATE = "only a late event that no handler got is delivered to one that you name: leave to= out (--to)"
NO_RUN = "there is no such run yet: start it, and replay then; or skip it"
NOT_THERE = "there is no such dead letter"


#: The word that a person gives about a delivery in doubt.
VouchWord = Literal["not done"]


#: Named here, since `list` is a method in the class.
Found = LetterPage[DeadLetter]
Outcomes = list[LetterOutcome]


class DeadLetters:
    """The dead letters of one ``Sagas``."""

    def __init__(self, engine: Engine) -> None:
        store = engine.store
        self._letters, self._handlers, self._instances = store.letters, store.handlers, store.instances
        self._loop, self._secrecy, self._redactor = engine.loop, engine.secrecy, engine.redactor

    def list(
        self,
        *,
        choreography: str | None = None,
        handler: str | None = None,
        error: str | None = None,
        older_than: timedelta | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Found:
        """Return a page of the dead letters that meet all of these filters, the oldest first.

        Args:
            choreography: its name.
            handler: its name; leaves out events that no handler gets.
            error: the type of its error, as in `DeadLetter.error`; leaves out events that no handler gets.
            older_than: how long ago it was given up, at least.
            limit: how many, up to 1,000.
            after: the ``after`` of the previous page.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_LETTERS:
            raise ConfigurationError(
                f"dead_letters.list(limit={excerpt(limit)}): pass a number from 1 to {MOST_LETTERS}"
            )
        if older_than is not None and not isinstance(older_than, timedelta):
            raise ConfigurationError(f"dead_letters.list(older_than={excerpt(older_than)}): pass a timedelta")
        for name, given in (("choreography", choreography), ("handler", handler), ("error", error)):
            if given is not None:
                checked_text(given, f"dead_letters.list({name}=…)", error=ConfigurationError)
        filters = {"choreography": choreography, "handler": handler, "error": error, "older_than": older_than}
        return self._read(filters, limit, None if after is None else Place.parse(after))

    def left_after(self, page: Found, *, most: int, **filters: Any) -> int:
        """Count the letters that follow a page that was listed with these filters, up to ``most``."""
        if page.after is None:
            return 0
        place = Place.parse(page.after)
        left = self._letters.count_dead(most=most, **filters, **after_deliveries(place))
        if _has_events(filters):
            left += self._letters.count_undelivered(most=most, **filters, **after_events(place))
        return min(left, most)

    def replay(
        self,
        letters: "DeadLetter | str | Iterable[DeadLetter | str]",
        *,
        to: str | None = None,
        reason: str,
        by: str = "operator",
    ) -> Outcomes:
        """Deliver again, under the same key and with fresh attempts; later events of the run follow in their order.

        A late event, which no handler got, is delivered to the one that ``to`` names, once its run has ended. The run
        stays as it has ended, whatever becomes of that: if it is given up, it is a late letter again.

        Args:
            letters: what `list` returned, or their ids. A letter that has changed since it was listed is left alone; an
                id alone means the letter as it is now.
            to: the name of a handler, for late events: it hears them, or its task's annotation names their type. Each
                is delivered to one handler, and another call cannot name a second one.
            reason: why; kept in the history.
            by: the name of the operator.

        Letters of one run are delivered in the order of their numbers, whatever the order given. More than ten at a
        time are not sent at once: they wait in the lines of their queues, as after an outage.

        Example:
            ``sagas.dead_letters.replay(letter, to="refund_payment", reason="paid after the order was cancelled")``
        """
        if to is not None and (not isinstance(to, str) or not to):
            raise ConfigurationError(
                f"dead_letters.replay(to={excerpt(to)}): pass the name of a handler, or leave it out"
            )
        chosen = self._chosen(letters, reason, by)
        joining = Joining.ALWAYS if len(chosen) > SENT_AT_ONCE else None
        once = {letter.id: letter for letter in reversed(chosen)}.values()
        in_order = sorted(once, key=lambda letter: (letter.run, letter.number or 0))
        outcomes = {letter.id: self._replayed(letter, to, reason, by, joining) for letter in in_order}
        return [outcomes[letter.id] for letter in chosen]

    def edit(
        self,
        letter: "DeadLetter | str",
        payload: Any,
        *,
        reason: str,
        vouch: VouchWord | None = None,
        by: str = "operator",
    ) -> LetterOutcome:
        """Deliver again with another payload, under a key of its own. The event and its other deliveries stay.

        Args:
            letter: one about a delivery, as in `replay`.
            payload: all fields of the event, in the version in which it is stored; or an event of that version. A
                secret that reads ``•••`` stays as it is.
            reason, by: as in `replay`.
            vouch: ``"not done"`` says that a delivery in doubt has not happened, or was undone by hand. Without that an
                edit of such a delivery is refused: under its new key it could happen twice.

        Raises:
            PayloadError: the payload does not fit the event; the message names each field.
            ConfigurationError: there is no such letter, or this process does not know its choreography.

        Example:
            ``sagas.dead_letters.edit(letter, letter.payload | {"currency": "EUR"}, reason="the form left it out")``
        """
        if vouch not in (None, *get_args(VouchWord)):
            raise ConfigurationError(f"dead_letters.edit(vouch={excerpt(vouch)}): pass 'not done', or leave it out")
        (chosen,) = self._chosen([letter], reason, by)
        if chosen.handler is None:
            return _refused(chosen, NO_HANDLER)
        stored = self._letters.stored(chosen.run, address_of(chosen))
        if stored is None:
            return _refused(chosen, NOT_THERE)
        edit = edit_of(stored, payload, self._secrecy, vouched=vouch is not None)
        return self._answered(chosen, partial(ReplayRequested, edit=edit), reason, by)

    def skip(
        self, letters: "DeadLetter | str | Iterable[DeadLetter | str]", *, reason: str, by: str = "operator"
    ) -> Outcomes:
        """Let go of letters: later events of the run pass, an undo counts as done by hand, an event as dealt with.

        Args:
            letters, reason, by: as in `replay`.
        """
        return [
            self._answered(letter, LetterSkipped, reason, by) if letter.handler else self._seen(letter, reason, by)
            for letter in self._chosen(letters, reason, by)
        ]

    def resume(self, choreography: str, handler: str, *, reason: str, by: str = "operator") -> bool:
        """Let a paused handler go on at once, with the deliveries that wait for it. Return whether it was paused.

        Args:
            choreography, handler: their names.
            reason, by: as in `replay`; they are in the log.
        """
        _check_words(reason, by)
        checked_text(choreography, "dead_letters.resume(): the choreography", error=ConfigurationError)
        checked_text(handler, "dead_letters.resume(): the handler", error=ConfigurationError)
        since = self._handlers.resume(choreography, handler)
        if since is not None:
            extra = {"event": "handler_resumed", "saga": choreography, "step": handler}
            logger.warning("handler %s/%s goes on: %s (%s)", choreography, handler, reason, by, extra=extra)
        return since is not None

    def get(self, id: str) -> DeadLetter:
        """Return one dead letter by its id, as it is now.

        Raises:
            ConfigurationError: there is no such letter, or it has been answered.
        """
        return self._by_id(id)

    # -- reading

    def _read(self, filters: dict[str, Any], limit: int, place: Place | None = None) -> Found:
        asked = filters | {"limit": limit + 1}
        found = [(Place.of_delivery(row), row) for row in self._letters.dead(**asked, **after_deliveries(place))]
        if _has_events(asked):
            found += [(Place.of_event(row), row) for row in self._letters.undelivered(**asked, **after_events(place))]
        found.sort(key=lambda entry: entry[0])
        page = [(self._event if at.is_event else self._delivery)(row) for at, row in found[:limit]]
        return LetterPage(page, found[limit - 1][0].text if len(found) > limit else None)

    def _delivery(self, row: Row[Any]) -> DeadLetter:
        return DeadLetter(
            id=f"{row.run}:{row.number}.{row.branch}.{row.round}",
            kind=LetterKind.LATE if row.is_late else LetterKind.PARKED if row.is_parked else LetterKind.DEAD,
            choreography=row.choreography,
            run=row.run,
            key=row.key,
            event=row.event,
            type=row.type,
            version=row.version,
            number=row.number,
            payload=self._shown(row.payload),
            dead_at=row.dead_at,
            handler=row.handler,
            undo=row.round > 0,
            error=redacted_error(error_from(row.error), self._redactor(row.run)),
            attempts=row.attempts,
            in_doubt=row.in_doubt,
            held=row.held,
            edits=row.edits,
        )

    def _event(self, row: Row[Any]) -> DeadLetter:
        return DeadLetter(
            id=f"{row.run}:{row.number or row.event}",
            kind=LetterKind(row.letter),
            choreography=row.choreography,
            run=row.run,
            key=row.key,
            event=row.event,
            type=row.type,
            version=row.version,
            number=row.number,
            payload=self._shown(row.payload),
            dead_at=row.dead_at,
        )

    def _shown(self, stored: str) -> Any:
        return self._secrecy.hide(payload.loads(stored))

    # -- answering

    def _chosen(self, given: Any, reason: str, by: str) -> Sequence[DeadLetter]:
        _check_words(reason, by)
        several = [*given] if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        if len(several) > MOST_LETTERS:
            raise ConfigurationError(f"answer up to {MOST_LETTERS} letters at a time, not {len(several)}")
        return [one if isinstance(one, DeadLetter) else self._by_id(one) for one in several]

    def _by_id(self, given: Any) -> DeadLetter:
        found = _ID.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            raise ConfigurationError(
                f"{excerpt(given)} is not the id of a dead letter: pass one that `dead list` prints"
            )
        number, event = found["number"], found["event"]  # an event that came too early has no number
        asked = {"run": UUID(found["run"]), "number": number and int(number), "event": event and UUID(event)}
        for letter in self._read(asked, MOST_LETTERS):  # the event's own, or those of its deliveries
            if letter.id.lower() == given.lower():
                return letter
        raise ConfigurationError(f"{given}: {NOT_THERE}, or it has been answered")

    def _answered(
        self, letter: DeadLetter, wish: Callable[..., Any], reason: str, by: str, joining: Joining | None = None
    ) -> LetterOutcome:
        return self._asked(letter, wish(address=address_of(letter), seen=letter.dead_at, reason=reason, by=by), joining)

    def _asked(self, letter: DeadLetter, event: RunEvent, joining: Joining | None = None) -> LetterOutcome:
        outcome = self._loop.handle(letter.run, event, wait_for_broker=False, joining=joining)
        if outcome is None:
            return _refused(letter, NOT_THERE)
        decision = outcome.decision
        if decision.accepted:
            return LetterOutcome(id=letter.id, answer=LetterAnswer.DONE)
        return _refused(letter, getattr(decision, "refusal", None) or NOT_THERE)

    def _replayed(
        self, letter: DeadLetter, to: str | None, reason: str, by: str, joining: Joining | None
    ) -> LetterOutcome:
        if to not in (None, letter.handler) and (letter.kind is not LetterKind.LATE or letter.handler is not None):
            return _refused(letter, ONLY_LATE)
        if letter.handler is not None:
            return self._answered(letter, ReplayRequested, reason, by, joining)
        if letter.kind is LetterKind.LATE:
            return _refused(letter, NOT_NAMED) if to is None else self._delivered(letter, to, reason, by, joining)
        if letter.kind is not LetterKind.EARLY:
            return _refused(letter, NO_HANDLER)
        detail = {"reason": reason, "by": by, "event": str(letter.event)}
        is_delivered, has_run = self._letters.deliver_early(letter.run, letter.event, detail)
        if not is_delivered:
            return _refused(letter, CHANGED if has_run else NO_RUN)
        self._loop.poke(letter.run, wait_for_broker=False)
        return LetterOutcome(id=letter.id, answer=LetterAnswer.DONE)

    def _delivered(self, letter: DeadLetter, to: str, reason: str, by: str, joining: Joining | None) -> LetterOutcome:
        run = self._instances.read(letter.run)
        declared = None if run is None else choreography_of(run.saga, run.version)
        takes = declared is not None and declared.takes(to, letter.type)
        assert letter.number is not None
        wish = DeliveryRequested(
            number=letter.number, handler=to, seen=letter.dead_at, reason=reason, by=by, takes=takes
        )
        return self._asked(letter, wish, joining)

    def _seen(self, letter: DeadLetter, reason: str, by: str) -> LetterOutcome:
        detail = {"reason": reason, "by": by, "event": letter.number or str(letter.event)}
        if self._letters.acknowledge(letter.run, letter.event, detail):
            return LetterOutcome(id=letter.id, answer=LetterAnswer.DONE)
        return _refused(letter, CHANGED)


def _check_words(reason: str, by: str) -> None:
    """Check what the history is to say. Raises ConfigurationError."""
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigurationError("pass reason=…: it is kept in the history to say why")
    checked_text(reason, "the reason", LONGEST_REASON, ConfigurationError)
    checked_text(by, "by=", error=ConfigurationError)


def _has_events(filters: dict[str, Any]) -> bool:
    """Return whether events that no handler gets are asked for, too."""
    return filters.get("handler") is None and filters.get("error") is None


def address_of(letter: DeadLetter) -> Address:
    """Return the address of the delivery, or of the undo, that a letter is about."""
    return Address.parse(letter.id.partition(":")[2])


def _refused(letter: DeadLetter, why: str) -> LetterOutcome:
    answer = LetterAnswer.CHANGED if why == CHANGED else LetterAnswer.REFUSED
    return LetterOutcome(id=letter.id, answer=answer, reason=why)
