"""The demo from end to end: a broker, the real worker in its own process, and what came out.

On the embedded broker, so none of this is evidence of exactly-once (D10).
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from streams.broker.embedded import EmbeddedBroker
from streams.demo.run import DemoFailed, guard
from streams.domain.state import canonical_state
from streams.store.rows import read_rows
from streams.topics import CHANGELOG, ORDERS
from streams.wire.rows import decode_row
from tests.cli.conftest import SAMPLES, leidan, require_one_clear_message
from tests.gates import LONG
from tests.oracle import oracle

if TYPE_CHECKING:
    from pathlib import Path

PROMISED = {
    "records", "applied", "duplicates", "dead_letters", "tasks", "rewards_issued",
    "rewards_revoked", "rewards_net", "debts", "wall_s", "events_per_s",
}  # fmt: skip


def demo(*arguments: object, limit_s: float = 120.0) -> dict:
    """Run the demo; its one JSON object."""
    ran = leidan("demo", "--json", *arguments, limit_s=limit_s)
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 1, "one object on stdout and nothing else"
    return json.loads(ran.out)


def canonical_rows(directory: Path) -> dict[str, bytes]:
    """Every user's state as the worker left it in RocksDB, in the form that must not vary."""
    rows = {}
    for path in sorted((directory / "state" / "demo-0" / "users").iterdir()):
        if path.is_dir():
            for key, value in read_rows(path):
                user = key.decode()
                assert user not in rows, f"{user} lies in two partitions"
                rows[user] = canonical_state(decode_row(user, value))
    assert rows
    return rows


