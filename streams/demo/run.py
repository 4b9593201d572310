"""One run of the demo from nothing to its summary; the order of things, each in its own module.

Broker, worker, records, folded to the end, worker stopped, topics read, summary. The end is judged
from what the worker committed (the meta rows of its changelog), never from what it says.
"""

from __future__ import annotations

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
from streams.demo.progress import Look
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.demo.summary import OUTPUTS, Summary, summarize
from streams.errors import RewardsError, UsageError
from streams.store.meta import META, decode_meta
from streams.topics import CHANGELOG, USER_KEYED, registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.connect import Values
    from streams.demo.progress import Progress
    from streams.demo.sending import Sent

STATE = "state"  # below the directory of the run
LOOK_EVERY_S = 0.25
STUCK_S = (
    90.0  # nothing new committed for so long, with records left: longer than the watchdog's 60
)
TAILS = (8, 50_000)  # offsets of a changelog partition to look for its newest meta row in


class DemoFailed(RewardsError):
    """The run cannot be counted: something fell away, or nothing moves any more."""


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
        pool = stack.enter_context(ThreadPoolExecutor(1, "sender"))
        reader = stack.enter_context(Reader(bootstrap, plan.prefix, plan.client))
        fold_s = _fold_all(plan, pool, bootstrap, reader, worker, progress)
        progress.doing("stopping the worker")
        worker.stop()
        progress.doing("counting")
        notes = guard(broker)
        summary = summarize(reader.all_of([*USER_KEYED, *OUTPUTS]))
        return Outcome(
            summary,
            bootstrap,
            broker is not None,
            wall_s=time.monotonic() - began_s,
            fold_s=fold_s,
            stats=worker.last_words(),
            notes=notes,
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
        there = reader.topics()
        for name in registry():
            for partition in range(there.get(name, 0)):
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
    if plan.config is not None:
        arguments.append(f"--config={plan.config}")
    return arguments


def _fold_all(  # noqa: PLR0913 - the run's parts, used in one place
    plan: Plan,
    pool: ThreadPoolExecutor,
    bootstrap: str,
    reader: Reader,
    worker: Worker,
    progress: Progress,
) -> float:
    """Send everything while the worker folds; return the seconds until all of it was committed."""
    times = sorted(timestamp_ms for _, _, _, timestamp_ms in plan.records)
    sent = 0

    def on_sent(number: int) -> None:
        nonlocal sent
        sent = number

    sending = pool.submit(
        send, bootstrap, plan.records, prefix=plan.prefix, on_sent=on_sent, client=plan.client
    )
    ready_s: float | None = None
    moved_s, moved = time.monotonic(), -1
    ends: dict[tuple[str, int], int] | None = None
    while True:
        stats = worker.stats()
        now_s = time.monotonic()
        if ready_s is None and _ready(stats):
            ready_s = now_s
        folded = stats["records_total"] if stats else 0
        if folded != moved:
            moved_s, moved = now_s, folded
        elif now_s - moved_s > STUCK_S:
            raise DemoFailed(f"nothing was folded for {STUCK_S:.0f} s; the log: {worker.log}")
        progress.show(_look(plan, times, sent, folded, stats))
        if ends is None and _done(sending):
            ends = _ends(reader)
        if ends is not None and folded >= len(plan.records) and _all_committed(reader, ends):
            return time.monotonic() - (ready_s or now_s)
        time.sleep(LOOK_EVERY_S)


def _done(sending: Future[Any]) -> bool:
    """Return whether all was sent; raises what sending ended with."""
    if not sending.done():
        return False
    sending.result()
    return True


def _ends(reader: Reader) -> dict[tuple[str, int], int]:
    """Return the end of every input partition that holds records."""
    there = reader.topics()
    bounds = {
        (topic, partition): reader.bounds(topic, partition)
        for topic in USER_KEYED
        for partition in range(there[topic])
    }
    return {at: high for at, (low, high) in bounds.items() if high > low}


def _all_committed(reader: Reader, ends: dict[tuple[str, int], int]) -> bool:
    """Return whether the newest meta row of every partition has reached the input's end."""
    for tail in TAILS:
        reached: dict[tuple[str, int], int] = {}
        for row in reader.all_of([CHANGELOG], tail=tail):
            if row.key == META and row.value is not None:
                for topic, offset in decode_meta(row.value).next.items():
                    reached[topic, row.partition] = offset
        if all(reached.get(at, 0) >= end for at, end in ends.items()):
            return True
    return False


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
