"""What a replay or a drop would write, and writing it: the record and the decision together.

A replayed record is the one that was refused, as it stands on its topic: key, value, headers and
timestamp, on the same partition; `dl-attempt` counts up. The timestamp stays because lateness, lead
and windows are judged by when a record was first recorded (semantics.md 1): replayed a week late it
does what it would have done in time. That it is not folded twice is the fold's own doing (D2), by
the event's id; that it is not put back twice is the transaction's, which holds the decision too.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from streams.feed.emitter import Dated
from streams.feed.ports import Outgoing
from streams.topics import DECISIONS, FOLDED
from streams.wire import dead_letter_decisions as wire
from streams.wire.dead_letters import ATTEMPT, REPLAY_OF, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streams.dlq.log import Log
    from streams.feed.emitter import Emitter
    from streams.feed.ports import Record
    from streams.wire.dead_letter_decisions import Decision, Kind
    from streams.wire.dead_letters import Letter

MOST_TOGETHER = 100
"""Letters in one transaction: each is two records, and `emitter.IN_ONE` bounds those."""


class Signed(NamedTuple):
    """Who decides, why, and when (RFC 3339)."""

    who: str
    why: str
    at: str


class Left(NamedTuple):
    """A letter that cannot be replayed, and why not."""

    letter: Letter
    because: str


class Back(NamedTuple):
    """A letter and the record that goes back."""

    letter: Letter
    original: Record

    @property
    def attempt(self) -> int:
        return self.letter.attempt + 1


def in_order(letters: Iterable[Letter]) -> list[Letter]:
    """Return them in the order of the refused records, so that a user's come back in theirs."""
    return sorted(letters, key=lambda one: (one.origin or ("", 0, 0), one.partition, one.offset))


def prepared(log: Log, letters: Sequence[Letter], most_attempts: int) -> Iterator[Back | Left]:
    """Yield what becomes of each letter: at most MOST_TOGETHER originals are in memory at once."""
    seen: set[tuple[object, str]] = set()
    for begin in range(0, len(letters), MOST_TOGETHER):
        some = letters[begin : begin + MOST_TOGETHER]
        known = [one.origin for one in some if one.origin is not None and one.origin[0] in FOLDED]
        originals = log.originals(known)
        for letter in some:
            original = originals.get(letter.origin) if letter.origin else None
            if because := _obstacle(letter, original, most_attempts):
                yield Left(letter, because)
            elif (letter.origin, letter.digest) in seen:
                yield Left(letter, "another letter is about the same record")
            else:
                seen.add((letter.origin, letter.digest))
                assert original is not None
                yield Back(letter, original)


def _obstacle(letter: Letter, original: Record | None, most_attempts: int) -> str | None:
    if letter.origin is None:
        return "its headers name no record: look at it with `leidan dlq show`, send it by hand"
    if letter.origin.topic not in FOLDED:
        return f"no worker folds {letter.origin.topic}"
    if letter.attempt >= most_attempts:
        return f"it was tried {letter.attempt} times: see why, or raise --max-attempts"
    if original is None:
        return (
            f"{letter.origin} is not there any more, and with it the time of its record: only its "
            "sender can send it again"
        )
    if digest(original.key, original.value) != letter.digest:
        return f"{letter.origin} holds another record: the topic was made again, or this is forged"
    return None


def returned(back: Back) -> Dated:
    """Return the record as it goes back."""
    original = back.original
    ours = {ATTEMPT, REPLAY_OF}
    headers = [header for header in original.headers if header[0] not in ours]
    headers += [
        (ATTEMPT, str(back.attempt).encode()),
        (REPLAY_OF, back.letter.place.encode()),
    ]
    record = Outgoing(original.topic, original.key, original.value, headers, original.partition)
    return Dated(record, original.recorded_at_ms)


def replayed(back: Back, signed: Signed) -> Decision:
    return _decision(wire.REPLAYED, back.letter, back.attempt, signed)


def dropped(letter: Letter, signed: Signed) -> Decision:
    return _decision(wire.DROPPED, letter, letter.attempt, signed)


def _decision(type_: Kind, letter: Letter, attempt: int, signed: Signed) -> Decision:
    topic, partition, offset = letter.origin or (None, None, None)
    return wire.Decision(
        type=type_,
        v=1,
        letter_partition=letter.partition,
        letter_offset=letter.offset,
        letter_written_ms=letter.written_ms,
        digest=letter.digest,
        reason=letter.reason,
        attempt=attempt,
        who=signed.who,
        decided_at=signed.at,
        topic=topic,
        partition=partition,
        offset=offset,
        why=signed.why,
    )


def replay(
    emitter: Emitter, backs: Iterable[Back], signed: Signed, per_s: float | None = None
) -> int:
    """Put them back, at most so many a second; return how many. Raises as `Emitter.emit`.

    A kill leaves each letter replayed and decided, or neither; run again, it does the rest.
    """
    together = MOST_TOGETHER if per_s is None else max(1, min(MOST_TOGETHER, int(per_s)))
    done, due_s, left = 0, time.monotonic(), iter(backs)
    while some := list(islice(left, together)):
        if per_s is not None:
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s = time.monotonic() + len(some) / per_s
        records: list[Outgoing | Dated] = []
        for back in some:
            records += (returned(back), _outgoing(replayed(back, signed)))
        emitter.emit(records)
        done += len(some)
    return done


def drop(emitter: Emitter, letters: Iterable[Letter], signed: Signed) -> int:
    """Write that nothing will be done about them; return how many."""
    return emitter.emit(_outgoing(dropped(letter, signed)) for letter in letters)


def _outgoing(decision: Decision) -> Outgoing:
    return Outgoing(DECISIONS, wire.key(decision), wire.encode(decision), [], 0)
