"""Expand, then contract: what a revision may do while sessions of the version before are at work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from awssome.database import template
from awssome.database.template import Beyond
from awssome.domain.tenants import EngineName
from tests.versions import EXPAND, write_revision

ENGINES = list(EngineName)

CONTRACTIONS: dict[str, str] = {
    "drops a table": r"\bDROP TABLE\b",
    "drops a column": r"\bDROP COLUMN\b",
    "drops what the guard needs": r"\bDROP (TRIGGER|FUNCTION) ([\w.]+)\b(?!(?s:.)*\bCREATE \1 \2\b)",
    "renames": r"\bRENAME\b|\bsp_rename\b",
    "changes a column's type": r"\bALTER COLUMN \S+ (TYPE|SET DATA TYPE)\b",
    "changes a column on SQL Server": r"\bALTER TABLE \S+ ALTER COLUMN (?!\S+ (SET|DROP|TYPE)\b)",
    "demands a value": r"\bSET NOT NULL\b",
    "takes a right away": r"\bREVOKE\b(?! ALL ON FUNCTION \S+ FROM PUBLIC\b)|\bDENY\b",
    "deletes rows": r"\bDELETE FROM\b|\bTRUNCATE\b",
}
"""What may break a session of the version before; why, and how it looks in SQL. What is made anew is not taken
away, and no session calls a function."""

NEW_TABLE = re.compile(r"\bCREATE TABLE (\S+)")
ADDED = re.compile(r"\bALTER TABLE (\S+) ADD (?:COLUMN )?(?!CONSTRAINT\b)(.*?);", re.DOTALL)
NEXT_COLUMN = re.compile(r",\n\s*ADD COLUMN ")
ON_EXISTING = re.compile(r"\bALTER TABLE (\S+) ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|CHECK|FOREIGN|PRIMARY)\b")
UNIQUE = re.compile(r"\bCREATE UNIQUE (?:NONCLUSTERED )?INDEX \S+ ON (\S+)")


def contractions(sql: str) -> list[str]:
    """Why sessions of the version before cannot work on with what this SQL leaves; empty: they can."""
    new = set(NEW_TABLE.findall(sql))
    found = [why for why, looks in CONTRACTIONS.items() if re.search(looks, sql, re.IGNORECASE)]
    for table, columns in ADDED.findall(sql):
        for column, kind in (one.split(maxsplit=1) for one in NEXT_COLUMN.split(columns)):
            if table not in new and "NOT NULL" in kind.upper() and "DEFAULT" not in kind.upper():
                found.append(f"adds {column}, which needs a value that the version before does not give")
    found += [
        f"adds a rule to {table}" for table in (*ON_EXISTING.findall(sql), *UNIQUE.findall(sql)) if table not in new
    ]
    return found


def unannounced(beyond: Beyond = ()) -> list[str]:
    """What revisions after the first one take away without saying `contract = "…"`, the note of the release."""
    told = []
    for step in template._steps(beyond)[1:]:
        if str(getattr(step.module, "contract", "")).strip():
            continue
        for engine in ENGINES:
            found = contractions(template._rendered(engine, [step], existing=False))
            told += [f"{step.revision} on {engine} {why}" for why in found]
    return told


def test_no_revision_takes_anything_away_without_a_release_note() -> None:
    assert unannounced() == []


def test_a_revision_that_expands_is_let_through(tmp_path: Path) -> None:
    beyond = write_revision(tmp_path / "to_come", EXPAND)
    beyond = write_revision(
        tmp_path / "to_come",
        """
        op.create_index("deal_registrations_rating", "deal_registrations", ["rating"], schema=TENANT)
        op.create_table("notes", sa.Column("id", sa.Integer(), nullable=False), schema=TENANT)
        op.create_unique_constraint("notes_key", "notes", ["id"], schema=TENANT)
        op.execute(f"UPDATE {TENANT}.stage_mappings SET note = 'dropped; see DROPPING'")
        """,
        revision="9001",
    )
    assert unannounced(beyond) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("op.drop_table('stage_mappings', schema=TENANT)", "drops a table"),
        ("op.drop_column('stage_mappings', 'stage', schema=TENANT)", "drops a column"),
        ("op.rename_table('stage_mappings', 'stages', schema=TENANT)", "renames"),
        ("op.alter_column('stage_mappings', 'stage', new_column_name='now', schema=TENANT)", "renames"),
        (
            "op.alter_column('stage_mappings', 'stage', type_=text(10), existing_nullable=False, schema=TENANT)",
            "changes a column",
        ),
        (
            "op.alter_column('deal_registrations', 'use_case', nullable=False, existing_type=text(120), schema=TENANT)",
            "demands a value|changes a column on SQL Server",
        ),
        (
            "op.add_column('stage_mappings', sa.Column('note', text(9), nullable=False), schema=TENANT)",
            "adds note, which needs a value",
        ),
        (
            "op.execute(AddColumns('stage_mappings', sa.Column('a', text(9)),"
            " sa.Column('note', text(9), nullable=False),"
            " sa.Column('b', text(9), nullable=False, server_default='-'), schema=TENANT))",
            "adds note, which needs a value",
        ),
        (
            "op.create_unique_constraint('one', 'stage_mappings', ['stage'], schema=TENANT)",
            "adds a rule to __tenant__.stage_mappings",
        ),
        (
            "op.create_check_constraint('one', 'stage_mappings', sa.text('1 = 1'), schema=TENANT)",
            "adds a rule to __tenant__.stage_mappings",
        ),
        (
            "op.create_index('one', 'stage_mappings', ['stage'], unique=True, schema=TENANT)",
            "adds a rule to __tenant__.stage_mappings",
        ),
        ("op.execute(f'REVOKE INSERT ON {TENANT}.deal_events FROM {TENANT}')", "takes a right away"),
        ("op.execute(f'DELETE FROM {TENANT}.sync_issues')", "deletes rows"),
        ("op.execute(f'DROP TRIGGER {TENANT}._guard')", "drops what the guard needs"),
    ],
)
def test_a_revision_that_takes_something_away_has_to_say_so(tmp_path: Path, body: str, why: str) -> None:
    told = unannounced(write_revision(tmp_path / "silent", body))
    assert {engine for engine in ENGINES if any(f" on {engine} " in line for line in told)} == set(ENGINES)
    assert all(re.search(why, line) for line in told)
    announced = write_revision(tmp_path / "told", body, head='contract = "0.3: nothing reads it since 0.2."')
    assert unannounced(announced) == []
    assert unannounced(write_revision(tmp_path / "empty", body, head='contract = " "')) == told
