"""How a reward moves: every state, what moves it on, the record that says so, and its postings.

The table is semantics.md 7, line by line; `settling.py` decides when a line applies. A cell reads
`account amount`: the account's letter of the amount below, with its sign. A pair that is not in the
table changes nothing. With `results: assumed` command and answer are one record: the two lines are
taken one after the other, and what cancels out is never posted.

| letter | minor units |
|---|---|
| v | the reward's value |
| p, o | what is paid, and what is set off against older debts: v = p + o |
| h, r | what is set aside for it, and what of that it did not need: h - p |
| b | what its last revocation takes back |
| d, w | what becomes, or was, a debt; what of it was written off |

`home` is where its money comes from: `reserved`, until end + grace, for all rewards of a campaign
with a budget but prizes (its claim has reserved it, or was granted more), else `budget`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain.state import (
    DEBT,
    ISSUED,
    ISSUING,
    RESERVED,
    REVOKED,
    REVOKING,
    SPENT,
    VOID,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.domain.campaign import Campaign

NOTHING = 0  # no entry: due, but not covered; or never due
ISSUE, REVOKE = "reward.issued", "reward.revoked"  # the commands; all else is reward.adjusted

# What moves a reward on: the fold's word, time's, or the rights service's (the six outcomes).
COVERED, FREE, LOST, GONE = "covered", "free", "lost", "gone"
OWED, REGAINED, WRITTEN_OFF = "owed", "regained", "over"

Postings = list[tuple[str, int]]


class Move(NamedTuple):
    """One line: the state after it, the record's type or reason (empty: none), the postings."""

    to: int
    said: str
    postings: tuple[tuple[str, int, str], ...]  # account, sign, letter


def _move(to: int, said: str, postings: str = "") -> Move:
    cells = [cell.split() for cell in postings.split(",") if cell.strip()]
    return Move(to, said, tuple((account, -1 if a[0] == "-" else 1, a[-1]) for account, a in cells))


TAKE_BACK = "issued -p, returning +p, spent -o, debt +o"
FAIL = "issued -p, home +p, spent -o, debt +o"
SPEND = "issued -p, spent +p"
LAPSE = "issued -p, breakage +p"

TABLE: Mapping[tuple[int, str], Move] = {
    # given
    (NOTHING, COVERED): _move(RESERVED, "reserved", "home -v, reserved +v"),
    (REVOKED, COVERED): _move(RESERVED, "reserved", "home -v, reserved +v"),
    (VOID, COVERED): _move(RESERVED, "reserved", "home -v, reserved +v"),
    (RESERVED, FREE): _move(ISSUING, ISSUE, "reserved -h, issued +p, home +r, debt -o, spent +o"),
    (RESERVED, LOST): _move(VOID, "released", "reserved -h, home +h"),
    (RESERVED, GONE): _move(VOID, "released", "reserved -h, home +h"),
    # carried out
    (ISSUING, "issued"): _move(ISSUED, ""),
    (ISSUING, "failed"): _move(VOID, "failed", FAIL),
    (ISSUING, "spent"): _move(SPENT, "spent", SPEND),
    (ISSUING, "expired"): _move(VOID, "lapsed", LAPSE),
    (ISSUED, "failed"): _move(VOID, "failed", FAIL),  # assumed too soon
    (ISSUED, "spent"): _move(SPENT, "spent", SPEND),
    (ISSUED, "expired"): _move(VOID, "lapsed", LAPSE),
    # taken back
    (ISSUING, LOST): _move(REVOKING, REVOKE, TAKE_BACK),
    (ISSUED, LOST): _move(REVOKING, REVOKE, TAKE_BACK),
    (REVOKING, "revoked"): _move(REVOKED, "returned", "returning -b, home +b"),
    (REVOKING, "revoke_failed"): _move(SPENT, "spent", "returning -b, spent +b"),
    # Assumed too soon; since then it may wait to be given again, or was given up.
    (REVOKED, "revoke_failed"): _move(SPENT, "spent", "home -b, spent +b"),
    (RESERVED, "revoke_failed"): _move(SPENT, "spent", "reserved -h, home +h, home -b, spent +b"),
    (VOID, "revoke_failed"): _move(SPENT, "spent", "home -b, spent +b"),
    # owed
    (SPENT, OWED): _move(DEBT, "owed", "spent -d, debt +d, spent -o, debt +o"),
    (DEBT, OWED): _move(DEBT, "owed", "spent -d, debt +d, spent -o, debt +o"),
    (DEBT, REGAINED): _move(SPENT, "restored", "debt -d, written_off -w, spent +d, spent +w"),
    (SPENT, REGAINED): _move(SPENT, "restored", "debt -d, written_off -w, spent +d, spent +w"),
    (VOID, REGAINED): _move(SPENT, "restored", "debt -d, written_off -w, spent +d, spent +w"),
    (DEBT, WRITTEN_OFF): _move(VOID, "written_off", "debt -d, written_off +d"),
    (SPENT, WRITTEN_OFF): _move(SPENT, "written_off", "debt -d, written_off +d"),
}


def posted(move: Move, home: str, amounts: Mapping[str, int]) -> Postings:
    """Return the postings of a move; `home`: the account its money comes from."""
    return [
        (home if account == "home" else account, sign * amounts[letter])
        for account, sign, letter in move.postings
    ]


def net(postings: Iterable[tuple[str, int]]) -> Postings:
    """Return one posting an account, in the order they were named, without those that cancel."""
    sums: dict[str, int] = {}
    for account, amount in postings:
        sums[account] = sums.get(account, 0) + amount
    return [(account, amount) for account, amount in sums.items() if amount]


def home_of(campaign: Campaign, kind: str, *, over: bool) -> str:
    """Return the account a reward is paid from and goes back to.

    over: end + grace of the task have passed, and what was left of its reservation was released.
    """
    covered = campaign.budget is not None and kind != "prize" and not over
    return "reserved" if covered else "budget"
