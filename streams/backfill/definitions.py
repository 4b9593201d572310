"""The definitions of a backfill: all that the topic held when the ends were frozen (D9).

In journal order each transaction is folded with those it was folded with live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.feed.campaigns import Registry
from streams.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.campaign import Campaigns
    from streams.domain.definition import Definition
    from streams.feed.ports import Record


class Definitions:
    """Of one partition's run. Implements `ports.CampaignSource`."""

    def __init__(
        self, partition: int, from_files: list[Definition], records: Sequence[Record]
    ) -> None:
        """``records``: the topic `campaigns` to its frozen end; none is known before `as_of`."""
        self.partition = partition
        self._registry = Registry(from_files)
        self._coming = list(reversed(records))

    def as_of(self, end: int | None) -> None:
        """Know the records before this offset, and those known before; None: all."""
        while self._coming and (end is None or self._coming[-1].offset < end):
            record = self._coming.pop()
            where = Position(record.topic, record.partition, record.offset)
            self._registry.take(record.value, record.recorded_at_ms, where)

    def current(self) -> Campaigns:
        return self._registry.campaigns

    def confirmed_age_s(self) -> float:
        return 0.0  # frozen: they do not grow old
