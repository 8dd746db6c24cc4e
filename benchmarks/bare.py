"""The bare framework: the portal's home page with its queries and its template, on one shared pool, and nothing else.

No session, no central API after the first look, no isolation, no headers. `benchmarks.portal` measures the portal
beside it: `python -m benchmarks.bare PORT`, with the pool's administrator in BENCH_POOL_URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from awssome import main
from awssome.database.schema import SYMBOL
from awssome.domain.tenants import Role
from awssome.portal import home
from awssome.portal.context import Contexts, Person, TenantContext
from awssome.portal.guard import caller
from awssome.web import serving

T = TypeVar("T")


class _Shared:
    """In place of the portal's contexts: every tenant's queries on one pool of the administrator's."""

    def __init__(self, url: str, size: int) -> None:
        self._engine = create_engine(url, pool_size=size)

    def run(self, context: TenantContext, work: Callable[[Connection], T], _patience: float) -> T:
        assert context.placement is not None
        names = {SYMBOL: context.placement.schema}
        with self._engine.connect().execution_options(schema_translate_map=names) as connection, connection.begin():
            return work(connection)


def create(settings: main.Settings, url: str) -> FastAPI:
    """An application with one page."""
    parts = main.build_portal(settings).state.parts
    shared = cast(Contexts, _Shared(url, settings.threads))
    app = FastAPI(openapi_url=None)
    app.state.parts = parts

    @cache
    def known(token: str, host: str, who: Any) -> TenantContext:
        answer = parts.contexts.ask(who)
        person = Person(who, answer.account, answer.session_id, tuple(answer.memberships))
        return replace(parts.contexts.tenant(person, answer, "GET /", Role.VIEWER), contexts=shared)

    @app.get("/")
    def page(request: Request) -> Response:
        request.scope.update({"awssome.reference": "", "awssome.form_token": ""})  # what the portal's layers put there
        who = replace(caller(request), reference="", address="")
        me = known(who.session, who.host, who)
        request.state.tenant_context, request.state.person = me, me.person
        return home._home(request, me)

    return app


if __name__ == "__main__":
    serving.end_on_signals()
    chosen = main.load()
    serving.serve(
        create(chosen, os.environ["BENCH_POOL_URL"]),
        serving.bind("127.0.0.1", int(sys.argv[1])),
        threads=chosen.threads,
    )
