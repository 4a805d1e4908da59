"""Which fault strikes when, until the time is over; then healing, settling and the books."""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg2
from redis.exceptions import RedisError

from config.servers import ServerError
from tests.faults.campaign.books import ALWAYS
from tests.faults.campaign.catalogue import chosen
from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Fault, NotNow
from tests.faults.campaign.kills import kill_the_busiest
from tests.faults.campaign.outages import restart_the_database
from tests.faults.campaign.recoveries import Loss, Recoveries, Restarts

TICK = 0.1
LONGEST_QUEUE = "longest queue"
#: Between two looks at the money, in seconds.
BOOKKEEPING = 15.0
#: While recoveries are measured: so many sagas at once, and a kill each so many heartbeats.
FEW, APART = 4, 7.0
CALM = Fault(
    name="SIGKILL of a whole worker, the others free",
    group="kills",
    subject=None,
    weight=0,
    quick=False,
    broker=None,
    strike=kill_the_busiest,
)

AWAY = Fault(
    name="PostgreSQL shut down and away, nothing else",
    group="database",
    subject="database",
    weight=0,
    quick=False,
    broker=None,
    strike=restart_the_database,
)
#: While restarts of the database are measured: so many sagas at once, and one each so many seconds.
SOME, SELDOM = 12, 12.0


@dataclass
class Strike:
    """One time that a fault struck."""

    fault: Fault
    began: float
    ended: float | None = None
    detail: str = ""


@dataclass
class Watch:
    """What was seen on the way."""

    most: dict[str, int] = field(default_factory=dict)

    def see(self, what: str, amount: int) -> None:
        self.most[what] = max(self.most.get(what, 0), amount)


