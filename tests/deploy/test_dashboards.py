"""Dashboards: as described, loadable from files, and every name in them exists."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from deploy.grafana import dashboards
from streams import metrics
from tests.deploy.alerting import ROOT, SCRAPED, known, names_of, rules, wrong_names

GRAFANA = ROOT / "deploy" / "grafana"


def panels() -> list[tuple[str, dict]]:
    return [
        (f"{file}: {panel['title']}", panel)
        for file in dashboards.EVERY
        for panel in json.loads((GRAFANA / file).read_text())["panels"]
        if panel["type"] != "row"
    ]


def every(panel: dict) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@pytest.mark.parametrize("file", dashboards.EVERY)
def test_a_file_is_what_its_description_says(file):
    written = dashboards.written(dashboards.EVERY[file])
    assert (GRAFANA / file).read_text() == written, "python deploy/grafana/dashboards.py"


@pytest.mark.parametrize("file", dashboards.EVERY)
def test_a_dashboard_can_be_provisioned_from_a_file(file):
    board = json.loads((GRAFANA / file).read_text())
    assert board["id"] is None
    assert board["schemaVersion"] == 39
    assert "__inputs" not in board, "those are for people who import by hand"
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(places) == len(set(places)), "no panel hides another"
    variables = {one["name"] for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", (GRAFANA / file).read_text()))
    assert used - {"__all"} <= variables
    assert variables - {"datasource"} <= used


def test_no_two_dashboards_share_a_name():
    uids = [board.uid for board in dashboards.EVERY.values()]
    assert len(uids) == len(set(uids))


@pytest.mark.parametrize(
    ("name", "panel"), panels(), ids=lambda one: one if type(one) is str else ""
)
def test_a_panel_says_what_it_shows_and_names_only_what_is_there(name, panel):
    assert panel["description"].endswith((".", "!")), name
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert wrong_names(target["expr"]) == []
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= left_by(target["expr"]), "a legend shows labels that are left"


def left_by(expression: str) -> set[str]:
    """The labels a result can have: those it groups by, or all of what it picks."""
    if grouped := re.findall(r"by \(([^)]*)\)", expression):
        return {label.strip() for labels in grouped for label in labels.split(",")}
    there = known()
    return SCRAPED.union(*(there[one.metric] for one in names_of(expression)))


def test_every_metric_is_on_a_panel_or_in_an_alert():
    expressions = [rule["expr"] for rule in rules()]
    expressions += [expr for _, panel in panels() for expr in every(panel)]
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", one.metric)
        for expr in expressions
        for one in names_of(expr)
    }
    assert {one.name for one in metrics.ALL} - shown == set()


def test_provisioning_names_what_is_there():
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "leidan.yaml").read_text()
    )["datasources"]
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "leidan.yaml").read_text()
    )["providers"]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
    assert provider["options"]["path"]
