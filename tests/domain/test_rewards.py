"""What becomes of a reward: commanded, answered, taken back, owed (semantics.md 5, 7, 10)."""

from __future__ import annotations

from typing import Any

import pytest

from streams.domain import state as s
from streams.domain.events import PoolAnswered
from streams.domain.fold import Outcome, step
from tests.builders import USER, at, campaign, cancel, claim, millis, order, result, withdraw
from tests.given import Given, given

ONE = [{"step": 1, "right": {"right_id": "rp-1", "type": "red_packet", "value_minor": 100}}]
REQUIRED = campaign(results="required", step_rewards=ONE)
ASSUMED = campaign(step_rewards=ONE)
FIRST = [claim(), order("o1")]


def with_right(results: str = "required", **right: Any) -> dict[str, Any]:
    one = {"right_id": "r", "type": "red_packet", "value_minor": 100, **right}
    return campaign(results=results, step_rewards=[{"step": 1, "right": one}])


def answered(known: Given, *outcomes: str, right_id: str = "rp-1", day: int = 2) -> Given:
    """The rights service answers, in turn: `issued`, or `2:revoked` for another seq than 1."""
    for outcome in outcomes:
        seq, _, word = outcome.rpartition(":")
        known.when(result(known.reward_id("1", right_id), word, int(seq or 1), day=day))
    return known


def entry(known: Given, right_id: str = "rp-1") -> s.Entry:
    entries = s.unpack_ledger(known.state.ledger)
    return entries[known.reward_id("1", right_id)]


def postings(known: Given) -> list[tuple[str, int]]:
    """The postings of the last record on `rewards`."""
    body = [o.body for o in known.outputs if o.topic == "rewards"][-1]
    return [(p["account"], p["amount_minor"]) for p in body["postings"]]


def test_an_issue_that_waits_for_its_answer_says_nothing_more_when_it_comes():
    known = given(REQUIRED, FIRST)
    assert entry(known).state == s.ISSUING
    answered(known, "issued").then()
    assert entry(known).state == s.ISSUED


def test_a_failure_that_may_pass_leaves_the_same_command_standing():
    known = given(REQUIRED, FIRST)
    known.when(result(known.reward_id("1", "rp-1"), "failed", retryable=True)).then()
    assert (entry(known).state, entry(known).seq) == (s.ISSUING, 1)
    answered(known, "issued").then()
    assert entry(known).state == s.ISSUED


@pytest.mark.parametrize("results", ["required", "assumed"])
def test_fixture_22_a_failure_for_good_voids_the_reward_and_its_fallback_is_due(results):
    second = {"right_id": "c-1", "type": "coupon", "value_minor": 80}
    known = given(with_right(results, fallback=second), FIRST)
    answered(known, "failed", right_id="r").then("failed 1 r 100", "issued 1 c-1")
    assert known.task().counted == 1
    assert entry(known, "r").state == s.VOID
    known.when(cancel("o1", day=3)).then("task.regressed 0", "revoked 1 c-1")
    if results == "required":
        answered(known, "2:revoked", right_id="c-1").then("returned 1 c-1 80")
    known.when(order("o4")).then("task.advanced 1", "issued 1 c-1 seq=3")


def test_a_fallback_that_fails_has_its_own_fallback_and_the_last_one_none():
    last = {"right_id": "f-2", "type": "coupon", "value_minor": 10}
    first = {"right_id": "f-1", "type": "coupon", "value_minor": 20, "fallback": last}
    known = given(with_right(fallback=first), FIRST)
    answered(known, "failed", right_id="r").then("failed 1 r 100", "issued 1 f-1")
    answered(known, "failed", right_id="f-1").then("failed 1 f-1 20", "issued 1 f-2")
    answered(known, "failed", right_id="f-2").then("failed 1 f-2 10")
    known.when(order("o2")).then("task.advanced 2")


def test_a_command_is_taken_back_before_its_answer_and_the_late_answer_does_not_matter():
    known = given(REQUIRED, FIRST)
    known.when(cancel("o1", day=2)).then("task.regressed 0", "revoked 1 rp-1")
    assert postings(known) == [("issued", -100), ("returning", 100)]
    answered(known, "issued").then()
    assert known.outcome == Outcome.IGNORED
    answered(known, "2:revoked").then("returned 1 rp-1 100")
    assert postings(known) == [("returning", -100), ("budget", 100)]


