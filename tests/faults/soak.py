"""Everything at once, for hours: `python -m tests.faults.soak --hours 1 --seed 7 --brokers 3`.

Workers are killed every few seconds, brokers, network and membership break one after the other, and
traffic with every kind of chaos goes on. The time is cut into rounds of some minutes: each has
topics of its own on the same brokers, and ends with faults off, lag zero, LSO == HW and the whole
check of `tests/checker`. So memory is bounded, and a run that is interrupted has proved what its
rounds have. `--hours` counts time under faults; draining and checking come on top, about a fifth.

Exit status: 0 clean, 1 a violation, 2 no Java or Maven, 3 void (too few faults landed), 130
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from streams.traffic import POISON_KINDS, Traffic, poison
from tests.faults.fleet import Fleet
from tests.faults.healing import HEAL_S
from tests.faults.live import LiveReader
from tests.faults.nemesis import Nemesis
from tests.faults.network import behind_proxies
from tests.faults.record import Record
from tests.kafka.aftermath import aborted_transactions, gathered, judged
from tests.kafka.cluster import KafkaMissing
from tests.kafka.harness import (
    PARTITIONS,
    TookTooLong,
    Topics,
    wait_settled,
    wait_until,
)
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.checker import Evidence, Position
    from tests.faults.proxy import Proxies
    from tests.kafka.cluster import Cluster
    from tests.kafka.harness import Sending, SentWithHeaders

TELL_S = 10.0
TICK_S = 0.1
DRAIN_S = 240.0  # promise 5, 60 s, and the work of a backlog on a machine that does other things
START_S = 180.0
POISON_EVERY = 100  # records


class Input:
    """Endless traffic of a seed until `stop`, with duplicates, late, disordered and bad records."""

    def __init__(self, seed: int, seconds: float, per_s: float) -> None:
        orders = int(
            (START_S + seconds) * per_s
        )  # about a third more records than orders: never the end
        self._traffic = Traffic(seed, max(50, orders // 10), orders, ("dup", "late", "reorder"))
        self._dice = random.Random(f"leidan/soak/poison {seed}")  # noqa: S311 - seeded on purpose
        self.bad: dict[tuple[str, bytes | None, bytes | None, int], str] = {}
        self.stop = False

    def __iter__(self) -> Iterator[SentWithHeaders]:
        kinds: list[str] = []
        for nth, record in enumerate(self._traffic):
            if self.stop:
                return
            yield record  # type: ignore[misc] - headers are none
            if nth % POISON_EVERY == 0:
                if not kinds:  # each kind in turn, so that none is left out
                    kinds = list(POISON_KINDS)
                kind = kinds.pop()
                bad = poison(kind, self._dice, record[3])
                self.bad[bad] = POISON_KINDS[kind]
                yield bad  # type: ignore[misc]

    def bad_at(self, evidence: Evidence) -> dict[Position, str]:
        """Where the bad ones came to stand, and why they are bad."""
        return {
            seen.position: reason
            for topic, records in evidence.inputs.items()
            for seen in records
            if (reason := self.bad.get((topic, seen.key, seen.value, seen.timestamp_ms)))
        }


class Round:
    """Some minutes of faults, then the check."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        number: int,
        given: argparse.Namespace,
        cluster: Cluster,
        proxies: Proxies,
        directory: Path,
        record: Record,
        seconds: float,
    ) -> None:
        seed = f"{given.seed}/{number}"
        self.rng = random.Random(f"leidan/soak/1 {seed}")  # noqa: S311 - likewise
        self.number, self.given, self.record = number, given, record
        self.directory, self.seconds = directory, seconds
        self.topics = Topics(cluster.bootstrap, f"soak-{given.seed}-{number}.")
        self.topics.create(cluster)
        directory.mkdir()
        self.workers = [
            Worker(
                cluster.proxied,
                self.topics.prefix,
                f"leidan-{n}",
                directory,
                settings={"batch_records": given.batch},
            )
            for n in range(given.workers)
        ]
        self.fleet = Fleet(
            self.workers, self.topics, PARTITIONS, self.rng, given.kill_every, given.heal_limit
        )
        self.nemesis = Nemesis(
            cluster,
            proxies,
            self.fleet,
            random.Random(f"leidan/nemesis/1 {seed}"),  # noqa: S311 - likewise
            brokers=given.brokers,
            every_s=given.fault_every,
        )
        self.source = Input(given.seed * 1_000 + number, seconds, given.per_s)
        self.live: LiveReader | None = None

    def run(self) -> None:
        """Break things for so long, then stop, drain and check."""
        given, fleet, seconds = self.given, self.fleet, self.seconds
        source = self.source
        live = self.live = LiveReader(self.topics)
        sending = self.topics.sending(source, per_s=given.per_s)  # type: ignore[arg-type]
        begun_s = time.monotonic()

        def under_way() -> bool:
            if time.monotonic() - begun_s > START_S:
                raise TookTooLong(f"waited {START_S:.0f} s for every partition to move")
            return all(fleet.progress.moved_s.values())

        fleet.calm = True  # nothing is broken that never ran
        self._tend_until(under_way, "starting", live)
        fleet.calm = False
        self.nemesis.start()
        begun_s = time.monotonic()
        self._tend_until(lambda: time.monotonic() - begun_s >= seconds, "faults", live)
        self.record.faulty_s += time.monotonic() - begun_s
        source.stop = True
        self._drain(sending, live)
        followed = live.stop()
        for worker in self.workers:
            assert worker.stop() == 0, worker.tail()
        self._judge(source, live, followed)

    def _tend_until(self, over, what: str, live: LiveReader) -> None:
        told_s = 0.0
        while not over():
            self.fleet.tend()
            if live.error is not None:
                raise live.error
            if time.monotonic() - told_s >= TELL_S:
                told_s = time.monotonic()
                self.record.take(self.fleet, self.nemesis, live)
                self.record.tell(self.number, what, self.fleet, self.nemesis)
            time.sleep(TICK_S)

    def _drain(self, sending: Sending, live: LiveReader) -> None:
        """Faults off. Nothing is counted before lag is zero and no transaction is open."""
        begun_s, group = time.monotonic(), self.workers[0].group
        self.fleet.calm = True
        self.nemesis.end()
        self._tend_until(lambda: not self.nemesis.alive, "ending the faults", live)
        if self.nemesis.error is not None:
            raise self.nemesis.error
        self.fleet.everyone_in()
        looked_s, lag = 0.0, -1

        def drained() -> bool:
            nonlocal looked_s, lag
            if time.monotonic() - begun_s > DRAIN_S:
                what = f"lag zero, {lag} are unread, sending over: {sending.over}"
                raise TookTooLong(f"waited {DRAIN_S:.0f} s for {what}")
            if not sending.over or time.monotonic() - looked_s < 1:
                return False
            looked_s = time.monotonic()
            with contextlib.suppress(KafkaException):  # a broker that came back a moment ago
                lag = self.topics.lag(group)
            return lag == 0

        self._tend_until(drained, "draining", live)
        sending.join(60)
        wait_settled(self.topics)
        self._tend_until(
            lambda: all(one.running and one.lives() for one in self.workers), "settled", live
        )
        self.record.drains_s.append(round(time.monotonic() - begun_s, 1))

    def _judge(self, source: Input, live: LiveReader, followed) -> None:
        evidence = gathered(self.topics, *self.workers, followed=followed)
        report = judged(evidence, bad=source.bad_at(evidence))
        aborted = aborted_transactions(self.topics)
        if report.findings:  # the brokers go with the soak; this is what is looked into then
            with (self.directory / "evidence.pickle").open("wb") as file:
                pickle.dump((evidence, source.bad), file)
        self.record.take(self.fleet, self.nemesis, live)
        self.record.close_round(evidence, report, live.report, aborted)

    def close(self) -> None:
        """End everything of this round, in whatever state it is."""
        self.source.stop = True
        self.nemesis.end()
        self.fleet.close()
        if self.live is not None:
            self.live.close()
        wait_until(lambda: not self.nemesis.alive, lambda: "the nemesis to end", 120)


