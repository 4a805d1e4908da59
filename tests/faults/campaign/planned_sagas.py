"""What is started: saga number n of a seed is always the same one, whoever starts it and however often."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.campaign.bank import POOR, RICH

#: How often each saga is started, of all.
KINDS = {
    "transfer": 28,
    "purchase": 20,
    "basket": 12,
    "approval": 10,
    "family": 10,
    "careful": 10,
    "exclusive": 10,
    "remittance": 20,
}
#: The worker steps of each, in their order.
STEPS = {
    "transfer": ("withdraw", "deposit", "confirm"),
    "purchase": ("reserve1", "reserve2", "reserve3", "reserve4", "reserve5", "capture", "pay_out", "notify"),
    "basket": ("reserve1", "reserve2", "reserve3", "reserve4", "notify", "capture"),
    "approval": ("withdraw", "deposit", "confirm"),
    "family": ("withdraw", "deposit1", "deposit2", "confirm"),
    "careful": ("withdraw", "deposit", "confirm"),
    "exclusive": ("withdraw", "deposit", "confirm"),
    "remittance": ("withdraw", "deposit", "enter", "notify"),
}
#: The last step that may say no.
LAST_WORD = {"purchase": "capture", "basket": "capture"}
#: Steps past which there is no way back, and what may fail without hurting anybody: they refuse nothing.
NEVER_REFUSE = ("pay_out", "enter", "notify")


@dataclass(frozen=True, kw_only=True)
class PlannedSaga:
    """One saga to start.

    Attributes:
        joined: it is started inside a transaction of the starter's own.
        rolled_back_first: the first such transaction is rolled back.
        signal_after: seconds from its start to the signal that it waits for; None: it never comes.
        cancel_after: seconds from its start until it is cancelled; None: it is not.
        deadline: seconds.
    """

    key: str
    kind: str
    data: dict[str, Any]
    joined: bool
    rolled_back_first: bool
    signal_after: float | None
    cancel_after: float | None
    deadline: float | None


def planned_saga(seed: int, number: int, pace: float = 1.0) -> PlannedSaga:
    """Saga `number` of this seed; its steps' pauses are multiplied by `pace`."""
    dice = random.Random(f"{seed} wish {number}")
    kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
    data: dict[str, Any] = {"script": script(kind, dice, pace), **MOVES[kind](dice)}
    impossible = dice.choice(["raise", "manual"]) if kind in ("transfer", "approval") and chance(dice, 0.02) else None
    if impossible:
        data["impossible"] = impossible
        data["script"]["confirm"] = "before:no"
    joined = chance(dice, 0.3)
    return PlannedSaga(
        key=f"{seed}-{number}",
        kind=kind,
        data=data,
        joined=joined,
        rolled_back_first=joined and chance(dice, 0.1),
        signal_after=dice.choice([0.0, 0.2, 2.0, 5.0]) if not chance(dice, 0.1) else None,
        cancel_after=dice.uniform(0.0, 3.0) if chance(dice, 0.04) else None,
        deadline=dice.uniform(2.0, 10.0) if chance(dice, 0.04) else None,
    )


def chance(dice: random.Random, share: float) -> bool:
    return dice.random() < share


# -- what moves


def transfer_moves(dice: random.Random) -> dict[str, Any]:
    amount, (source, target, house) = dice.randint(20, 100), dice.sample(RICH, 3)
    if chance(dice, 0.05):
        source = dice.choice(POOR)  # who never has as much
    return {
        "moves": {
            "withdraw": [source, None, amount],
            "charge_fee": [target, house, 1],
            "deposit": [None, target, amount],
        }
    }


def purchase_moves(dice: random.Random) -> dict[str, Any]:
    wanted = dice.randint(2, 5)
    *payers, shop, supplier = dice.sample(RICH, 7)
    amounts = [dice.randint(1, 50) for _ in range(wanted)]
    moves: dict[str, Any] = {
        f"reserve{number}": [payers[number - 1], None, amount] for number, amount in enumerate(amounts, 1)
    }
    moves |= {"capture": [None, shop, sum(amounts)], "pay_out": [shop, supplier, sum(amounts)], "notify": NOTE}
    return {"moves": moves, **{f"wants{number}": number <= wanted for number in (3, 4, 5)}}


