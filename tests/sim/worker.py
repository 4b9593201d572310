"""One worker: its processes, one after another, and the directory they share.

A process is the shipped `Feed` on simulated ports, driven by the four verbs of
`streams/feed/service.py`, with the shipped agents' body in between.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

from streams import native
from streams.agents import draws, folding, ticks
from streams.domain.fold import FOLD_VERSION
from streams.errors import Exit, RewardsError
from streams.feed import batch as batch_module
from streams.feed import loop, unit_of_work
from streams.feed.loop import Feed
from streams.feed.ports import Known
from streams.feed.unit_of_work import Versions
from streams.store import restore
from streams.store.overlay import Codec
from streams.topics import CHANGELOG, DRAW_REQUESTS, FOLDED, TICKS
from streams.wire import cancellations, claims, draw_results, orders, outputs, results
from streams.wire.rows import ROW_SCHEMA, decode, due_ms, due_of, due_part, encode, new
from tests.pooling import SEED
from tests.sim.campaigns import registry
from tests.sim.consumer import SimLog
from tests.sim.fibers import Killed, Process
from tests.sim.ports import SimClock, SimExecutor, SimHistory, SimProducer
from tests.sim.store import SimStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.feed.unit_of_work import UnitOfWork
    from streams.wire.rows import State
    from tests.sim.world import World

DECODE = {
    "orders": orders.decode,
    "claims": claims.decode,
    "cancellations": cancellations.decode,
    "reward-results": results.decode,
    "draw-results": draw_results.decode,
}
PLANS = native.plans()  # None: not built, every world folds in Python
POLL_S = 0.2


class Exited(BaseException):
    """os._exit with a code, as `stop_process` does it."""


def encode_newer(state: State) -> bytes:
    """A row of the next row schema, as far as this version's code can tell."""
    return bytes([ROW_SCHEMA + 1]) + encode(state)[1:]


def decode_either(key: str, data: bytes) -> State:
    return decode(key, bytes([ROW_SCHEMA]) + data[1:])


class CampaignSource:
    """`ports.CampaignSource`: each process learns of a late one in its time (`Late`).

    And as old as the nemesis says.
    """

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._knows = 0
        if world.late is not None:
            dice, last = Random(f"{world.settings.seed} {process}"), world.late.known
            self._knows = dice.choice((last, dice.randint(0, last)))

    def latest(self) -> Known:
        late = self._world.late
        if late is None or self._world.sent < self._knows:
            return Known(registry())
        return Known(registry(late.record), 1)

    def confirmed_age_s(self) -> float:
        return 31.0 if self._world.clock.now_s < self._world.stale_until_s else 1.0


class Worker:
    """A name, a directory, and the process that has them at the moment."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.store = SimStore(world)
        self.starts = 0
        self.feed: Feed | None = None
        self.leaving = False
        self.newer = False  # runs the version after this one
        self.process = self._new_process()

    def _new_process(self) -> Process:
        self.starts += 1
        process = Process(self.name, self.starts)
        self.world.processes.append(process)
        return process

    def start(self) -> None:
        """Run the present process, or a new one if that has ended or sleeps."""
        if self.world.workers.get(self.name) is not self:
            return  # scaled in before it began
        if self.feed is not None:
            self.process = self._new_process()
        process = self.process
        self.leaving = False
        self.feed = feed = self._feed(process)
        self.world.clock.spawn(str(process), lambda: self._run(process, feed), process)

    def _feed(self, process: Process) -> Feed:
        world = self.world
        return Feed(
            log_=SimLog(world, process),
            make_producer=lambda: SimProducer(world, process),
            make_history=lambda cancelled: SimHistory(world, process, cancelled),
            store=self.store.of(process),
            codec=Codec(new, decode_either, encode_newer, due_ms)
            if self.newer
            else Codec(new, decode, encode, due_ms, due_of, due_part),
            encode=outputs.encode,
            campaigns=CampaignSource(world, process),
            executor=SimExecutor(world.clock, process, "restore"),
            committer=SimExecutor(world.clock, process, "commit"),
            clock=SimClock(world.clock),
            topics=FOLDED,
            changelog=CHANGELOG,
            versions=Versions(FOLD_VERSION, ROW_SCHEMA),
            batch_records=world.batch_records,
            packed=True,
        )

    def _run(self, process: Process, feed: Feed) -> None:
        try:
            feed.start()
            while not (self.leaving and process is self.process):
                work = feed.poll(POLL_S)
                if work is not None:
                    compiled = self.world.compiled and not self.newer
                    fold(work, self.world.most_rows, compiled=compiled)
                    feed.commit(work)
                feed.take_finished()
            feed.close()
        except Killed:
            raise
        except RewardsError as error:
            self.world.exited(self, process, error.exit, str(error))
        except Exited as left:
            self.world.exited(self, process, left.args[0], "fail_stop")
        except Exception as error:  # noqa: BLE001 - as the service does: exit 70
            self.world.exited(self, process, Exit.BROKEN, repr(error), error)
        else:
            self.world.exited(self, process, Exit.OK, "stopped")


def fold(work: UnitOfWork, most_rows: int, *, compiled: bool) -> None:
    """What the agents do, batch after batch. compiled: orders by the short path in C."""
    for batch in work.batches:
        with batch_module.fail_stop(batch):
            if batch.topic == DRAW_REQUESTS:
                draws.fold_requests(batch, lambda _pool: SEED)
            elif batch.topic == TICKS:
                ticks.fold_ticks(batch, most_rows=most_rows)
            elif compiled and batch.topic == "orders" and PLANS is not None:
                folding.fold_compiled(batch, DECODE[batch.topic], PLANS)
            else:
                folding.fold_batch(batch, DECODE[batch.topic])


@contextmanager
def hooked(world: World) -> Iterator[None]:
    """Let the named lines of the protocol and the end of a process lead to this world."""

    def reach(point: str) -> None:
        world.reach(point)

    def stop(code: Any) -> None:
        raise Exited(code)

    with ExitStack() as stack:
        for module in (loop, unit_of_work, restore, folding, ticks):
            stack.enter_context(mock.patch.object(module, "reach", reach))
        stack.enter_context(mock.patch.object(batch_module, "stop_process", stop))
        yield
