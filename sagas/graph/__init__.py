"""Draw any saga, and any instance with the path it took: Mermaid text or SVG, without a network."""

from sagas.graph.mermaid import mermaid
from sagas.graph.svg import svg

__all__ = ["mermaid", "svg"]
