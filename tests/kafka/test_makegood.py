"""A make-good on real Kafka: nothing to say of a right run, and a kill before the commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streams.demo.sources import sample_phases
from tests.cli.conftest import leidan
from tests.cli.test_makegood import RIGHT_MINOR, Place
from tests.kafka.harness import Topics

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_a_worker_with_lotteries_budgets_ticks_and_answers_left_nothing_to_make_good(
    broker: Cluster, tmp_path: Path
) -> None:
    """Four campaigns, the rights service failing at times: all facts of the log are heeded."""
    prefix = "makegood-run-"
    Topics(broker.bootstrap, prefix).create(broker, 2)
    where = ("--bootstrap-servers", broker.bootstrap, "--topic-prefix", prefix)
    ran = leidan("demo", *where, "--users", 60, "--seed", 5, "--json", limit_s=200)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["rewards_revoked"] > 0
    known = [word for file in sample_phases() for word in ("--campaigns", file)]
    out = tmp_path / "none"
    ran = leidan("makegood", *where, *known, "--out", out, "--json")
    assert ran.code == 0, ran.err + (out.read_text() if out.exists() else "")
    told = json.loads(ran.out)
    assert told["rewards_compared"] > 50
    assert told["requests_without_answer"] == 0


def test_killed_before_the_commit_it_has_written_nothing_and_the_next_run_all_once(
    broker: Cluster, tmp_path: Path
) -> None:
    prefix = "makegood-kill-"
    Topics(broker.bootstrap, prefix).create(broker, 2)
    users = {f"u-{n}": (RIGHT_MINOR,) * 3 for n in range(20)}
    place = Place(broker, tmp_path, RIGHT_MINOR + 1, users, prefix)
    assert place.propose().code == 1
    assert place.approve().code == 0
    assert place.emit_and_die("K6:1") == -9
    ran = place.emit("--execute")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["emitted"] == 80
    ids = [json.loads(read.value)["event_id"] for read in place.rewards()]
    assert len(ids) == len(set(ids)) == 80
    assert set(ids) == {json.loads(value)["event_id"] for _, _, value, _ in place.right}
