"""Does what each line of standard input asks for, and answers with a line of JSON. `benchmarks.peers` talks to it.

`{"do": "prepare"}`, `{"do": "create", "count": 10}` (answers with the seconds of each), `{"do": "migrate"}`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from uuid import uuid4

import django
from django.core.management import call_command

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from company.models import Company  # noqa: E402 - Django has to be set up first


def prepare() -> dict[str, object]:
    """Make the public schema's tables."""
    call_command("migrate_schemas", shared=True, verbosity=0)
    return {}


def create(count: int) -> dict[str, object]:
    """Make tenants, each as django-tenants does: save one, and its schema is migrated."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        Company(schema_name=f"peer_{uuid4().hex[:16]}", name="Northwind").save(verbosity=0)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def migrate() -> dict[str, object]:
    """Migrate every tenant with the standard executor; there may be nothing to do."""
    began = time.perf_counter()
    call_command("migrate_schemas", tenant=True, executor="standard", verbosity=0)
    return {"seconds": time.perf_counter() - began, "tenants": Company.objects.count()}


ASKED: dict[str, Callable[..., dict[str, object]]] = {"prepare": prepare, "create": create, "migrate": migrate}

if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what Django prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(ASKED[asked.pop("do")](**asked)), file=answers, flush=True)
