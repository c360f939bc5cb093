"""Alert sources: who sent it (`authenticity`), and what it says (one parser for each kind of sender).

Pure: bytes in, a verdict out. A new kind of sender is one file with `parse`, and its line in `PARSERS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from rollback.adapters.alert_sources import alertmanager, appdynamics, datadog, generic, pagerduty
from rollback.alert_ports import AlertParser

PARSERS: Mapping[str, AlertParser] = {
    "datadog": datadog.parse,
    "pagerduty": pagerduty.parse,
    "alertmanager": alertmanager.parse,
    "appdynamics": appdynamics.parse,
    "generic": generic.parse,
}
"""The parser of each kind of sender that a configuration may name."""
