"""Progress as server-sent events."""

from typing import Any


def event_stream(request: Any, handle: Any, timeout: float = 60.0) -> Any:
    raise NotImplementedError
