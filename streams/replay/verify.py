r"""`leidan verify`: the log folded again, its rows and outputs compared with the live ones.

For each transaction that the journal names: its records are folded into rows of our own (RocksDB in
a directory of ours), every output must be the next live one of this partition, byte for byte, and
the changelog must hold the same rows before the same meta row. The first difference is named.

What has been verified stays so: beside the rows, in the same WriteBatch, lies how far the journal,
the changelog and each output topic were compared, with a rolling digest of the outputs. The next
run hashes those outputs again, which takes no fold, and folds only what has come since; where a
digest differs it begins anew, to name the offset.

Where the changelog was cleaned, meta rows are missing, and so are rows that were written again
later: these must then come later, and that is all that can be said of them. Between the meta rows
of two transactions that follow each other nothing was cleaned, so nothing may be missing.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.errors import Refused
from streams.partitioner import partition_of
from streams.replay.difference import Difference, at, of_outputs, of_rows, shown
from streams.replay.refold import NotThere, Refold, Refolded
from streams.store import meta
from streams.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    DRAW_REQUESTS,
    DRAW_RESULTS,
    FOLDED,
    JOURNAL,
    LOTTERY_DRAWS,
    NOTIFICATIONS,
    REWARDS,
    TASK_EVENTS,
)
from streams.wire import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streams.feed.ports import Headers, Outgoing, Record, Rows
    from streams.replay.log import Log
    from streams.wire.journal import Folded

ACCOUNT = b"\0verify"
SAID = (
    REWARDS, TASK_EVENTS, NOTIFICATIONS, LOTTERY_DRAWS, DEAD_LETTERS, DRAW_REQUESTS, DRAW_RESULTS,
)  # fmt: skip
OWN = "dl-app-version"
"""Which version wrote a dead letter: the one thing that another version may say differently."""


class Stream(msgspec.Struct):
    """What p has said to one partition of a topic, as far as it was compared.

    first: live offset at which the digest begins. next: behind the last one compared.
    """

    first: int = 0
    next: int = 0
    count: int = 0
    digest: str = ""


class Account(msgspec.Struct):
    r"""The value of `\0verify`: how far a partition was verified. Offsets are the next to read.

    unseen: rows that the changelog has not shown yet, because it was cleaned. shown: batch of the
    last meta row that it has.
    """

    batch: int = 0
    journal: int = 0
    changelog: int = 0
    unseen: int = 0
    shown: int = 0
    vector: dict[str, int] = {}
    streams: dict[str, Stream] = {}  # by "topic/partition"
    v: int = 1


class Found(NamedTuple):
    """What came of one partition."""

    difference: Difference | None
    transactions: int  # compared in this run
    outputs: int
    rows: int
    before: int  # transactions verified by earlier runs
    gone: tuple[str, ...]  # output topics whose earlier records retention has deleted


def account_of(rows: Rows) -> Account:
    """Return how far these rows were verified; a new one for empty rows."""
    note = rows.peek(ACCOUNT)
    return Account() if note is None else msgspec.json.decode(note, type=Account)


class Verify:
    """One partition, once. `run` may take long; killed, it goes on where it was."""

    def __init__(
        self,
        rows: Rows,
        log: Log,
        refold: Refold,
        partitions: int,
        fold_version: int,
    ) -> None:
        """``partitions``: N. ``fold_version``: this code's; what a newer one folded is refused."""
        self._log, self._refold, self._n = log, refold, partitions
        self._rows, self._p, self._fold_version = rows, refold.p, fold_version
        self.account = account_of(rows)
        self._said: dict[tuple[str, int], _Said] = {}
        self._sources: dict[str, _Source] = {}
        self._unseen: dict[bytes, None] = {}
        self._compared = [0, 0, 0]  # transactions, outputs, rows

    def stale(self) -> bool:
        """Tell whether these rows are no use: killed over a cleaned changelog, or said otherwise.

        Hashes again the outputs that were compared, as far as they are still there.
        """
        return self.account.unseen > 0 or any(
            self._spoilt(name, stream) for name, stream in sorted(self.account.streams.items())
        )

    def _spoilt(self, name: str, stream: Stream) -> bool:
        topic, _, q = name.rpartition("/")
        low, end = self._log.bounds(topic, int(q))
        if low > stream.first:
            return False  # nobody can hash what retention has deleted
        if end < stream.next:
            return True
        again = Stream(first=stream.first)
        for record in self._log.records(topic, int(q), stream.first, stream.next):
            if _source_of(record) == self._p:
                _take(again, _plain(record))
        return (again.count, again.digest) != (stream.count, stream.digest)

    def run(self, progress: Callable[[int, int], None] = lambda _done, _end: None) -> Found:
        """Compare all there is by now; ``progress(next offset, end)`` of the journal."""
        before = self.account.batch
        low, end = self._log.bounds(JOURNAL, self._p)
        first = max(low, self.account.journal)
        difference = None
        for record in self._log.records(JOURNAL, self._p, first, end):
            difference = self._transaction(record)
            if difference is not None:
                break
            progress(record.offset + 1, end)
        if difference is None:
            difference = self._rest() or self._committed(end)
        gone = sorted({said.topic for said in self._said.values() if said.cut})
        transactions, outputs, rows = self._compared
        return Found(difference, transactions, outputs, rows, before, tuple(gone))

    def _transaction(self, record: Record) -> Difference | None:
        """Fold one again and compare it; keep it where it is the same."""
        account, where = self.account, at(record)
        try:
            folded = journal.decode(record.value or b"")
        except msgspec.DecodeError as error:
            return Difference(where, "", "the record", f"no journal record ({error})", "one")
        if folded.batch != account.batch + 1:
            return Difference(where, "", "batch", str(folded.batch), str(account.batch + 1))
        if folded.fold_version > self._fold_version:
            raise Refused(
                f"{where}: folded by version {folded.fold_version}, this one is "
                f"{self._fold_version}. Verify with the newer version"
            )
        strange = {each.topic for each in folded.ranges} - set(FOLDED)
        if strange:
            return Difference(where, "", "ranges", f"of {sorted(strange)}", "of folded topics")
        try:
            again = self._refold.fold(folded, self._read)
        except NotThere as gone:
            return Difference(where, "", "ranges", f"{gone}, which is not readable", "there")
        difference = self._outputs(again.outgoing, folded, where) or self._changelog(again)
        if difference is not None:
            return difference
        account.batch, account.journal = folded.batch, record.offset + 1
        account.vector, account.unseen = dict(again.next), len(self._unseen)
        self._refold.keep(again, {ACCOUNT: msgspec.json.encode(account)})
        self._compared[0] += 1
        return None

    def _read(self, topic: str, first: int, following: int) -> list[Record]:
        source = self._sources.get(topic)
        if source is None:
            source = self._sources[topic] = _Source(self._log, topic, self._p, first)
        return source.read(first, following)

    # -- outputs -----------------------------------------------------------------------------------

    def _outputs(
        self, outgoing: Iterable[Outgoing], folded: Folded, where: str
    ) -> Difference | None:
        for out in outgoing:
            q = out.partition
            if q is None:
                q = partition_of(out.key, self._n) if out.key else self._p
            said = self._said_to(out.topic, q)
            headers = [header for header in out.headers if header[0] != OWN]
            live = said.head
            same = live is not None and (live.key, live.value, live.headers) == (
                out.key, out.value, headers,
            )  # fmt: skip
            if not same and said.cut:
                continue  # deleted with what came before the first that is kept
            if live is None:
                user = (out.key or b"").decode(errors="backslashreplace")
                text = f"no more records of {where} (batch {folded.batch})"
                return Difference(f"{out.topic}[{q}]@{said.end}", user, "a record", text, "one")
            if not same:
                return of_outputs(at(live), live, out, headers)
            said.taken()
            self._compared[1] += 1
        return None

    def _said_to(self, topic: str, q: int) -> _Said:
        said = self._said.get((topic, q))
        if said is None:
            stream = self.account.streams.setdefault(f"{topic}/{q}", Stream())
            said = self._said[topic, q] = _Said(self._log, topic, q, self._p, stream)
        return said

    def _rest(self) -> Difference | None:
        """Return what is live though nothing gives it: outputs of what was folded, rows."""
        folded = self._refold.next
        for topic in SAID:
            own = topic not in {DRAW_REQUESTS, DRAW_RESULTS}
            for q in (self._p,) if own else range(self._n):
                live = self._said_to(topic, q).head
                if live is None:
                    continue
                cause, offset = _cause_of(live)
                if offset < folded.get(cause, 0):
                    user = (live.key or b"").decode(errors="backslashreplace")
                    return Difference(at(live), user, "the record", shown(live.value), "nothing")
        for key in self._unseen:
            user = key.decode(errors="backslashreplace")
            where = f"{CHANGELOG}[{self._p}]@{self.account.changelog}"
            return Difference(where, user, "the row", "not there", "a row")
        return None

    # -- rows --------------------------------------------------------------------------------------

    def _changelog(self, again: Refolded) -> Difference | None:
        """Compare the groups of rows whose meta row has come by this transaction."""
        self._unseen |= dict.fromkeys(again.rows)
        group = self._group()
        if group is None:
            where = f"{CHANGELOG}[{self._p}]@{self.account.changelog}"
            return Difference(where, "", "the meta row", "not there", f"batch {again.batch}")
        if group.meta.batch > again.batch:
            return None  # cleaned: its meta row was the next one that is kept
        if group.meta.batch < again.batch:
            text = str(group.meta.batch)
            return Difference(at(group.record), "", "batch", text, str(again.batch))
        difference = self._rows_of(group, again) or _offsets_of(group, again)
        self.account.changelog, self.account.shown = group.record.offset + 1, group.meta.batch
        self._next_group = None
        return difference

    def _rows_of(self, group: _Group, again: Refolded) -> Difference | None:
        """Compare the rows before a meta row with those of its transaction, and of earlier ones."""
        keys = list(group.rows)
        below = dict(zip(keys, self._rows.get_many(keys), strict=True))
        for key, record in group.rows.items():
            wanted = again.rows.get(key, below[key])
            self._compared[2] += 1
            if record.value != wanted:
                return of_rows(at(record), key, record.value, wanted)
            self._unseen.pop(key, None)
        if group.meta.batch == self.account.shown + 1:  # nothing of it was cleaned
            for key in self._unseen.keys() & again.rows.keys():
                return of_rows(at(group.record), key, None, again.rows[key])
        return None

    _next_group: _Group | None = None
    _records: Iterator[Record] | None = None

    def _group(self) -> _Group | None:
        """Return the rows up to the next meta row, and that."""
        if self._next_group is not None:
            return self._next_group
        if self._records is None:
            low, end = self._log.bounds(CHANGELOG, self._p)
            first = max(low, self.account.changelog)
            self._records = self._log.records(CHANGELOG, self._p, first, end)
        rows: dict[bytes, Record] = {}
        for record in self._records:
            if record.key == meta.META:
                self._next_group = _Group(record, meta.decode_meta(record.value or b""), rows)
                return self._next_group
            if record.key is not None:
                rows[record.key] = record
        return None

    # -- the group's offsets -----------------------------------------------------------------------

    def _committed(self, end: int) -> Difference | None:
        """C is where the last transaction has left it, or further if there were more since."""
        committed = self._log.committed(self._p)
        quiet = self._log.bounds(JOURNAL, self._p)[1] == end
        for topic, wanted in sorted(self._refold.next.items()):
            found = committed.get(topic, wanted)
            if found < wanted or (quiet and found != wanted):
                where = f"{topic}[{self._p}]@{found}"
                return Difference(where, "", "the committed offset", str(found), str(wanted))
        return None


