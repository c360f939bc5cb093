"""docs/operations/serve.md says what the code does: templates, metrics and answers are the code's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rollback.adapters.alert_sources import appdynamics, datadog, generic
from rollback.server.metrics import Meters
from rollback.server.receiver import Receiver, router
from tests.server.stand_ins import World, request, serving

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
PAGE = (FOLDER / "serve.md").read_text("utf-8")


def test_the_templates_are_those_that_the_parsers_read() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert blocks == [dict(datadog.TEMPLATE), dict(generic.EXAMPLE)]
    assert appdynamics.TEMPLATE.strip() in PAGE


def documented_metrics() -> set[str]:
    table = PAGE.partition("## Metrics")[2].partition("Worth an alarm")[0]
    return {re.sub(r"\{.*", "", name) for name in re.findall(r"`(rollback_[^`]*)`", table)}


def served_metrics(world: World) -> set[str]:
    text = world.talk(request("GET", "/metrics", close=True)).decode()
    families = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
    return {name for name in families if not name.endswith("_created")}


def test_every_metric_is_documented_and_no_other(tmp_path: Path) -> None:
    with serving(tmp_path) as world:
        meters: Meters = world.services.meters
        meters.delivered("datadog", "alerts")
        assert documented_metrics() == served_metrics(world)


def test_every_answer_is_documented(tmp_path: Path) -> None:
    table = PAGE.partition("## What senders are answered")[2].partition("Never 429")[0]
    documented = {
        int(number) for row in re.findall(r"(?m)^\| ([0-9][^|]*)\|", table) for number in re.findall(r"\b\d{3}\b", row)
    }
    with serving(tmp_path) as world:
        (route,) = router(Receiver(world.services)).routes
    responses = getattr(route, "responses")  # noqa: B009
    assert documented == {int(status) for status in responses}


def test_links_lead_to_files_that_are_there() -> None:
    for page in FOLDER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (FOLDER / target).exists(), f"{page.name}: {target}"
