"""A real worker sends its spans to a collector, and a collector that is away costs it nothing."""

from __future__ import annotations

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from streams.broker.embedded import EmbeddedBroker
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.traffic import Traffic
from tests import gates
from tests.mock.conftest import counts
from tests.mock.test_worker import Worker

gates.installed("opentelemetry.exporter.otlp.proto.http", "otel")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: E402 - after the gate

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


class Collector(ThreadingHTTPServer):
    """What takes OTLP over HTTP: keeps every span it was sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Taking)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for one in found.resource_spans:
            about = {pair.key: pair.value.string_value for pair in one.resource.attributes}
            self.server.resources.append(about)
            self.server.spans += [span for scope in one.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        thread = Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


def attribute(span: Any, name: str) -> Any:
    (value,) = (pair.value for pair in span.attributes if pair.key == name)
    return getattr(value, value.WhichOneof("value"))


def test_every_record_a_worker_folds_is_in_a_span_and_the_outputs_are_the_same(
    collector, tmp_path, monkeypatch
):
    said = []
    for n, tracing in enumerate((False, True)):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        (directory := tmp_path / str(n)).mkdir()
        with EmbeddedBroker().start(counts()) as broker:
            send(broker.bootstrap, Traffic(5, 40, 300))
            worker = Worker(broker, directory, exit_when_idle_s=1, tracing=str(tracing).lower())
            assert worker.wait() == 0, worker.log.read_text()
            assert bool(collector.spans) == tracing
            said.append(outputs(broker))
    assert said[0] == said[1]
    folded = [span for span in collector.spans if span.name.startswith("process ")]
    records = sum(attribute(span, "messaging.batch.message_count") for span in folded)
    assert records == worker.stats()["records_total"]
    about = collector.resources[0]
    assert (about["service.name"], about["service.instance.id"]) == ("leidan", "leidan-0")


def outputs(broker: EmbeddedBroker) -> list[Any]:
    with Reader(broker.bootstrap) as reader:
        return sorted(
            (one.topic, one.partition, one.value, sorted(one.headers))
            for one in reader.all_of(["rewards", "task-events"])
        )


def test_a_collector_that_is_away_holds_up_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with EmbeddedBroker().start(counts()) as broker:
        send(broker.bootstrap, Traffic(5, 20, 100))
        worker = Worker(broker, tmp_path, exit_when_idle_s=1, tracing="true", log_format="json")
        assert worker.wait() == 0, worker.log.read_text()
    assert worker.stats()["records_total"] > 100
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert any(line["logger"].startswith("opentelemetry") for line in lines), "but it is said"
