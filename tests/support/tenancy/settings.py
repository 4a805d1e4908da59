"""The project's settings; the environment names the servers."""

import os

from sqlalchemy import make_url

_url = make_url(os.environ["SAGAS_DATABASE_URL"])

DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": _url.database,
        "USER": _url.username or "",
        "PASSWORD": _url.password or "",
        "HOST": _url.host or _url.query.get("host", ""),
        "PORT": str(_url.port or _url.query.get("port", "")),
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "tests.support.tenancy", "sagas.contrib.django", "django.contrib.contenttypes"]
TENANT_APPS = ["django.contrib.contenttypes"]
INSTALLED_APPS = SHARED_APPS
TENANT_MODEL = "tenancy.Client"
TENANT_DOMAIN_MODEL = "tenancy.Domain"
CELERY_BROKER_URL = os.environ["SAGAS_BROKER_URL"]
SAGAS = {"APP": "tests.support.tenancy.celery:app", "HEARTBEAT": 0.5, "SWEEP_EVERY": 0.5}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
