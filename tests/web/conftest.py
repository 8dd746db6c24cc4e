"""The gallery over HTTP and, for tests marked `browser`, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.serving import served
from tests.web import gallery


@pytest.fixture(scope="session")
def gallery_app() -> FastAPI:
    """The gallery, whose templates are compiled once."""
    return gallery.create()


@pytest.fixture
def client(gallery_app: FastAPI) -> TestClient:
    """A visitor of the gallery on a loopback name, who follows no redirect unasked."""
    return TestClient(gallery_app, base_url="http://localhost", follow_redirects=False)


@pytest.fixture
def logged() -> Iterator[list[structlog.types.EventDict]]:
    """What is logged meanwhile, with what the request bound to its context."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events:
        yield events


@pytest.fixture(scope="session")
def gallery_url(gallery_app: FastAPI) -> Iterator[str]:
    """The address of a gallery served on loopback."""
    with served(gallery_app) as port:
        yield f"http://127.0.0.1:{port}"
