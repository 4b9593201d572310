"""One run of the demo from nothing to its summary; the order of things, each in its own module.

Broker, worker, records, folded to the end, worker stopped, topics read, summary. The end is judged
from what the worker committed (the meta rows of its changelog), never from what it says.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from streams.broker.embedded import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerFull
from streams.demo import topics
from streams.demo.child import Worker
from streams.demo.draining import Draining
from streams.demo.progress import Look
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.demo.sources import with_ticks
from streams.demo.summary import OUTPUTS, Summary, summarize
from streams.errors import RewardsError, UsageError
from streams.rights.serving import Service
from streams.ticker import Ticker
from streams.topics import CHANGELOG, TICKS, USER_KEYED, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from streams.connect import Values
    from streams.demo.progress import Progress
    from streams.demo.sending import Sent
    from streams.rights.faults import Faults

STATE = "state"  # below the directory of the run
LOOK_EVERY_S = 0.25
NEXT_LOOK_S = 0.05  # when only the end of a day, or of all, is waited for
TICKS_AT_MOST = 12  # while records are sent
STUCK_S = (
    90.0  # nothing new committed for so long, with records left: longer than the watchdog's 60
)


class DemoFailed(RewardsError):
    """The run cannot be counted: something fell away, or nothing moves any more."""


@dataclass(frozen=True)
class Place:
    """Where a run left its log and its state."""

    bootstrap: str
    state_dir: Path


@dataclass(frozen=True)
class Plan:
    """What to run; records in the order in which they are sent."""

    records: Sequence[Sent]
    campaign_files: tuple[str, ...]
    bootstrap: str | None = None  # None: the embedded broker
    partitions: int = 4
    prefix: str = ""
    state_dir: Path | None = None  # None: a temporary directory, removed at the end
    settings: tuple[str, ...] = ()  # further KEY=VALUE for the worker
    config: str | None = None  # its settings file
    client: Values = field(default_factory=dict)  # how everybody else connects
    seeds: Path | None = None  # the directory of the lotteries' secret seeds
    tick_every_ms: int = 0  # the time is told as the records' own clock moves on; 0: not
    tick_at_the_end_ms: tuple[int, ...] = ()  # and once more, each when all before it is folded
    faults: Faults | None = None  # of the rights service; None: there is none
    answered: frozenset[str] = frozenset()  # the campaigns whose commands it carries out
    ask: Callable[[Place, Summary], Any] | None = None  # while the broker and the state are there


@dataclass
class Outcome:
    """What came of it."""

    summary: Summary
    bootstrap: str
    embedded: bool
    wall_s: float  # all of it, start-up and counting included
    fold_s: float  # from a ready worker and the first record to the last one folded
    stats: dict[str, Any] = field(default_factory=dict)  # the worker's last words
    notes: list[str] = field(default_factory=list)
    answer: Any = None  # to what the plan asked

    @property
    def events_per_s(self) -> int:
        return round(self.summary.records / self.fold_s) if self.fold_s else 0


def run(plan: Plan, progress: Progress) -> Outcome:
    """Run the plan. Raises what a worker, a broker or a definition can end with."""
    began_s = time.monotonic()
    with ExitStack() as stack:
        bootstrap, broker = _broker(plan, stack, progress)
        directory = _directory(plan, stack)
        worker = stack.enter_context(Worker(directory, _arguments(plan, bootstrap, directory)))
        progress.say(f"worker started; its log: {worker.log}")
        reader = stack.enter_context(Reader(bootstrap, plan.prefix, plan.client))
        around = stack.enter_context(_Around(plan, bootstrap, reader))
        fold_s = _fold_all(plan, around, Draining(reader), worker, progress)
        progress.doing("stopping the worker")
        worker.stop()
        progress.doing("counting")
        notes = guard(broker)
        summary = summarize(reader.all_of([*USER_KEYED, *OUTPUTS]))
        answer = plan.ask(Place(bootstrap, directory / STATE), summary) if plan.ask else None
        return Outcome(
            summary,
            bootstrap,
            broker is not None,
            wall_s=time.monotonic() - began_s,
            fold_s=fold_s,
            stats=worker.last_words(),
            notes=notes,
            answer=answer,
        )


def _broker(plan: Plan, stack: ExitStack, progress: Progress) -> tuple[str, EmbeddedBroker | None]:
    """Return an address with empty topics of the registry behind it."""
    if plan.bootstrap is not None:
        topics.require(
            plan.bootstrap,
            prefix=plan.prefix,
            create=True,
            partitions=plan.partitions,
            client=plan.client,
        )
        _require_empty(plan)
        progress.say(f"broker {plan.bootstrap}, topics {plan.prefix}*")
        return plan.bootstrap, None
    counts = {
        plan.prefix + name: entry.partition_count(plan.partitions)
        for name, entry in registry().items()
    }
    try:
        broker = stack.enter_context(EmbeddedBroker().start(counts))
    except EmbeddedBrokerError as error:
        raise DemoFailed(str(error)) from error
    progress.say(f"embedded broker {broker.bootstrap}, {plan.partitions} partitions")
    return broker.bootstrap, broker


def _require_empty(plan: Plan) -> None:
    """Refuse topics that hold something: the summary would count it too."""
    assert plan.bootstrap is not None
    prefix = plan.prefix
    with Reader(plan.bootstrap, prefix, plan.client) as reader:
        for name, partitions in reader.partitions(registry()).items():
            for partition in range(partitions):
                low, high = reader.bounds(name, partition)
                if low != high:
                    raise UsageError(
                        f"{prefix + name}[{partition}] is not empty; give another --topic-prefix"
                    )


def _directory(plan: Plan, stack: ExitStack) -> Path:
    if plan.state_dir is not None:
        if (plan.state_dir / STATE).exists():
            raise UsageError(
                f"{plan.state_dir} holds the state of an earlier run, whose topics are not this"
                " run's; give --state-dir a new directory"
            )
        return plan.state_dir
    return Path(stack.enter_context(TemporaryDirectory(prefix="leidan-demo-")))


def _arguments(plan: Plan, bootstrap: str, directory: Path) -> list[str]:
    arguments = [
        f"--bootstrap-servers={bootstrap}",
        "--instance=demo-0",
        f"--state-dir={directory / STATE}",
        f"--topic-prefix={plan.prefix}",
        f"--set=app_id={plan.prefix}leidan",
        *(f"--campaigns={file}" for file in plan.campaign_files),
        *(f"--set={assignment}" for assignment in plan.settings),
    ]
    if plan.bootstrap is None:
        arguments.append("--set=embedded=true")
    if plan.seeds is not None:
        arguments.append(f"--set=pool_secrets_dir={plan.seeds}")
    if plan.config is not None:
        arguments.append(f"--config={plan.config}")
    return arguments


class _Around:
    """What goes on around the worker: the shop that sends, the clock, the rights service."""

    def __init__(self, plan: Plan, bootstrap: str, reader: Reader) -> None:
        self.plan, self.bootstrap = plan, bootstrap
        self.sent = 0
        self._left_ms = list(plan.tick_at_the_end_ms)
        self._ticker: Ticker | None = None
        if plan.tick_every_ms or self._left_ms:
            partitions = reader.partitions([TICKS])[TICKS]
            self._ticker = Ticker(
                bootstrap,
                partitions,
                app_id=f"{plan.prefix}leidan",
                prefix=plan.prefix,
                client=plan.client,
            )
        self._service: Service | None = None
        if plan.faults is not None:
            self._service = Service(bootstrap, plan.faults, plan.prefix, plan.client, plan.answered)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(2, "around")
        self._sending: Future[Any] | None = None
        self._serving: Future[None] | None = None

    def __enter__(self) -> Self:
        if self._service is not None:
            self._serving = self._pool.submit(self._service.serve, self._stopped.is_set)
        self._sending = self._pool.submit(self._send)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def all_sent(self) -> bool:
        """Return whether the shop is done; raises what anybody here ended with."""
        if self._serving is not None and self._serving.done():
            self._serving.result()
        if self._sending is None or not self._sending.done():
            return False
        self._sending.result()
        return True

    def over(self, draining: Draining) -> bool:
        """Return whether nothing is left to fold, nor to answer."""
        service = self._service
        return draining.over(None if service is None else lambda: service.rested)

    def tick(self) -> bool:
        """Tell the next of the times at the end; False: there is none left."""
        if not self._left_ms:
            return False
        self._tell(self._left_ms.pop(0))
        return True

    def _send(self) -> None:
        plan, every_ms = self.plan, self.plan.tick_every_ms
        at_least = len(plan.records) // TICKS_AT_MOST
        with Reader(self.bootstrap, plan.prefix, plan.client) as reader:
            draining = Draining(reader)
            send(
                self.bootstrap,
                with_ticks(plan.records, every_ms, at_least) if every_ms else plan.records,
                prefix=plan.prefix,
                on_sent=self._on_sent,
                on_tick=lambda at_ms: self._tell_when_over(draining, at_ms),
                client=plan.client,
            )

    def _on_sent(self, number: int) -> None:
        self.sent = number

    def _tell_when_over(self, draining: Draining, at_ms: int) -> None:
        """Let a day's work be done before the next one, as it would be.

        What is sent in a second asks pools after its last order: nothing issued is ever revoked.
        """
        while not self._stopped.is_set() and not self.over(draining):
            self._stopped.wait(NEXT_LOOK_S)
        if not self._stopped.is_set():
            self._tell(at_ms)

    def _tell(self, at_ms: int) -> None:
        assert self._ticker is not None
        self._ticker.write(at_ms, at_ms)


def _fold_all(
    plan: Plan, around: _Around, draining: Draining, worker: Worker, progress: Progress
) -> float:
    """Wait until the worker has folded all; return the seconds it took for what was sent."""
    times = sorted(timestamp_ms for _, _, _, timestamp_ms in plan.records)
    ready_s: float | None = None
    fold_s: float | None = None
    moved_s, moved = time.monotonic(), -1
    while True:
        stats = worker.stats()
        now_s = time.monotonic()
        if ready_s is None and _ready(stats):
            ready_s = now_s
        folded = _folded(stats)
        if (total := stats["records_total"] if stats else 0) != moved:
            moved_s, moved = now_s, total
        elif now_s - moved_s > STUCK_S:
            raise DemoFailed(f"nothing was folded for {STUCK_S:.0f} s; the log: {worker.log}")
        progress.show(_look(plan, times, around.sent, folded, stats))
        if around.all_sent() and folded >= len(plan.records) and around.over(draining):
            if fold_s is None:
                fold_s = time.monotonic() - (ready_s or now_s)
            if not around.tick():
                return fold_s
        time.sleep(NEXT_LOOK_S if around.all_sent() else LOOK_EVERY_S)


def _folded(stats: dict[str, Any] | None) -> int:
    """Return how much the worker has folded of what others say."""
    records = stats["records"] if stats else {}
    return sum(records.get(topic, 0) for topic in USER_KEYED)


def _look(
    plan: Plan, times: list[int], sent: int, folded: int, stats: dict[str, Any] | None
) -> Look:
    if not _ready(stats):
        return Look("starting the worker", len(plan.records), sent)
    assert stats is not None
    return Look(
        "folding",
        len(plan.records),
        sent,
        folded,
        clock_ms=times[min(folded, len(times)) - 1] if folded else None,
        rewards=stats["rewards_issued"] - stats["rewards_revoked"],
        duplicates=stats["duplicates"],
        dead=sum(stats["dead_letters"].values()),
    )


def _ready(stats: dict[str, Any] | None) -> bool:
    """Return whether the worker has partitions and may fold."""
    return bool(stats and stats["partitions"] and not stats["paused"])


def guard(broker: EmbeddedBroker | None) -> list[str]:
    """Raise DemoFailed if the embedded broker dropped something that is counted or was folded."""
    if broker is None:
        return []
    counted = [name for name in broker.topics if not name.endswith(CHANGELOG)]
    try:
        broker.assert_nothing_dropped(counted)
    except EmbeddedBrokerError as error:
        raise DemoFailed(str(error)) from error
    try:
        broker.assert_nothing_dropped()
    except EmbeddedBrokerFull:
        note = (
            f"{CHANGELOG} outgrew the embedded broker: this run is whole, but a second worker"
            " could not have restored from it"
        )
        return [note]
    return []
