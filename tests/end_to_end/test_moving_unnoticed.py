"""People work while their workspace moves there and back: every form is saved once, every page is shown.

Portal and central API run as they do in earnest, two applications that speak HTTP; the moves are real.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from awssome.control.client import Control
from awssome.database.registry import sessions
from awssome.database.schema import deal_registrations
from awssome.database.sessions import Sessions
from awssome.domain.moves import Phase
from awssome.domain.tenants import Tier
from awssome.management.app import create as create_management
from awssome.portal.app import Options
from awssome.portal.app import create as create_portal
from awssome.portal.guard import SESSION_COOKIE
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.serving import served
from tests.workflows.moving import mover, placement_of, rollback, upgrade

SERVICE = "service-token-of-the-tests"


@dataclass
class Worker:
    """Somebody at a browser, who goes on until told to stop.

    :ivar saved: titles whose form was answered with success.
    :ivar trouble: whatever was not.
    """

    client: TestClient
    name: str
    saved: list[str] = field(default_factory=list)
    looked: int = 0
    trouble: list[str] = field(default_factory=list)

    def save(self, stop: threading.Event) -> None:
        """Fill the form for a new deal in, again and again."""
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get("/deals/new").text)
        assert token is not None
        while not stop.is_set():
            title = f"{self.name} {len(self.saved) + len(self.trouble)}"
            form = {"csrf_token": token.group(1), "title": title, "stage": "Qualified"}
            answer = self.client.post("/deals/new", data=form)
            if answer.status_code == 303:
                self.saved.append(title)
            else:
                self.trouble.append(f"{title}: {answer.status_code} {answer.text[:2000]}")

    def look(self, stop: threading.Event) -> None:
        """Look at the list of deals, again and again."""
        while not stop.is_set():
            answer = self.client.get("/deals")
            self.looked += answer.status_code == 200
            if answer.status_code != 200:
                self.trouble.append(f"{answer.status_code} {answer.headers.get('location')}")


@pytest.fixture
def paula(make_tenant: Callable[..., Tenancy]) -> Tenancy:
    return make_tenant("Paula Paid", "paula@paid.example", tier=Tier.PAID)


@pytest.fixture
def portal(services: WorkerServices) -> Iterator[FastAPI]:
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
    own = Sessions(budget=10)
    with served(create_management(services)) as port:
        control = Control(f"http://127.0.0.1:{port}", SERVICE)
        yield create_portal(Options(control=control, sessions=own, addresses=services.addresses))
        control.close()
    own.close()


def test_who_works_while_the_workspace_moves_there_and_back_notices_nothing(
    services: WorkerServices, portal: FastAPI, paula: Tenancy, dedicated: str
) -> None:
    def worker(name: str) -> Worker:
        with services.registry.begin() as connection:
            session = sessions.create(connection, paula.owner_id, "portal", tenant_id=paula.id)
        client = TestClient(portal, base_url=f"http://{paula.slug}.localhost:8000", follow_redirects=False)
        client.cookies.set(SESSION_COOKIE, session, domain=f"{paula.slug}.localhost")
        return Worker(client, name)

    writers, reader, stop = [worker("first"), worker("second")], worker("reader"), threading.Event()
    busy = [threading.Thread(target=each.save, args=(stop,)) for each in writers]
    busy.append(threading.Thread(target=reader.look, args=(stop,)))
    for thread in busy:
        thread.start()
    try:
        for move in (upgrade(services, paula), None):
            move_id = move or rollback(services, paula)
            assert mover(services).carry_on(move_id) is Phase.RETAINING
    finally:
        stop.set()
        for thread in busy:
            thread.join(30)
    assert [each.trouble for each in (*writers, reader)] == [[], [], []]
    assert all(each.saved for each in writers) and reader.looked
    with services.sessions.open(placement_of(services, paula)) as connection:
        kept = Counter(connection.scalars(select(deal_registrations.c.title)))
    assert kept == Counter(title for each in writers for title in each.saved), "each form is saved, and once"
