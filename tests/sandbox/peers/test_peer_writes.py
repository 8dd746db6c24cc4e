"""HubSpot's own clients change deals in the sandbox; what they were told is what there is."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tests.sandbox.conftest import APP, NORTHWIND, running

from .test_peers import TOKEN, read

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("writer", ["official_client_writes", "official_sdk_writes"])
def test_what_a_client_changes_is_the_truth_afterwards(tmp_path: Path, writer: str) -> None:
    app = ("--app", APP, "--private-app", f"{TOKEN}:{NORTHWIND}")
    with running("hubspot", "--deals", "5", "--rate-limit", "off", *app) as said:
        before = httpx2.get(f"{said['url']}/_sandbox/truth/{NORTHWIND}").json()
        told = read(said["url"], "clients", writer, tmp_path)
        after = httpx2.get(f"{said['url']}/_sandbox/truth/{NORTHWIND}").json()
    known = {deal["id"] for deal in before["deals"]}
    new = {deal["id"]: deal for deal in after["deals"] if deal["id"] not in known}
    assert [deal for deal in after["deals"] if deal["id"] in known] == before["deals"]
    edited = new[told["edited"]["id"]]["properties"]
    assert told["edited"].items() <= {"id": told["edited"]["id"], **edited}.items()
    assert (edited["amount"], edited["closedate"], edited["pipeline"]) == ("2000.25", None, "812704591")
    assert edited["hs_is_closed_won"] == "true"
    survivor = new[told["survivor"]]["properties"]
    assert survivor["hs_merged_object_ids"].split(";") == told["merged"]
    assert {old: into for old, into in after["merged"].items() if old not in before["merged"]} == dict.fromkeys(
        told["merged"], told["survivor"]
    )
    assert {id_ for id_, deal in new.items() if deal["archived"]} == {told["archived"], told["made"][2]}
    assert told["updated"] == told["made"]
    assert [new[id_]["properties"]["amount"] for id_ in told["made"]] == ["7"] * 3
    assert (told["missing"], told["refused"]) == (["1"], 400)
    assert set(new) == {told["edited"]["id"], told["archived"], told["survivor"], *told["made"]}
