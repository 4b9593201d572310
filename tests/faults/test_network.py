"""Rows 5, 6 and 7 of the fault matrix: the network between a worker and its broker.

Every fault is made by a proxy in front of a real broker and counts when its journal says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.traffic import Traffic
from tests.faults.network import Run, behind_proxies
from tests.faults.proxy import Api, Do

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.proxy import Proxies
    from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

Start = "Callable[..., Run]"


@pytest.fixture(scope="module")
def behind(kafka_jars: Path) -> Iterator[tuple[Cluster, Proxies]]:  # noqa: ARG001 - fetched first
    with behind_proxies() as both:
        yield both


@pytest.fixture
def proxies(behind: tuple[Cluster, Proxies]) -> Iterator[Proxies]:
    yield behind[1]
    for fault in behind[1].faults:
        fault.lift()


@pytest.fixture
def start(
    behind: tuple[Cluster, Proxies], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Start]:
    runs: list[Run] = []

    def begin(seed: int, orders: int, per_s: float, **settings: object) -> Run:
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        runs.append(Run(behind[0], name, tmp_path, **settings))
        runs[0].begin(Traffic(seed, orders // 10, orders), per_s)
        return runs[0]

    yield begin
    for run in runs:
        run.close()


def test_row07_a_commit_whose_answer_is_lost_has_happened_once(
    start: Start, proxies: Proxies
) -> None:
    run = start(701, 1_500, 600)
    with proxies.fault(Do.CUT_ANSWER, apis=(Api.END_TXN,), times=3) as lost:
        run.until(lambda: lost.landed == 3, "three commits without an answer", 30)
    run.finish()
    assert run.aborted() == 0, "they were committed, and nothing else was aborted"
