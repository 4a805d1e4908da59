"""Draw a choreography: its events, the handlers that hear and publish them, and their undos."""

from sagas.graph.choreography.mermaid import mermaid
from sagas.graph.choreography.svg import svg

__all__ = ["mermaid", "svg"]
