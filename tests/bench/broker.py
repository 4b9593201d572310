"""The broker of a benchmark, and how its program ends."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kafka.cluster import Cluster, KafkaMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = {
    # Kafka's own. Tests have 16 MiB, of compacted topics 1 MiB: a changelog then begins a segment
    # every few thousand rows, a third of what a warm broker does for an event.
    "log.segment.bytes": 1 << 30,
    # An index is a file that is all hole at first, and touched once it is read ahead: on a disk
    # with 8 MiB of that, four milliseconds for each of two a partition. 1 MiB is good for 512 MiB.
    "log.index.size.max.bytes": 1 << 20,
}
"""Of every engine's broker alike, so that topics which are new cost no more than old ones."""


@contextmanager
def broker(say: Callable[[str], None]) -> Iterator[tuple[Cluster, Path]]:
    """Give a broker that lasts and an empty folder, both gone afterwards.

    What fails inside is said and ends the program: 2 without Java or Maven, 3 for an assertion that
    does not hold, since the figures then compare different things.
    """
    try:
        with (
            Cluster(lasting=True).start(settings=SETTINGS) as cluster,
            tempfile.TemporaryDirectory(prefix="leidan-") as place,
        ):
            yield cluster, Path(place)
    except KafkaMissing as missing:
        say(str(missing))
        raise SystemExit(2) from None
    except AssertionError as different:
        say(str(different))
        raise SystemExit(3) from None
