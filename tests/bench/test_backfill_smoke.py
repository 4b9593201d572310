"""The backfill's benchmark runs, small: its figures mean nothing, that its legs agree does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import backfill

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster


@pytest.mark.kafka
@pytest.mark.slow
def test_both_legs_end_at_the_live_rows(broker: Cluster, tmp_path: Path) -> None:
    bench = backfill.run(broker, tmp_path, workload="mixed", events=12_000, say=print)
    assert [leg.processes for leg in bench.legs] == [1, 2]
    assert bench.events == 12_000
    assert bench.ratio() > 0
    assert all(20 < leg.peak_mb < 1_000 for leg in bench.legs)
