"""A log that a simulated world has left, to be verified as it is or with one thing altered."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from streams.agents.folds import ALL, folds
from streams.domain.fold import FOLD_VERSION
from streams.feed.ports import Record
from streams.replay.refold import Refold
from streams.replay.verify import Verify
from streams.store import states
from streams.store.rows import DiskStore
from tests.pooling import SEED
from tests.sim.campaigns import registry
from tests.sim.evidence import gather
from tests.sim.world import Settings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streams.feed.ports import Offsets
    from tests.checker import Evidence, Seen

Change = "Callable[[Record], Record | None]"


@cache
def evidence() -> Evidence:
    """What one world with kills, ticks, pools, dead letters has left; all of it is partition 0."""
    world = World(Settings(30, partitions=1, workers=2))
    ended = world.run()
    assert not ended.violations
    return gather(world)


class Altered:
    """`Log` over evidence; ``changes`` sees each record as it is read. Counts what was read."""

    def __init__(self, change: Callable[[Record], Record | None] | None = None) -> None:
        self.change = change or (lambda record: record)
        self.read: dict[str, int] = {}
        self.moved: Offsets = {}
        found = evidence()
        self.logs: dict[str, list[Seen]] = {**found.outputs, **found.inputs}
        self.ends: dict[str, int] = {
            topic: high for (topic, _), (_, high) in found.watermarks.items()
        }

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        assert p == 0
        return 0, self.ends.get(topic, 0)

    def records(self, topic: str, p: int, first: int, end: int) -> Iterator[Record]:
        assert p == 0
        for seen in self.logs.get(topic, ()):
            if first <= seen.offset < end:
                self.read[topic] = self.read.get(topic, 0) + 1
                record = Record(*seen[:5], list(seen.headers), seen.timestamp_ms)
                changed = self.change(record)
                if changed is not None:
                    yield changed

    def committed(self, p: int) -> Offsets:
        of = evidence().committed
        return {topic: at for (topic, q), at in of.items() if q == p} | self.moved


def verify(directory: Path, log: Altered, *, mending: bool = False) -> tuple[Verify, Any]:
    """Open the rows that belong to this directory; the caller closes the second."""
    identity = states.identity("app", "cluster", 1, {})
    rows = DiskStore(directory, identity, lock_wait_s=1.0).open(0)
    campaigns = registry()
    refold = Refold(
        0, rows, states.CODEC, lambda _: campaigns, folds(lambda _: -1, lambda _: SEED, ALL)
    )
    return Verify(rows, log, refold, 1, FOLD_VERSION, mending=mending), rows


def verified(directory: Path, log: Altered) -> Any:
    check, rows = verify(directory, log)
    try:
        return check.run()
    finally:
        rows.close()