def basket_moves(dice: random.Random) -> dict[str, Any]:
    *payers, shop = dice.sample(RICH, 5)
    amounts = [dice.randint(1, 50) for _ in payers]
    if chance(dice, 0.1):
        payers[-1] = dice.choice(POOR)
    moves: dict[str, Any] = {
        f"reserve{number}": [payer, None, amount]
        for number, (payer, amount) in enumerate(zip(payers, amounts, strict=True), 1)
    }
    return {"moves": moves | {"capture": [None, shop, sum(amounts)], "notify": NOTE}}


def family_moves(dice: random.Random) -> dict[str, Any]:
    source, first, second = dice.sample(RICH, 3)
    one, other = dice.randint(1, 50), dice.randint(1, 50)
    return {
        "moves": {
            "withdraw": [source, None, one + other],
            "deposit1": [None, first, one],
            "deposit2": [None, second, other],
        }
    }


def exclusive_moves(dice: random.Random) -> dict[str, Any]:
    source, target = dice.choice(RICH[:12]), dice.choice(RICH[12:])
    amount = dice.randint(1, 100)
    return {"account": source, "moves": {"withdraw": [source, None, amount], "deposit": [None, target, amount]}}


def remittance_moves(dice: random.Random) -> dict[str, Any]:
    moves = transfer_moves(dice)["moves"]
    return {"moves": {name: moves[name] for name in ("withdraw", "deposit")} | {"enter": NOTE, "notify": NOTE}}


NOTE: Sequence[Any] = [None, None, 1]
MOVES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "transfer": transfer_moves,
    "purchase": purchase_moves,
    "basket": basket_moves,
    "approval": transfer_moves,
    "family": family_moves,
    "careful": transfer_moves,
    "exclusive": exclusive_moves,
    "remittance": remittance_moves,
}


# -- what goes wrong without any fault of the machinery


def script(kind: str, dice: random.Random, pace: float) -> dict[str, Any]:
    """Lines of behaviours for each step and undo, one a try."""
    lines: dict[str, Any] = {}
    for step in STEPS[kind]:
        lines[step] = [try_of(dice, pace, limited=kind == "careful") for _ in range(dice.randint(1, 3))]
        if dice.random() < 0.3:
            lines[f"undo {step}"] = [try_of(dice, pace, limited=kind == "careful") for _ in range(dice.randint(1, 3))]
    if dice.random() < 0.2:
        # Somebody says no. Before the last word it is a clean no at any try; a pivot that has left doubt before it says
        # no needs a person, by design: that happens, and is named.
        refusing = [step for step in STEPS[kind] if step not in NEVER_REFUSE]
        lines[dice.choice(refusing)] = "before:no"
    return lines


def try_of(dice: random.Random, pace: float, *, limited: bool) -> str:
    """How one try goes: mostly well, if slowly."""
    parts = []
    if chance(dice, 0.4):
        parts.append(f"before:slow:{pause(dice) * pace:.3f}")
    if chance(dice, 0.3):
        parts.append(f"after:slow:{pause(dice) * pace:.3f}")
    moment = dice.choice(["before", "after"])
    trouble = dice.random()
    if trouble < 0.05:
        parts.append(f"{moment}:flaky")
    elif trouble < 0.06:
        parts.append(f"{moment}:memory")
    elif trouble < 0.07:
        parts.append(f"{moment}:exit")
    elif trouble < 0.08:
        parts.append(f"{moment}:interrupt")
    elif trouble < 0.085:
        parts.append(f"{moment}:die")
    elif trouble < 0.14 and limited:
        # The timeout is 2 s and strikes softly; who sleeps through that is ended 5 s later.
        parts.append(f"{moment}:{dice.choice(['slow:3.0', 'overrun:9.0'])}")
    return " ".join(parts)


def pause(dice: random.Random) -> float:
    return dice.choice([0.02, 0.05, 0.1, 0.3, 0.3, 0.8, 1.5])
