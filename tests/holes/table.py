"""All reversals."""

from tests.holes.bridges import OF_BRIDGES
from tests.holes.choreography import OF_CHOREOGRAPHY
from tests.holes.continuing import OF_CONTINUING
from tests.holes.critical import CRITICAL
from tests.holes.critical_liveness import CRITICAL_LIVENESS
from tests.holes.doubt import OF_DOUBT
from tests.holes.headers import OF_HEADERS
from tests.holes.high import HIGH
from tests.holes.high_callers import HIGH_CALLERS
from tests.holes.high_later import HIGH_LATER
from tests.holes.letters import OF_LETTERS
from tests.holes.limits import OF_LIMITS
from tests.holes.lines import OF_LINES
from tests.holes.medium import MEDIUM
from tests.holes.plans import PLANS
from tests.holes.promises import PROMISES
from tests.holes.reversal import Reversal
from tests.holes.run_length import OF_RUN_LENGTH
from tests.holes.tasks import TASKS


def number(reversal: Reversal) -> int:
    return int(reversal.letter[1:])


#: Of doubt as the default, and of its neighbours.
DOUBT = sorted((*OF_DOUBT, *OF_HEADERS, *OF_LIMITS, *PLANS, *PROMISES, *TASKS), key=number)
LINES = sorted(OF_LINES, key=number)
CHOREOGRAPHY = sorted((*OF_CHOREOGRAPHY, *OF_BRIDGES, *OF_LETTERS, *OF_RUN_LENGTH), key=number)
GROUPS = (("C", 10), ("H", 13), ("M", 14))
LETTERS = [
    *(f"{group}{number}" for group, last in GROUPS for number in range(1, last + 1)),
    *dict.fromkeys(reversal.letter for reversal in (*DOUBT, *LINES)),
    *(reversal.letter for reversal in OF_CONTINUING if number(reversal) > 10),
    *dict.fromkeys(reversal.letter for reversal in CHOREOGRAPHY),
]

TABLE = sorted(
    (
        *CRITICAL,
        *CRITICAL_LIVENESS,
        *HIGH,
        *HIGH_CALLERS,
        *HIGH_LATER,
        *MEDIUM,
        *DOUBT,
        *LINES,
        *OF_CONTINUING,
        *CHOREOGRAPHY,
    ),
    key=lambda reversal: LETTERS.index(reversal.letter),
)
