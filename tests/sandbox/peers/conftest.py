"""Other people's readers of HubSpot are installed and run by `make peers` alone."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out unless they are asked for by their mark."""
    if "peers" in config.option.markexpr:
        return
    out = [item for item in items if item.get_closest_marker("peers")]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]
