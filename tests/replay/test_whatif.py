"""The same log under other rules: what is different is what an independent count says is."""

from __future__ import annotations

import json
from collections import defaultdict
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import orjson
import pytest

from streams import retail
from streams.demo import sources
from streams.domain.registry import Campaigns
from streams.errors import CampaignRefused
from streams.replay import reckoning, world
from streams.replay import whatif as whatif_module
from streams.replay.past import Records
from streams.replay.report import as_html, as_object
from streams.replay.whatif import Result, compare, with_replaced
from streams.store import scratch
from streams.topics import schemas_dir
from streams.traffic import Traffic
from streams.wire.campaigns import decode, read_file
from tests.builders import at, cancel, claim, millis, order, topic_of
from tests.builders import campaign as three
from tests.cli.conftest import REAL_YEAR, SAMPLES
from tests.oracle import oracle

if TYPE_CHECKING:
    from streams.domain.definition import Definition

SCHEMA = json.loads((schemas_dir() / "cli" / "whatif.schema.json").read_text())


def definition(**fields: Any) -> Definition:
    return decode(orjson.dumps(three(**fields)), None)


def log(*events: dict[str, Any]) -> list[tuple[str, bytes, bytes, int]]:
    """The records of these events."""
    return [
        (
            topic_of(event),
            event["user_id"].encode(),
            orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"}),
            event["recorded_at_ms"],
        )
        for event in events
    ]


def whatif(sent: Any, known: list[Definition], new: list[Definition], since_ms: int = 0) -> Result:
    past = Records(sent, known)
    result = compare(past, with_replaced(known, new), since_ms, past.newest_ms())
    jsonschema.validate(as_object(result), SCHEMA)
    return result


def by(user_id: str, event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**event, "user_id": user_id, **fields}


# --- an unchanged definition ---------------------------------------------------------------------


def test_the_same_definition_again_is_no_difference():
    known = [definition()]
    events = [claim(), order("o1"), order("o2"), order("o3"), cancel("o2")]
    result = whatif(log(*events), known, [definition()])
    assert not result.different
    assert result.total[0].was.minor == result.total[0].would.minor > 0
    assert result.replaced == ["three version 1"]


def test_four_campaigns_with_lotteries_and_budgets_are_the_same_twice():
    known = [one for file in sources.sample_phases() for one in read_file(file)]
    campaigns = list(Campaigns.of(known))
    sent = sources.side_by_side(
        seed=3, users=30, orders=300, chaos="dup,late,poison", campaigns=campaigns
    )
    result = whatif(sent, known, read_file(sources.sample_phases()[3]))
    assert not result.different
    assert result.rejected
    assert result.total[0].was.rewards > 20
    kinds = {pair.name.split()[0] for pair in result.by_step}
    assert {"step", "final", "prize"} <= kinds, "pools have answered"
    assert [budget for budget in result.budgets if budget[0]]


# --- one changed number -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_4() -> tuple[Result, Any, Any]:
    """The real year, a coupon for every fourth order where it was every third; and the oracle."""
    if not REAL_YEAR.is_dir():
        pytest.skip("../shared/data/online-retail-2010 is absent")
    file = SAMPLES / "retail-every-3.json"
    written = json.loads(file.read_text())
    written["target"]["orders"], written["window"]["max_cycles"] = 4, 100
    changed = [decode(orjson.dumps(written), None)]
    result = whatif(retail.load(REAL_YEAR), read_file(file), changed)
    return result, oracle().rewards, oracle(every=4, max_cycles=100).rewards


def test_the_real_year_with_4_for_3_differs_by_what_the_oracle_says(every_4):
    result, was, would = every_4
    (total,) = result.total
    assert (total.was.rewards, total.would.rewards) == (sum(was.values()), sum(would.values()))
    assert total.minor == 500 * (sum(would.values()) - sum(was.values())) < 0
    for sums in (result.by_day, result.by_step, result.by_campaign, result.by_segment):
        assert sum(pair.rewards for pair in sums) == total.rewards
        assert sum(pair.would.minor for pair in sums) == total.would.minor


