"""`Bridge`: which events of a choreography leave for another service, and which come from it."""

from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction

from sagas.bridges.receiving import Receiver
from sagas.bridges.signing import checked_keys
from sagas.choreography import Choreography
from sagas.choreography.signatures import EventClasses
from sagas.definition.part import NAME
from sagas.engine import Engine, engine_for
from sagas.errors import ConfigurationError, DefinitionError

#: Takes the body of a message and its headers, and returns once they are stored; raises if they are not.
Publish = Callable[[bytes, dict[str, str]], object]

_bridges: dict[str, "Bridge"] = {}


class Bridge:
    """Events go both ways between this service and another one, which has its own database and broker.

    Both services declare one, each with the other's name, and run ``celery -A … sagas bridge run NAME``. Runs of one
    choreography, or of two, belong together by their business key.

    Args:
        name: the other service, as it calls itself in its ``source=``.
        source: this service.
        choreography: the one whose events leave, and into which others come. No other is reached.
        types: the classes of the events that leave.
        accepts: the classes of the events that may come. The choreography's ``starts=`` begins a run here.
        keys: secret keys that both services have. The first one signs, and all are accepted, so that they can be
            replaced one by one.
        broker: the URL of the broker between the two, best with a user of its own.
        publish: a function instead of a broker that kombu supports. It gets the body of a message and its headers,
        returns once the message is stored on the way, and raises if it is not. Pass messages that arrive to `receive`.
        sends_secrets: whether fields that `Sagas(secrets=…)` names leave, in the clear. By default they stay.

    Raises:
        DefinitionError, ConfigurationError: it cannot work; the message names the culprit and the cure.
    """

    def __init__(
        self,
        name: str,
        *,
        source: str,
        choreography: Choreography,
        keys: Sequence[str | bytes],
        types: EventClasses = (),
        accepts: EventClasses = (),
        broker: str | None = None,
        publish: Publish | None = None,
        sends_secrets: bool = False,
    ) -> None:
        for what, given in (("name", name), ("source", source)):
            if not isinstance(given, str) or not NAME.fullmatch(given):
                raise DefinitionError(f"bridge {name!r}: {what}={given!r} must be letters, digits, '_', '.' or '-'")
        self.name, self.source = name, source
        if name == source:
            raise DefinitionError(
                f"{self.who}: source={source!r} is this service: pass the name of the other one as the first argument"
            )
        if not isinstance(choreography, Choreography):
            raise DefinitionError(
                f"{self.who}: choreography={choreography!r:.80} is not a choreography: pass the object, not its name"
            )
        if (broker is None) == (publish is None):
            raise ConfigurationError(f"{self.who}: pass broker=, the URL of a broker, or publish=, a function")
        if publish is not None and (not callable(publish) or iscoroutinefunction(publish)):
            raise ConfigurationError(
                f"{self.who}: publish={publish!r:.80} must be a plain function that returns once a message is taken; "
                "nothing awaits a coroutine"
            )
        self.keys = checked_keys(keys, self.who)
        self.broker, self.publish, self.sends_secrets = broker, publish, sends_secrets
        self.choreography = choreography
        former = _bridges.get(name)
        if former is not None and former.choreography.name != choreography.name:
            raise DefinitionError(
                f"{self.who} is declared twice, for {former.choreography.name!r} and {choreography.name!r}: give each "
                "a service name of its own"
            )
        self.plan = choreography.bridged(name, types, accepts)
        if not (self.plan.sends or self.plan.accepts):
            raise DefinitionError(f"{self.who}: name the events that leave in types=, or those that come in accepts=")
        _bridges[name] = self

    def __repr__(self) -> str:  # without its keys, and without the password of its broker
        return f"Bridge({self.name!r}, source={self.source!r}, choreography={self.choreography.name!r})"

    @property
    def who(self) -> str:
        """The beginning of an error about it."""
        return f"bridge {self.name!r}"

    @property
    def outgoing(self) -> str:
        """The queue of outgoing messages."""
        return f"sagas-bridge.{self.source}.{self.name}"

    @property
    def incoming(self) -> str:
        """The queue of incoming messages."""
        return f"sagas-bridge.{self.name}.{self.source}"

    def receive(self, body: bytes, headers: Mapping[str, str | bytes]) -> None:
        """Take a message that arrived by other means than the broker. Acknowledge it there once this has returned.

        Args:
            body: exactly the bytes that the other side's ``publish=`` got.
            headers: the headers that it got; case and further headers do not matter.

        Raises:
            DatabaseUnreachable, SQLAlchemyError: it is not stored: take it again later.
        """
        Receiver(self.engine, self).receive(body, {name.lower(): value for name, value in headers.items()})

    @property
    def engine(self) -> Engine:
        return engine_for(self.choreography.tasks(), self.who)


def bridges() -> list[Bridge]:
    """Return every bridge that this process has declared, by name."""
    return [bridge for _, bridge in sorted(_bridges.items())]


def bridge_named(name: str) -> Bridge:
    """Return a bridge. Raises ConfigurationError if this process has not declared it."""
    if name not in _bridges:
        known = ", ".join(sorted(_bridges)) or "none"
        raise ConfigurationError(f"no bridge {name!r} is declared here ({known}): import the module that declares it")
    return _bridges[name]
