"""The definitions of a backfill: all that the topic held when the ends were frozen (D9).

In journal order each transaction is folded with those it was folded with live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.feed.campaigns import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.definition import Definition
    from streams.feed.ports import Known, Record


class Definitions:
    """Of one partition's run. Implements `ports.CampaignSource`."""

    def __init__(
        self,
        partition: int,
        from_files: list[Definition],
        records: Sequence[Record],
        files: str = "",
    ) -> None:
        """``records``: the topic `campaigns` to its frozen end; none is known before `as_of`.

        ``files``: digest of what `from_files` was read from; a journal has it.
        """
        self.partition = partition
        self._given, self._records = (from_files, files), records
        self.forget()

    def forget(self) -> None:
        """Know those of files alone, as in the beginning."""
        self._registry = Registry(*self._given)
        self._coming = list(reversed(self._records))

    def as_of(self, end: int | None) -> None:
        """Know the records before this offset, and those known before; None: all."""
        while self._coming and (end is None or self._coming[-1].offset < end):
            self._registry.read(self._coming.pop())

    def latest(self) -> Known:
        return self._registry.latest

    def confirmed_age_s(self) -> float:
        return 0.0  # frozen: they do not grow old
