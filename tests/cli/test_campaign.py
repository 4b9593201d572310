"""`leidan campaign validate`: what it says back of each type of definition."""

from __future__ import annotations

import json

from click.testing import CliRunner

from streams.cli.campaign import validate
from tests import builders

BUDGETED = builders.campaign(
    features=["light_box", "full_link", "lottery"],
    lottery=builders.chances(2, "final"),
    claim=builders.CLOSING,
    target={"amount_minor": 9000},
    budget={"amount_minor": 5000, "max_tasks": 4},
)
RECORDS = (
    builders.pool(),
    builders.shelf(),
    BUDGETED,
    builders.change("pool.closed", pool_id="wheel"),
)


def ran(tmp_path, records, *flags):
    path = tmp_path / "records.ndjson"
    path.write_text("\n".join(map(json.dumps, records)))
    return CliRunner().invoke(validate, [str(path), *flags])


def test_each_type_is_said_back_in_a_sentence(tmp_path):
    result = ran(tmp_path, RECORDS)
    assert result.exit_code == 0, result.output
    wheel, shelf, campaign, closed = result.stdout.splitlines()
    assert wheel == (
        "pool.defined of wheel: 31 x top (10000), 2000 x five (500); a draw costs 11"
        " CNY minor units on average (odds version 1); closes at 2026-06-01T00:00:00+08:00"
    )
    assert shelf == "pool.defined of shelf: 10 x mug"
    assert (
        "3 orders (at least 1500 CNY minor units each, at most 1 a day) and 9000 in all" in campaign
    )
    assert "3 step rewards, 2 chances to draw from wheel" in campaign
    assert "a task costs at most 1100 of 5000, 4 tasks in all" in campaign
    assert closed == "pool.closed of wheel: from 2026-03-10T00:00:00+08:00 on"


def test_what_does_not_fit_together_is_named_with_its_record(tmp_path):
    result = ran(tmp_path, RECORDS[2:], "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "definitions": ["three version 1", "pool.closed of wheel"],
        "problems": [
            "three version 1: pool wheel: is unknown",
            "pool.closed of wheel: pool wheel: is unknown",
        ],
    }
