"""Who works with the admin."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission


def person(name: str, *may: str) -> Any:
    """Somebody of the staff, with permissions such as ``retry_instance``."""
    somebody = get_user_model().objects.create_user(name, is_staff=True)
    permissions = Permission.objects.filter(content_type__app_label="celery_sagas", codename__in=may)
    assert len(permissions) == len(may), f"{may} of {list(permissions)}"
    somebody.user_permissions.set(permissions)
    return somebody
