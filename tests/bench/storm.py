"""A storm of deliveries: many connections that each send the next request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Answers:
    """What came back: the place of each answered request → (status, seconds). A broken connection is no answer."""

    answered: dict[int, tuple[int, float]] = field(default_factory=dict)
    broken: int = 0

    def with_status(self, *statuses: int) -> list[int]:
        """The places of the requests that were answered so."""
        return [place for place, (status, _) in self.answered.items() if status in statuses]

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        times = sorted(seconds for _, seconds in self.answered.values())
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


def request_of(host: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST on a connection that is kept."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def storm(
    url: str,
    requests: Sequence[bytes],
    *,
    connections: int = 50,
    on_answer: Callable[[int], None] = lambda _count: None,
) -> Answers:
    """Sends all requests over so many connections; `on_answer` gets the number of answers so far.

    When the server goes away the rest is not sent.
    """
    return asyncio.run(_storm(url, requests, connections, on_answer))


async def _storm(url: str, requests: Sequence[bytes], connections: int, on_answer: Callable[[int], None]) -> Answers:
    answers = Answers()
    waiting = iter(enumerate(requests))
    place = urlsplit(url)

    async def sender() -> None:
        try:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
        except OSError:
            answers.broken += 1
            return
        try:
            for number, request in waiting:
                began = time.perf_counter()
                writer.write(request)
                status = await _answer(reader)
                answers.answered[number] = (status, time.perf_counter() - began)
                on_answer(len(answers.answered))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            answers.broken += 1
        finally:
            writer.close()

    await asyncio.gather(*(sender() for _ in range(connections)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> int:
    """The status of one answer, its body read to the end."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return status
