"""Flipt v1: a flag, its rollouts and rules are written one by one, without any lock.

Which write is next is decided in `flipt_v1_steps`, from what is there; each is read back. Ours are known by the
marker in the description, so a write whose answer was lost is found, not repeated. Kill path: standard library, httpx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from rollback.adapters.flag_stores import flipt_v1_steps as steps
from rollback.adapters.flag_stores.flipt_json import flag_from_v1, rollout_to_v1, segment_from
from rollback.adapters.flipt_http import AnswerLost, BadRequest, FliptHttp, PathUnknown, TryAgain
from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot, Segment
from rollback.errors import (
    ConfigurationError,
    Conflict,
    FlagMissing,
    RollbackError,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    Unsettled,
)

ENVIRONMENT = "default"
MAX_STEPS = 60
"""Writes in one change; more means that somebody writes against us."""

RANK_TAKEN = "already exists"


class FliptV1FlagStore:
    """The `FlagStore` of a Flipt v1. A read is two GETs; a kill is one POST and a read."""

    def __init__(self, http: FliptHttp) -> None:
        self._http = http
        self.where = f"flipt v1 {http.base_url}"

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot:
        """See `FlagStore.read`. A server that is no v1 raises `PathUnknown`, a `StoreRefused`."""
        if ref.environment != ENVIRONMENT:
            raise FlagMissing(
                f"There is no environment {ref.environment} on {self.where}: Flipt v1 has only {ENVIRONMENT}.",
                next=f"Name the flag {ENVIRONMENT}/{ref.namespace}/{ref.flag_key}, or check ROLLBACK_FLIPT_URL.",
            )
        return self._http.retry(lambda: self.look(ref, deadline, segments=segments), deadline=deadline)

    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot:
        """See `FlagStore.write`. What others wrote in between stays, and is in the flag that is returned."""
        try:
            steps.check(base.config, desired)
        except steps.UnsafeChange as unsafe:
            raise StoreRefused(
                f"This change of {base.ref} cannot be made safely on {self.where}: {unsafe}."
            ) from unsafe
        return _Write(self, self._http, base, desired, deadline).carry_out()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def look(self, ref: FlagRef, deadline: float, *, segments: bool) -> FlagSnapshot:
        """One read, tried once."""
        path = flag_path(ref)
        flag = self._http.request("GET", path, deadline=deadline).body
        is_boolean = flag.get("type") == "BOOLEAN_FLAG_TYPE"
        entries = self._all(f"{path}/{'rollouts' if is_boolean else 'rules'}", "rules", deadline)
        config = flag_from_v1(flag, entries)
        if segments:
            config = replace(config, segments=self._segments(ref, config, deadline))
        return FlagSnapshot(ref, config)

    def _all(self, path: str, name: str, deadline: float) -> list[Mapping[str, Any]]:
        """All pages of a list."""
        found: list[Mapping[str, Any]] = []
        token = ""
        while True:
            query = f"?pageToken={quote(token, safe='')}" if token else ""
            body = self._http.request("GET", path + query, deadline=deadline).body
            page = body.get(name) or []
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise StoreRefused(f"{self.where} answered with {name} that are no list of objects.")
            found += page
            following = body.get("nextPageToken")
            if not isinstance(following, str) or following in ("", token):
                return found
            token = following

    def _segments(self, ref: FlagRef, config: FlagConfig, deadline: float) -> dict[str, Segment]:
        """The segments that the flag names; one that is not there is left out, which is on the safe side."""
        of_rollouts = [key for one in config.rollouts for key in one.segments]
        named = of_rollouts + [key for one in config.rules for key in one.segments]
        found: dict[str, Segment] = {}
        for key in dict.fromkeys(named):
            path = f"/api/v1/namespaces/{quote(ref.namespace, safe='')}/segments/{quote(key, safe='')}"
            try:
                segment = segment_from(self._http.request("GET", path, deadline=deadline).body)
            except (FlagMissing, PathUnknown):
                continue
            if segment.key == key:
                found[key] = segment
        return found


class _Write:
    """One change, step by step, until it is in effect or time is up."""

    def __init__(
        self, store: FliptV1FlagStore, http: FliptHttp, base: FlagSnapshot, desired: FlagConfig, deadline: float
    ) -> None:
        self._store, self._http = store, http
        self._base, self._desired, self._deadline = base, desired, deadline
        # Only a kill goes in without another look: what might let users in is decided on what is there now.
        is_kill = steps.holds_a_kill([one for one in desired.rollouts if one.wire is None])
        self._current: FlagSnapshot | None = base if is_kill or desired == base.config else None
        self._done: list[steps.Step] = []
        self._lost: tuple[steps.Step, AnswerLost] | None = None  # its fate is open
        self._count = 0

    def carry_out(self) -> FlagSnapshot:
        try:
            return self._http.retry(self._go_on, deadline=self._deadline)
        except (steps.ForeignEdit, StoreError, FlagMissing, ConfigurationError) as error:
            raise self._explained(error) from error

    def _go_on(self) -> FlagSnapshot:
        """Takes steps until none is left; after a failure it is called again and goes on from what is there."""
        sent: steps.Step | None = None
        while True:
            current = self._current or self._looked()
            step = steps.next_step(self._base.config, self._desired, current.config)
            if self._lost is not None and step != self._lost[0]:
                self._done.append(self._lost[0])  # it was done, or cannot be told apart from done
                self._lost = None
            if step is None:
                return current
            self._current = None
            if step == sent:
                raise self._wait_first()
            self._count += 1
            if self._count > MAX_STEPS:
                raise steps.ForeignEdit("somebody else keeps writing")
            self._take(step, current)
            sent = step

    def _wait_first(self) -> Exception:
        """The step that was just sent is still to be done: its answer was lost, or it is not shown yet."""
        if self._lost is not None:
            lost = self._lost[1]
            return lost.refusal or TryAgain(lost.error)
        where = self._store.where
        return TryAgain(StoreUnreachable(f"{where} does not show a write of {self._base.ref} that it answered."))

    def _looked(self) -> FlagSnapshot:
        return self._store.look(self._base.ref, self._deadline, segments=bool(self._base.config.segments))

    def _take(self, step: steps.Step, current: FlagSnapshot) -> None:
        """Sends one step. Sending one again is safe: ranks are taken once, everything else sets absolute values."""
        method, path, body = request_for(step, current)
        try:
            self._http.request(method, path, json=body, deadline=self._deadline, expects_write=True)
        except AnswerLost as lost:
            self._lost = (step, lost)
        except BadRequest as refused:
            if not (isinstance(step, steps.Create) and RANK_TAKEN in refused.said):
                raise
        except FlagMissing:
            if not isinstance(step, steps.Update | steps.Delete):
                raise  # else the rollout or the flag is gone, and reading again tells which
        else:
            self._lost = None
            if self._done or not isinstance(step, steps.Order):
                self._done.append(step)  # an order before anything of ours is there changes nothing

    def _explained(self, error: Exception) -> RollbackError:
        """The port's error for how far it came: never "nothing written" when something was."""
        reason = (error.message if isinstance(error, RollbackError) else str(error)).rstrip(".")
        where = f"{self._base.ref} on {self._store.where}"
        if self._lost is not None and error is not self._lost[1].refusal:
            return Unsettled(
                f"The change of {where} was sent and its answer was lost; whether it was done is not known ({reason}).",
                next="Look at the flag before anything else; the change may still take effect.",
            )
        if not self._done:
            return error if isinstance(error, RollbackError) else Conflict(f"{where}: {reason}; nothing was written.")
        if isinstance(error, steps.ForeignEdit) and self._is_undone():
            return Conflict(f"{where}: {reason}; what was written is taken out again.")
        taken = ", ".join(dict.fromkeys(type(step).__name__.lower() for step in self._done))
        return Unsettled(
            f"The change of {where} was made in part ({taken}): {reason}.", next="Look at the flag, then decide again."
        )

    def _is_undone(self) -> bool:
        """Takes out again what we put in, where that was all we did; False when something of ours stays.

        A kill stays, whatever others do: taking it out would let users in.
        """
        only_insertions = all(isinstance(step, steps.Create | steps.Order) for step in self._done)
        if not only_insertions or steps.holds_a_kill([one for one in self._desired.rollouts if one.wire is None]):
            return False
        try:
            for id_ in steps.ours_in(self._base.config, self._desired, self._looked().config):
                method, path, _ = request_for(steps.Delete(id_), self._base)
                self._http.request(method, path, deadline=self._deadline, expects_write=True)
            return not steps.ours_in(self._base.config, self._desired, self._looked().config)
        except (AnswerLost, StoreError, FlagMissing):
            return False


