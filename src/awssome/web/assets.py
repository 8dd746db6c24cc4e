"""The static files, under addresses that contain their contents' hash, so that browsers may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KEEP_FOR_EVER = "public, max-age=31536000, immutable"

_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Assets:
    """An ASGI application that serves the files of one folder out of memory, under hashed names."""

    def __init__(self, folder: Path, prefix: str = "/static") -> None:
        self._prefix = prefix
        self._by_name = {path.name: _load(path) for path in sorted(folder.iterdir()) if path.is_file()}
        self._by_address = {asset.hashed_name: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """The address of the file; raises KeyError for a file that does not exist, so that a typo is found at once."""
        return f"{self._prefix}/{self._by_name[name].hashed_name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        asset = self._by_address.get(request.url.path.rpartition("/")[2])
        if asset is None or request.method not in ("GET", "HEAD"):
            await Response("There is no such file.", 404, media_type="text/plain")(scope, receive, send)
            return
        headers = {"Cache-Control": KEEP_FOR_EVER, "Vary": "Accept-Encoding"}
        body = asset.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = asset.compressed
        await Response(body, headers=headers, media_type=asset.media_type)(scope, receive, send)


@dataclass(frozen=True)
class _Asset:
    hashed_name: str
    media_type: str
    content: bytes
    compressed: bytes


def _load(path: Path) -> _Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return _Asset(
        hashed_name=f"{path.stem}.{digest}{path.suffix}",
        media_type=_MEDIA_TYPES[path.suffix],
        content=content,
        compressed=gzip.compress(content, mtime=0),
    )


ASSETS = Assets(Path(__file__).parent / "static")
