"""The live worker among many users runs, small: two sizes of team must end at the same rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import crowd, report, scale

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster


@pytest.mark.kafka
@pytest.mark.slow
def test_one_worker_and_two_pay_users_whose_rows_were_laid_in_the_same(
    broker: Cluster, tmp_path: Path
) -> None:
    found = crowd.run(
        broker,
        tmp_path / "run",
        users=[3_000],
        workers=[1, 2],
        partitions=2,
        events=12_000,
        rounds=1,
        say=print,
    )
    assert [leg["workers"] for leg in found] == [1, 2]
    assert len({leg["digest"] for leg in found}) == 1
    assert all(20 < leg["rss_mb"] < 1_000 and leg["events_per_s"] > 0 for leg in found)
    scale.write(tmp_path / "crowd.json", found)
    assert [leg["workers"] for leg in report.read([tmp_path / "crowd.json"])] == [1, 2]
