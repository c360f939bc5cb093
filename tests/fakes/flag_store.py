"""A flag store in memory that keeps the promises of the port, with what can go wrong on order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot, FlagType, Rollout, Segment
from rollback.errors import Conflict, FlagMissing, RollbackError, StoreUnreachable, Unsettled
from rollback.ports import Clock

Edit = Callable[[FlagConfig], FlagConfig]


@dataclass(frozen=True, slots=True)
class Mishap:
    """What goes wrong in one call: `before` runs first (somebody else acts), then `error` is raised.

    With `arrives` a write takes effect all the same before its error is raised.
    """

    before: Callable[[], object] | None = None
    error: RollbackError | None = None
    arrives: bool = False


UNREACHABLE = Mishap(error=StoreUnreachable("no answer from the store in memory"))
LOST_AFTER = Mishap(error=Unsettled("sent, and the answer was lost"), arrives=True)
LOST_BEFORE = Mishap(error=Unsettled("sent, and the answer was lost"))
CONFLICT = Mishap(error=Conflict("somebody wrote in between"))


class MemoryFlagStore:
    """A `FlagStore` of any number of flags. `revisions` False: it has none, and merges as Flipt v1 does.

    `on_call` is told of each call (`read`, `write`) when it begins and when it has taken effect (`read done`,
    `write done`). `writes` counts the changes that took effect, not the calls; `reads` the calls.
    """

    def __init__(
        self,
        clock: Clock,
        flags: Mapping[FlagRef, FlagConfig],
        segments: Mapping[str, Segment] | None = None,
        *,
        revisions: bool = True,
        where: str = "flags in memory",
    ) -> None:
        self.where = where
        self.reads = 0
        self.writes = 0
        self.closed = False
        self.on_call: Callable[[str], None] = lambda _what: None
        self._clock = clock
        self._segments = dict(segments or {})
        self._revisions = revisions
        self._ids = count(1)
        self._flags = {ref: _with_ids(config, self._ids) for ref, config in flags.items()}
        self._past: list[tuple[float, dict[FlagRef, FlagConfig]]] = [(float("-inf"), dict(self._flags))]
        self._mishaps: dict[str, list[Mishap]] = {"read": [], "write": []}

    # -- the port -----------------------------------------------------------------------------------------------

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot:
        """See `FlagStore.read`."""
        self.reads += 1
        self.on_call("read")
        mishap = self._begin("read", deadline)
        if mishap is not None and mishap.error is not None:
            raise mishap.error
        snapshot = self._snapshot(ref, segments)
        self.on_call("read done")
        return snapshot

    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot:
        """See `FlagStore.write`."""
        self.on_call("write")
        mishap = self._begin("write", deadline)
        error = mishap.error if mishap else None
        if mishap is not None and error is not None and not mishap.arrives:
            raise error
        segments = bool(base.config.segments)
        if desired != base.config:
            self._put(base.ref, self._merged(base, desired))
        after = self._snapshot(base.ref, segments)
        self.on_call("write done")
        if error is not None:
            raise error
        return after

    def close(self) -> None:
        """Remembers that it was closed; another session may go on using it."""
        self.closed = True

    # -- the world around it ------------------------------------------------------------------------------------

    def next(self, call: str, *mishaps: Mishap) -> None:
        """The next calls of `read` or `write` go wrong like this, one after the other."""
        self._mishaps[call].extend(mishaps)

    def always(self, call: str, mishap: Mishap | None) -> None:
        """Every further call goes wrong like this; None: none does any more."""
        self._mishaps[call] = [] if mishap is None else [mishap] * 100_000

    def config(self, ref: FlagRef, *, at: float | None = None) -> FlagConfig:
        """The flag as it is, with its segments; with `at` (monotonic) as it was then. Not counted as a call."""
        flags = self._flags if at is None else next(kept for since, kept in reversed(self._past) if since <= at)
        if ref not in flags:
            raise FlagMissing(f"there is no flag {ref}")
        return replace(flags[ref], segments=dict(self._segments))

    def edit(self, ref: FlagRef, change: Edit) -> None:
        """Somebody else edits the flag."""
        self._put(ref, change(self._flags[ref]))
        self.writes -= 1

    def edit_segment(self, segment: Segment) -> None:
        """Somebody else edits a segment."""
        self._segments[segment.key] = segment

    def remove(self, ref: FlagRef) -> None:
        """Somebody else removes the flag."""
        del self._flags[ref]
        self._past.append((self._clock.monotonic(), dict(self._flags)))

    # -- inside -------------------------------------------------------------------------------------------------

    def _begin(self, call: str, deadline: float) -> Mishap | None:
        if self._clock.monotonic() > deadline:
            raise StoreUnreachable("no time was left")
        mishap = self._mishaps[call].pop(0) if self._mishaps[call] else None
        if mishap is not None and mishap.before is not None:
            mishap.before()
        return mishap

    def _snapshot(self, ref: FlagRef, segments: bool) -> FlagSnapshot:
        config = self.config(ref)
        revision = str(len(self._past)) if self._revisions else None
        return FlagSnapshot(ref, config if segments else replace(config, segments={}), revision)

    def _put(self, ref: FlagRef, config: FlagConfig) -> None:
        self._flags[ref] = _with_ids(replace(config, segments={}), self._ids)
        self._past.append((self._clock.monotonic(), dict(self._flags)))
        self.writes += 1

    def _merged(self, base: FlagSnapshot, desired: FlagConfig) -> FlagConfig:
        current = self._snapshot(base.ref, segments=False)
        if self._revisions:
            if base.revision != current.revision:
                raise Conflict("the revision is not the newest")
            return desired
        return _merged(base.config, desired, current.config)


def _with_ids(config: FlagConfig, ids: Iterator[int]) -> FlagConfig:
    """Each rollout that is new gets a record of its own, by which it is known from then on."""
    rollouts = tuple(r if r.wire is not None else replace(r, wire=next(ids)) for r in config.rollouts)
    return replace(config, rollouts=rollouts)


def _merged(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> FlagConfig:
    """What `desired` changes on `base`, done to `current`; raises `Conflict` where that is doubtful."""
    new = tuple(r for r in desired.rollouts if r.wire is None)
    wanted = {r.wire: r for r in desired.rollouts if r.wire is not None}
    before = {r.wire: r for r in base.rollouts}
    there = {r.wire: r for r in current.rollouts}
    changed = {wire: r for wire, r in wanted.items() if before[wire] != r}
    gone = before.keys() - wanted.keys()
    if any(there.get(wire) != before[wire] for wire in changed) or any(
        wire in there and there[wire] != before[wire] for wire in gone
    ):
        raise Conflict("a rollout that was to be changed is not as it was read")
    if new and not _is_kill(new) and current.rollouts[:1] != base.rollouts[:1]:
        raise Conflict("somebody else has put a rollout in front")
    kept = tuple(changed.get(r.wire, r) for r in current.rollouts if r.wire not in gone)
    merged = replace(current, rollouts=(*new, *kept))
    for name in ("enabled", "default_variant", "description"):
        if getattr(desired, name) != getattr(base, name):
            merged = replace(merged, **{name: getattr(desired, name)})
    return merged


def _is_kill(new: tuple[Rollout, ...]) -> bool:
    return any(r.percentage is not None and exposures.threshold_buckets(r.percentage) == 100 for r in new)


class MemorySnapshotReader:
    """A replica's snapshot of a `MemoryFlagStore`, `lag` seconds late, without descriptions as SDKs read it.

    `error` is raised by every reading until it is None again. `on_call` is told of each.
    """

    def __init__(self, store: MemoryFlagStore, clock: Clock, *, replica: str = "replica-1", lag: float = 0.0) -> None:
        self.replica = replica
        self.lag = lag
        self.error: RollbackError | None = None
        self.on_call: Callable[[str], None] = lambda _what: None
        self.readings = 0
        self._store = store
        self._clock = clock

    def snapshot(self, ref: FlagRef, *, deadline: float) -> FlagConfig:
        """See `SnapshotReader.snapshot`."""
        self.readings += 1
        self.on_call("snapshot")
        if self._clock.monotonic() > deadline:
            raise StoreUnreachable("no time was left")
        return self.seen(ref)

    def seen(self, ref: FlagRef) -> FlagConfig:
        """What this replica serves now."""
        if self.error is not None:
            raise self.error
        config = self._store.config(ref, at=self._clock.monotonic() - self.lag)
        bare = tuple(replace(rollout, description="", wire=None) for rollout in config.rollouts)
        described = config.description if config.type is FlagType.VARIANT else ""
        return replace(config, rollouts=bare, description=described)
