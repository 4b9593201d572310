"""create_app(settings): the only place that wires. run_worker(settings): one worker, to its end."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import logging
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams import __version__, connect, metrics, native, topics
from streams.agents import (
    answers,
    cancellations,
    claims,
    dead_letters,
    draws,
    orders,
    results,
    ticks,
)
from streams.agents.channel import BatchChannel
from streams.domain.fold import FOLD_VERSION
from streams.errors import DiskError, Exit, Refused
from streams.feed import kept, malloc, preflight, stats
from streams.feed.background import Background
from streams.feed.batch import stop_process
from streams.feed.campaigns import CampaignReader
from streams.feed.crash_notes import CrashNotes
from streams.feed.history import KafkaHistory
from streams.feed.kafka_log import KafkaLog, generation_of
from streams.feed.loop import Feed
from streams.feed.measure import Meter
from streams.feed.pool_gauges import PoolGauges
from streams.feed.producer import KafkaProducer
from streams.feed.service import FeedService
from streams.feed.unit_of_work import Versions
from streams.feed.watchdog import Watchdog
from streams.partitioner import partition_of
from streams.pool_secrets import Seeds
from streams.store import states
from streams.store.rows import DiskStore
from streams.web import surface
from streams.wire import campaigns, outputs, rows

if TYPE_CHECKING:
    import faust

    from streams.feed.preflight import Found
    from streams.feed.unit_of_work import UnitOfWork
    from streams.settings import Settings
    from streams.tracing import Tracer

log = logging.getLogger(__name__)

AGENTS = {
    topics.ORDERS: orders,
    topics.CLAIMS: claims,
    topics.CANCELLATIONS: cancellations,
    topics.REWARD_RESULTS: results,
    topics.DRAW_RESULTS: answers,
}


FAUST_STOP_S = 3.0
"""What Faust gets to stop after the feed has: usually 1 s, and nothing of ours depends on it."""


def _home(pool_id: str, partitions: int) -> int:
    return partition_of(pool_id.encode(), partitions)


class MonotonicClock:
    """Durations for the loop. Implements `ports.Clock`."""

    def monotonic_s(self) -> float:
        return time.monotonic()


class Worker:
    """Everything one worker is made of; see `create_app` and `run_worker`."""

    def __init__(  # noqa: PLR0913 - made in `create_app` only
        self,
        settings: Settings,
        found: Found,
        reader: CampaignReader,
        seeds: Seeds,
        address: str = "",
        tracer: Tracer | None = None,
    ) -> None:
        self.settings, self.reader, self.partitions = settings, reader, found.partitions
        self.watchdog = Watchdog()
        store = DiskStore(settings.database_dir, states.identity(settings.app_id, *found))
        self.meter = Meter(store.sizes)
        self._tracer = tracer
        home = partial(_home, partitions=found.partitions)
        self.pool_gauges = PoolGauges(home)
        metrics.begin(topics.FOLDED)
        self.stats_file = stats.StatsFile(settings.stats_file)
        self.log = KafkaLog(settings, address, native.taker())
        notes = CrashNotes(settings.database_dir)
        self.feed = Feed(
            log_=self.log,
            make_producer=lambda: KafkaProducer(settings, sender=native.sender),
            make_history=lambda cancelled: KafkaHistory(settings, cancelled, reader=native.reader),
            store=store,
            codec=states.CODEC,
            encode=outputs.encode,
            campaigns=reader,
            executor=Background("restore"),
            committer=Background("commit"),
            clock=MonotonicClock(),
            topics=topics.FOLDED,
            changelog=topics.CHANGELOG,
            versions=Versions(FOLD_VERSION, rows.ROW_SCHEMA),
            batch_records=settings.batch_records,
            dead_letter_budget=settings.dead_letter_budget,
            parked=notes.parked,
            note=notes.write,
            muted=frozenset() if settings.notifications else topics.MUTED,
            dialects=settings.dead_letter_headers,
            on_dropped=self._trace,
            packed=True,
        )
        self.app = _faust(settings)
        channels = {topic: BatchChannel(self.app, maxsize=1) for topic in topics.FOLDED}
        for topic, module in AGENTS.items():
            module.register(self.app, channels[topic])
        draws.register(self.app, channels[topics.DRAW_REQUESTS], seeds)
        ticks.register(
            self.app,
            channels[topics.TICKS],
            home,
            seeds,
        )
        dead_letters.register(
            self.app,
            settings.topic(topics.DEAD_LETTERS),
            lambda reason: metrics.DEAD_LETTERS_SEEN.labels(reason).inc(),
        )
        self.service = FeedService(
            self.feed,
            channels,
            on_committed=self._committed,
            on_second=self._every_second,
            on_exit=self._on_exit,
            exit_when_idle_s=settings.exit_when_idle_s,
            idle=self.feed.idle,
            stop_worker=lambda: os.kill(os.getpid(), signal.SIGTERM),
        )
        # A child of the app, not `app.service`: those start only once Faust's own consumer has been
        # assigned its dead-letters, and money must not wait for that group (10 s after a kill on
        # the embedded broker, which forgets static members).
        self.app.add_dependency(self.service)

    def _committed(self, work: UnitOfWork) -> None:
        self.meter.committed(work, int(time.time() * 1_000))
        self._trace(work, "committed")

    def _trace(self, work: UnitOfWork, outcome: str) -> None:
        if self._tracer is not None:
            self._tracer.tell(work, time.time_ns(), time.monotonic(), outcome)

    def _on_exit(self) -> None:
        self._write_stats(running=False)
        if self._tracer is not None:
            self._tracer.close()

    def _every_second(self) -> None:
        self._lag = self.feed.lag()
        now_ms = int(time.time() * 1_000)
        self.meter.refresh(self.feed, self._lag, self.reader.refused, now_ms)
        self.pool_gauges.refresh(self.feed, self.reader.current())
        self._write_stats(running=True)

    _lag: dict[Any, int] = {}  # noqa: RUF012 - replaced, never changed

    def _write_stats(self, *, running: bool) -> None:
        group = self.feed.group
        self.stats_file.write(
            stats.snapshot(
                self.feed,
                running=running,
                instance=self.settings.instance,
                idle=running and self.feed.idle(),
                lag=sum(self._lag.values()),
                generation=generation_of(group) if group else -1,
                campaigns=self.reader.known,
                campaigns_refused={k.value: n for k, n in self.reader.refused.items()},
            )
        )


def _tracer(settings: Settings) -> Tracer | None:
    """Return what tells units of work as spans, or None; nothing of OpenTelemetry is imported then.

    Raises UsageError where the extra is not installed.
    """
    if not settings.tracing:
        return None
    from streams.tracing import Tracer  # noqa: PLC0415 - the extra, and only where it is wanted

    return Tracer(settings)


def create_app(settings: Settings, address: str = "") -> Worker:
    """Check the broker, read the campaigns, wire one worker. Nothing runs yet but the reader.

    address: where other workers send users to, if this one has a web server.
    Raises UsageError, CampaignRefused, BrokerUnreachable, Refused: each one clear message.
    """
    if os.environ.get("NO_CYTHON"):  # Faust's own switch, no setting of ours
        raise Refused(
            "NO_CYTHON is set: Faust's pure-Python iterator acks stale generations; unset it"
        )
    tracer = _tracer(settings)
    from_files, files = campaigns.read_files(map(Path, settings.campaign_files))
    found = preflight.check(settings)
    reader = CampaignReader(settings, from_files, files)
    reader.start()
    reader.wait()
    now_ms = int(time.time() * 1_000)
    kept.require(settings, reader.current(), now_ms)
    compiled, why = native.load()
    log.info("orders are folded %s", "compiled" if compiled else f"in Python alone: {why}")
    seeds = Seeds(settings)
    seeds.require(reader.current().pools, now_ms)
    metrics.BUILD.labels(__version__, str(FOLD_VERSION), importlib.metadata.version("tzdata")).set(
        1
    )
    return Worker(settings, found, reader, seeds, address, tracer)


def run_worker(settings: Settings) -> int:
    """Run one worker in this process until SIGTERM, SIGINT or ``exit_when_idle_s``; return 0.

    What ends it otherwise: raised before it runs (see `create_app`); from then on the process
    itself ends with the error's exit code, because Faust would swallow it or go on.
    """
    threading.excepthook = _thread_failed
    for early in (signal.SIGTERM, signal.SIGINT):  # until Faust listens; nothing is under way yet
        signal.signal(early, lambda _number, _frame: os._exit(int(Exit.OK)))
    try:
        settings.database_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{settings.database_dir}: {error.strerror}; set state_dir") from error
    listening = surface.bind(settings)
    worker = create_app(settings, surface.address(settings, listening))
    if listening is not None:
        surface.serve(settings, listening, worker)
    _tune_collector()
    _tune_malloc()
    worker.watchdog.start()
    feed = worker.feed
    worker.watchdog.watch(lambda: feed.beat_s, feed.busy_since_s)
    code = _host(worker)
    worker.reader.stop()
    worker.watchdog.done()
    return code


def _tune_collector() -> None:
    """Collect rarely: two units of work hold some 200,000 objects and hardly a cycle among them.

    With the defaults the collector walks every cached row again and again: 100,000 orders beside
    the broker on two busy cores went from 9,500 to 11,300 events/s.
    """
    gc.collect()
    gc.freeze()  # modules and definitions live as long as the process
    gc.set_threshold(300_000, 20, 100)


def _tune_malloc() -> None:
    """Do without glibc's fast bins: there are caches of each thread in front of them.

    Each allocation of a kilobyte, a row or an output, swept those bins, across what the other
    threads had freed: a tenth of a worker's processor time.
    """
    malloc.ask(malloc.M_MXFAST, 0)


def _host(worker: Worker) -> int:
    """Let Faust run the app; signals are ours: the first stops in 20 s, the second at once."""
    import faust  # noqa: PLC0415 - it takes a second, and `create_app` has it already

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def noticed(_number: int, _frame: Any) -> None:
        """Start the 20 s at once: asyncio's own handler waits for a loop that may be stuck."""
        worker.watchdog.stopping()

    class Host(faust.Worker):
        def install_signal_handlers(self) -> None:
            super().install_signal_handlers()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, noticed)  # beside asyncio's, which the C level wakes
                signal.siginterrupt(number, False)  # noqa: FBT003 - as asyncio has it

        def _schedule_shutdown(self, signal: signal.Signals) -> None:
            if self._signal_stop_time:
                log.warning("second signal: leaving at once; dying is always safe")
                os._exit(128 + signal)
            worker.watchdog.stopping()
            super()._schedule_shutdown(signal)

        async def _stop_on_signal(self, signal: signal.Signals) -> None:
            # the feed first, while its agents still live to answer the batch under way
            await worker.service.stop()
            stopping = asyncio.ensure_future(super()._stop_on_signal(signal))
            # Its start as well: stopping cancels that once, and one that mode swallows is waited
            # for without end. Not wait_for: mode swallows its cancellation, too, and leaves threads
            # behind.
            assert self._starting_fut is not None, "it runs the loop that calls this"
            both = {stopping, self._starting_fut}
            _, left = await asyncio.wait(both, timeout=FAUST_STOP_S)
            if left:  # a rebalance of its dead-letters group may hold it up for long
                log.info("Faust is still leaving its group; nothing durable is there")
                worker.watchdog.done()
                stop_process(Exit.OK)

        async def _sentinel_task(self) -> None:
            await _tasks_left()

    host = Host(
        worker.app,
        loop=loop,
        loglevel=worker.settings.log_level,
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
    )
    host.spinner = None  # a terminal's cursor is not ours to hide
    worker.watchdog.tell_tasks_of(loop)
    try:
        host.execute_from_commandline()
    except SystemExit as left:
        return int(Exit.BROKEN if left.code else Exit.OK)  # Faust's own codes mean nothing here
    return int(Exit.OK)


