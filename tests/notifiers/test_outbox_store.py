"""The contract of `OutboxStore`, passed by the database and by the stand-in; and what a disk can do to the database."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.adapters.notifiers.memory import MemoryOutboxStore
from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.errors import ConfigurationError, HistoryUnwritable
from rollback.notice_ports import Claim, Ending, OutboxStore, Waiting
from tests.fakes.clock import NOON
from tests.ledgers.disks import fill, small_disk
from tests.ledgers.entries import an_entry
from tests.notifiers.stand_ins import a_notice

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)

Processes = Callable[[], OutboxStore]


@pytest.fixture(params=["memory", "sqlite"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    """Each call is another process on the same memory."""
    first = MemoryOutboxStore(lease=LEASE)
    opened: list[OutboxStore] = []

    def make() -> OutboxStore:
        is_memory = request.param == "memory"
        opened.append(first.another() if is_memory else SqliteOutboxStore(tmp_path / "o.db", lease=LEASE))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(process: Processes) -> OutboxStore:
    return process()


def keys(found: list[Waiting]) -> list[str]:
    return [waiting.notice.key for waiting in found]


def test_a_notice_waits_for_each_of_its_channels_and_for_no_other(store: OutboxStore) -> None:
    assert store.remember(a_notice(), ["slack", "teams"], NOON) is True
    assert store.waiting("slack", 10) == store.waiting("teams", 10) == [Waiting(a_notice(), NOON, begun=False)]
    assert store.waiting("pager", 10) == []


def test_a_key_is_remembered_once_whatever_the_words(process: Processes) -> None:
    first, second = process(), process()
    assert first.remember(a_notice(), ["slack"], NOON)
    assert not first.remember(a_notice(text="other words"), ["slack", "teams"], NOON)
    assert not second.remember(a_notice(text="other words"), ["teams"], NOON)
    assert second.waiting("teams", 10) == []
    assert second.waiting("slack", 10)[0].notice == a_notice()
    assert (first.seen("k1"), second.seen("k1"), first.seen("k2")) == (True, True, False)


def test_a_notice_for_nobody_is_seen_too(store: OutboxStore) -> None:
    assert store.remember(a_notice(), [], NOON)
    assert not store.remember(a_notice(), ["slack"], NOON)
    assert store.waiting("slack", 10) == []


def test_all_fields_come_back_as_they_were(store: OutboxStore) -> None:
    whole = a_notice("k ü", text="a\nb 'c' \"d\"", feature=None, incident=None, urgency="call", role="Watch Officer")
    store.remember(whole, ["slack"], NOON + timedelta(microseconds=250_000))
    (found,) = store.waiting("slack", 1)
    assert found == Waiting(whole, NOON + timedelta(microseconds=250_000))
    assert found.at.utcoffset() == timedelta(0)


def test_the_oldest_comes_first_and_a_limit_holds(store: OutboxStore) -> None:
    for number, minutes in enumerate((3, 1, 2, 1)):
        store.remember(a_notice(f"k{number}"), ["slack"], NOON + timedelta(minutes=minutes))
    assert keys(store.waiting("slack", 10)) == ["k1", "k3", "k2", "k0"]
    assert keys(store.waiting("slack", 2)) == ["k1", "k3"]
    assert keys(store.waiting("slack", 2, but=("k1", "k2", "not there"))) == ["k3", "k0"]


@pytest.mark.parametrize("ending", [Ending.TOLD, Ending.REFUSED, Ending.TOO_OLD])
def test_what_is_over_stays_over_on_this_channel_alone(process: Processes, ending: Ending) -> None:
    store, other = process(), process()
    store.remember(a_notice(), ["slack", "teams"], NOON)
    assert store.begin("k1", "slack", NOON) is Claim.OURS
    store.end("k1", "slack", NOON, ending)
    store.end("k1", "slack", NOON, Ending.NOT_SENT)
    for one in (store, other):
        assert one.begin("k1", "slack", NOON) is Claim.OVER
        assert one.waiting("slack", 10) == []
        assert keys(one.waiting("teams", 10)) == ["k1"]
    assert other.begin("k1", "teams", NOON) is Claim.OURS


def test_what_was_begun_is_known_as_begun_by_whoever_comes_after(process: Processes) -> None:
    store, other = process(), process()
    store.remember(a_notice(), ["slack"], NOON)
    store.begin("k1", "slack", NOON)
    assert other.waiting("slack", 10) == [Waiting(a_notice(), NOON, begun=True)]
    store.end("k1", "slack", NOON, Ending.UNKNOWN)
    assert other.waiting("slack", 10) == [Waiting(a_notice(), NOON, begun=True)]


def test_what_certainly_did_not_arrive_is_no_repeat(store: OutboxStore) -> None:
    store.remember(a_notice(), ["slack"], NOON)
    store.begin("k1", "slack", NOON)
    store.end("k1", "slack", NOON, Ending.NOT_SENT)
    assert store.waiting("slack", 10) == [Waiting(a_notice(), NOON, begun=False)]


def test_a_claim_keeps_others_out_until_it_is_ended_or_runs_out(process: Processes) -> None:
    store, other = process(), process()
    store.remember(a_notice(), ["slack"], NOON)
    assert store.begin("k1", "slack", NOON) is Claim.OURS
    assert store.begin("k1", "slack", NOON) is Claim.OURS
    assert other.begin("k1", "slack", NOON + LEASE - SECOND) is Claim.THEIRS
    store.end("k1", "slack", NOON, Ending.UNKNOWN)
    assert other.begin("k1", "slack", NOON) is Claim.OURS
    assert store.begin("k1", "slack", NOON + LEASE) is Claim.OURS  # the other one died
    assert other.begin("k1", "slack", NOON + LEASE + SECOND) is Claim.THEIRS


def test_what_is_not_there_is_over(store: OutboxStore) -> None:
    assert store.begin("k1", "slack", NOON) is Claim.OVER
    store.end("k1", "slack", NOON, Ending.TOLD)
    assert not store.seen("k1")


def test_only_what_is_old_is_forgotten(store: OutboxStore) -> None:
    for days in (0, 10, 40):
        store.remember(a_notice(f"k{days}"), ["slack"], NOON - timedelta(days=days))
    assert store.prune(NOON - timedelta(days=30)) == 1
    assert not store.seen("k40")
    assert keys(store.waiting("slack", 10)) == ["k10", "k0"]
    assert store.begin("k40", "slack", NOON) is Claim.OVER


def test_many_threads_that_remember_one_key_keep_it_once(process: Processes) -> None:
    stores = [process(), process()]

    def remember(number: int) -> bool:
        return stores[number % 2].remember(a_notice(text=str(number)), ["slack"], NOON)

    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(remember, range(40)))
    assert new.count(True) == 1
    assert len(stores[0].waiting("slack", 100)) == 1


def test_many_threads_that_want_to_send_one_notice_send_it_once(process: Processes) -> None:
    stores = [process() for _ in range(4)]
    stores[0].remember(a_notice(), ["slack"], NOON)
    together = threading.Barrier(4)

    def begin(store: OutboxStore) -> Claim:
        together.wait(10)
        return store.begin("k1", "slack", NOON)

    with ThreadPoolExecutor(4) as threads:
        claims = list(threads.map(begin, stores))
    assert sorted(claims) == [Claim.OURS, Claim.THEIRS, Claim.THEIRS, Claim.THEIRS]


# -- the database --------------------------------------------------------------------------------------------------


def test_the_file_is_for_this_account_alone_and_survives_its_process(tmp_path: Path) -> None:
    store = SqliteOutboxStore(tmp_path / "o.db")
    store.remember(a_notice(), ["slack"], NOON)
    store.close()
    store.close()
    assert stat.S_IMODE((tmp_path / "o.db").stat().st_mode) == 0o600
    again = SqliteOutboxStore(tmp_path / "o.db")
    assert keys(again.waiting("slack", 10)) == ["k1"]
    again.close()


def test_it_stands_beside_other_tables_and_changes_nothing_of_theirs(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "o.db")
    other.executescript("CREATE TABLE deliveries (x); PRAGMA user_version = 7; PRAGMA application_id = 99")
    store = SqliteOutboxStore(tmp_path / "o.db")
    store.remember(a_notice(), ["slack"], NOON)
    store.close()
    pragmas = [other.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]
    other.close()
    assert pragmas == [7, 99]


def test_a_ledger_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    ledger.append([an_entry(1)])
    with pytest.raises(ConfigurationError, match="is a ledger"):
        SqliteOutboxStore(tmp_path / "l.db")
    ledger.append([an_entry(2)])
    assert len(list(ledger.entries())) == 2
    ledger.close()
    tables = sqlite3.connect(tmp_path / "l.db")
    assert not tables.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'notice%'").fetchall()
    tables.close()


def every_method(store: OutboxStore) -> list[Callable[[], Any]]:
    return [
        lambda: store.seen("k1"),
        lambda: store.remember(a_notice(), ["slack"], NOON),
        lambda: store.waiting("slack", 1),
        lambda: store.begin("k1", "slack", NOON),
        lambda: store.end("k1", "slack", NOON, Ending.TOLD),
        lambda: store.prune(NOON),
    ]


def test_a_database_that_cannot_be_used_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 2000)
    for path in (tmp_path / "garbage.db", tmp_path / "no" / "such" / "folder.db", tmp_path):
        store = SqliteOutboxStore(path)
        for method in every_method(store):
            with pytest.raises(HistoryUnwritable, match="the outbox"):
                method()
        store.close()
    assert (tmp_path / "garbage.db").read_bytes() == b"garbage" * 2000


def test_after_closing_nothing_is_asked_of_the_file(tmp_path: Path) -> None:
    store = SqliteOutboxStore(tmp_path / "o.db")
    store.close()
    for method in every_method(store):
        with pytest.raises(HistoryUnwritable, match="is closed"):
            method()


def test_a_thread_that_is_stuck_in_the_database_does_not_hold_up_the_end(tmp_path: Path) -> None:
    store = SqliteOutboxStore(tmp_path / "o.db", lock_seconds=30.0)
    other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    raised: list[Exception] = []

    def stuck() -> None:
        try:
            store.remember(a_notice(), ["slack"], NOON)
            store.seen("k1")
        except HistoryUnwritable as error:
            raised.append(error)

    thread = threading.Thread(target=stuck)
    thread.start()
    store.close()
    other.execute("ROLLBACK")
    other.close()
    thread.join(40)
    assert [str(error).endswith("is closed") for error in raised] == [True]
    store.close()


def test_a_lock_that_another_process_holds_is_waited_for_only_so_long(tmp_path: Path) -> None:
    store = SqliteOutboxStore(tmp_path / "o.db", lock_seconds=0.05)
    other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HistoryUnwritable, match="locked"):
        store.remember(a_notice(), ["slack"], NOON)
    other.execute("ROLLBACK")
    other.close()
    assert store.remember(a_notice(), ["slack"], NOON)
    store.close()


def test_a_full_disk_loses_nothing_that_was_remembered(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = SqliteOutboxStore(disk / "o.db")
        assert store.remember(a_notice("k0"), ["slack"], NOON)
        fill(disk)
        with pytest.raises(HistoryUnwritable):
            all(store.remember(a_notice(f"k{n}", text="x" * 2000), ["slack"], NOON) for n in range(1, 500))
        (disk / "filler").unlink()
        assert store.remember(a_notice("after"), ["slack"], NOON)
        found = keys(store.waiting("slack", 1000))
        assert (found[0], found[-1]) == ("k0", "after")
        store.close()
