"""One pool in log order (fixtures 39 and 40), and notices out of quiet hours (42)."""

from __future__ import annotations

import pytest

from tests.models.definitions import Version
from tests.models.draws import ticket
from tests.models.given import at, campaign, instant_ms
from tests.models.notices import Notice, out_of_quiet, to_send
from tests.models.pools import Pool, Purse

SEED = bytes(range(32))


def pool(**top: object) -> Pool:
    """A wheel on which every ticket hits `top`."""
    prize = {
        "prize_id": "top",
        "right": {"right_id": "rp", "type": "red_packet", "value_minor": 100},
        "stock": 2,
        **top,
    }
    odds = {"odds_version": 1, "denominator": 1_000_000}
    odds["weights"] = [{"prize_id": "top", "weight": 1_000_000}]
    return Pool(
        {
            "pool_id": "wheel",
            "opens_at": at(1, "00:00:00"),
            "closes_at": at(11, "00:00:00"),
            "prizes": [prize],
            "odds": [odds],
            "fallback": {"right_id": "one", "type": "points", "value_minor": 1},
        },
        SEED,
    )


def asked(name: str, day: int = 9, user: str = "u-1") -> dict:
    said = {"request_id": name, "user_id": user, "task_id": "t", "step": name}
    return {**said, "odds_version": 1, "occurred_at": at(day)}


def test_fixture_40_the_last_unit_is_given_once_and_the_next_hit_becomes_the_fallback():
    wheel = pool(stock=1)
    assert wheel.draw(asked("1")).outcome == "won"
    second = wheel.draw(asked("2"))
    assert (second.outcome, second.right["right_id"], second.hit) == ("no_stock", "one", "top")


def test_fixture_40_a_user_limit_and_a_paced_prize():
    limited = pool(max_per_user=1)
    outcomes = [limited.draw(asked(str(n))).outcome for n in range(2)]
    assert outcomes == ["won", "user_limit"]
    assert limited.draw(asked("x", user="u-2")).outcome == "won"
    paced = pool(release={"kind": "even"})  # unit 1 is free from day 6 on
    assert [paced.draw(asked(str(day), day)).outcome for day in (1, 2, 7)] == [
        *("won", "not_released", "won")
    ]


def test_a_request_is_answered_once_and_a_returned_unit_is_given_again():
    wheel = pool(stock=1)
    first = wheel.draw(asked("1"))
    assert wheel.draw(asked("1", 10)) is first
    wheel.take_back(asked("1"))
    assert wheel.draw(asked("2")).outcome == "won"
    assert first.ticket == ticket(SEED, "wheel", 1, "t", "1", 1_000_000)[0]


def test_a_prize_that_the_budget_cannot_pay_becomes_the_fallback():
    wheel = pool()
    wheel.definition["budget_minor"] = 150
    assert [wheel.draw(asked(str(n))).outcome for n in range(2)] == ["won", "no_budget"]
    assert wheel.spent_minor == 101


def test_39_a_budget_for_one_task_grants_one_of_two_claims():
    purse = Purse(amount_minor=1100)
    assert [purse.reserve(name, 1100, {}) for name in ("a", "b", "a")] == [
        *("granted", "denied", "granted")
    ]
    purse.release("a", 1000, {})
    assert purse.reserve("c", 1000, {}) == "granted"
    assert purse.reserve("d", 1, {}) == "denied"


def test_units_of_a_rights_pool_are_held_and_released():
    depot = Purse(units={"mug": 1})
    assert depot.reserve("a", 0, {"mug": 1}) == "granted"
    assert depot.reserve("b", 0, {"mug": 1}) == "denied"
    depot.release("a", 0, {"mug": 1})
    assert depot.reserve("c", 0, {"mug": 1}) == "granted"


@pytest.mark.parametrize(
    ("clock", "sent"),
    [("21:59:59", "21:59:59"), ("07:59:59", "08:00:00"), ("08:00:00", "08:00:00")],
)
def test_a_notice_of_the_quiet_hours_waits_for_their_end(clock, sent):
    version = Version(campaign())
    assert out_of_quiet(version, instant_ms(at(2, clock))) == instant_ms(at(2, sent))


def test_42_a_notice_that_came_untrue_while_it_waited_is_dropped():
    due = instant_ms(at(2, "23:00:00"))
    morning = out_of_quiet(Version(campaign()), due)
    assert morning == instant_ms(at(3, "08:00:00"))
    wanted = Notice("one_order_left", "tsk_1", due, morning, true=True)
    assert to_send([wanted], set(), morning - 1) == []
    assert to_send([wanted], set(), morning) == [wanted]
    assert to_send([wanted._replace(true=False)], set(), morning) == []
    assert to_send([wanted], set(), morning + 86_400_000) == []  # 24 h overdue
