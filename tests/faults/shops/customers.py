"""Customers who order at a shop at a given pace, and how they were served."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from tests.faults.shops import watched
from tests.support.shops import Browser, ShopServer


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one customer got.

    Attributes:
        asked_at: of `time.monotonic()`.
        seconds: until the answer was there.
        sending: how many of these seconds the request was kept waiting by the library's sender.
    """

    order_id: str
    status: int
    asked_at: float
    seconds: float
    sending: float


class Customers:
    """As many people as there are browsers, who order whenever it is their turn.

    Each has opened the page before, so that an order is one request.
    """

    def __init__(self, shop: ShopServer, number: int) -> None:
        self._browsers = [shop.browser() for _ in range(number)]
        self._people = ThreadPoolExecutor(number)
        list(self._people.map(lambda browser: browser.get("/").raise_for_status(), self._browsers))

    def order(self, count: int, over: float) -> list[Answer]:
        """Place so many orders, spread evenly over so many seconds; 0: all as soon as possible."""
        began = time.monotonic()
        waiting = list(self._browsers)

        def one(number: int) -> Answer:
            time.sleep(max(0.0, began + number * over / count - time.monotonic()))
            browser = waiting.pop()
            try:
                return self._one(browser)
            finally:
                waiting.append(browser)

        return list(self._people.map(one, range(count)))

    @staticmethod
    def _one(browser: Browser) -> Answer:
        order_id, asked_at = uuid4().hex, time.monotonic()
        response = browser.order(order_id)
        return Answer(
            order_id=order_id,
            status=response.status_code,
            asked_at=asked_at,
            seconds=time.monotonic() - asked_at,
            sending=float(response.headers[watched.HEADER]),
        )

    def leave(self) -> None:
        self._people.shutdown()
        for browser in self._browsers:
            browser.close()


HEADER = (
    f"{'shop':10} {'broker':22} {'orders':>6} {'failed':>6}   {'p50':>6} {'p95':>6} {'max':>6}   {'of it sending':>13}"
)


def row(shop: str, broker: str, answers: Sequence[Answer]) -> str:
    """A line of the table that is printed at the end of a run; times in milliseconds."""
    failed = sum(answer.status != 201 for answer in answers)
    p50, p95, longest = (f"{quantile((a.seconds for a in answers), q) * 1000:6.0f}" for q in (0.5, 0.95, 1.0))
    sending = f"{max(answer.sending for answer in answers) * 1000:.0f} max"
    return f"{shop:10} {broker:22} {len(answers):6} {failed:6}   {p50} {p95} {longest}   {sending:>13}"


def quantile(values: Iterable[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
