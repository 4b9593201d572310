"""What all tests share: the profiles of properties, and the one real broker of a process.

`quick` repeats the same examples, `soak` looks for new ones. What needs a real broker skips by name
without Java or Maven.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.kafka.cluster import Cluster, KafkaMissing, fetch, required

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("quick", max_examples=100, derandomize=True, deadline=None)
hypothesis.settings.register_profile("soak", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("LEIDAN_HYPOTHESIS", "quick"))


ROOT = Path(__file__).resolve().parents[1]

# Hundreds of workers and commands are started: where Python is told to keep no compiled modules,
# each would compile ours again, a third of its start.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "compiled")

SHARE_BROKER = re.compile(r"tests/kafka/test_(?!cluster|exactly_once|prometheus|readme)")
"""Tests that live on one real broker in one process; the other files are long enough alone."""

WAITING = re.compile(r"tests/kafka/test_(?!cluster)")
"""Tests that wait more than they work."""

LONG_FILES = re.compile(r"tests/(kafka|sim|cli|backfill|replay|bench|mock|security|crash)/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that wait come first, then long files: they shall not be the end."""
    order = (WAITING, LONG_FILES)
    items.sort(key=lambda item: [where.match(item.nodeid) is None for where in order])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file in one process, since its fixtures are made once; and a shared broker likewise.

    xdist's own `loadgroup` would do, but says the group in the node id, which pytest 9 ignores.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - with `-n` alone

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "broker" if SHARE_BROKER.match(nodeid) else nodeid.partition("::")[0]

    return ByFile(config, log)


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
    """The process's one broker. It is shared: name your topics, groups and ids after your test."""
    with Cluster().start() as cluster:
        yield cluster
