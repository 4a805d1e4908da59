"""The project's settings. Sagas need the app in INSTALLED_APPS, and the dict SAGAS."""

import os

from django.core.management.utils import get_random_secret_key
from sqlalchemy import make_url

from config.settings import Settings

_servers = Settings.from_environment()
_database = make_url(_servers.database_url)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "sagas.contrib.django",
    "config.examples.django_shop",
]
SAGAS = {
    "APP": "config.examples.django_shop.celery:app",
    "DATABASE": "default",
    "SCHEMA": _servers.schema,
    "HEARTBEAT": _servers.heartbeat,
    "SWEEP_EVERY": _servers.sweep_every,
}
CELERY_BROKER_URL = _servers.broker_url
CELERY_IMPORTS = ["tasks.orders"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database.database,
        "USER": _database.username or "",
        "PASSWORD": _database.password or "",
        # A Unix socket's directory travels as a query parameter.
        "HOST": _database.host or _database.query.get("host", ""),
        "PORT": str(_database.port or _database.query.get("port", "")),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key()
ROOT_URLCONF = "config.examples.django_shop.urls"
STATIC_URL = "static/"
USE_TZ = True
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
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
