"""The return of a job: that of `enable`, which tells how it ended, and may have to end before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from rollback.bring_back import Return
from rollback.commands import returning
from rollback.core import events as e
from rollback.core.ladder import COHORT
from rollback.return_end import Stop

if TYPE_CHECKING:
    from rollback.adapters.health_probes.combined import CombinedHealthProbe
    from rollback.core.ladder import Rung
    from rollback.return_end import Outcome

ALONE = "nobody else would watch what this job exposes"


class PipelineRun(returning._Run):
    """The return of `enable`; `go` leaves how it ended in `outcome` instead of printing it.

    With `is_alone` it lets nobody in but the cohort, and `stopped_alone` is True when it ended for that.
    """

    is_alone = False
    stopped_alone = False
    outcome: Outcome | None = None

    def document(self, outcome: Outcome) -> dict[str, Any]:
        """The document of `enable`."""
        return self._document(outcome)

    def _return(self, probe: CombinedHealthProbe) -> Return:
        made = super()._return(probe)
        if not self.is_alone:
            return made
        given = {field.name: getattr(made, field.name) for field in fields(made) if field.init}
        self._returning = alone = _Alone(**given)
        alone.on_stop = self._note_stop
        return alone

    def _note_stop(self) -> None:
        self.stopped_alone = True

    def _tell(self, outcome: Outcome) -> int:
        self.outcome = outcome
        if self.stopped_alone:
            hint = f"Run it beside `rollback serve`, or with --unwatched REASON; its evidence is kept. {outcome.next}"
            self.outcome = replace(outcome, next=hint)
        return outcome.exit_code


class _Alone(Return):
    """A return that lets nobody in but the cohort: whoever watches could be gone at any moment."""

    on_stop: Callable[[], None] = staticmethod(lambda: None)

    def _raise(self, rung: Rung, below: Rung | None) -> bool:
        if rung.index != COHORT:
            self.on_stop()
            raise Stop(e.WatchStopped(ALONE), 4)
        return super()._raise(rung, below)
