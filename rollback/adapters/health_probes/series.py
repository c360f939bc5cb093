"""Reading series of numbers from untrusted documents: typed getters, names of strata, and two queries in one answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollback.adapters.careful_answers import Denied, NotThere
from rollback.adapters.careful_http import CarefulHttp, Params
from rollback.adapters.health_probes.windows import NoAnswer
from rollback.core.metric_sources import Counted
from rollback.core.metric_verdict import REST, Number, Strata, failed_of, served_of
from rollback.core.metric_window import EPOCH, Window
from rollback.errors import StoreError, StoreUnreachable
from rollback.redaction import redact

MOST_SERIES = 1000
"""More series than that is a query that is grouped by something without bounds."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes. Two windows of a thousand series are a few hundred KB."""

Series = Mapping[Window, Mapping[str, Number]]
"""What one query says, by window and stratum."""


def document_of(http: CarefulHttp, path: str, *, params: Params = (), headers: Mapping[str, str], within: float) -> Any:
    """The JSON document at `path`. Raises `NoAnswer`, in words that hold neither the address nor the answer."""
    try:
        return http.get(path, deadline=http.deadline(within), params=params, headers=headers).document
    except Denied as error:
        raise NoAnswer(f"{http.what} does not let us read it: status {error.status}") from None
    except NotThere:
        raise NoAnswer(f"{http.what} knows nothing of it: status 404") from None
    except StoreUnreachable as error:
        if error.retry_after is not None:
            raise NoAnswer(f"{http.what} asks us to wait") from None
        raise NoAnswer(_without_address(http, path, error)) from None
    except StoreError as error:
        raise NoAnswer(_without_address(http, path, error)) from None


def _without_address(http: CarefulHttp, path: str, error: StoreError) -> str:
    return error.message.replace(f" (GET {http.base_url}{path})", "")[:200]


def table(value: Any, where: str) -> Mapping[str, Any]:
    """`value`, which has to be an object. Raises `NoAnswer`."""
    if not isinstance(value, dict):
        raise NoAnswer(f"the answer is not as described: {where} is no object")
    return value


def rows(value: Any, where: str, most: int = MOST_SERIES) -> Sequence[Any]:
    """`value`, which has to be a list, not too long. Raises `NoAnswer`."""
    if not isinstance(value, list):
        raise NoAnswer(f"the answer is not as described: {where} is no list")
    if len(value) > most:
        raise NoAnswer(f"more than {most} of {where}")
    return value


def seconds(value: Any, where: str, *, per_second: int = 1) -> timedelta:
    """A time as seconds (or milliseconds, with `per_second` 1000) since 1970. Raises `NoAnswer`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 10**11 * per_second:
        raise NoAnswer(f"the answer is not as described: {where} is no time")
    return timedelta(milliseconds=round(value * 1000 / per_second))


def unix(at: datetime) -> int:
    """Whole seconds since 1970."""
    return (at - EPOCH) // timedelta(seconds=1)


def stratum_name(value: str) -> str:
    """A tag's value as a part of a metric's name. One that is odd, long or private is named by its hash."""
    plain = re.fullmatch(r"[A-Za-z0-9_.:/@-]{1,60}", value) is not None and redact(value) == value
    return value if plain and value != REST else f"other-{hashlib.sha256(value.encode()).hexdigest()[:10]}"


def combined(source: Counted, windows: Sequence[Window], ask: Callable[[str], Series]) -> dict[Window, Strata]:
    """The counts of a source, from the answers to its two queries. Raises what `ask` raises."""
    requests = ask(source.requests)
    subject = ask(source.errors or source.successes or "")
    found: dict[Window, Strata] = {}
    for window in windows:
        asked, told = requests.get(window, {}), subject.get(window, {})
        names = sorted({*asked, *told})
        if source.errors is None:
            found[window] = {name: served_of(asked.get(name), told.get(name)) for name in names}
        else:
            zero = source.absent_errors == "zero"
            found[window] = {name: failed_of(asked.get(name), told.get(name), absent_is_zero=zero) for name in names}
    return found
