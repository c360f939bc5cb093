"""The kill: intent, read, write. Nothing but authorisation and the flag store delays it (invariant 1). Kill path.

No lock, lease, approval, budget, probe, notice, other case, missing reason, or trouble with journal or ledger stops it.
It puts a kill of its own in front and never reuses an older one, so that a late write of another process that raises
its own kill cannot undo it (`flipt.md`, concurrency).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from rollback import log
from rollback.backoff import full_jitter
from rollback.core import exposure as exposures
from rollback.core.flag import BUCKETS, FlagConfig, FlagSnapshot, FlagType, Polarity
from rollback.core.history import Entry, EntryKind
from rollback.core.marker import Marker, parse
from rollback.errors import (
    ConfigurationError,
    Conflict,
    FlagMissing,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    Unsettled,
)
from rollback.session import Session, nonce

OnTrouble = Callable[[Exception, float], None]
"""Told of each failed try and how many seconds of trying are left."""

RETRY_EVERY = 1.0
"""Seconds between two tries of a store that does not answer: a person is waiting, and the store is not loaded by us."""

CONTENDING, CONTENDING_AT_MOST = 0.1, 1.0
"""Seconds to keep out of the way of others who write to the same flag (`full_jitter`), from the second conflict on."""

WRITTEN, UNREACHABLE, REFUSED, UNSETTLED = "written", "unreachable", "refused", "unsettled"
"""Results of a kill; the last three leave an off that is still wanted."""

SUPERSEDED, MISSING = "superseded", "missing"
"""Results of an intent that nobody waits for any more: it was written down anew, or there is no such flag."""


class OpenCase(NamedTuple):
    """An open case as the history knows it. `epoch` counts on over closed cases."""

    incident_id: str | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Target:
    """The case that a kill belongs to. `attached` is True when it was open already (or its kill is on the flag)."""

    incident_id: str
    epoch: int
    attached: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill that the store acknowledged at `at` (`turned` on the monotonic clock)."""

    target: Target
    key: str
    held: int
    before: FlagSnapshot
    after: FlagSnapshot
    at: datetime
    turned: float

    @property
    def clock(self) -> float:
        """By how many seconds the wall clock was ahead of the monotonic one when it turned."""
        return self.at.timestamp() - self.turned

    def was_off(self, polarity: Polarity) -> bool:
        """True when nobody was served before this kill either (which may have got there by a try before the last)."""
        return exposures.exposure(exposures.without(self.before.config, [self.key]), polarity).is_off

    @property
    def audience(self) -> FlagConfig:
        """The flag as it was without ours."""
        return exposures.without(self.before.config)


def open_case(session: Session) -> OpenCase:
    """What this machine's history says of the feature's case: its id (None when none is open) and its epoch."""
    latest = session.history.latest(session.feature)
    image = (latest.entry.after or {}) if latest.entry else {}
    is_open = image.get("incident_id") and image.get("state") not in (None, "resolved", "normal")
    return OpenCase(str(image["incident_id"]) if is_open else None, int(image.get("epoch") or 0))


def target_for(session: Session, flag: FlagConfig | None, known: OpenCase, new: str = "") -> Target:
    """The open case of this machine's history, else the case whose kill is on the flag, else one called `new`."""
    marks = exposures.ours(flag) if flag else ()
    epoch = max([mark.epoch for mark in marks] + [known.epoch, 0]) + 1
    if known.incident_id is not None:
        return Target(known.incident_id, epoch, attached=True)
    if marks:
        return Target(marks[0].incident, epoch, attached=True)
    return Target(new or new_incident_id(session), epoch, attached=False)


def new_incident_id(session: Session) -> str:
    """Readable, sortable, unique: feature, time in UTC, and a little chance."""
    return f"{session.feature}-{session.clock.now():%Y%m%dT%H%M%SZ}-{nonce()[:4]}"


