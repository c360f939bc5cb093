"""The section `health` of a feature: everything that its health is asked of, and what makes an answer meaningless."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from rollback.core.json_assertions import JsonAssertion, Operator
from rollback.core.metric_sources import MetricSource
from rollback.core.policy_base import Duration, PolicyModel, Switch
from rollback.core.probe_target import Endpoint, Request


class VersionCheck(Request):
    """Which version answers. Evidence belongs to a fix: what another version answers says nothing about it.

    It is read before and after every round. Another version than the case's fix, or two different ones, make the round
    missing, and every window that the change falls into.
    """

    path: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        default="git_revision",
        description="Where in the JSON body the commit stands. git_revision: vets-api's GET /v0/status.",
    )
    required: Switch = Field(
        default=True,
        description="True: while the version is not known, nothing counts. False: only a wrong one keeps that off.",
    )
    steady_for: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="How long every answer must have been the same right version before anything counts. 1m.",
    )

    @model_validator(mode="after")
    def _path_can_be_read(self) -> Self:
        JsonAssertion(self.path, Operator.EXISTS, True)
        return self


class MaintenanceCheck(Request):
    """Planned silence: while a maintenance window of one of the services is active, no probe says anything.

    The answer has the form of vets-api's GET /v0/maintenance_windows.
    """

    services: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(
        min_length=1, max_length=50, description="Keys of the external services, e.g. mhv_sm and mhv_platform."
    )
    every: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=10),
        description="Time between two looks. 30s: the site itself hears of windows every 3 minutes.",
    )
    required: Switch = Field(
        default=True,
        description="True: while it cannot be read, nothing counts. False: then there is taken to be no window.",
    )


class Health(PolicyModel):
    """How the feature's health is measured."""

    control: Endpoint | None = Field(
        default=None,
        description=(
            "Something that works whatever the feature does. When it fails too, the fault is on our "
            "side and the round is missing data. Null: our own network's faults count as harm."
        ),
    )
    endpoints: tuple[Endpoint, ...] = Field(
        default=(),
        max_length=50,
        description="Metrics that we measure ourselves; all must pass. Without endpoints and metrics no gate opens.",
    )
    metrics: tuple[MetricSource, ...] = Field(
        default=(),
        max_length=20,
        description="Metrics of other systems, which count real users; all must pass, from `counts_from` on.",
    )
    version: VersionCheck | None = Field(
        default=None, description="Which version answers. Null: nobody looks whether the fix is what is measured."
    )
    maintenance: MaintenanceCheck | None = Field(
        default=None, description="Where planned silence is announced. Null: nobody looks."
    )

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [one.name for one in (*self._all(), *self.metrics)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"endpoint and metric names must be unique: {', '.join(twice)} is there twice")
        return self

    def _all(self) -> Sequence[Endpoint]:
        return self.endpoints if self.control is None else (self.control, *self.endpoints)

    @property
    def is_asked(self) -> bool:
        """Whether there is anything by which health could be known."""
        return bool(self.endpoints or self.metrics)
