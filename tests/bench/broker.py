"""The broker of a benchmark, and how its program ends."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kafka.cluster import Cluster, KafkaMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def broker(say: Callable[[str], None]) -> Iterator[tuple[Cluster, Path]]:
    """Give a broker that lasts and an empty folder, both gone afterwards.

    What fails inside is said and ends the program: 2 without Java or Maven, 3 for an assertion that
    does not hold, since the figures then compare different things.
    """
    try:
        with (
            Cluster(lasting=True).start() as cluster,
            tempfile.TemporaryDirectory(prefix="leidan-") as place,
        ):
            yield cluster, Path(place)
    except KafkaMissing as missing:
        say(str(missing))
        raise SystemExit(2) from None
    except AssertionError as different:
        say(str(different))
        raise SystemExit(3) from None
