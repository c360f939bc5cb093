"""Policies with short ladders, for which a handful of samples is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollback.core.policy import SeverityPolicy

P0, ALPHA = 0.5, 0.5
"""Half of all probes may fail, and every second broken feature may pass: nine clean samples a step are enough."""


def critical(percents: Sequence[float] = (10, 50, 100), **fields: Any) -> SeverityPolicy:
    """Off at once, back by these steps."""
    return _policy({"severity": "critical", "mitigation": "off", "ladder": _ladder(percents)}, fields)


def high(percents: Sequence[float] = (50, 100), reduce_to: float = 10, **fields: Any) -> SeverityPolicy:
    """Reduced at once, back by these steps."""
    given = {"severity": "high", "mitigation": "reduce", "reduce_to": reduce_to, "ladder": _ladder(percents)}
    return _policy(given, fields)


def low(**fields: Any) -> SeverityPolicy:
    """Left alone."""
    return _policy({"severity": "low", "mitigation": "leave"}, fields)


def gate(**fields: Any) -> dict[str, Any]:
    """A gate that looks every 100 ms."""
    given = {"p0": P0, "alpha": ALPHA, "harm_alpha": 0.1, "interval": "100ms", "minimum_soak": "500ms"}
    return {**given, "deadline": "30s", **fields}


def step(percent: float, **fields: Any) -> dict[str, Any]:
    """A step that is watched for half a second at least."""
    return {"percent": percent, "minimum_soak": "500ms", "deadline": "30s", **fields}


def _ladder(percents: Sequence[float]) -> list[dict[str, Any]]:
    return [step(percent) for percent in percents]


def _policy(given: dict[str, Any], fields: dict[str, Any]) -> SeverityPolicy:
    monitoring = {"duration": "3s", "interval": "500ms", "false_alarms_per_year": 365}
    whole = {"summary": "for tests", "gate": gate(), "monitoring": monitoring, **given, **fields}
    return SeverityPolicy.model_validate(whole)