def test_winners_and_losers_are_those_of_the_oracle(every_4):
    result, was, would = every_4
    lost = {user: would[user] - was[user] for user in was if would[user] < was[user]}
    assert result.winners.count == sum(would[user] > was[user] for user in was)
    assert result.losers.count == len(lost)
    largest = sorted(lost.items(), key=lambda one: (one[1], one[0]))[:10]
    assert [(pair.name, pair.rewards) for pair in result.losers.largest] == largest


def test_since_counts_later_rewards_alone_and_keeps_what_tasks_rest_on():
    sent = log(claim(), order("o1"), order("o2"), order("o3"))
    fewer = definition(step_rewards=three()["step_rewards"][:2])
    whole = whatif(sent, [definition()], [fewer])
    later = whatif(sent, [definition()], [fewer], since_ms=millis(at(3, "00:00")))
    assert whole.total[0].was.minor == 100 + 200 + 300 + 500
    assert later.total[0].was.minor == 300 + 500, "steps 1 and 2 were before; step 3 rests on them"
    assert later.total[0].would.minor == 500


def test_what_is_taken_back_costs_nothing_on_either_side():
    sent = log(claim(), order("o1"), order("o2"), cancel("o2"))
    dearer = definition(step_rewards=[{**one, "right": {**one["right"], "value_minor": 900}}
                                      for one in three()["step_rewards"]])  # fmt: skip
    (total,) = whatif(sent, [definition()], [dearer]).total
    assert (total.was.minor, total.would.minor) == (100, 900)


# --- segments, time, budgets --------------------------------------------------------------------


def test_a_user_of_two_segments_counts_in_both_and_one_of_none_in_its_own():
    told = {"context": {"segments": ["new", "north"]}}
    events = [
        by("u-1", claim(**told)), by("u-2", claim("k2")),
        by("u-1", order("o1")), by("u-2", order("o2", day=1)),
    ]  # fmt: skip
    result = whatif(log(*events), [definition()], [definition()])
    assert {pair.name: pair.was.minor for pair in result.by_segment} == {
        "new": 100, "north": 100, "": 100,
    }  # fmt: skip


def test_time_passes_to_the_end_of_the_log_on_both_sides():
    sent = log(by("u-1", claim()), by("u-2", order("o30", day=30)))
    longer = definition(window={"days": 40})
    result = whatif(sent, [definition()], [longer])
    assert result.counts["tasks expired"] == (1, 0)
    assert result.different, "nobody got a reward, but a task stands that had expired"


WORST = 100 + 200 + 300 + 500


