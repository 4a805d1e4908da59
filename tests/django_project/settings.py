"""The project's settings; the environment names the servers, and what a test wants otherwise."""

import json
import os
import sys

from sqlalchemy import make_url

#: Which driver Django takes: it prefers psycopg 3 where that can be imported.
DRIVER = os.environ.get("TEST_DRIVER", "psycopg")
if DRIVER == "psycopg2":
    sys.modules["psycopg"] = None  # type: ignore[assignment]

_url = make_url(os.environ["SAGAS_DATABASE_URL"])


def _postgresql(**more: object) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.database,
        "USER": _url.username or "",
        "PASSWORD": _url.password or "",
        "HOST": _url.host or _url.query.get("host", ""),
        "PORT": str(_url.port or _url.query.get("port", "")),
    } | more


DATABASES = {
    "default": _postgresql(),
    # Other ways to the same database
    "same": _postgresql(TEST={"MIRROR": "default"}),
    "bound": _postgresql(TEST={"MIRROR": "default"}, OPTIONS={"server_side_binding": True}),
    "manual": _postgresql(TEST={"MIRROR": "default"}, AUTOCOMMIT=False),
    # Other databases
    "other": _postgresql(NAME=f"{_url.database}_other"),
    "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
SAGAS = {"HEARTBEAT": 0.5, "SWEEP_EVERY": 0.5, "SECRETS": ["card_number"]} | json.loads(
    os.environ.get("TEST_SAGAS", "{}")
)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "sagas.contrib.django",
    "tests.django_project.shop",
]
MIGRATION_MODULES = {}
if os.environ.get("TEST_BARE"):
    INSTALLED_APPS.remove("django.contrib.admin")
    # As `pytest --nomigrations` and such do
    MIGRATION_MODULES["celery_sagas"] = None
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
CELERY_BROKER_URL = os.environ.get("SAGAS_BROKER_URL", "redis://localhost:1/0")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.django_project.urls"
SECRET_KEY = "only for tests"
STATIC_URL = "static/"
USE_TZ = True
