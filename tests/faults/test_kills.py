"""SIGKILL at random moments, under the library's own timings: nothing is lost, done twice or stuck.

The broker is Valkey with its default visibility timeout of an hour, so whatever runs again does so because of
heartbeats and sweeps. Times are the database's: from just before the kill to the claim with which the step ran
again.
"""

import os
import random
import signal
from collections.abc import Callable
from time import monotonic, sleep

from config.demo import faults
from sagas import SagaHandle
from tests.faults.killed_at_end import killed_at_end
from tests.faults.order_shop import ACTIONS, UNDOS, OrderShop
from tests.faults.results_table import FaultResults
from tests.support.workers import Worker, eventually

MakeResults = Callable[[str], FaultResults]

#: The demand: a dead worker's step runs again within this many seconds.
WITHIN = 15.0
#: How long the step to be killed in lasts on either side of its effect, in seconds.
SHORTEST, LONGEST = 0.7, 1.5
#: As many as two workers of `-c 2` run at once, so that the victim has a share of them.
ORDERS = 4


def slow_down(step: str, operation: tuple[str, str], dice: random.Random) -> float:
    """Make one step of all orders slow, before and after its effect; returns how long it takes."""
    before, after = dice.uniform(SHORTEST, LONGEST), dice.uniform(SHORTEST, LONGEST)
    faults.inject(*operation, "latency", moment="before", seconds=before)
    faults.inject(*operation, "latency", moment="after", seconds=after)
    print(f"{step} takes {before:.2f} s before and {after:.2f} s after its effect")
    return before + after


def forward_story(shop: OrderShop, dice: random.Random) -> tuple[str, int, float, list[SagaHandle]]:
    """Orders of which some will be refused, and the action in which the kill shall strike."""
    faults.clear()
    step = dice.choice(list(ACTIONS))
    lasts = slow_down(step, ACTIONS[step], dice)
    keys = [f"order-{dice.getrandbits(64):x}" for _ in range(ORDERS)]
    for key in keys:
        # A pivot in doubt that then says no needs a person, by design: so no refusals where the pivot is killed.
        refused = dice.choice([None, "charge_payment", "create_shipment"])
        if refused and step in ("reserve_inventory", "charge_payment"):
            faults.inject(*ACTIONS[refused], "refuse", order_id=key)
    return step, 0, lasts, [shop.order(key) for key in keys]


def backward_story(shop: OrderShop, dice: random.Random) -> tuple[str, int, float, list[SagaHandle]]:
    """Orders that the shipping refuses, and the compensation in which the kill shall strike."""
    faults.clear()
    step = dice.choice(list(UNDOS))
    lasts = slow_down(f"the compensation of {step}", UNDOS[step], dice)
    faults.inject("shipping", "create", "refuse")
    return step, 1, lasts, [shop.order(f"order-{dice.getrandbits(64):x}") for _ in range(ORDERS)]


def kill_child(victim: Worker, dice: random.Random) -> None:
    os.kill(dice.choice(victim.children()), signal.SIGKILL)


def kill_worker(victim: Worker, dice: random.Random) -> None:
    victim.kill()


def wait_until(condition: Callable[[], bool], timeout: float) -> None:
    gives_up_at = monotonic() + timeout
    while not condition() and monotonic() < gives_up_at:
        sleep(0.2)


def one_round(
    shop: OrderShop,
    victim: Worker,
    dice: random.Random,
    results: FaultResults,
    story: Callable[[OrderShop, random.Random], tuple[str, int, float, list[SagaHandle]]],
    strike: Callable[[Worker, random.Random], None],
    busy: int,
) -> bool:
    """Orders, a kill at a random moment, the end of all. False: the kill hit no step, which does not count."""
    step, round_, lasts, runs = story(shop, dice)

    def holds() -> bool:
        held = [held for held in shop.held_by(victim) if (held.name, min(held.round, 1)) == (step, round_)]
        return len(held) >= busy

    eventually(holds, f"the victim to hold {step}, round {round_}", 60, every=0.02)
    sleep(dice.uniform(0.0, 0.8) * lasts)  # the random moment, before or after the effect
    killed_at = shop.clock()
    strike(victim, dice)

    # Whatever has not ended by then is counted as stuck, so that the table tells it.
    wait_until(lambda: all(run.status.is_final for run in runs), 90)
    for run in runs:
        results.add_end(run.status)
        if run.status not in ("completed", "compensated"):
            results.stuck.append(f"{run.key}: {run.history()}")
    results.add_violations(shop.violations(runs))
    losses = shop.losses(killed_at)
    results.seconds += [seconds for *_, seconds in losses if seconds is not None]
    return bool(losses)


def strike_often(
    shop: OrderShop,
    rounds: int,
    dice: random.Random,
    results: FaultResults,
    story: Callable[[OrderShop, random.Random], tuple[str, int, float, list[SagaHandle]]],
    strike: Callable[[Worker, random.Random], None],
    *,
    busy: int = 1,
) -> None:
    victim = shop.worker(name="victim")
    with killed_at_end(shop.worker(name="survivor"), victim):
        for _ in range(3 * rounds):
            if victim.process is not None and victim.process.poll() is not None:
                victim.start()
            results.rounds += one_round(shop, victim, dice, results, story, strike, busy)
            if results.rounds == rounds:
                break
    print(results.row())
    assert results.rounds == rounds, "the kills hit too few steps"
    assert (results.lost, results.twice, results.stuck) == ([], [], [])
    assert max(results.seconds) < WITHIN


def test_a_pool_child_killed_in_a_step_costs_nothing_but_seconds(
    default_orders: OrderShop, rounds: int, dice: random.Random, make_results: MakeResults
) -> None:
    # Both of the victim's children are busy, so whichever is killed held a step.
    strike_often(default_orders, rounds, dice, make_results("pool child in a step"), forward_story, kill_child, busy=2)


def test_a_whole_worker_killed_in_a_step_costs_nothing_but_seconds(
    default_orders: OrderShop, rounds: int, dice: random.Random, make_results: MakeResults
) -> None:
    strike_often(default_orders, rounds, dice, make_results("worker in a step"), forward_story, kill_worker)


def test_a_whole_worker_killed_in_a_compensation_costs_nothing_but_seconds(
    default_orders: OrderShop, rounds: int, dice: random.Random, make_results: MakeResults
) -> None:
    strike_often(default_orders, rounds, dice, make_results("worker in a compensation"), backward_story, kill_worker)
