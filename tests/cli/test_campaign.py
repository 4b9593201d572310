"""`leidan campaign`: what it says back of each type of definition, with defaults and dates."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from streams.cli import run
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


def told(capsys, tmp_path, *arguments, **fields):
    """What a verb says of one campaign in a file."""
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps(builders.campaign(**fields)))
    try:
        code = run(["campaign", arguments[0], str(path), *arguments[1:]])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()


def test_shown_with_every_default_and_what_was_left_to_one(capsys, tmp_path):
    code, out, _ = told(capsys, tmp_path, "show", "--json")
    (shown,) = json.loads(out)["definitions"]
    assert code == 0
    assert set(shown["fields"]) >= {"effective_from", "grace_ms", "daily_cap", "collect"}
    assert shown["fields"]["on"] == "paid", "a word, not a number"
    assert "collect" in shown["defaults"]
    assert "target_orders" not in shown["defaults"]
    assert shown["said"].startswith("3 orders")
    _, text, _ = told(capsys, tmp_path, "show")
    assert '  collect = "auto"  (default)' in text.splitlines()
    assert "  target_orders = 3" in text.splitlines()


def test_days_begin_in_the_campaigns_zone_and_clock_changes_are_marked(capsys, tmp_path):
    """Given Berlin, where clocks go forward on 2026-03-29; a claim on the 27th."""
    claim = ("--claim", "2026-03-27T09:00:00+01:00", "--json")
    calendar = {"time_zone": "Europe/Berlin", "day_start": "00:00"}
    code, out, _ = told(capsys, tmp_path, "calendar", *claim, calendar=calendar)
    assert code == 0
    (window,) = json.loads(out)["campaigns"][0]["windows"]
    assert window["begins"] == "2026-03-27T09:00:00+01:00"
    changed = [day for day in window["days"] if day["clock_change"]]
    assert [(day["date"], day["hours"]) for day in changed] == [("2026-03-29", 23)]
    assert changed[0]["begins"] == "2026-03-29T00:00:00+01:00"
    assert window["days"][3]["begins"] == "2026-03-30T00:00:00+02:00"
    assert window["ends"].endswith("T00:00:00+02:00")
    _, text, _ = told(capsys, tmp_path, "calendar", *claim[:2], calendar=calendar)
    assert "2026-03-29  from 2026-03-29T00:00:00+01:00  23 hours: clocks change" in text


def test_a_campaign_that_is_not_there_is_refused_with_the_nearest(capsys, tmp_path):
    code, _, err = told(capsys, tmp_path, "calendar", "--campaign", "thre")
    assert code == 2
    assert "did you mean three?" in err


@pytest.mark.parametrize("verb", ["show", "calendar"])
def test_without_a_file_or_a_broker_there_is_nothing_to_show(capsys, verb):
    assert run(["campaign", verb]) == 2
    assert "give FILEs" in capsys.readouterr().err
