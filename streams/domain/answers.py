"""What the rights service answers: known or not, in turn or not, and what it makes of the ledger.

A result is about one command (reward_id, seq). It changes the ledger while that command is the
newest; an older one is ignored; a newer one waits until the command has been given, which happens
where a replay reads the results first. A revocation that was assumed and failed after all waits
too, where the reward's money has gone back: until its pools have granted it once more. Results are
told apart by their id: the same again is dropped, the same with other content is a conflict
(questions 28, 29).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from streams.domain.events import RewardResult
from streams.domain.state import RESERVED, REVOKED, VOID, Packed, packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.domain.settling import Settling
    from streams.domain.state import Entry

_decode = msgspec.msgpack.Decoder(list[RewardResult]).decode

# Results of commands not given yet. Only a replay meets some; a service that makes them up must not
# fill the row.
MOST_EARLY = 64
_ID = 6  # bytes of a mark; 2^48 of one user would have to come before two ids were alike
_MARK = 2 * _ID
# After these other rewards may be due (a fallback), or this one anew: the dues are needed.
UNSETTLING = frozenset({"failed", "revoked", "revoke_failed"})


def mark_of(result: RewardResult) -> bytes:
    """Return 6 bytes of the result's id and 6 of all else, but for its record's own time."""
    content = (
        result.reward_id,
        str(result.seq),
        result.outcome,
        str(result.retryable),
        str(result.occurred_at_ms),
    )
    return _hash(result.result_id) + _hash("\n".join(content))


def known(results: bytes, mark: bytes) -> bytes | None:
    """Return the mark of the result with the same id, or None."""
    at = _place(results, mark)
    found = results[at : at + _MARK]
    return found if found[:_ID] == mark[:_ID] else None


def with_mark(results: bytes, mark: bytes) -> bytes:
    at = _place(results, mark)
    return results[:at] + mark + results[at:]


def unpack(early: Packed[RewardResult]) -> list[RewardResult]:
    return _decode(early.as_array()) if early.count else []


def was_taken_back(entry: Entry) -> bool:
    """Tell whether the newest command of a reward took it back, as far as we know.

    It may wait by now to be given again, or have been given up once more: no command said so.
    """
    given_up = entry.state == VOID and entry.why in ("released", "uncollected")
    return entry.seq > 0 and entry.seq % 2 == 0 and (entry.state in (REVOKED, RESERVED) or given_up)


def not_taken_back(early: Iterable[RewardResult], entries: Mapping[str, Entry]) -> list[Entry]:
    """Return the rewards that were taken back, as was assumed, and are not, as we know by now."""
    found = {}
    for result in early:
        entry = entries.get(result.reward_id)
        if entry is None or entry.seq != result.seq or result.outcome != "revoke_failed":
            continue
        if was_taken_back(entry):
            found[entry.reward_id] = entry
    return list(found.values())


def apply_early(settling: Settling, early: list[RewardResult]) -> tuple[list[RewardResult], bool]:
    """Fold the early results whose command has been given by now, and that wait for no money.

    Return those that still wait, and whether the ledger must be settled again.
    """
    waiting, unsettled = [], False
    for result in early:
        entry = settling.entries.get(result.reward_id)
        if entry is None or entry.seq < result.seq or entry.reward_id in settling.unpaid:
            waiting.append(result)
        elif entry.seq == result.seq and settling.answer(entry, result):
            unsettled = unsettled or result.outcome in UNSETTLING
    return waiting, unsettled


def pack(early: list[RewardResult]) -> Packed[RewardResult]:
    """Return early results as a row keeps them: in order of command and id, without the user."""
    if not early:
        return Packed()
    early = [msgspec.structs.replace(result, user_id="") for result in early]
    return packed(sorted(early, key=lambda r: (r.reward_id, r.seq, r.occurred_at_ms, r.result_id)))


def _place(results: bytes, mark: bytes) -> int:
    """Return where a mark stands, or would: results are marks in order."""
    low, high = 0, len(results) // _MARK
    while low < high:
        middle = (low + high) // 2
        if results[middle * _MARK : middle * _MARK + _ID] < mark[:_ID]:
            low = middle + 1
        else:
            high = middle
    return low * _MARK


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()[:_ID]
