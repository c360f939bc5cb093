"""Flipt v2: a flag is one resource, read and replaced as a whole under an optimistic lock.

The lock (`revision`) is the head of the whole environment: an edit of any other flag makes a put fail with 409. As
long as this very flag is unchanged, the decision made on it still holds, and the put is sent again with the new
revision. A put whose answer is lost may be sent again as it is: it carries the revision, so it is done once at most.
Kill path: standard library and httpx.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from rollback.adapters.flag_stores.flipt_json import flag_from_v2, rollout_to_v2, segment_from
from rollback.adapters.flipt_http import AnswerLost, FliptHttp, TryAgain
from rollback.core import marker as markers
from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot, Rollout, Segment
from rollback.errors import Conflict, FlagMissing, StoreError, StoreRefused, StoreUnreachable, Unsettled

FLAG = "flipt.core.Flag"
SEGMENT = "flipt.core.Segment"


class FliptV2FlagStore:
    """The `FlagStore` of a Flipt v2. A read is one GET (two with segments), a write one PUT."""

    def __init__(self, http: FliptHttp) -> None:
        self._http = http
        self.where = f"flipt v2 {http.base_url}"

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot:
        """See `FlagStore.read`. A server that is no v2 raises `PathUnknown`, a `StoreRefused`."""
        return self._http.retry(lambda: self._read(ref, deadline, segments), deadline=deadline)

    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot:
        """See `FlagStore.write`."""
        if not base.revision:
            # A put without a revision overwrites blindly whatever others have written.
            raise StoreRefused(f"{self.where} gave no revision for {base.ref}; nothing is written without one.")
        if desired == base.config:
            return base
        return _Write(self, self._http, base, desired, deadline).carry_out()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _read(self, ref: FlagRef, deadline: float, segments: bool) -> FlagSnapshot:
        path = f"{resources_path(ref)}/{FLAG}/{quote(ref.flag_key, safe='')}"
        body = self._http.request("GET", path, deadline=deadline).body
        snapshot = self.snapshot(ref, body)
        if not segments:
            return snapshot
        answer = self._http.request("GET", f"{resources_path(ref)}/{SEGMENT}", deadline=deadline).body
        if answer.get("revision") != body.get("revision"):
            raise StoreUnreachable(f"{self.where} changed while {ref} and its segments were read.")
        return replace(snapshot, config=replace(snapshot.config, segments=_segments(answer)))

    def snapshot(self, ref: FlagRef, body: Mapping[str, Any]) -> FlagSnapshot:
        """The flag in an answer, to a GET or a PUT."""
        resource, revision = body.get("resource"), body.get("revision")
        if not isinstance(resource, Mapping) or not isinstance(resource.get("payload"), Mapping):
            raise StoreRefused(f"{self.where} answered for {ref} with something that is no flag.")
        return FlagSnapshot(ref, flag_from_v2(resource), revision if isinstance(revision, str) and revision else None)


class _Write:
    """One write, until its fate is known or time is up."""

    def __init__(
        self, store: FliptV2FlagStore, http: FliptHttp, base: FlagSnapshot, desired: FlagConfig, deadline: float
    ) -> None:
        self._store, self._http = store, http
        self._base, self._desired, self._deadline = base, desired, deadline
        self._revision = base.revision
        self._payload = payload(base.config, desired)
        self._lost: AnswerLost | None = None  # of a put that may still arrive with the current revision

    def carry_out(self) -> FlagSnapshot:
        try:
            return self._http.retry(self._attempt, deadline=self._deadline)
        except (StoreError, FlagMissing) as error:
            if unsettled := self._open_question(error):
                raise unsettled from error
            raise

    def _attempt(self) -> FlagSnapshot:
        if self._lost is not None and (settled := self._looked_at_again()):
            return settled
        ref = self._base.ref
        body = {"key": ref.flag_key, "revision": self._revision, "payload": self._payload}
        try:
            answer = self._http.request(
                "PUT", resources_path(ref), json=body, deadline=self._deadline, expects_write=True
            )
        except AnswerLost as lost:
            self._lost = lost
            if settled := self._looked_at_again():
                return settled
            raise TryAgain(lost.error) from lost
        except Conflict as stale:
            if settled := self._looked_at_again(stale):
                return settled
            raise TryAgain(stale) from stale
        self._lost = None
        return self._confirmed(self._store.snapshot(ref, answer.body))

    def _confirmed(self, after: FlagSnapshot) -> FlagSnapshot:
        if not in_effect(self._base.config, self._desired, after.config):
            raise Unsettled(f"{self._store.where} accepted the change of {after.ref} but shows something else.")
        return self._with_segments(after)

    def _looked_at_again(self, stale: Conflict | None = None) -> FlagSnapshot | None:
        """The flag when our put was done; None when it was not and may be sent again. Raises when it may not."""
        current = self._store._read(self._base.ref, self._deadline, segments=False)
        if in_effect(self._base.config, self._desired, current.config):
            return self._with_segments(current)
        if current.revision == self._revision:
            if self._lost is not None and self._lost.refusal is not None:
                raise self._lost.refusal from self._lost
            return None  # not done yet; should it still arrive, the next put finds a newer revision
        # The head has moved on: a put that is still on its way can no longer be done.
        self._lost = None
        if current.config.wire != self._base.config.wire:
            raise Conflict(f"{current.ref} was changed by somebody else on {self._store.where}.") from stale
        self._revision = current.revision
        if not self._revision:
            raise StoreRefused(f"{self._store.where} gives no revision any more; nothing is written without one.")
        return None

    def _with_segments(self, after: FlagSnapshot) -> FlagSnapshot:
        """The base's segments are still right when nobody has written since; else they are looked up again."""
        if not self._base.config.segments:
            return after
        if self._revision == self._base.revision and self._lost is None:
            return replace(after, config=replace(after.config, segments=self._base.config.segments))
        try:
            return self._store._read(after.ref, self._deadline, segments=True)
        except (StoreError, FlagMissing):
            return after  # the change is done; a segment that is missing is on the safe side

    def _open_question(self, error: StoreError | FlagMissing) -> Unsettled | None:
        if self._lost is None or error is self._lost.refusal or isinstance(error, Unsettled):
            return None
        return Unsettled(
            f"The change of {self._base.ref} was sent to {self._store.where} and its answer was lost; "
            f"whether it was done is not known ({error.message.rstrip('.')}).",
            next="Look at the flag before anything else; the change may still take effect.",
        )


