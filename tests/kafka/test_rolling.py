"""One worker is rolled back and the other upgraded under load: nothing is lost, nothing twice.

`python -m tests.kafka.rolling` does five rounds of it at 3,000 records a second and judges the
pauses; here, beside other tests, a pause is only bounded by the session: past it the partitions
would move. What the older version may not read it refuses: tests/faults/test_versions.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kafka.harness import Topics
from tests.kafka.rolling import Plan, Rolling
from tests.kafka.versions import IN_PYTHON, THIS, previous_version, taken_out

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka


def test_row27_a_rolling_rollback_and_upgrade_under_load_lose_and_double_nothing(
    broker: Cluster, tmp_path: Path
) -> None:
    commit = previous_version()  # a bare checkout has no history: then the fold in Python alone
    other = taken_out(commit, tmp_path / "previous", compiled=False) if commit else IN_PYTHON
    topics = Topics(broker.bootstrap, "rolling.")
    topics.create(broker)
    plan = Plan(rounds=1, per_s=150, users=500, steady_s=0.5, session_ms=30_000, most_pause_s=30)
    rolling = Rolling(topics, tmp_path, plan, THIS, other)
    try:
        rolling.run()
        figures = rolling.judge()
    finally:
        rolling.close()
    print("\n".join(figures.lines()))
    assert len(figures.restarts) == 4
    assert figures.generations == 0, "static members come back to what they had"
    assert not figures.wrong
