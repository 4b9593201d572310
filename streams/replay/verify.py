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

With `mending`, an output that the topic has lost is no difference: it is kept among the rows, for
`--into live` to write. All else must be the same, or the rows of the workers are not these.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.errors import Refused
from streams.partitioner import partition_of
from streams.replay.difference import Difference, at, of_outputs, of_rows, shown
from streams.replay.refold import NotThere, Refold, Refolded
from streams.replay.said import (
    BACKFILL_FROM,
    MENDED,
    OWN,
    Missing,
    Said,
    Stream,
    cause_of,
    id_of,
    spoilt,
)
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

    from streams.feed.ports import Outgoing, Record, Rows
    from streams.replay.log import Log
    from streams.wire.journal import Folded

    Progress = Callable[[int, int, int], None]
    """Told the next offset of the journal, its end, and how many records were folded so far."""

ACCOUNT = b"\0verify"
MISSING = b"\0missing"
READ_MISSING = 1_000
SAID = (
    REWARDS, TASK_EVENTS, NOTIFICATIONS, LOTTERY_DRAWS, DEAD_LETTERS, DRAW_REQUESTS, DRAW_RESULTS,
)  # fmt: skip


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
    missing: int = 0  # outputs that are kept for `--into live`
    left_out: dict[str, int] = {}  # by topic: missing too, but not to be written
    v: int = 1


class Found(NamedTuple):
    """What came of one partition."""

    difference: Difference | None
    transactions: int  # compared in this run
    outputs: int
    rows: int
    before: int  # transactions verified by earlier runs
    gone: tuple[str, ...]  # output topics whose earlier records retention has deleted
    records: int = 0  # of the inputs, folded in this run
    later: int = 0  # outputs that `--into live` has written, compared in this run
    made_good: int = 0  # records of a make-good, met in this run: nothing to compare them with


_missing = msgspec.msgpack.Decoder(Missing)


def missing_of(rows: Rows) -> Iterator[Missing]:
    """Yield what is missing, in the order of the fold."""
    count = account_of(rows).missing
    for first in range(0, count, READ_MISSING):
        keys = [_missing_key(n) for n in range(first, min(count, first + READ_MISSING))]
        for note in rows.get_many(keys):
            assert note is not None, "in one WriteBatch with the account"
            yield _missing.decode(note)


def _missing_key(number: int) -> bytes:
    return MISSING + number.to_bytes(8, "big")


def account_of(rows: Rows) -> Account:
    """Return how far these rows were verified; a new one for empty rows."""
    note = rows.peek(ACCOUNT)
    return Account() if note is None else msgspec.json.decode(note, type=Account)


