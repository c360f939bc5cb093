"""The outbox: notices are told once, and nothing that happens to them delays or fails what they are about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.notifiers.memory import MemoryNoticeChannel, MemoryOutboxStore
from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.alert_ports import Notice
from rollback.clock import SystemClock
from rollback.core.model import State
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from rollback.notice_ports import OutboxStore, Route
from rollback.notices import Outbox
from tests.fakes.clock import NOON
from tests.fakes.commands import Person
from tests.fakes.world import World
from tests.notifiers.stand_ins import a_notice
from tests.notifiers.test_worker import BrokenStore

WHILE = 20.0
"""Seconds after which a test is lost; nothing here waits so long when all is well."""


class Told(MemoryNoticeChannel):
    """A channel that can be waited for."""

    def __init__(self, name: str = "memory", before: Callable[[Notice], None] | None = None) -> None:
        super().__init__(name, before)
        self.changed = threading.Condition()

    def send(self, notice: Notice) -> None:
        super().send(notice)
        with self.changed:
            self.changed.notify_all()

    def wait(self, count: int) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told) >= count, WHILE), self.texts
        return self.texts


class Hanging(MemoryNoticeChannel):
    """A channel that takes a notice and never comes back, until `let_go`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._hang)
        self.began, self.let_go = threading.Event(), threading.Event()

    def _hang(self, _notice: Notice) -> None:
        self.began.set()
        self.let_go.wait(60)
        raise StoreUnreachable("it hung")


class Later(SystemClock):
    """The real clock, whose time of day and whose monotonic time can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


Make = Callable[..., Outbox]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes outboxes that are closed afterwards."""
    made: list[Outbox] = []

    def outbox(
        *channels: MemoryNoticeChannel | Route, store: OutboxStore | None = None, clock: SystemClock | None = None
    ) -> Outbox:
        routes = [one if isinstance(one, Route) else Route(one, "record", 0.0) for one in channels]
        made.append(
            Outbox(routes, store or MemoryOutboxStore(), clock=clock or SystemClock(), limit=50, look_again=0.05)
        )
        return made[-1]

    yield outbox
    for one in made:
        one.close(0.0)


def soon() -> float:
    return time.monotonic() + WHILE


# -- once ----------------------------------------------------------------------------------------------------------


def test_a_notice_is_told_on_each_channel_that_takes_its_urgency(make: Make) -> None:
    calls, tells, records = Told("calls"), Told("tells"), Told("records")
    outbox = make(Route(calls, "call", 0.0), Route(tells, "tell", 0.0), Route(records, "record", 0.0))
    for urgency in ("call", "tell", "record"):
        outbox.tell(a_notice(urgency, text=urgency, urgency=urgency))
    assert sorted(records.wait(3)) == ["call", "record", "tell"]
    assert sorted(tells.wait(2)) == ["call", "tell"]
    assert calls.wait(1) == ["call"]
    assert outbox.close(soon()) == 0
    assert (len(calls.told), len(tells.told), len(records.told)) == (1, 2, 3)


