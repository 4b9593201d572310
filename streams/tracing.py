"""Units of work as OpenTelemetry spans: the extra `otel`, imported only where `tracing` is set.

Spans are made after the fact, from the seconds a unit of work has measured anyway, once its commit
has returned or failed. So no span is open while something is folded or committed, an output has the
same bytes with and without, and what is not sampled costs one span. Durations are those measured;
what lies between two batches (channels, the event loop) is not told apart from them.

    unit of work            partitions, records, outputs, outcome
      poll                  what brought it; waiting is left out
      process <topic>       one a batch: partition, first and last offset, links to records' traces
        decode, read, fold
      commit                begun when the commit before it had ended
        encode, produce, flush, offsets, commit transaction, write

`traceparent` and `tracestate` of an input go on to its outputs as they are (wire/outputs.py),
traced or not: what follows from an order is of the shop's trace, and a replay gives the same bytes.
OTEL_* variables say where spans go and which are sampled. Source: ecosystem.md 1, 6.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from streams import __version__
from streams.errors import UsageError

try:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import (
        Link,
        SpanKind,
        Status,
        StatusCode,
        get_current_span,
        set_span_in_context,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as absent:
    raise UsageError(
        f"tracing: {absent.name} is not installed; pip install 'leidan[otel]', or leave tracing out"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, SpanContext

    from streams.feed.batch import Batch
    from streams.feed.ports import Record
    from streams.feed.unit_of_work import UnitOfWork
    from streams.settings import Settings

MOST_LINKS = 32
"""Traces that one batch is linked to: of 8,000 records a reader wants some, spans stay small."""

FLUSH_S = 2.0
"""What the last spans get at the end of a worker, whose 20 s are for its batch."""

COMMIT = {
    "encode": ("encode", SpanKind.INTERNAL),
    "produce": ("produce", SpanKind.PRODUCER),
    "flush": ("flush", SpanKind.CLIENT),
    "offsets": ("offsets", SpanKind.CLIENT),
    "commit": ("commit transaction", SpanKind.CLIENT),
    "write": ("write", SpanKind.INTERNAL),
}
"""Phases of a commit in their order: the spans' names and kinds."""

COMMITTED = "committed"

_W3C = TraceContextTextMapPropagator()
_PASSED = ("traceparent", "tracestate")


class Tracer:
    """Tells units of work as spans. Any thread."""

    def __init__(self, settings: Settings, processor: SpanProcessor | None = None) -> None:
        """``processor``: where spans go; None: to a collector by OTLP over HTTP."""
        about = {"service.instance.id": settings.instance, "service.version": __version__}
        if "OTEL_SERVICE_NAME" not in os.environ:
            about["service.name"] = settings.app_id
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or _to_collector())
        self._tracer = self._provider.get_tracer("leidan", __version__)
        self._prefix, self._group = settings.kafka.topic_prefix, settings.group

    def tell(
        self, work: UnitOfWork, wall_ns: int, monotonic_s: float, outcome: str = COMMITTED
    ) -> None:
        """Tell one unit of work, which has ended.

        wall_ns, monotonic_s: the same moment by both clocks, since work knows the second alone.
        outcome: committed, aborted, unknown or fenced; else than committed it is an error.
        """
        began_ns = wall_ns - _ns(monotonic_s)
        polled_ns = began_ns + _ns(work.begun_s - work.polled_s)
        root = self._tracer.start_span("unit of work", start_time=polled_ns)
        if not root.is_recording():
            root.end()
            return
        root.set_attributes(
            {
                "leidan.partitions": sorted(work.overlays),
                "leidan.records": sum(len(batch.records) for batch in work.batches),
                "leidan.outputs": work.outputs,
                "leidan.outcome": outcome,
            }
        )
        if outcome != COMMITTED:
            root.set_status(Status(StatusCode.ERROR, outcome))
        at_ns = polled_ns
        told = self._of("receive") | {"messaging.consumer.group.name": self._group}
        at_ns = self._span(root, "poll", at_ns, work.polled_s, SpanKind.CLIENT, told)
        for batch in work.batches:
            at_ns = self._batch(root, batch, at_ns)
        root.end(self._commit(root, work, began_ns, at_ns))

    def close(self) -> None:
        """Send what is left, FLUSH_S at most: a collector that is away holds up no worker."""
        ending = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        ending.start()
        ending.join(FLUSH_S)

    def _batch(self, root: Span, batch: Batch, at_ns: int) -> int:
        """Tell a batch; return when it had ended."""
        records = batch.records or batch.left[:1]  # none: a tick that is not yet through
        told = self._of("process") | {
            "messaging.consumer.group.name": self._group,
            "messaging.destination.name": self._prefix + batch.topic,
            "messaging.destination.partition.id": str(batch.partition),
            "messaging.batch.message_count": len(batch.records),
            "leidan.offset.first": records[0].offset,
            "leidan.offset.last": records[-1].offset,
            "leidan.dead_letters": len(batch.dead),
        }
        span = self._tracer.start_span(
            f"process {batch.topic}",
            set_span_in_context(root),
            SpanKind.CONSUMER,
            told,
            [Link(context) for context in _traces(records)],
            start_time=at_ns,
        )
        for phase, seconds in batch.phases.items():
            at_ns = self._span(span, phase, at_ns, seconds)
        span.end(at_ns)
        return at_ns

    def _commit(self, root: Span, work: UnitOfWork, began_ns: int, at_ns: int) -> int:
        """Tell the commit as far as it came; return when it had ended."""
        at_ns = max(at_ns, began_ns + _ns(work.committing_s))
        span = self._tracer.start_span("commit", set_span_in_context(root), start_time=at_ns)
        span.set_attribute("leidan.produced", work.produced)
        for phase, (name, kind) in COMMIT.items():
            if phase in work.phases:
                at_ns = self._span(span, name, at_ns, work.phases[phase], kind)
        span.end(at_ns)
        return at_ns

    def _span(  # noqa: PLR0913 - what a span is
        self,
        parent: Span,
        name: str,
        at_ns: int,
        seconds: float,
        kind: SpanKind = SpanKind.INTERNAL,
        told: Mapping[str, Any] | None = None,
    ) -> int:
        """Tell one span without children; return when it had ended."""
        end_ns = at_ns + _ns(seconds)
        context = set_span_in_context(parent)
        self._tracer.start_span(name, context, kind, told, start_time=at_ns).end(end_ns)
        return end_ns

    def _of(self, operation: str) -> dict[str, Any]:
        return {"messaging.system": "kafka", "messaging.operation.type": operation}


def _traces(records: list[Record]) -> Iterator[SpanContext]:
    """Yield the traces that records belong to, each once, MOST_LINKS at most."""
    seen: set[bytes] = set()
    for record in records:
        if not record.headers:
            continue
        found = {name: value for name, value in record.headers if name in _PASSED and value}
        parent = found.get("traceparent")
        if parent is None or parent in seen:
            continue
        seen.add(parent)
        carrier = {name: value.decode("ascii", "replace") for name, value in found.items()}
        context = get_current_span(_W3C.extract(carrier)).get_span_context()
        if context.is_valid:
            yield context
        if len(seen) == MOST_LINKS:
            return


def _to_collector() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - 0.2 s
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - with it

    return BatchSpanProcessor(OTLPSpanExporter())


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
