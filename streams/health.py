"""/metrics and /healthz over HTTP, GET only, on 127.0.0.1 unless told otherwise."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client.exposition import choose_encoder

from streams import metrics
from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(host: str, port: int, health: Callable[[], dict[str, Any]]) -> int:
    """Serve in a daemon thread; return the port (0 asks for a free one). Raises UsageError.

    ``health()`` returns at least ``{"ok": bool}``; /healthz answers 200 or 503 with it as JSON.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
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
