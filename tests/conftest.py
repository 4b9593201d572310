"""What all tests share: the profiles of properties, and the session's one real broker.

`quick` repeats the same examples, `soak` looks for new ones. What needs a real broker skips by name
without Java or Maven.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.kafka.cluster import Cluster, KafkaMissing, fetch, required

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

hypothesis.settings.register_profile("quick", max_examples=200, derandomize=True, deadline=None)
hypothesis.settings.register_profile("soak", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("LEIDAN_HYPOTHESIS", "quick"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what `make test` keeps in one process: all that needs the real broker, else a file.

    One broker is enough for two cores, and what a module's fixture made is made once.
    """
    for item in items:
        needs_broker = "kafka_jars" in getattr(item, "fixturenames", ())
        group = "real broker" if needs_broker else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


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
