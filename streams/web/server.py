"""HTTP/1.1 in a thread of its own: GET only, on 127.0.0.1 unless told otherwise.

One thread with an event loop and not a pool: all that is asked here is Python under one lock, so
more threads would only wait for each other; and a client that says nothing costs a socket, no
thread. Each answer is one write, connections are kept alive, their number and their time to ask are
bounded.

With a token, whoever asks must bear it (`Authorization: Bearer ...`); only the probes, which
know of no user, stay open. The operator's token opens everything and more.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from aiohttp import web

from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

LIVE, READY = "/livez", "/readyz"
OPEN = frozenset({LIVE, READY})
"""What needs no token: a kubelet has none."""

REQUEST_S = 10.0  # for a first request to arrive
IDLE_S = 75.0  # how long a connection may wait for the next: longer than a proxy's minute
MOST_CONNECTIONS = 1_000  # a quarter of what RocksDB may have open, and far above any pool's size
LONGEST_TARGET = 8_190  # bytes of path and query

JSON = "application/json"


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class Question(NamedTuple):
    """What was asked: the target as it came, still encoded; `operator` bears that token."""

    path: str
    query: str
    accept: str
    operator: bool


class Tokens(NamedTuple):
    """None: nobody is asked for it. Without a user's token the operator's is for operators only."""

    user: str | None = None
    operator: str | None = None


def refusal(status: int, code: str, message: str, do: str, **headers: str) -> Answer:
    """Return an error as JSON: a code to branch on, what is wrong, and what to do about it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, orjson.dumps({"code": code, "message": message, "do": do}), headers=named)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bears(authorization: str | None, token: str) -> bool:
    """Say whether an Authorization header bears the token; in the same time for every wrong one."""
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return same and scheme.lower() == "bearer"


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket (port 0: a free one). Raises UsageError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(f"web_port {port} on {host}: {error.strerror}; choose another") from error


def serve(
    listening: socket.socket, handle: Callable[[Question], Awaitable[Answer]], tokens: Tokens
) -> None:
    """Serve in a daemon thread until the process ends. `handle` runs in that thread's loop."""
    started = threading.Event()

    def run() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        manager = _Server(_guarded(handle, tokens), loop)
        loop.run_until_complete(loop.create_server(manager, sock=listening))
        started.set()
        loop.run_forever()

    threading.Thread(target=run, name="web", daemon=True).start()
    started.wait()


def _guarded(
    handle: Callable[[Question], Awaitable[Answer]], tokens: Tokens
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        request.protocol.asked = True  # type: ignore[attr-defined]
        return _response(await _answer(request))

    async def _answer(request: web.BaseRequest) -> Answer:
        path, _, query = request.raw_path.partition("?")
        authorization = request.headers.get("Authorization")
        operator = tokens.operator is not None and bears(authorization, tokens.operator)
        if tokens.user and path not in OPEN and not (operator or bears(authorization, tokens.user)):
            return refusal(
                401, "no_token", "a bearer token is needed", "send Authorization: Bearer <token>",
                WWW_Authenticate="Bearer",
            )  # fmt: skip
        if request.method != "GET":
            return refusal(405, "get_only", f"{request.method} is not answered", "GET", Allow="GET")
        accept = request.headers.get("Accept", "")
        try:
            return await handle(Question(path, query, accept, operator))
        except Exception:
            log.exception("our own error answering %s", path)
            return refusal(
                500, "our_error", "our own error; the worker goes on", "see the worker's log"
            )

    return handler


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, "Server": "leidan", **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


_quiet = logging.getLogger(f"{__name__}.http")
_quiet.disabled = True  # a request that is none is answered, and no news


class _Server(web.Server):
    """Makes a `_Connection` for each that comes."""

    def __init__(self, handler: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(handler, loop=loop)
        self._of = loop

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=self._of,
            keepalive_timeout=IDLE_S,
            logger=_quiet,
            access_log=None,  # type: ignore[arg-type] # its own default for "none"
            max_line_size=LONGEST_TARGET,
            lingering_time=0,
        )


class _Connection(web.RequestHandler):
    """Closed when there are too many, or when its first request does not come in time."""

    asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > MOST_CONNECTIONS:
            self.force_close()
            return
        self._loop.call_later(REQUEST_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if not self.asked and self.transport is not None:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the three of aiohttp's own
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what is no request: without echo, version or traceback."""
        self.asked = True
        answer = refusal(status, "not_http", "this is no request", "send HTTP/1.1, GET")
        response = _response(answer)
        response.force_close()
        return response
