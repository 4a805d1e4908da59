"""All reversals."""

from tests.holes.critical import CRITICAL
from tests.holes.critical_liveness import CRITICAL_LIVENESS
from tests.holes.high import HIGH
from tests.holes.high_callers import HIGH_CALLERS
from tests.holes.medium import MEDIUM

LETTERS = [f"{group}{number}" for group, last in (("C", 10), ("H", 13), ("M", 14)) for number in range(1, last + 1)]

TABLE = sorted(
    (*CRITICAL, *CRITICAL_LIVENESS, *HIGH, *HIGH_CALLERS, *MEDIUM), key=lambda reversal: LETTERS.index(reversal.letter)
)
