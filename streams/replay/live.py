"""Verifying the live log: definitions by position, folds, and rows of its own in a directory."""

from __future__ import annotations

import shutil
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streams.agents.folds import ALL, folds
from streams.backfill import resized
from streams.domain.fold import FOLD_VERSION
from streams.errors import Refused
from streams.feed.campaigns import Registry
from streams.partitioner import partition_of
from streams.pool_secrets import Seeds
from streams.replay import net
from streams.replay.refold import Refold
from streams.replay.said import id_of, later_ids
from streams.replay.verify import ACCOUNT, Account, Verify, account_of, missing_of
from streams.store import states
from streams.store.rows import DiskRows, DiskStore
from streams.topics import CAMPAIGNS, CHANGELOG, JOURNAL
from streams.wire import campaigns, journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.registry import Campaigns
    from streams.feed import preflight
    from streams.replay.log import Log
    from streams.replay.net import Net
    from streams.replay.said import Missing
    from streams.replay.verify import Found, Progress
    from streams.settings import Settings
    from streams.wire.journal import Folded

USED = msgspec.json.encode(Account(unseen=1))
"""Rows that are no use the next time: `Verify.stale`."""


class Definitions:
    """The registry as it was when the topic `campaigns` was known up to any offset."""

    def __init__(self, settings: Settings, log: Log) -> None:
        """Read them all. Raises UsageError, CampaignRefused, BrokerUnreachable."""
        registry = Registry(*campaigns.read_files(map(Path, settings.campaign_files)))
        self._files = registry.latest.files
        self._next, self._known = [0], [registry.campaigns]
        for record in log.records(CAMPAIGNS, 0, *log.bounds(CAMPAIGNS, 0)):
            registry.read(record)
            self._next.append(record.offset + 1)
            self._known.append(registry.campaigns)

    def of(self, folded: Folded) -> Campaigns:
        """Return those a transaction was folded with. Raises Refused."""
        if folded.files != self._files:
            raise Refused(
                f"batch {folded.batch} was folded with campaign files of digest "
                f"{folded.files or '(none)'}, these have {self._files or '(none)'}: give the same "
                "--campaigns, in the same order, as the worker had"
            )
        return self._known[bisect_right(self._next, folded.campaigns) - 1]

    @property
    def latest(self) -> Campaigns:
        return self._known[-1]


def store(
    settings: Settings, found: preflight.Found, directory: Path, verb: str = "verify"
) -> DiskStore:
    """Return where rows are rebuilt; a directory of another log, verb or version is refused."""
    identity = states.identity(f"{settings.app_id}-{verb}", *found)
    return DiskStore(directory, identity, lock_wait_s=1.0)


class Verifier:
    """Verifies partitions of one log, one after another. ``directory``: of the rebuilt rows."""

    def __init__(
        self,
        settings: Settings,
        there: preflight.Found,
        log: Log,
        directory: Path,
        *,
        mending: bool = False,
    ) -> None:
        """Read all definitions; refuse rows of a resize. ``there``: what the preflight has found.

        ``mending``: outputs that are missing are kept for `missing`, not a difference.
        """
        resized.require_whole(settings)
        self._log, self._directory, self._n = log, directory, there.partitions
        self._definitions = Definitions(settings, log)
        self._mending = mending
        self._store = store(settings, there, directory, "into-live" if mending else "verify")
        self._folds = folds(
            lambda pool_id: partition_of(pool_id.encode(), self._n), Seeds(settings), ALL
        )

    def partition(
        self,
        p: int,
        progress: Progress,
        *,
        from_start: bool = False,
    ) -> Found | Net:
        """Verify p, going on from the last time unless what was verified then reads otherwise."""
        if from_start:
            self._forget(p)
        rows = self._store.open(p)
        try:
            check = self._check(p, rows)
            if check.stale():
                rows.close()
                self._forget(p)
                rows = self._store.open(p)
                check = self._check(p, rows)
            if check.account.batch == 0 and not self._has_whole_journal(p):
                if self._mending:
                    raise Refused(
                        f"{JOURNAL}[{p}] does not begin with the first transaction: which outputs "
                        "the workers have said, their ids, hangs on the order they folded in. "
                        "Fold from an archive that has the journal (--from-archive DIR); without "
                        "one compare where rewards stand: `leidan makegood --out FILE`"
                    )
                return self._net(p, rows, progress)
            return check.run(progress)
        finally:
            rows.close()

    def _check(self, p: int, rows: DiskRows) -> Verify:
        refold = Refold(p, rows, states.CODEC, self._definitions.of, self._folds)
        return Verify(rows, self._log, refold, self._n, FOLD_VERSION, mending=self._mending)

    def missing(self, p: int) -> Iterator[Missing]:
        """Yield what is missing on the live topics now, in the order of the fold.

        Asked after `partition`. What was said later by now, by whomever, is left out.
        """
        there: dict[tuple[str, int], set[str]] = {}
        rows = self._store.open(p)
        try:
            for missing in missing_of(rows):
                at = missing.topic, missing.partition
                if at not in there:
                    there[at] = later_ids(self._log, *at)
                if id_of(missing) not in there[at]:
                    yield missing
        finally:
            rows.close()

    def left_out(self, p: int) -> dict[str, int]:
        """Return how many outputs of other topics are missing, which are not written again."""
        rows = self._store.open(p)
        try:
            return account_of(rows).left_out
        finally:
            rows.close()

    def _has_whole_journal(self, p: int) -> bool:
        """Tell whether the journal begins with the first transaction, if there was any."""
        first = next(self._log.records(JOURNAL, p, *self._log.bounds(JOURNAL, p)), None)
        if first is None:
            return self._log.bounds(CHANGELOG, p)[1] == 0
        try:
            return journal.decode(first.value or b"").batch == 1
        except msgspec.DecodeError:
            return True  # it will be said where

    def _net(self, p: int, rows: DiskRows, progress: Progress) -> Net:
        """Without a journal nothing can be kept: the next time begins anew, in an empty store."""
        try:
            latest = self._definitions.latest
            return net.compare(p, rows, self._log, states.CODEC, latest, self._folds, progress)
        finally:
            rows.write({ACCOUNT: USED}, next_offsets=None, changelog=0, batch=0)

    def _forget(self, p: int) -> None:
        shutil.rmtree(self._directory / str(p), ignore_errors=True)