def test_what_is_due_again_while_it_is_taken_back_waits_for_the_answer():
    known = given(REQUIRED, [*FIRST, cancel("o1", day=2)])
    known.when(order("o3")).then("task.advanced 1")
    answered(known, "2:revoked", day=3).then("returned 1 rp-1 100", "issued 1 rp-1 seq=3")
    assert entry(known).state == s.ISSUING


def test_fixture_43_regained_while_revoking_then_revoke_failed_is_spent_and_never_issued_again():
    known = given(REQUIRED, [*FIRST, cancel("o1", day=2), order("o3")])
    answered(known, "2:revoke_failed", day=3).then("spent 1 rp-1 100")
    assert postings(known) == [("returning", -100), ("spent", 100)]
    assert (entry(known).state, entry(known).seq) == (s.SPENT, 2)
    known.when(order("o4")).then("task.advanced 2")


def test_a_revocation_that_fails_of_what_is_not_due_is_owed():
    known = given(REQUIRED, [*FIRST, cancel("o1", day=2)])
    answered(known, "2:revoke_failed").then("spent 1 rp-1 100", "owed 1 rp-1 100")
    assert known.state.owed_minor == 100


def test_a_coupon_whose_revocation_fails_is_forgiven():
    known = given(with_right(type="coupon"), [*FIRST, cancel("o1", day=2)])
    answered(known, "2:revoke_failed", right_id="r").then("spent 1 r 100")
    assert entry(known, "r").state == s.SPENT


def test_with_assumed_results_a_revocation_can_still_turn_out_to_have_failed():
    known = given(ASSUMED, [*FIRST, cancel("o1", day=2)])
    answered(known, "2:revoke_failed").then("spent 1 rp-1 100", "owed 1 rp-1 100")
    assert known.state.owed_minor == 100


def test_a_lapsed_reward_is_void_and_never_issued_again():
    known = given(REQUIRED, FIRST)
    answered(known, "issued", "expired").then("lapsed 1 rp-1 100")
    assert postings(known) == [("issued", -100), ("breakage", 100)]
    known.when(cancel("o1", day=3)).then("task.regressed 0")
    known.when(order("o4")).then("task.advanced 1")


def test_spent_may_be_the_first_that_is_heard_of_a_command():
    answered(given(REQUIRED, FIRST), "spent").then("spent 1 rp-1 100")


def test_a_physical_right_is_taken_back_until_it_is_issued_and_kept_from_then_on():
    mug = with_right(type="physical")
    given(mug, FIRST).when(cancel("o1", day=2)).then("task.regressed 0", "revoked 1 r")
    known = answered(given(mug, FIRST), "issued", right_id="r")
    known.when(cancel("o1", day=3)).then("task.regressed 0")
    known.standing("1 r")


def test_a_physical_right_with_assumed_results_is_issued_at_once_and_kept():
    mug = with_right("assumed", type="physical")
    given(mug, FIRST).when(cancel("o1", day=2)).then("task.regressed 0")


def test_a_physical_right_whose_campaign_says_revoke_is_taken_back_though_it_was_issued():
    mug = {**with_right(type="physical"), "clawback": {"physical": "revoke"}}
    known = answered(given(mug, FIRST), "issued", right_id="r")
    known.when(cancel("o1", day=3)).then("task.regressed 0", "revoked 1 r")


def test_fixture_29_the_second_order_cancelled_takes_the_third_step_and_the_final_reward():
    three = [claim(), order("o1"), order("o2"), order("o3")]
    known = given(campaign(results="required"), three)
    known.when(cancel("o2", day=4)).then(
        "task.regressed 2", "task.reopened 2", "revoked 3 c-3", "revoked 3 pts"
    )


@pytest.mark.parametrize("results", ["required", "assumed"])
def test_fixture_30_a_spent_step_cancelled_is_a_debt_that_another_tasks_reward_pays(results):
    first = campaign(results=results, step_rewards=ONE)
    cash = {"right_id": "rp-9", "type": "cash", "value_minor": 200}
    other = campaign(
        campaign_id="other",
        results=results,
        window={"days": 20},
        step_rewards=[{"step": 1, "right": cash}],
    )
    known = given([first, other], FIRST)
    answered(known, "spent")
    known.when(cancel("o1", day=3)).then("task.regressed 0", "owed 1 rp-1 100")
    assert postings(known) == [("spent", -100), ("debt", 100)]
    known.when(claim("k2", day=12, campaign_id="other"))
    known.when(order("o12")).then("task.advanced 1", "issued 1 rp-9 offset=100")
    assert postings(known) == [("budget", -100), ("issued", 100), ("debt", -100), ("spent", 100)]


