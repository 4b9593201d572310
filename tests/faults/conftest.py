"""What the fault matrix shares: its gate, and one run of workers on topics of its own."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.runs import Run
from tests.gates import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.cluster import Cluster

HERE = Path(__file__).resolve().parent
LIMIT_S = 900  # a fault is minutes of killing and waiting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gate and mark alike what injects faults; what starts no broker is a test like any other."""
    for item in items:
        if HERE in item.path.parents and "kafka_jars" in getattr(item, "fixturenames", ()):
            for mark in (pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(LIMIT_S), FAULTS):
                item.add_marker(mark)


@pytest.fixture
def run(broker: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """This test's own topics, and processes that end with it."""
    name = re.sub(r"[^a-z0-9-]+", "-", request.node.name.removeprefix("test_").lower())
    one = Run(broker, f"{name[:40].strip('-')}-{zlib.crc32(name.encode()):x}", tmp_path)
    yield one
    one.close()
