"""A progress that keeps what it was told."""

from __future__ import annotations

from rollback.core.evidence import Judgement


class KeptProgress:
    """What a person would have seen: `lines` stay, `judgements` are (title, judgement) of each round."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.judgements: list[tuple[str, Judgement]] = []
        self.watched: list[Judgement] = []

    def say(self, text: str) -> None:
        """A line."""
        self.lines.append(text)

    def watching(self, judgement: Judgement, *, time_left: float) -> None:
        """A round of monitoring."""
        assert time_left >= 0
        self.watched.append(judgement)

    def evidence(self, title: str, judgement: Judgement, *, rate: float, soak_left: float, time_left: float) -> None:
        """A round of evidence; `time_left` is below 0 once the deadline has passed."""
        assert rate >= 0
        assert soak_left >= 0
        assert time_left == time_left
        self.judgements.append((title, judgement))

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)
