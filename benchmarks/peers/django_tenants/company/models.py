"""A tenant and its domain."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Company(TenantMixin):
    """A tenant; saving a new one makes its schema."""

    name = models.CharField(max_length=120)
    auto_create_schema = True


class Domain(DomainMixin):
    """The host of a tenant."""
