"""What a verification of the live log is made of: definitions by position, folds, rows of its own."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

from streams.agents.folds import ALL, folds
from streams.domain.fold import FOLD_VERSION
from streams.errors import Refused
from streams.feed.campaigns import Registry
from streams.partitioner import partition_of
from streams.pool_secrets import Seeds
from streams.position import Position
from streams.replay.refold import Refold
from streams.store.meta import Identity
from streams.store.overlay import Codec
from streams.store.rows import DiskStore
from streams.topics import CAMPAIGNS
from streams.wire import campaigns as campaign_files
from streams.wire import rows

if TYPE_CHECKING:
    from streams.domain.campaign import Campaigns
    from streams.feed.preflight import Found
    from streams.replay.log import Log
    from streams.replay.verify import Kept
    from streams.settings import Settings
    from streams.wire.journal import Folded

CODEC = Codec(rows.new, rows.decode, rows.encode, rows.due_ms, rows.due_of)


class Definitions:
    """The registry as it was when the topic `campaigns` was known up to any offset."""

    def __init__(self, settings: Settings, log: Log) -> None:
        """Read them all. Raises UsageError, CampaignRefused, BrokerUnreachable."""
        paths = [Path(path) for path in settings.campaign_files]
        from_files = [one for path in paths for one in campaign_files.read_file(path)]
        registry = Registry(from_files, campaign_files.digest(paths))
        self._files = registry.latest.files
        self._next, self._known = [0], [registry.campaigns]
        for record in log.records(CAMPAIGNS, 0, *log.bounds(CAMPAIGNS, 0)):
            position = Position(CAMPAIGNS, 0, record.offset)
            registry.take(record.value, record.recorded_at_ms, position)
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


def store(settings: Settings, found: Found, directory: Path) -> DiskStore:
    """Return where rows are rebuilt; a directory of another log or version is refused."""
    identity = Identity(
        app=f"{settings.app_id}-verify",
        cluster=found.cluster,
        partition=-1,  # replaced for each database
        partitions=found.partitions,
        topics=found.topic_ids,
        row_schema=rows.ROW_SCHEMA,
        fold_version=FOLD_VERSION,
    )
    return DiskStore(directory, identity, lock_wait_s=1.0)


def refold(
    settings: Settings, found: Found, definitions: Definitions, p: int, kept: Kept
) -> Refold:
    """Return what folds partition p as its journal says, with the seeds of these settings."""
    return Refold(
        p,
        kept,
        CODEC,
        definitions.of,
        folds(
            lambda pool_id: partition_of(pool_id.encode(), found.partitions), Seeds(settings), ALL
        ),
    )
