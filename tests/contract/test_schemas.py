"""Every example against two validators and the decoder; Structs against schema files."""

import json
from datetime import datetime
from functools import cache
from typing import Any

import jsonschema
import jsonschema_rs
import msgspec
import pytest

from streams.domain import definition
from streams.errors import EventRejected, Reason
from streams.feed.campaigns import Registry
from streams.position import Position
from streams.topics import registry, schema_path, schemas_dir
from streams.wire import (
    cancellations,
    claims,
    draw_requests,
    draw_results,
    orders,
    results,
    ticks,
)
from tests.wire.examples import DECODERS, Example, examples

WITH_SCHEMA = [name for name, topic in registry().items() if topic.schemas.versions]
READERS = {
    "orders": orders.READER,
    "claims": claims.READER,
    "cancellations": cancellations.READER,
    "reward-results": results.READER,
    "draw-requests": draw_requests.READER,
    "draw-results": draw_results.READER,
    "ticks": ticks.READER,
}

# What a schema can say of a value. The other reasons are about sums, bytes, or the record around.
SCHEMA_REASONS = {"not_object", "unknown_type", "unknown_major", "no_user", "schema"}
# Refused by the decoder and accepted by the schema, since JSON Schema has no words for it...
BEYOND_SCHEMA = {
    "schema--line-id-twice",
    "schema--occurred-at-before-2000-in-utc",
    "schema--foreign-request-id",
    "schema--another-partition",
    "schema--version-is-2.0",  # ... or calls 2.0 an integer
}
# Of a definition, most problems lie between fields or records. These a schema can tell:
IN_A_FIELD = {
    f"campaign_invalid--{name}"
    for name in (
        "audience-with-a-misspelt-field",
        "bad-campaign-id",
        "budget-added-of-nothing",
        "budget-of-nothing",
        "coupon-as-debt",
        "denominator-of-a-thousand",
        "killed-with-a-saved-amount",
        "misspelt-field",
        "no-window",
        "out-of-range",
        "pool-of-a-kind-without-its-fields",
        "pool-of-rights-with-odds",
        "pool-without-commitment",
        "quiet-hours-in-words",
        "saved-amount-in-a-step",
        "saved-percent-without-a-cap",
        "saved-with-a-field-of-another-rule",
        "supply-of-a-fallback",
        "type-unknown",
        "unknown-feature",
        "value-twice",
        "wrong-type",
    )
}
# The other way round: the schema sees it too, though the decoder names the sums.
ALSO_SCHEMA = {"amounts--discounts-exceed-goods"}

# jsonschema brings no check for times without a further package; one line of ours is enough.
FORMATS = jsonschema.FormatChecker(["date"])
FORMATS.checks("date-time", raises=ValueError)(
    lambda text: not isinstance(text, str) or bool(datetime.fromisoformat(text))
)


def each(*found: Example) -> Any:
    return pytest.mark.parametrize("example", found, ids=str)


@cache
def schema(topic: str) -> dict[str, Any]:
    return json.loads(schema_path(topic).read_text("utf-8"))


@cache
def validators(topic: str) -> tuple[Any, Any]:
    return (
        jsonschema_rs.Draft202012Validator(schema(topic), validate_formats=True),
        jsonschema.Draft202012Validator(schema(topic), format_checker=FORMATS),
    )


def verdicts(example: Example) -> set[bool]:
    value = json.loads(example.value)
    return {validator.is_valid(value) for validator in validators(example.topic)}


def decode(example: Example) -> Any:
    """Decode as the worker does; outputs have no decoder here, their schema decides alone."""
    if example.topic == "campaigns":
        refused = refusals(example)
        assert refused == {}, refused
    return DECODERS[example.topic](example.record) if example.topic in DECODERS else None


def refusals(example: Example) -> dict[Reason, int]:
    """What is refused, of a definition and those known before it, by a worker that reads them."""
    reader = Registry([])
    for number, one in enumerate([*example.known, example]):
        reader.take(one.value, one.recorded_at_ms, Position("campaigns", 0, number))
    return reader.refused


@each(*examples("valid"))
def test_a_valid_example_satisfies_both_validators_and_the_decoder(example):
    assert verdicts(example) == {True}
    decode(example)


@each(*examples("tolerated"))
def test_a_tolerated_example_decodes_though_the_schema_refuses_it(example):
    assert decode(example) is not None
    if example.path.suffix == ".json":
        assert verdicts(example) == {False}


@each(*examples("invalid", topics=tuple(DECODERS)))
def test_an_invalid_example_dies_of_the_reason_in_its_name(example):
    with pytest.raises(EventRejected) as refused:
        DECODERS[example.topic](example.record)
    assert refused.value.reason == example.reason


@each(*examples("invalid", topics=("campaigns",)))
def test_an_invalid_definition_is_refused_for_the_reason_in_its_name(example):
    assert refusals(example) == {Reason(example.reason): 1}


@each(*(e for e in examples("invalid") if e.path.suffix == ".json" and "nested" not in e.path.stem))
def test_the_schema_refuses_what_a_schema_can_tell(example):
    told = example.reason in SCHEMA_REASONS and example.path.stem not in BEYOND_SCHEMA
    refuses = told or example.path.stem in ALSO_SCHEMA | IN_A_FIELD
    assert verdicts(example) == {not refuses}


def test_the_examples_hold_every_reason_a_decoder_gives():
    given = {example.reason for example in examples("invalid")}
    by_size = {"too_large"}  # a megabyte is no example; tests/wire/test_envelope.py makes one
    by_the_fold = {"conflict", "row_full"}
    assert given == {str(reason) for reason in Reason} - by_size - by_the_fold


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_to_producers(reason):
    readme = (schemas_dir() / "README.md").read_text("utf-8")
    assert f"\n| `{reason}` | " in readme


