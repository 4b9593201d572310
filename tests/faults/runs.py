"""One fault on one test's own topics: workers, traffic, and the whole check at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import builders as b
from tests.faults.steady import Steady, dirty
from tests.kafka.aftermath import gathered, require_clean
from tests.kafka.harness import (
    PARTITIONS,
    Topics,
    wait_drained,
    wait_settled,
    wait_until,
)
from tests.kafka.workers import Process, Worker

if TYPE_CHECKING:
    from streams.traffic import Sent
    from tests.checker import Bad, Report
    from tests.kafka.cluster import Cluster


AT_MS = b.millis(b.at(1))
MOST_KB = 700 << 10  # of memory: the budget of 512 MiB for caches and queues, and Python itself


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

    def traffic(self, seed: int, per_s: float = 120.0) -> Steady:
        """Begin to send dirty records of this seed; the run ends it if the test does not."""
        self._traffic.append(Steady(self.topics, dirty(seed), per_s))
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
        bad: Bad | None = None,
        least_due: int = 300,
        timeout_s: float = 60,
    ) -> Report:
        """Drain, settle, stop, compare everything. Raises at the first violation."""
        self.drain(workers[0], timeout_s)
        wait_settled(self.topics)
        for worker in workers:
            if worker.running:
                ready(worker)  # before that, SIGTERM is no more than a death
                assert worker.stop() == 0, worker.tail()
        return require_clean(gathered(self.topics, *workers), least_due=least_due, bad=bad)

    def close(self) -> None:
        for traffic in self._traffic:
            traffic.cancel()
        for process in self.processes:
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


def working(worker: Worker, transactions: int = 3) -> None:
    wait_until(
        lambda: worker.transactions() >= transactions or not worker.running,
        lambda: f"{worker.name} to commit {transactions} transactions: {worker.tail(5)}",
        40,
    )
    worker.require_running()


def record(event: dict[str, Any], at_ms: int = AT_MS) -> Sent:
    """An event of the builders as its producer sends it."""
    value = json.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"}).encode()
    return b.topic_of(event), event["user_id"].encode(), value, at_ms
