"""Draw sagas, instances with the path they took, and choreographies: Mermaid text or SVG, without a network."""

from sagas.graph import choreography
from sagas.graph.mermaid import mermaid
from sagas.graph.svg import svg

__all__ = ["choreography", "mermaid", "svg"]
