"""What `hold` and `source mute` do: automation is held back for a time. Never a person's `disable`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rollback import bootstrap, restraint
from rollback.clock import SystemClock
from rollback.core.alert_rules import PROBES
from rollback.core.scalars import parse_duration
from rollback.errors import ConfigurationError, RollbackError
from rollback.history import History
from rollback.identity import actor as who
from rollback.output import Output
from rollback.redaction import redact
from rollback.words import clean, when, world_line

if TYPE_CHECKING:
    from rollback.core.history import Actor
    from rollback.kill_settings import KillSettings
    from rollback.session import Session

LONGEST = timedelta(hours=24)
"""Nobody remembers a hold for longer; whoever needs more holds again, and says why."""

EVERYTHING = "all"
"""What a hold holds: all alerts of the feature."""

_CLOCK_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_HOW = "Write a duration (2h, 30m), a time of day (18:30), or a time with its offset (2026-11-23T18:30:00-05:00)."


def parse_until(text: str, now: datetime) -> datetime:
    """Until when: a duration from now (`2h`, `30m`), the next `HH:MM` of this machine's zone, or RFC 3339.

    Raises `ConfigurationError` for anything else, a time without an offset, one that is over, and one more than
    `LONGEST` ahead.
    """
    until = _moment(text.strip(), now)
    if until <= now:
        raise ConfigurationError(f"{text[:40]!r} is over already.", next=_HOW)
    if until - now > LONGEST:
        hours = int(LONGEST.total_seconds() // 3600)
        raise ConfigurationError(
            f"{text[:40]!r} is more than {hours} hours ahead.",
            next=f"At most {hours}h at a time: holding again later says that it is still wanted.",
        )
    return until


def _moment(text: str, now: datetime) -> datetime:
    if found := _CLOCK_TIME.fullmatch(text):
        local = now.astimezone().replace(tzinfo=None, second=0, microsecond=0)
        at = local.replace(hour=int(found[1]), minute=int(found[2]))
        next_one = at if at.astimezone() > now else at + timedelta(days=1)
        return next_one.astimezone(now.tzinfo)
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)", text):
        try:
            return now + parse_duration(text)
        except ValueError:  # ten years and more
            return now + 2 * LONGEST
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text[:40]!r} is no time.", next=_HOW) from None
    if at.tzinfo is None:
        raise ConfigurationError(f"{text[:40]!r} does not say in which time zone.", next=_HOW)
    return at.astimezone(now.tzinfo)


# -- one feature -------------------------------------------------------------------------------------------------------


def hold(feature: str, until: str, reason: str, actor: str | Actor | None, dry_run: bool, output: Output) -> int:
    """Holds the feature's alerts; names the rules that are held."""
    session = bootstrap.open_session(feature, None, actor, output.warn)
    output.line(world_line(session.world))
    ends = parse_until(until, session.clock.now())
    what = _held_rules(session, output.warn)
    said = f"Automation leaves {session.feature} alone until {when(ends)}: {what} do nothing by themselves."
    told = {"feature": session.feature, "until": ends, "what": what, "reason": redact(reason), "world": session.world}
    if dry_run:
        return _would(output, said, told)
    restraint.hold(session.history, session.clock, session.feature, ends, what, session.actor, redact(reason))
    _done(output, session.history, said, told)
    output.line("They are kept, and decided on when the hold is over. `rollback disable` works as ever.")
    return 0


def release(feature: str, reason: str, actor: str | Actor | None, dry_run: bool, output: Output) -> int:
    """Ends a hold; without one nothing is written."""
    session = bootstrap.open_session(feature, None, actor, output.warn)
    output.line(world_line(session.world))
    held = restraint.held(session.history, session.feature)
    is_held = held is not None and held.until > session.clock.now()
    told = {"feature": session.feature, "was_held": is_held, "reason": redact(reason), "world": session.world}
    if not is_held:
        said = f"Automation is not held back for {session.feature}; nothing was changed."
        return _would(output, said, told) if dry_run else _done(output, session.history, said, told)
    said = f"Automation may act on {session.feature} again."
    if dry_run:
        return _would(output, said, told)
    restraint.unhold(session.history, session.clock, session.feature, session.actor, redact(reason))
    return _done(output, session.history, said, told)


def _held_rules(session: Session, warn: Callable[[str], None]) -> str:
    """The alert rules by name. A policy that cannot be read keeps nobody from holding."""
    from rollback.policy_files import load_policies

    try:
        loaded = load_policies(session.settings.policies, bootstrap.environment()).feature(session.feature)
    except RollbackError as error:
        warn(f"The rules cannot be named: {error.message}")
        return "all alerts"
    names = [rule.name for rule in loaded.policy.rules if not rule.is_heartbeat]
    return f"alerts of {', '.join(names)}" if names else "all alerts (it has no rules)"


# -- one source --------------------------------------------------------------------------------------------------------


def mute(source: str, until: str, reason: str, actor: str | Actor | None, dry_run: bool, output: Output) -> int:
    """What the source says is kept and told, and not acted on."""
    settings, history = bootstrap.open_history(output.warn)
    name, clock = known_source(settings, source), SystemClock()
    ends = parse_until(until, clock.now())
    said = f"What {name} says is recorded and told, and not acted on, until {when(ends)}."
    told = {"source": name, "until": ends, "reason": redact(reason)}
    if dry_run:
        return _would(output, said, told)
    restraint.mute(history, clock, name, ends, _actor(settings, actor), redact(reason))
    return _done(output, history, said, told)


def unmute(source: str, reason: str, actor: str | Actor | None, dry_run: bool, output: Output) -> int:
    """The source counts again; one that is not muted stays as it is."""
    settings, history = bootstrap.open_history(output.warn)
    name, clock = known_source(settings, source), SystemClock()
    until = restraint.read_restraints(history, ()).mutes.get(name)
    is_muted = until is not None and until > clock.now()
    told = {"source": name, "was_muted": is_muted, "reason": redact(reason)}
    if not is_muted:
        said = f"{name} is not muted; nothing was changed."
        return _would(output, said, told) if dry_run else _done(output, history, said, told)
    said = f"{name} counts again."
    if dry_run:
        return _would(output, said, told)
    restraint.unmute(history, clock, name, _actor(settings, actor), redact(reason))
    return _done(output, history, said, told)


def known_source(settings: KillSettings, name: str) -> str:
    """The name, when `automation.yaml` has it, or it is that of our own probes. Raises `ConfigurationError`."""
    from rollback.policy_files import load_policies

    policy = load_policies(settings.policies, bootstrap.environment()).automation
    known = sorted({*policy.source_names, PROBES})
    if name not in known:
        raise ConfigurationError(f"No source is called {clean(name)[:40]!r}.", next=f"Known: {', '.join(known)}.")
    return name


def _actor(settings: KillSettings, actor: str | Actor | None) -> Actor:
    return who(actor or settings.actor) if isinstance(actor, (str, type(None))) else actor


def _would(output: Output, said: str, told: dict[str, object]) -> int:
    output.line(f"Would: {said} Nothing was written (--dry-run).")
    if output.as_json:
        output.document({"dry_run": True, "would": said, **told, "exit": 0})
    return 0


def _done(output: Output, history: History, said: str, told: dict[str, object]) -> int:
    history.feed()
    output.line(said, fg="green")
    if output.as_json:
        output.document({**told, "said": said, "exit": 0})
    return 0
