"""Every reason, exit code and exception, in one place.

Reasons name what is wrong with bytes (D12); exits name what a supervisor should do. Both lists are
closed: a reason is a dead-letter header, a metric label and a test id alike.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.position import Position


class Reason(StrEnum):
    """Why bytes can never become an event. Source: semantics.md 4, the closed list."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_MAJOR = "unknown_major"
    SCHEMA = "schema"
    NO_USER = "no_user"
    KEY_MISMATCH = "key_mismatch"
    AMOUNTS = "amounts"
    FUTURE = "future"
    CONFLICT = "conflict"
    ROW_FULL = "row_full"
    CAMPAIGN_INVALID = "campaign_invalid"
    CAMPAIGN_TOO_SOON = "campaign_too_soon"


class Exit(IntEnum):
    """What a supervisor does next. 2, 65, 77 and 78: do not restart. Source: reliability.md 3."""

    OK = 0
    DIFFERENT = 1
    USAGE = 2
    VERIFICATION = 3
    UNREACHABLE = 4
    SOME_DEAD = 5
    DEAD_LETTERS = 65
    BROKEN = 70
    STUCK = 71
    DISK = 74
    FENCED = 75
    SECRET = 77
    REFUSED = 78
    INTERRUPTED = 130


class RewardsError(Exception):
    """Base of all of ours. ``exit`` is the process's exit code if nobody handles it."""

    exit: Exit = Exit.BROKEN
    position: Position | None = None
    """The record it is about, where it is about one: its log line carries it."""


class EventRejected(RewardsError):
    """These bytes can never become an event: dead-lettered once, never retried (D12).

    Operator action: fix the producer, then send the record again.
    """

    def __init__(self, reason: Reason, position: Position, detail: str = "") -> None:
        self.reason, self.position, self.detail = reason, position, detail
        super().__init__(f"{position}: {reason}" + (f" ({detail})" if detail else ""))


class UsageError(RewardsError):
    """The person at the command line can put this right: one message, what to do next."""

    exit = Exit.USAGE


class CampaignRefused(RewardsError):
    """A campaign definition is unclear; ``problems`` names all of them at once."""

    exit = Exit.USAGE

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        self.reason = Reason.CAMPAIGN_INVALID
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class BrokerUnreachable(RewardsError):
    """No answer from the broker. Operator action: check the address, then the broker."""

    exit = Exit.UNREACHABLE


class Refused(RewardsError):
    """Identity, counts, settings or offsets do not fit: restarting is wrong (exit 78)."""

    exit = Exit.REFUSED


class SecretRefused(RewardsError):
    """The secret seed of a lottery is missing, or not the one committed to (D7, exit 77).

    Operator action: give the worker the seed behind the published commitment; no other one will do.
    """

    exit = Exit.SECRET


NO_REBUILD = "This version cannot rebuild rows from the input yet: do not start empty"
"""What every refusal about lost rows ends with, until there is a verb that rebuilds them."""


class Fenced(RewardsError):
    """Another worker owns this now, or the broker is lost: restarting is right (exit 75)."""

    exit = Exit.FENCED


class CommitUnknown(RewardsError):
    """The commit's outcome cannot be told from the error: the committed offset decides (D4)."""

    exit = Exit.FENCED


class DiskError(RewardsError):
    """RocksDB or the disk below it failed; the handle is poisoned, never retry on it (exit 74)."""

    exit = Exit.DISK


class DeadLetterBudgetSpent(RewardsError):
    """Most of a partition is dying: a bad deployment, not bad data (D12, exit 65)."""

    exit = Exit.DEAD_LETTERS
