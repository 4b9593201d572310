"""The restore's benchmark runs, small: every row comes back; its figures mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import restore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster


@pytest.mark.kafka
def test_a_worker_without_a_disk_has_every_row_back_and_folds(
    broker: Cluster, tmp_path: Path
) -> None:
    bench = restore.run(
        broker, tmp_path, users=6_000, unit=500, times=2, say=print, tag="restore-smoke"
    )
    print("\n".join(restore.lines(bench)))
    assert bench.records == 12_000 + 24 * 4, "rows; a meta row of each transaction and partition"
    assert bench.records_per_s > 0
    assert 0 < bench.first_restored_s <= bench.last_restored_s
    assert bench.first_restored_s <= bench.first_folded_s