def put_kill(
    session: Session,
    *,
    reason: str,
    deadline: float,
    on_trouble: OnTrouble,
    held: int = BUCKETS,
    target: Target | None = None,
    key: str | None = None,
    before_write: Callable[[], None] = lambda: None,
) -> Kill:
    """Puts a kill in front of the flag and returns once the store has acknowledged it.

    `before_write` is called between read and write, for what is to overlap with the write; it must not raise.
    Tries until `deadline` (monotonic). Raises `FlagMissing` and `StoreRefused` at once, `StoreUnreachable` when time
    is up and certainly nothing was written, `Unsettled` when a write was sent and its fate is not known, also when
    somebody interrupts it (`KeyboardInterrupt` only as long as nothing was sent).
    """
    recorder = _Recorder(session, reason, held, key)
    try:
        return _until_written(session, recorder, target, deadline, on_trouble, before_write)
    except KeyboardInterrupt as stopped:
        if not recorder.may_have_arrived:
            raise
        raise recorder.unsettled("stopped by hand") from stopped


def _until_written(
    session: Session,
    recorder: _Recorder,
    target: Target | None,
    deadline: float,
    on_trouble: OnTrouble,
    before_write: Callable[[], None],
) -> Kill:
    known = open_case(session)
    recorder.intend(target or target_for(session, None, known))
    conflicts = 0
    while True:
        try:
            return _tried(session, recorder, target, known, deadline, before_write)
        except (FlagMissing, ConfigurationError) as error:
            recorder.outcome(MISSING, error.message)
            raise
        except StoreError as error:
            recorder.answered(error)
            left = max(0.0, deadline - session.clock.monotonic())
            if isinstance(error, StoreRefused) or (isinstance(error, Conflict) and not left):
                raise _given_up(recorder, error) from error
            if isinstance(error, Conflict):
                if conflicts:
                    session.clock.sleep(min(full_jitter(CONTENDING, CONTENDING_AT_MOST, conflicts), left))
                conflicts += 1
                continue
            conflicts = 0
            on_trouble(error, left)
            if not left:
                raise _given_up(recorder, error) from error
            session.clock.sleep(min(RETRY_EVERY, left))


def _tried(
    session: Session,
    recorder: _Recorder,
    target: Target | None,
    known: OpenCase,
    deadline: float,
    before_write: Callable[[], None],
) -> Kill:
    """One read, one write. Raises what the store raises."""
    before = session.store.read(session.reference.ref, deadline=deadline)
    if any(mark.key == recorder.key for mark in exposures.ours(before.config)):
        desired = _at_least(before.config, recorder)  # it got there, and only the answer was lost
    else:
        recorder.intend(target or target_for(session, before.config, known, recorder.incident_id))
        desired = _killed(session, before.config, recorder)
    before_write()
    recorder.is_sending = True
    after = session.store.write(before, desired, deadline=deadline)
    now, turned = session.clock.now(), session.clock.monotonic()
    kill = Kill(recorder.aim, recorder.key, recorder.held, before, after, now, turned)
    recorder.settled(kill)
    return kill


def _killed(session: Session, config: FlagConfig, recorder: _Recorder) -> FlagConfig:
    """The flag with this kill in front."""
    marker = recorder.marker()
    killed = exposures.kill(config, session.reference.polarity, marker)
    return killed if recorder.held == BUCKETS else exposures.with_kill_at(killed, marker.key, recorder.held)


def _at_least(config: FlagConfig, recorder: _Recorder) -> FlagConfig:
    """The flag with our kill, which is there, holding off no less than it should: somebody may have raised it since."""
    if config.type is FlagType.VARIANT:
        return config
    ours = next(r for r in config.rollouts if (mark := parse(r.description)) and mark.key == recorder.key)
    if exposures.threshold_buckets(ours.percentage or 0.0) >= recorder.held:
        return config
    return exposures.with_kill_at(config, recorder.key, recorder.held)


