"""What tests on real Kafka share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.workers import Process


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Every process a test starts is listed here, and gone when the test is."""
    started: list[Process] = []
    yield started
    for process in started:
        process.close()
