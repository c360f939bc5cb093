"""Errors by what the caller must do, each with the exit code it ends in.

An error's text is one clear sentence: what is wrong and where. `next` says what to do.
Nothing here imports anything, because the kill path loads it.
"""

from __future__ import annotations


class RollbackError(Exception):
    """Base of every failure that a user is told about.

    `code` is a stable word for programs (`--json`), `exit_code` the process's exit code and
    `next` what to do now (empty when there is nothing to add).
    """

    code = "unexpected"
    exit_code = 1

    def __init__(self, message: str, *, next: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.next = next


class ConfigurationError(RollbackError):
    """A setting, a policy file or an argument is wrong; nothing was tried."""

    code = "configuration"
    exit_code = 2


class FlagMissing(RollbackError):
    """The flag, its namespace or its environment does not exist: never the same as off."""

    code = "flag_missing"
    exit_code = 2


class PolicyRefused(RollbackError):
    """The policy or the case's state does not allow this command."""

    code = "refused"
    exit_code = 3


class NotHealthy(RollbackError):
    """The gate did not find health, or something stopped the return."""

    code = "not_healthy"
    exit_code = 4


class Unproven(RollbackError):
    """Done, but not everything that the proof asks for has been seen."""

    code = "not_proven"
    exit_code = 5


class StoreError(RollbackError):
    """Base of what a flag store may raise; no other type leaves the port."""

    code = "store"
    exit_code = 6


class StoreUnreachable(StoreError):
    """No answer, and certainly nothing was written; trying again may help.

    `retry_after` is the number of seconds the server asked for, `None` when it did not.
    """

    code = "store_unreachable"

    def __init__(self, message: str, *, next: str = "", retry_after: float | None = None) -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.retry_after = retry_after


class StoreRefused(StoreError):
    """The store answered no, and will again: wrong token, read-only storage, invalid content."""

    code = "store_refused"


class Conflict(StoreError):
    """Somebody wrote in between and nothing of ours was written: read again and decide again."""

    code = "conflict"


class Unsettled(StoreError):
    """A write was sent and its fate is unknown, even after reading back."""

    code = "not_settled"
    exit_code = 5


class LedgerBroken(RollbackError):
    """The ledger does not verify (`rollback verify` only)."""

    code = "ledger_broken"
    exit_code = 7


class HistoryUnwritable(RollbackError):
    """Neither journal nor ledger can be written: returns refuse, `disable` goes on."""

    code = "history_unwritable"
    exit_code = 8


class Interrupted(RollbackError):
    """Stopped by the user; nothing was raised."""

    code = "interrupted"
    exit_code = 130