def _given_up(recorder: _Recorder, error: StoreError) -> StoreError:
    """What to raise at the end: unsettled, whatever came last, once something was sent that nobody has heard of."""
    if recorder.may_have_arrived:
        return recorder.unsettled(error.message, next_step=error.next)
    if isinstance(error, StoreRefused):
        recorder.outcome(REFUSED, error.message)
        return error
    recorder.outcome(UNREACHABLE, error.message)
    if isinstance(error, Conflict):
        return StoreUnreachable(f"The flag kept changing under us: {error.message}", next=error.next)
    return error


class _Recorder:
    """The kill's entries: the intent before the first write (once per case it aims at), and what came of it.

    `is_sending` is True while a write has no answer yet.
    """

    def __init__(self, session: Session, reason: str, held: int, key: str | None) -> None:
        self._session = session
        self._reason = reason
        self._nonce = nonce()
        self._given_key = key
        self._is_lost = False
        self.held = held
        self.target: Target | None = None
        self.is_sending = False

    @property
    def key(self) -> str:
        """The kill's key: `kill-<epoch>-<nonce>`."""
        return self._given_key or f"kill-{self.aim.epoch}-{self._nonce}"

    @property
    def aim(self) -> Target:
        """The case that it is meant for now."""
        assert self.target is not None
        return self.target

    @property
    def incident_id(self) -> str:
        """The case that was aimed at first; a name for a new one when none was."""
        return self.target.incident_id if self.target else ""

    @property
    def may_have_arrived(self) -> bool:
        """True once a write was sent of which nobody has heard."""
        return self._is_lost or self.is_sending

    def intend(self, target: Target) -> None:
        """Writes the intent ahead; again only when the kill turns out to belong to another case or epoch."""
        if self.target is not None:
            if (target.incident_id, target.epoch) == (self.target.incident_id, self.target.epoch):
                return
            self.outcome(SUPERSEDED, f"it belongs to {target.incident_id}, epoch {target.epoch}")
        self.target = target
        self._record(EntryKind.INTENT, "lower_exposure", after={"held": self.held, "flag": self._flag})

    def answered(self, error: StoreError) -> None:
        """The try has ended: only `Unsettled` leaves it open whether a write arrived."""
        self._is_lost = self._is_lost or isinstance(error, Unsettled)
        self.is_sending = False

    @property
    def _flag(self) -> str:
        return str(self._session.reference.ref)

    def marker(self) -> Marker:
        """Who, when, and the ledger's head, for any other machine to read."""
        return Marker(
            incident=self.aim.incident_id,
            key=self.key,
            actor=self._session.actor.name,
            at=f"{self._session.clock.now():%Y-%m-%dT%H:%M:%SZ}",
            head=self._session.history.head_text(self._session.feature),
        )

    def settled(self, kill: Kill) -> None:
        """The store acknowledged it."""
        self._record(
            EntryKind.OUTCOME,
            "lower_exposure",
            before={"buckets_without_us": exposures.exposure(kill.audience, self._session.reference.polarity).percent},
            after={"held": self.held, "flag": self._flag},
            data={"result": WRITTEN, "store": self._session.store.where},
        )

    def outcome(self, result: str, why: str) -> None:
        """The kill did not come about, or nobody knows."""
        self._record(EntryKind.OUTCOME, "lower_exposure", data={"result": result, "why": why[:300]})

    def unsettled(self, why: str, *, next_step: str = "") -> Unsettled:
        """Records that nobody knows, and says so."""
        self.outcome(UNSETTLED, why)
        return Unsettled(f"A write was sent and its fate is unknown: {why}", next=next_step)

    def _record(
        self,
        kind: EntryKind,
        name: str,
        *,
        before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        session, target = self._session, self.target
        log.event(f"{name}_{kind.value}", feature=session.feature, key=self.key, **(data or {}))
        session.history.record(
            Entry(
                entry_id=f"{session.clock.now():%Y%m%dT%H%M%S%f}-{nonce()}",
                at=session.clock.now(),
                feature=session.feature,
                kind=kind,
                name=name,
                actor=session.actor,
                reason=self._reason,
                incident=target.incident_id if target else None,
                epoch=target.epoch if target else 0,
                key=self.key,
                before=before,
                after=after,
                data=data or {},
            )
        )
