"""The outbox and real channels over real HTTP: each in trouble of its own, and none of it another's."""

from __future__ import annotations

import time
from pathlib import Path

from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.adapters.notifiers.slack import SlackChannel
from rollback.adapters.notifiers.teams import TeamsChannel
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.clock import SystemClock
from rollback.notice_ports import Route
from rollback.notices import Outbox
from rollback.sandbox.wire import Answer, text_answer
from tests.notifiers.stand_ins import ACCEPTED, HANG, SLACK_OK, a_notice, people

WHILE = 20.0
"""Seconds after which a test is lost; nothing here waits so long when all is well."""


def soon() -> float:
    return time.monotonic() + WHILE


def test_slack_teams_and_a_webhook_are_told_although_one_hangs_one_throttles_and_one_stumbles(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    throttled = Answer(429, headers={"retry-after": "1"})
    with (
        people(SLACK_OK, [throttled]) as slack,
        people(ACCEPTED, [Answer(500)]) as teams,
        people(Answer(204), [HANG]) as webhook,
    ):
        routes = [
            Route(SlackChannel("slack", slack.url, clock=clock), every_seconds=0.0),
            Route(TeamsChannel("teams", teams.url, clock=clock), every_seconds=0.0),
            Route(WebhookChannel("webhook", webhook.url, clock=clock, seconds=0.3), every_seconds=0.0),
        ]
        outbox = Outbox(routes, SqliteOutboxStore(tmp_path / "o.db"), clock=clock)
        outbox.tell(a_notice(text="Off for all."))
        for server in (slack, teams, webhook):
            server.wait(2)
        assert outbox.close(soon()) == 0
        headlines = [server.documents[-1] for server in (slack, teams, webhook)]
        assert [len(server.requests) for server in (slack, teams, webhook)] == [2, 2, 2]
    assert headlines[0]["blocks"][0]["text"]["text"] == "Off for all."
    teams_run = headlines[1]["attachments"][0]["content"]["body"][0]["inlines"][0]
    assert teams_run["text"] == "[Repeated, perhaps] Off for all."
    assert headlines[2]["data"]["headline"] == "[Repeated, perhaps] Off for all."


def test_an_archived_slack_channel_is_told_to_teams(tmp_path: Path) -> None:
    clock = SystemClock()
    with people(text_answer("channel_is_archived", 410)) as slack, people(ACCEPTED) as teams:
        routes = [
            Route(SlackChannel("oncall", slack.url, clock=clock), every_seconds=0.0),
            Route(TeamsChannel("backup", teams.url, clock=clock), "call", every_seconds=0.0),
        ]
        outbox = Outbox(routes, SqliteOutboxStore(tmp_path / "o.db"), clock=clock)
        outbox.tell(a_notice())
        teams.wait()
        assert outbox.close(soon()) == 0
        (document,) = teams.documents
        assert len(slack.requests) == 1
    texts = [block["inlines"][0]["text"] for block in document["attachments"][0]["content"]["body"]]
    assert texts == [
        "Notices do not arrive at the channel oncall.",
        "Slack channel 'oncall' answered 410 (channel_is_archived).",
    ]