class FaultRunner:
    """Strikes, supervises and watches, in one thread."""

    def __init__(self, environment: FaultEnvironment) -> None:
        self.environment = environment
        self.recoveries = Recoveries(environment)
        self.restarts = Restarts(environment)
        self.strikes: list[Strike] = []
        self.watch = Watch()
        self.unbalanced: list[str] = []
        self.broken_tools: list[str] = []
        self._dice = random.Random(f"{environment.settings.seed} conductor")
        self._faults = chosen(environment.settings)
        self._deck: list[Fault] = []
        self._under_way: list[tuple[float, Strike, Iterator[float]]] = []
        self._struck_at: list[float] = []
        self._next_strike = 0.0
        self._next_look = 0.0
        self._next_audit = BOOKKEEPING
        #: Until then nothing but the measured kills happened.
        self.calm_until = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> "FaultRunner":
        return self

    def __exit__(self, *reason: object) -> None:
        """Whatever has struck lets go before the servers stop: afterwards it would start them again."""
        for _, _, course in self._under_way:
            with contextlib.suppress(Exception):
                course.close()  # type: ignore[attr-defined]

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    # -- the acts

    def pile_up(self) -> None:
        """Let the backlog come about: the starter starts, and no worker is there. Then they come."""
        backlog = self.environment.settings.backlog
        if not backlog:
            return
        self._want_workers(False)
        while (self.environment.in_flight() or 0) < backlog and not self.environment.starter.exits[0]:
            self._tick()
        print(f"{self.now:7.1f} s  a backlog of {self.environment.in_flight()}; the workers come", flush=True)
        self._want_workers(True)
        self._began, self._next_look, self._next_audit = time.monotonic(), 0.0, BOOKKEEPING

    def _want_workers(self, wanted: bool) -> None:
        for worker in self.environment.workers:
            worker.wanted = wanted

    def measure(self) -> None:
        """What single faults cost, in an environment with little to do and where nothing else goes wrong."""
        self._measure_recoveries()
        self._measure_restarts()

    def _measure_restarts(self) -> None:
        """Take the database away, again and again."""
        wanted = self.environment.settings.restarts
        if not wanted:
            return
        self.environment.keep_in_flight(SOME)
        with self.environment.gentle():
            # Until what died before has been found.
            self.linger(2 * SELDOM)
            while wanted and not self.environment.starter.exits[0]:
                self._tick()
                held_up = self.restarts.before()
                if held_up and self._begin(AWAY):
                    while self._under_way:
                        self._tick()
                    self.restarts.after(held_up, self.strikes[-1].detail)
                    self.linger(SELDOM)
                    wanted -= 1
        self.environment.keep_in_flight(self.environment.settings.at_once)

    def _measure_recoveries(self) -> None:
        """Kill worker after worker, each time one that has something to lose while the others have little to do."""
        settings = self.environment.settings
        wanted = settings.recoveries
        if not wanted:
            return
        self.environment.keep_in_flight(FEW)
        next_kill = self.now + 8.0
        while len(self.strikes) < wanted and not self.environment.starter.exits[0]:
            self._tick()
            if self.now >= next_kill and self._begin(CALM):
                next_kill = self.now + APART * settings.heartbeat
        self.linger(APART * settings.heartbeat)
        self.calm_until = self.now
        self.environment.keep_in_flight(settings.at_once)

    def play(self) -> None:
        """Faults, until the time is over or all sagas have ended."""
        settings = self.environment.settings
        already = len(self.strikes)
        self._next_strike = self.now + 5.0
        while self.now < settings.minutes * 60:
            self._tick()
            may_strike = settings.strikes is None or len(self.strikes) - already < settings.strikes
            if may_strike and self.now >= self._next_strike and self._faults:
                self._next_strike = self.now + self._dice.expovariate(1 / settings.gap)
                self._strike()
            if not may_strike and not self._under_way:
                return
            if self.environment.starter.exits[0] and self.environment.in_flight() == 0:
                return

    def settle(self) -> float | None:
        """No more faults: everything ends by itself. Seconds that it took; None: something is stuck."""
        self._cure_all()
        self.environment.heal()
        began = self.now
        while self.now < began + self.environment.settings.patience + self._time_to_start():
            self._tick()
            started = not self.environment.starter.wanted or self.environment.starter.exits[0]
            if started and self.environment.in_flight() == 0:
                return self.now - began
        return None

    def linger(self, seconds: float) -> None:
        """Let the processes go on for a moment."""
        until = self.now + seconds
        while self.now < until:
            self._tick()

    def losses_with_times(self) -> list[tuple[Loss, float]]:
        """Each step that a kill interrupted, with the moment of the strike."""
        return list(zip(self.recoveries.losses, self._struck_at, strict=True))

    def _time_to_start(self) -> float:
        """Those who have struck often enough still let the starter finish."""
        settings = self.environment.settings
        if self.now >= settings.minutes * 60:
            self.environment.starter.wanted = False
            self.environment.starter.kill()
        return 0.0 if not self.environment.starter.wanted else settings.minutes * 60 - self.now

    # -- one moment

    def _tick(self) -> None:
        self.environment.supervise()
        for item in list(self._under_way):
            if self.now >= item[0]:
                self._under_way.remove(item)
                self._go_on(*item[1:])
        if self.now >= self._next_look:
            self._next_look = self.now + 2.0
            self._look()
        time.sleep(TICK)

    def _strike(self) -> None:
        taken = {strike.fault.subject for _, strike, _ in self._under_way}
        if self.environment.settings.deal and not self._deck:
            self._deck = self._dice.sample(self._faults, len(self._faults))
        faults = self._deck if self.environment.settings.deal else self._faults
        faults = [fault for fault in faults if fault.subject is None or fault.subject not in taken]
        if not faults:
            return
        fault = self._dice.choices(faults, [fault.weight for fault in faults])[0]
        if self._begin(fault) and self.environment.settings.deal:
            self._deck.remove(fault)

    def _begin(self, fault: Fault) -> bool:
        """Whether there was something to strike at."""
        strike = Strike(fault, self.now)
        struck = self._go_on(strike, fault.strike(self.environment, strike, self.recoveries))
        if struck:
            self.strikes.append(strike)
            print(f"{self.now:7.1f} s  {fault.name}  {strike.detail}", flush=True)
        self._struck_at += [strike.began] * (len(self.recoveries.losses) - len(self._struck_at))
        return struck

    def _go_on(self, strike: Strike, course: Iterator[float]) -> bool:
        try:
            pause = next(course)
        except StopIteration:
            strike.ended = self.now
        except NotNow:
            return False
        except (OSError, psycopg2.Error, RedisError, ServerError) as error:
            # A tool that broke is no reason to end a long campaign; `heal` mends what it has left behind.
            self.broken_tools.append(f"{strike.fault.name}: {error!r:.200}")
            strike.ended = self.now
        else:
            self._under_way.append((self.now + pause, strike, course))
        return True

    def _cure_all(self) -> None:
        """Whatever has struck is to let go: what stands behind `finally`."""
        for _, strike, course in self._under_way:
            course.close()  # type: ignore[attr-defined]
            strike.ended = self.now
        self._under_way = []

    def _look(self) -> None:
        self.recoveries.follow()
        self.restarts.follow()
        if self.now >= self._next_audit:
            self._next_audit = self.now + BOOKKEEPING
            self.unbalanced += [f"after {self.now:.0f} s: {found}" for found in self.environment.audit(ALWAYS)]
        in_flight = self.environment.in_flight()
        if in_flight is not None:
            self.watch.see("in flight", in_flight)
        length = self.environment.broker.length()
        if length is not None:
            self.watch.see(LONGEST_QUEUE, length)