class Verify:
    """One partition, once. `run` may take long; killed, it goes on where it was."""

    def __init__(  # noqa: PLR0913 - what a partition is compared with
        self,
        rows: Rows,
        log: Log,
        refold: Refold,
        partitions: int,
        fold_version: int,
        *,
        mending: bool = False,
    ) -> None:
        """``partitions``: N. ``fold_version``: this code's; what a newer one folded is refused.

        ``mending``: keep outputs that are missing, for `missing_of`; see the module.
        """
        self._log, self._refold, self._n = log, refold, partitions
        self._rows, self._p, self._fold_version = rows, refold.p, fold_version
        self.account = account_of(rows)
        self._mending = mending
        self._said: dict[tuple[str, int], Said] = {}
        self._sources: dict[str, _Source] = {}
        self._unseen: dict[bytes, None] = {}
        self._notes: dict[bytes, bytes] = {}  # what is missing of one transaction
        self._compared = [0, 0, 0, 0]  # transactions, outputs, rows, records of inputs

    def stale(self) -> bool:
        """Tell whether these rows are no use: killed over a cleaned changelog, or said otherwise.

        Hashes again the outputs that were compared, as far as they are still there.
        """
        return self.account.unseen > 0 or any(
            self._spoilt(name, stream) for name, stream in sorted(self.account.streams.items())
        )

    def _spoilt(self, name: str, stream: Stream) -> bool:
        topic, _, q = name.rpartition("/")
        return spoilt(self._log, topic, int(q), self._p, stream)

    def run(self, progress: Progress = lambda *_: None) -> Found:
        """Compare all there is by now."""
        before = self.account.batch
        low, end = self._log.bounds(JOURNAL, self._p)
        first = max(low, self.account.journal)
        difference = None
        for record in self._log.records(JOURNAL, self._p, first, end):
            difference = self._transaction(record)
            if difference is not None:
                break
            progress(record.offset + 1, end, self._compared[3])
        if difference is None:
            difference = self._rest() or self._committed(end)
        every = self._said.values()
        gone = sorted({said.topic for said in every if said.cut})
        transactions, outputs, rows, records = self._compared
        later, made_good = sum(x.taken_later for x in every), sum(x.made_good for x in every)
        return Found(
            difference, transactions, outputs, rows, before, tuple(gone), records, later, made_good
        )

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
        if self._mending and folded.fold_version != self._fold_version:
            raise Refused(
                f"{where}: folded by version {folded.fold_version}, this one is "
                f"{self._fold_version}: its rules may give others, and the workers' rows know "
                "nothing of those. To compare where rewards stand: `leidan makegood --out FILE`"
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
        self._refold.keep(again, {ACCOUNT: msgspec.json.encode(account), **self._notes})
        self._notes.clear()
        self._compared[0] += 1
        return None

    def _read(self, topic: str, first: int, following: int) -> list[Record]:
        source = self._sources.get(topic)
        if source is None:
            source = self._sources[topic] = _Source(self._log, topic, self._p, first)
        before = source.at
        found = source.read(first, following)
        self._compared[3] += sum(record.offset >= before for record in found)
        return found

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
            if not same and said.take_later(out._replace(headers=headers)):
                self._compared[1] += 1
                continue
            lost = live is None or id_of(live) != id_of(out)
            if not same and lost and self._mending:
                self._miss(out, q, where)
                continue
            if live is None:
                user = (out.key or b"").decode(errors="backslashreplace")
                text = f"no more records of {where} (batch {folded.batch})"
                return Difference(f"{out.topic}[{q}]@{said.end}", user, "a record", text, "one")
            if not same:
                return of_outputs(at(live), live, out, headers)
            said.take()
            self._compared[1] += 1
        return None

    def _miss(self, out: Outgoing, q: int, where: str) -> None:
        account, topic = self.account, out.topic
        if topic not in MENDED:
            account.left_out[topic] = account.left_out.get(topic, 0) + 1
            return
        headers: list[tuple[str, bytes | None]] = [
            *out.headers, (BACKFILL_FROM, where.encode())
        ]  # fmt: skip
        missing = Missing(topic, q, out.key, out.value, headers)
        self._notes[_missing_key(account.missing)] = msgspec.msgpack.encode(missing)
        account.missing += 1

    def _said_to(self, topic: str, q: int) -> Said:
        said = self._said.get((topic, q))
        if said is None:
            stream = self.account.streams.setdefault(f"{topic}/{q}", Stream())
            said = self._said[topic, q] = Said(self._log, topic, q, self._p, stream)
            if said.cut and self._mending and topic == REWARDS:
                raise Refused(
                    f"{topic}[{q}] begins at offset {said.low}: what was issued before is not "
                    "known any more, so nobody can tell what is missing. The ledger keeps "
                    "everything (retention.ms=-1; `leidan topics plan` names what differs); to "
                    "mend what users are owed: `leidan makegood --out FILE`"
                )
        return said

    def _rest(self) -> Difference | None:
        """Return what is live though nothing gives it: outputs of what was folded, rows."""
        folded = self._refold.next
        for topic in SAID:
            own = topic not in {DRAW_REQUESTS, DRAW_RESULTS}
            for q in (self._p,) if own else range(self._n):
                said = self._said_to(topic, q)
                # who mends writes later what an earlier life of it has found missing
                later = () if self._mending else said.superfluous()
                for live in chain(filter(None, [said.head]), later):
                    cause, offset = cause_of(live)
                    if offset < folded.get(cause, 0):
                        user = (live.key or b"").decode(errors="backslashreplace")
                        found = shown(live.value)
                        return Difference(at(live), user, "the record", found, "nothing")
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
        self.at = first

    def read(self, first: int, following: int) -> list[Record]:
        held = [record for record in self._held if record.offset >= first]
        while self.at < following:
            record = next(self._records, None)
            if record is None:
                self.at = following
                break
            held.append(record)
            self.at = record.offset + 1
        self._held = held
        return [record for record in held if record.offset < following]