def test_the_debt_that_is_owed_longest_is_set_off_first_whatever_was_issued_first():
    steps = [
        {"step": n, "right": {"right_id": f"rp-{n}", "type": "red_packet", "value_minor": 100}}
        for n in (1, 2)
    ]
    cash = {"right_id": "rp-9", "type": "cash", "value_minor": 150}
    other = campaign(
        campaign_id="other", window={"days": 20}, step_rewards=[{"step": 1, "right": cash}]
    )
    known = given([campaign(step_rewards=steps), other], [*FIRST, order("o2")])
    for n in ("1", "2"):
        known.when(result(known.reward_id(n, f"rp-{n}"), "spent", day=3))
    known.when(cancel("o2", day=4)).then("task.regressed 1", "owed 2 rp-2 100")
    known.when(cancel("o1", day=5)).then("task.regressed 0", "owed 1 rp-1 100")
    known.when(claim("k2", day=12, campaign_id="other"))
    known.when(order("o12")).then("task.advanced 1", "issued 1 rp-9 offset=150")
    left = {e.right_id: e.owed for e in s.unpack_ledger(known.state.ledger).values()}
    assert left == {"rp-1": 50, "rp-2": 0, "rp-9": 0}


@pytest.mark.parametrize("read_first", ["o1", "o2"])
def test_of_debts_of_one_instant_the_smaller_id_is_set_off_first_whichever_was_read_first(
    read_first,
):
    cash = {"right_id": "rp-9", "type": "cash", "value_minor": 150}
    ten = {"days": 20}
    campaigns = [
        campaign(step_rewards=ONE, window={"days": 1}, target={"orders": 1}),
        campaign(campaign_id="two", step_rewards=ONE, window={"days": 1}, target={"orders": 1}),
        campaign(campaign_id="other", window=ten, step_rewards=[{"step": 1, "right": cash}]),
    ]
    known = given(campaigns, [*FIRST, claim("k2", day=2, campaign_id="two"), order("o2")])
    both = sorted(s.unpack_ledger(known.state.ledger).values(), key=lambda e: e.reward_id)
    both = [entry for entry in both if entry.right_id == "rp-1"]
    known.when(*(result(entry.reward_id, "spent", day=3) for entry in both))
    for order_id in sorted(["o1", "o2"], reverse=read_first == "o2"):
        known.when(cancel(order_id, day=4))
    known.when(claim("k3", day=12, campaign_id="other"))
    known.when(order("o12")).then("task.advanced 1", "issued 1 rp-9 offset=150")
    left = s.unpack_ledger(known.state.ledger)
    assert [left[entry.reward_id].owed for entry in both] == [0, 50]


def owing(other: dict[str, Any], results: str) -> Given:
    """A user who owes 100 and is given `other`, a right of another campaign, half of it set off."""
    first = campaign(results=results, step_rewards=ONE)
    second = campaign(
        campaign_id="other",
        results=results,
        window={"days": 20},
        step_rewards=[{"step": 1, "right": {"right_id": "rp-9", "value_minor": 200, **other}}],
    )
    known = answered(given([first, second], FIRST), "spent")
    known.when(cancel("o1", day=3), claim("k2", day=12, campaign_id="other"))
    return known.when(order("o12"))


def test_a_failure_for_good_opens_the_debt_again_that_was_set_off():
    known = owing({"type": "cash"}, "required").then("task.advanced 1", "issued 1 rp-9 offset=100")
    answered(known, "failed", right_id="rp-9", day=13).then("failed 1 rp-9 100")
    assert postings(known) == [("issued", -100), ("budget", 100), ("spent", -100), ("debt", 100)]
    assert known.state.owed_minor == 100


