"""The story: a company signs up, connects HubSpot, gets 10 deals, upgrades, gets all of them, and goes back.

Everybody acts in a browser of their own, through the pages that people use. Only the evidence of the two moves is read
from the central API. Every step raises `Refused` when a page does not say what the story expects.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import httpx2

from awssome.control.client import Control
from awssome.control.messages import MoveOut, TenantDetail
from awssome.demo.browser import Browser
from awssome.demo.ensemble import Ensemble
from awssome.demo.report import Report, SyncResult
from awssome.demo.stage import Stage
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import MoveKind, Phase
from awssome.domain.tenants import FREE_DEALS

PASSWORD = "a demo password for everybody"  # noqa: S105 - of fresh data on loopback, and printed

_MAIL_SECONDS, _SIGN_UP_SECONDS, _SYNC_SECONDS, _MOVE_SECONDS = 30.0, 60.0, 900.0, 600.0

_IMPORTED = r"Imported ([\d,]+) of ([\d,]+) deals(?: \(Free tier: (\d+) deals max\))?"


@dataclass(frozen=True)
class Person:
    """Somebody of the cast."""

    name: str
    email: str
    company: str = ""


ALICE = Person("Alice", "alice@northwind.example", "Northwind Cloud")
BOB = Person("Bob", "bob@tailspin.example", "Tailspin Toys")
CHARLIE = Person("Charlie", "charlie@nowhere.example")
OLGA = Person("Olga", "olga@awssome.example")


class Player:
    """Plays the story in an ensemble that runs."""

    def __init__(self, stage: Stage, ensemble: Ensemble, api: Control) -> None:
        self._stage, self._ensemble, self._api = stage, ensemble, api
        self._world = ensemble.world

    def play(self, deals: int) -> Report:
        """The whole story. :param deals: how many there are in HubSpot."""
        with Browser(self._world.portal) as alice, Browser(self._world.management) as olga:
            self._stage.scene(f"{ALICE.name} signs up for {ALICE.company}")
            began = time.monotonic()
            self._sign_up(alice, ALICE)
            self._link_aws(alice)
            self._workspace(alice, ALICE)
            signup_seconds = time.monotonic() - began
            tenant = self._tenant_of(ALICE).slug

            self._stage.scene("HubSpot")
            self._connect_hubspot(alice)
            first_sync = self._sync(alice, SyncResult(min(deals, FREE_DEALS), deals, FREE_DEALS))

            self._stage.scene("The upgrade, and all deals")
            self._ask_for_upgrade(alice)
            self._sign_in(olga, OLGA)
            began = time.monotonic()
            upgrade = self._upgrade(olga, tenant)
            upgrade_seconds = time.monotonic() - began
            second_sync = self._sync(alice, SyncResult(deals, deals, None))

            self._stage.scene("Back to the shared server")
            rollback = self._roll_back(olga, tenant)
            self._look_around(alice, deals)

            self._stage.scene("The neighbours")
            self._bob(alice)
            self._charlie(alice)
        return Report(
            tenant=tenant,
            signup_seconds=signup_seconds,
            first_sync=first_sync,
            upgrade=upgrade,
            upgrade_seconds=upgrade_seconds,
            second_sync=second_sync,
            rollback=rollback,
            seconds=time.monotonic() - self._stage.began,
        )

    # --- sign-up

    def _sign_up(self, browser: Browser, person: Person) -> None:
        with self._stage.step(f"{person.name} fills in the form"):
            browser.open("/sign-up")
            values = {"name": person.name, "email": person.email, "company": person.company}
            browser.submit("/sign-up", values, button="Sign up").find("Confirm your e-mail address")
        self._follow_mail(browser, person, "Confirm", {"password": PASSWORD})

    def _follow_mail(self, browser: Browser, person: Person, button: str, values: dict[str, str] | None = None) -> None:
        with self._stage.step(f"{person.name} gets a mail"):
            mail = self._ensemble.until(
                lambda: self._newest_mail(person.email), f"a mail to {person.email}", seconds=_MAIL_SECONDS
            )
        self._stage.mail(mail["to"], mail["subject"], mail["text"])
        link = re.search(r"https?://\S+token=\S+", mail["text"])
        if link is None:
            raise Refused(Code.UNAVAILABLE, f"There is no link in the mail to {person.email}.")
        with self._stage.step(f"{person.name} opens the link and presses “{button}”"):
            browser.open(link[0])
            browser.submit("/link", values, button=button)

    def _newest_mail(self, email: str) -> dict[str, str] | None:
        try:
            answer = httpx2.get(f"{self._world.mail}/messages.json", params={"to": email}, trust_env=False)
        except httpx2.HTTPError:
            return None
        found: list[dict[str, str]] = answer.json()
        return found[-1] if found else None

    def _link_aws(self, alice: Browser) -> None:
        with self._stage.step("A stack in her AWS account makes a role that asks for her ExternalId") as told:
            quick_create = alice.page.link("Open AWS")
            with Browser(self._world.aws) as console:
                console.open(quick_create)
                stack = console.submit("/_sandbox/quick-create", button="Create stack")
                arn = stack.find(r"arn:aws:iam::\d{12}:role/\S+")[0]
            told.append(arn)
        with self._stage.step("She pastes the role; it is tried with the right, a wrong and no ExternalId"):
            alice.submit("/sign-up/aws", {"role_arn": arn}, button="Link this role")

    def _workspace(self, browser: Browser, person: Person) -> None:
        with self._stage.step("The workspace is made: a schema, its tables and a login of its own") as told:
            self._ensemble.until(
                lambda: "is ready" in browser.open("/sign-up").text, "the workspace", seconds=_SIGN_UP_SECONDS
            )
            tenant = self._tenant_of(person)
            here = next(place for place in tenant.placements if place.current)
            told.append(f"{here.schema_name} on {here.server}")

    def _tenant_of(self, person: Person) -> TenantDetail:
        found = self._api.tenants(search=person.email).tenants
        if len(found) != 1:
            raise Refused(Code.UNAVAILABLE, f"{person.email} belongs to {len(found)} tenants.")
        return self._api.tenant(str(found[0].id))

    # --- HubSpot

    def _connect_hubspot(self, alice: Browser) -> None:
        with self._stage.step("Alice presses “Connect HubSpot” and allows it there") as told:
            alice.open("/hubspot")
            alice.submit("/hubspot/connect", button="Connect HubSpot")
            page = alice.submit("/oauth/authorize", button="Allow")
            page.find("✓ HubSpot Connected")
            told.append(page.find(r"HubSpot is connected: (\S+ \d+)")[1])

    def _sync(self, alice: Browser, expected: SyncResult) -> SyncResult:
        with self._stage.step("Alice presses “Sync deals”") as told:
            alice.open("/hubspot")
            alice.submit("/hubspot/sync", button="Sync deals")

            def result() -> re.Match[str] | None:
                piece = alice.peek("/hubspot/progress")
                if "did not finish" in piece.text:
                    raise piece.unexpected("a finished sync")
                return re.search(_IMPORTED, piece.text)

            found = self._ensemble.until(result, "the sync", seconds=_SYNC_SECONDS)
            told.append(found[0])
        imported, available = (int(number.replace(",", "")) for number in found.group(1, 2))
        sync = SyncResult(imported, available, int(found[3]) if found[3] else None)
        if sync != expected:
            raise Refused(Code.UNAVAILABLE, f"The sync came to {sync} instead of {expected}.")
        return sync

    def _look_around(self, alice: Browser, deals: int) -> None:
        with self._stage.step("HubSpot is still connected, and every deal is there") as told:
            alice.open("/hubspot").find("✓ HubSpot Connected")
            told.append(alice.open("/deals").find(rf"\b{deals:,} deals?\b")[0])

    # --- moves

    def _ask_for_upgrade(self, alice: Browser) -> None:
        with self._stage.step("Alice asks for the paid plan"):
            alice.open("/plan")
            alice.submit("/plan/upgrade").find("The upgrade is asked for")

    def _sign_in(self, browser: Browser, person: Person) -> None:
        with self._stage.step(f"{person.name} signs in to the management portal"):
            browser.open("/sign-in")
            browser.submit("/sign-in", {"email": person.email, "password": PASSWORD}, button="Sign in")

    def _upgrade(self, olga: Browser, tenant: str) -> MoveOut:
        with self._stage.step("Olga grants it; AWS makes a server, and the data moves there") as told:
            olga.open(f"/tenants/{tenant}").find("The owner asked for the paid tier")
            olga.submit(f"/tenants/{tenant}/upgrade", button="Upgrade")
            return self._moved(tenant, MoveKind.UPGRADE, told)

    def _roll_back(self, olga: Browser, tenant: str) -> MoveOut:
        with self._stage.step("Olga takes the move back; what was written since comes along") as told:
            olga.open(f"/tenants/{tenant}")
            olga.submit(f"/tenants/{tenant}/rollback", {"confirm": ALICE.company}, button="Roll back")
            return self._moved(tenant, MoveKind.ROLLBACK, told)

    def _moved(self, tenant: str, kind: MoveKind, told: list[str]) -> MoveOut:
        def ended() -> MoveOut | None:
            move = self._api.tenant(tenant).moves[0]
            if move.phase in (Phase.FAILED, Phase.CANCELLED):
                raise Refused(Code.UNAVAILABLE, f"The {kind} ended as {move.phase}. {move.problem or ''}")
            return move if move.kind is kind and move.phase is Phase.RETAINING else None

        move = self._ensemble.until(ended, f"the {kind}", seconds=_MOVE_SECONDS)
        if not move.verified:
            raise Refused(Code.UNAVAILABLE, f"The {kind} was not verified.")
        told.append(f"{move.source} → {move.target}")
        told.append(f"{move.rows:,} rows in {len(move.tables)} tables, all equal")
        told.append(f"writes paused for {move.write_pause_ms:,} ms")
        return move

    # --- the others of the cast

    def _bob(self, alice: Browser) -> None:
        with Browser(self._world.portal) as bob:
            self._sign_up(bob, BOB)
            with self._stage.step("Bob starts without AWS"):
                bob.submit("/sign-up/aws", button="Later")
            self._workspace(bob, BOB)
        with Browser(alice.page.url) as bob, self._stage.step("Bob tries the address of Alice's workspace") as told:
            bob.open("/sign-in")
            bob.submit("/sign-in", {"email": BOB.email, "password": PASSWORD}, button="Sign in", refused=True)
            told.append(bob.page.find("does not belong to this workspace")[0])

    def _charlie(self, alice: Browser) -> None:
        with self._stage.step("Alice invites Charlie"):
            alice.open("/people")
            alice.submit("/people/invite", {"email": CHARLIE.email}, button="Invite")
        with Browser(self._world.portal) as charlie:
            self._follow_mail(charlie, CHARLIE, "Join", {"name": CHARLIE.name, "password": PASSWORD})
            with self._stage.step("Alice takes Charlie out again: an account without a workspace"):
                alice.open("/people")
                alice.submit("/people/[^/]+/remove", button="Remove")
