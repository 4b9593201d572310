"""A TCP proxy in front of each broker that reads Kafka's request framing and breaks it on purpose.

    with Proxies() as proxies, Cluster().start(through=proxies.open) as cluster:
        Producer({"bootstrap.servers": cluster.proxied, ...})
        with proxies.fault(Do.CUT_ANSWER, apis=(Api.END_TXN,), times=1) as lost:
            ...
        assert lost.landed == 1

Requests are cut into frames (size, api key, version, correlation id, client id), so a fault can
choose by api, by client id and by what a connection is about. Answers are cut too, to lose the one
that belongs to a request. What a fault did is in the journal: a test counts what landed, never what
it asked for. One thread with one event loop carries all connections; faults may be set and lifted
from any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Collection


class Api(enum.IntEnum):
    """The requests that the protocol of a unit of work is made of."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28


class Do(enum.Enum):
    """What happens to what a fault matches."""

    DELAY = "delay"
    """Each matching request, and what is behind it on its connection, arrives `delay_s` later."""
    HOLD = "hold"
    """A matching request stays here until `release`, also when its client has gone meanwhile."""
    DROP = "drop"
    """The request never arrives."""
    DROP_ANSWER = "drop answer"
    """The request arrives, the answer does not; the connection stays."""
    CUT_ANSWER = "cut answer"
    """The request arrives; when the broker answers, the connection is cut instead."""
    REFUSE = "refuse"
    """Connections are closed, new ones at once."""
    BLACK_HOLE = "black hole"
    """Nothing passes, either way; when it is lifted all of it does, as TCP would repeat it."""
    HALF_OPEN = "half open"
    """The broker's side is closed, the client is not told. Lifted: the client's is reset."""


WHOLE = frozenset({Do.REFUSE, Do.BLACK_HOLE, Do.HALF_OPEN})
"""These take a connection, not a request."""


LINGER_S = 15.0


class Request(NamedTuple):
    """The head of a request."""

    api: int
    version: int
    correlation: int
    client: str

    @classmethod
    def of(cls, frame: bytes) -> Request:
        api, version, correlation, length = struct.unpack_from(">hhih", frame)
        return cls(api, version, correlation, frame[10 : 10 + max(0, length)].decode())


class Landed(NamedTuple):
    """One line of the journal."""

    at_s: float  # monotonic
    fault: Fault
    broker: int
    api: int
    client: str
    how: str


@dataclass(eq=False)
class Held:
    """A request that waits here."""

    upstream: int
    frame: bytes
    request: Request
    let_go: asyncio.Event
    client_gone: bool = False
    answer: bytes | None = None  # of a request that outlived its client


