"""Bringing the registry and the tenants' schemas to the newest revision. (Carrying a tenant elsewhere is a move.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from awssome.database import template
from awssome.database.engine import Server
from awssome.database.postgresql.driver import secured
from awssome.database.registry import Registry, placements
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys

_REVISIONS = Path(__file__).parent / "registry" / "revisions"


def upgrade_registry(url: str, *, jobs_schema: str) -> str:
    """Bring the registry to its newest revision, in one transaction, one process at a time.

    :param jobs_schema: SQL of the job queue's tables.
    :returns: the revision reached.
    """
    config = _config()
    config.attributes["jobs_schema"] = jobs_schema
    script = ScriptDirectory.from_config(config)

    def steps(revision: tuple[str, ...], _: object) -> list[object]:
        return list(script._upgrade_revs("head", revision))  # type: ignore[arg-type]

    engine = create_engine(secured(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('awssome-migrate', 0))"))
        with EnvironmentContext(config, script, fn=steps) as environment:
            environment.configure(connection=connection)
            environment.run_migrations()
    return str(script.get_current_head())


def registry_head() -> str:
    """The newest revision of the registry."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_newest(url: str) -> None:
    """Make sure that the registry is at its newest revision.

    :raises Refused: CONFLICT when it is not; UNAVAILABLE when it does not answer.
    """
    try:
        with create_engine(secured(url), poolclass=NullPool).connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
    except OperationalError:
        raise Refused(
            Code.UNAVAILABLE, "The platform's database does not answer.", "Check AWSSOME_DATABASE_URL, or try again."
        ) from None
    if revision != registry_head():
        raise Refused(
            Code.CONFLICT,
            f"The registry is at revision {revision or 'none'}, and this version needs {registry_head()}.",
            "Run `awssome migrate`.",
        )


def tenants_behind(registry: Registry) -> list[UUID]:
    """The placements whose tables are older than the template; one query, whatever the number of tenants."""
    with registry.begin() as connection:
        return placements.behind(connection, template.head())


def upgrade_tenants(
    registry: Registry, keys: Keys, open_server: Callable[[UUID], Server], behind: list[UUID]
) -> Iterator[tuple[str, str | None]]:
    """Migrate one placement after the other; a failure is told and the rest goes on.

    :returns: yields (schema, None) or (schema, what went wrong).
    """
    for placement_id in behind:
        with registry.begin() as connection:
            placement = placements.find(connection, keys, placement_id)
            server_id = placements.server_of(connection, placement_id)
        try:
            open_server(server_id).migrate(placement.schema)
        except Exception as error:  # whatever one tenant's tables have, the others are not to wait for it
            yield placement.schema, str(error).partition("\n")[0] or type(error).__name__
            continue
        with registry.begin() as connection:
            placements.note_revision(connection, placement_id, template.head())
        yield placement.schema, None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS.parent))
    config.set_main_option("version_locations", str(_REVISIONS))
    config.set_main_option("path_separator", "os")
    return config
