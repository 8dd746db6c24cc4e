"""What the readers share: their arguments, where their result goes, and the way to the sandbox for those that have
HubSpot's address built in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BUILT_IN = "https://api.hubapi.com"


def arguments() -> tuple[str, str]:
    """The sandbox's address and a private app's token."""
    return sys.argv[1], sys.argv[2]


def tell(**views: Any) -> None:
    """Hand over what was read: under each view's name what `test_peers` compares with the truth."""
    Path(sys.argv[3]).write_text(json.dumps(views), encoding="utf-8")


def redirect(url: str) -> None:
    """Let everything that `requests` sends to HubSpot's own address go to the sandbox."""
    from requests.adapters import HTTPAdapter

    send, ours = HTTPAdapter.send, urlsplit(url)

    def redirected(self: HTTPAdapter, request: Any, *rest: Any, **more: Any) -> Any:
        if request.url.startswith(BUILT_IN):
            request.url = urlsplit(request.url)._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()
        return send(self, request, *rest, **more)

    HTTPAdapter.send = redirected
