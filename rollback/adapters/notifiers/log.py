"""The log as a channel, for processes without others."""

from __future__ import annotations

from rollback import log
from rollback.alert_ports import Notice
from rollback.notice_text import cut, lines

MAX_TEXT = 2000


class LogChannel:
    """A `NoticeChannel`, and the `Notifier` of processes without channels: one event of the log per notice.

    It says nothing while the log is off (`rollback.log`); it never raises.
    """

    def __init__(self, name: str = "log") -> None:
        self.name = name

    def send(self, notice: Notice) -> None:
        """Logs it as `notice`."""
        words = lines(notice.text)
        log.event(
            "notice",
            key=notice.key,
            urgency=notice.urgency,
            feature=notice.feature,
            incident=notice.incident,
            role=notice.role,
            headline=words[0],
            text=cut("\n".join(words), MAX_TEXT),
        )

    def notify(self, text: str, *, feature: str, incident: str | None) -> None:
        """Logs it as a notice that nobody has to act on."""
        self.send(Notice(key="", feature=feature, incident=incident, urgency="tell", text=text))

    def close(self) -> None:
        """Nothing is open."""
