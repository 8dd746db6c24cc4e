"""Text that fits: into any engine's columns, and into so many characters."""

from __future__ import annotations


def storable(text: str) -> str:
    """Text without what no engine can store: NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-16-le", "replace").decode("utf-16-le")


def units(text: str) -> int:
    """How long a text is in UTF-16 units, which is what nvarchar counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fitting(text: str, limit: int) -> str:
    """Storable text of at most `limit` UTF-16 units; cut with an ellipsis, never inside a symbol."""
    text = storable(text)
    if units(text) <= limit:
        return text
    return text.encode("utf-16-le")[: (limit - 1) * 2].decode("utf-16-le", "ignore") + "…"
