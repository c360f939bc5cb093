"""A recorded incident as plain data: alerts, evidence, what people did, and what became of the feature, with times.

A recording only holds what was seen. What it does not hold is missing, and a replay never fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollback.core.alerts import Age, Alert
from rollback.core.events import Event
from rollback.core.history import Actor
from rollback.core.model import Severity

NOBODY = Actor("")
"""Who acted, where the recording does not say."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Samples of one metric in one reading: `bad` of `total` harmful; `missing` readings brought no sample.

    `harm` is the sum of all harms where samples may lie between 0 and 1; None: `bad` is all of it. `is_window`: it is a
    window of a metric, one observation however many samples it counts; else they are probes.
    """

    bad: int
    total: int
    missing: int = 0
    harm: float | None = None
    is_window: bool = False

    @property
    def rate(self) -> float | None:
        """The share of harm, None without a sample."""
        return None if not self.total else (self.bad if self.harm is None else self.harm) / self.total


@dataclass(frozen=True, slots=True)
class AlertHeard:
    """An alert came in at `at`. `age` is how it was judged then; None: by its own time and the source's limits."""

    at: datetime
    alert: Alert
    age: Age | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A reading of one or several metrics that ended at `at`; it covers the time since `began`.

    The order of the samples within it is not known when `is_batch`. `flag` names everyone else's configuration of the
    flag at that time, empty when it is not known: another one means that somebody edited the flag.
    """

    at: datetime
    began: datetime
    metrics: Mapping[str, Counts]
    flag: str = ""
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Disabled:
    """A person turned it off."""

    at: datetime
    by: Actor = NOBODY
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Enabled:
    """Somebody, or a pipeline, wanted it back. `forced_until` skips the gate until then."""

    at: datetime
    by: Actor = NOBODY
    reason: str = ""
    forced_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A person opened a high or low case, or raised the open one to high."""

    at: datetime
    severity: Severity
    by: Actor = NOBODY
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A fact that the case is told as it was recorded: a fix, a note, a person's decision."""

    at: datetime
    event: Event
    by: Actor = NOBODY


@dataclass(frozen=True, slots=True)
class Deployed:
    """Something was deployed. Shown, and nothing else: the program hears of a deploy only as a fix."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Automation leaves the feature alone until then; None: it may act again."""

    at: datetime
    until: datetime | None
    what: str = ""


@dataclass(frozen=True, slots=True)
class FlagSeen:
    """What was seen of the flag: how many buckets were open (`exposure`), how many would be without us (`audience`).

    None: not said here. `edited` is True when somebody else changed it.
    """

    at: datetime
    exposure: int | None = None
    audience: int | None = None
    edited: bool = False


@dataclass(frozen=True, slots=True)
class SwitchSeen:
    """A switch beside the flag was seen: up, or lifted."""

    at: datetime
    name: str
    is_up: bool


Item = AlertHeard | Sampled | Disabled | Enabled | Opened | Told | Deployed | HeldBack | FlagSeen | SwitchSeen


@dataclass(frozen=True, slots=True)
class Lowering:
    """How a recorded lowering went: how long after its command it was written, and when off was looked for, with what
    result. `written_after` None: it was never acknowledged."""

    written_after: timedelta | None
    looks: tuple[tuple[timedelta, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened, in a recording or in a replay.

    `what` is a stable word, for a transition the event's name (`off_written`). `exposure` is the number of open buckets
    from then on, None when it is not known. `state` is empty where the recording does not know states.
    """

    at: datetime
    what: str
    text: str = ""
    state: str = ""
    exposure: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded incident of one feature. `items` are in the order in which they happened; `done` is what was done.

    `lowerings` are the recorded offs and `reductions` the recorded reductions, in order. `audience` is how many buckets
    were open without us at the beginning, None when the recording does not say. `measured` is True when it says whether
    the gate was green when the case opened. `is_ledger` tells that transitions were recorded by this program, so that
    they can be compared one by one. `notes` are things that a reader should know, a sentence each.
    """

    feature: str
    items: tuple[Item, ...]
    done: tuple[Mark, ...] = ()
    lowerings: tuple[Lowering, ...] = ()
    reductions: tuple[timedelta, ...] = ()
    audience: int | None = None
    measured: bool = False
    is_ledger: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def first_alert(self) -> datetime | None:
        """When the first alert came in; None without one."""
        return next((item.at for item in self.items if isinstance(item, AlertHeard)), None)

    @property
    def origin(self) -> datetime:
        """What times are told from: the first alert; without one the first thing recorded."""
        return self.first_alert or min(one.at for one in (*self.items, *self.done))

    @property
    def ends_at(self) -> datetime:
        """The last moment that it knows of. A replay goes no further."""
        return max(one.at for one in (*self.items, *self.done))
