"""Alerts: what they name exists, promtool finds them right, and each has a runbook of use."""

from __future__ import annotations

import re
import shlex
import subprocess

import click
import pytest
import yaml

from streams.cli import cli
from tests.deploy.alerting import PROMETHEUS, ROOT, TESTS, alerts, names_of, rules, wrong_names
from tests.gates import program

RUNBOOKS = ROOT / "deploy" / "runbooks"
FIRES = re.compile(r'count\(ALERTS\{alertname="(\w+)",alertstate="firing"\}\)')


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "prometheus"), *arguments]
    return subprocess.run(
        command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False
    )


def name_of(rule: dict) -> str:
    return rule.get("alert") or rule["record"]


@pytest.mark.parametrize("rule", rules(), ids=name_of)
def test_a_rule_names_only_what_somebody_serves(rule):
    assert wrong_names(rule["expr"]) == []


def test_a_name_that_is_wrong_is_found():
    assert wrong_names("sum(rate(rewards_record_total[5m]))") == ["no metric rewards_record_total"]
    assert wrong_names('rewards_records_total{user="u"}')[0].endswith("has no label user")
    assert wrong_names("sum by (reason) (rewards_records_total)") == [
        "nothing there has a label reason"
    ]
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        names_of("sum(rate(rewards_records_total[5m])")


def test_no_rule_asks_for_a_bucket_that_is_written_otherwise():
    assert 'le="60"' not in (PROMETHEUS / "rules.yml").read_text()


@pytest.mark.parametrize("command", [("check", "rules", "rules.yml"),
                                     ("check", "config", "prometheus.yml")])  # fmt: skip
def test_promtool_accepts_it(command):
    ran = promtool(*command)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("file", TESTS)
def test_alerts_fire_stay_quiet_and_keep_their_edge(file):
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def expected() -> dict[str, list[bool]]:
    """What the tests of each alert expect: True where it fires."""
    found: dict[str, list[bool]] = {}
    for file in TESTS:
        for test in yaml.safe_load((PROMETHEUS / file).read_text())["tests"]:
            for one in test["promql_expr_test"]:
                asked = FIRES.fullmatch(one["expr"])
                assert asked is not None, one["expr"]
                assert asked[1] == test["name"]
                found.setdefault(test["name"], []).append(bool(one["exp_samples"]))
    return found


@pytest.mark.parametrize("rule", alerts(), ids=name_of)
def test_an_alert_is_tested_firing_and_quiet(rule, expected):
    said = expected[rule["alert"]]
    assert said.count(True) >= 1
    assert said.count(False) >= 1


def test_no_test_is_of_an_alert_that_is_gone(expected):
    assert set(expected) == {rule["alert"] for rule in alerts()}


# --- runbooks -----------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Text by heading of the page of alerts."""
    parts = re.split(r"^## (\w+)$", (RUNBOOKS / "alerts.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("rule", alerts(), ids=name_of)
def test_an_alert_says_how_bad_what_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in {"page", "ticket"}
    said = rule["annotations"]
    assert said["summary"]
    assert said["description"].endswith(".")
    path, _, anchor = said["runbook_url"].partition("#")
    assert (ROOT / path.lstrip("/")).is_file()
    assert anchor == rule["alert"].lower(), "as a heading is linked to"


def test_every_alert_has_a_section_and_every_section_an_alert():
    assert list(sections()) == [rule["alert"] for rule in alerts()], "in the order of the rules"


@pytest.mark.parametrize("name", sections())
def test_a_section_says_what_it_means_for_money_what_to_do_and_when_it_is_over(name):
    text = sections()[name]
    assert "**Money:**" in text
    assert "**Over**" in text
    assert re.search(r"\*\*(Look|Do|Look and do):\*\*", text)


def commands() -> list[str]:
    blocks = "\n".join(
        re.findall(r"```\n(.*?)```", (RUNBOOKS / "alerts.md").read_text(), re.DOTALL)
    )
    return [line for line in blocks.splitlines() if line.startswith("leidan ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_of_a_runbook_is_one_of_ours(line):
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert command is not cli, "no such verb"
    options = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_metrics_send_to_runbooks_that_are_there():
    text = (ROOT / "deploy" / "metrics.md").read_text()
    assert set(re.findall(r"[Rr]unbook (\w+)", text)) <= set(sections())
