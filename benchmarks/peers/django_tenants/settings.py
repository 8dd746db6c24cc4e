"""A minimal django-tenants project: `company` in the public schema, `workspace` in each tenant's."""

import json
import os
from typing import Any

DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django_tenants.postgresql_backend", **json.loads(os.environ["PEER_DATABASE"])}
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "company"]
TENANT_APPS = ["workspace"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL, TENANT_DOMAIN_MODEL = "company.Company", "company.Domain"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
if os.environ.get("PEER_REVISED"):
    # The revision that adds a column, found beside the one that makes the tables.
    MIGRATION_MODULES = {"workspace": "workspace.revised"}
