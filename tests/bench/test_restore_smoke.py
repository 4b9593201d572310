"""The restore's benchmark runs, small: every row comes back; its figures mean nothing.

Small is 11,000 rows a partition: so many are loaded as files.
"""

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
        broker, tmp_path, users=44_000, unit=4_000, times=2, say=print, tag="restore-smoke"
    )
    print("\n".join(restore.lines(bench)))
    assert bench.records == 88_000 + 22 * 4, "rows; a meta row of each transaction and partition"
    assert bench.records_per_s > 0
    assert 0 < bench.first_restored_s <= bench.last_restored_s
    assert bench.first_restored_s <= bench.first_folded_s
