"""The commands that start each shop, as arguments of `python`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """One framework's shop.

    Attributes:
        celery: the argument of `celery -A`.
        prepare: commands that make the shop's and the sagas' tables.
        web: the command of its HTTP server, with a placeholder for the port.
    """

    celery: str
    prepare: tuple[tuple[str, ...], ...]
    web: tuple[str, ...]

    def serve(self, port: int) -> list[str]:
        """Return the command of its HTTP server on a port of this machine."""
        return [word.format(port=port) for word in self.web]

    def worker(self, *options: str) -> list[str]:
        """Return the command of its worker, which includes beat."""
        return ["-m", "celery", "-A", self.celery, "worker", "--beat", "-l", "INFO", *options]


#: Threads, since a page that watches an order holds one.
_GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "16", "--graceful-timeout", "3")
_DJANGO = "config.examples.django_shop"
_FLASK = "config.examples.flask_shop"
_FASTAPI = "config.examples.fastapi_shop"

SHOPS: Final = {
    "django": Shop(
        celery=_DJANGO,
        prepare=(("-m", f"{_DJANGO}.manage", "migrate", "--verbosity", "0"),),
        web=(*_GUNICORN, f"{_DJANGO}.wsgi"),
    ),
    "flask": Shop(
        celery=_FLASK,
        prepare=(("-m", "flask", "--app", _FLASK, "sagas", "migrate"), ("-m", "flask", "--app", _FLASK, "init-db")),
        web=(*_GUNICORN, f"{_FLASK}:create_app()"),
    ),
    "fastapi": Shop(
        celery=_FASTAPI,
        prepare=(("-m", "celery", "-A", _FASTAPI, "sagas", "migrate"), ("-m", f"{_FASTAPI}.models")),
        web=("-m", "uvicorn", f"{_FASTAPI}.app:app", "--port", "{port}", "--timeout-graceful-shutdown", "3"),
    ),
}
