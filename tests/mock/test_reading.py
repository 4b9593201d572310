"""What is asked of a broker that made its topics a moment ago, and does not show them yet."""

from __future__ import annotations

from threading import Timer

import pytest
from confluent_kafka import Producer

from streams.broker.embedded import EmbeddedBroker
from streams.demo import reading
from streams.demo.reading import Reader
from streams.errors import Refused


def test_a_topic_that_is_shown_late_is_waited_for():
    with (
        EmbeddedBroker().start({"x-orders": 6}) as broker,
        Reader(broker.bootstrap, "x-") as reader,
    ):
        host = Producer({"bootstrap.servers": broker.bootstrap})
        late = Timer(0.5, lambda: host.list_topics("x-ticks", timeout=5))  # asking makes it there
        late.start()
        assert "ticks" not in reader.topics()
        assert reader.partitions(["orders", "ticks"]) == {"orders": 6, "ticks": 4}
        late.join()


def test_a_topic_that_never_comes_is_named_and_not_a_key_error(monkeypatch):
    monkeypatch.setattr(reading, "TIMEOUT_S", 0.2)
    with (
        EmbeddedBroker().start({"x-orders": 6}) as broker,
        Reader(broker.bootstrap, "x-") as reader,
        pytest.raises(Refused, match=r"topics missing.*: x-ticks, x-rewards. `leidan topics"),
    ):
        reader.partitions(["orders", "ticks", "rewards"])