@dataclass(eq=False)
class Fault:
    """One fault, from `Proxies.fault` until `lift`; leaving its ``with`` block lifts it."""

    proxies: Proxies
    do: Do
    brokers: frozenset[int]  # empty: all
    listener: str
    apis: frozenset[int]  # empty: all
    client: str | None  # client id
    about: bytes | None
    times: int | None
    delay_s: float
    landed: int = 0
    taken: int = 0  # like landed, but before the fact: what `times` limits
    held: list[Held] = field(default_factory=list)
    lifted: bool = False

    def release(self) -> list[Held]:
        """HOLD: let go what is held, to whom it was meant; return it."""
        return self.proxies.run(self._release())

    async def _release(self) -> list[Held]:
        going, self.held = self.held, []
        for held in going:
            held.let_go.set()
            if held.client_gone:
                held.answer = await _deliver(held)
        return going

    def lift(self) -> None:
        """End the fault; what is held goes on, and so does what a black hole swallowed."""
        if not self.lifted:
            self.lifted = True
            self.proxies.lift(self)

    def leave(self) -> None:
        """Take no more; connections that are half open stay so until their client gives up."""
        self.lifted = True
        self.proxies.run(self.proxies.forget(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()


class Proxies:
    """All proxies of a cluster."""

    def __init__(self, marks: Collection[bytes] = ()) -> None:
        """Mark connections by these bytes in one of their requests, for ``about``."""
        self.marks = tuple(marks)
        self.journal: list[Landed] = []
        self.seen: Counter[int] = Counter()  # requests by api, faults or not
        self.faults: tuple[Fault, ...] = ()
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def open(self, broker: int, listener: str, port: int) -> int:
        """Listen on a free port for the broker's listener behind `port`; `cluster.Through`."""
        return self.run(self._open(broker, listener, port))

    async def _open(self, broker: int, listener: str, port: int) -> int:
        async def carry(connection: _Connection) -> None:
            self.connections.add(connection)
            try:
                await connection.serve()
            finally:
                self.connections.discard(connection)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(self, broker, listener, port, reader, writer)
            task = self._loop.create_task(carry(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def fault(  # noqa: PLR0913 - what a fault may choose by
        self,
        do: Do,
        *,
        brokers: Collection[int] = (),
        listener: str = "CLIENT",
        apis: Collection[int] = (),
        client: str | None = None,
        about: bytes | None = None,
        times: int | None = None,
        delay_s: float = 0.0,
    ) -> Fault:
        """Begin a fault. ``times``: how many requests it takes at most; default all."""
        assert about is None or about in self.marks, "connections are not marked by this"
        fault = Fault(
            self,
            do,
            frozenset(brokers),
            listener,
            frozenset(apis),
            client,
            about,
            times,
            delay_s,
        )
        self.run(self._begin(fault))
        return fault

    async def _begin(self, fault: Fault) -> None:
        self.faults = (*self.faults, fault)
        for connection in list(self.connections):
            connection.meet(fault)

    def lift(self, fault: Fault) -> None:
        """End it; see `Fault.lift`."""
        self.run(self._lift(fault))

    async def forget(self, fault: Fault) -> None:
        self.faults = tuple(one for one in self.faults if one is not fault)

    async def _lift(self, fault: Fault) -> None:
        await self.forget(fault)
        await fault._release()  # noqa: SLF001 - its other half
        for connection in list(self.connections):
            connection.part_from(fault)

    def note(self, fault: Fault, connection: _Connection, api: int, how: str) -> None:
        """Write to the journal; called at the moment it happens."""
        fault.landed += 1
        self.journal.append(
            Landed(time.monotonic(), fault, connection.broker, api, connection.client, how)
        )

    def run(self, coroutine):
        """Run it in the proxies' loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def close(self) -> None:
        """Close every connection and end the thread."""
        if not self._thread.is_alive():
            return
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.reset()
        rest = tuple(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Connection:
    """One client's connection to one listener of one broker, and ours to that broker."""

    AHEAD = 32  # requests read while earlier ones wait

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        proxies: Proxies,
        broker: int,
        listener: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.proxies, self.broker, self.listener, self.port = proxies, broker, listener, port
        self.client, self.marks = "", set[bytes]()
        self._reader, self._writer = reader, writer
        self._up_writer: asyncio.StreamWriter | None = None
        self._queue: asyncio.Queue[tuple[bytes, Request, Fault | None, float] | None]
        self._queue = asyncio.Queue(self.AHEAD)
        self._unanswered: dict[int, tuple[Fault, int]] = {}
        self._gone = asyncio.Event()  # the client closed its side
        self._open = asyncio.Event()  # no black hole
        self._open.set()
        self._hollow = False  # half open: the broker's side is closed

    # -- faults of the whole connection --------------------------------------------------------

    def meet(self, fault: Fault) -> None:
        """Take part in a fault that has begun, if it is one of the whole connection."""
        if fault.do not in WHOLE or self._writer.is_closing() or not self._chosen(fault):
            return
        if fault.do is Do.REFUSE:
            self.proxies.note(fault, self, -1, "cut")
            self.reset()
        elif fault.do is Do.BLACK_HOLE and self._open.is_set():
            self.proxies.note(fault, self, -1, "swallowed")
            self._open.clear()
        elif fault.do is Do.HALF_OPEN and not self._hollow and self._up_writer is not None:
            self.proxies.note(fault, self, -1, "half closed")
            self._hollow = True
            self._up_writer.transport.abort()

    def part_from(self, fault: Fault) -> None:
        """Go on after a fault of the whole connection."""
        if fault.do is Do.BLACK_HOLE and self._chosen(fault):
            self._open.set()
        elif fault.do is Do.HALF_OPEN and self._hollow:
            self.reset()

    def reset(self) -> None:
        for writer in (self._writer, self._up_writer):
            if writer is not None:
                writer.transport.abort()

    def _chosen(self, fault: Fault) -> bool:
        return (
            (not fault.brokers or self.broker in fault.brokers)
            and fault.listener == self.listener
            and (fault.client is None or fault.client == self.client)
            and (fault.about is None or fault.about in self.marks)
        )

    def _fault_for(self, request: Request) -> Fault | None:
        for fault in self.proxies.faults:
            if fault.do in WHOLE or (fault.apis and request.api not in fault.apis):
                continue
            if self._chosen(fault) and (fault.times is None or fault.taken < fault.times):
                fault.taken += 1
                return fault
        return None

    # -- the two directions --------------------------------------------------------------------

    async def serve(self) -> None:
        """Carry frames both ways until one side has closed."""
        tasks: list[asyncio.Task[None]] = []
        try:
            for fault in self.proxies.faults:
                self.meet(fault)  # those that need not know the client yet
            if self._writer.is_closing():
                return
            up_reader, self._up_writer = await asyncio.open_connection("127.0.0.1", self.port)
            tasks = [
                asyncio.create_task(self._read_requests()),
                asyncio.create_task(self._pass_requests(self._up_writer)),
                asyncio.create_task(self._pass_answers(up_reader)),
            ]
            # Ends with its deliveries, not with its client: what was sent arrives, however late.
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the broker is down: to the client it looks refused
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.reset()

    async def _read_requests(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(self._reader)
                request = Request.of(frame)
                self.proxies.seen[request.api] += 1
                new = request.client != self.client
                self.client = request.client
                for mark in self.proxies.marks:
                    if mark not in self.marks and mark in frame:
                        self.marks.add(mark)
                        new = True
                if new:
                    for fault in self.proxies.faults:
                        self.meet(fault)
                fault = self._fault_for(request)
                await self._queue.put((frame, request, fault, time.monotonic()))
        self._gone.set()
        await self._queue.put(None)

    async def _pass_requests(self, up: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (item := await self._queue.get()) is not None:
                frame, request, fault, read_s = item
                await self._open.wait()
                if fault is not None and not await self._spoilt(frame, request, fault, read_s):
                    continue
                if self._hollow:
                    continue
                up.write(struct.pack(">i", len(frame)) + frame)
                await up.drain()
            # The last request must not be lost to our closing: the broker ends it, once it has
            # answered and read our end.
            if not self._hollow:
                up.write_eof()
                await asyncio.sleep(LINGER_S)
        if self._hollow:
            await self._gone.wait()

    async def _spoilt(self, frame: bytes, request: Request, fault: Fault, read_s: float) -> bool:
        """Do what the fault says; say whether the request goes on from here."""
        note = self.proxies.note
        if fault.do is Do.DROP:
            note(fault, self, request.api, "dropped")
            return False
        if fault.do is Do.DELAY:
            await asyncio.sleep(max(0.0, read_s + fault.delay_s - time.monotonic()))
            note(fault, self, request.api, "delayed")
        elif fault.do is Do.HOLD and not fault.lifted:
            held = Held(self.port, frame, request, asyncio.Event())
            fault.held.append(held)
            note(fault, self, request.api, "held")
            waits = [asyncio.ensure_future(one.wait()) for one in (held.let_go, self._gone)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if not held.let_go.is_set():
                held.client_gone = True
                return False
        elif fault.do in {Do.DROP_ANSWER, Do.CUT_ANSWER}:
            self._unanswered[request.correlation] = fault, request.api
        return True

    async def _pass_answers(self, up_reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(up_reader)
                await self._open.wait()
                lost = self._unanswered.pop(struct.unpack_from(">i", frame)[0], None)
                if lost is not None:
                    fault, api = lost
                    self.proxies.note(fault, self, api, f"{fault.do.value}: the broker answered")
                    if fault.do is Do.CUT_ANSWER:
                        return
                    continue
                if self._gone.is_set():
                    continue
                self._writer.write(struct.pack(">i", len(frame)) + frame)
                await self._writer.drain()
        if self._hollow:
            await self._gone.wait()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One frame without its size."""
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


async def _deliver(held: Held) -> bytes | None:
    """Bring a request whose client has gone to the broker, as a late packet would be; its answer.

    None when the broker does not answer: it closes connections whose request it cannot take.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", held.upstream)
    except OSError:
        return None
    try:
        writer.write(struct.pack(">i", len(held.frame)) + held.frame)
        return await asyncio.wait_for(_frame(reader), 10)
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return None
    finally:
        writer.transport.abort()
