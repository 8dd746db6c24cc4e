"""The central API, as the portal and the command line use it; the registry below is real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from awssome.control.messages import ContextOut, MoveOut, PlacementOut
from awssome.database.registry import accounts, audit, jobs, sessions, tenants
from awssome.domain.tenants import Role, Tier
from awssome.management.app import create
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy

SERVICE, OPERATOR = "service-token-of-the-tests", "operator-token-of-the-tests"
PASSWORD = "correct horse battery staple"
SHARED = "freemium.localhost:8000"


class Api:
    """Calls as the portal (on behalf of a session) or as an operator's program."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def portal(self, method: str, path: str, body: Any = None, *, session: str = "", host: str = SHARED) -> Any:
        headers = {"Authorization": f"Bearer {SERVICE}", "X-Awssome-Session": session, "X-Awssome-Host": host}
        return self._client.request(
            method, "/api/v1" + path, json=body, headers={**headers, "X-Awssome-Address": "192.0.2.7"}
        )

    def operator(self, method: str, path: str, body: Any = None, token: str = OPERATOR) -> Any:
        return self._client.request(method, "/api/v1" + path, json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def api(services: WorkerServices) -> Iterator[Api]:
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
        sessions.register_token(connection, "command line", "operator", OPERATOR)
    with TestClient(create(services), base_url="http://localhost") as client:
        yield Api(client)


@pytest.fixture
def signed_in(services: WorkerServices) -> Callable[[Tenancy, Role | None], str]:
    """A portal session of the tenant's owner, or of a new member in the given role."""

    def made(tenancy: Tenancy, role: Role | None = None) -> str:
        with services.registry.begin() as connection:
            account_id = tenancy.owner_id
            if role is not None:
                account = accounts.create(connection, f"{role}@{tenancy.slug}.example", role, None, confirmed=True)
                accounts.add_member(connection, account.id, tenancy.id, role)
                account_id = account.id
            return sessions.create(connection, account_id, "portal", tenant_id=tenancy.id)

    return made


def actions(services: WorkerServices) -> list[str]:
    with services.registry.begin() as connection:
        return [row.action for row in audit.page(connection).rows]


def sign_up(api: Api, email: str, company: str = "Northwind Cloud") -> Any:
    body = {"name": "Alice", "email": email, "company": company}
    return api.portal("POST", "/signups", body)


def link(services: WorkerServices, email: str, purpose: str) -> str:
    """What the mail job does when it runs."""
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
        assert account is not None
        mine = accounts.memberships_of(connection, account.id)
        return accounts.new_link(connection, account.id, mine[0].tenant_id if mine else None, purpose)


def test_sign_up_confirm_choose_later_and_the_workspace_is_asked_for(api: Api, services: WorkerServices) -> None:
    assert sign_up(api, "alice@northwind.example").status_code == 202
    with services.registry.begin() as connection:
        assert [row.task for row in jobs.page(connection).rows] == ["awssome.send_link"]
    token = link(services, "alice@northwind.example", "confirm")
    looked = api.portal("POST", "/links/look", {"token": token})
    assert looked.json() == {
        "purpose": "confirm",
        "email": "alice@northwind.example",
        "company": "Northwind Cloud",
        "needs_password": True,
    }
    used = api.portal("POST", "/links", {"token": token, "password": PASSWORD})
    session = used.json()["token"]
    context = ContextOut.model_validate_json(api.portal("GET", "/context", session=session).content)
    assert context.tenant is not None
    assert (context.tenant.state, context.tenant.aws_choice, context.role) == ("pending", "open", "owner")
    assert context.tenant.external_id in context.tenant.quick_create_url
    assert context.placement is None
    later = api.portal("PUT", "/tenant/aws-role", {"role_arn": None}, session=session)
    assert later.json()["aws_choice"] == "later"
    with services.registry.begin() as connection:
        assert "awssome.provision" in [row.task for row in jobs.page(connection).rows]


@pytest.mark.parametrize("spoil", ["used", "forged", "superseded"])
def test_a_link_works_once_and_only_the_newest(api: Api, services: WorkerServices, spoil: str) -> None:
    sign_up(api, "alice@northwind.example")
    token = link(services, "alice@northwind.example", "confirm")
    if spoil == "used":
        assert api.portal("POST", "/links", {"token": token, "password": PASSWORD}).status_code == 200
    elif spoil == "forged":
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    else:
        link(services, "alice@northwind.example", "confirm")
    answer = api.portal("POST", "/links", {"token": token, "password": PASSWORD})
    assert answer.status_code == 410
    assert answer.json()["error"]["code"] == "gone"


def test_a_stranger_who_signs_up_with_an_invited_address_gains_nothing(
    api: Api, services: WorkerServices, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    acme = make_tenant("Acme")
    api.portal("POST", "/tenant/members", {"email": "bob@bikes.example", "role": "admin"}, session=signed_in(acme))
    sign_up(api, "bob@bikes.example", "Mallory Ltd")
    invitation = link(services, "bob@bikes.example", "invite")
    assert api.portal("POST", "/links/look", {"token": invitation}).json()["needs_password"] is True
    assert api.portal("POST", "/links", {"token": invitation}).status_code == 422, "the mailbox chooses the password"
    assert api.portal("POST", "/links", {"token": invitation, "password": PASSWORD}).status_code == 200
    for password, status in (("mallory knows this one", 401), (PASSWORD, 201)):
        body = {"email": "bob@bikes.example", "password": password}
        assert api.portal("POST", "/sessions", body).status_code == status


def test_an_invitation_tells_nothing_of_the_invited_until_they_come(
    api: Api, services: WorkerServices, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    acme, bobs = make_tenant("Acme"), make_tenant("Bob's Bikes", "bob@bikes.example")
    with services.registry.begin() as connection:
        accounts.update_account(connection, bobs.owner_id, name="Robert Secret")
    owner = signed_in(acme)
    body = {"email": "bob@bikes.example", "role": "member"}
    shown = api.portal("POST", "/tenant/members", body, session=owner).json()
    assert (shown["name"], shown["confirmed"]) == ("bob", False)
    with services.registry.begin() as connection:
        assert jobs.page(connection).rows[0].args["purpose"] == "joined", "no link that signs in without a password"
        bob = sessions.create(connection, bobs.owner_id, "portal", tenant_id=acme.id)
    api.portal("GET", "/context", session=bob)
    names = [row["name"] for row in api.portal("GET", "/tenant/members", session=owner).json()]
    assert "Robert Secret" in names


def test_signing_up_with_a_known_address_answers_the_same_and_changes_nothing(
    api: Api, services: WorkerServices
) -> None:
    first = sign_up(api, "alice@northwind.example")
    api.portal("POST", "/links", {"token": link(services, "alice@northwind.example", "confirm"), "password": PASSWORD})
    with services.registry.begin() as connection:
        before = accounts.by_email(connection, "alice@northwind.example")
    again = sign_up(api, "alice@northwind.example", "Mallory Ltd")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    with services.registry.begin() as connection:
        assert accounts.by_email(connection, "alice@northwind.example") == before
        assert [row.args["purpose"] for row in jobs.page(connection).rows] == ["known", "confirm"]


def test_a_wrong_password_is_refused_and_audited_and_many_are_throttled(api: Api, services: WorkerServices) -> None:
    sign_up(api, "alice@northwind.example")
    api.portal("POST", "/links", {"token": link(services, "alice@northwind.example", "confirm"), "password": PASSWORD})
    body = {"email": "alice@northwind.example", "password": "wrong password here"}
    assert api.portal("POST", "/sessions", body).status_code == 401
    assert "access.denied" in actions(services)
    last = None
    for _ in range(10):
        last = api.portal("POST", "/sessions", body)
    assert last is not None and last.status_code == 429
    assert int(last.headers["Retry-After"]) > 0


def test_the_context_names_placement_and_login_and_hides_the_password_from_reprs(
    api: Api, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    tenancy = make_tenant()
    answer = api.portal("GET", "/context", session=signed_in(tenancy))
    context = ContextOut.model_validate_json(answer.content)
    assert isinstance(context.placement, PlacementOut) and context.tenant is not None
    assert isinstance(context.placement.password, SecretStr)
    assert context.placement.placement(tenancy.id, context.tenant.tier) == tenancy.placement
    assert tenancy.placement.password not in repr(context)
    assert tenancy.placement.password not in str(context.model_dump())


def test_a_session_is_refused_on_the_host_of_another_tenant_and_the_refusal_is_audited(
    api: Api, services: WorkerServices, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    alice, paula = make_tenant("Northwind"), make_tenant("Paula Paid", tier=Tier.PAID)
    own = api.portal("GET", "/context", session=signed_in(paula), host=f"{paula.slug}.localhost:8000")
    assert own.status_code == 200 and own.json()["placement"] is not None
    for host in (f"{paula.slug}.localhost:8000", "no-such-tenant.localhost:8000"):
        answer = api.portal("GET", "/context", session=signed_in(alice), host=host)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert actions(services).count("access.denied") == 2
    assert api.portal("GET", "/context", session=signed_in(alice), host="evil.example").status_code == 404


def test_a_paid_tenants_session_on_the_shared_host_is_sent_to_its_own(
    api: Api, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    paula = make_tenant("Paula Paid", tier=Tier.PAID)
    session = signed_in(paula)
    context = api.portal("GET", "/context", session=session).json()
    assert context["move_to"] == f"{paula.slug}.localhost:8000"
    assert context["placement"] is None
    url = api.portal("POST", "/handovers", {"tenant_id": str(paula.id)}, session=session).json()["url"]
    ticket = url.partition("ticket=")[2]
    own = f"{paula.slug}.localhost:8000"
    for host in (SHARED, "elsewhere.localhost:8000", "localhost:8000", "evil.example"):
        assert api.portal("POST", "/handovers/redeem", {"ticket": ticket}, host=host).status_code == 410
    assert api.portal("POST", "/handovers/redeem", {"ticket": ticket}, host=own.upper()).status_code == 201
    assert api.portal("POST", "/handovers/redeem", {"ticket": ticket}, host=own).status_code == 410


def test_after_a_downgrade_the_tenants_own_host_leads_to_the_shared_one(
    api: Api, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    paula = make_tenant("Paula Paid no more")
    session, own = signed_in(paula), f"{paula.slug}.localhost:8000"
    assert api.portal("GET", "/context", session=session, host=own).json()["move_to"] == SHARED
    url = api.portal("POST", "/handovers", {"tenant_id": str(paula.id)}, session=session, host=own).json()["url"]
    assert url.startswith(f"http://{SHARED}/handover?ticket=")
    ticket = {"ticket": url.partition("ticket=")[2]}
    assert api.portal("POST", "/handovers/redeem", ticket, host=SHARED).status_code == 201


def test_a_ticket_replaces_the_session_of_another_account_only_after_a_yes(
    api: Api, make_tenant: Callable[..., Tenancy], signed_in: Callable[..., str]
) -> None:
    alice, bob = make_tenant("Northwind"), make_tenant("Bikes")
    session = signed_in(alice)
    url = api.portal("POST", "/handovers", {"tenant_id": str(alice.id)}, session=session).json()["url"]
    ticket = {"ticket": url.partition("ticket=")[2]}
    refused = api.portal("POST", "/handovers/redeem", ticket, session=signed_in(bob))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    yes = api.portal("POST", "/handovers/redeem", {**ticket, "confirmed": True}, session=signed_in(bob))
    assert yes.status_code == 201
    url = api.portal("POST", "/handovers", {"tenant_id": str(alice.id)}, session=session).json()["url"]
    ticket = {"ticket": url.partition("ticket=")[2]}
    assert api.portal("POST", "/handovers/redeem", ticket, session=session).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("PUT", "/tenant/aws-role", {"role_arn": None}, Role.ADMIN),
        ("POST", "/tenant/upgrade-request", None, Role.OWNER),
        ("DELETE", "/tenant/upgrade-request", None, Role.OWNER),
        ("POST", f"/tenant/moves/{UUID(int=7)}/cancel", None, Role.OWNER),
        ("POST", "/tenant/rollback", None, Role.OWNER),
        ("POST", "/tenant/downgrade", None, Role.OWNER),
        ("POST", "/tenant/members", {"email": "new@example.com", "role": "viewer"}, Role.ADMIN),
        ("POST", "/hubspot/authorizations", {}, Role.ADMIN),
        ("POST", "/hubspot/connection", {"state": "forged", "code": "c"}, Role.ADMIN),
        ("POST", "/hubspot/declines", {"state": "forged"}, Role.ADMIN),
        ("POST", "/hubspot/installs/look", {"install": "forged"}, Role.ADMIN),
        ("POST", "/hubspot/installs/claim", {"install": "forged"}, Role.ADMIN),
        ("DELETE", "/hubspot/connection", None, Role.ADMIN),
        ("POST", "/syncs", None, Role.MEMBER),
        ("POST", f"/syncs/{UUID(int=7)}/cancel", None, Role.MEMBER),
        ("GET", "/hubspot/deals", None, Role.MEMBER),
        ("POST", "/hubspot/picks", {"add": ["1"]}, Role.MEMBER),
    ],
)
def test_each_change_takes_its_role(
    api: Api,
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    signed_in: Callable[..., str],
    method: str,
    path: str,
    body: Any,
    least: Role,
) -> None:
    tenancy = make_tenant()
    below = [role for role in Role if not role.allows(least)]
    for role in below:
        answer = api.portal(method, path, body, session=signed_in(tenancy, role))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert actions(services).count("access.denied") == len(below)
    assert api.portal(method, path, body, session=signed_in(tenancy)).status_code != 403
    assert api.portal(method, path, body).status_code == 401


def test_the_upgrade_is_asked_by_the_owner_and_granted_by_an_operator(
    api: Api,
    services: WorkerServices,
    dedicated: str,
    make_tenant: Callable[..., Tenancy],
    signed_in: Callable[..., str],
) -> None:
    tenancy = make_tenant()
    assert api.portal("POST", "/tenant/upgrade-request", session=signed_in(tenancy)).status_code == 202
    listed = api.operator("GET", "/tenants").json()["tenants"][0]
    assert listed["upgrade_requested_at"] is not None
    move = MoveOut.model_validate_json(api.operator("POST", f"/tenants/{tenancy.slug}/upgrade", {}).content)
    assert (move.phase, move.source, move.target) == ("requested", "pool-1", dedicated)
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenancy.id).tier is Tier.PAID
    assert api.operator("POST", f"/tenants/{tenancy.slug}/upgrade", {}).status_code == 409


def test_tokens_do_not_open_the_other_door(api: Api, services: WorkerServices) -> None:
    assert api.operator("GET", "/tenants", token=SERVICE).status_code == 401
    assert api.operator("GET", "/tenants", token="").status_code == 401
    assert actions(services).count("access.denied") == 2


def test_operators_create_tenants_and_read_credentials(api: Api, services: WorkerServices) -> None:
    made = api.operator("POST", "/tenants", {"email": "bob@tailspin.example", "company": "Tailspin"})
    assert made.status_code == 201
    assert made.json()["state"] == "pending"
    assert api.operator("GET", f"/tenants/{made.json()['slug']}/credentials").status_code == 503
    from awssome.workflows import provisioning

    with services.registry.begin() as connection:
        provisioning_of = tenants.by_ref(connection, made.json()["slug"]).id
    provisioning.provision(services, provisioning_of)
    shown = api.operator("GET", f"/tenants/{made.json()['slug']}/credentials").json()
    assert set(shown) == {"engine", "host", "port", "database", "schema", "user", "password"}
    assert "tenant.credentials_shown" in actions(services)


def test_tenants_are_listed_by_pages_in_any_order(api: Api, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        for name in ("Émile & Fils", "adatum", "Contoso", "Böhm GmbH", "Zava", "株式会社"):
            tenants.create(connection, name)
    for sort in tenants.SORTS:
        seen, after = [], ""
        while True:
            page = api.operator("GET", f"/tenants?sort={sort}&limit=2&after={after}").json()
            seen += [row["company"] for row in page["tenants"]]
            if not page["next"]:
                break
            after = page["next"]
        assert len(seen) == len(set(seen)) == page["total"] == 6, sort
    assert api.operator("GET", "/tenants?search=böhm").json()["total"] == 1
    assert api.operator("GET", "/tenants?sort=password_hash").status_code == 422


def test_bad_bodies_get_one_error_shape(api: Api) -> None:
    answer = sign_up(api, "not an address")
    assert answer.status_code == 422
    assert answer.json()["error"]["fields"] == {"email": "Enter an e-mail address, like alice@example.com."}
    assert answer.json()["error"]["reference"].startswith("R-")
    unknown = api.portal("POST", "/signups", {"surprise": True})
    assert unknown.status_code == 422 and set(unknown.json()) == {"error"}


def test_the_audit_log_cannot_be_changed_and_a_seal_shows_tampering(services: WorkerServices, cluster: Any) -> None:
    with services.registry.begin() as connection:
        audit.record(connection, audit.Actor("olga@awssome.example"), "tenant.suspended")
    with services.registry.begin() as connection:
        assert audit.seal(connection) == 1
        assert audit.verify(connection).ok
    for statement in ("UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(Exception, match="append-only"), services.registry.begin() as connection:
            connection.execute(text(statement))
    with services.registry.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        connection.execute(text("UPDATE audit_log SET actor = 'nobody'"))
        assert not audit.verify(connection).ok
