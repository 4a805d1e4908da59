"""A Django project as a user has one, with its own tests; `tests/integration/django_` runs them."""

from tests.django_project.celery import app

__all__ = ["app"]
