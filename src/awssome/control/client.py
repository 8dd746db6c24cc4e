"""A client of the central API: one method an endpoint, bodies in and out, every error a `Refused`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2
from pydantic import TypeAdapter

from awssome.control import messages as m
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import MoveKind, MoveState

T = TypeVar("T")

# The central API asks HubSpot several times, and waits for other tenants of the account.
_AT_HUBSPOT = httpx2.Timeout(120.0, connect=3.0)
_LONG = httpx2.Timeout(600.0, connect=3.0)
"""For archives: they are checked, or fetched from where they lie, before there is an answer."""


@dataclass(frozen=True)
class Caller:
    """On whose behalf the portal calls: passed on, so that the central API decides and logs about the real person.

    :param session: the session cookie's token, "" for nobody.
    :param host: the Host header of the person's request, with port.
    """

    session: str = field(default="", repr=False)
    host: str = ""
    address: str = ""
    agent: str = ""
    reference: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that carry it."""
        values = {
            "X-Awssome-Session": self.session,
            "X-Awssome-Host": self.host,
            "X-Awssome-Address": self.address,
            "X-Awssome-Agent": self.agent.encode("ascii", "replace").decode(),
            "X-Request-Id": self.reference,
        }
        return {name: value for name, value in values.items() if value}


class Control:
    """The central API at `url`, with a service token (portal) or an operator token (command line).

    Every method raises `Refused`: what the central API answered, or UNAVAILABLE when it does not answer.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 15.0) -> None:
        self._http = httpx2.Client(
            base_url=url.rstrip("/") + "/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(timeout, connect=3.0),
            limits=httpx2.Limits(max_connections=40, max_keepalive_connections=20),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- people: sign-up, links, sessions

    def sign_up(self, caller: Caller, body: m.SignUp) -> m.Accepted:
        """Ask for a workspace; a confirmation goes to the address."""
        return self._call(m.Accepted, "POST", "/signups", caller, body)

    def resend(self, caller: Caller, email: str) -> m.Accepted:
        """The confirmation once more."""
        return self._call(m.Accepted, "POST", "/signups/resend", caller, m.Resend(email=email))

    def reset_password(self, caller: Caller, email: str) -> m.Accepted:
        """A link to set another password."""
        return self._call(m.Accepted, "POST", "/password-resets", caller, m.Resend(email=email))

    def look_at_link(self, caller: Caller, token: str) -> m.LinkInfo:
        """What a link is for, without using it. :raises Refused: GONE when used, expired or forged."""
        return self._call(m.LinkInfo, "POST", "/links/look", caller, m.LinkToken(token=token))

    def use_link(self, caller: Caller, body: m.UseLink) -> m.SessionOut:
        """Use a link once; signs the person in."""
        return self._call(m.SessionOut, "POST", "/links", caller, body)

    def sign_in(self, caller: Caller, body: m.SignIn) -> m.SessionOut:
        """A session for e-mail and password. :raises Refused: UNAUTHENTICATED, or LIMITED after many tries."""
        return self._call(m.SessionOut, "POST", "/sessions", caller, body)

    def sign_out(self, caller: Caller) -> None:
        """End the caller's session."""
        self._send("DELETE", "/sessions/current", caller)

    def sessions(self, caller: Caller) -> list[m.SessionInfo]:
        """The caller's sessions."""
        return self._call(list[m.SessionInfo], "GET", "/sessions", caller)

    def end_session(self, caller: Caller, session_id: UUID) -> None:
        """End one of the caller's sessions."""
        self._send("DELETE", f"/sessions/{session_id}", caller)

    def sign_out_everywhere(self, caller: Caller) -> None:
        """End all of the caller's sessions."""
        self._send("DELETE", "/sessions", caller)

    def change_password(self, caller: Caller, body: m.ChangePassword) -> None:
        """Set another password; all other sessions end."""
        self._send("PUT", "/account/password", caller, body)

    def context(self, caller: Caller) -> m.ContextOut:
        """The one question of each request: who is this, in which role, which tier, where is the data."""
        return self._call(m.ContextOut, "GET", "/context", caller)

    def switch_tenant(self, caller: Caller, tenant_id: UUID) -> None:
        """Choose among the tenants of one host."""
        self._send("PUT", "/context/tenant", caller, m.SwitchTenant(tenant_id=tenant_id))

    def hand_over(self, caller: Caller, tenant_id: UUID) -> m.HandoverOut:
        """A one-time link to the tenant's own host, signed in."""
        return self._call(m.HandoverOut, "POST", "/handovers", caller, m.SwitchTenant(tenant_id=tenant_id))

    def redeem(self, caller: Caller, ticket: str, *, confirmed: bool = False) -> m.SessionOut:
        """A session on this host for a ticket. :raises Refused: CONFLICT if it is another account's than the caller's.

        :param confirmed: the caller has said yes to that.
        """
        body = m.TicketIn(ticket=ticket, confirmed=confirmed)
        return self._call(m.SessionOut, "POST", "/handovers/redeem", caller, body)

    def report_denial(self, caller: Caller, action: str) -> None:
        """Tell the audit log what the portal has refused."""
        self._send("POST", "/denials", caller, m.Denial(action=action))

    # --- the tenant of the caller

    def set_aws_role(self, caller: Caller, role_arn: str | None) -> m.TenantOut:
        """Verify and store the role's ARN, or (None) decide later; then the workspace is made."""
        return self._call(m.TenantOut, "PUT", "/tenant/aws-role", caller, m.AwsRole(role_arn=role_arn))

    def retry_workspace(self, caller: Caller) -> None:
        """Try once more to make the workspace."""
        self._send("POST", "/tenant/provisioning", caller)

    def request_upgrade(self, caller: Caller) -> None:
        """The owner asks for the paid tier."""
        self._send("POST", "/tenant/upgrade-request", caller)

    def withdraw_upgrade(self, caller: Caller) -> None:
        """The owner no longer asks for it. :raises Refused: CONFLICT when it was granted."""
        self._send("DELETE", "/tenant/upgrade-request", caller)

    def cancel_own_move(self, caller: Caller, move_id: UUID) -> None:
        """The owner calls the tenant's move off. :raises Refused: CONFLICT when it has switched."""
        self._send("POST", f"/tenant/moves/{move_id}/cancel", caller)

    def roll_back(self, caller: Caller) -> None:
        """The owner has the tenant moved back. :raises Refused: CONFLICT when there is nothing to go back to."""
        self._send("POST", "/tenant/rollback", caller)

    def downgrade(self, caller: Caller) -> None:
        """The owner gives the paid tier up. :raises Refused: CONFLICT, or UNAVAILABLE when no pool has room."""
        self._send("POST", "/tenant/downgrade", caller)

    def delete_workspace(self, caller: Caller) -> None:
        """Close the tenant at once; it is archived, and erased in 30 days."""
        self._send("POST", "/tenant/deletion", caller)

    def members(self, caller: Caller) -> list[m.MemberOut]:
        """Who belongs to the tenant."""
        return self._call(list[m.MemberOut], "GET", "/tenant/members", caller)

    def invite(self, caller: Caller, body: m.Invite) -> m.MemberOut:
        """Ask somebody in; an invitation goes to the address."""
        return self._call(m.MemberOut, "POST", "/tenant/members", caller, body)

    def change_role(self, caller: Caller, account_id: UUID, body: m.ChangeRole) -> None:
        """Another role for a member."""
        self._send("PUT", f"/tenant/members/{account_id}", caller, body)

    def remove_member(self, caller: Caller, account_id: UUID) -> None:
        """Take a member out of the tenant."""
        self._send("DELETE", f"/tenant/members/{account_id}", caller)

    # --- HubSpot and syncs

    def authorize_hubspot(self, caller: Caller, return_url: str | None = None) -> m.AuthorizeOut:
        """Where to send the browser for consent. :param return_url: HubSpot's, for who began there."""
        body = m.AuthorizeIn(return_url=return_url)
        return self._call(m.AuthorizeOut, "POST", "/hubspot/authorizations", caller, body)

    def hubspot_callback(self, caller: Caller, state: str) -> m.CallbackOut:
        """The host where a consent began, once. :raises Refused: GONE for a state that is forged, used or too old."""
        return self._call(m.CallbackOut, "POST", "/hubspot/callbacks", caller, m.CallbackIn(state=state))

    def connect_hubspot(self, caller: Caller, body: m.ConnectIn) -> m.ConnectedOut:
        """Connect with the code."""
        return self._call(m.ConnectedOut, "POST", "/hubspot/connection", caller, body, timeout=_AT_HUBSPOT)

    def decline_hubspot(self, caller: Caller, body: m.DeclineIn) -> None:
        """HubSpot sent the user back without a code."""
        self._send("POST", "/hubspot/declines", caller, body)

    def begin_install(self, caller: Caller, body: m.InstallIn) -> m.InstallRef:
        """Keep a code that came without a state. :raises Refused: INVALID for an address that is not HubSpot's."""
        return self._call(m.InstallRef, "POST", "/hubspot/installs", caller, body)

    def arrive(self, caller: Caller, token: str) -> m.ArrivalRef:
        """Who comes from AWS Marketplace. :raises Refused: GONE for a token that AWS does not know (any more)."""
        body = m.ArrivalIn(token=token)
        return self._call(m.ArrivalRef, "POST", "/marketplace/arrivals", caller, body, timeout=_AT_HUBSPOT)

    def look_at_arrival(self, caller: Caller, arrival: str) -> m.ArrivalOut:
        """Which AWS account has subscribed. :raises Refused: GONE when that was too long ago."""
        return self._call(m.ArrivalOut, "POST", "/tenant/subscription/look", caller, m.ArrivalRef(arrival=arrival))

    def claim_subscription(self, caller: Caller, arrival: str) -> m.Accepted:
        """Use the subscription for the tenant. :raises Refused: GONE, CONFLICT."""
        body = m.ArrivalRef(arrival=arrival)
        return self._call(m.Accepted, "POST", "/tenant/subscription", caller, body, timeout=_AT_HUBSPOT)

    def look_at_install(self, caller: Caller, install: str) -> m.InstallOut:
        """Whose installation it is. :raises Refused: GONE when it is unknown, too old or was connected."""
        body = m.InstallRef(install=install)
        return self._call(m.InstallOut, "POST", "/hubspot/installs/look", caller, body, timeout=_AT_HUBSPOT)

    def claim_install(self, caller: Caller, install: str) -> m.ConnectedOut:
        """Connect its account to the caller's workspace, once."""
        body = m.InstallRef(install=install)
        return self._call(m.ConnectedOut, "POST", "/hubspot/installs/claim", caller, body, timeout=_AT_HUBSPOT)

    def disconnect_hubspot(self, caller: Caller) -> m.Accepted:
        """Revoke and forget the tokens; the message says what HubSpot was told."""
        return self._call(m.Accepted, "DELETE", "/hubspot/connection", caller, timeout=_AT_HUBSPOT)

    def start_sync(self, caller: Caller, body: m.StartSync | None = None) -> m.SyncOut:
        """Start a sync, or name the one that runs. :raises Refused: CONFLICT when HubSpot is not connected."""
        return self._call(m.SyncOut, "POST", "/syncs", caller, body or m.StartSync())

    def cancel_sync(self, caller: Caller, sync_id: UUID) -> None:
        """End a sync that waits or runs. :raises Refused: NOT_FOUND, or CONFLICT when it has ended."""
        self._send("POST", f"/syncs/{sync_id}/cancel", caller)

    def hubspot_deals(self, caller: Caller, search: str = "", after: str = "") -> m.DealPage:
        """Deals as HubSpot has them now. :raises Refused: CONFLICT when HubSpot is not connected."""
        query = {"search": search, "after": after}
        return self._call(m.DealPage, "GET", "/hubspot/deals", caller, query={k: v for k, v in query.items() if v})

    def pick_deals(self, caller: Caller, body: m.Picks) -> None:
        """Choose the deals that come in. :raises Refused: INVALID when there are more than places."""
        self._send("POST", "/hubspot/picks", caller, body)

    # --- the mapping of HubSpot's deals

    def save_fields(self, caller: Caller, body: m.SaveFields) -> m.MappingSaved:
        """Take over where fields come from. :raises Refused: CONFLICT when somebody else was quicker."""
        return self._call(m.MappingSaved, "PUT", "/hubspot/mapping/fields", caller, body)

    def save_stages(self, caller: Caller, body: m.SaveStages) -> m.MappingSaved:
        """Take over what stages become. :raises Refused: CONFLICT when somebody else was quicker."""
        return self._call(m.MappingSaved, "PUT", "/hubspot/mapping/stages", caller, body)

    def refresh_definitions(self, caller: Caller) -> None:
        """Ask HubSpot now for its properties and pipelines."""
        self._send("POST", "/hubspot/definitions", caller)

    def read_deal(self, caller: Caller, body: m.ReadDeal) -> m.DealOut:
        """One deal as HubSpot has it now. :raises Refused: NOT_FOUND when it has none."""
        return self._call(m.DealOut, "POST", "/hubspot/deals/read", caller, body)

    # --- operators

    def tenants(self, search: str = "", sort: str = "-created", after: str = "", limit: int = 50) -> m.TenantPage:
        """Tenants by page."""
        query = {"search": search, "sort": sort, "after": after, "limit": str(limit)}
        return self._call(m.TenantPage, "GET", "/tenants", query={k: v for k, v in query.items() if v})

    def tenant(self, ref: str) -> m.TenantDetail:
        """One tenant by id or slug."""
        return self._call(m.TenantDetail, "GET", f"/tenants/{ref}")

    def create_tenant(self, body: m.CreateTenant) -> m.TenantDetail:
        """A free tenant, an operator vouching; the workspace follows within seconds."""
        return self._call(m.TenantDetail, "POST", "/tenants", body=body)

    def credentials(self, ref: str, placement: UUID | None = None) -> dict[str, Any]:
        """The tenant's database login, where it is or at another of its placements."""
        query = {"placement": str(placement)} if placement else None
        return self._call(dict[str, Any], "GET", f"/tenants/{ref}/credentials", query=query)

    def start_upgrade(self, ref: str, server: str | None = None) -> m.MoveOut | m.Accepted:
        """Grant the paid tier; the move that follows, or why none can begin yet."""
        shape: TypeAdapter[m.MoveOut | m.Accepted] = TypeAdapter(m.MoveOut | m.Accepted)
        return shape.validate_json(self._send("POST", f"/tenants/{ref}/upgrade", body=m.StartMove(server=server)))

    def start_downgrade(self, ref: str) -> m.MoveOut | m.Accepted:
        """Give the paid tier up; the move that follows, or that nothing has to move."""
        shape: TypeAdapter[m.MoveOut | m.Accepted] = TypeAdapter(m.MoveOut | m.Accepted)
        return shape.validate_json(self._send("POST", f"/tenants/{ref}/downgrade"))

    def decline_upgrade(self, ref: str) -> None:
        """Decline what the tenant's owner asks for."""
        self._send("DELETE", f"/tenants/{ref}/upgrade-request")

    def start_move(self, ref: str, kind: str, server: str | None = None) -> m.MoveOut:
        """`kind` is rollback or move."""
        return self._call(m.MoveOut, "POST", f"/tenants/{ref}/{kind}", body=m.StartMove(server=server))

    def suspend(self, ref: str) -> None:
        """Close the tenant's login and its pages."""
        self._send("POST", f"/tenants/{ref}/suspend")

    def resume(self, ref: str) -> None:
        """Open a suspended tenant."""
        self._send("POST", f"/tenants/{ref}/resume")

    def delete_tenant(self, ref: str) -> m.TenantDetail:
        """Close the tenant at once; it is archived, and erased in 30 days."""
        return self._call(m.TenantDetail, "DELETE", f"/tenants/{ref}")

    def bring_back(self, ref: str, server: str | None = None) -> m.TenantDetail:
        """Bring an archived or deleted tenant back."""
        return self._call(m.TenantDetail, "POST", f"/tenants/{ref}/return", body=m.StartMove(server=server))

    def rotate(self, ref: str) -> None:
        """Another password for the tenant's login."""
        self._send("POST", f"/tenants/{ref}/rotation")

    def rotate_batch(self, after: UUID | None) -> m.RotationBatch:
        """Other passwords for the next batch of tenants."""
        return self._call(m.RotationBatch, "POST", "/rotations", body=m.StartRotation(after=after))

    def rotate_data_keys(self, after: UUID | None, *, renew: bool) -> m.RotationBatch:
        """Have the next batch of tenants' data keys wrapped by what wraps now. :param renew: or replaced, all."""
        body = m.StartKeyRotation(after=after, renew=renew)
        return self._call(m.RotationBatch, "POST", "/data-key-rotations", body=body)

    def data_key_rotations(self) -> m.RotationProgress:
        """How many rotations of data keys are still to be done."""
        return self._call(m.RotationProgress, "GET", "/data-key-rotations")

    def rotations(self) -> m.RotationProgress:
        """How many rotations are still to be done."""
        return self._call(m.RotationProgress, "GET", "/rotations")

    def servers(self) -> list[m.ServerRow]:
        """Every server with its load."""
        return self._call(list[m.ServerRow], "GET", "/servers")

    def add_server(self, body: m.AddServer) -> m.ServerRow:
        """Register a server; a worker checks and opens it."""
        return self._call(m.ServerRow, "POST", "/servers", body=body)

    def close_server(self, name: str) -> m.ServerRow:
        """No new tenants on this server."""
        return self._call(m.ServerRow, "POST", f"/servers/{name}/close")

    def open_server(self, name: str) -> m.ServerRow:
        """Have a worker check the server and open it."""
        return self._call(m.ServerRow, "POST", f"/servers/{name}/open")

    def change_server(self, name: str, body: m.ChangeServer) -> m.ServerRow:
        """Another capacity."""
        return self._call(m.ServerRow, "PATCH", f"/servers/{name}", body=body)

    def plan_drain(self, name: str, body: m.StartDrain) -> m.DrainPlan:
        """What a drain would do."""
        return self._call(m.DrainPlan, "POST", f"/servers/{name}/drain", body=body.model_copy(update={"dry_run": True}))

    def start_drain(self, name: str, body: m.StartDrain) -> m.ServerRow:
        """Move tenants off a pool, a few at a time."""
        return self._call(m.ServerRow, "POST", f"/servers/{name}/drain", body=body)

    def stop_drain(self, name: str) -> m.ServerRow:
        """Start no more moves off the server."""
        return self._call(m.ServerRow, "DELETE", f"/servers/{name}/drain")

    def moves(self, after: str = "", *, kind: MoveKind | None = None, state: MoveState | None = None) -> m.MovePage:
        """Moves, newest first; of one kind, or in one state."""
        query = {"after": after, "kind": kind or "", "state": state or ""}
        return self._call(m.MovePage, "GET", "/moves", query={k: v for k, v in query.items() if v})

    def move(self, move_id: UUID) -> m.MoveOut:
        """One move."""
        return self._call(m.MoveOut, "GET", f"/moves/{move_id}")

    def cancel_move(self, move_id: UUID) -> m.MoveOut:
        """Call a move off before the switch."""
        return self._call(m.MoveOut, "POST", f"/moves/{move_id}/cancel")

    def release_source(self, move_id: UUID) -> m.MoveOut:
        """Have the source of a move archived and dropped that is kept because it differed."""
        return self._call(m.MoveOut, "POST", f"/moves/{move_id}/release")

    def retry_move(self, move_id: UUID) -> m.MoveOut:
        """Try a failed move again."""
        return self._call(m.MoveOut, "POST", f"/moves/{move_id}/retry")

    def server(self, name: str, sort: str = "-bytes") -> m.ServerDetail:
        """One server with its load and its heaviest tenants. :raises Refused: NOT_FOUND."""
        return self._call(m.ServerDetail, "GET", f"/servers/{quote(name, safe='')}", query={"sort": sort})

    def tenant_use(self, ref: str) -> m.TenantUse:
        """What a tenant uses. :raises Refused: NOT_FOUND."""
        return self._call(m.TenantUse, "GET", f"/tenants/{quote(ref, safe='')}/use")

    def alerts(self, after: str = "") -> m.AlertPage:
        """What is wrong now, and a page of what is over."""
        return self._call(m.AlertPage, "GET", "/alerts", query={"after": after} if after else None)

    # --- archives and restores

    def archives(self, ref: str, after: str = "") -> m.ArchivePage:
        """A tenant's archives, newest first."""
        return self._call(m.ArchivePage, "GET", f"/tenants/{ref}/archives", query={"after": after} if after else None)

    def export(self, ref: str) -> m.ArchiveOut:
        """Ask for an archive of the tenant."""
        return self._call(m.ArchiveOut, "POST", f"/tenants/{ref}/archives")

    def archive(self, archive_id: UUID) -> m.ArchiveOut:
        """One archive."""
        return self._call(m.ArchiveOut, "GET", f"/archives/{archive_id}")

    def download(self, archive_id: UUID) -> Iterator[bytes]:
        """The archive's file in pieces. :raises Refused: GONE when there is none."""
        return self._stream(f"/archives/{archive_id}/file")

    def upload(self, ref: str, file: IO[bytes]) -> m.ArchiveOut:
        """Send an archive to restore the tenant from. :raises Refused: INVALID when it is damaged or another one's."""
        answer = self._ask("POST", f"/tenants/{ref}/archives/uploads", content=file, timeout=_LONG)
        return m.ArchiveOut.model_validate_json(answer)

    def start_restore(self, ref: str, body: m.StartRestore) -> m.RestoreOut:
        """Bring the tenant back from an archive."""
        return self._call(m.RestoreOut, "POST", f"/tenants/{ref}/restores", body=body)

    def restores(self, ref: str) -> list[m.RestoreOut]:
        """A tenant's restores, newest first."""
        return self._call(list[m.RestoreOut], "GET", f"/tenants/{ref}/restores")

    def restore(self, restore_id: UUID) -> m.RestoreOut:
        """One restore."""
        return self._call(m.RestoreOut, "GET", f"/restores/{restore_id}")

    def export_own(self, caller: Caller) -> m.ArchiveOut:
        """The owner asks for everything. :raises Refused: LIMITED after many times in a day."""
        return self._call(m.ArchiveOut, "POST", "/tenant/archives", caller)

    def own_archive(self, caller: Caller, archive_id: UUID) -> m.ArchiveOut:
        """One archive of the caller's tenant."""
        return self._call(m.ArchiveOut, "GET", f"/tenant/archives/{archive_id}", caller)

    def download_own(self, caller: Caller, archive_id: UUID) -> Iterator[bytes]:
        """Its file in pieces. :raises Refused: GONE when there is none."""
        return self._stream(f"/tenant/archives/{archive_id}/file", caller)

    def create_operator(self, body: m.CreateOperator) -> m.AccountOut:
        """An account for the management portal. :raises Refused: CONFLICT when the address has one."""
        return self._call(m.AccountOut, "POST", "/operators", body=body)

    def audit(self, after: str = "") -> m.AuditPage:
        """The audit log, newest first."""
        return self._call(m.AuditPage, "GET", "/audit", query={"after": after} if after else None)

    def _call(
        self,
        shape: type[T],
        method: str,
        path: str,
        caller: Caller | None = None,
        body: m.Body | None = None,
        query: dict[str, str] | None = None,
        **options: Any,
    ) -> T:
        return TypeAdapter(shape).validate_json(self._send(method, path, caller, body, query, **options))

    def _send(
        self,
        method: str,
        path: str,
        caller: Caller | None = None,
        body: m.Body | None = None,
        query: dict[str, str] | None = None,
        **options: Any,
    ) -> bytes:
        headers = caller.headers() if caller else {}
        content = None
        if body is not None:
            content = _plain_json(body)
            headers["Content-Type"] = "application/json"
        return self._ask(method, path, params=query, content=content, headers=headers, **options)

    def _ask(self, method: str, path: str, **options: Any) -> bytes:
        with _answering():
            answer = self._http.request(method, path, **options)
        if not answer.is_success:
            raise _refusal(answer)
        return answer.content

    def _stream(self, path: str, caller: Caller | None = None) -> Iterator[bytes]:
        """The body in pieces. It is asked for here, so that a refusal is raised before there is any piece."""
        headers = caller.headers() if caller else {}
        request = self._http.build_request("GET", path, headers=headers, timeout=_LONG)
        with _answering():
            answer = self._http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
        return _pieces(answer)


def _pieces(answer: httpx2.Response) -> Iterator[bytes]:
    try:
        with _answering():
            yield from answer.iter_raw()
    finally:
        answer.close()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError:
        raise Refused(
            Code.UNAVAILABLE,
            "The management service does not answer. Nothing was changed.",
            "Try again in a minute.",
            retry_after=5,
        ) from None


def _plain_json(body: m.Body) -> bytes:
    """JSON with the secrets in clear: pydantic masks them otherwise."""

    def plain(value: Any) -> Any:
        if hasattr(value, "get_secret_value"):
            return value.get_secret_value()
        return str(value)

    return json.dumps(body.model_dump(), default=plain).encode()


def _refusal(answer: httpx2.Response) -> Refused:
    try:
        problem = m.ErrorBody.model_validate_json(answer.content).error
        code = Code(problem.code)
    except ValueError:
        return Refused(
            Code.UNAVAILABLE,
            "The management service could not do this. Nothing was changed.",
            "Try again in a minute.",
        )
    wait = answer.headers.get("Retry-After")
    return Refused(
        code,
        problem.message,
        problem.advice,
        fields=problem.fields,
        retry_after=float(wait) if wait and wait.isdigit() else None,
    )
