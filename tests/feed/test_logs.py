"""A line about a record says which: in its text for people, in fields of their own for machines."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streams import logs, settings
from streams.errors import DeadLetterBudgetSpent, Exit, UsageError
from streams.feed.campaigns import Registry
from streams.feed.ports import Record
from streams.position import Position
from tests.feed.memory import World

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS = Path(__file__).resolve().parents[2] / "streams"
WHERE = {"agents", "feed", "native", "store"}
"""What a worker does with records lies in these."""


# -- the forms ------------------------------------------------------------------------------------


def line(form: logging.Formatter, message: str, *args: object, **given: Any) -> str:
    extra = given.pop("extra", None)
    record = logging.getLogger("streams.feed.loop").makeRecord(
        "streams.feed.loop", logging.ERROR, "loop.py", 1, message, args, extra=extra, **given
    )
    record.created = 1_767_571_200.25
    return form.format(record)


def raised() -> Any:
    try:
        int("of ours")
    except ValueError:
        return sys.exc_info()


def test_as_json_a_line_is_one_object_with_the_place_of_its_record():
    position = Position("orders", 3, 81)
    told = line(logs.Json(), "%s: bad", position, exc_info=None, extra=position._asdict())
    assert json.loads(told) == {
        "time": "2026-01-05T00:00:00.250+00:00",
        "level": "ERROR",
        "logger": "streams.feed.loop",
        "message": "orders[3]@81: bad",
        "topic": "orders",
        "partition": 3,
        "offset": 81,
    }


def test_as_json_a_traceback_and_a_line_end_stay_on_the_line():
    told = line(logs.Json(), "one\ntwo", exc_info=raised())
    assert "\n" not in told
    found = json.loads(told)
    assert found["message"] == "one\ntwo"
    assert found["error"].endswith("'of ours'")
    assert "topic" not in found


def test_as_text_the_place_stands_in_the_message_and_a_traceback_below():
    told = line(logs.Text(), "%s: bad", Position("orders", 3, 81), exc_info=raised())
    first, *rest = told.splitlines()
    assert first.endswith("ERROR streams.feed.loop orders[3]@81: bad")
    assert rest[-1].startswith("ValueError: ")


@pytest.mark.parametrize("form", [logs.Text(), logs.Json()], ids=["text", "json"])
def test_a_secret_is_in_neither_form_whatever_is_in_it(form):
    hidden = 'pass"word\\of the broker'
    settings.hide(hidden)
    told = line(form, "%s", hidden, exc_info=(ValueError, ValueError(hidden), None))
    assert "word" not in told
    assert told.count(settings.HIDDEN) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [({"log_format": "xml"}, "log_format"), ({"log_level": "loud"}, "'loud': must be one of")],
)
def test_another_form_or_level_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        settings.load(None, given, {})


# -- the lines ------------------------------------------------------------------------------------


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(STREAMS.rglob("*.py")):
        if path.relative_to(STREAMS).parts[0] not in WHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                yield f"{path.relative_to(STREAMS)}:{node.lineno}", node


PLACES = {"position", "partition", "topic", "offset", "p", "where", "first", "killer", "batch"}
SEVERAL = {"log.warning('partitions lost: %s', sorted({tp.partition for tp in partitions}))"}
"""About partitions, not about one of them."""


def test_every_line_about_a_record_or_partition_carries_its_fields():
    told = 0
    for where, call in log_calls():
        names = {
            node.id for arg in call.args for node in ast.walk(arg) if isinstance(node, ast.Name)
        }
        names |= {
            node.attr for arg in call.args for node in ast.walk(arg)
            if isinstance(node, ast.Attribute)
        }  # fmt: skip
        if names & PLACES and ast.unparse(call) not in SEVERAL:
            told += 1
            assert "extra" in {keyword.arg for keyword in call.keywords}, where
    assert told >= 9, "void: the walk finds no lines any more"


def said(caplog: pytest.LogCaptureFixture, words: str) -> tuple[Any, ...]:
    """The place that the one line with these words carries."""
    (record,) = (record for record in caplog.records if words in record.getMessage())
    return tuple(getattr(record, name, None) for name in ("topic", "partition", "offset"))


def test_refused_records_are_told_in_one_line_a_batch_once_they_are_committed(caplog):
    caplog.set_level(logging.INFO)
    world = World(batch_records=1_000)
    for value in (b"a", b"bad", b"bad", b"b"):
        world.broker.put("orders", "u1", value)
    world.settle()
    assert said(caplog, "orders[0]@1: 2 of 4 records refused: ") == ("orders", 0, 1)
    (line_,) = (record for record in caplog.records if "refused" in record.getMessage())
    assert line_.records == 2
    assert sum(line_.reasons.values()) == 2


def test_a_budget_that_is_spent_names_the_record_and_what_they_died_of(caplog):
    caplog.set_level(logging.INFO)
    world = World(batch_records=1_000)
    for _ in range(300):
        world.broker.put("orders", "u1", b"bad")
    with pytest.raises(DeadLetterBudgetSpent) as spent:
        world.settle()
    assert spent.value.position == Position("orders", 0, 99), "the hundredth decides"
    assert said(caplog, "100 of 100 records refused: not_json 100") == ("orders", 0, 0)


def test_a_restored_and_a_parked_partition_are_named_and_the_record_it_is_parked_for(caplog):
    caplog.set_level(logging.INFO)
    world = World(partitions=1, parked=lambda _p, _next: Position("orders", 0, 7))
    world.settle()
    assert said(caplog, "partition 0 restored") == (None, 0, None)
    assert said(caplog, "PARKED: orders[0]@7 killed three starts") == ("orders", 0, 7)


def test_a_definition_that_is_refused_is_named(caplog):
    registry = Registry([])
    registry.read(Record("campaigns", 0, 12, b"c", b"not json", [], 0))
    assert said(caplog, "it is NOT in force") == ("campaigns", 0, 12)


def test_our_own_error_names_the_record_and_hides_secrets_in_its_traceback():
    code = """
from streams import logs, settings
from streams.feed.batch import Batch, fail_stop
from streams.feed.ports import Record
logs.to_stderr("INFO", "json")
settings.hide("hunter-2-of-the-broker")
batch = Batch("orders", 3, [Record("orders", 3, 81, b"u", b"{}", [], 0)], None, None, None)
with fail_stop(batch):
    raise ValueError("at hunter-2-of-the-broker")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=STREAMS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == Exit.BROKEN
    told = json.loads(ran.stderr)
    assert (told["topic"], told["partition"], told["offset"]) == ("orders", 3, 81)
    assert told["message"].startswith("orders[3]@81: our own error")
    assert f"ValueError: at {settings.HIDDEN}" in told["error"]
