"""What one partition has said to a topic, one record after another; and what was said beside it.

Workers say each output in its place: behind those of the transaction before. Two verbs say one
later, with a header that tells whose it is: `leidan backfill --into live` what the workers had said
and the topic has lost, word for word; `leidan makegood` what a bug in the rules has withheld, under
the id that a worker with the right rules would give it. These are out of place, so they are known
by their ids, and only these two are.

Kept in memory, and only where something is not in its place: an id and a digest of each record that
was said later, about 300 bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.topics import DEAD_LETTERS, LOTTERY_DRAWS, REWARDS, TASK_EVENTS
from streams.wire.dead_letters import compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.feed.ports import Headers, Outgoing, Record
    from streams.replay.log import Log

BACKFILL_FROM = "backfill-from"
"""On what `--into live` wrote: the place in the fold journal of the transaction it is of."""

MAKEGOOD_DIGEST = "makegood-digest"
"""On what a make-good wrote: the digest of the reviewed file."""

MENDED = frozenset({REWARDS, TASK_EVENTS, LOTTERY_DRAWS})
"""Topics that may be said to later. Not what the fold itself reads (requests to pools and their
answers), nor what is sent to people; a dead letter has the headers of whoever sent it."""

OWN = "dl-app-version"
"""Which version wrote a dead letter: the one thing that another version may say differently."""

_MODULUS = 1 << 128


class Stream(msgspec.Struct):
    """What p has said to one partition of a topic, as far as it was compared.

    first: live offset at which the digest begins. next: behind the last one compared in its place.
    later, later_next, later_digest: those said later, how many, behind the last of them, and the
    sum of their digests, since they come in any order.
    """

    first: int = 0
    next: int = 0
    count: int = 0
    digest: str = ""
    later: int = 0
    later_next: int = 0
    later_digest: str = ""


class Missing(msgspec.Struct, frozen=True, array_like=True):
    """An output that the log gives and the topic has lost; its headers say where it is from."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Later(NamedTuple):
    """A record that was said later. digest: of all but its origin; none where that may differ."""

    record_at: int
    digest: bytes | None


class Said:
    """What p has said to one partition of a topic. `head`: the next in its place."""

    def __init__(self, log: Log, topic: str, q: int, p: int, stream: Stream) -> None:
        self.topic, self.q = topic, q
        self.low, self.end = log.bounds(topic, q)
        self.cut = self.low > stream.next  # retention has deleted some that were not compared
        first = max(self.low, stream.next)
        if not stream.count:
            stream.first = stream.next = first
        self._log, self._p, self._stream = log, p, stream
        self._records = log.records(topic, q, first, self.end)
        self._counted_to = stream.later_next
        self._met: dict[int, str] = {}  # offset and id of what was said later, met on the way
        self._taken: set[str] = set()
        self._later: dict[str, Later] | None = None
        self.made_good = 0
        """Records of a make-good, met on the way."""
        self.head = self._next()

    def _next(self) -> Record | None:
        for record in self._records:
            if source_of(record) != self._p:
                continue
            if not is_later(record):
                return plain(record)
            if MAKEGOOD_DIGEST in dict(record.headers):
                self.made_good += 1
            elif record.offset >= self._counted_to:
                self._met[record.offset] = id_of(record)
        return None

    def take(self) -> None:
        """Count the head as compared, go to the next."""
        assert self.head is not None
        if self.cut:
            self.cut = False
            self._stream.first = self.head.offset
        count(self._stream, self.head)
        self.head = self._next()

    def take_later(self, out: Outgoing) -> bool:
        """Count an output as compared that was said later; tell whether there is one, the same."""
        if self.topic not in MENDED:
            return False
        if self._later is None:
            self._later = self._all_later()
        name = id_of(out)
        later = self._later.get(name)
        if later is None or name in self._taken:
            return False
        if later.digest is None:
            return True  # a make-good's: valid for another while, else the same command
        if later.digest != _digest(b"", out.key, out.value, out.headers):
            return False
        self._taken.add(name)
        stream = self._stream
        stream.later += 1
        stream.later_next = max(stream.later_next, later.record_at + 1)
        stream.later_digest = _added(stream.later_digest, later.digest)
        return True

    def _all_later(self) -> dict[str, Later]:
        found: dict[str, Later] = {}
        for record in self._log.records(self.topic, self.q, self.low, self.end):
            if source_of(record) == self._p and is_later(record):
                found.setdefault(id_of(record), _later(record))
        return found

    def superfluous(self) -> Iterator[Record]:
        """Yield what was said later, though nothing has given it: in this run or an earlier one."""
        for offset, name in self._met.items():
            later = (self._later or {}).get(name)
            if later is None or later.record_at != offset or name not in self._taken:
                yield from self._log.records(self.topic, self.q, offset, offset + 1)

    @property
    def taken_later(self) -> int:
        return len(self._taken)


