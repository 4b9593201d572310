"""Fixtures of T4 and T5: what needs a real broker. Without Java or Maven they skip by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kafka.cluster import Cluster, KafkaMissing, fetch, required

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Kafka's jars, for tests that start brokers of their own; without them the test is skipped.

    With ``LEIDAN_REQUIRE=kafka`` it fails instead.
    """
    try:
        return fetch()
    except KafkaMissing as missing:
        reason = str(missing)
    if required():
        pytest.fail(f"LEIDAN_REQUIRE names kafka, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def broker(kafka_jars: Path) -> Iterator[Cluster]:  # noqa: ARG001 - fetched, or skipped, first
    """The session's one broker. It is shared: name your topics, groups and ids after your test."""
    with Cluster().start() as cluster:
        yield cluster
