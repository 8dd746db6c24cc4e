"""Run the mail sandbox: `python -m awssome_sandbox.mail --port 0 --smtp-port 0`.

The first line on standard output is `{"url", "smtp_host", "smtp_port"}`, printed once both listen.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from awssome_sandbox.mail.outbox import Outbox
from awssome_sandbox.pages import render
from awssome_sandbox.serving import address, announce, bind, end_on_signals, serve


def main() -> None:
    """Read the command line and serve both protocols until a signal comes."""
    end_on_signals()
    parser = argparse.ArgumentParser(prog="awssome sandbox mail", description="A stand-in for a mail server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of the outbox page; 0 picks a free one (default)")
    parser.add_argument("--smtp-port", type=int, default=0, help="port of SMTP; 0 picks a free one (default)")
    options = parser.parse_args()
    web, smtp = bind(options.host, options.port), bind(options.host, options.smtp_port)
    smtp_host, smtp_port = smtp.getsockname()[:2]
    announce(url=address(web), smtp_host=smtp_host, smtp_port=smtp_port)
    serve(application(Outbox(), smtp), web)


def application(outbox: Outbox, smtp: socket.socket) -> Starlette:
    """The outbox's pages; while they are served, SMTP is served on its own socket in the same event loop."""

    def show_all(request: Request) -> Response:
        chosen = request.query_params.get("to")
        return HTMLResponse(render("mail/outbox.html", messages=outbox.to(chosen)[::-1], chosen=chosen))

    def show_one(request: Request) -> Response:
        message = outbox.message(request.path_params["id"])
        return HTMLResponse(render("mail/message.html", message=message), 200 if message else 404)

    def list_json(request: Request) -> Response:
        messages = outbox.to(request.query_params.get("to"))
        return JSONResponse(
            [{"to": m.to, "subject": m.subject, "text": m.text, "at": m.at.isoformat()} for m in messages]
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(_Receiver(outbox), enable_SMTPUTF8=True, hostname="sandbox"), sock=smtp
        )
        yield
        server.close()

    routes = [
        Route("/", show_all),
        Route("/messages/{id:int}", show_one),
        Route("/messages.json", list_json),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


class _Receiver:
    """What aiosmtpd calls for a message; its interface is asynchronous."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content or b""
        self._outbox.take(
            envelope.mail_from or "", envelope.rcpt_tos, content if isinstance(content, bytes) else content.encode()
        )
        return "250 Message kept in the sandbox"


if __name__ == "__main__":
    main()
