"""A storm shares its transactions; each sender gets its own answer; nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from rollback.adapters.inboxes.group_commit import GroupCommit, Overloaded
from rollback.adapters.inboxes.memory import MemoryInbox
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Delivery, Kept, Unkeepable
from rollback.errors import HistoryUnwritable
from tests.inboxes.deliveries import a_delivery, keys
from tests.inboxes.wal import commits
from tests.sandbox.waiting import wait_until

NAIVE = datetime(2026, 11, 23, 12, 0)  # noqa: DTZ001
SECONDS = 10.0


class GatedInbox(MemoryInbox):
    """Lets a test hold the writer in the middle of its first batch, and make batches fail."""

    def __init__(self, behind: SqliteInbox | None = None) -> None:
        super().__init__()
        self.behind = behind
        self.gate = threading.Event()
        self.is_writing = threading.Event()
        self.sizes: list[int] = []
        self.failures: list[Exception | None] = []

    def put(self, deliveries: Sequence[Delivery]) -> list[Kept | None]:
        self.sizes.append(len(deliveries))
        self.is_writing.set()
        assert self.gate.wait(SECONDS)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return super().put(deliveries) if self.behind is None else self.behind.put(deliveries)


@pytest.fixture
def inbox() -> Iterator[GatedInbox]:
    gated = GatedInbox()
    yield gated
    gated.gate.set()


def held(inbox: GatedInbox, group: GroupCommit) -> Future[Kept | None]:
    """The writer is in the middle of a batch of this one; all that comes now gathers."""
    first = group.submit(a_delivery(1000))
    assert inbox.is_writing.wait(SECONDS)
    return first


def answers(futures: Sequence[Future[Kept | None]]) -> list[Kept | None]:
    return [future.result(SECONDS) for future in futures]


def test_fifty_senders_share_their_commits(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteInbox(path)) as real:
        gated = GatedInbox(real)
        real.pending(1)  # makes the tables
        before = commits(path)
        futures: list[Future[Kept | None]] = []
        with closing(GroupCommit(gated)) as group:
            held(gated, group)

            def send(sender: int) -> None:
                for number in range(20):
                    futures.append(group.submit(a_delivery(sender * 20 + number)))

            senders = [threading.Thread(target=send, args=(sender,)) for sender in range(50)]
            for each in senders:
                each.start()
            for each in senders:
                each.join()
            gated.gate.set()
            kept = answers(futures)
        assert {each.key for each in kept if each} == {f"k{number}" for number in range(1000)}
        assert len(real.pending(2000)) == 1001
        written = commits(path) - before
        assert 1001 / written >= 50
        assert written == len(gated.sizes)


def test_each_sender_gets_its_own_answer(inbox: GatedInbox) -> None:
    with closing(GroupCommit(inbox)) as group:
        first = held(inbox, group)
        futures = [group.submit(a_delivery(number)) for number in (1, 2, 1, 1000)]
        inbox.gate.set()
        assert keys(answers([first, *futures])) == ["k1000", "k1", "k2", None, None]
        assert inbox.sizes == [1, 4]
    assert keys(inbox.pending(10)) == ["k1000", "k1", "k2"]


def test_one_bad_delivery_fails_alone(inbox: GatedInbox) -> None:
    with closing(GroupCommit(inbox)) as group:
        first = held(inbox, group)
        deliveries = [a_delivery(number) for number in range(5)]
        for number in (1, 3):
            deliveries[number] = a_delivery(number, received_at=NAIVE)
        futures = [group.submit(each) for each in deliveries]
        inbox.gate.set()
        for future in (futures[1], futures[3]):
            with pytest.raises(Unkeepable, match="received_at"):
                future.result(SECONDS)
        assert keys(answers([first, futures[0], futures[2], futures[4]])) == ["k1000", "k0", "k2", "k4"]


def test_a_batch_of_nothing_but_bad_ones_fails_and_the_writer_goes_on(inbox: GatedInbox) -> None:
    inbox.gate.set()
    with closing(GroupCommit(inbox)) as group:
        with pytest.raises(Unkeepable):
            group.submit(a_delivery(1, received_at=NAIVE)).result(SECONDS)
        assert keys(answers([group.submit(a_delivery(2))])) == ["k2"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (HistoryUnwritable("the disk is full", next="make room"), "the disk is full"),
        (RuntimeError("secret"), r"unexpectedly \(RuntimeError\)"),
    ],
)
def test_a_failing_batch_fails_all_its_senders_and_the_next_one_is_tried(
    inbox: GatedInbox, failure: Exception, said: str
) -> None:
    inbox.failures = [None, failure]
    with closing(GroupCommit(inbox)) as group:
        first = held(inbox, group)
        futures = [group.submit(a_delivery(number)) for number in range(3)]
        inbox.gate.set()
        errors = [future.exception(SECONDS) for future in futures]
        assert all(isinstance(error, HistoryUnwritable) for error in errors)
        assert len({id(error) for error in errors}) == 3
        with pytest.raises(HistoryUnwritable, match=said):
            futures[0].result(SECONDS)
        assert "secret" not in str(errors[0])
        assert keys(inbox.pending(10)) == ["k1000"]
        assert keys(answers([first, group.submit(a_delivery(1))])) == ["k1000", "k1"]


def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(inbox: GatedInbox) -> None:
    with closing(GroupCommit(inbox, capacity=3)) as group:
        first = held(inbox, group)
        futures = [group.submit(a_delivery(number)) for number in range(3)]
        with pytest.raises(Overloaded, match="3 deliveries wait") as caught:
            group.submit(a_delivery(3))
        assert isinstance(caught.value, HistoryUnwritable)
        inbox.gate.set()
        assert keys(answers([first, *futures])) == ["k1000", "k0", "k1", "k2"]
        assert keys(answers([group.submit(a_delivery(3))])) == ["k3"]


def test_no_batch_is_larger_than_it_may_be(inbox: GatedInbox) -> None:
    with closing(GroupCommit(inbox, batch=4)) as group:
        held(inbox, group)
        futures = [group.submit(a_delivery(number)) for number in range(9)]
        inbox.gate.set()
        assert keys(answers(futures)) == [f"k{number}" for number in range(9)]
        assert inbox.sizes == [1, 4, 4, 1]


def test_closing_keeps_all_that_was_handed_in(inbox: GatedInbox) -> None:
    group = GroupCommit(inbox, batch=2)
    held(inbox, group)
    futures = [group.submit(a_delivery(number)) for number in range(5)]
    closing_it = threading.Thread(target=group.close)
    closing_it.start()
    inbox.gate.set()
    closing_it.join(SECONDS)
    assert all(future.done() for future in futures)
    assert keys(answers(futures)) == ["k0", "k1", "k2", "k3", "k4"]
    group.close()
    with pytest.raises(HistoryUnwritable, match="ending"):
        group.submit(a_delivery(9))


def test_closing_over_a_broken_disk_fails_all_and_tries_it_once(inbox: GatedInbox) -> None:
    inbox.failures = [HistoryUnwritable("the disk is full")] * 9
    group = GroupCommit(inbox, batch=2)
    first = held(inbox, group)
    futures = [group.submit(a_delivery(number)) for number in range(5)]
    closing_it = threading.Thread(target=group.close)
    closing_it.start()
    wait_until(lambda: group.is_closing)
    inbox.gate.set()
    closing_it.join(SECONDS)
    assert [type(future.exception(SECONDS)) for future in (first, *futures)] == [HistoryUnwritable] * 6
    assert inbox.sizes == [1]
    assert inbox.pending(10) == []


def test_what_was_handed_in_is_kept_though_its_task_waits_no_more(inbox: GatedInbox) -> None:
    async def impatient(group: GroupCommit) -> None:
        waiting = asyncio.wrap_future(group.submit(a_delivery(1)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.001)
        inbox.gate.set()
        assert keys([await asyncio.wrap_future(group.submit(a_delivery(2)))]) == ["k2"]

    with closing(GroupCommit(inbox)) as group:
        held(inbox, group)
        asyncio.run(impatient(group))
    assert keys(inbox.pending(10)) == ["k1000", "k1", "k2"]


def test_tasks_wait_without_holding_their_loop(tmp_path: Path) -> None:
    async def storm(group: GroupCommit) -> list[Kept | None]:
        sending = (asyncio.wrap_future(group.submit(a_delivery(number % 90))) for number in range(100))
        return list(await asyncio.gather(*sending))

    with closing(SqliteInbox(tmp_path / "state.db")) as real:
        with closing(GroupCommit(real)) as group:
            kept = asyncio.run(storm(group))
        assert kept[90:] == [None] * 10
        assert [each for each in kept if each] == real.pending(100)
        assert real.counts() == {"duplicate:datadog": 10}
