"""The inbox in the state database: one commit for a batch, counters without writes, trouble said and nothing lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollback.adapters.inboxes.group_commit import GroupCommit
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.adapters.inboxes.sqlite_cycles import FIRING
from rollback.alert_ports import Cycle, Unkeepable
from rollback.core.alerts import Edge
from rollback.errors import HistoryUnwritable
from tests.inboxes.databases import damage, held_by_another_process
from tests.inboxes.deliveries import a_delivery, an_alert, keys, minute
from tests.inboxes.wal import commits
from tests.ledgers.disks import fill, small_disk
from tests.sandbox.waiting import wait_until

NEVER = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollback.state.db"


@pytest.fixture
def inbox(path: Path) -> Iterator[SqliteInbox]:
    with closing(SqliteInbox(path, flush_after=NEVER, lock_timeout=0.05)) as opened:
        opened.pending(1)  # makes the tables
        yield opened


def change(path: Path, statement: str, *values: object) -> None:
    """What a damaged disk may do, done by hand."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def test_a_batch_is_one_commit_with_its_duplicates_and_what_was_counted(inbox: SqliteInbox, path: Path) -> None:
    before = commits(path)
    inbox.count("refused:datadog", 3)
    inbox.put([a_delivery(number % 200) for number in range(300)])
    assert commits(path) - before == 1
    with closing(SqliteInbox(path)) as other:
        assert other.counts() == {"duplicate:datadog": 100, "refused:datadog": 3}


def test_counting_writes_nothing_by_itself(inbox: SqliteInbox, path: Path) -> None:
    before = commits(path)
    for _ in range(1000):
        inbox.count("refused:datadog")
    assert commits(path) == before
    assert inbox.counts() == {"refused:datadog": 1000}
    assert commits(path) == before


def test_what_was_counted_is_written_soon_without_a_delivery(path: Path) -> None:
    with closing(SqliteInbox(path, flush_after=0.01)) as inbox, closing(SqliteInbox(path)) as other:
        inbox.count("refused:datadog")
        wait_until(lambda: other.counts() == {"refused:datadog": 1})
        inbox.count("refused:datadog")
        wait_until(lambda: other.counts() == {"refused:datadog": 2})
        assert inbox.counts() == {"refused:datadog": 2}


def test_what_was_counted_is_written_on_closing(inbox: SqliteInbox, path: Path) -> None:
    inbox.count("refused:datadog")
    inbox.close()
    with closing(SqliteInbox(path)) as other:
        assert other.counts() == {"refused:datadog": 1}


def test_what_was_counted_while_the_database_was_locked_is_counted_once(inbox: SqliteInbox, path: Path) -> None:
    inbox.count("refused:datadog")
    with held_by_another_process(path), pytest.raises(HistoryUnwritable, match="locked"):
        inbox.put([a_delivery(1), a_delivery(1)])
    assert inbox.counts() == {"refused:datadog": 1}
    assert keys(inbox.put([a_delivery(1), a_delivery(1)])) == ["k1", None]
    assert inbox.counts() == {"duplicate:datadog": 1, "refused:datadog": 1}


def test_a_lock_fails_all_of_a_group_and_each_can_be_sent_again(inbox: SqliteInbox, path: Path) -> None:
    with closing(GroupCommit(inbox)) as group:
        with held_by_another_process(path):
            futures = [group.submit(a_delivery(number)) for number in range(3)]
            assert all(isinstance(future.exception(10), HistoryUnwritable) for future in futures)
        assert inbox.pending(10) == []
        again = [group.submit(a_delivery(number)) for number in range(3)]
        assert keys([future.result(10) for future in again]) == ["k0", "k1", "k2"]


def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_kept(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "2m") as disk,
        closing(SqliteInbox(disk / "state.db", flush_after=NEVER)) as inbox,
    ):
        inbox.put([a_delivery(0)])
        fill(disk)
        acknowledged = ["k0"]

        def put_until_full() -> None:
            for number in range(1, 500):
                acknowledged.extend(each.key for each in inbox.put([a_delivery(number, excerpt="x" * 4000)]) if each)

        with pytest.raises(HistoryUnwritable, match="disk is full"):
            put_until_full()
        assert keys(inbox.pending(1000)) == acknowledged
        assert len(acknowledged) < 500
        (disk / "filler").unlink()
        assert keys(inbox.put([a_delivery(number) for number in (0, 900)])) == [None, "k900"]
        inbox.close()


def test_everything_is_there_after_a_restart(path: Path) -> None:
    with closing(SqliteInbox(path)) as inbox:
        first = inbox.put([a_delivery(1), a_delivery(2)])
        inbox.decided("sm", [(cycle, 2) for cycle in inbox.see([an_alert()])])
        assert inbox.reserve_off("sm", minute(0), minute(-60), 1)
        inbox.begin(1)
        inbox.settle({2: "done"}, minute(1))
    with closing(SqliteInbox(path)) as again:
        (waiting,) = again.pending(10)
        assert first[0] is not None
        assert (waiting.key, waiting.number, waiting.attempts) == ("k1", first[0].number, 1)
        assert again.firing() == [Cycle("datadog", "4711", "c1", minute(0), decided=(("sm", 2),))]
        assert not again.reserve_off("another", minute(1), minute(-59), 1)
        assert [words for _, words in again.recent(10)] == ["done", ""]


