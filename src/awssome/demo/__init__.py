"""`awssome demo`: everything on one machine, fresh, with a story played through the pages that people use."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pydantic import SecretStr
from rich.console import Console

from awssome.control.client import Control
from awssome.control.messages import AddServer, CreateOperator, ServerRow
from awssome.demo import home
from awssome.demo.ensemble import Ensemble, World
from awssome.demo.stage import Stage
from awssome.demo.story import ALICE, BOB, CHARLIE, OLGA, PASSWORD, Player
from awssome.domain.errors import Code, Refused
from awssome.domain.servers import engine_of
from awssome.domain.tenants import ServerKind, Tier
from awssome.web import logs


@dataclass(frozen=True)
class Options:
    """How to play.

    :ivar home: where the data go; see `home.fresh`.
    :ivar clusters: names of the embedded clusters below home.
    :ivar operator_token: gives the command line's token, once the home is fresh.
    :ivar deals: deals in the HubSpot sandbox.
    :ivar pool_url: a server to use as the pool in place of the embedded one; its administrator's URL.
    :ivar dedicated_url: likewise, as the dedicated server, in place of one that AWS makes.
    :ivar leave: end after the story.
    :ivar as_json: print the report, and nothing else, to standard output.
    """

    home: Path
    clusters: Sequence[str]
    operator_token: Callable[[], str]
    deals: int = 250
    pool_url: str | None = None
    dedicated_url: str | None = None
    leave: bool = False
    as_json: bool = False


def play(options: Options) -> None:
    """Start everything, play the story, serve on until a signal comes.

    :raises Refused: when the home cannot be used, a part does not start, or a step of the story fails.
    """
    logs.configure(json=False, level="WARNING")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _interrupted)
    stage = Stage(Console(stderr=options.as_json, highlight=False))
    with home.fresh(options.home, options.clusters), ExitStack() as stack:
        ensemble = Ensemble(options.home, options.deals)
        api = stack.enter_context(Control(ensemble.world.management, options.operator_token()))
        stage.scene("Awssome starts on this machine")
        with stage.step("A database server, three sandboxes, management, portal and worker"):
            stack.enter_context(ensemble.running())
            api.create_operator(CreateOperator(email=OLGA.email, name=OLGA.name, password=SecretStr(PASSWORD)))
        for name, kind, url in (
            ("own-pool", ServerKind.POOL, options.pool_url),
            ("own-dedicated", ServerKind.DEDICATED, options.dedicated_url),
        ):
            if url is not None:
                with stage.step(f"A server of yours as the {kind}") as told:
                    told.append(_use(api, ensemble, name, kind, url))
        report = Player(stage, ensemble, api).play(options.deals)
        if options.as_json:
            print(json.dumps(report.as_dict(), indent=2), flush=True)
        stage.say(f"The story took {report.seconds:.1f} s.")
        if options.leave:
            return
        _tell(stage, ensemble.world, report.tenant)
        with suppress(SystemExit):
            while True:
                ensemble.watch()
                time.sleep(0.5)


def _use(api: Control, ensemble: Ensemble, name: str, kind: ServerKind, url: str) -> str:
    """Have a server of the operator's in place of the embedded one; what it is.

    :raises Refused: CONFLICT when it cannot hold tenants.
    """
    engine = engine_of(url)
    api.add_server(AddServer(name=name, kind=kind, engine=engine, url=SecretStr(url), capacity=None))

    def checked() -> ServerRow | None:
        found = next(server for server in api.servers() if server.name == name)
        return found if found.open or found.problem else None

    server = ensemble.until(checked, f"a worker to check {name}", seconds=120)
    if not server.open:
        raise Refused(Code.CONFLICT, f"{name} cannot be used. {server.problem}", "Mend that, then start again.")
    for other in api.servers():
        if other.kind is kind and other.name != name:
            api.close_server(other.name)
    return f"{name}, {engine} at {server.host}:{server.port}/{server.database}"


def _tell(stage: Stage, world: World, tenant: str) -> None:
    stage.table(
        "Look around",
        [
            (world.addresses.url(world.addresses.of(Tier.PAID, tenant)), f"the workspace of {ALICE.company}"),
            (world.portal, "the portal of all free tenants"),
            (world.management, "the management portal"),
            (world.mail, "mails that were sent"),
            (world.hubspot, "the HubSpot sandbox"),
            (f"{world.aws}/_sandbox/quick-create", "the AWS sandbox's console"),
            (f"{world.aws}/_sandbox/rds", "the database servers that it has made"),
        ],
    )
    stage.table(
        f"Sign in with the password “{PASSWORD}”",
        [
            (ALICE.email, f"Alice, owner of {ALICE.company}, paid"),
            (BOB.email, f"Bob, owner of {BOB.company}, free, on the same server"),
            (CHARLIE.email, "Charlie, who belongs to no workspace and is refused everywhere"),
            (OLGA.email, "Olga, operator: the management portal only"),
        ],
    )
    stage.say("In another terminal: awssome tenant list. Ctrl-C ends everything here.")


def _interrupted(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
