"""HTTP towards Flipt: one client per server, hard time limits, errors in the port's words.

Kill path: standard library and httpx.
"""

from __future__ import annotations

from rollback.adapters.flipt_http.answers import Answer, AnswerLost, BadRequest, PathUnknown
from rollback.adapters.flipt_http.client import FliptHttp
from rollback.adapters.flipt_http.retry import OnWait, TryAgain
from rollback.adapters.flipt_http.tls import Tls
from rollback.adapters.flipt_http.token import TokenSource

__all__ = [
    "Answer",
    "AnswerLost",
    "BadRequest",
    "FliptHttp",
    "OnWait",
    "PathUnknown",
    "Tls",
    "TokenSource",
    "TryAgain",
]