def test_a_budget_runs_out_when_a_plain_loop_says():
    claims = [
        by(f"u-{n}", claim(f"k{n}", when=at(1 + n // 4, f"{8 + n % 4:02}:00"))) for n in range(12)
    ]
    limit = 5 * WORST + 20
    limited = definition(budget={"amount_minor": limit})
    richer = definition(budget={"amount_minor": 2 * limit})
    result = whatif(log(*claims), [limited], [richer])
    ((was, would),) = result.budgets
    assert was is not None
    assert would is not None
    for found, amount in ((was, limit), (would, 2 * limit)):
        left, refused = amount, []
        for event in claims:  # nothing is given back: no task has ended yet
            if left >= WORST:
                left -= WORST
            else:
                refused.append(event["recorded_at_ms"])
        assert (found.left_minor, found.refused) == (left, len(refused))
        assert found.first_refused_ms == min(refused, default=None)
    assert result.counts["claims refused"] == (7, 2)


def test_what_tasks_give_back_lets_a_budget_last():
    first, later = by("u-1", claim()), by("u-2", claim("k2", day=20))
    limited = definition(budget={"amount_minor": WORST})
    ((was, _),) = whatif(log(first, later), [limited], [limited]).budgets
    assert was is not None
    assert was.refused == 0, "the first task ended with nothing given, grace included"
    ((was, _),) = whatif(log(first, {**later, **by("u-2", claim("k2", day=9))}), [limited],
                         [limited]).budgets  # fmt: skip
    assert was is not None
    assert was.refused == 1


# --- what is replaced ---------------------------------------------------------------------------


def test_a_version_is_replaced_the_next_one_added_and_a_gap_refused():
    known = [definition()]
    assert with_replaced(known, [definition(title="x")]).replaced == ["three version 1"]
    later = {"version": 2, "effective_from": "2026-03-01T00:00:00+08:00"}
    assert with_replaced(known, [definition(**later)]).added == ["three version 2"]
    with pytest.raises(CampaignRefused, match="version 3 must follow 1"):
        with_replaced(known, [definition(**{**later, "version": 3})])


def test_partitions_one_after_the_other_are_the_same_as_all_at_once():
    sent = list(Traffic(4, 40, 400, ("late", "reorder")))
    known = read_file(SAMPLES / "grocery-3.json")
    written = json.loads((SAMPLES / "grocery-3.json").read_text())
    written["qualify"] = {**written.get("qualify", {}), "min_amount_minor": 3000}
    new = [decode(orjson.dumps(written), None)]
    whole, apart = whatif(sent, known, new), Apart(sent, known)
    split = compare(apart, with_replaced(known, new), 0, apart.newest_ms())
    assert apart.asked == [[0], [1], [2]]
    assert as_object(split) == as_object(whole)
    assert whole.different


class Apart(Records):
    """The same log in three partitions."""

    def __init__(self, sent: Any, known: list[Definition]) -> None:
        super().__init__(sent, known)
        self.partitions = (0, 1, 2)
        self.asked: list[list[int]] = []

    def records(self, partitions: Any) -> Any:
        self.asked.append(list(partitions))
        mine = defaultdict(list)
        for record in self._records:
            mine[sum(record.key or b"") % 3].append(record)
        return iter([record for p in partitions for record in mine[p]])


# --- the report ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """What of a page matters here."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.values: list[tuple[str, str]] = []
        self.texts: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.add(data.strip())


def test_the_report_holds_every_number_and_names_nothing_outside_itself(every_4):
    result, *_ = every_4
    page = Page(as_html(result))
    for pair in [*result.total, *result.by_day, *result.by_step, *result.losers.largest]:
        for number in (pair.was.minor, pair.would.minor, pair.was.rewards, pair.would.rewards):
            assert f"{number:,}" in page.texts
        assert f"{pair.minor:+,}" in page.texts
        assert pair.name in page.texts or not pair.name
    assert set(result.notes) <= page.texts
    assert page.tags.count("svg") == 3
    assert "polyline" in page.tags
    forbidden = {"script", "link", "img", "iframe", "object", "image", "use", "foreignobject"}
    assert not forbidden & set(page.tags)
    assert not {"src", "href", "xlink:href", "style"} & {name for name, _ in page.values}
    text = as_html(result)
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_ids_of_users_and_segments_cannot_become_markup():
    hostile = "<script>alert(1)</script>"
    events = [by(hostile, claim(context={"segments": [hostile]})), by(hostile, order("o1"))]
    result = whatif(log(*events), [definition()], [definition(step_rewards=None)])
    page = Page(as_html(result))
    assert "script" not in page.tags
    assert hostile in page.texts


def test_what_was_spilled_to_disk_makes_no_difference(monkeypatch):
    """Lotteries, budgets, segments: of each kind of row, deadline and sum three are in memory."""
    known = [one for file in sources.sample_phases() for one in read_file(file)]
    campaigns = list(Campaigns.of(known))
    sent = sources.side_by_side(seed=3, users=30, orders=300, chaos="dup", campaigns=campaigns)
    new = [msgspec.structs.replace(one, days=one.days - 1) for one in campaigns]
    wanted = as_object(whatif(sent, known, new))
    assert wanted["different"]
    assert wanted["budgets"]
    monkeypatch.setattr(world, "MOST_ROWS", 3)
    monkeypatch.setattr(whatif_module, "MOST_USERS", 3)
    monkeypatch.setattr(reckoning, "MOST_USERS", 3)
    monkeypatch.setattr(scratch, "SPILL", 2)
    written = []
    put = scratch.Scratch.put
    monkeypatch.setattr(scratch.Scratch, "put", lambda *a: (written.append(a), put(*a))[1])
    assert as_object(whatif(sent, known, new)) == wanted
    assert len(written) > 100, "void: hardly anything was spilled"
