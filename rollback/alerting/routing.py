"""Which features an alert is about: those that have a rule for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollback.core.alert_rules import AlertRule
from rollback.core.alerts import Alert
from rollback.core.triggers import matches


class Routes:
    """The rules of all features, by source: most alerts of a storm are about nothing here, and that is seen at once."""

    def __init__(self, rules: Mapping[str, Sequence[AlertRule]]) -> None:
        self._rules = {feature: tuple(some) for feature, some in rules.items()}
        self._by_source: dict[str, list[tuple[str, AlertRule]]] = {}
        for feature, some in self._rules.items():
            for rule in some:
                self._by_source.setdefault(rule.source, []).append((feature, rule))

    def rules_of(self, feature: str) -> tuple[AlertRule, ...]:
        """All rules of one feature, of every source."""
        return self._rules.get(feature, ())

    def features_of(self, alert: Alert) -> tuple[str, ...]:
        """The features with a rule that is about this alert, each once, in the order of the policies."""
        candidates = self._by_source.get(alert.source, ())
        return tuple(dict.fromkeys(feature for feature, rule in candidates if matches(alert, rule)))
