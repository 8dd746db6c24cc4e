"""Serving an application with uvicorn: on a socket that is bound first, with few threads, until a signal comes."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType
from typing import NoReturn

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from awssome.domain.errors import Code, Refused

_GRACE_SECONDS = 10


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Binding comes before everything slow, so that a port in use is told at once.

    :raises Refused: UNAVAILABLE when the address cannot be had.
    """
    # The protocol is named because asyncio turns Nagle's algorithm off only on sockets that say they are TCP.
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(512)
    except OSError as error:
        bound.close()
        raise Refused(
            Code.UNAVAILABLE, f"Cannot listen on {host}:{port}. {error.strerror}.", "Choose another port."
        ) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The base URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def end_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process with status 0 wherever it stands, so that what it holds is let go."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def serve(app: FastAPI, bound: socket.socket, *, threads: int, trusted_proxies: str = "") -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered. Call `end_on_signals` first.

    :param threads: requests worked on at a time; match the pools of connections to it.
    :param trusted_proxies: addresses or networks, with commas between them, whose `X-Forwarded-For` and
        `X-Forwarded-Proto` are believed. From anybody else they are not: anybody could send them.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies or None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )

    async def run() -> None:
        current_default_thread_limiter().total_tokens = threads
        await uvicorn.Server(config).serve(sockets=[bound])

    asyncio.run(run())


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut short what is done at the end
    raise SystemExit(0)
