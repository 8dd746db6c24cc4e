"""Logs as JSON lines or, for a person at a terminal, in colour; in both without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from awssome.domain.errors import Refused

HIDDEN = "[hidden]"

_SECRET_KEYS = frozenset({"code", "state", "pin", "otp"})
_SECRET_PARTS = (
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "cookie",
    "credential",
    "api_key",
    "private_key",
)
_SECRET_TEXT = re.compile(
    r"(?P<head>\bBearer\s+|\bBasic\s+|://[^\s:/@]*:|\bAa1-|[?&](?:code|state|token|access_token|refresh_token|client_secret)=)"
    r"[^\s&@\"']+"
)


def configure(*, json: bool, level: str = "INFO") -> None:
    """Send everything that is logged, by us or by a library, to standard error in one form.

    :param json: one JSON object a line, for machines; else readable lines.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Traces become text before the secrets are taken out: an exception's message may hold one.
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.stdlib.PositionalArgumentsFormatter(),
        tell_refusals,
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # uvicorn's own access log prints whole queries, codes and tokens included; web.requests logs each request instead.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # The HTTP client tells of every call with its address; what goes wrong is told by who calls.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def tell_refusals(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: a refusal, such as a job's that has to wait, is told in its words and without a trace."""
    told = event.get("exc_info")
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, Refused):
        del event["exc_info"]
        event["refused"] = error.message
    return event


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: replaces what looks like a secret, by its key or by its form, at any depth."""
    return {key: HIDDEN if _is_secret(key) else _clean(value) for key, value in event.items()}


def _is_secret(key: object) -> bool:
    name = str(key).lower().replace("-", "_")
    return name in _SECRET_KEYS or any(part in name for part in _SECRET_PARTS)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\g<head>{HIDDEN}", value)
    if isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(key) else _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value