class _Group(NamedTuple):
    record: Record
    meta: meta.Meta
    rows: dict[bytes, Record]


def _offsets_of(group: _Group, again: Refolded) -> Difference | None:
    """Compare the offsets of a meta row with those that its transaction has reached."""
    for topic, offset in sorted(group.meta.next.items()):
        wanted = again.next.get(topic, offset)
        if offset != wanted:
            name = f"next offset of {topic}"
            return Difference(at(group.record), "", name, str(offset), str(wanted))
    return None


class _Source:
    """The records of one folded topic, read forwards; the last ones asked for are kept."""

    def __init__(self, log: Log, topic: str, p: int, first: int) -> None:
        low, end = log.bounds(topic, p)
        if low > first:
            raise Refused(
                f"{topic}[{p}] begins at {low}, the journal is at {first}: {low - first} records "
                "were deleted before they were verified. Keep the inputs (retention.ms=-1), or "
                "give --state-dir of an earlier verification"
            )
        self._records = log.records(topic, p, first, end)
        self._held: list[Record] = []
        self._at = first

    def read(self, first: int, following: int) -> list[Record]:
        held = [record for record in self._held if record.offset >= first]
        while self._at < following:
            record = next(self._records, None)
            if record is None:
                self._at = following
                break
            held.append(record)
            self._at = record.offset + 1
        self._held = held
        return [record for record in held if record.offset < following]


