"""Bringing the registry to its newest revision. (`migrator` does so with the tenants' schemas.)"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from awssome.database.postgresql.driver import secured
from awssome.domain.errors import Code, Refused

_REVISIONS = Path(__file__).parent / "registry" / "revisions"


def upgrade_registry(url: str, *, jobs_schema: str) -> str:
    """Bring the registry to its newest revision, in one transaction, one process at a time.

    A registry that a newer version has migrated is left as it is.

    :param jobs_schema: SQL of the job queue's tables.
    :returns: the revision that it is at then.
    """
    config = _config()
    config.attributes["jobs_schema"] = jobs_schema
    script = ScriptDirectory.from_config(config)

    def steps(revision: tuple[str, ...], _: object) -> list[object]:
        return list(script._upgrade_revs("head", revision))  # type: ignore[arg-type]

    engine = create_engine(secured(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('awssome-migrate', 0))"))
        current = MigrationContext.configure(connection).get_current_revision()
        if _is_newer(script, current):
            return str(current)
        with EnvironmentContext(config, script, fn=steps) as environment:
            environment.configure(connection=connection)
            environment.run_migrations()
    return str(script.get_current_head())


def registry_head() -> str:
    """The newest revision of the registry."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_newest(url: str) -> None:
    """Make sure that the registry is at its newest revision, or at one of a newer version: revisions only ever add.

    :raises Refused: CONFLICT when it is not; UNAVAILABLE when it does not answer.
    """
    revision, script = registry_revision(url), ScriptDirectory.from_config(_config())
    if revision != script.get_current_head() and not _is_newer(script, revision):
        raise Refused(
            Code.CONFLICT,
            f"The registry is at revision {revision or 'none'}, and this version needs {script.get_current_head()}.",
            "Run `awssome migrate`.",
        )


def registry_revision(url: str) -> str | None:
    """The revision that the registry is at; None: there is nothing yet.

    :raises Refused: UNAVAILABLE when it does not answer.
    """
    try:
        with create_engine(secured(url), poolclass=NullPool).connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except OperationalError:
        raise Refused(
            Code.UNAVAILABLE, "The platform's database does not answer.", "Check AWSSOME_DATABASE_URL, or try again."
        ) from None


def _is_newer(script: ScriptDirectory, revision: str | None) -> bool:
    """Whether this version does not know the revision: a newer one has made it."""
    return revision is not None and revision not in {step.revision for step in script.walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS.parent))
    config.set_main_option("version_locations", str(_REVISIONS))
    config.set_main_option("path_separator", "os")
    return config
