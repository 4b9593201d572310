"""Where a record stands in the log."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """(topic, partition, offset) of one record; printed as ``orders[3]@81``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"