@pytest.mark.parametrize("results", ["required", "assumed"])
def test_a_spent_reward_that_is_lost_owes_what_it_paid_and_opens_what_it_had_set_off(results):
    known = owing({"type": "cash"}, results)
    answered(known, "spent", right_id="rp-9", day=13)
    known.when(cancel("o12", day=14)).then("task.regressed 0", "owed 1 rp-9 200")
    owed = [e.owed for e in s.unpack_ledger(known.state.ledger).values()]
    assert owed == [100, 100]
    known.when(order("o15")).then("task.advanced 1", "restored 1 rp-9 100")
    assert known.state.owed_minor == 0, "and the older debt is paid once more"


def test_a_revocation_that_failed_of_what_is_due_again_pays_the_older_debt_once_more():
    known = owing({"type": "cash"}, "required")
    known.when(cancel("o12", day=14)).then("task.regressed 0", "revoked 1 rp-9")
    assert known.state.owed_minor == 100
    known.when(order("o15")).then("task.advanced 1")
    answered(known, "2:revoke_failed", right_id="rp-9", day=16).then("spent 1 rp-9 100")
    assert postings(known) == [("returning", -100), ("spent", 200), ("debt", -100)]
    assert known.state.owed_minor == 0


def test_a_coupon_pays_no_debt_and_other_currencies_pay_none():
    owing({"type": "coupon"}, "assumed").then("task.advanced 1", "issued 1 rp-9")


def test_fixture_31_a_debt_due_again_is_spent_and_nothing_is_paid():
    for regain in (order("o2"), withdraw("c-o1", day=4)):
        known = answered(given(REQUIRED, FIRST), "issued", "spent")
        known.when(cancel("o1", day=3))
        known.when(regain).then("task.advanced 1", "restored 1 rp-1 100")
        assert postings(known) == [("debt", -100), ("spent", 100)]
        assert entry(known).state == s.SPENT


def test_a_debt_written_off_at_the_cap_is_restored_whole():
    capped = campaign(results="required", step_rewards=ONE, debt_cap_minor=30)
    known = answered(given(capped, FIRST), "issued", "spent")
    known.when(cancel("o1", day=3)).then(
        "task.regressed 0", "owed 1 rp-1 100", "written_off 1 rp-1 70"
    )
    known.when(order("o4")).then("task.advanced 1", "restored 1 rp-1 100")
    assert postings(known) == [("debt", -30), ("written_off", -70), ("spent", 100)]


def test_a_debt_written_off_whole_is_void_and_not_paid_again_when_due_again():
    capped = campaign(results="required", step_rewards=ONE, debt_cap_minor=0)
    known = answered(given(capped, FIRST), "issued", "spent")
    known.when(cancel("o1", day=3))
    assert entry(known).state == s.VOID
    known.when(order("o4")).then("task.advanced 1", "restored 1 rp-1 100")
    assert entry(known).state == s.SPENT


@pytest.mark.parametrize("more", [True, False])
def test_a_saved_amount_that_changes_is_given_anew_also_where_policy_keeps_what_is_lost(more):
    banked = {"right_id": "bank", "type": "red_packet", "value": "saved_amount"}
    keeping = campaign(
        target={"orders": 1},
        step_rewards=[],
        saved={"rule": "percent", "bp": 100, "cap_minor": 1000},
        final_rewards=[banked],
        clawback={"red_packet": "keep"},
    )
    orders = [order("o1", yuan=50), order("o2", yuan=80 if more else 20)]
    known = given(keeping, [claim(), *orders])
    known.when(cancel("o1", day=3)).then(
        f"task.{'advanced' if more else 'regressed'} 1", "revoked 1 bank", "issued 1 bank seq=3"
    )
    assert entry(known, "bank").value == (80 if more else 20)
    known.when(cancel("o2", day=3)).then("task.regressed 0", "task.reopened 0")
    known.standing("1 bank")


def granted(known: Given) -> Given:
    """The pools grant what the last event asked of them."""
    for asked in [o for o in known.outputs if o.type == "pool.reserve"]:
        at_ms = millis(at(1, "08:00"))
        ids = (asked.body["request_id"], asked.body["pool_id"])
        answer = PoolAnswered(USER, at_ms, at_ms, *ids, "granted")
        known.state, known.outputs, _ = step(known.state, answer, known.campaigns)
    return known


