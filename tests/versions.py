"""Versions of the tenant template to come: revisions that follow the product's own, in folders of their own."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path

from awssome.database import template
from awssome.database.servers import opener
from awssome.database.template import Beyond
from awssome.workflows.services import WorkerServices

NEXT = "9000"


def write_revision(folder: Path, body: str, *, revision: str = NEXT, head: str = "") -> Beyond:
    """A revision with this body of `upgrade`, after `head` (the product's newest); as `database.template` takes it.

    :param head: lines at the top of the module, as `contract = …`.
    """
    beyond = (folder,) if folder.exists() else ()
    follows = template.head(beyond)
    folder.mkdir(exist_ok=True)
    (folder / f"{revision}_to_come.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        "from awssome.database.expand import AddColumns\n"
        "from awssome.database.template import TENANT\nfrom awssome.database.types import text\n\n"
        f"revision, down_revision = {revision!r}, {follows!r}\n{head}\n\n"
        f"def upgrade():\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n"
    )
    for cached in (template.head, template.older, template.statements, template._steps):
        cached.cache_clear()
    return (folder,)


def of_version(services: WorkerServices, beyond: Beyond) -> WorkerServices:
    """The services of a worker of that version."""
    return dataclasses.replace(services, open_server=opener(services.registry, services.keys, beyond))


EXPAND = """
op.add_column("deal_registrations", sa.Column("rating", text(16)), schema=TENANT)
op.execute(f"UPDATE {TENANT}.deal_registrations SET rating = 'none'")
op.add_column("stage_mappings", sa.Column("note", text(40), nullable=False, server_default="-"), schema=TENANT)
op.create_table("marks", sa.Column("mark", text(40), nullable=False), schema=TENANT)
op.execute(f"INSERT INTO {TENANT}.marks (mark) VALUES ('made')")
"""
"""Adds a column that is filled at once, one with a default, and a table that tells how often it was made."""
