"""One fault on one test's own topics: workers, traffic, and the whole check at the end."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.traffic import Traffic
from tests import checker
from tests.kafka.harness import (
    CHANGELOG,
    OUTPUTS,
    USER_KEYED,
    Topics,
    wait_drained,
    wait_settled,
    wait_until,
)
from tests.kafka.workers import SAMPLE, Process, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster

DEFINITIONS = [json.loads(SAMPLE.read_text())]
PARTITIONS = 4


class Steady:
    """Seeded, dirty traffic at one rate until it is told to stop."""

    def __init__(self, topics: Topics, seed: int, rate: float = 120.0, users: int = 400) -> None:
        self._enough = threading.Event()
        self._sending = topics.sending(self._log(seed, users), per_s=rate)

    def _log(self, seed: int, users: int) -> Iterator[Sent]:
        for record in Traffic(seed, users, 10**7, ("dup", "late", "reorder")):
            if self._enough.is_set():
                return
            yield record

    @property
    def over(self) -> bool:
        """Say whether it has ended by itself, which it never should."""
        return self._sending.over

    def stop(self) -> int:
        """End it; return how many records were sent. Raises what the sending raised."""
        self._enough.set()
        return self._sending.join(60)

    def cancel(self) -> None:
        self._enough.set()


class Run:
    """See the module. `close` ends every process it started."""

    def __init__(self, broker: Cluster, name: str, directory: Path) -> None:
        self.broker, self.directory = broker, directory
        self.topics = Topics(broker.bootstrap, f"{name}.")
        self.processes: list[Process] = []
        self._traffic: list[Steady] = []

    def create(self, partitions: int = PARTITIONS) -> Topics:
        self.topics.create(self.broker, partitions)
        return self.topics

    def traffic(self, seed: int, **given: Any) -> Steady:
        """Begin to send; the run ends it if the test does not."""
        self._traffic.append(Steady(self.topics, seed, **given))
        return self._traffic[-1]

    def worker(
        self, instance: str = "leidan-0", *, home: Path | None = None, **settings: object
    ) -> Worker:
        """A worker that is not started yet; `home` when two are to bear one name."""
        given = {"batch_records": 100, **settings}
        directory = home or self.directory
        directory.mkdir(exist_ok=True)
        one = Worker(self.broker.bootstrap, self.topics.prefix, instance, directory, settings=given)
        self.processes.append(one)
        return one

    def drain(self, worker: Worker, timeout_s: float = 60) -> None:
        wait_drained(self.topics, worker.group, timeout_s=timeout_s)

    def drained_and_stopped(self, worker: Worker) -> Worker:
        """Let it fold all there is and leave with 0: a good state to spoil."""
        if not worker.running:
            worker.start()
        ready(worker)
        self.drain(worker)
        assert worker.stop() == 0, worker.tail()
        return worker

    def refused(self, worker: Worker, *words: str, timeout_s: float = 40) -> None:
        """Start it; it must end with 78 and say these words, and no traceback."""
        before = len(worker.log.read_text()) if worker.log.is_file() else 0
        worker.start()
        self.require_refused(worker, *words, before=before, timeout_s=timeout_s)

    def require_refused(
        self, worker: Worker, *words: str, before: int = 0, timeout_s: float = 40
    ) -> None:
        status = worker.wait(timeout_s, "refuse with 78")
        said = worker.log.read_text()[before:]
        assert status == 78, said
        assert "Traceback" not in said, said
        for word in words:
            assert word in said, said

    def check(
        self,
        *workers: Worker,
        bad: Mapping[tuple[str, int, int], str] | None = None,
        least_due: int = 300,
        timeout_s: float = 60,
    ) -> checker.Report:
        """Drain, settle, stop, compare everything. Raises at the first violation."""
        self.drain(workers[0], timeout_s)
        wait_settled(self.topics, (*USER_KEYED, *OUTPUTS, CHANGELOG))
        for worker in workers:
            if worker.running:
                ready(worker)  # before that, SIGTERM is no more than a death
                assert worker.stop() == 0, worker.tail()
        evidence = checker.gather(
            self.topics, workers[0].group, state_dirs=[worker.databases for worker in workers]
        )
        report = checker.check_with_fold(evidence, DEFINITIONS, [SAMPLE], bad=bad)
        print(report.summary())
        report.require_clean()
        assert report.compared["rewards due"] >= least_due, "void: next to nothing was earned"
        return report

    def close(self) -> None:
        for traffic in self._traffic:
            traffic.cancel()
        for process in self.processes:
            if process.running:
                os.kill(process.pid, signal.SIGCONT)  # some are asleep
            process.close()


def ready(worker: Worker) -> None:
    """Wait until this life of it has restored what it owns: before that, nothing is under way."""
    wait_until(
        lambda: (
            worker.lives() and bool(worker.stats()["partitions"]) and not worker.stats()["paused"]
        ),
        lambda: f"{worker.name} to be ready: {worker.tail(5)}",
        60,
    )


def owns(worker: Worker, *partitions: int) -> None:
    """Wait until this life of it owns exactly these."""
    wait_until(
        lambda: worker.lives() and worker.stats()["partitions"] == list(partitions),
        lambda: f"{worker.name} to own {partitions}, it says {worker.stats().get('partitions')}",
        40,
    )


def asleep(worker: Worker) -> bool:
    """Say whether it has been stopped by its own SIGSTOP."""
    stat = Path(f"/proc/{worker.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def sleeping_at(worker: Worker, point: str, nth: int = 5) -> None:
    """Start it and wait until it sleeps at the nth pass of this very line."""
    worker.start(LEIDAN_KILL=f"{point}:{nth}:stop")
    wait_until(lambda: asleep(worker), lambda: f"it to sleep at {point}: {worker.tail(5)}", 40)


def committed(worker: Worker) -> int:
    """Transactions of this life that were committed, by its own count."""
    stats = worker.stats()
    if not worker.running or stats.get("pid") != worker.pid:
        return 0
    return int(stats["transactions"]["committed"])


def working(worker: Worker, transactions: int = 3) -> None:
    wait_until(
        lambda: committed(worker) >= transactions or not worker.running,
        lambda: f"{worker.name} to commit {transactions} transactions: {worker.tail(5)}",
        40,
    )
    worker.require_running()


def aborted_transactions(topics: Topics) -> int:
    """Transactions that reached the changelog and were aborted: only read_uncommitted sees them."""

    def metas(*, committed: bool) -> int:
        return sum(row.key == checker.META for row in topics.read(CHANGELOG, committed=committed))

    return metas(committed=False) - metas(committed=True)
