"""What `rollback inbox` does: what came in, what became of it, and what waits. On the server's machine; reads alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollback import bootstrap
from rollback.commands.sources import recent_deliveries
from rollback.errors import ConfigurationError
from rollback.output import Output
from rollback.words import clean, when

if TYPE_CHECKING:
    from rollback.alert_ports import Kept
    from rollback.core.alerts import Alert

SET_ASIDE = "set aside: "
"""How the outcome of a delivery begins that could not be processed (`Inbox.recent`)."""


def list_deliveries(limit: int, output: Output) -> int:
    """The newest deliveries, newest first."""
    settings, _ = bootstrap.open_history(output.warn)
    rows = [_row(kept, outcome) for kept, outcome in recent_deliveries(settings, limit, output.warn)]
    if output.as_json:
        output.document({"deliveries": rows, "exit": 0})
    elif not rows:
        output.line(f"Nothing has come in yet ({settings.state}).")
    else:
        _table(rows, output)
    return 0


def show_delivery(number: int, output: Output) -> int:
    """One delivery with its alerts, or with the excerpt that was kept of it. Raises `ConfigurationError`."""
    kept, outcome = _find(number, output)
    row = _row(kept, outcome)
    row |= {"key": kept.key, "excerpt": kept.excerpt, "alerts": [_alert(alert) for alert in kept.alerts]}
    if output.as_json:
        output.document({**row, "exit": 0})
        return 0
    output.line(f"Delivery {kept.number} of {kept.source}: {kept.kind}, {row['state']}", bold=True)
    output.line(f"Received {when(kept.received_at)}, begun {kept.attempts} times.")
    for label, text in (("Why it is no alert", kept.why), ("Outcome", outcome), ("Excerpt", kept.excerpt)):
        if text:
            output.line(f"{label}: {text}")
    for alert in kept.alerts:
        at = when(alert.occurred_at) if alert.occurred_at else "at a time that it does not say"
        output.line(f"Alert of monitor {alert.monitor}, {alert.edge}, {at}, priority {alert.priority or 'none'}")
        output.line(f"  {alert.title}")
        output.line(
            f"  cycle {alert.cycle}; tags {', '.join(alert.tags) or 'none'}{f'; {alert.link}' * bool(alert.link)}"
        )
    return 0


def show_counts(output: Output) -> int:
    """What was counted: duplicates, refusals and whatever else the server counts."""
    from rollback import automation_bootstrap as adapters

    settings, _ = bootstrap.open_history(output.warn)
    counts: dict[str, int] = {}
    if Path(settings.state).exists():
        inbox = adapters.inbox(settings, output.warn)
        try:
            counts = inbox.counts()
        finally:
            inbox.close()
    if output.as_json:
        output.document({"counts": counts, "exit": 0})
    for name, count in sorted(counts.items()):
        output.line(f"{count:>10}  {name}")
    if not counts:
        output.line(f"Nothing was counted yet ({settings.state}).")
    return 0


def _find(number: int, output: Output) -> tuple[Kept, str]:
    """Numbers rise, so it is known how far back to look. Raises `ConfigurationError` when it is not there any more."""
    settings, _ = bootstrap.open_history(output.warn)
    newest = recent_deliveries(settings, 1, output.warn)
    last = newest[0][0].number if newest else 0
    if 1 <= number <= last:
        for kept, outcome in recent_deliveries(settings, last - number + 1, output.warn):
            if kept.number == number:
                return kept, outcome
    raise ConfigurationError(
        f"There is no delivery {number} in {settings.state}" + (f"; the newest is {last}." if last else "."),
        next="See which there are: rollback inbox list",
    )


def _row(kept: Kept, outcome: str) -> dict[str, Any]:
    state = "pending" if not outcome else "set aside" if outcome.startswith(SET_ASIDE) else "settled"
    return {
        "number": kept.number,
        "received_at": kept.received_at,
        "source": kept.source,
        "kind": kept.kind.value,
        "state": state,
        "outcome": outcome,
        "why": kept.why,
        "attempts": kept.attempts,
        "monitors": sorted({alert.monitor for alert in kept.alerts}),
        "edges": sorted({alert.edge.value for alert in kept.alerts}),
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "source": alert.source,
        "monitor": alert.monitor,
        "cycle": alert.cycle,
        "edge": alert.edge.value,
        "occurred_at": alert.occurred_at,
        "priority": alert.priority,
        "tags": list(alert.tags),
        "title": alert.title,
        "link": alert.link,
    }


def _table(rows: list[dict[str, Any]], output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    from rollback.commands.tables import rendered

    table = Table("#", "received", "source", "kind", "what", "state", "outcome", box=None, pad_edge=False)
    for row in rows:
        state = row["state"] if row["state"] == "settled" else f"[bold]{row['state'].upper()}[/]"
        what = f"{', '.join(row['edges'])} {', '.join(row['monitors'][:3])}".strip() or row["why"]
        outcome = row["outcome"].removeprefix(SET_ASIDE)
        source, kind, told, ended = (escape(clean(text)) for text in (row["source"], row["kind"], what, outcome))
        table.add_row(str(row["number"]), when(row["received_at"]), source, kind, told, state, ended)
    output.raw(rendered(table, output.columns))