async def _tasks_left() -> None:
    """Wait until all other tasks have ended; a second at most.

    mode sleeps that second before it closes the loop, whatever is left: of a stop's 1.6 s.
    """
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1.0)


def _faust(settings: Settings) -> faust.App:
    """Return the Faust app exactly as reliability.md 3 has it; the feed is added by `Worker`."""
    import faust  # noqa: PLC0415 - takes a second; only workers need it

    servers = settings.kafka.bootstrap_servers.split(",")
    return faust.App(
        settings.app_id,
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=_credentials(settings),
        store="memory://",
        datadir=str(
            Path(settings.state_dir) / settings.instance / "faust"
        ),  # empty folders of its own
        processing_guarantee="at_least_once",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance,
        broker_session_timeout=10,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=60,
        broker_request_timeout=30,
        broker_max_poll_records=500,
        producer_request_timeout=30,
        producer_acks=-1,
        producer_threaded=False,
        stream_publish_on_commit=False,
        stream_wait_empty=False,
        web_enabled=False,
        web_tables_enabled=False,
        # The mock cluster writes transaction markers without a checksum; Faust's client, which
        # watches dead-letters only, would take them for corruption and die.
        broker_check_crcs=not settings.embedded,
    )


def _credentials(settings: Settings) -> Any:
    """Give Faust's own consumer what kafka.client gives librdkafka: TLS and SASL/PLAIN, SCRAM."""
    given = settings.kafka.client
    protocol = connect.protocol(given)
    if protocol == "plaintext":
        return None
    import faust  # noqa: PLC0415 - takes a second

    context = connect.tls_context(given)
    if "sasl" not in protocol:
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=str(given.get("sasl.username", "")),
        password=str(given.get("sasl.password", "")),
        mechanism=str(given.get("sasl.mechanism", given.get("sasl.mechanisms", "PLAIN"))),
        ssl_context=context,
    )


def _thread_failed(failed: Any) -> None:
    """A thread of ours must not die in silence: the worker would look well without it."""
    log.critical("thread %s died", failed.thread, exc_info=failed.exc_value)
    os._exit(int(Exit.BROKEN))