def spoilt(log: Log, topic: str, q: int, p: int, stream: Stream) -> bool:
    """Tell whether what was compared reads otherwise by now, as far as it is still there."""
    low, end = log.bounds(topic, q)
    if low > stream.first:
        return False  # nobody can hash what retention has deleted
    if end < max(stream.next, stream.later_next):
        return True
    again = Stream(first=stream.first)
    for record in log.records(topic, q, stream.first, max(stream.next, stream.later_next)):
        if source_of(record) != p:
            continue
        if not is_later(record):
            if record.offset < stream.next:
                count(again, plain(record))
        elif (later := _later(record)).digest is not None and record.offset < stream.later_next:
            again.later += 1
            again.later_digest = _added(again.later_digest, later.digest)
    return (again.count, again.digest, again.later, again.later_digest) != (
        stream.count, stream.digest, stream.later, stream.later_digest,
    )  # fmt: skip


def later_ids(log: Log, topic: str, q: int) -> set[str]:
    """Return the ids of all that was said later by now, whosever it is."""
    low, end = log.bounds(topic, q)
    return {id_of(record) for record in log.records(topic, q, low, end) if is_later(record)}


def plain(record: Record) -> Record:
    """Return it without what another version, or a setting, says differently."""
    dead = record.topic == DEAD_LETTERS
    headers = compared(record.headers) if dead else record.headers
    return record._replace(headers=[header for header in headers if header[0] != OWN])


def count(stream: Stream, record: Record) -> None:
    """Chain one output into the digest."""
    before = bytes.fromhex(stream.digest)
    stream.digest = _digest(before, record.key, record.value, record.headers).hex()
    stream.count, stream.next = stream.count + 1, record.offset + 1


def is_later(record: Record) -> bool:
    """Tell whether a record was said later, by one of the two verbs that do."""
    return record.topic in MENDED and any(
        name in {BACKFILL_FROM, MAKEGOOD_DIGEST} for name, _ in record.headers
    )


def id_of(record: Record | Outgoing | Missing) -> str:
    """Return the id of an output; of a dead letter the place it came from."""
    headers = dict(record.headers)
    if record.topic == DEAD_LETTERS:
        where = (headers.get(name) or b"" for name in ("dl-topic", "dl-partition", "dl-offset"))
        return b"/".join(where).decode(errors="backslashreplace")
    return (headers.get("ce_id") or b"").decode(errors="backslashreplace")


def source_of(record: Record) -> int:
    """Return the partition whose fold wrote it; -1 where it names none."""
    dead = record.topic == DEAD_LETTERS
    return _number(record.headers, "dl-partition" if dead else "cause-partition")


def cause_of(record: Record) -> tuple[str, int]:
    """Return the topic and offset that it was written for."""
    dead = record.topic == DEAD_LETTERS
    topic = dict(record.headers).get("dl-topic" if dead else "cause-topic") or b""
    return topic.decode(), _number(record.headers, "dl-offset" if dead else "cause-offset")


def _later(record: Record) -> Later:
    if MAKEGOOD_DIGEST in dict(record.headers):
        return Later(record.offset, None)
    headers = [header for header in record.headers if header[0] != BACKFILL_FROM]
    return Later(record.offset, _digest(b"", record.key, record.value, headers))


def _digest(before: bytes, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    digest = blake2b(before, digest_size=16)
    told = chain.from_iterable((name.encode(), header) for name, header in headers)
    for part in (key or b"", value or b"", *told):
        digest.update(b"%d:" % len(part or b""))
        digest.update(part or b"")
    return digest.digest()


def _added(sum_: str, digest: bytes) -> str:
    number = (int(sum_ or "0", 16) + int.from_bytes(digest, "big")) % _MODULUS
    return f"{number:032x}"


def _number(headers: Headers, name: str) -> int:
    """Return a number in a header; of a name that comes twice the last counts, which is ours."""
    text = dict(headers).get(name) or b""
    return int(text) if text.isdigit() else -1
