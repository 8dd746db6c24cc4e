"""Tenants, as django-tenants keeps them in the public schema."""