# Without `dup`, whose copies have timestamps of their own: the first to arrive is the one that
# counts, so in another order of arrival it would be another set of facts.
SMALL = (
    "--campaign", SAMPLES / "grocery-3.json", "--orders", 800, "--users", 80,
    "--chaos", "late,reorder,poison",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One small run with what can go wrong on the way, its state kept."""
    directory = tmp_path_factory.mktemp("demo")
    net = directory / "net.json"
    found = demo(*SMALL, "--state-dir", directory, "--net", net)
    return directory, found, json.loads(net.read_text())


def test_every_record_was_applied_or_is_a_duplicate_or_a_dead_letter(run):
    _, found, _ = run
    assert found.keys() >= PROMISED
    dead = sum(found["dead_letters"].values())
    assert found["applied"] + found["duplicates"] + dead == found["records"] > 800
    assert dead > 5


def test_one_of_its_rewards_is_explained_from_the_events_that_earned_it(run):
    _, found, net = run
    explained = found["explained"]
    assert explained["known"]
    assert net[explained["user_id"]] > 0
    (task,) = explained["tasks"]
    (reward,) = task["rewards"]
    counted = [one["order_id"] for one in task["orders"] if one["code"] is None]
    assert counted == reward["rests_on"] != []


def test_rewards_are_issued_and_the_net_is_what_users_have(run):
    _, found, net = run
    assert found["rewards_net"] == found["rewards_issued"] - found["rewards_revoked"]
    assert found["rewards_net"] == sum(net.values()) > 50
    assert found["tasks"] > 30


def test_no_ledger_entry_is_there_twice(run):
    assert run[1]["repeated_event_ids"] == 0


def test_the_kept_state_has_a_row_for_every_user_who_won(run):
    directory, _, net = run
    assert set(net) <= set(canonical_rows(directory))


def test_a_directory_that_holds_a_run_is_refused(run):
    ran = leidan("demo", "--state-dir", run[0])
    assert ran.code == 2
    require_one_clear_message(ran)
    assert "new directory" in ran.err


@pytest.mark.parametrize("batch_records", [1, 7])
def test_disorder_and_repetition_change_no_state(run, batch_records, tmp_path):
    directory, found, net = run
    again = tmp_path / "net.json"
    other = demo(
        *SMALL, "--state-dir", tmp_path, "--net", again,
        "--shuffle", 7, "--repeat", "--batch-records", batch_records,
    )  # fmt: skip
    assert found["duplicates"] == 0
    assert other["duplicates"] > found["records"] / 2
    assert json.loads(again.read_text()) == net
    assert canonical_rows(tmp_path) == canonical_rows(directory)


# -- the four phases side by side ---------------------------------------------------------------

BY_CAMPAIGN = {
    "phase", "tasks", "completed", "expired", "rejected", "rewards_issued", "rewards_revoked",
    "rewards_failed", "rewards_net", "draws", "currency", "spent_minor", "budget_minor",
    "reserved_minor", "debts",
}  # fmt: skip


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """The demo as `make run` has it, smaller; and the lottery's public records."""
    public = tmp_path_factory.mktemp("four") / "public.ndjson"
    return demo("--users", 120, "--orders", 1_200, "--public", public), public


def test_all_four_phases_give_something_and_their_sums_are_the_summary(four):
    found, _ = four
    rows = found["campaigns"]
    assert {campaign_id: row["phase"] for campaign_id, row in rows.items()} == {
        "grocery-dark": "dark_box",
        "grocery-light": "light_box",
        "grocery-spin": "lottery",
        "grocery-full": "full_link",
    }
    for row in rows.values():
        assert row.keys() >= BY_CAMPAIGN
        assert row["tasks"] >= row["completed"] > 5
        assert row["rewards_net"] > 0
    for name in ("tasks", "rewards_issued", "rewards_revoked", "rewards_failed", "rewards_net"):
        assert sum(row[name] for row in rows.values()) == found[name], name
    assert sum(row["spent_minor"] for row in rows.values()) == found["net_minor"]["CNY"]


def test_no_campaign_spends_more_than_its_budget_and_nothing_stays_reserved(four):
    rows = four[0]["campaigns"]
    for campaign_id, row in rows.items():
        if row["budget_minor"] is not None:
            assert 0 < row["spent_minor"] <= row["budget_minor"], campaign_id
        assert row["reserved_minor"] == 0, "time has passed: every task is over"
    assert rows["grocery-light"]["budget_minor"] is None


def test_time_has_passed_for_all_of_them(four):
    found = four[0]
    for campaign_id, row in found["campaigns"].items():
        assert row["completed"] + row["expired"] == row["tasks"], campaign_id
    assert found["notices"]["one_order_left"] > 0


def test_the_lottery_is_proved_and_its_seed_revealed(four):
    found, public = four
    row, draws = found["lotteries"]["grocery-wheel"], found["campaigns"]["grocery-spin"]["draws"]
    assert row["revealed"]
    assert (row["draws"], row["won"]) == (sum(draws.values()), draws["won"])
    assert row["won"] > 5
    ran = leidan("lottery", "verify", "--file", public)
    assert ran.code == 0, ran.err
    assert f"{row['draws']} draws, {row['won']} won: all as the rules make it\n" in ran.out


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Another run of the four as a person sees it; and its public records."""
    public = tmp_path_factory.mktemp("printed") / "public.ndjson"
    ran = leidan("demo", "--orders", 300, "--users", 40, "--chaos", "", "--public", public)
    assert ran.code == 0, ran.err
    return ran, public


def test_a_lottery_of_a_sample_has_another_seed_in_every_run(four, printed):
    runs = (four[1], printed[1])
    first, second = (json.loads(path.read_text().splitlines()[0]) for path in runs)
    assert first["commitment"] != second["commitment"]
    assert "0" * 64 not in (first["commitment"], second["commitment"])


def test_without_json_it_ends_with_a_summary_and_what_to_try_next(printed):
    ran, _ = printed
    for name in ("records", "duplicates", "dead letters", "rewards net", "wall time"):
        assert name in ran.out
    for campaign in ("grocery-dark", "grocery-light", "grocery-spin", "grocery-full"):
        assert ran.out.count(f"\n{campaign}  ") == 1, "one row of the table"
    assert "leidan explain" in ran.out
    assert "spent of its budget" in ran.out
    assert "lottery grocery-wheel: " in ran.out
    assert ran.out.count("demo --") + ran.out.count("campaign validate") >= 3
    assert "\x1b" not in ran.out + ran.err, "no colour without a terminal"


def test_versions_out_of_sequence_are_refused_before_anything_starts(tmp_path):
    twice = tmp_path / "twice.json"
    definition = json.loads((SAMPLES / "grocery-3.json").read_text())
    twice.write_text(json.dumps([definition, definition]))
    ran = leidan("demo", "--campaign", twice)
    assert ran.code == 2
    require_one_clear_message(ran)
    assert "version 1 must follow 1" in ran.err


def test_a_worker_that_dies_ends_the_demo_with_its_code_and_the_end_of_its_log(tmp_path):
    ran = leidan(
        "demo", "--data", _mostly_guests(tmp_path), "--campaign", SAMPLES / "retail-every-3.json"
    )
    assert ran.code == 65, ran.err
    assert "the end of its log" in ran.err
    assert "dead letters" in ran.err


def _mostly_guests(directory: Path) -> Path:
    """A year in which hardly anybody has a name."""
    order = {"at": "2010-01-05T10:00:00Z", "lines": [{"sku": "a", "qty": 1, "unit_price": 9_000}]}
    with gzip.open(directory / "orders.ndjson.gz", "wt") as lines:
        for number in range(4_000):
            customer = str(number % 50) if number % 8 == 0 else None
            row = {**order, "order_id": f"o-{number}", "customer_id": customer}
            lines.write(json.dumps(row) + "\n")
    with gzip.open(directory / "cancellations.ndjson.gz", "wt"):
        pass
    return directory


# -- the real year ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def year(real_year, tmp_path_factory):
    """The real year in its own order, its state kept."""
    directory = tmp_path_factory.mktemp("year")
    return (directory, *_year(real_year, directory))


def _year(real_year, directory, *more, limit_s=280.0):
    net = directory / "net.json"
    campaign = SAMPLES / "retail-every-3.json"
    found = demo(
        "--data", real_year, "--campaign", campaign, "--state-dir", directory, "--net", net, *more,
        limit_s=limit_s,
    )  # fmt: skip
    return found, json.loads(net.read_text())


@pytest.mark.slow
def test_the_real_year_earns_what_the_oracle_says_per_user(year):
    _, found, net = year
    expected = oracle()
    assert net == {user: n for user, n in expected.rewards.items() if n}
    assert found["rewards_net"] == expected.rewards_net
    assert found["tasks"] == len(expected.tasks)


@pytest.mark.slow
def test_the_guests_of_the_real_year_are_dead_letters(year):
    _, found, _ = year
    assert found["dead_letters_by_topic"]["orders"] == {"no_user": 2_885}
    assert set(found["dead_letters"]) == {"no_user"}


@LONG
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_lottery_on_the_real_year_draws_once_for_every_cycle_and_is_proved(real_year, tmp_path):
    public = tmp_path / "public.ndjson"
    found = demo("--data", real_year, "--lottery", "--public", public, limit_s=280.0)
    row, lottery = found["campaigns"]["retail-spin"], found["lotteries"]["retail-wheel"]
    finals = row["issued_by_kind"]["final"] - row["revoked_by_kind"].get("final", 0)
    assert finals == oracle().rewards_net, "the same orders count as without a lottery"
    lines = map(json.loads, public.read_text().splitlines())
    cycles = {line["draw_id"] for line in lines if line["type"] == "draw.drawn"}
    assert lottery["draws"] == sum(row["draws"].values()) >= finals
    assert len(cycles) == lottery["draws"] <= row["issued_by_kind"]["final"]
    assert 0 < lottery["spent_minor"] <= lottery["budget_minor"]
    assert leidan("lottery", "verify", "retail-wheel", "--file", public).code == 0
    tampered = tmp_path / "tampered.ndjson"
    tampered.write_text(public.read_text().replace('"outcome":"nothing"', '"outcome":"won"', 1))
    assert leidan("lottery", "verify", "--file", tampered).code == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch_records", [5_000, pytest.param(7, marks=LONG), pytest.param(1, marks=LONG)]
)
@pytest.mark.timeout(600)
def test_the_real_year_shuffled_and_repeated_is_the_same_year(
    real_year, year, tmp_path, batch_records
):
    directory, found, net = year
    print(f"the year in its own order: {found['wall_s']} s")
    other, again = _year(
        real_year, tmp_path, "--shuffle", 11, "--repeat", "--batch-records", batch_records,
        limit_s=580.0,
    )  # fmt: skip
    assert other["records"] > found["records"] * 1.5
    assert again == net
    assert canonical_rows(tmp_path) == canonical_rows(directory)


def test_lottery_without_the_real_year_is_refused():
    ran = leidan("demo", "--lottery")
    assert ran.code == 2
    require_one_clear_message(ran)


# -- the guard ----------------------------------------------------------------------------------


def dropping(topic: str) -> EmbeddedBroker:
    """An embedded broker that has silently dropped the oldest records of one topic."""
    broker = EmbeddedBroker().start({ORDERS: 1, CHANGELOG: 1})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for _ in range(80):  # 8 MiB, uncompressed: it keeps 5
        producer.produce(topic, bytes(100_000))
    assert producer.flush(30) == 0
    return broker


def test_a_run_whose_records_were_dropped_is_never_counted():
    with dropping(ORDERS) as broker, pytest.raises(DemoFailed, match="dropped records"):
        guard(broker)


def test_a_changelog_that_was_dropped_is_said_and_the_run_still_counts():
    with dropping(CHANGELOG) as broker:
        (note,) = guard(broker)
    assert "could not have restored" in note