@pytest.mark.parametrize("topic", WITH_SCHEMA)
def test_the_examples_hold_every_type_a_topic_has(topic):
    seen = {json.loads(e.value)["type"] for e in examples("valid", topics=(topic,))}
    assert seen == types_of(topic)


@pytest.mark.parametrize("topic", READERS)
def test_decoder_and_schema_know_the_same_types(topic):
    assert READERS[topic].types == types_of(topic)


def test_the_schema_of_definitions_knows_the_types_that_are_read():
    assert set(definition.READERS) == types_of("campaigns")


@pytest.mark.parametrize("topic", WITH_SCHEMA)
def test_a_schema_is_one_and_closed_and_every_field_is_described(topic):
    jsonschema.Draft202012Validator.check_schema(schema(topic))
    objects = list(objects_in(schema(topic)))
    assert objects
    for each_object in objects:
        assert each_object["additionalProperties"] is False
        assert set(each_object.get("required", ())) <= set(each_object["properties"])
        for name, field in each_object["properties"].items():
            described = {**resolved(topic, field), **field}
            assert described.get("description"), name
            if name.endswith("_minor"):
                assert "minor units" in described["description"], name


STRUCTS = [(topic, tag) for topic, reader in READERS.items() for tag in sorted(reader.types)]


@pytest.mark.parametrize(("topic", "tag"), STRUCTS, ids=lambda x: x)
def test_struct_and_schema_agree_on_fields_types_and_bounds(topic, tag):
    struct = next(s for s in structs_of(topic) if s.tag == tag)
    compare(topic, struct, object_of(topic, tag), tag)


# What the Structs leave to `amounts`, to a Python check, or to the parser of times.
LOOSER = {("goods_minor", "minimum"), ("consumption_minor", "minimum")}


def compare(topic: str, struct: Any, described: dict[str, Any], where: str) -> None:
    fields = {field.encode_name: field for field in struct.fields}
    extra = {"type"} if struct.tag else set()
    assert set(described["properties"]) == set(fields) | extra, where
    required = {name for name, field in fields.items() if field.required}
    assert set(described.get("required", ())) == required | extra, where
    for name, field in fields.items():
        compare_type(topic, field.type, resolved(topic, described["properties"][name]), name)


def compare_type(  # noqa: C901 - one case for each kind of type
    topic: str, type_: Any, described: dict[str, Any], name: str
) -> None:
    if name == "fallback":
        return  # a right as the one it stands in
    if isinstance(type_, msgspec.inspect.UnionType):  # null is tolerated, never published
        (type_,) = (t for t in type_.types if not isinstance(t, msgspec.inspect.NoneType))
    match type_:
        case msgspec.inspect.StructType():
            compare(topic, type_, described, name)
        case msgspec.inspect.ListType():
            assert described["type"] == "array", name
            assert type_.max_length == described["maxItems"], name
            assert (type_.min_length or 0) == described.get("minItems", 0), name
            compare_type(topic, type_.item_type, resolved(topic, described["items"]), name)
        case msgspec.inspect.DictType():
            assert described["type"] == "object", name
            assert type_.max_length == described["maxProperties"], name
            compare_type(topic, type_.value_type, described["additionalProperties"], name)
        case msgspec.inspect.LiteralType():
            assert set(type_.values) == set(described["enum"]), name
        case msgspec.inspect.IntType() if "const" in described:
            assert (type_.ge, type_.le) == (described["const"], described["const"]), name
        case msgspec.inspect.IntType():
            assert described["type"] == "integer", name
            assert type_.le == described["maximum"], name
            assert type_.ge == described["minimum"] or (name, "minimum") in LOOSER, name
        case msgspec.inspect.StrType():
            assert described["type"] == "string", name
            assert type_.max_length == described["maxLength"], name
            assert type_.min_length == described.get("minLength") or "pattern" in described, name
        case msgspec.inspect.DateTimeType():
            assert described["format"] == "date-time", name
            assert type_.tz is True
        case msgspec.inspect.BoolType():
            assert described["type"] == "boolean", name
        case _:
            pytest.fail(f"{name}: no rule compares {type_}")


def structs_of(topic: str) -> list[Any]:
    union = msgspec.inspect.type_info(READERS[topic].union)
    return list(union.types) if isinstance(union, msgspec.inspect.UnionType) else [union]


def resolved(topic: str, described: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in described:
        return described
    return schema(topic)["$defs"][described["$ref"].rpartition("/")[2]]


def variants_of(topic: str) -> list[dict[str, Any]]:
    top = schema(topic)
    return [resolved(topic, each_ref) for each_ref in top["oneOf"]] if "oneOf" in top else [top]


def tags_of(variant: dict[str, Any]) -> set[str]:
    field = variant["properties"]["type"]
    return set(field["enum"]) if "enum" in field else {field["const"]}


def types_of(topic: str) -> set[str]:
    return set().union(*map(tags_of, variants_of(topic)))


def object_of(topic: str, tag: str) -> dict[str, Any]:
    return next(variant for variant in variants_of(topic) if tag in tags_of(variant))


def objects_in(described: Any) -> Any:
    """Yield every object a schema describes, however deep."""
    if isinstance(described, dict):
        if isinstance(described.get("properties"), dict) and described.get("type") == "object":
            yield described
        for inner in described.values():
            yield from objects_in(inner)
    elif isinstance(described, list):
        for inner in described:
            yield from objects_in(inner)
