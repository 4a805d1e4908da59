"""The tenants."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    name = models.TextField()


class Domain(DomainMixin):
    pass