def resources_path(ref: FlagRef) -> str:
    """The path of all resources of the flag's namespace."""
    environment, namespace = quote(ref.environment, safe=""), quote(ref.namespace, safe="")
    return f"/api/v2/environments/{environment}/namespaces/{namespace}/resources"


def payload(base: FlagConfig, desired: FlagConfig) -> dict[str, Any]:
    """The whole resource to send: as it was read, with only the changed fields changed.

    Raises `StoreRefused` for a change that this program never makes (rules, type), rather than losing it.
    """
    if not isinstance(base.wire, Mapping):
        raise StoreRefused("A flag that was not read from Flipt v2 cannot be written to it.")
    if desired.type is not base.type or desired.rules != base.rules or desired.key != base.key:
        raise StoreRefused(f"Only rollouts, the default and the description of {base.key} can be changed.")
    fields: dict[str, Any] = {"@type": FLAG, **base.wire}
    if desired.enabled != base.enabled:
        fields["enabled"] = desired.enabled
    if desired.description != base.description:
        fields["description"] = desired.description
    if desired.rollouts != base.rollouts:
        fields["rollouts"] = [rollout_to_v2(rollout) for rollout in desired.rollouts]
    if desired.default_variant != base.default_variant:
        fields.pop("defaultVariant", None)
        if desired.default_variant is not None:
            fields["defaultVariant"] = desired.default_variant
    return fields


def in_effect(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> bool:
    """Whether all that `desired` changes on `base` holds in `current`, whatever others have changed besides."""
    before, after, now = Counter(base.rollouts), Counter(desired.rollouts), Counter(current.rollouts)
    changed_fields_hold = all(
        getattr(current, name) == getattr(desired, name)
        for name in ("enabled", "default_variant", "description")
        if getattr(base, name) != getattr(desired, name)
    )
    return (
        changed_fields_hold
        and all(now[one] >= count for one, count in after.items() if count > before[one])
        and all(now[one] <= after[one] for one, count in before.items() if count > after[one])
        and not (_ours(base) - _ours(desired)) & _ours(current)
        and _common(desired.rollouts, now) == _common(current.rollouts, after)
    )


def _ours(config: FlagConfig) -> set[tuple[str, str]]:
    """Which of our rollouts are there, by marker: one whose percentage was changed is still the same."""
    found = (markers.parse(one.description) for one in config.rollouts)
    return {(marker.incident, marker.key) for marker in found if marker is not None}


def _common(rollouts: tuple[Rollout, ...], others: Counter[Rollout]) -> list[Rollout]:
    """Those that are in both, each once, in their order here."""
    return [one for one in dict.fromkeys(rollouts) if others[one]]


def _segments(answer: Mapping[str, Any]) -> dict[str, Segment]:
    resources = answer.get("resources")
    found: dict[str, Segment] = {}
    for resource in resources if isinstance(resources, list) else []:
        payload = resource.get("payload") if isinstance(resource, Mapping) else None
        if isinstance(payload, Mapping):
            segment = segment_from(payload)
            found[segment.key] = segment
    return found