def soak(given: argparse.Namespace, directory: Path, record: Record) -> None:
    """Run rounds until the time is over; the record is whole whatever happened."""
    seconds, rounds = given.hours * 3600, max(1, round(given.hours * 60 / given.round_minutes))
    with behind_proxies(given.brokers) as (cluster, proxies):
        for number in range(rounds):
            for i in range(given.brokers):
                if not cluster.running(i):  # the round before ended in the middle of a fault
                    cluster.restart(i)
            place = directory / f"round-{number}"
            one = Round(number, given, cluster, proxies, place, record, seconds / rounds)
            try:
                one.run()
            except KeyboardInterrupt:
                record.take(one.fleet, one.nemesis, None)
                record.interrupted = True
                break
            except Exception as error:  # noqa: BLE001 - a violation of the promise to go on
                record.take(one.fleet, one.nemesis, None)
                record.violation(f"round {number}: {type(error).__name__}: {error}")
            finally:
                with record.noting(f"the end of round {number}"):
                    one.close()
                record.keep_round()
                record.write()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, print the table; see the module for the exit status."""
    parser = argparse.ArgumentParser(prog="tests.faults.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0, help="time under faults (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--workers", type=int, choices=(1, 2, 3, 4), default=3)
    parser.add_argument("--per-s", type=float, default=250.0, help="records a second (250)")
    parser.add_argument("--batch", type=int, default=2_000, help="batch_records (2000)")
    parser.add_argument("--kill-every", type=float, default=4.0, help="mean seconds, all workers")
    parser.add_argument("--heal-limit", type=float, default=HEAL_S, help="seconds (60)")
    parser.add_argument("--fault-every", type=float, default=10.0, help="pause after each healing")
    parser.add_argument("--round-minutes", type=float, default=6.0)
    parser.add_argument("--least-kills", type=int, help="fewer are void (a kill every 20 s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="rewritten every 10 s")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="leidan-soak-"))
    record = Record(given)
    try:
        with record.noting("the soak"):
            soak(given, directory, record)
    except KafkaMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    record.ended = not record.interrupted
    record.write()
    print("\n".join(record.table()))
    return record.exit_status(directory)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a destructor of librdkafka that waits for a broker must not outlast us
