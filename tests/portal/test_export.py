"""Export everything: owners ask, wait and download."""

from __future__ import annotations

from awssome.domain.archives import ArchiveState
from awssome.domain.errors import Code, Refused
from tests.portal.conftest import Stage
from tests.portal.fake import Tenant, archive


def test_an_owner_asks_waits_and_downloads(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    sent = alice.send("/people/export", at="/people")
    where = sent.headers["location"]
    page = alice.after(sent).text
    assert f'data-poll="{where}/progress"' in page
    assert "/file" not in page
    (asked,) = stage.control.archives.values()
    ready = archive(northwind.id, ArchiveState.READY).model_copy(update={"id": asked.id})
    stage.control.archives[asked.id] = ready
    assert "data-reload" in alice.get(f"{where}/progress", fragment=True).text
    page = alice.get(where).text
    for shown in ("1,234", "Download", "ab" * 4):
        assert shown in page
    file = alice.get(f"{where}/file")
    assert (file.content, file.headers["content-type"]) == (b"PK...", "application/zip")
    assert file.headers["content-disposition"] == f'attachment; filename="northwind-{asked.id}.zip"'


def test_what_went_wrong_is_told(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    for state, told in ((ArchiveState.FAILED, "could not be made"), (ArchiveState.EXPIRED, "not kept any more")):
        found = archive(northwind.id, state)
        stage.control.archives[found.id] = found
        assert told in alice.get(f"/people/export/{found.id}").text
        assert alice.get(f"/people/export/{found.id}/file").status_code == 410
    stage.control.refusals["export_own"] = Refused(Code.LIMITED, "Your workspace was exported 10 times within a day.")
    refused = alice.send("/people/export", at="/people")
    assert (refused.status_code, "10 times" in refused.text) == (429, True)


def test_only_owners_export_and_only_their_own(stage: Stage, northwind: Tenant, bikes: Tenant) -> None:
    found = archive(northwind.id, ArchiveState.READY)
    stage.control.archives[found.id] = found
    adam = stage.browser("adam")
    assert 'action="/people/export"' not in adam.get("/people").text
    assert adam.send("/people/export", at="/people").status_code == 403
    assert adam.get(f"/people/export/{found.id}").status_code == 403
    for path in (f"/people/export/{found.id}", f"/people/export/{found.id}/file"):
        assert stage.browser("bob").get(path).status_code == 404
