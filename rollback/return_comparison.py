"""Those who have the feature against those who have not, while a step lets a part of them in: a test for harm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rollback.core.comparison import Comparison, Counts, pair_of

if TYPE_CHECKING:
    from rollback.core.policy import Compare
    from rollback.ports import Measurement


class Comparing:
    """One return's comparison, by the two strata that the policy names. It opens nothing: it only finds harm."""

    def __init__(self, rule: Compare) -> None:
        self._rule = rule
        self._since: datetime | None = None
        self.comparison = Comparison.start()

    def observe(self, measurements: Sequence[Measurement]) -> str:
        """Counts each window that has both strata once; what is worse, in words, or empty.

        One that began before the return is not taken: then nobody, or everybody, had the feature.
        """
        rule = self._rule
        if self._since is None and measurements:
            self._since = min(one.at for one in measurements)
        moments: dict[tuple[datetime, datetime], dict[str, Counts]] = defaultdict(dict)
        for one in measurements:
            begins, ends = one.begins or one.at, one.ends or one.at
            if one.harm is not None and (self._since is None or begins >= self._since):
                moments[begins, ends][one.metric] = Counts(*one.counts)
        for _, windows in sorted(moments.items()):
            pair = pair_of(windows, rule.metric, rule.having, rule.lacking)
            if pair is not None:
                self.comparison = self.comparison.observe(pair)
        if not self.comparison.rejects(rule.alpha):
            return ""
        return f"{rule.metric} is worse with the feature than without: {self.comparison.words}"
