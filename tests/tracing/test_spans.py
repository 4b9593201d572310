"""A unit of work is one trace of measured spans, linked to the traces of the records in it."""

from __future__ import annotations

from typing import Any

import pytest

from streams import settings
from streams.errors import CommitUnknown
from streams.feed.ports import Record
from streams.wire.outputs import encode
from tests import gates
from tests.feed.memory import World

gates.installed("opentelemetry.sdk", "otel")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402 - after the gate
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

from streams.domain.outputs import Output  # noqa: E402
from streams.tracing import MOST_LINKS, Tracer  # noqa: E402

NOW_NS, NOW_S = 1_767_571_200_000_000_000, 500.0


class Traced:
    """A world in memory whose units of work are told to the real SDK."""

    def __init__(self, **given: Any) -> None:
        self.spans = InMemorySpanExporter()
        kafka = {"kafka": {"topic_prefix": "p-"}}
        self.tracer = Tracer(settings.load(None, kafka, {}), SimpleSpanProcessor(self.spans))
        self.world = World(batch_records=1_000, on_dropped=self.tell, **given)

    def tell(self, work: Any, outcome: str = "committed") -> None:
        self.tracer.tell(work, NOW_NS, NOW_S, outcome)

    def settle(self) -> list[Any]:
        self.world.settle()
        for work in self.world.feed.take_finished():
            self.tell(work)
        return self.named()

    def named(self, name: str = "") -> list[Any]:
        return [span for span in self.spans.get_finished_spans() if name in span.name]


def traceparent(n: int) -> tuple[str, bytes]:
    return "traceparent", b"00-%032x-%016x-01" % (n + 1, n + 1)


def put(traced: Traced, n: int, headers: Any = (), value: bytes = b"o") -> None:
    traced.world.broker.put("orders", f"u{n}", value, headers=headers)


def test_a_unit_of_work_is_one_trace_of_poll_batches_and_commit():
    traced = Traced()
    put(traced, 1)
    put(traced, 2, value=b"bad")
    spans = {span.name: span for span in traced.settle()}
    root = spans["unit of work"]
    assert root.parent is None
    assert {span.context.trace_id for span in spans.values()} == {root.context.trace_id}
    children = {
        n for n, s in spans.items() if s.parent and s.parent.span_id == root.context.span_id
    }
    assert children == {"poll", "process orders", "commit"}
    commit = spans["commit"].context.span_id
    inside = [n for n, s in spans.items() if s.parent and s.parent.span_id == commit]
    assert inside == ["encode", "produce", "flush", "offsets", "commit transaction", "write"]
    assert root.attributes == {
        "leidan.partitions": (0,), "leidan.records": 2, "leidan.outputs": 2,
        "leidan.outcome": "committed",
    }  # fmt: skip


def test_a_batch_says_topic_partition_offsets_and_group():
    traced = Traced()
    for n in range(3):
        put(traced, n, value=b"bad" if n else b"o")
    traced.settle()
    (span,) = traced.named("process orders")
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "leidan-fold",
        "messaging.destination.name": "p-orders",
        "messaging.destination.partition.id": "0",
        "messaging.batch.message_count": 3,
        "leidan.offset.first": 0,
        "leidan.offset.last": 2,
        "leidan.dead_letters": 2,
    }


def test_durations_are_those_that_were_measured_and_children_lie_inside():
    traced = Traced()
    put(traced, 1)
    work = traced.world.poll()
    work.batches[0].phases.add_all({"decode": 0.25, "read": 0.5, "fold": 1.0})
    work.begun_s, work.polled_s, work.committing_s = 490.0, 0.125, 494.0
    work.phases.add_all({"encode": 1.0, "produce": 0.5, "commit": 2.0, "write": 0.25})
    traced.tell(work)
    seconds = {s.name: (s.end_time - s.start_time) / 1e9 for s in traced.named()}
    assert seconds == {
        "poll": 0.125, "decode": 0.25, "read": 0.5, "fold": 1.0, "process orders": 1.75,
        "encode": 1.0, "produce": 0.5, "commit transaction": 2.0, "write": 0.25, "commit": 3.75,
        "unit of work": 7.875,
    }  # fmt: skip
    begun = {s.name: (s.start_time - NOW_NS) / 1e9 + NOW_S for s in traced.named()}
    assert (begun["unit of work"], begun["poll"]) == (489.875, 489.875)
    assert (begun["process orders"], begun["commit"]) == (490.0, 494.0)


def test_a_batch_is_linked_to_the_traces_of_its_records_each_once():
    traced = Traced()
    for n, headers in enumerate(
        [[traceparent(7)], [traceparent(8), ("tracestate", b"shop=a")], [traceparent(7)], []]
    ):
        put(traced, n, headers)
    put(traced, 5, [("traceparent", b"00-\xff"), ("traceparent", b"00-%032x-%016x-01" % (0, 0))])
    put(traced, 6, [("traceparent", b"")])
    traced.settle()
    (span,) = traced.named("process orders")
    assert [link.context.trace_id for link in span.links] == [8, 9]
    assert span.links[1].context.trace_state["shop"] == "a"


def test_links_are_bounded():
    traced = Traced()
    for n in range(3 * MOST_LINKS):
        put(traced, n, [traceparent(n)])
    traced.settle()
    (span,) = traced.named("process orders")
    assert len(span.links) == MOST_LINKS


def test_a_commit_that_failed_is_an_error_and_says_how():
    traced = Traced()
    put(traced, 1)
    work = traced.world.poll()
    assert work is not None

    def unknown() -> None:
        raise CommitUnknown("no answer")

    work.commit = unknown
    traced.world.feed.commit(work)
    (root,) = traced.named("unit of work")
    assert root.attributes["leidan.outcome"] == "unknown"
    assert root.status.description == "unknown"
    assert not root.status.is_ok


def test_what_is_not_sampled_has_no_span(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traced = Traced()
    put(traced, 1)
    assert traced.settle() == []


@pytest.mark.parametrize(
    "headers", [[], [("traceparent", b"00-1"), ("tracestate", b"a=b"), ("x", b"1")]], ids=len
)
def test_outputs_have_the_trace_of_their_cause_and_nothing_of_ours(headers):
    body = {"type": "reward.issued", "occurred_at": "2026-01-01T00:00:00+00:00"}
    said = Output("rewards", "reward.issued", "e", "u", body)
    plain = encode(said, Record("orders", 0, 1, b"u", b"{}", [], 0))
    with_trace = encode(said, Record("orders", 0, 1, b"u", b"{}", headers, 0))
    assert with_trace.value == plain.value
    assert with_trace.headers == [*plain.headers, *headers[:2]]
