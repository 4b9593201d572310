"""What became of replayed records: the workers have folded them, or refused them once more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from streams.topics import FOLDED
from streams.wire import dead_letters

if TYPE_CHECKING:
    from collections.abc import Mapping, Set  # noqa: PYI025 - not the builtin

    from streams.dlq.log import Log
    from streams.wire.dead_letters import Letter

LOOK_S = 0.25


class Outcome(NamedTuple):
    """unfolded: partitions on which the workers had not come so far. again: letters, died anew."""

    unfolded: list[tuple[str, int]]
    again: list[Letter]


def wait(
    log: Log, ends: Mapping[tuple[str, int], int], replayed: Set[str], limit_s: float
) -> Outcome:
    """Wait until the workers have folded up to `ends`, at most so long.

    ends: behind the last record written, by (topic, partition). replayed: places of the letters.
    Dead letters are in the transaction that commits the offsets, so then they are all there.
    """
    until_s = time.monotonic() + limit_s
    places = sorted(at for at in ends if at[0] in FOLDED)  # nobody folds decisions
    while True:
        committed = log.committed(places)
        unfolded = [at for at in places if committed.get(at, 0) < ends[at]]
        if not unfolded or time.monotonic() > until_s:
            break
        time.sleep(LOOK_S)
    found = (dead_letters.read(record) for record in log.letters())
    return Outcome(unfolded, [one for one in found if one.replay_of in replayed])
