"""What a streaming client sees: `GET /client/v2/environments/{env}/namespaces/{ns}/stream` of Flipt v2.

One JSON document `{"result": snapshot}` a line, the first at once, then one a change. v1 has no streams.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from rollback.adapters.bounded import AFTERWARDS, within
from rollback.adapters.flipt_http.lean import httpx
from rollback.adapters.flipt_http.tls import Tls, no_tls
from rollback.adapters.flipt_http.token import TokenSource
from rollback.core.flag import FlagConfig, FlagRef
from rollback.errors import RollbackError

MAX_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is not a snapshot."""

ATTEMPTS = 2
"""Connections: a stream that breaks is opened once more."""

SnapshotParser = Callable[[Mapping[str, Any], str], FlagConfig]
"""One flag (by its key) out of a snapshot. Raises `FlagMissing`."""


@dataclass(frozen=True, slots=True)
class StreamSighting:
    """When a stream was first seen to show the flag off; None with the reason in `why_not`."""

    seen_at: datetime | None
    why_not: str = ""


class _Failed(Exception):
    """This stream cannot tell, and another try would not either."""


class StreamClientView:
    """Waits on one replica until a stream shows a flag off. It sees what streaming SDKs see."""

    def __init__(
        self,
        url: str,
        parse: SnapshotParser,
        *,
        replica: str = "",
        token: TokenSource | None = None,
        tls: Tls | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.replica = replica or url
        self._url = url.rstrip("/")
        self._parse = parse
        self._token = token or TokenSource.none()
        self._tls = tls or Tls()
        self._now = now

    def wait_until_off(self, ref: FlagRef, is_off: Callable[[FlagConfig], bool], *, deadline: float) -> StreamSighting:
        """Returns as soon as a snapshot shows the flag off by `is_off`, at the latest at `deadline`. Never raises."""
        watch = _Watch(self._parse, ref.flag_key, is_off)
        try:
            within(deadline - time.monotonic(), lambda: self._follow(watch, ref, deadline))
        except TimeoutError:
            pass  # `watch` knows how far it came
        except _Failed as error:
            watch.last = str(error)
        except Exception as error:  # the promise is to answer; what went wrong is part of the answer
            watch.last = f"the stream failed ({type(error).__name__}: {error})"
        if watch.seen_at is None:
            return StreamSighting(None, self._token.scrubbed(watch.last))
        return StreamSighting(watch.seen_at)

    def _follow(self, watch: _Watch, ref: FlagRef, deadline: float) -> None:
        environment, namespace = quote(ref.environment, safe=""), quote(ref.namespace, safe="")
        url = f"{self._url}/client/v2/environments/{environment}/namespaces/{namespace}/stream"
        verify = self._tls.context() if url.startswith("https:") else no_tls()
        with httpx.Client(verify=verify, follow_redirects=False) as client:
            # A name in the path that no environment has counts as none; only a wrong header is an error.
            client.headers["X-Flipt-Environment"] = ref.environment
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    if self._read(client, url, watch, deadline, again=attempt > 1):
                        return
                    watch.last = f"the stream ended; {watch.last}"
                except httpx.TransportError as error:
                    watch.last = f"the stream broke ({type(error).__name__}: {error})"

    def _read(self, client: httpx.Client, url: str, watch: _Watch, deadline: float, *, again: bool) -> bool:
        """Reads one stream; True when it has shown the flag off."""
        left = max(0.1, deadline - time.monotonic())
        authorization = self._token.authorization(seconds=left, again=again)
        headers = {"authorization": authorization} if authorization else {}
        with client.stream("GET", url, headers=headers, timeout=left + AFTERWARDS) as response:
            if response.status_code != 200:
                if response.status_code == 401 and self._token.is_given and not again:
                    return False
                raise _Failed(_refusal(response))
            for line in _lines(_until(deadline, response.iter_bytes())):
                if watch.look_at(line):
                    watch.seen_at = self._now()
                    return True
        return False


class _Watch:
    """What was seen so far. `last` says why it is not seen off yet."""

    def __init__(self, parse: SnapshotParser, flag_key: str, is_off: Callable[[FlagConfig], bool]) -> None:
        self.seen_at: datetime | None = None
        self.last = "the stream has shown nothing yet"
        self._parse = parse
        self._flag_key = flag_key
        self._is_off = is_off

    def look_at(self, line: bytes) -> bool:
        """True when this line's snapshot shows the flag off; a flag that is not in it is not off."""
        try:
            document = json.loads(line)
            snapshot = document["result"]
            config = self._parse(snapshot, self._flag_key)
        except RollbackError as error:
            self.last = error.message
            return False
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.last = "the stream shows something that is no snapshot"
            return False
        self.last = "the stream still shows the flag on"
        return self._is_off(config)


def _until(deadline: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that come before `deadline`; a stream that keeps talking must not keep its thread."""
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield chunk


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines; chunks end anywhere."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        *whole, last = rest.split(b"\n")
        yield from (bytes(line) for line in whole if line.strip())
        rest = last
        if len(rest) > MAX_LINE:
            raise _Failed("the stream shows something that is no snapshot")


def _refusal(response: httpx.Response) -> str:
    """404 with a JSON code comes from a v2 that lacks the environment; a server without streams answers with text."""
    body = next(response.iter_bytes(4_000), b"")
    try:
        said = str(json.loads(body)["message"])[:200]
    except (ValueError, KeyError, TypeError):
        if response.status_code == 404:
            return "this Flipt has no streams (v1 has none)"
        return f"the stream was answered with {response.status_code}"
    return f"the stream was answered with {response.status_code}: {said}"