def test_one_key_is_told_once_however_often_and_by_whom_it_is_handed_in(make: Make) -> None:
    channel = Told()
    outbox = make(channel)

    def hand_in() -> None:
        for number in range(10):
            outbox.tell(a_notice(f"k{number}", text=f"n{number}"))

    threads = [threading.Thread(target=hand_in) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.close(soon()) == 0
    assert sorted(channel.texts) == sorted(f"n{n}" for n in range(10))


def test_one_key_is_told_once_across_restarts(make: Make, tmp_path: Path) -> None:
    channel = Told()
    for _ in range(3):
        outbox = make(channel, store=SqliteOutboxStore(tmp_path / "o.db"))
        outbox.tell(a_notice())
        assert outbox.close(soon()) == 0
    assert len(channel.told) == 1


def test_what_one_process_could_not_tell_the_next_one_tells_once(make: Make, tmp_path: Path) -> None:
    down = Told("slack", lambda _: (_ for _ in ()).throw(StoreUnreachable("down")))
    first = make(down, store=SqliteOutboxStore(tmp_path / "o.db"))
    for number in range(3):
        first.tell(a_notice(f"k{number}", text=f"n{number}"))
    assert first.kept(["k0", "k1", "k2"], soon())
    assert first.close(time.monotonic() + 0.9) == 3  # the next attempt would be after 1 s
    up = Told("slack")
    second = make(up, store=SqliteOutboxStore(tmp_path / "o.db"))
    assert up.wait(3) == ["n0", "n1", "n2"]
    assert second.close(soon()) == 0
    third = make(up, store=SqliteOutboxStore(tmp_path / "o.db"))
    third.tell(a_notice("k1"))
    assert third.close(soon()) == 0
    assert len(up.told) == 3


def test_without_channels_notices_go_nowhere_and_hurt_nobody(make: Make) -> None:
    outbox = make()
    outbox.tell(a_notice())
    assert outbox.kept(["k1"], soon())
    assert outbox.close(soon()) == 0


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Two notice channels have the name 'a'"):
        Outbox([Route(Told("a")), Route(Told("a"))], MemoryOutboxStore(), clock=SystemClock())


# -- nothing waits -------------------------------------------------------------------------------------------------


class BlockedStore(MemoryOutboxStore):
    """A disk that does not come back, until `let_go`."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.let_go = threading.Event(), threading.Event()

    def remember(self, notice: Notice, channels: Sequence[str], at: datetime) -> bool:
        self.began.set()
        self.let_go.wait(60)
        return super().remember(notice, channels, at)


def test_channels_that_hang_hold_up_neither_each_other_nor_the_caller(make: Make) -> None:
    hanging, fine = [Hanging("a"), Hanging("b")], Told("c")
    outbox = make(*hanging, fine)
    for number in range(20):
        outbox.tell(a_notice(f"k{number}", text=f"n{number}"))
    assert fine.wait(20) == [f"n{number}" for number in range(20)]
    assert all(one.began.wait(WHILE) for one in hanging)
    began = time.monotonic()
    assert outbox.close(began + 0.2) == 40
    assert time.monotonic() - began < WHILE / 2
    assert not any(one.closed for one in hanging)
    assert fine.closed
    for one in hanging:
        one.let_go.set()


@pytest.mark.parametrize("disk", ["blocked", "broken"])
def test_off_is_written_and_proven_while_every_channel_and_the_disk_of_notices_hang(
    disk: str, make: Make, tmp_path: Path
) -> None:
    """Telling is put before, between and after the steps of an off; it ends as it does without any notices."""
    world = World(tmp_path)
    blocked = BlockedStore()
    hanging = [Hanging(name) for name in ("slack", "teams", "webhook")]
    outbox = make(*hanging, store=blocked if disk == "blocked" else BrokenStore())
    outbox.tell(a_notice("before", urgency="call"))
    if disk == "blocked":
        assert blocked.began.wait(WHILE)
    else:
        assert all(one.began.wait(WHILE) for one in hanging)
    person = Person(world, world.session())
    for number in range(500):
        outbox.tell(a_notice(f"flood {number}", urgency="record"))
    kill = person.kill()
    outbox.tell(a_notice("between", urgency="call"))
    proof = person.after_kill(kill)
    outbox.tell(a_notice("after", urgency="call"))
    assert proof.proven
    assert world.open_buckets == 0
    assert world.state() is State.DISABLED
    assert not any(one.told for one in hanging)
    assert outbox.close(time.monotonic()) > 0
    blocked.let_go.set()
    for one in hanging:
        one.let_go.set()


def test_telling_does_not_wait_for_the_disk_and_only_kept_does(make: Make) -> None:
    store, channel = BlockedStore(), Told()
    outbox = make(channel, store=store)
    outbox.tell(a_notice())
    assert store.began.wait(WHILE)
    assert not outbox.kept(["k1"], time.monotonic() + 0.05)
    assert outbox.kept(["something else"], time.monotonic())
    store.let_go.set()
    assert outbox.kept(["k1"], soon())
    assert store.seen("k1")


def test_a_flood_is_bounded_and_takes_the_least_urgent_first(make: Make) -> None:
    store, channel = BlockedStore(), Told()
    outbox = make(channel, store=store)
    outbox.tell(a_notice("first"))
    assert store.began.wait(WHILE)
    for number in range(40):
        outbox.tell(a_notice(f"call {number}", text=f"call {number}", urgency="call"))
    for number in range(200):
        outbox.tell(a_notice(f"record {number}", urgency="record"))
    assert outbox.lost == 190
    assert not outbox.kept(["record 0"], time.monotonic())
    store.let_go.set()
    told = channel.wait(51)
    assert {f"call {number}" for number in range(40)} <= set(told)
    assert outbox.kept(["record 199"], soon())
    outbox.tell(a_notice("record 0", text="once more", urgency="record"))
    assert channel.wait(52)[-1] == "once more"
    assert outbox.kept(["record 0"], soon())


def test_a_store_that_fails_is_said_and_notices_are_told_all_the_same(make: Make) -> None:
    channel = Told()
    outbox = make(channel, store=BrokenStore())
    outbox.tell(a_notice(text="off"))
    assert channel.wait(1) == ["off"]
    assert not outbox.kept(["k1"], soon())
    outbox.tell(a_notice(text="off"))
    assert outbox.close(soon()) == 0
    assert len(channel.told) == 1


def test_a_fault_in_the_keeper_loses_one_notice_at_most(make: Make) -> None:
    class Faulty(MemoryOutboxStore):
        def remember(self, notice: Notice, channels: Sequence[str], at: datetime) -> bool:
            if notice.key == "bad":
                raise RuntimeError("a fault")
            return super().remember(notice, channels, at)

    channel = Told()
    outbox = make(channel, store=Faulty())
    outbox.tell(a_notice("bad"))
    outbox.tell(a_notice("good", text="good"))
    assert channel.wait(1) == ["good"]
    assert not outbox.kept(["bad"], soon())


def test_telling_never_raises_whatever_is_handed_in(make: Make) -> None:
    channel = Told()
    outbox = make(channel)
    outbox.tell(None)  # type: ignore[arg-type]
    outbox.tell(a_notice("\ud800", text="\x00\ud800"))
    outbox.tell(a_notice([], text="not even a key"))  # type: ignore[arg-type]
    assert channel.wait(1) == ["(a notice without words)"]
    outbox.close(soon())
    outbox.tell(a_notice("late"))
    assert len(channel.told) == 1


def test_closing_tells_what_is_still_in_line_and_nothing_later(make: Make) -> None:
    channel = Told()
    outbox = make(Route(channel, "record", 0.02))
    for number in range(10):
        outbox.tell(a_notice(f"k{number}"))
    assert outbox.close(soon()) == 0
    assert len(channel.told) == 10
    assert channel.closed
    assert outbox.close(soon()) == 0


def test_a_failing_channel_does_not_hold_up_the_end_until_the_deadline(make: Make) -> None:
    down = Told("slack", lambda _: (_ for _ in ()).throw(StoreUnreachable("429", retry_after=3000)))
    outbox = make(down)
    outbox.tell(a_notice())
    began = time.monotonic()
    assert outbox.close(began + 1000) == 1
    assert time.monotonic() - began < WHILE


# -- a channel that is dead ----------------------------------------------------------------------------------------


def refuse(_notice: Notice) -> None:
    raise StoreRefused("Slack channel 'slack' answered 404 (no_service), token=abcdef")


def test_a_dead_channel_is_named_to_the_others_once_an_hour(make: Make) -> None:
    refused = threading.Semaphore(0)

    def count_and_refuse(notice: Notice) -> None:
        refused.release()
        refuse(notice)

    dead, alive, clock = Told("slack", count_and_refuse), Told("teams"), Later()
    outbox = make(dead, Route(alive, "call", 0.0), clock=clock)
    for number in range(5):
        outbox.tell(a_notice(f"k{number}"))
    (told,) = alive.wait(1)
    assert told.splitlines() == [
        "Notices do not arrive at the channel slack.",
        "Slack channel 'slack' answered 404 (no_service), token=[redacted]",
    ]
    assert alive.told[0].urgency == "call"
    assert all(refused.acquire(timeout=WHILE) for _ in range(5))
    clock.ahead += 3601
    outbox.tell(a_notice("an hour later"))
    alive.wait(2)
    outbox.tell(a_notice("and again"))
    assert outbox.close(clock.monotonic() + WHILE) == 0
    assert len(alive.told) == 2
    assert dead.told == []


def test_channels_that_are_all_dead_do_not_tell_one_another_for_ever(make: Make) -> None:
    first, second = Told("slack", refuse), Told("teams", refuse)
    outbox = make(first, second)
    outbox.tell(a_notice())
    assert outbox.close(soon()) == 0
    standings = outbox.standing()
    # The notice itself, and at most once that the other one is dead.
    assert all(1 <= one.given_up <= 2 for one in standings)


def test_a_restart_does_not_name_a_dead_channel_again_at_once(make: Make, tmp_path: Path) -> None:
    class Noonish(SystemClock):
        def now(self) -> datetime:
            return NOON

    alive = Told("teams")
    for number in range(3):
        outbox = make(Told("slack", refuse), alive, store=SqliteOutboxStore(tmp_path / "o.db"), clock=Noonish())
        outbox.tell(a_notice(f"k{number}", urgency="record"))
        assert outbox.close(soon()) == 0
    assert [text for text in alive.texts if text.startswith("Notices do not")] == [
        "Notices do not arrive at the channel slack.\nSlack channel 'slack' answered 404 (no_service), token=[redacted]"
    ]
