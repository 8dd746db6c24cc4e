"""A stand-in for the client of the central API: the cast, its tenants and sessions, in memory.

The central API has tests of its own; here it is only what answers the portal. Tenants' data is never faked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from awssome.control import messages as m
from awssome.control.client import Caller, Control
from awssome.domain.addresses import Addresses
from awssome.domain.archives import ArchiveKind, ArchiveState
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import SyncKind
from awssome.domain.tenants import Placement, Role, ServerKind, TenantState, Tier
from awssome.domain.times import new_id

AT = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1"
PASSWORD = "three words and one more"


@dataclass
class Tenant:
    """A tenant as the fake keeps it."""

    id: UUID
    slug: str
    company: str
    placement: Placement | None = None
    tier: Tier = Tier.FREE
    state: TenantState = TenantState.ACTIVE
    aws_choice: str = "later"
    hubspot: m.HubSpotOut = field(default_factory=lambda: m.HubSpotOut(state="none"))
    upgrade_requested_at: datetime | None = None
    problem: str | None = None
    move: m.MoveOut | None = None
    way_back: m.WayBack | None = None
    subscribed: bool = False


class FakeControl:
    """Answers as the central API does, for one process and without a database.

    :ivar down: whether it does not answer at all.
    :ivar denials: what the portal reported: (e-mail address or "", action).
    :ivar asked: how often the context was asked for.
    :ivar hubspot: the deals of the HubSpot account.
    :ivar running: the kind of the run that is under way.
    """

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.accounts: dict[str, m.AccountOut] = {}
        self.tenants: dict[UUID, Tenant] = {}
        self.roles: dict[tuple[str, UUID], Role] = {}
        self.live: dict[str, tuple[str, UUID | None]] = {}
        self.links: dict[str, m.LinkInfo] = {}
        self.tickets: dict[str, tuple[str, UUID]] = {}
        self.states: dict[str, str] = {}
        self.refusals: dict[str, Refused] = {}
        self.calls: list[tuple[str, Any]] = []
        self.denials: list[tuple[str, str]] = []
        self.archives: dict[UUID, m.ArchiveOut] = {}
        self.deals: dict[str, dict[str, str]] = {}
        self.hubspot: list[m.DealRow] = []
        self.running: SyncKind | None = None
        self.asked = 0
        self.down = False

    @property
    def control(self) -> Control:
        """The fake in the place of the client."""
        return cast(Control, self)

    # --- what tests arrange

    def add_account(self, email: str, name: str = "") -> None:
        self.accounts[email] = m.AccountOut(id=new_id(), name=name or email.partition("@")[0].title(), email=email)

    def add_tenant(self, tenant: Tenant, **roles: Role) -> Tenant:
        """`alice=Role.OWNER` puts alice@example.com in."""
        self.tenants[tenant.id] = tenant
        for name, role in roles.items():
            email = f"{name}@example.com"
            if email not in self.accounts:
                self.add_account(email)
            self.roles[email, tenant.id] = role
        return tenant

    def session(self, email: str, chosen: UUID | None = None) -> str:
        token = f"session-{len(self.live)}-{email}"
        self.live[token] = (email, chosen)
        return token

    # --- people

    def sign_up(self, caller: Caller, body: m.SignUp) -> m.Accepted:
        self._note("sign_up", body)
        if "@" not in body.email:
            raise Refused(Code.INVALID, "No.", fields={"email": "Enter an e-mail address."})
        return m.Accepted(message="Look into your mailbox: we have sent you a link.")

    def resend(self, caller: Caller, email: str) -> m.Accepted:
        self._note("resend", email)
        return m.Accepted(message="Look into your mailbox: we have sent you a link.")

    def reset_password(self, caller: Caller, email: str) -> m.Accepted:
        self._note("reset_password", email)
        return m.Accepted(message="Look into your mailbox: we have sent you a link.")

    def look_at_link(self, caller: Caller, token: str) -> m.LinkInfo:
        self._note("look_at_link", token)
        if token not in self.links:
            raise Refused(Code.GONE, "This link does not work any more.", "Ask for a new one.")
        return self.links[token]

    def use_link(self, caller: Caller, body: m.UseLink) -> m.SessionOut:
        self._note("use_link", body)
        link = self.look_at_link(caller, body.token)
        if link.needs_password and len(body.password.get_secret_value() if body.password else "") < 12:
            raise Refused(Code.INVALID, "No.", fields={"password": "Use 12 to 256 characters."})
        del self.links[body.token]
        return self._session_out(link.email)

    def sign_in(self, caller: Caller, body: m.SignIn) -> m.SessionOut:
        self._note("sign_in", body)
        if body.email not in self.accounts or body.password.get_secret_value() != PASSWORD:
            raise Refused(Code.UNAUTHENTICATED, "E-mail address and password do not fit together.", "Check both.")
        return self._session_out(body.email)

    def sign_out(self, caller: Caller) -> None:
        self._note("sign_out", caller.session)
        self.live.pop(caller.session, None)

    def sessions_of(self, email: str) -> Iterator[str]:
        return (token for token, (whose, _) in self.live.items() if whose == email)

    def end_session(self, caller: Caller, session_id: UUID) -> None:
        self._note("end_session", session_id)

    def sign_out_everywhere(self, caller: Caller) -> None:
        self._note("sign_out_everywhere", None)
        for token in list(self.sessions_of(self._who(caller))):
            del self.live[token]

    def change_password(self, caller: Caller, body: m.ChangePassword) -> None:
        self._note("change_password", body)
        if body.current.get_secret_value() != PASSWORD:
            wrong = {"current": "This is not your present password."}
            raise Refused(Code.INVALID, "The present password is wrong.", fields=wrong)

    def context(self, caller: Caller) -> m.ContextOut:
        self._note("context", caller.host)
        self.asked += 1
        email, chosen = self._session(caller)
        label = self.addresses.label(caller.host)
        mine = {tenant_id: role for (whose, tenant_id), role in self.roles.items() if whose == email}
        tenant = None
        if label == "freemium":
            tenant = self.tenants[chosen] if chosen in mine else None
            if tenant is None and len(mine) == 1:
                tenant = self.tenants[next(iter(mine))]
        else:
            tenant = next((self.tenants[each] for each in mine if self.tenants[each].slug == label), None)
            if tenant is None:
                raise Refused(Code.FORBIDDEN, "Your account does not belong to this workspace.", "Open your own.")
        home = self.addresses.of(tenant.tier, tenant.slug) if tenant else caller.host
        here = self.addresses.label(home) == label
        return m.ContextOut(
            account=self.accounts[email],
            session_id=new_id(),
            memberships=[self._membership(self.tenants[each], role) for each, role in mine.items()],
            role=mine[tenant.id] if tenant else None,
            tenant=self._tenant_out(tenant) if tenant else None,
            placement=self._placement_out(tenant) if tenant and here and tenant.state == "active" else None,
            move_to=None if here else home,
        )

    def report_denial(self, caller: Caller, action: str) -> None:
        self._note("report_denial", action)
        self.denials.append((self.live.get(caller.session, ("", None))[0], action))

    def switch_tenant(self, caller: Caller, tenant_id: UUID) -> None:
        self._note("switch_tenant", tenant_id)
        self.live[caller.session] = (self._who(caller), tenant_id)

    def hand_over(self, caller: Caller, tenant_id: UUID) -> m.HandoverOut:
        self._note("hand_over", tenant_id)
        ticket = f"ticket-{len(self.tickets)}"
        self.tickets[ticket] = (self._who(caller), tenant_id)
        tenant = self.tenants[tenant_id]
        host = self.addresses.of(tenant.tier, tenant.slug)
        return m.HandoverOut(url=self.addresses.url(host, f"/handover?ticket={ticket}"))

    def redeem(self, caller: Caller, ticket: str, *, confirmed: bool = False) -> m.SessionOut:
        self._note("redeem", ticket)
        if ticket not in self.tickets:
            raise Refused(Code.GONE, "This link has been used or is too old.", "Sign in.")
        whose, now = self.tickets[ticket][0], self.live.get(caller.session, ("", None))[0]
        if now and now != whose and not confirmed:
            raise Refused(Code.CONFLICT, f"You are signed in as {now}. This link signs you in as {whose}.", "Sure?")
        email, tenant_id = self.tickets.pop(ticket)
        return self._session_out(email, tenant_id)

    def sessions(self, caller: Caller) -> list[m.SessionInfo]:
        return [
            m.SessionInfo(
                id=new_id(),
                agent=agent,
                address="203.0.113.7",
                created_at=AT - timedelta(days=3),
                seen_at=AT,
                current=current,
            )
            for agent, current in ((_FIREFOX, True), (_SAFARI, False))
        ]

    # --- the tenant

    def set_aws_role(self, caller: Caller, role_arn: str | None) -> m.TenantOut:
        self._note("set_aws_role", role_arn)
        tenant = self._tenant(caller)
        if role_arn is not None and not role_arn.startswith("arn:"):
            raise Refused(Code.INVALID, "No.", fields={"role_arn": "This is not the ARN of an IAM role."})
        tenant.aws_choice = "later" if role_arn is None else "linked"
        return self._tenant_out(tenant)

    def retry_workspace(self, caller: Caller) -> None:
        self._note("retry_workspace", None)
        self._tenant(caller).problem = None

    def request_upgrade(self, caller: Caller) -> None:
        self._note("request_upgrade", None)
        self._tenant(caller).upgrade_requested_at = AT

    def withdraw_upgrade(self, caller: Caller) -> None:
        self._note("withdraw_upgrade", None)
        self._tenant(caller).upgrade_requested_at = None

    def cancel_own_move(self, caller: Caller, move_id: UUID) -> None:
        self._note("cancel_own_move", move_id)

    def roll_back(self, caller: Caller) -> None:
        self._note("roll_back", None)

    def downgrade(self, caller: Caller) -> None:
        self._note("downgrade", None)

    def delete_workspace(self, caller: Caller) -> None:
        self._note("delete_workspace", None)
        self._tenant(caller).state = TenantState.RETAINED

    def members(self, caller: Caller) -> list[m.MemberOut]:
        self._note("members", None)
        tenant = self._tenant(caller)
        found = [(email, role) for (email, tenant_id), role in self.roles.items() if tenant_id == tenant.id]
        return [
            m.MemberOut(
                account_id=self.accounts[email].id,
                name=self.accounts[email].name,
                email=email,
                role=role,
                confirmed=not email.startswith("new"),
            )
            for email, role in found
        ]

    def invite(self, caller: Caller, body: m.Invite) -> m.MemberOut:
        self._note("invite", body)
        return m.MemberOut(account_id=new_id(), name="", email=body.email, role=body.role, confirmed=False)

    def change_role(self, caller: Caller, account_id: UUID, body: m.ChangeRole) -> None:
        self._note("change_role", (account_id, body.role))
        owners = [who for (who, tenant), role in self.roles.items() if role == "owner"]
        if len(owners) == 1 and self.accounts[owners[0]].id == account_id:
            raise Refused(Code.CONFLICT, "A workspace needs at least one owner.", "Make somebody else an owner first.")

    def remove_member(self, caller: Caller, account_id: UUID) -> None:
        self._note("remove_member", account_id)

    # --- HubSpot

    def authorize_hubspot(self, caller: Caller, return_url: str | None = None) -> m.AuthorizeOut:
        self._note("authorize_hubspot", return_url)
        self.states["state-1"] = caller.host
        if return_url is not None:
            return m.AuthorizeOut(url=f"{return_url}?state=state-1")
        return m.AuthorizeOut(url="https://app.hubspot.com/oauth/authorize?client_id=1&state=state-1")

    def hubspot_callback(self, caller: Caller, state: str) -> m.CallbackOut:
        self._note("hubspot_callback", state)
        if state not in self.states:
            raise Refused(Code.GONE, "This answer of HubSpot was used already, or is too old.", "Connect again.")
        return m.CallbackOut(host=self.states.pop(state))

    def connect_hubspot(self, caller: Caller, body: m.ConnectIn) -> m.ConnectedOut:
        self._note("connect_hubspot", body)
        return m.ConnectedOut(portal_id=4128831, hub_domain="northwind-cloud.com", return_url=body.return_url)

    def decline_hubspot(self, caller: Caller, body: m.DeclineIn) -> None:
        self._note("decline_hubspot", body)

    def arrive(self, caller: Caller, token: str) -> m.ArrivalRef:
        self._note("arrive", token)
        if token == "unknown":
            raise Refused(Code.GONE, "What AWS Marketplace sent you with has expired.", "Set up your account again.")
        return m.ArrivalRef(arrival="arrival-1")

    def look_at_arrival(self, caller: Caller, arrival: str) -> m.ArrivalOut:
        self._note("look_at_arrival", arrival)
        if arrival != "arrival-1":
            raise Refused(Code.GONE, "This has taken too long.", "Set up your account again.")
        return m.ArrivalOut(account="210987654321")

    def claim_subscription(self, caller: Caller, arrival: str) -> m.Accepted:
        self._note("claim_subscription", arrival)
        return m.Accepted(message="You are on the paid plan.")

    def begin_install(self, caller: Caller, body: m.InstallIn) -> m.InstallRef:
        self._note("begin_install", body)
        return m.InstallRef(install="install-1")

    def look_at_install(self, caller: Caller, install: str) -> m.InstallOut:
        self._note("look_at_install", install)
        return m.InstallOut(
            portal_id=4128831, hub_domain="northwind-cloud.com", return_url="https://app.hubspot.com/done"
        )

    def claim_install(self, caller: Caller, install: str) -> m.ConnectedOut:
        self._note("claim_install", install)
        return m.ConnectedOut(
            portal_id=4128831, hub_domain="northwind-cloud.com", return_url="https://app.hubspot.com/done"
        )

    def disconnect_hubspot(self, caller: Caller) -> m.Accepted:
        self._note("disconnect_hubspot", None)
        return m.Accepted(message="HubSpot is disconnected. Your deals are kept.")

    def start_sync(self, caller: Caller, body: m.StartSync | None = None) -> m.SyncOut:
        self._note("start_sync", body)
        return m.SyncOut(sync_id=new_id(), kind=self.running or (body or m.StartSync()).kind)

    def cancel_sync(self, caller: Caller, sync_id: UUID) -> None:
        self._note("cancel_sync", sync_id)

    def hubspot_deals(self, caller: Caller, search: str = "", after: str = "") -> m.DealPage:
        self._note("hubspot_deals", (search, after))
        found = [deal for deal in self.hubspot if search.lower() in deal.title.lower()]
        start = int(after or 0)
        following = str(start + 25) if start + 25 < len(found) else None
        return m.DealPage(deals=found[start : start + 25], total=len(found), after=following)

    def pick_deals(self, caller: Caller, body: m.Picks) -> None:
        self._note("pick_deals", body)

    def save_fields(self, caller: Caller, body: m.SaveFields) -> m.MappingSaved:
        self._note("save_fields", body)
        return m.MappingSaved(changed=[one.field for one in body.fields])

    def save_stages(self, caller: Caller, body: m.SaveStages) -> m.MappingSaved:
        self._note("save_stages", body)
        return m.MappingSaved(changed=[f"{one.pipeline}/{one.stage}" for one in body.stages])

    def refresh_definitions(self, caller: Caller) -> None:
        self._note("refresh_definitions", None)

    def read_deal(self, caller: Caller, body: m.ReadDeal) -> m.DealOut:
        self._note("read_deal", body)
        if body.deal_id not in self.deals:
            raise Refused(Code.NOT_FOUND, f"Your HubSpot account has no deal {body.deal_id}.", "Copy the number.")
        properties = self.deals[body.deal_id]
        return m.DealOut(deal_id=body.deal_id, properties={name: properties.get(name) for name in body.properties})

    def export_own(self, caller: Caller) -> m.ArchiveOut:
        self._note("export_own", None)
        made = archive(self._tenant(caller).id)
        self.archives[made.id] = made
        return made

    def own_archive(self, caller: Caller, archive_id: UUID) -> m.ArchiveOut:
        self._note("own_archive", archive_id)
        found = self.archives.get(archive_id)
        if found is None or found.tenant_id != self._tenant(caller).id:
            raise Refused(Code.NOT_FOUND, "There is no such archive.")
        return found

    def download_own(self, caller: Caller, archive_id: UUID) -> Iterator[bytes]:
        if self.own_archive(caller, archive_id).state is not ArchiveState.READY:
            raise Refused(Code.GONE, "There is no file.")
        return iter((b"PK", b"..."))

    # --- in between

    def _note(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if self.down:
            raise Refused(
                Code.UNAVAILABLE, "The management service does not answer. Nothing was changed.", "Try again."
            )
        if name in self.refusals:
            raise self.refusals[name]

    def _session(self, caller: Caller) -> tuple[str, UUID | None]:
        if caller.session not in self.live:
            raise Refused(Code.UNAUTHENTICATED, "You are not signed in, or your session has ended.", "Sign in.")
        return self.live[caller.session]

    def _who(self, caller: Caller) -> str:
        return self._session(caller)[0]

    def _tenant(self, caller: Caller) -> Tenant:
        answer = self.context(caller)
        assert answer.tenant is not None
        return self.tenants[answer.tenant.id]

    def _session_out(self, email: str, tenant_id: UUID | None = None) -> m.SessionOut:
        token = self.session(email, tenant_id)
        return m.SessionOut(token=token, account_id=self.accounts[email].id, tenant_id=tenant_id)

    def _membership(self, tenant: Tenant, role: Role) -> m.MembershipOut:
        return m.MembershipOut(
            tenant_id=tenant.id,
            company=tenant.company,
            slug=tenant.slug,
            tier=tenant.tier,
            state=tenant.state,
            role=role,
            host=self.addresses.of(tenant.tier, tenant.slug),
        )

    def _placement_out(self, tenant: Tenant) -> m.PlacementOut | None:
        placed = tenant.placement
        if placed is None:
            return None
        return m.PlacementOut(
            placement_id=placed.placement_id,
            engine=placed.engine,
            server="pool-1",
            host=placed.host,
            port=placed.port,
            database=placed.database,
            schema_name=placed.schema,
            epoch=placed.epoch,
            secret_version=placed.secret_version,
            password=placed.password,
        )

    def _tenant_out(self, tenant: Tenant) -> m.TenantOut:
        linked = tenant.aws_choice == "linked"
        return m.TenantOut(
            id=tenant.id,
            slug=tenant.slug,
            company=tenant.company,
            tier=tenant.tier,
            state=tenant.state,
            host=self.addresses.of(tenant.tier, tenant.slug),
            external_id="external-id-of-" + tenant.slug,
            role_arn="arn:aws:iam::123456789012:role/awssome" if linked else None,
            role_verified_at=AT if linked else None,
            aws_choice=cast(Any, tenant.aws_choice),
            quick_create_url="https://console.aws.amazon.com/cloudformation/home#/stacks/quickcreate?x=1",
            hubspot=tenant.hubspot,
            server="pool-1" if tenant.tier is Tier.FREE else f"dedicated-{tenant.slug}",
            server_kind=ServerKind.POOL if tenant.tier is Tier.FREE else ServerKind.DEDICATED,
            upgrade_requested_at=tenant.upgrade_requested_at,
            problem=tenant.problem,
            created_at=AT - timedelta(days=40),
            retain_until=AT + timedelta(days=30) if tenant.state is TenantState.RETAINED else None,
            move=tenant.move,
            way_back=tenant.way_back,
            subscribed=tenant.subscribed,
        )


def archive(tenant_id: UUID, state: ArchiveState = ArchiveState.REQUESTED) -> m.ArchiveOut:
    """An archive of the tenant, as the central API tells of it."""
    ready = state is ArchiveState.READY
    return m.ArchiveOut(
        id=new_id(),
        tenant_id=tenant_id,
        kind=ArchiveKind.MANUAL,
        state=state,
        engine=None,
        revision="0001" if ready else None,
        rows=1_234 if ready else None,
        bytes=56_789 if ready else None,
        sha256="ab" * 32 if ready else None,
        requested_by="alice@northwind.example",
        created_at=AT,
        finished_at=None if state is ArchiveState.REQUESTED else AT,
        seconds=None,
        expires_at=AT + timedelta(days=14),
        problem="The server does not answer." if state is ArchiveState.FAILED else None,
    )
