"""What tests on the embedded broker share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams import topics
from streams.broker.embedded import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITIONS = 2


def counts(n: int = PARTITIONS) -> dict[str, int]:
    """Return the partitions of every topic, n of those that are keyed by user."""
    return {name: topic.partition_count(n) for name, topic in topics.registry().items()}


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker of this test's own, with every topic."""
    with EmbeddedBroker().start(counts()) as started:
        yield started
