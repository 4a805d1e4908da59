"""Pictures as they should be. ``python -m tests.unit.graph.golden`` draws them anew: look at them before you commit."""

from pathlib import Path

from sagas.graph import choreography
from sagas.model.choreography import ChoreographyPlan
from tests.unit.choreography.fulfilment import bound, fulfilment

HERE = Path(__file__).parent


def plan() -> ChoreographyPlan:
    return fulfilment.plan(bound("golden").engine)


def drawn() -> dict[Path, str]:
    """Each file with its text as it is drawn now."""
    return {
        HERE / "fulfilment.mmd": choreography.mermaid(plan()),
        HERE / "fulfilment.svg": choreography.svg(plan()),
    }
