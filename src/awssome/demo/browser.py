"""A browser as far as the story needs one: cookies, redirects, forms with their hidden fields, text.

`*.localhost` reaches this machine without the help of a resolver: the connection goes to 127.0.0.1, the Host header
keeps the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx2

from awssome.domain.errors import Code, Refused

_AGENT = "Mozilla/5.0 (compatible; awssome-demo)"
_UNSEEN = frozenset({"script", "style", "template", "head", "svg"})


@dataclass
class Form:
    """A form as the page sent it; `fields` are what a browser would send if nothing were typed."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)


@dataclass
class Page:
    """A page that was loaded."""

    url: str
    status: int
    text: str = ""
    links: dict[str, str] = field(default_factory=dict)
    forms: list[Form] = field(default_factory=list)

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        """What the answer holds."""
        page = cls(str(response.url), response.status_code)
        if response.headers.get("content-type", "").startswith("text/html"):
            reader = _Reader(page)
            reader.feed(response.text)
            reader.close()
            page.text = " ".join("".join(reader.seen).split())
        return page

    def form(self, action: str) -> Form:
        """The form whose path the pattern `action` fits. :raises Refused: UNAVAILABLE when the page has none."""
        found = next((form for form in self.forms if re.fullmatch(action, urlsplit(form.action).path)), None)
        if found is None:
            raise self.unexpected(f"a form to {action}")
        return found

    def link(self, label: str) -> str:
        """Where the link with this text leads. :raises Refused: UNAVAILABLE when the page has none."""
        if label not in self.links:
            raise self.unexpected(f"a link “{label}”")
        return self.links[label]

    def find(self, pattern: str) -> re.Match[str]:
        """Where the page's text has the pattern. :raises Refused: UNAVAILABLE when it has not."""
        found = re.search(pattern, self.text)
        if found is None:
            raise self.unexpected(f"“{pattern}”")
        return found

    def unexpected(self, wanted: str) -> Refused:
        """The page is not what the story expects; its words say why."""
        return Refused(Code.UNAVAILABLE, f"{self.url} ({self.status}) has not {wanted}. It says: {self.text[:600]}")


class Browser:
    """One person's browser. Close it when the person leaves."""

    def __init__(self, start: str) -> None:
        self.page = Page(start, 0)
        self._http = httpx2.Client(
            transport=_Loopback(), follow_redirects=True, timeout=30, headers={"User-Agent": _AGENT}, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, address: str) -> Page:
        """Load a page: a full address, or a path on the present host."""
        return self._load(self._http.build_request("GET", urljoin(self.page.url, address)))

    def peek(self, address: str) -> Page:
        """Load a piece of the present page as its script would, and stay on the page."""
        stay = self.page
        piece = self._load(self._http.build_request("GET", urljoin(stay.url, address), headers={"X-Fragment": "1"}))
        self.page = stay
        return piece

    def submit(
        self, action: str, values: Mapping[str, str] | None = None, *, button: str = "", refused: bool = False
    ) -> Page:
        """Fill in the form of the present page whose path fits `action`, and press a button of it.

        :param refused: the answer has to be 403, rather than a success.
        """
        form = self.page.form(action)
        if button and button not in form.buttons:
            raise self.page.unexpected(f"a button “{button}”")
        if button in form.disabled:
            raise self.page.unexpected(f"an enabled button “{button}”")
        unknown = set(values or {}) - set(form.fields)
        if unknown:
            raise self.page.unexpected(f"fields {', '.join(sorted(unknown))}")
        data = {**form.fields, **(values or {})}
        name, value = form.buttons.get(button, ("", ""))
        if name:
            data[name] = value
        target = urljoin(self.page.url, form.action or self.page.url)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.page.url))
        if form.method != "post":
            return self._load(self._http.build_request("GET", target, params=data))
        request = self._http.build_request("POST", target, data=data, headers={"Origin": origin})
        return self._load(request, refused=refused)

    def _load(self, request: httpx2.Request, *, refused: bool = False) -> Page:
        try:
            self.page = Page.of(self._http.send(request))
        except httpx2.HTTPError as error:
            raise Refused(Code.UNAVAILABLE, f"{request.url.copy_with(query=None)} does not answer: {error}.") from None
        if (self.page.status == 403) if refused else (self.page.status < 400):
            return self.page
        raise self.page.unexpected("a refusal" if refused else "what was asked for")


class _Loopback(httpx2.HTTPTransport):
    """Connects to 127.0.0.1 whatever the name; the Host header was made from the name before."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        if host != "localhost" and not host.endswith(".localhost") and host != "127.0.0.1":
            raise httpx2.UnsupportedProtocol(f"The story stays on this machine and does not open {host}.")
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return super().handle_request(sent)


class _Reader(HTMLParser):
    """Reads forms, links and visible text into a page."""

    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.seen: list[str] = []
        self._hidden = 0
        self._form: Form | None = None
        self._select = ""
        self._area = ""
        self._label: tuple[str, dict[str, str | None], list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _UNSEEN:
            self._hidden += 1
        elif tag == "form":
            self._form = Form(given.get("action") or "", (given.get("method") or "get").lower())
            self.page.forms.append(self._form)
        elif tag in ("a", "button"):
            self._label = (tag, given, [])
        elif self._form is not None and "disabled" not in given:
            self._take_field(self._form, tag, given)
        self.seen.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""
        elif self._label is not None and tag == self._label[0]:
            self._take_label(*self._label)
            self._label = None
        self.seen.append(" ")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._area and self._form is not None:
            self._form.fields[self._area] += data
            return
        self.seen.append(data)
        if self._label is not None:
            self._label[2].append(data)

    def _take_field(self, form: Form, tag: str, given: dict[str, str | None]) -> None:
        name = given.get("name") or ""
        kind = (given.get("type") or "text").lower()
        if tag == "input" and name:
            if kind not in ("checkbox", "radio") or "checked" in given:
                form.fields[name] = given.get("value") or ("on" if kind == "checkbox" else "")
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in form.fields):
            form.fields[self._select] = given.get("value") or ""
        elif tag == "textarea" and name:
            self._area = name
            form.fields[name] = ""

    def _take_label(self, tag: str, given: dict[str, str | None], words: list[str]) -> None:
        label = " ".join("".join(words).split())
        if tag == "a":
            self.page.links.setdefault(label, given.get("href") or "")
        elif self._form is not None and (given.get("type") or "submit") == "submit":
            self._form.buttons[label] = (given.get("name") or "", given.get("value") or "")
            if "disabled" in given:
                self._form.disabled.add(label)
