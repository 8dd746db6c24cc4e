"""Furnish a FastAPI application with everything its pages rest on, in the one order that is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fastapi import FastAPI
from starlette.middleware import Middleware

from awssome.web import errors
from awssome.web.assets import ASSETS
from awssome.web.metrics import Metrics
from awssome.web.pages import Pages
from awssome.web.requests import RequestContext
from awssome.web.security import BodyLimit, Csrf, SecurityHeaders


def furnish(
    app: FastAPI,
    pages: Pages,
    *,
    session_cookie: str,
    sign_in: str = "/sign-in",
    form_targets: Sequence[str] = (),
    body_limit: int = 1_000_000,
    gate: Middleware | None = None,
    larger_bodies: Mapping[str, int] = MappingProxyType({}),
    metrics: Metrics | None = None,
) -> None:
    """Give the application static files, error pages, security headers, request ids, a body limit and CSRF protection.

    :param session_cookie: base name of the application's session cookie; form tokens are derived from its value.
    :param sign_in: where a page that needs a session sends a visitor without one, with `?next=` behind it.
    :param form_targets: other origins that an answer to a form may redirect to, for browsers apply the content security
        policy's `form-action` to redirects as well.
    :param body_limit: largest request body accepted, in bytes.
    :param gate: what may refuse a request before anything is done for it, its id and its line in the log included.
    :param larger_bodies: regular expression of a path -> its own limit. Such a body is held in memory where forms are
        taken; the central API reads it in a stream.
    :param metrics: where requests are counted.
    """
    app.mount("/static", ASSETS, name="static")
    errors.install(app, pages, sign_in=sign_in)
    # The last one added is the outermost: an error page, too, has an id and the security headers, and what the gate
    # refuses has the latter.
    app.add_middleware(Csrf, session_cookie=session_cookie)
    app.add_middleware(BodyLimit, limit=body_limit, larger=larger_bodies)
    app.add_middleware(errors.ErrorBoundary, pages=pages, sign_in=sign_in)
    app.add_middleware(RequestContext, metrics=metrics)
    if gate is not None:
        app.add_middleware(gate.cls, *gate.args, **gate.kwargs)
    app.add_middleware(SecurityHeaders, form_targets=form_targets)
