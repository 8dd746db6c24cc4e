"""Pages out of templates: what every template finds, how a page is answered, and the notice that survives a redirect.

A template finds `ui` (every macro of templates/components), the filters and functions of `formats`, `asset(name)` and
`column(...)`, `choice(...)` of `tables`; and of the request: `request`, `theme`, `notices`, `csrf_field`, `address`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from awssome.domain.errors import Refused
from awssome.web import formats, tables
from awssome.web.assets import ASSETS
from awssome.web.security import is_secure
from awssome.web.states import STATES, State

NoticeKind = Literal["info", "success", "warning", "error"]
FRAGMENT_HEADER = "X-Fragment"

_TEMPLATES = Path(__file__).parent / "templates"
_NOTICE_SECONDS = 60
_LONGEST_NOTICE = 1_000
_THEMES = frozenset({"light", "dark"})


class Notice(NamedTuple):
    """A message for the next page, in words."""

    kind: NoticeKind
    text: str


class Pages:
    """The templates of one application on top of the shared ones.

    :param templates: the application's own folder; it holds `layout.html`, which extends `layouts/top.html` or
        `layouts/side.html`.
    :param app: short name of the application, part of its cookies' names.
    :param context: what each of the application's pages finds besides, such as who is signed in.
    :param states: the application's words of state, on top of `states.STATES`.
    :param clock: the present time; screenshots stop it.
    """

    def __init__(
        self,
        templates: Path,
        *,
        app: str,
        context: Callable[[Request], Mapping[str, Any]] = lambda _request: {},
        states: Mapping[str, State] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._notice_cookie = f"awssome_{app}_notice"
        self._context = context
        self._environment = _environment(templates, {**STATES, **(states or {})}, clock)

    def render(self, request: Request, name: str, /, status: int = 200, **values: Any) -> HTMLResponse:
        """The page (or fragment) as a response; a notice that waited is shown on it and cleared.

        One that shows what was `refused` says as well when to come again.
        """
        response = self._respond(request, name, status, {**self._context(request), **values})
        refused = values.get("refused")
        if isinstance(refused, Refused) and refused.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(refused.retry_after)))
        return response

    def render_bare(self, request: Request, name: str, /, status: int, **values: Any) -> HTMLResponse:
        """As `render`, without the application's context: for pages that must appear when that cannot be had."""
        return self._respond(request, name, status, values)

    def still(self, name: str, /, *, theme: str | None = None, **values: Any) -> str:
        """A page that says the same to everybody, as text, to be made once and kept."""
        return self._text(name, theme=theme, **values)

    def redirect(self, request: Request, path: str, kind: NoticeKind = "success", text: str = "") -> RedirectResponse:
        """Send the browser on after a form (303); with a text, the next page shows it as a notice."""
        response = RedirectResponse(path, 303)
        if text:
            self.flash(request, response, kind, text)
        return response

    def flash(self, request: Request, response: Response, kind: NoticeKind, text: str) -> None:
        """Let the next page show the text. It travels in the browser's cookie, so it is escaped, never trusted."""
        payload = json.dumps([kind, text[:_LONGEST_NOTICE]], separators=(",", ":")).encode()
        response.set_cookie(
            self._notice_cookie,
            base64.urlsafe_b64encode(payload).decode(),
            max_age=_NOTICE_SECONDS,
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )

    def _respond(self, request: Request, name: str, status: int, values: Mapping[str, Any]) -> HTMLResponse:
        waiting = None if is_fragment(request) else self._waiting_notice(request)
        text = self._text(
            name,
            request=request,
            theme=theme(request),
            notices=[waiting] if waiting else [],
            csrf_field=request.scope.get("awssome.form_token"),
            reference=request.scope.get("awssome.reference"),
            **values,
        )
        response = HTMLResponse(text, status)
        if waiting:
            response.delete_cookie(self._notice_cookie, secure=is_secure(request), httponly=True, samesite="lax")
        return response

    def _text(self, name: str, /, **values: Any) -> str:
        empty: dict[str, Any] = {"request": None, "notices": [], "csrf_field": None, "reference": None}
        return self._environment.get_template(name).render(**{**empty, **values})

    def _waiting_notice(self, request: Request) -> Notice | None:
        cookie = request.cookies.get(self._notice_cookie)
        if not cookie:
            return None
        try:
            kind, text = json.loads(base64.urlsafe_b64decode(cookie))
        except (binascii.Error, ValueError, TypeError):
            return None
        if kind not in ("info", "success", "warning", "error") or not isinstance(text, str):
            return None
        return Notice(kind, text[:_LONGEST_NOTICE])


def theme(request: HTTPConnection) -> str | None:
    """The colours that the browser remembers; None: as its system has them."""
    chosen = request.cookies.get("theme")
    return chosen if chosen in _THEMES else None


def is_fragment(request: HTTPConnection) -> bool:
    """Whether the script asks for a piece of a page that is open already."""
    return request.headers.get(FRAGMENT_HEADER) == "1"


def _commands(text: str) -> Markup:
    """The text, escaped; what stands in `backticks` is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


def _environment(templates: Path, states: Mapping[str, State], clock: Callable[[], datetime]) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(templates), FileSystemLoader(_TEMPLATES)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    functions = {
        "number": formats.number,
        "percent": formats.percent,
        "money": formats.money,
        "size": formats.size,
        "duration": formats.duration,
        "day": formats.day,
        "moment": formats.moment,
        "relative": lambda value: formats.relative(value, clock()),
        "plural": formats.plural,
    }
    environment.filters.update(functions, money_in_full=tables.money_in_full, commands=_commands)
    ui = SimpleNamespace()
    environment.globals.update(
        ui=ui,
        asset=ASSETS.url,
        column=tables.Column,
        choice=tables.Choice,
        state_of=lambda state: states.get(str(state)) or State(str(state).replace("_", " ").capitalize()),
        NOTHING=formats.NOTHING,
    )
    # The macros see each other through `ui`, which is why it is there before them.
    for path in sorted((_TEMPLATES / "components").glob("*.html")):
        module = environment.get_template(f"components/{path.name}").module
        vars(ui).update({name: macro for name, macro in vars(module).items() if not name.startswith("_")})
    return environment
