"""Run the HubSpot sandbox: `python -m awssome_sandbox.hubspot --port 0 --deals 250 --app ID:SECRET:REDIRECT_URI`.

The first line on standard output is `{"url": ...}`, printed once it listens.
"""

from __future__ import annotations

import argparse
import gc
import json
from datetime import UTC, date, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from awssome_sandbox.hubspot import consent, control, crm, deal_pages, marketplace, tokens
from awssome_sandbox.hubspot.delivery import Connections
from awssome_sandbox.hubspot.errors import HubSpotError
from awssome_sandbox.hubspot.faults import Faults
from awssome_sandbox.hubspot.limits import TIERS, Limits
from awssome_sandbox.hubspot.oauth import AuthorizationServer, register
from awssome_sandbox.hubspot.seed import seed_portals, write_truth
from awssome_sandbox.hubspot.wire import Sandbox, endpoint
from awssome_sandbox.serving import address, announce, bind, end_on_signals, serve

KEEP_ALIVE_SECONDS = 120
"""How long a connection may idle: longer than a client waits when it was limited."""
HEAD_MAX = 131_072
"""Bytes of a request's head that are read: more than an address may have, so that a longer one is answered with 414."""


def main() -> None:
    """Read the command line, seed, serve until a signal comes."""
    end_on_signals()
    parser = _parser()
    options = parser.parse_args()
    faults = Faults()
    try:
        apps = register(options.app)
        sizes = dict(options.portal)
        faults.order(json.loads(options.faults))
    except (ValueError, HubSpotError) as error:
        parser.error(str(error))
    if options.deals < 0 or options.index_lag_ms < 0:
        parser.error("--deals and --index-lag-ms are 0 or more")
    certificate, key = options.tls or (None, None)
    bound = bind(options.host, options.port)
    portals = {portal.id: portal for portal in seed_portals(options.deals, options.seed, options.today, sizes)}
    first = next(iter(portals))
    oauth = AuthorizationServer(apps)
    for token, portal_id, tier in options.private_app:
        if portal_id not in portals:
            parser.error(f"--private-app: there is no portal {portal_id}")
        oauth.add_private_app(token, portal_id, tier)
    for portal_id, file in options.truth:
        if portal_id and portal_id not in portals:
            parser.error(f"--truth: there is no portal {portal_id}")
        write_truth(portals[portal_id or first], file)
    sandbox = Sandbox(
        portals=portals,
        oauth=oauth,
        limits=Limits() if options.rate_limit == "on" else None,
        index_lag_ms=options.index_lag_ms,
        faults=faults,
    )
    # What was seeded stays for good: left out of the collector's rounds, it costs no pauses while calls are served.
    gc.freeze()
    announce(url=address(bound, secure=certificate is not None))
    serve(
        application(sandbox),
        bound,
        http=Connections,
        h11_max_incomplete_event_size=HEAD_MAX,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def application(sandbox: Sandbox) -> Starlette:
    """The sandbox as an ASGI application; to be served by `Connections`, so that faults can cut connections."""
    unknown: list[Route] = [
        endpoint(sandbox, "unknown", method, "/{path:path}", crm.unknown)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ]
    table = [
        *control.routes(sandbox),
        *consent.routes(sandbox),
        *tokens.routes(sandbox),
        *crm.routes(sandbox),
        *deal_pages.routes(sandbox),
        *marketplace.routes(sandbox),
        *unknown,
    ]
    return Starlette(routes=table, middleware=[Middleware(_TrailingSlashes)])


class _TrailingSlashes:
    """HubSpot answers at an address with a slash at its end as at the one without."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="awssome sandbox hubspot", description="A stand-in for HubSpot.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one (default)")
    parser.add_argument(
        "--deals", type=int, default=250, metavar="N", help="live deals of the first portal (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same deals (default %(default)s)"
    )
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        metavar="DATE",
        help="the day on which the deals' dates hang (default: today, UTC)",
    )
    parser.add_argument(
        "--portal",
        action="append",
        default=[],
        type=_portal_size,
        metavar="ID:DEALS",
        help="live deals of another portal, which is added when there is none with this id (repeatable)",
    )
    parser.add_argument(
        "--truth",
        action="append",
        default=[],
        type=_truth_file,
        metavar="[ID:]FILE",
        help="receives what was seeded in the first portal, or in the named one, as JSON (repeatable)",
    )
    parser.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="ID:SECRET:REDIRECT_URI",
        help="register an OAuth app (repeatable)",
    )
    parser.add_argument(
        "--private-app",
        action="append",
        default=[],
        type=_private_app,
        metavar="TOKEN:PORTAL[:TIER]",
        help=f"let a private app's token be good in a portal; TIER sets its limits: {', '.join(TIERS)} (repeatable)",
    )
    parser.add_argument(
        "--index-lag-ms",
        type=float,
        default=0,
        metavar="N",
        help="milliseconds until a search sees a change (default %(default)s)",
    )
    parser.add_argument(
        "--faults",
        default="{}",
        metavar="JSON",
        help="faults in force from the start, as POST /_sandbox/faults takes them",
    )
    parser.add_argument(
        "--tls", type=_certificate, metavar="CERT:KEY", help="serve https with a certificate and its key (PEM files)"
    )
    parser.add_argument(
        "--rate-limit", choices=("on", "off"), default="on", help="HubSpot's limits (default %(default)s)"
    )
    return parser


def _portal_size(text: str) -> tuple[int, int]:
    id_, deals = _pair(text, "a portal is ID:DEALS")
    if not id_.isdecimal() or not deals.isdecimal():
        raise argparse.ArgumentTypeError("a portal is ID:DEALS, two numbers")
    return int(id_), int(deals)


def _truth_file(text: str) -> tuple[int | None, Path]:
    id_, _, file = text.partition(":")
    return (int(id_), Path(file)) if file and id_.isdecimal() else (None, Path(text))


def _private_app(text: str) -> tuple[str, int, str]:
    token, _, rest = text.partition(":")
    portal_id, _, tier = rest.partition(":")
    if not token or not portal_id.isdecimal() or (tier or "free") not in TIERS:
        raise argparse.ArgumentTypeError(f"a private app is TOKEN:PORTAL[:TIER], a tier one of {', '.join(TIERS)}")
    return token, int(portal_id), tier or "free"


def _certificate(text: str) -> tuple[str, str]:
    return _pair(text, "a certificate with its key is CERT:KEY")


def _pair(text: str, told: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise argparse.ArgumentTypeError(told)
    return first, second


if __name__ == "__main__":
    main()
