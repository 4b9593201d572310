"""Names, types, units and labels of metrics are a contract; deploy/metrics.md is its text."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest

from streams import metrics

ROOT = Path(__file__).resolve().parents[2]
PER_PERSON = {"user", "user_id", "order", "order_id", "task", "task_id", "reward_id", "draw_id"}


def test_the_document_is_what_the_code_says():
    written = (ROOT / "deploy" / "metrics.md").read_text()
    assert written == metrics.document(), "python -m streams.metrics > deploy/metrics.md"


@pytest.mark.parametrize("one", metrics.ALL, ids=lambda one: one.name)
def test_a_metric_is_named_as_prometheus_has_it_and_says_what_to_do(one):
    assert re.fullmatch(r"rewards_[a-z_]+", one.name)
    assert one.name.endswith("_total") == (one.kind == "counter")
    assert one.meaning.endswith(".")
    assert one.remedy.endswith(".")
    assert not set(one.labels) & PER_PERSON, "a label for every user is a series for every user"
    for word in ("ms", "millis", "kb", "mb", "percent"):
        assert word not in one.name.split("_"), "base units"
    if one.kind == "histogram" and one.unit == "seconds":
        assert one.buckets == tuple(sorted(one.buckets))


def test_every_name_is_there_once_and_nothing_else_is_served():
    names = [one.name for one in metrics.ALL]
    assert len(names) == len(set(names))
    registries = (metrics.REGISTRY, *metrics.LEFT_BY.values())
    served = {
        family.name + "_total" * (family.type == "counter")
        for registry in registries
        for family in registry.collect()
    }
    assert {name for name in served if not name.startswith("process_")} == set(names)


def test_the_bucket_of_the_slo_is_written_as_the_rules_have_it():
    metrics.RECORD_DELAY.labels("orders").observe(59.0)
    page = generate_latest(metrics.REGISTRY).decode()
    assert 'rewards_record_delay_seconds_bucket{le="60.0",topic="orders"}' in page


def test_no_second_series_a_counter_says_when_it_began():
    metrics.RECORDS.labels("orders", "applied").inc()
    assert "_created" not in generate_latest(metrics.REGISTRY).decode()


def test_metrics_are_made_in_one_place_and_every_one_is_used():
    made = {
        node.targets[0].id
        for node in ast.parse((ROOT / "streams" / "metrics.py").read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") in {"counter", "gauge", "histogram"}
        and isinstance(node.targets[0], ast.Name)
    }
    assert len(made) == len(metrics.ALL)
    used = set()
    for path in (ROOT / "streams").rglob("*.py"):
        text = path.read_text()
        if path.name != "metrics.py":
            assert "import Counter, Gauge" not in text
            used |= set(re.findall(r"\bmetrics\.([A-Z_]+)\b", text))
    assert made <= used, f"shown by nobody: {made - used}"