def test_odd_characters_of_a_sender_cost_no_alert(inbox: SqliteInbox) -> None:
    odd = an_alert(cycle="\ud83d\0", monitor="\udc00", tags=("a\0b", "\ud83d"))
    inbox.put([a_delivery(1, source="d\0g", alerts=(odd,)), a_delivery(1, source="d", alerts=(odd,))])
    assert [kept.alerts for kept in inbox.pending(10)] == [(odd,), (odd,)]
    assert inbox.see([odd]) == inbox.firing() == [Cycle("datadog", "\udc00", "\ud83d\0", minute(0))]
    inbox.put([a_delivery(1, source="d\0g")])
    assert inbox.counts() == {"duplicate:d\0g": 1}


def test_alerts_that_can_be_no_cycle_are_named_and_change_nothing(inbox: SqliteInbox) -> None:
    with pytest.raises(Unkeepable, match="monitor") as caught:
        inbox.see([an_alert(), an_alert(monitor=None)])
    assert caught.value.positions == (1,)
    assert inbox.firing() == []


@pytest.mark.parametrize("value", ["", '{"alerts":[],"why":"', b"\xff\xfe{"])
def test_a_delivery_that_cannot_be_read_back_is_told_of_and_holds_up_no_other(
    inbox: SqliteInbox, path: Path, value: str | bytes
) -> None:
    inbox.put([a_delivery(number) for number in range(4)])
    change(path, "UPDATE deliveries SET body = CAST(? AS TEXT) WHERE key IN ('k0', 'k1')", value)
    assert keys(inbox.pending(2)) == ["k2", "k3"]
    assert inbox.counts() == {"unreadable": 2}
    assert [sentence[:11] for sentence in inbox.database.warnings] == ["delivery 1 ", "delivery 2 "]
    assert keys(inbox.pending(10)) == ["k2", "k3"]
    assert [kept.key for kept, _ in inbox.recent(10)] == ["k3", "k2"]


def test_a_damaged_cycle_is_never_taken_for_one_that_recovered(inbox: SqliteInbox, path: Path) -> None:
    inbox.see([an_alert()])
    change(path, "UPDATE cycles SET fired_at = '2026-99-99'")
    with pytest.raises(HistoryUnwritable, match="cannot be read back"):
        inbox.firing()
    with pytest.raises(HistoryUnwritable, match="cannot be read back"):
        inbox.see([an_alert(Edge.RECOVERED)])


def test_a_corrupt_inbox_is_set_aside_and_the_next_delivery_is_kept(path: Path) -> None:
    with closing(SqliteInbox(path)) as inbox:
        inbox.put([a_delivery(number) for number in range(200)])
    damage(path, "every page")
    told: list[str] = []
    with closing(SqliteInbox(path, report=told.append)) as inbox:
        assert keys(inbox.put([a_delivery(7)])) == ["k7"]
        assert keys(inbox.pending(10)) == ["k7"]
    assert len(told) == 1
    assert "has been set aside as" in told[0]
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_random_damage_is_said_or_told_of_and_never_loses_a_delivery_in_silence(path: Path) -> None:
    with closing(SqliteInbox(path)) as inbox:
        inbox.put([a_delivery(number, excerpt="x" * 200) for number in range(60)])
    whole = path.read_bytes()
    outcomes = set()
    for offset in range(0, len(whole), 1511):
        for name in path.parent.glob("rollback.state.db*"):
            name.unlink()
        path.write_bytes(whole[:offset] + b"\xa5" * 64 + whole[offset + 64 :])
        with closing(SqliteInbox(path)) as inbox:
            try:
                acknowledged = keys(inbox.put([a_delivery(1000)]))
                waiting = keys(inbox.pending(100))
            except HistoryUnwritable:
                outcomes.add("said")
                continue
            told = bool(inbox.database.warnings)
            outcomes.add("told" if told else "whole")
            assert acknowledged == ["k1000"]
            assert told or waiting == [*(f"k{number}" for number in range(60)), "k1000"]
    assert {"told", "whole"} <= outcomes


def test_queries_of_a_large_inbox_use_their_indexes(inbox: SqliteInbox) -> None:
    pending = "SELECT body FROM deliveries WHERE ended_at IS NULL ORDER BY number LIMIT 10"
    firing = f"SELECT monitor FROM cycles WHERE {FIRING}"
    plans = [
        inbox.database.read(lambda connection: str(list(connection.execute(f"EXPLAIN QUERY PLAN {pending}")))),
        inbox.database.read(lambda connection: str(list(connection.execute(f"EXPLAIN QUERY PLAN {firing}")))),
    ]
    assert "deliveries_pending" in plans[0]
    assert "cycles_firing" in plans[1]
