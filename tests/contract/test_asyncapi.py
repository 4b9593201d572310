"""`schemas/asyncapi.yaml` is what registry, schemas and code say, and is AsyncAPI 3.1."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
import yaml
from referencing import Registry, Resource

from streams import asyncapi, topics
from streams.domain.outputs import Output
from streams.errors import Reason
from streams.feed.ports import Record
from streams.wire import dead_letters, outputs
from tests.cli.conftest import ended
from tests.wire.examples import examples

META = json.loads((Path(__file__).parent / "asyncapi-3.1.0.json").read_text())
COMMITTED = yaml.safe_load(asyncapi.path().read_text("utf-8"))
CHANNELS = COMMITTED["channels"]
WITH_SCHEMA = [name for name, topic in topics.registry().items() if topic.schemas.versions]
each_topic = pytest.mark.parametrize("topic", topics.registry().values(), ids=lambda t: t.topic)


@cache
def files() -> Registry:
    """The schema files as the document's `$ref`s name them."""
    return Registry().with_resources(
        (f"./{path.name}", Resource.from_contents(json.loads(path.read_text("utf-8"))))
        for path in topics.schemas_dir().glob("*.schema.json")
    )


# -- one source -----------------------------------------------------------------------------------


def test_the_committed_document_is_what_the_code_says(capsys):
    assert ended(["asyncapi", "--check"]) == 0, "leidan asyncapi > schemas/asyncapi.yaml"
    assert ended(["asyncapi"]) == 0
    written = capsys.readouterr().out
    assert written == asyncapi.path().read_text("utf-8")
    assert "&id" not in written, "what is said of two topics stands with each"


