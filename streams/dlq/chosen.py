"""Which dead letters are meant: by reason, topic, user, time, place; and which still stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from streams.errors import Refused
from streams.wire import dead_letter_decisions as wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.feed.ports import Record
    from streams.wire.dead_letter_decisions import Decision
    from streams.wire.dead_letters import Letter

State = Literal["open", "replayed", "dropped"]


class Filter(NamedTuple):
    """All that are given must hold; of one that may be repeated, any. Times are of the letter."""

    places: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    user_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None  # exclusive

    def takes(self, letter: Letter, value: bytes | None) -> bool:
        """value: of the refused record; its user counts where the key is another one."""
        return (
            (not self.places or letter.place in self.places)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or (letter.origin is not None and letter.origin[0] in self.topics))
            and (self.since_ms is None or letter.written_ms >= self.since_ms)
            and (self.until_ms is None or letter.written_ms < self.until_ms)
            and (self.user_id is None or self.user_id in (letter.user_id, _user_in(value)))
        )


class _User(msgspec.Struct):
    user_id: msgspec.Raw = msgspec.Raw()


def _user_in(value: bytes | None) -> str | None:
    """Return the user that a value names, as far as it can be read."""
    try:
        head = msgspec.json.decode(value or b"", type=_User)
        return msgspec.json.decode(head.user_id, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Decided:
    """What was decided so far, by letter and by the record that the letter is about.

    Both, because a letter may be doubled by whoever may write to the topic. The newest decision
    counts: what was dropped can be replayed later, what was replayed cannot be undone.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        """Raises Refused for a decision of a newer version."""
        self._letters: dict[tuple[int, int, int], Decision] = {}
        self._origins: dict[tuple[str, int, int, str], Decision] = {}
        for record in records:
            try:
                self.note(wire.decode(record.value or b""))
            except msgspec.DecodeError as error:
                where = f"{record.topic}@{record.offset}"
                raise Refused(f"{where}: {error}: of a newer leidan, or by hand") from None

    def note(self, one: Decision) -> None:
        letter = (one.letter_partition, one.letter_offset, one.letter_written_ms)
        self._letters[letter] = one
        if one.topic is not None and one.partition is not None and one.offset is not None:
            self._origins[one.topic, one.partition, one.offset, one.digest] = one

    def of(self, letter: Letter) -> Decision | None:
        """Return the newest decision on this letter or its record; None: it is open."""
        by_record = letter.origin and self._origins.get((*letter.origin, letter.digest))
        own = self._letters.get((letter.partition, letter.offset, letter.written_ms))
        if own is not None and own.type == wire.REPLAYED:
            return own
        return by_record or own

    def state(self, letter: Letter) -> State:
        one = self.of(letter)
        if one is None:
            return "open"
        return "replayed" if one.type == wire.REPLAYED else "dropped"
