"""Run the AWS sandbox: `python -m awssome_sandbox.aws --port 0`.

The first line on standard output is `{"url": ...}`, printed once it listens.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from awssome_sandbox.aws.gateway import Gateway
from awssome_sandbox.aws.rds.conduct import CONDUCT
from awssome_sandbox.aws.rds.servers import Servers
from awssome_sandbox.serving import address, announce, bind, end_on_signals

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_REACHING = ("cloudformation", "resourcegroupstaggingapi")
"""Services of moto's that reach into others."""


def main() -> None:
    """Read the command line and serve until a signal comes."""
    end_on_signals()
    parser = argparse.ArgumentParser(prog="awssome sandbox aws", description="A stand-in for AWS.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one (default)")
    parser.add_argument(
        "--rds-seconds",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="how long an RDS instance takes until it is available (default %(default)g)",
    )
    parser.add_argument(
        "--dns-seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="how long a change of Route 53 is PENDING (default %(default)g)",
    )
    parser.add_argument(
        "--database-command",
        type=shlex.split,
        metavar="COMMAND",
        help="starts the database server of an RDS instance; without it endpoints do not answer",
    )
    options = parser.parse_args()
    if options.database_command and options.host not in _LOOPBACK:
        parser.error("whoever reaches the sandbox has it run the command: --database-command listens on loopback only")
    bound = bind(options.host, options.port)
    port = bound.getsockname()[1]
    os.environ["MOTO_PORT"] = str(port)  # moto calls itself, for example to deliver notices
    CONDUCT.seconds = options.rds_seconds
    gateway = Gateway(DomainDispatcherApplication(partial(_create_app, options.dns_seconds)))
    server = make_server(options.host, port, gateway, threaded=True, request_handler=_QuietHandler, fd=bound.fileno())
    with tempfile.TemporaryDirectory(prefix="awssome-rds-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # a server that runs as somebody else has its files below
        if options.database_command:
            CONDUCT.servers = Servers(options.database_command, Path(directory))
        try:
            announce(url=address(bound))
            server.serve_forever()
        finally:
            if CONDUCT.servers:
                CONDUCT.servers.end()


def _create_app(dns_seconds: float, service: Any) -> Any:
    """A service of moto's when it is first called, with ours in its place.

    They are loaded no earlier because moto's EC2, which its RDS needs, takes longer to load than all the rest.
    """
    if service in ("rds", *_REACHING):
        from awssome_sandbox.aws.rds import models as rds

        rds.install()
    if service in ("route53", *_REACHING):
        from awssome_sandbox.aws.dns import models as dns

        dns.install(dns_seconds)
    return create_backend_app(service)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("a number from 0 on")
    return seconds


class _QuietHandler(MotoRequestHandler):
    disable_nagle_algorithm = True

    def log_request(self, *_: Any, **__: Any) -> None:
        """Say nothing of requests that were served."""


if __name__ == "__main__":
    main()
