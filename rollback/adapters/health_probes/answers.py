"""What one answer says about a feature's health. No I/O, and no word of the answer leaves this module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from rollback.core.json_assertions import check
from rollback.core.policy import Endpoint

MAX_BODY = 1_000_000
"""Bytes. A larger answer is not read to its end; it is not what a health check asked for."""

_SAYS_DISABLED_IN = ("error", "status", "state", "code", "reason")
_DISABLED = frozenset({"disabled", "feature disabled", "maintenance", "maintenance mode", "under maintenance"})
_MAX_NOTICE = 4096
"""Bytes. An answer that only says that the feature is disabled is short."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, or one of which more than `MAX_BODY` came: then `body` is None.

    `seconds` is the time from before the connection was made to the last byte.
    """

    status: int
    body: bytes | None
    seconds: float


def judge(endpoint: Endpoint, reply: Reply) -> tuple[float | None, str]:
    """Harm (1.0, 0.0, or None for an answer that says nothing about health) and why, in words of our own.

    An answer below 500 that says that the feature is disabled or in maintenance is unknown, whatever the policy
    asserts (design, invariant 6): it would be the same however broken the feature is. That is a JSON object one of
    whose members `error`, `status`, `state`, `code` and `reason` is such a word. From 500 on, the status decides.
    """
    says_disabled = reply.status < 500 and _says_disabled(reply.body)
    if says_disabled:
        return None, "says that the feature is disabled"
    if not endpoint.expects(reply.status):
        return 1.0, f"status {reply.status}"
    if reply.body is None:
        return 1.0, f"answer larger than {MAX_BODY // 1_000_000} MB"
    failed = _failed_assertion(endpoint, reply.body)
    if failed:
        return 1.0, failed
    if is_late(endpoint, reply.seconds):
        assert endpoint.latency_limit is not None
        return 1.0, f"slower than {endpoint.latency_limit.total_seconds():g} s"
    return 0.0, f"status {reply.status}"


def is_late(endpoint: Endpoint, seconds: float) -> bool:
    """Whether an answer took longer than the endpoint's own limit, where it has one."""
    return endpoint.latency_limit is not None and seconds > endpoint.latency_limit.total_seconds()


def _failed_assertion(endpoint: Endpoint, body: bytes) -> str | None:
    if not endpoint.assertions:
        return None
    try:
        document = _parsed(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    for number, assertion in enumerate(endpoint.assertions, start=1):
        if check(document, [assertion.as_json_assertion()]):
            return f"assertion {number} failed at {assertion.path or 'the whole body'}"
    return None


def _says_disabled(body: bytes | None) -> bool:
    if (
        body is None
        or len(body) > _MAX_NOTICE
        or not any(word in body.lower() for word in (b"disabled", b"maintenance"))
    ):
        return False
    try:
        document = _parsed(body)
    except (ValueError, RecursionError):
        return False
    said = [document.get(name) for name in _SAYS_DISABLED_IN] if isinstance(document, dict) else []
    return any(_plain(word) in _DISABLED for word in said if isinstance(word, str))


def _plain(word: str) -> str:
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split())


def _parsed(body: bytes) -> Any:
    """The JSON document. Python would also read NaN and Infinity, which are not JSON and compare with nothing."""
    return json.loads(body, parse_constant=_refuse)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
