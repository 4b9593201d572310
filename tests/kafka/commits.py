"""Commits as a read_committed reader sees them: each has a meta row on the changelog."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

from tests.checker import META
from tests.kafka.harness import CHANGELOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kafka.harness import Topics


class Commits:
    """Follows the changelog in a thread of its own until it is stopped."""

    def __init__(
        self, topics: Topics, name: str, told: Callable[[int, int], object], wait_s: float
    ) -> None:
        """``told(p, made_ms)`` is called in that thread, when a commit of p has become visible.

        wait_s: how long an idle partition may keep the others waiting, hence how exact "when" is.
        """
        self._told, self._wait_s = told, wait_s
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": topics.bootstrap,
                "group.id": f"{topics.prefix}{name}",  # required by the client; never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": round(wait_s * 1_000),
                "log_level": 3,
            }
        )
        self._consumer.assign(
            [TopicPartition(topics.prefix + t, p, 0) for t, p in topics.partitions([CHANGELOG])]
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._consumer.consume(5_000, self._wait_s):
                    if message.error() is None and message.key() == META:
                        self._told(message.partition(), message.timestamp()[1])
        except BaseException as error:  # noqa: BLE001 - handed over in look() and stop()
            self._error = error
        finally:
            self._consumer.close()

    def look(self) -> None:
        """Raise what the thread died of, if it did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self.look()
