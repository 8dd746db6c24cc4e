"""Run the HubSpot sandbox: `python -m awssome_sandbox.hubspot --port 0 --deals 250 --app ID:SECRET:REDIRECT_URI`.

The first line on standard output is `{"url": ...}`, printed once it listens.
"""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route

from awssome_sandbox.hubspot import consent, control, crm, deal_pages, marketplace, tokens, writes
from awssome_sandbox.hubspot.limits import Limits
from awssome_sandbox.hubspot.oauth import AuthorizationServer, register
from awssome_sandbox.hubspot.seed import seed_portals, write_truth
from awssome_sandbox.hubspot.wire import Connections, Sandbox, endpoint
from awssome_sandbox.serving import address, announce, bind, end_on_signals, serve


def main() -> None:
    """Read the command line, seed, serve until a signal comes."""
    end_on_signals()
    parser = _parser()
    options = parser.parse_args()
    try:
        apps = register(options.app)
    except ValueError as error:
        parser.error(str(error))
    if options.deals < 0:
        parser.error("--deals is 0 or more")
    bound = bind(options.host, options.port)
    portals = seed_portals(options.deals, options.seed, options.today)
    if options.truth:
        write_truth(portals[0], options.truth)
    sandbox = Sandbox(
        portals={portal.id: portal for portal in portals},
        oauth=AuthorizationServer(apps),
        limits=Limits() if options.rate_limit == "on" else None,
    )
    announce(url=address(bound))
    serve(application(sandbox), bound, http=Connections)


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
        *writes.routes(sandbox),
        *deal_pages.routes(sandbox),
        *marketplace.routes(sandbox),
        *unknown,
    ]
    return Starlette(routes=table)


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
    parser.add_argument("--truth", type=Path, metavar="FILE", help="receives what was seeded, as JSON")
    parser.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="ID:SECRET:REDIRECT_URI",
        help="register an OAuth app (repeatable)",
    )
    parser.add_argument(
        "--rate-limit", choices=("on", "off"), default="on", help="HubSpot's limits (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    main()
