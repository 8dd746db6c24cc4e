"""The static files: small, kept for ever under addresses that change with them, the only style and script there is."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

import awssome.web
from awssome.web import states
from awssome.web.assets import ASSETS, Assets

WEB = Path(awssome.web.__file__).parent
PAGES = ["/", "/?layout=side", "/nothing", "/table", "/forms", "/move", "/sign-in", "/refused"]


def test_style_and_script_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (WEB / "static").iterdir()}
    assert sizes["awssome.css"] < 20_000
    assert sizes["awssome.js"] < 12_000


def test_an_address_holds_the_hash_of_its_contents(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    before = Assets(tmp_path).url("a.css")
    (tmp_path / "a.css").write_text("b {}")
    assert re.fullmatch(r"/static/a\.[0-9a-f]{12}\.css", before)
    assert Assets(tmp_path).url("a.css") != before
    with pytest.raises(KeyError):
        ASSETS.url("awsome.css")


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize(
    ("name", "media_type"),
    [("awssome.css", "text/css"), ("awssome.js", "text/javascript"), ("icons.svg", "image/svg+xml")],
)
def test_files_are_kept_for_ever(client: TestClient, name: str, media_type: str, encoding: str) -> None:
    answer = client.get(ASSETS.url(name), headers={"accept-encoding": encoding})
    assert answer.content == (WEB / "static" / name).read_bytes()
    assert answer.headers["content-type"].startswith(media_type)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers.get("content-encoding", "identity") == encoding


@pytest.mark.parametrize("path", ["/static/awssome.css", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_small_and_loads_one_style_and_one_script(client: TestClient, path: str) -> None:
    page = client.get(path).text
    assert len(page.encode()) < 100_000
    assert re.findall(r"<script[^>]*>", page) == [f'<script src="{ASSETS.url("awssome.js")}" defer>']
    assert page.count('rel="stylesheet"') == 1
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    loaded = re.findall(r'(?:src|rel="stylesheet" href)="([^"]+)"', page)
    assert not [address for address in loaded if urlsplit(address).netloc]


def test_every_icon_that_is_named_exists() -> None:
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (WEB / "static" / "icons.svg").read_text()))
    named = set()
    for path in WEB.parent.rglob("*.html"):
        named |= set(re.findall(r'(?:ui\.)?icon(?:=|\()"([a-z-]+)"', path.read_text()))
    named |= {state.icon for state in states.STATES.values()}
    assert named <= drawn
    assert len(named) > 15
