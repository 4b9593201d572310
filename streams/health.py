"""/metrics and /healthz over HTTP, GET only, on 127.0.0.1 unless told otherwise.

With a token, whoever asks must bear it (`Authorization: Bearer ...`); only the probes, which say
nothing but yes or no, stay open. What a user's row holds is served nowhere.
"""

from __future__ import annotations

import hmac
import ipaddress
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client.exposition import choose_encoder

from streams import metrics
from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


OPEN = frozenset({"/livez", "/readyz"})
"""What needs no token: a kubelet has none."""

REQUEST_S = 10.0  # for a request to arrive: a client that says nothing must not keep a thread


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


def serve(
    host: str, port: int, health: Callable[[], dict[str, Any]], token: str | None = None
) -> int:
    """Serve in a daemon thread; return the port (0 asks for a free one). Raises UsageError.

    ``health()`` returns at least ``{"ok": bool}``; /healthz answers 200 or 503 with it as JSON.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "leidan", ""  # which Python it is helps nobody we know
        timeout = REQUEST_S

        def do_GET(self) -> None:
            if token and self.path not in OPEN and not bears(self.headers["Authorization"], token):
                self._answer(401, "text/plain", b"a bearer token is needed\n")
            elif self.path == "/metrics":
                encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, content_type, encoder(metrics.REGISTRY))
            elif self.path == "/healthz":
                found = health()
                status = 200 if found["ok"] else 503
                self._answer(status, "application/json", orjson.dumps(found))
            else:
                self._answer(404, "text/plain", b"/metrics or /healthz\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:  # noqa: PLR2004 - HTTP's own
                self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: a scrape every few seconds is no news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UsageError(f"web_port {port} on {host}: {error.strerror}; choose another") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return int(server.server_address[1])
