"""The rules as deploy/prometheus has them, their tests, and what a PromQL expression names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import promql_parser as promql
import yaml

from streams import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
TESTS = ("rules_test.yml", "rules_hours_test.yml")

SCRAPED = {"job", "instance", "namespace"}
"""Labels that the scrape adds, and not we."""

OTHERS = {
    "up": set(),
    "process_start_time_seconds": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "process_open_fds": set(),
    "kafka_consumergroup_lag": {"consumergroup", "topic", "partition"},
    "kafka_consumergroup_group_lag": {"group", "topic", "partition"},
}
"""What others serve: Prometheus, prometheus-client, kafka_exporter, kafka-lag-exporter."""


class Named(NamedTuple):
    """A series that an expression asks for, with the labels it picks it by."""

    metric: str
    labels: frozenset[str]


@cache
def rules() -> tuple[dict[str, Any], ...]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def known() -> dict[str, set[str]]:
    """Every series there may be, with its labels: ours by the contract, and what others serve."""
    found = dict(OTHERS)
    for one in metrics.ALL:
        labels = set(one.labels)
        if one.kind == "histogram":
            found[f"{one.name}_bucket"] = labels | {"le"}
            found[f"{one.name}_count"] = found[f"{one.name}_sum"] = labels
        else:
            found[one.name] = labels
    for rule in rules():
        if "record" in rule:
            before = (found[x.metric] for x in names_of(rule["expr"]) if ":" in x.metric)
            found[rule["record"]] = SCRAPED.union(labels_of(rule["expr"]), *before)
    return found


def plain(expression: str) -> str:
    """Put values where Grafana would: the parser knows no variables."""
    expression = re.sub(r"\$__(rate_)?interval|\$__range", "5m", expression)
    return re.sub(r"\$\{?\w+\}?", "x", expression)


def names_of(expression: str) -> set[Named]:
    """Return what an expression asks for. Raises ValueError when it is no PromQL."""
    return {
        Named(node.name, frozenset(m.name for m in node.matchers.matchers))
        for node in _walk(promql.parse(plain(expression)))
        if isinstance(node, promql.VectorSelector)
    }


def labels_of(expression: str) -> set[str]:
    """Return every label that an expression groups, joins or picks by."""
    found: set[str] = set()
    for node in _walk(promql.parse(plain(expression))):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found |= set(node.modifier.labels)
        elif isinstance(node, promql.VectorSelector):
            found |= {m.name for m in node.matchers.matchers}
    return found


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str):
            yield from _walk(child)
    for child in getattr(node, "args", None) or ():
        yield from _walk(child)


def wrong_names(expression: str) -> list[str]:
    """Return every series or label of an expression that nobody serves, in words."""
    there = known()
    problems = [
        f"no metric {one.metric}" for one in names_of(expression) if one.metric not in there
    ]
    problems += [
        f"{one.metric} has no label {label}"
        for one in names_of(expression)
        for label in one.labels - there.get(one.metric, one.labels) - SCRAPED
    ]
    every = SCRAPED.union(*(there.get(one.metric, set()) for one in names_of(expression)))
    return problems + [f"nothing there has a label {x}" for x in labels_of(expression) - every]
