"""What the proxy does to a request and its answer, before a server that speaks only the framing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.faults.proxy import Api, Do, Proxies, Request
from tests.kafka.cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

ABOUT = b"campaigns"


class Server:
    """Answers every request with its correlation id and the bytes behind its head."""

    def __init__(self) -> None:
        self.took: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            while True:
                frame = receive(client)
                request = Request.of(frame)
                self.took.append(request)
                answer = struct.pack(">i", request.correlation) + frame[10:]
                client.sendall(struct.pack(">i", len(answer)) + answer)

    def close(self) -> None:
        self._listener.close()


def receive(client: socket.socket) -> bytes:
    def exactly(size: int) -> bytes:
        found = b""
        while len(found) < size:
            some = client.recv(size - len(found))
            if not some:
                raise EOFError
            found += some
        return found

    return exactly(struct.unpack(">i", exactly(4))[0])


class Client:
    """One connection through the proxy."""

    open: ClassVar[list[socket.socket]] = []

    def __init__(self, port: int, name: str = "leidan-0") -> None:
        self.name = name.encode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.open.append(self.socket)
        self.sent = 0

    def send(self, api: int, body: bytes = b"") -> int:
        self.sent += 1
        head = struct.pack(">hhih", api, 1, self.sent, len(self.name)) + self.name
        self.socket.sendall(struct.pack(">i", len(head + body)) + head + body)
        return self.sent

    def answered(self, within_s: float = 5.0) -> int | None:
        """The correlation id of the next answer; None when there is none, 0 at the end."""
        self.socket.settimeout(within_s)
        try:
            return struct.unpack_from(">i", receive(self.socket))[0]
        except TimeoutError:
            return None
        except (EOFError, ConnectionError):
            return 0

    def ask(self, api: int, body: bytes = b"", within_s: float = 5.0) -> int | None:
        self.send(api, body)
        return self.answered(within_s)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies(marks=(ABOUT,)) as several:
        yield several


@pytest.fixture(autouse=True)
def no_socket_stays_open() -> Iterator[None]:
    yield
    while Client.open:
        Client.open.pop().close()


@pytest.fixture
def port(server: Server, proxies: Proxies) -> int:
    return proxies.open(0, "CLIENT", server.port)


SILENCE_S = 0.3


def waits_for(condition) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until, "waited 5 s in vain"
        time.sleep(0.01)


def test_without_a_fault_everything_passes_in_order(server: Server, port: int) -> None:
    client = Client(port)
    large = client.send(Api.PRODUCE, b"x" * 3_000_000)
    small = client.send(Api.END_TXN)
    assert [client.answered(), client.answered()] == [large, small]
    assert [request.api for request in server.took] == [Api.PRODUCE, Api.END_TXN]


def test_a_dropped_request_never_arrives_and_the_next_one_does(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    with proxies.fault(Do.DROP, apis=(Api.END_TXN,), times=1) as fault:
        assert client.ask(Api.END_TXN, within_s=SILENCE_S) is None
        assert client.ask(Api.END_TXN) == 2
    assert [request.correlation for request in server.took] == [2]
    assert fault.landed == 1


def test_a_dropped_answer_means_that_the_broker_took_the_request(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    with proxies.fault(Do.DROP_ANSWER, apis=(Api.END_TXN,), times=1) as fault:
        assert client.ask(Api.END_TXN, within_s=SILENCE_S) is None
        assert client.ask(Api.PRODUCE) == 2, "the connection stays"
    assert [request.api for request in server.took] == [Api.END_TXN, Api.PRODUCE]
    assert fault.landed == 1


def test_a_cut_answer_ends_the_connection_after_the_broker_took_the_request(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    with proxies.fault(Do.CUT_ANSWER, apis=(Api.END_TXN,), times=1):
        assert client.ask(Api.END_TXN) == 0
    assert [request.api for request in server.took] == [Api.END_TXN]
    assert Client(port).ask(Api.END_TXN) == 1


def test_a_delayed_request_holds_up_what_is_behind_it(proxies: Proxies, port: int) -> None:
    client = Client(port)
    begun = time.monotonic()
    with proxies.fault(Do.DELAY, apis=(Api.END_TXN,), delay_s=0.4) as fault:
        client.send(Api.END_TXN)
        client.send(Api.PRODUCE)
        assert [client.answered(), client.answered()] == [1, 2]
    assert time.monotonic() - begun >= 0.4
    assert fault.landed == 1


def test_a_held_request_arrives_when_it_is_released(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    with proxies.fault(Do.HOLD, apis=(Api.END_TXN,)) as fault:
        assert client.ask(Api.END_TXN, within_s=SILENCE_S) is None
        assert server.took == []
        fault.release()
        assert client.answered() == 1


def test_a_held_request_outlives_its_client_and_arrives_after_the_next_ones(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    with proxies.fault(Do.HOLD, apis=(Api.END_TXN,), times=1) as fault:
        client.send(Api.END_TXN)
        waits_for(lambda: fault.landed == 1)
        client.socket.close()
        waits_for(lambda: fault.held[0].client_gone)
        assert Client(port).ask(Api.END_TXN) == 1, "its next try passes"
        late = fault.release()
    assert len(server.took) == 2
    assert late[0].answer is not None, "the broker answered the late copy"


def test_a_black_hole_swallows_both_ways_and_gives_everything_back(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    assert client.ask(Api.PRODUCE) == 1
    with proxies.fault(Do.BLACK_HOLE) as fault:
        assert client.ask(Api.PRODUCE, within_s=SILENCE_S) is None
        assert Client(port).ask(Api.PRODUCE, within_s=SILENCE_S) is None, "a new one neither"
        assert len(server.took) == 1
    assert client.answered() == 2
    assert fault.landed == 2


def test_a_refusing_proxy_cuts_and_then_refuses(proxies: Proxies, port: int) -> None:
    client = Client(port)
    assert client.ask(Api.PRODUCE) == 1
    with proxies.fault(Do.REFUSE):
        assert client.answered() == 0
        assert Client(port).answered() == 0
    assert Client(port).ask(Api.PRODUCE) == 1


def test_a_half_open_connection_is_silent_until_it_is_reset(
    server: Server, proxies: Proxies, port: int
) -> None:
    client = Client(port)
    assert client.ask(Api.PRODUCE) == 1
    with proxies.fault(Do.HALF_OPEN):
        assert client.ask(Api.PRODUCE, within_s=SILENCE_S) is None
    assert client.answered() == 0
    assert len(server.took) == 1


def test_a_fault_takes_only_the_client_and_the_connections_it_names(
    proxies: Proxies, port: int
) -> None:
    one, other, reader = Client(port, "leidan-0"), Client(port, "leidan-1"), Client(port)
    assert reader.ask(Api.LIST_OFFSETS, ABOUT) == 1
    with proxies.fault(Do.DROP, client="leidan-1"):
        assert one.ask(Api.END_TXN) == 1
        assert other.ask(Api.END_TXN, within_s=SILENCE_S) is None
    with proxies.fault(Do.BLACK_HOLE, about=ABOUT):
        assert one.ask(Api.FETCH) == 2
        assert reader.ask(Api.FETCH, within_s=SILENCE_S) is None
    assert reader.answered() == 2


def test_a_listener_whose_broker_is_down_closes_connections(proxies: Proxies) -> None:
    (nobodys,) = free_ports(1)
    assert Client(proxies.open(1, "CLIENT", nobodys)).answered() == 0