def test_a_document_that_has_drifted_ends_with_1_and_says_how_to_write_it(
    monkeypatch, tmp_path, capsys
):
    (old := tmp_path / "asyncapi.yaml").write_text("asyncapi: 3.1.0\n")
    monkeypatch.setattr(asyncapi, "path", lambda: old)
    assert ended(["asyncapi", "--check", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == {"file": str(old), "same": False}
    assert "next: leidan asyncapi > schemas/asyncapi.yaml" in told.err
    assert ended(["asyncapi", "--check", "-p", "8"]) == 2


def test_of_one_installation_it_has_the_names_and_partitions_there(capsys):
    assert ended(["asyncapi", "--topic-prefix", "demo-", "-p", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["channels"]["orders"]["address"] == "demo-orders"
    counts = {
        name: one["bindings"]["kafka"]["partitions"] for name, one in found["channels"].items()
    }
    assert counts == {name: t.partition_count(8) for name, t in topics.registry().items()}


# -- it is AsyncAPI -------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [COMMITTED, asyncapi.document("demo-", 8)], ids=["open", "one"])
def test_it_is_valid_by_the_schema_of_asyncapi_itself(found):
    jsonschema.Draft7Validator(META).validate(found)
    assert jsonschema_rs.Draft7Validator(META).is_valid(found)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"asyncapi": "2.6.0"},
        {"channels": {"orders": {"adress": "orders"}}},
        {"operations": {"x": {"action": "listen", "channel": {"$ref": "#/channels/orders"}}}},
        {"channels": {"x": {"bindings": {"kafka": {"partitions": 0, "bindingVersion": "0.5.0"}}}}},
        {
            "channels": {
                "x": {"bindings": {"kafka": {"topicConfiguration": {"retention.ms": "7 d"}}}}
            }
        },
    ],
    ids=lambda one: next(iter(one)),
)
def test_that_schema_refuses_what_is_none(spoilt):
    assert not jsonschema_rs.Draft7Validator(META).is_valid(COMMITTED | spoilt)


def refs(found: Any) -> list[str]:
    if isinstance(found, dict):
        own = [found["$ref"]] if isinstance(found.get("$ref"), str) else []
        return own + [ref for value in found.values() for ref in refs(value)]
    return [ref for value in found for ref in refs(value)] if isinstance(found, list) else []


def test_every_reference_leads_somewhere():
    for ref in set(refs(COMMITTED)):
        if ref.startswith("#/"):
            found = COMMITTED
            for part in ref[2:].split("/"):
                found = found[part]
        else:
            assert (asyncapi.path().parent / ref).is_file(), ref


# -- every topic ----------------------------------------------------------------------------------


def test_every_topic_is_there():
    assert set(CHANNELS) == set(topics.registry())


@each_topic
def test_a_topic_has_key_settings_partitions_and_who_writes_and_reads_it(topic):
    found = CHANNELS[topic.topic]
    kafka = found["bindings"]["kafka"]
    configs = dict(kafka["topicConfiguration"])
    assert [topic.configs["cleanup.policy"]] == configs.pop("cleanup.policy")
    assert configs == {k: v for k, v in topic.configs.items() if k != "cleanup.policy"}
    assert (topic.partitions == "N") == ("x-partitions" in found) == ("partitions" not in kafka)
    assert found["x-key"] == topic.key
    assert found["x-producers"] == list(topic.producers)
    assert found["x-consumers"] == list(topic.consumers)
    keyed = [
        one["bindings"]["kafka"]["key"] for one in found["messages"].values() if "bindings" in one
    ]
    assert len(keyed) == (0 if topic.key.startswith("none") else len(found["messages"]))


@each_topic
def test_what_leidan_writes_it_sends_and_what_it_reads_it_receives(topic):
    done = {
        one["action"]
        for one in COMMITTED["operations"].values()
        if one["channel"]["$ref"] == f"#/channels/{topic.topic}"
    }
    writes = any(one.startswith(("worker", "leidan")) for one in topic.producers)
    reads = any(one.startswith(("worker", "leidan", "backfill")) for one in topic.consumers)
    assert (
        done == {"send"} * writes | {"receive"} * reads
        if False
        else done == (({"send"} if writes else set()) | ({"receive"} if reads else set()))
    )


# -- every message --------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", WITH_SCHEMA)
def test_every_valid_example_is_one_of_the_messages_of_its_topic_and_of_no_other(topic):
    messages = CHANNELS[topic]["messages"]
    seen = set()
    for example in examples("valid", topics=(topic,)):
        value = json.loads(example.value)
        fits = {name for name, one in messages.items() if is_payload(one, value)}
        assert fits == {f"{value['type']}.v1"}, example.path
        seen |= fits
    assert seen == set(messages), "each message has an example"


def is_payload(message: dict[str, Any], value: Any) -> bool:
    schema = message["payload"]["schema"]
    return jsonschema.Draft202012Validator(schema, registry=files()).is_valid(value)


def test_what_has_no_schema_says_that_it_is_bytes():
    for name in set(topics.registry()) - set(WITH_SCHEMA):
        for message in CHANNELS[name]["messages"].values():
            assert message["contentType"] == "application/octet-stream"
            assert message["payload"]["format"] == "binary"


def resolved(headers: dict[str, Any]) -> dict[str, Any]:
    name = headers["$ref"].rpartition("/")[2]
    return COMMITTED["components"]["schemas"][name]


CAUSE = Record(
    "orders", 3, 17, b"u", b"{}", [("traceparent", b"00-1"), ("tracestate", b"a=b"), ("x", b"y")], 0
)


@pytest.mark.parametrize("topic", asyncapi.SAID)
def test_outputs_have_the_headers_that_are_promised_and_no_other(topic):
    for name, message in CHANNELS[topic]["messages"].items():
        type_ = name.removesuffix(".v1")
        body = {"type": type_, "occurred_at": "2026-01-01T00:00:00+00:00"}
        said = Output(topic, type_, "e-1", "u", body)
        headers = {n: v.decode() for n, v in outputs.encode(said, CAUSE).headers}
        base, just = message["headers"]["allOf"]
        whole = resolved(base)
        assert set(headers) == set(whole["required"]) | set(asyncapi.TRACE_HEADERS)
        assert just["properties"]["ce_type"]["const"] == headers["ce_type"]
        assert jsonschema.Draft202012Validator(whole).is_valid(headers)


def test_dead_letters_have_the_headers_that_are_promised():
    (message,) = CHANNELS["dead-letters"]["messages"].values()
    written = dead_letters.headers_for(CAUSE, Reason.SCHEMA, b"why")
    assert [name for name, _ in written] == resolved(message["headers"])["required"]


@pytest.mark.parametrize("topic", topics.USER_KEYED)
def test_inputs_need_no_header(topic):
    for message in CHANNELS[topic]["messages"].values():
        assert "required" not in resolved(message["headers"])