def test_a_budgeted_campaign_pays_from_what_its_claim_has_reserved():
    budget = campaign(step_rewards=ONE, budget={"amount_minor": 100_000})
    known = granted(given(budget, []).when(claim())).when(order("o1"))
    assert postings(known) == [("reserved", -100), ("issued", 100)]
    known.when(cancel("o1", day=2))
    assert postings(known) == [("issued", -100), ("reserved", 100)]


def test_a_right_is_given_out_without_what_stands_in_for_it():
    free = {"right_id": "c-1", "type": "coupon", "value_minor": 0}
    known = given(with_right(value_minor=0, fallback=free), [claim()]).when(order("o1"))
    issued = known.outputs[-1].body
    assert issued["right"] == {"right_id": "r", "type": "red_packet", "value_minor": 0}


def test_a_result_known_already_is_dropped_and_one_with_other_content_is_a_conflict():
    known = given(REQUIRED, FIRST)
    reward_id = known.reward_id("1", "rp-1")
    known.when(result(reward_id, "issued", id="r-1"))
    known.when(result(reward_id, "issued", id="r-1")).then()
    assert known.outcome == Outcome.DUPLICATE
    known.when(result(reward_id, "spent", id="r-1")).then()
    assert known.outcome == Outcome.CONFLICT
    assert entry(known).state == s.ISSUED


def test_a_result_read_before_its_command_waits_for_it():
    reward_id = given(REQUIRED, FIRST).reward_id("1", "rp-1")
    known = given(REQUIRED, [claim()]).when(result(reward_id, "spent")).then()
    assert known.outcome == Outcome.IGNORED
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1", "spent 1 rp-1 100")
    assert known.state.early.count == 0


def test_results_read_before_their_commands_are_folded_in_their_turn():
    fallback = {"right_id": "c-1", "type": "coupon", "value_minor": 80}
    definition = with_right(fallback=fallback)
    live = given(definition, FIRST)
    first = live.reward_id("1", "r")
    second = answered(live, "failed", right_id="r").reward_id("1", "c-1")
    known = given(definition, [claim(), result(second, "issued"), result(first, "failed")])
    known.when(order("o1")).then("task.advanced 1", "issued 1 r", "failed 1 r 100", "issued 1 c-1")
    assert entry(known, "c-1").state == s.ISSUED


def test_results_of_commands_that_are_never_given_are_bounded():
    known = given(REQUIRED, FIRST)
    for n in range(100):
        known.when(result(f"rwd_{n}", "spent")).then()
    assert known.state.early.count < 100
    known.when(order("o2")).then("task.advanced 2")


IGNORED = {
    s.ISSUING: {"1:revoked", "1:revoke_failed"},
    s.ISSUED: {"1:issued", "1:failed", "1:revoked", "1:revoke_failed"},
    s.SPENT: {f"1:{o}" for o in ("issued", "failed", "spent", "expired", "revoked")},
    s.REVOKING: {f"1:{o}" for o in ("issued", "failed", "spent", "expired")}
    | {"2:issued", "2:failed", "2:spent", "2:expired"},
    s.REVOKED: {"1:spent", "2:revoked", "2:revoke_failed", "2:spent", "3:revoked"},
    s.DEBT: {f"1:{o}" for o in ("issued", "failed", "spent", "expired", "revoked")},
    s.VOID: {f"1:{o}" for o in ("issued", "failed", "spent", "expired", "revoked")},
}
TO = {
    s.ISSUING: [],
    s.ISSUED: ["issued"],
    s.SPENT: ["issued", "spent"],
    s.REVOKING: [cancel("o1", day=2)],
    s.REVOKED: [cancel("o1", day=2), "2:revoked"],
    s.DEBT: ["spent", cancel("o1", day=2)],
    s.VOID: ["expired"],
}


@pytest.mark.parametrize(
    ("state", "outcome"),
    [(state, one) for state, found in IGNORED.items() for one in sorted(found)],
)
def test_a_result_that_says_nothing_new_or_nothing_possible_changes_nothing(state, outcome):
    known = given(REQUIRED, FIRST)
    for one in TO[state]:
        known = answered(known, one) if isinstance(one, str) else known.when(one)
    before = entry(known)
    assert before.state == state
    seq, word = outcome.split(":")
    known.when(result(known.reward_id("1", "rp-1"), word, int(seq), day=4, id="late")).then()
    assert known.outcome == Outcome.IGNORED
    assert entry(known) == before
