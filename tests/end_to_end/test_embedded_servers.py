"""Which embedded servers there are: who serves makes them, who only looks joins those that are there."""

from __future__ import annotations

from pathlib import Path

from awssome import main
from awssome.config import Settings
from awssome.database.registry import servers
from awssome.domain.secrets import new_secret_key


def test_who_only_looks_at_a_demo_leaves_no_dedicated_server_behind(tmp_path: Path) -> None:
    """Where AWS makes dedicated servers, one that came with `awssome doctor` would go with it, and be upgraded to."""
    home = tmp_path / "home"
    plain = {"home": home, "secret_key": new_secret_key()}
    aws = {"rds_engine": "postgres", "rds_class": "db.t3.medium", "rds_storage_gb": 20}

    def served(settings: Settings, *, serving: bool) -> list[str]:
        with main.control_plane(settings, serving=serving) as plane, plane.registry.begin() as connection:
            return sorted(row.name for row in servers.every(connection))

    assert served(Settings(**plain, **aws), serving=True) == ["pool-1"]
    assert served(Settings(**plain), serving=False) == ["pool-1"]
    assert served(Settings(**plain), serving=True) == ["dedicated-1", "pool-1"]
