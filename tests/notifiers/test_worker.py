"""One channel's worker, step by step on a clock that stands still: order, pace, trying again, giving up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from rollback.adapters.notifiers.memory import MemoryNoticeChannel, MemoryOutboxStore
from rollback.alert_ports import Notice
from rollback.errors import ConfigurationError, HistoryUnwritable, StoreRefused, StoreUnreachable
from rollback.notice_ports import LEASE, Claim, Ending, PerhapsTold, Route, Waiting
from rollback.notice_text import MAX_LINES, cleaned, lines, worded
from rollback.notice_worker import LONGEST_ASKED, LONGEST_PAUSE, LOOK_AGAIN, STEP_BACK, ChannelWorker
from tests.fakes.clock import NOON, FakeClock
from tests.notifiers.stand_ins import a_notice

Outcome = Exception | None


class BrokenStore(MemoryOutboxStore):
    """Its disk fails while `broken` is set."""

    broken = True

    def _check(self) -> None:
        if self.broken:
            raise HistoryUnwritable("the outbox cannot be used: disk I/O error")

    def seen(self, key: str) -> bool:
        self._check()
        return super().seen(key)

    def remember(self, notice: Notice, channels: Sequence[str], at: object) -> bool:
        self._check()
        return super().remember(notice, channels, at)  # type: ignore[arg-type]

    def waiting(self, channel: str, limit: int, but: Sequence[str] = ()) -> list[Waiting]:
        self._check()
        return super().waiting(channel, limit, but)

    def begin(self, key: str, channel: str, at: object) -> Claim:
        self._check()
        return super().begin(key, channel, at)  # type: ignore[arg-type]

    def end(self, key: str, channel: str, at: object, ending: Ending) -> None:
        self._check()
        super().end(key, channel, at, ending)  # type: ignore[arg-type]


class Desk:
    """A worker, its channel whose attempts end as `outcomes` say (then: told), and when each attempt was made."""

    def __init__(self, *outcomes: Outcome, store: MemoryOutboxStore | None = None, pace: float = 1.0, limit: int = 9):
        self.clock = FakeClock()
        self.outcomes = list(outcomes)
        self.attempts: list[tuple[float, str]] = []
        self.store = store or MemoryOutboxStore()
        self.channel = MemoryNoticeChannel("slack", self._before)
        self.reports: list[tuple[str, str]] = []
        self.worker = ChannelWorker(
            Route(self.channel, "record", pace),
            self.store,
            clock=self.clock,
            report=lambda name, why: self.reports.append((name, why)),
            limit=limit,
        )

    def _before(self, notice: Notice) -> None:
        self.attempts.append((self.clock.elapsed, notice.text))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome

    def hand_in(self, *notices: Notice) -> None:
        """As the outbox does."""
        for notice in notices:
            self.store.remember(notice, ["slack"], self.clock.now())
            self.worker.offer(Waiting(notice, self.clock.now()), is_kept=True)

    def work(self, seconds: float) -> None:
        """Lets so much time pass, step by step."""
        until = self.clock.elapsed + seconds
        while True:
            pause = self.worker.step()
            if self.clock.elapsed + pause > until:
                self.clock.elapsed = until
                return
            self.clock.elapsed += pause

    def times(self) -> list[float]:
        return [at for at, _ in self.attempts]


def test_messages_are_paced_so_that_no_channel_is_flooded() -> None:
    desk = Desk(pace=1.0)
    desk.hand_in(*(a_notice(f"k{n}", text=f"n{n}") for n in range(4)))
    desk.work(10)
    assert desk.times() == [0.0, 1.0, 2.0, 3.0]
    assert desk.channel.texts == ["n0", "n1", "n2", "n3"]


def test_who_has_to_act_is_called_before_anything_else_is_told() -> None:
    desk = Desk()
    urgencies = ("record", "tell", "call", "tell", "call")
    desk.hand_in(*(a_notice(f"k{n}", text=f"{word} {n}", urgency=word) for n, word in enumerate(urgencies)))
    desk.work(10)
    assert desk.channel.texts == ["call 2", "call 4", "tell 1", "tell 3", "record 0"]


def test_a_channel_that_cannot_be_reached_is_tried_again_ever_more_rarely() -> None:
    desk = Desk(*[StoreUnreachable("no connection")] * 12)
    desk.hand_in(a_notice())
    desk.work(3600)
    gaps = [later - earlier for earlier, later in zip(desk.times(), desk.times()[1:], strict=False)]
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_PAUSE] * 3]
    assert len(desk.channel.told) == 1
    assert desk.worker.standing().failing_since is None


@pytest.mark.parametrize(("asked", "pause"), [(30.0, 30.0), (0.0, 1.0), (0.5, 1.0), (1e9, LONGEST_ASKED)])
def test_a_system_that_asks_to_wait_is_waited_for_but_not_for_ever(asked: float, pause: float) -> None:
    desk = Desk(StoreUnreachable("429", retry_after=asked))
    desk.hand_in(a_notice("k1"), a_notice("k2"))
    desk.work(10_000)
    assert desk.times()[:2] == [0.0, pause]
    assert len(desk.channel.told) == 2


def test_order_is_kept_while_a_channel_fails() -> None:
    desk = Desk(StoreUnreachable("down"), StoreUnreachable("down"))
    desk.hand_in(a_notice("k1", text="off"), a_notice("k2", text="on again"))
    desk.work(60)
    assert desk.channel.texts == ["off", "on again"]


def test_a_notice_that_the_system_cannot_take_does_not_block_the_others_for_ever() -> None:
    desk = Desk()
    poison = PerhapsTold("500")
    desk.channel.before = lambda notice: (_ for _ in ()).throw(poison) if "poison" in notice.text else None
    desk.hand_in(a_notice("k1", text="poison"), a_notice("k2", text="fine"))
    desk.work(sum(2**n for n in range(STEP_BACK)) + 1)
    assert desk.channel.texts == ["fine"]
    assert [one.notice.key for one in desk.store.waiting("slack", 9)] == ["k1"]


def test_what_may_have_arrived_is_marked_when_it_is_sent_again() -> None:
    desk = Desk(PerhapsTold("no answer"), StoreUnreachable("no connection"))
    desk.hand_in(a_notice(text="off\nproven"))
    desk.work(10)
    assert desk.channel.texts == ["[Repeated, perhaps] off\nproven"]


def test_what_certainly_did_not_arrive_is_not_marked() -> None:
    desk = Desk(StoreUnreachable("no connection"), StoreUnreachable("429", retry_after=2))
    desk.hand_in(a_notice(text="off"))
    desk.work(10)
    assert desk.channel.texts == ["off"]


def test_a_fault_of_the_adapter_is_tried_again_as_a_repeat_and_does_not_show_its_words() -> None:
    desk = Desk(RuntimeError("https://hooks.example.org/secret"))
    desk.hand_in(a_notice(text="off"))
    desk.worker.step()
    assert desk.worker.standing().why == "slack failed (RuntimeError)"
    desk.work(10)
    assert desk.channel.texts == ["[Repeated, perhaps] off"]


def test_a_channel_that_refuses_is_reported_and_the_notice_given_up() -> None:
    desk = Desk(StoreRefused("Slack channel 'slack' answered 404 (no_service)."))
    desk.hand_in(a_notice("k1", text="lost here"), a_notice("k2", text="next"))
    desk.work(60)
    assert desk.channel.texts == ["next"]
    assert desk.reports == [("slack", "Slack channel 'slack' answered 404 (no_service).")]
    assert desk.store.waiting("slack", 9) == []
    assert (desk.worker.standing().told, desk.worker.standing().given_up) == (1, 1)


def test_a_channel_that_is_silent_for_long_is_reported() -> None:
    desk = Desk(*[StoreUnreachable("no connection")] * 30)
    desk.hand_in(a_notice())
    desk.work(590)
    assert desk.reports == []
    desk.work(300)
    assert desk.reports
    assert set(desk.reports) == {("slack", "no connection")}
    standing = desk.worker.standing()
    assert (standing.failing_since, standing.why, standing.waiting) == (NOON, "no connection", 1)


def test_what_comes_late_says_from_when_it_is() -> None:
    desk = Desk(*[StoreUnreachable("down")] * 9)
    desk.hand_in(a_notice(text="off"))
    desk.work(3600)
    assert desk.channel.texts == ["[Late, from 2026-11-23 12:00:00 UTC] off"]


def test_what_nobody_needs_any_more_is_given_up_without_blaming_the_channel() -> None:
    desk = Desk()
    desk.store.remember(a_notice("old"), ["slack"], NOON - timedelta(hours=25))
    desk.store.remember(a_notice("new", text="new"), ["slack"], NOON - timedelta(hours=23))
    desk.work(10)
    assert desk.channel.texts == ["[Late, from 2026-11-22 13:00:00 UTC] new"]
    assert desk.store.waiting("slack", 9) == []
    assert desk.reports == []
    assert desk.worker.standing().given_up == 1


def test_what_a_dead_process_left_is_told_and_what_it_was_sending_is_marked_after_its_claim() -> None:
    desk = Desk()
    dead = desk.store.another()
    dead.remember(a_notice("k1", text="in the middle"), ["slack"], NOON)
    dead.remember(a_notice("k2", text="behind it"), ["slack"], NOON)
    dead.begin("k1", "slack", NOON)
    desk.work(LEASE.total_seconds() - 1)
    assert desk.channel.texts == ["behind it"]
    desk.work(LOOK_AGAIN + 1)
    assert desk.channel.texts == ["behind it", "[Repeated, perhaps] in the middle"]


def test_two_processes_with_one_memory_tell_each_notice_once() -> None:
    store = MemoryOutboxStore()
    first, second = Desk(store=store), Desk(store=store.another())
    first.hand_in(*(a_notice(f"k{n}", text=f"n{n}") for n in range(6)))
    for _ in range(20):
        first.work(1)
        second.work(1)
    assert sorted(first.channel.texts + second.channel.texts) == [f"n{n}" for n in range(6)]
    assert second.channel.texts


def test_memory_is_bounded_and_what_the_store_has_is_fetched_later() -> None:
    desk = Desk(limit=5)
    desk.hand_in(*(a_notice(f"k{n}", text=f"n{n}", urgency="record") for n in range(20)))
    desk.hand_in(a_notice("kc", text="call", urgency="call"))
    assert desk.worker.standing().waiting == 5
    desk.work(60)
    assert desk.channel.texts[0] == "call"
    assert sorted(desk.channel.texts[1:]) == sorted(f"n{n}" for n in range(20))
    assert desk.worker.lost == 0


def test_what_only_memory_had_is_counted_when_it_is_lost() -> None:
    desk = Desk(store=BrokenStore(), limit=3)
    for number in range(5):
        desk.worker.offer(Waiting(a_notice(f"k{number}", text=f"n{number}"), NOON), is_kept=False)
    desk.work(60)
    assert desk.channel.texts == ["n0", "n1", "n2"]
    assert desk.worker.lost == 2


def test_with_a_broken_store_notices_are_told_all_the_same_and_only_once() -> None:
    store = BrokenStore()
    store.broken = False
    desk = Desk(store=store)
    desk.hand_in(a_notice(text="off"))
    store.broken = True
    desk.work(60)
    store.broken = False
    desk.work(600)
    assert desk.channel.texts == ["off"]
    assert store.waiting("slack", 9) == []  # its end was written as soon as that was possible


def test_a_notice_that_the_store_never_had_is_told_when_the_store_is_back() -> None:
    desk = Desk()
    desk.worker.offer(Waiting(a_notice(text="off"), NOON), is_kept=False)
    desk.work(5)
    assert desk.channel.texts == ["off"]


def test_the_same_notice_offered_twice_is_told_once() -> None:
    desk = Desk()
    desk.hand_in(a_notice())
    desk.worker.offer(Waiting(a_notice(), NOON), is_kept=True)
    desk.work(60)
    desk.worker.offer(Waiting(a_notice(), NOON), is_kept=True)
    desk.work(60)
    assert len(desk.channel.told) == 1


def test_a_fault_of_the_store_that_no_contract_allows_loses_no_notice() -> None:
    class Faulty(MemoryOutboxStore):
        faults = 3

        def begin(self, key: str, channel: str, at: object) -> Claim:
            if self.faults:
                self.faults -= 1
                raise RuntimeError("a fault")
            return super().begin(key, channel, at)  # type: ignore[arg-type]

    desk = Desk(store=Faulty())
    desk.hand_in(a_notice(text="off"))
    desk.work(60)
    assert desk.channel.texts == ["off"]


def test_an_urgency_that_nobody_knows_is_refused_for_a_route_and_loud_for_a_notice() -> None:
    with pytest.raises(ConfigurationError, match="least urgency 'shout'") as caught:
        Route(MemoryNoticeChannel(), "shout")
    assert caught.value.next == "Write one of call, tell, record."
    assert Route(MemoryNoticeChannel(), "call").takes(a_notice(urgency="a new word"))


@pytest.mark.parametrize(
    ("least", "taken"),
    [("call", ["call"]), ("tell", ["call", "tell"]), ("record", ["call", "tell", "record"])],
)
def test_a_route_takes_what_is_at_least_as_urgent(least: str, taken: list[str]) -> None:
    route = Route(MemoryNoticeChannel(), least)
    assert [word for word in ("call", "tell", "record") if route.takes(a_notice(urgency=word))] == taken


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["(a notice without words)"]),
        (" \n\t\n", ["(a notice without words)"]),
        ("\n\nhead\n\n  step\n\n", ["head", "", "  step"]),
        ("a\x00b\x1b[31mc", ["a b [31mc"]),
        ("\u202egnirts\u200b", ["gnirts"]),
        ("\ud800x", ["x"]),
        ("a\u2028b", ["a", "b"]),
        ("x" * 1500, ["x" * 999 + "…"]),
    ],
)
def test_only_what_can_be_shown_is_kept(text: str, found: list[str]) -> None:
    assert lines(text) == found
    assert lines("\n".join(lines(text))) == found


def test_a_notice_has_an_end() -> None:
    notice = cleaned(a_notice("k" * 9999, text="line\n" * 50_000, role="r" * 999, feature="f" * 999, incident=None))
    assert (len(notice.key), len(notice.role), len(notice.feature or "")) == (300, 300, 300)
    assert len(notice.text.splitlines()) == MAX_LINES
    assert notice.text.endswith("\n…")
    assert cleaned(notice) == notice


@pytest.mark.parametrize(
    ("begun", "minutes", "mark"),
    [
        (False, 5, ""),
        (True, 5, "[Repeated, perhaps] "),
        (False, 6, "[Late, from 2026-11-23 12:00:00 UTC] "),
        (True, 6, "[Repeated, perhaps; Late, from 2026-11-23 12:00:00 UTC] "),
    ],
)
def test_the_headline_says_what_is_special_about_this_telling(begun: bool, minutes: int, mark: str) -> None:
    told = worded(Waiting(a_notice(text="off\nproven"), NOON, begun), NOON + timedelta(minutes=minutes))
    assert told.text == f"{mark}off\nproven"
    assert told.key == "k1"
