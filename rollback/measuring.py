"""Measures the gate once, beside the proof of an off (invariant 7). Loaded after the write."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rollback import bootstrap, log
from rollback.core.model import Severity
from rollback.errors import RollbackError
from rollback.gate_measure import measure_once

if TYPE_CHECKING:
    from rollback.session import Session

MEASURE_WITHIN = 3.0
"""Seconds for measuring the gate once: as long as a person looks at the first lines of `disable`."""


def start_measuring(session: Session) -> Callable[[], bool | None] | None:
    """Measures the gate once, beside the proof (invariant 7); the answer is asked for when the proof is done.

    None when no probe has a target here: then nothing is measured, and nothing slow is loaded.
    """
    if session.reference.file is None or not _has_probe_target(Path(session.reference.file)):
        return None
    found: list[bool | None] = []

    def measure() -> None:
        try:
            found.append(_measured(session))
        except RollbackError as error:
            session.warn(f"The gate could not be measured: {error.message}")
        except Exception as error:  # the process may be ending: then nobody waits for the answer any more
            log.event("gate_not_measured", feature=session.feature, error=type(error).__name__)

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()

    def answer() -> bool | None:
        thread.join(MEASURE_WITHIN + 2.0)
        return found[0] if found else None

    return answer


def _measured(session: Session) -> bool | None:
    feature, policy = bootstrap.policies(session, Severity.CRITICAL)
    asked = bootstrap.probe(session, feature)
    try:
        return measure_once(asked, session.clock, within_seconds=MEASURE_WITHIN, p0=policy.gate.p0)
    finally:
        asked.close()


def _has_probe_target(path: Path) -> bool:
    """Whether some address in the health section is known, read as text: a wrong guess costs time, never truth."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
    environ = bootstrap.environment()
    section = re.search(r"^health:.*?(?=^\S|\Z)", text, re.M | re.S)
    text = re.sub(r"^\s*#.*$", "", section[0] if section else "", flags=re.M)
    if re.search(r"^  metrics:", text, re.M):
        return True
    urls = re.findall(r"\burl:\s*(\S+)", text)
    return any(all(environ.get(name) for name in re.findall(r"\$\{(\w+)\}", url)) for url in urls)