class _Said:
    """What p has said to one partition of a topic, one live record after another."""

    def __init__(self, log: Log, topic: str, q: int, p: int, stream: Stream) -> None:
        self.topic = topic
        low, self.end = log.bounds(topic, q)
        self.cut = low > stream.next  # retention has deleted some that were not compared
        first = max(low, stream.next)
        if not stream.count:
            stream.first = stream.next = first
        self._records = log.records(topic, q, first, self.end)
        self._p, self._stream = p, stream
        self.head = self._next()

    def _next(self) -> Record | None:
        for record in self._records:
            if _source_of(record) == self._p:
                return _plain(record)
        return None

    def taken(self) -> None:
        """Count the head as compared, go to the next."""
        assert self.head is not None
        if self.cut:
            self.cut = False
            self._stream.first = self.head.offset
        _take(self._stream, self.head)
        self.head = self._next()


def _plain(record: Record) -> Record:
    """Return it without what another version says differently."""
    return record._replace(headers=[header for header in record.headers if header[0] != OWN])


def _take(stream: Stream, record: Record) -> None:
    """Chain one output into the digest."""
    digest = blake2b(bytes.fromhex(stream.digest), digest_size=16)
    headers = chain.from_iterable((name.encode(), value) for name, value in record.headers)
    for part in (record.key or b"", record.value or b"", *headers):
        digest.update(b"%d:" % len(part or b""))
        digest.update(part or b"")
    stream.digest = digest.hexdigest()
    stream.count, stream.next = stream.count + 1, record.offset + 1


def _source_of(record: Record) -> int:
    """Return the partition whose fold wrote it; -1 where it names none."""
    return _number(record.headers, "dl-partition" if record.topic == DEAD_LETTERS else _PARTITION)


def _cause_of(record: Record) -> tuple[str, int]:
    """Return the topic and offset that it was written for."""
    dead = record.topic == DEAD_LETTERS
    topic = dict(record.headers).get("dl-topic" if dead else "cause-topic", b"")
    return topic.decode(), _number(record.headers, "dl-offset" if dead else "cause-offset")


_PARTITION = "cause-partition"


def _number(headers: Headers, name: str) -> int:
    """Return a number in a header; of a name that comes twice the last counts, which is ours."""
    text = dict(headers).get(name, b"")
    return int(text) if text.isdigit() else -1
