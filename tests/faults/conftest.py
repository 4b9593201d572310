"""The fault matrix on real brokers runs when it is asked for: minutes of killing and waiting."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.cluster import Cluster

HERE = Path(__file__).resolve().parent
ASKED = bool(os.environ.get("LEIDAN_FAULTS"))
WHY = "the fault matrix takes an hour: `make test-faults` (LEIDAN_FAULTS=1) runs it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what injects faults, unless LEIDAN_FAULTS is set; mark it all alike."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))
            if not ASKED:
                item.add_marker(pytest.mark.skip(reason=WHY))


@pytest.fixture
def run(broker: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """This test's own topics, and processes that end with it."""
    name = re.sub(r"[^a-z0-9-]+", "-", request.node.name.removeprefix("test_").lower())
    one = Run(broker, f"{name[:40].strip('-')}-{zlib.crc32(name.encode()):x}", tmp_path)
    yield one
    one.close()
