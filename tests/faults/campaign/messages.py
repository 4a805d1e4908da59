"""What happens to messages: doubled, out of order, late, lost; and those that nobody should have sent."""

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Course, NotNow, fault

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries

STEPS = "celery"
POISON = {
    "[1]": b"[1]",
    "{}": b"{}",
    "null": b"null",
    "not JSON": b"{]",
    "1 MB": json.dumps([["x" * 1_000_000], {}, {}]).encode(),
    "unknown task": b"[[], {}, {}]",
    "a saga's step without a saga": json.dumps([[], {"saga_id": str(uuid4())}, {}]).encode(),
}


def waiting(client: Any) -> list[bytes]:
    try:
        found: list[bytes] = client.lrange(STEPS, 0, -1)
    except RedisError as error:
        raise NotNow from error
    if not found:
        raise NotNow
    return found


@fault("messages doubled", "messages", subject="broker", weight=1.5, quick=True, broker="valkey")
def double(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    """Of those that wait, and of those that somebody has taken and not acknowledged: a redelivery."""
    with environment.redis() as client:
        try:
            copies: list[bytes] = client.lrange(STEPS, 0, 20)  # type: ignore[assignment,unused-ignore]
            for entry in client.hvals("unacked"):  # type: ignore[union-attr,unused-ignore]
                message, _, queue = json.loads(entry)
                if queue == STEPS:
                    copies.append(json.dumps(message).encode())
            if not copies:
                raise NotNow
            client.rpush(STEPS, *copies)
        except RedisError as error:
            raise NotNow from error
    strike.detail = f"{len(copies)}"
    yield from ()


@fault("messages out of order", "messages", subject="broker", weight=1, quick=True, broker="valkey")
def shuffle(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    with environment.redis() as client:
        moved = waiting(client)[:50]
        environment.dice.shuffle(moved)
        for message in moved:
            # Those that are gone by now were taken.
            if client.lrem(STEPS, 1, message):  # type: ignore[arg-type,unused-ignore]
                client.lpush(STEPS, message)
    strike.detail = f"{len(moved)}"
    yield from ()


@fault("messages held back", "messages", subject="broker", weight=1, broker="valkey")
def hold(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    held = taken(environment)
    strike.detail = f"{len(held)}"
    try:
        yield environment.dice.choice([3.0, 12.0])
    finally:
        with environment.redis() as client, contextlib.suppress(RedisError):
            client.lpush(STEPS, *held)


@fault("messages lost", "messages", subject="broker", weight=1, quick=True, broker="valkey")
def lose(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    strike.detail = f"{len(taken(environment))}"
    yield from ()


def taken(environment: FaultEnvironment) -> list[bytes]:
    with environment.redis() as client:
        found = [message for message in waiting(client) if environment.dice.random() < 0.5]
        mine = [message for message in found if client.lrem(STEPS, 1, message)]  # type: ignore[arg-type,unused-ignore]
    if not mine:
        raise NotNow
    return mine


def poison(client: "Redis", queue: str, what: str) -> str:
    """Put a message into a queue that no program of ours would have sent; returns it as it is stored."""
    name = str(uuid4())
    message = {
        "body": base64.b64encode(POISON[what]).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "campaign.withdraw" if what.startswith(("1 MB", "a saga")) else "campaign.nobody_knows",
            "id": name,
            "root_id": name,
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": name,
        },
    }
    if what in ("[1]", "{}", "null"):
        message["headers"] = {"task": "campaign.withdraw", "id": name}
    client.rpush(queue, json.dumps(message))
    return name


@fault("poison message", "poison", subject="poison", weight=1.5, quick=True, broker="valkey")
def send_poison(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    """Whoever meets it may die of it, and meet it again; after some seconds somebody takes it out."""
    what = environment.deal(POISON)
    queue = environment.dice.choice([STEPS, STEPS, "sagas"])
    strike.detail = f"{what} for {queue}"
    try:
        with environment.redis() as client:
            name = poison(client, queue, what)
    except RedisError as error:
        raise NotNow from error
    try:
        yield 8.0
    finally:
        remove(environment, queue, name)


def remove(environment: FaultEnvironment, queue: str, name: str) -> None:
    try:
        with environment.redis() as client:
            for message in client.lrange(queue, 0, -1):  # type: ignore[union-attr,unused-ignore]
                if name.encode() in message:
                    client.lrem(queue, 1, message)
            client.hdel("unacked", name)
            client.zrem("unacked_index", name)
    except RedisError:
        pass  # it went with the broker, or it stays
