"""One run of real workers behind proxies: topics, traffic, a live reader, and the check at the end.

The test itself sends and reads directly; only workers pass through the proxies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from streams.errors import Exit
from tests import checker
from tests.faults.live import LiveReader
from tests.faults.proxy import Proxies
from tests.gates import FAULTS
from tests.kafka.cluster import Cluster
from tests.kafka.harness import (
    CHANGELOG,
    OUTPUTS,
    USER_KEYED,
    Topics,
    wait_drained,
    wait_settled,
    wait_until,
)
from tests.kafka.workers import SAMPLE, Unexpected, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streams.traffic import Sent, Traffic
    from tests.kafka.harness import Sending

LONG = FAULTS  # conftest.py gates everything here that starts a broker
DEFINITIONS = [json.loads(SAMPLE.read_text())]
RESTARTED = frozenset({Exit.STUCK, Exit.DISK, Exit.FENCED, Exit.UNREACHABLE})
"""What a supervisor starts again without a word."""

CAMPAIGNS = b"campaigns"
"""In the requests of the campaign reader, and of no other client that stays."""


@contextlib.contextmanager
def behind_proxies(brokers: int = 1, **settings: str | int) -> Iterator[tuple[Cluster, Proxies]]:
    """Brokers whose client and inter-broker listeners are reached through proxies."""
    with (
        Proxies(marks=(CAMPAIGNS,)) as proxies,
        Cluster().start(brokers, through=proxies.open, settings=settings) as cluster,
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
        self._sending: Sending | None = None
        self._enough = False

    @property
    def worker(self) -> Worker:
        return self.workers[0]

    def begin(self, traffic: Traffic, per_s: float) -> None:
        """Start workers, reader and traffic, and wait for the first commits."""
        for worker in self.workers:
            worker.start()
        self.live = LiveReader(self.topics)
        self._sending = self.topics.sending(self._as_long_as_needed(traffic), per_s=per_s)
        for worker in self.workers:
            self.until(lambda w=worker: self.committed(w) >= 3, "the first commits", 60)

    def _as_long_as_needed(self, traffic: Traffic) -> Iterator[Sent]:
        for record in traffic:
            if self._enough:
                return
            yield record

    def count(self, what: str, worker: Worker | None = None) -> int:
        """A count of transactions of a worker's present life: committed, aborted, unknown."""
        worker = worker or self.worker
        stats = worker.stats()
        if not worker.running or stats.get("pid") != worker.pid:
            return 0
        return stats.get("transactions", {}).get(what, 0)

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

    def finish(self, timeout_s: float = 120, *, whole: bool = False) -> checker.Report:
        """End the traffic (``whole``: wait for it), drain, settle, stop and check everything."""
        self._enough = not whole
        assert self._sending is not None
        assert self.live is not None
        self.until(lambda: self._sending.over, "the traffic to be sent", timeout_s)
        self._sending.join(60)
        self.until(lambda: self.topics.lag(self.worker.group) == 0, "lag zero", timeout_s)
        wait_drained(self.topics, self.worker.group)
        wait_settled(self.topics, (*USER_KEYED, *OUTPUTS, CHANGELOG))
        followed = self.live.stop()
        for worker in self.workers:
            worker.require_running()
            assert worker.stop() == 0, worker.tail()
        evidence = checker.gather(
            self.topics,
            self.worker.group,
            state_dirs=[worker.databases for worker in self.workers],
            followed=followed,
        )
        report = checker.check_with_fold(evidence, DEFINITIONS, [SAMPLE])
        print(f"{report.summary()}; restarts by exit status: {dict(self.restarts)}")
        report.require_clean()
        self.live.report.require_clean()
        assert self.live.read > 100, "void: the live reader was given next to nothing"
        assert report.compared["rewards due"] > 100, "void: next to nothing was earned"
        return report

    def aborted(self) -> int:
        """Transactions whose rows stand on the changelog and were aborted."""

        def metas(*, committed: bool) -> int:
            rows = self.topics.read(CHANGELOG, committed=committed)
            return sum(row.key == checker.META for row in rows)

        return metas(committed=False) - metas(committed=True)

    def close(self) -> None:
        """Make sure that all is gone."""
        for worker in self.workers:
            if worker.running:
                os.kill(worker.pid, signal.SIGCONT)
            worker.close()
