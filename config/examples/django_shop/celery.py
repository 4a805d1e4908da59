"""The Celery app, as Celery's own guide for Django writes it. `settings.SAGAS` makes its tasks steps of sagas."""

import os

from celery import Celery

from config.demo import faults

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.examples.django_shop.settings")

app = Celery("django_shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Orders can be staged (see `config.examples.staging`); a real shop has no such line.
faults.install()
