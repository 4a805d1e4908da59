"""Any saga, and any instance with the way it went, as a picture: Mermaid text or SVG, without a network."""

from sagas.graph.mermaid import mermaid
from sagas.graph.svg import svg

__all__ = ["mermaid", "svg"]
