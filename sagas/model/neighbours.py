"""Clashes between applications that share a broker or a schema, as found in what each reports of itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A worker, as it describes itself.

    Attributes:
        worker: its name, for the operator.
        app: the name of its Celery app.
        home: identifies the schema of its sagas.
        control_queue: the queue of its error callbacks, sweeps and purges.
        broker: its broker's URL without the password; None if it answered over this app's broker.
        plans: fingerprints of its sagas' plans, by name and version.
    """

    worker: str
    app: str | None
    home: str
    control_queue: str
    broker: str | None = None
    plans: Mapping[str, str] = field(default_factory=dict)


def place_of(home: str) -> str:
    """Describe a schema's mark for the operator."""
    database, _, schema = home.rpartition("/")[0].rpartition("/")
    return f"schema {schema!r} of database {database!r}"


def clashes(own: Neighbour, others: Iterable[Neighbour]) -> list[str]:
    """Return one line for each clash of an application with another one: what, why, and the cure."""
    found: dict[str, str] = {}  # one worker of a fleet stands for all
    for other in others:
        if other.home != own.home:
            if other.control_queue == own.control_queue:
                found.setdefault(f"queue {other.home}", _same_queue(own, other))
            continue
        if other.app != own.app and other.control_queue == own.control_queue:
            found.setdefault(f"schema {other.app}", _same_schema(own, other))
        for name, fingerprint in sorted(other.plans.items()):
            if own.plans.get(name, fingerprint) != fingerprint:
                found.setdefault(f"plan {name}", _same_saga(name, own, other))
    return list(found.values())


def other_brokers(own: Neighbour, others: Iterable[Neighbour]) -> list[str]:
    """Return one line for each other broker that workers of the same schema name; it may be ours by another name."""
    found: dict[str, str] = {}
    for other in others:
        if other.home == own.home and other.broker not in (None, own.broker):
            found.setdefault(
                str(other.broker),
                f"worker {other.worker} says that its broker is {other.broker}, and here it is {own.broker}: if these "
                "are two brokers, its sweep sends steps to where no worker of yours is. Give each a schema of its own",
            )
    return list(found.values())


def _same_queue(own: Neighbour, other: Neighbour) -> str:
    return (
        f"worker {other.worker} of app {other.app!r} consumes the control queue {own.control_queue!r} for sagas in "
        f"{place_of(other.home)}, and those of this app are in {place_of(own.home)}: they take each other's error "
        "callbacks, sweeps and purges. Give one of them a queue of its own: Sagas(control_queue='…'), or CONTROL_QUEUE "
        "in the SAGAS of Django's or Flask's settings"
    )


def _same_schema(own: Neighbour, other: Neighbour) -> str:
    return (
        f"worker {other.worker} is of app {other.app!r} and this is app {own.app!r}, both with sagas in "
        f"{place_of(own.home)} and the control queue {own.control_queue!r}: each sends the other's steps, by its own "
        "routes. Give one of them a schema of its own, Sagas(schema='…'), or at least a queue: Sagas(control_queue='…')"
    )


def _same_saga(name: str, own: Neighbour, other: Neighbour) -> str:
    saga, _, version = name.rpartition(":")
    return (
        f"worker {other.worker} has another plan of saga {saga!r} version {version}, in the same {place_of(own.home)}: "
        "a business key of one finds the instance of the other. If these are two services, give one of them a schema "
        "of its own, Sagas(schema='…'), and a queue, Sagas(control_queue='…'); if it is one service, raise the version"
    )
