"""The app's project files: what HubSpot is told of us is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from awssome.config import Settings
from awssome.domain.addresses import Addresses
from awssome.hubspot import oauth
from awssome.hubspot.version import API_VERSION
from awssome.portal.hosts import CALLBACK

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "infrastructure/hubspot-app"
GUIDE = ROOT / "docs/hubspot-setup.md"


@pytest.fixture
def app() -> Any:
    """The app's definition, which HubSpot looks for below the project's source directory."""
    project = json.loads((PROJECT / "hsproject.json").read_text())
    found = list((PROJECT / project["srcDir"] / "app").glob("*-hsmeta.json"))
    assert len(found) == 1
    return json.loads(found[0].read_text())


def test_the_project_is_for_the_version_that_the_code_speaks() -> None:
    project = json.loads((PROJECT / "hsproject.json").read_text())
    assert project["platformVersion"] == API_VERSION.replace("-", ".")
    assert set(project) == {"name", "srcDir", "platformVersion"}


def test_the_scopes_are_those_that_the_code_asks_for(app: Any) -> None:
    """HubSpot refuses an authorization that asks for more, or leaves out what is required."""
    auth = app["config"]["auth"]
    asked = parse_qs(urlsplit(oauth.authorize_url(oauth.app_for(None, "i", "s", "r"), "state")).query)["scope"][0]
    assert set(auth["requiredScopes"]) == set(asked.split()) == set(oauth.SCOPES)
    assert auth["optionalScopes"] == auth["conditionallyRequiredScopes"] == []


def test_the_redirect_addresses_are_ours_and_such_that_hubspot_takes_them(app: Any, tmp_path: Path) -> None:
    """It wants https, but for localhost, and compares letter by letter."""
    production, local = app["config"]["auth"]["redirectUrls"]
    assert production == Addresses("awssome.example").url("awssome.example", CALLBACK)
    ours = Settings(home=tmp_path).addresses
    assert local == ours.url(ours.bare(), CALLBACK)


def test_the_definition_is_one_that_hubspot_takes(app: Any) -> None:
    config = app["config"]
    assert (app["type"], config["distribution"], config["auth"]["type"]) == ("app", "marketplace", "oauth")
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", app["uid"])
    assert 0 < len(config["name"]) <= 200 and config["name"] == config["name"].strip()
    assert 0 < len(config["description"]) <= 8_192
    assert all(config["support"][name].startswith("https://") for name in ("documentationUrl", "supportUrl"))


def test_the_guide_names_the_scopes_and_the_address() -> None:
    guide = GUIDE.read_text()
    for named in (*oauth.SCOPES, CALLBACK, "AWSSOME_HUBSPOT_CLIENT_ID", "AWSSOME_HUBSPOT_CLIENT_SECRET"):
        assert f"`{named}`" in guide or named in guide
    assert all(len(line) <= 160 for line in guide.splitlines())
