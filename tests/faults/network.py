"""One run of real workers behind proxies: topics, traffic, a live reader, and the check at the end.

The test itself sends and reads directly; only workers pass through the proxies.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.faults.live import LiveReader
from tests.faults.proxy import Proxies
from tests.faults.steady import Steady
from tests.kafka.aftermath import aborted_transactions, gathered, require_clean
from tests.kafka.cluster import Cluster
from tests.kafka.harness import Topics, wait_drained, wait_settled, wait_until
from tests.kafka.workers import RESTARTED, Unexpected, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streams.traffic import Traffic
    from tests.checker import Report

CAMPAIGNS = b"campaigns"
"""In the requests of the campaign reader, and of no other client that stays."""


@contextlib.contextmanager
def behind_proxies(brokers: int = 1, **settings: str | int) -> Iterator[tuple[Cluster, Proxies]]:
    """Brokers whose client and inter-broker listeners are reached through proxies."""
    with (
        Proxies(marks=(CAMPAIGNS,)) as proxies,
        Cluster(lasting=True).start(brokers, through=proxies.open, settings=settings) as cluster,
    ):
        yield cluster, proxies


class Run:
    """Workers on topics of their own, supervised, until `finish`."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        directory: Path,
        instances: Sequence[str] = ("leidan-0",),
        **settings: Any,
    ) -> None:
        self.cluster, self.topics = cluster, Topics(cluster.bootstrap, f"{name}.")
        assert CAMPAIGNS not in self.topics.prefix.encode(), "it would mark every connection"
        self.topics.create(cluster)
        given = {"batch_records": 100, **settings}
        self.workers = [
            Worker(cluster.proxied, self.topics.prefix, one, directory, settings=given)
            for one in instances
        ]
        self.restarts: Counter[int] = Counter()  # by exit status
        self.live: LiveReader | None = None
        self._traffic: Steady | None = None

    @property
    def worker(self) -> Worker:
        return self.workers[0]

    def begin(self, traffic: Traffic, per_s: float) -> None:
        """Start workers, reader and traffic, and wait for the first commits."""
        for worker in self.workers:
            worker.start()
        self.live = LiveReader(self.topics)
        self._traffic = Steady(self.topics, traffic, per_s)
        for worker in self.workers:
            self.until(lambda w=worker: self.committed(w) >= 3, "the first commits", 60)

    def count(self, what: str, worker: Worker | None = None) -> int:
        """A count of transactions of a worker's present life: committed, aborted, unknown."""
        return (worker or self.worker).transactions(what)

    def committed(self, worker: Worker | None = None) -> int:
        return self.count("committed", worker)

    def supervise(self) -> None:
        """Start again what ended as it may; raise Unexpected for any other end."""
        for worker in self.workers:
            if not worker.running:
                status = worker.ended()
                if status not in RESTARTED:
                    msg = f"{worker.name} ended with {status}\n{worker.tail()}"
                    raise Unexpected(msg)
                self.restarts[status] += 1
                worker.start()

    def until(self, holds: Any, what: str, timeout_s: float) -> float:
        """Supervise and wait; return the seconds it took."""

        def supervised() -> bool:
            self.supervise()
            return holds()

        return wait_until(
            supervised, lambda: f"{what}; stats: {self.worker.stats()}", timeout_s, 0.2
        )

    def rest(self, seconds: float) -> None:
        """Let time pass, supervised."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.supervise()
            time.sleep(0.2)

    def healed(self, timeout_s: float = 60) -> float:
        """Wait until every worker has committed anew; the seconds it took."""
        before = {worker: (worker.starts, self.committed(worker)) for worker in self.workers}

        def moved() -> bool:
            return all(
                self.committed(worker) > (count if worker.starts == starts else 0)
                for worker, (starts, count) in before.items()
            )

        return self.until(moved, "every worker to commit again", timeout_s)

    def finish(self, timeout_s: float = 120, *, whole: bool = False) -> Report:
        """End the traffic (``whole``: wait for it), drain, settle, stop and check everything."""
        traffic, live = self._traffic, self.live
        assert traffic is not None
        assert live is not None
        if not whole:
            traffic.cancel()
        self.until(lambda: traffic.over, "the traffic to be sent", timeout_s)
        traffic.stop()
        self.until(lambda: self.topics.lag(self.worker.group) == 0, "lag zero", timeout_s)
        wait_drained(self.topics, self.worker.group)
        wait_settled(self.topics)
        followed = live.stop()
        for worker in self.workers:
            worker.require_running()
            assert worker.stop() == 0, worker.tail()
        print(f"restarts by exit status: {dict(self.restarts)}")
        evidence = gathered(self.topics, *self.workers, followed=followed)
        report = require_clean(evidence, least_due=101)
        live.report.require_clean()
        assert live.read > 100, "void: the live reader was given next to nothing"
        return report

    def aborted(self) -> int:
        """Transactions whose rows stand on the changelog and were aborted."""
        return aborted_transactions(self.topics)

    def close(self) -> None:
        """Make sure that all is gone."""
        for worker in self.workers:
            worker.close()
