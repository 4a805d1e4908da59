"""The shop as a Flask application. `python3 run.py shop flask` runs it.

`flask --app config.examples.flask_shop` and gunicorn find the factory here, `celery -A config.examples.flask_shop`
its Celery app.
"""

from typing import Any

from config.examples.flask_shop.shop import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # Importing this package creates no application unless Celery's app is asked for.
    if name == "celery":
        from config.examples.flask_shop.celery_app import celery

        return celery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