def flag_path(ref: FlagRef) -> str:
    """The path of a flag."""
    return f"/api/v1/namespaces/{quote(ref.namespace, safe='')}/flags/{quote(ref.flag_key, safe='')}"


def request_for(step: steps.Step, current: FlagSnapshot) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of a step."""
    flag = flag_path(current.ref)
    match step:
        case steps.Create(rank, rollout):
            return "POST", f"{flag}/rollouts", {"rank": rank, **rollout_to_v1(rollout)}
        case steps.Order(ids):
            return "PUT", f"{flag}/rollouts/order", {"rolloutIds": list(ids)}
        case steps.Update(id_, rollout):
            return "PUT", f"{flag}/rollouts/{quote(id_, safe='')}", rollout_to_v1(rollout)
        case steps.UpdateFlag(config):
            return "PUT", flag, _flag_fields(config)
        case steps.Delete(id_):
            return "DELETE", f"{flag}/rollouts/{quote(id_, safe='')}", None


def _flag_fields(config: FlagConfig) -> dict[str, Any]:
    """All fields that a PUT of the flag would otherwise erase; metadata stays when it is not sent."""
    wire = config.wire if isinstance(config.wire, Mapping) else {}
    ids = {one.get("key"): one.get("id") for one in wire.get("variants") or [] if isinstance(one, Mapping)}
    default = config.default_variant
    if default is not None and not ids.get(default):
        raise StoreRefused(f"Flag {config.key} has no variant {default}.")
    return {
        "name": wire.get("name") or config.key,
        "description": config.description,
        "enabled": config.enabled,
        "defaultVariantId": ids[default] if default is not None else "",
    }
