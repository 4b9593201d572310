"""The benchmark itself runs and compares like with like; its figures here mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import legs, live
from tests.bench.engines import registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka


def test_all_engines_end_at_the_rewards_of_the_model(broker: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "legs.json"
    bench = live.run(
        broker,
        tmp_path,
        events=4_000,
        sustained_events=0,
        rounds=1,
        say=live.stopwatch(),
        kept=lambda leg: legs.append(file, leg),
        tag="bench-smoke",
    )
    assert [leg.engine for leg in bench.legs] == [
        name for name, engine in registry().items() if not engine.missing()
    ]
    assert {leg.digest for leg in bench.legs} == {bench.digest}
    print("\n".join(live.lines(bench)))
    # No figure is asserted but its sign: a leg that did not measure anything would be zero.
    assert all(min(leg.events_per_s, leg.cpu_us, leg.rss_mb) > 0 for leg in bench.legs)
    phases = bench.legs[0].more["phases_s"]
    assert {"decode", "read", "fold", "produce", "commit", "write"} <= set(phases)
    assert legs.read([file]) == bench.legs
