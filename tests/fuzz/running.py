"""How a fuzz target is run: by atheris, which lets coverage lead it, or on a few inputs that a seed makes.

By hand: `python -m tests.fuzz.fuzz_datadog -max_total_time=600 FOLDER`, where FOLDER keeps what was found interesting.
Source: github.com/google/atheris; the options are libFuzzer's.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from rollback.alert_ports import AlertParser
from tests.alert_sources.payloads import SOURCE
from tests.alert_sources.promises import check

Target = Callable[[bytes], None]

UNDER_TEST = ("rollback.adapters.alert_sources", "rollback.redaction")

WORDS: tuple[object, ...] = (
    *("Triggered", "Re-Triggered", "Renotify", "Warn", "No Data", "Recovered", "warning", "$ALERT_ID", "rollback_test"),
    *("incident.priority_updated", "incident.resolved", "incident.reopened", "pagey.ping", "merge_resolve_reason"),
    *("firing", "resolved", "POLICY_UPGRADED", "POLICY_CANCELED_WARNING", "ANOMALY_OPEN_CRITICAL", "${latestEvent.id}"),
    *("fired", "repeated", "recovered", "unclear", "test", "true", "null", "", "0", "x" * 201, "a\u202eb", "\ud800"),
    *(
        "2026-03-01T10:00:00+01:00",
        "0001-01-01T00:00:00Z",
        "1772359200000",
        1772359200,
        10**300,
        1e308,
        True,
        None,
        [],
        {},
    ),
)
"""Words of the senders, and values that are hard to read."""

SCRAPS = (
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"\\ud800",
)


def verdict_holds(parse: AlertParser, data: bytes) -> None:
    """Whatever `data` is: a reading that keeps its promises, and the same one again."""
    reading = parse(SOURCE, {}, data)
    check(reading, SOURCE)
    assert parse(SOURCE, {}, data) == reading


def main(target: Target) -> None:
    """Fuzzes `target` with the options of the command line; does not return. A failure ends the process."""
    atheris: Any = importlib.import_module("atheris")  # absent on some systems, and without types
    for function in _functions():
        atheris.instrument_func(function)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        made = reworded(data, seed) if seed % 2 else None
        changed: bytes = atheris.Mutate(data, max_size) if made is None else made[:max_size]
        return changed

    atheris.Setup(sys.argv, target, custom_mutator=mutate)
    atheris.Fuzz()


def _functions() -> Iterator[FunctionType]:
    """The functions and methods of the code under test. To instrument every module loaded would take ten seconds."""
    for name, module in list(sys.modules.items()):
        if name.startswith(UNDER_TEST):
            own = [one for one in vars(module).values() if getattr(one, "__module__", "") == name]
            held = [one for holder in own if isinstance(holder, type) for one in vars(holder).values()]
            yield from (one for one in (*own, *held) if isinstance(one, FunctionType))


def reworded(data: bytes, seed: int) -> bytes | None:
    """JSON in which one field holds another word or another field's value, or is gone; None when it is no JSON.

    Letters alone seldom lead from one word of a sender's vocabulary to another.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    source = random.Random(seed)
    holders: list[Any] = [document]
    for one in holders:  # grows while it is walked
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        holders.extend(value for value in inner if isinstance(value, (dict, list)) and value)
    holder = source.choice(holders)
    if not isinstance(holder, (dict, list)) or not holder:
        return None
    place = source.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if source.random() < 0.2:
        del holder[place]
    else:
        holder[place] = source.choice((source.choice(WORDS), source.choice(holders[1:] or [None])))
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):  # it has become its own part
        return None


def scrambled(seeds: Iterable[bytes], seed: int, count: int) -> Iterator[bytes]:
    """`count` inputs made of the seeds by cutting, doubling, replacing and joining; the same for the same `seed`."""
    source = random.Random(seed)
    originals = list(seeds)
    yield from originals
    for _ in range(count):
        data = bytearray(source.choice(originals))
        for _ in range(source.randint(1, 6)):
            start = source.randrange(len(data) + 1)
            end = min(len(data), start + source.choice((0, 1, 1, 8, 64)))
            other = source.choice(originals)
            middle = source.randrange(len(other) + 1)
            piece = source.choice((b"", bytes(data[start:end]) * 2, other[middle : middle + 40], source.choice(SCRAPS)))
            data[start:end] = piece
        yield bytes(data)
