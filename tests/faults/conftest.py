"""The fault matrix on real brokers runs when it is asked for: minutes of killing and waiting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
