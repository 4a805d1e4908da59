"""The runnable application; `celery -A config` finds its app here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from config.celery_app import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    # The app reads its database from the environment at import. So it is imported only when it is asked for: a caller
    # that uses only `config.servers` may still be about to start that database.
    if name == "app":
        from config.celery_app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
