"""What the sandboxes' processes share: a bound socket, an announcement, a clean end."""

from __future__ import annotations

import json
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Binding comes before any slow preparation, so that a port in use is told at once.

    :raises SystemExit: with status 1 and a reason on standard error when the address cannot be had.
    """
    # The protocol is named because asyncio turns Nagle's algorithm off only on sockets that say they are TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(512)
        return bound
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port}: {error.strerror}.")


def address(bound: socket.socket, *, secure: bool = False) -> str:
    """The base URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def announce(**facts: object) -> None:
    """Print the first line of standard output, one JSON object, for whoever started this process."""
    print(json.dumps(facts), flush=True)


def end_on_signals() -> None:
    """Make SIGTERM and SIGINT end this process with status 0, wherever it stands."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def serve(app: Starlette, bound: socket.socket, **settings: Any) -> None:
    """Serve an application on a bound socket until a signal comes.

    uvicorn takes the signals over while it runs, closes what is open, and raises them again at its end, where
    `end_on_signals` turns them into status 0.

    :param settings: what differs from the quiet default, as `uvicorn.Config` names it.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=2, **settings
    )
    uvicorn.Server(config).run(sockets=[bound])


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
