"""How a return looks: on a terminal one line that moves, in a pipe a line now and then."""

from __future__ import annotations

import math
import time

from rollback.core.evidence import Judgement, MetricFigures
from rollback.output import Output
from rollback.words import span

PLAIN_EVERY = 30.0
"""Seconds between two lines of evidence when nobody looks at a terminal: enough for a pipeline's log to look alive."""


LIVE_EVERY = 0.1


class ReturnProgress:
    """Evidence against its bound, clean samples still missing, time left at this rate."""

    def __init__(self, output: Output, *, plain: bool = False) -> None:
        self._output = output
        self._plain = plain or not output.is_terminal
        self._last = float("-inf")
        self._title = ""

    def say(self, text: str) -> None:
        """A line that stays."""
        self._output.line(text)

    def watching(self, judgement: Judgement, *, time_left: float) -> None:
        """Called each round of monitoring."""
        if self._is_due("monitoring"):
            metrics = " · ".join(_samples(metric) for metric in judgement.metrics) or "no metric is configured"
            self._draw(f"monitoring, {span(time_left)} left: {metrics}")

    def evidence(self, title: str, judgement: Judgement, *, rate: float, soak_left: float, time_left: float) -> None:
        """Called each round; draws when it is worth it."""
        if self._is_due(title) or judgement.final:
            self._draw(f"{title}: {_figures(judgement, rate, soak_left, time_left)}")

    def _is_due(self, title: str) -> bool:
        now = time.monotonic()
        if title == self._title and now - self._last < (PLAIN_EVERY if self._plain else LIVE_EVERY):
            return False
        self._title, self._last = title, now
        return True

    def _draw(self, text: str) -> None:
        if self._plain:
            self._output.line(text)
        else:
            self._output.live(text)


def _figures(judgement: Judgement, rate: float, soak_left: float, time_left: float) -> str:
    if not judgement.metrics:
        return "no metric is configured, so there is no data"
    worst = min(judgement.metrics, key=lambda metric: metric.log_e - math.log(metric.bound))
    parts = [bar(worst)]
    if worst.clean_samples_missing and not worst.passed:
        seconds = worst.clean_samples_missing / rate if rate > 0 else math.inf
        left = f", {span(seconds)}" if math.isfinite(seconds) else ""
        parts.append(f"{worst.clean_samples_missing} clean samples missing{left}")
    if soak_left > 0:
        parts.append(f"soak {span(soak_left)} more")
    parts.append(_samples(worst))
    if math.isfinite(time_left) and time_left >= 0 and worst.clean_samples_missing:
        parts.append(f"deadline in {span(time_left)}")
    return " · ".join(parts)


def bar(metric: MetricFigures, width: int = 12) -> str:
    """E against its bound 1/α on a logarithmic scale."""
    filled = round(max(0.0, min(1.0, metric.log_e / math.log(metric.bound))) * width)
    return f"[{'█' * filled}{'░' * (width - filled)}] E {_power(metric.log_e)} of {metric.bound:.4g}"


def _power(log_value: float) -> str:
    return f"{math.exp(log_value):.3g}" if log_value < 300 else f"e^{log_value:.0f}"


def _samples(metric: MetricFigures) -> str:
    missing = f", {metric.missing} missing" if metric.missing else ""
    return f"{metric.name}: {metric.samples} samples, {metric.harm:g} bad{missing}"
