"""What the tests of declarative files share: a small file, a store on it, a kill and the way back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.core import exposure
from rollback.core.flag import FlagRef, FlagSnapshot, Polarity
from rollback.core.marker import Marker

ON = Polarity()
SM = FlagRef("default", "va", "sm")
KILL = Marker("i-1", "kill-1-aaa", "jdoe", "2026-11-23T03:12:27+00:00", "0f" * 8)
SECOND = Marker("i-1", "kill-2-bbb", "jdoe")

V1 = """\
# kept by the team
version: "1.4"
namespace: va
flags:
- key: sm
  name: SM
  type: BOOLEAN_FLAG_TYPE
  enabled: true
  rollouts:
  # veterans first
  - segment: {key: veterans, value: true}   # all of them
  - threshold: {percentage: 50, value: true}
- key: other
  name: Other
  type: BOOLEAN_FLAG_TYPE
  enabled: false
segments:
- key: veterans
  name: Veterans
  match_type: ANY_MATCH_TYPE
  constraints:
  - {type: STRING_COMPARISON_TYPE, property: role, operator: eq, value: veteran}
"""

V2 = """\
version: "1.6"
namespace:
    key: va
    name: VA
flags:
    - key: sm
      name: SM
      type: BOOLEAN_FLAG_TYPE
      enabled: true
      rollouts:
        - segment:
            keys:
                - veterans
            operator: OR_SEGMENT_OPERATOR
            value: true
        - threshold:
            percentage: 50
            value: true
    - key: vf
      name: VF
      type: VARIANT_FLAG_TYPE
      enabled: true
      variants:
        - default: true
          key: "on"
        - key: control
      rules:
        - segment:
            keys:
                - veterans
            operator: OR_SEGMENT_OPERATOR
          distributions:
            - variant: "on"
              rollout: 100
segments:
    - key: veterans
      name: Veterans
      constraints:
        - type: STRING_COMPARISON_TYPE
          property: role
          operator: isoneof
          value:
            - veteran
            - caregiver
      match_type: ALL_MATCH_TYPE
"""


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def store_on(
    folder: Path, text: str | bytes = V1, name: str = "features.yml", **options: Any
) -> DeclarativeFileFlagStore:
    """A store on a new file with this content."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return DeclarativeFileFlagStore(path, **options)


def read(store: DeclarativeFileFlagStore, ref: FlagRef = SM, *, segments: bool = False) -> FlagSnapshot:
    return store.read(ref, deadline=soon(), segments=segments)


def kill(store: DeclarativeFileFlagStore, ref: FlagRef = SM, marker: Marker = KILL) -> FlagSnapshot:
    base = read(store, ref)
    return store.write(base, exposure.kill(base.config, ON, marker), deadline=soon())


def restore(store: DeclarativeFileFlagStore, ref: FlagRef = SM) -> FlagSnapshot:
    base = read(store, ref)
    return store.write(base, exposure.without(base.config), deadline=soon())


def content(store: DeclarativeFileFlagStore) -> bytes:
    return Path(store.path).read_bytes()
