"""An archive of `leidan export` as a `Past`: the same log, without a broker.

Kept in memory: of each topic-partition READ records, and the definitions.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from streams import topics
from streams.backfill.archive import Archive
from streams.backfill.frozen import records
from streams.errors import UsageError
from streams.replay.past import SAID, deleted, in_force

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from streams.domain.definition import Definition
    from streams.feed.ports import Record


class ArchivedPast:
    """What users said, of an archive; implements `past.Past`."""

    def __init__(self, directory: Path, from_files: Sequence[Definition] = ()) -> None:
        """Verify the archive. ``from_files``: definitions beside those of its topic.

        Raises UsageError naming the file that is damaged or the topic that is not in it.
        """
        self._archive, self._from_files = Archive(directory), from_files
        whose = self._archive.manifest
        if missing := [topic for topic in (*SAID, topics.CAMPAIGNS) if topic not in whose.topics]:
            raise UsageError(
                f"{directory}: holds no {', '.join(missing)}. Export all topics: leidan export DIR"
            )
        self._archive.verify()
        self.partitions = range(whose.partitions)
        files = {(t, p): file for t in SAID for p, file in enumerate(whose.topics[t])}
        self.total = sum(file.records for file in files.values())
        self.notes = [deleted(*at, file.first) for at, file in files.items() if file.first]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def definitions(self) -> list[Definition]:
        return in_force(self._from_files, self._of(topics.CAMPAIGNS, 0))

    def newest_ms(self) -> int:
        """Return the time of the newest record; files are compressed, so all of it is read."""
        every = (self._of(topic, p) for topic in SAID for p in self.partitions)
        return max((record.recorded_at_ms for lane in every for record in lane), default=0)

    def records(self, partitions: Sequence[int]) -> Iterator[Record]:
        lanes = [self._of(topic, p) for topic in SAID for p in partitions]
        yield from heapq.merge(*lanes, key=lambda record: record.recorded_at_ms)

    def _of(self, topic: str, p: int) -> Iterator[Record]:
        return records(self._archive, topic, p, *self._archive.range(topic, p))
