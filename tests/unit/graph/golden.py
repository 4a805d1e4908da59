"""python -m tests.unit.graph.golden: write the golden files anew. Look at what `git diff` says of them."""

from pathlib import Path

from sagas.graph import choreography, mermaid, svg
from sagas.model import Plan
from sagas.model.choreography import BridgePlan
from tests.unit.choreography.fulfilment import bound, fulfilment
from tests.unit.graph.samples import Look
from tests.unit.graph.scenes import DRAWN, SCENES
from tests.unit.model.choreography.graphs import graph, handler

DIRECTORY = Path(__file__).parent / "golden"


def as_mermaid(scene: Plan | Look) -> str:
    return mermaid(scene.plan, scene) if isinstance(scene, Look) else mermaid(scene)  # type: ignore[arg-type]


def as_svg(scene: Plan | Look) -> str:
    """Return the document with each element on a line of its own, which can be compared."""
    return in_lines(svg(scene.plan, scene) if isinstance(scene, Look) else svg(scene))  # type: ignore[arg-type]


def in_lines(document: str) -> str:
    return document.replace("><", ">\n<").replace("}.", "}\n.")


#: A choreography with a bridge: what leaves by it, and what comes.
BRIDGED = graph(
    handler("order", "Asked", publishes=("Ordered",)),
    handler("ship", "Paid", publishes=("Shipped",)),
    starts="Asked",
    ends=("Shipped",),
    refuses=("Declined",),
    awaits=(("Declined", 7200.0),),
    bridges=(BridgePlan(name="billing", sends=("Ordered", "Shipped"), accepts=("Paid", "Declined")),),
)


def choreographed() -> dict[str, str]:
    """Return the pictures of choreographies."""
    drawn = {"choreography": fulfilment.plan(bound("golden").engine), "bridged": BRIDGED}
    charts = {f"{name}.mmd": choreography.mermaid(plan) for name, plan in drawn.items()}
    return charts | {f"{name}.svg": in_lines(choreography.svg(plan)) for name, plan in drawn.items()}


def pictures() -> dict[str, str]:
    """Return what each golden file should hold, by its name."""
    charts = {f"{name}.mmd": as_mermaid(scene) for name, scene in SCENES.items()}
    return charts | {f"{name}.svg": as_svg(SCENES[name]) for name in DRAWN} | choreographed()


def main() -> None:
    for file in DIRECTORY.iterdir():
        file.unlink()
    for name, picture in pictures().items():
        (DIRECTORY / name).write_text(picture)


if __name__ == "__main__":
    main()
