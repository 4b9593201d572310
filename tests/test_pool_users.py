"""Laws of users and pools together: whatever is asked, answered and undone, in whatever order."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import hypothesis
from hypothesis import strategies as st

from streams.domain import asks, facts, ids, reservations
from streams.domain.asks import DRAW, DRAWN, RESERVE, RETURNED
from streams.domain.definition import definition_from
from streams.domain.events import DrawRequested
from streams.domain.state import STANDING, unpack_ledger
from streams.domain.walk import Walk
from streams.domain.worst_case import worst_case
from tests import builders as b
from tests import histories
from tests.asking import lottery, ware, wheel
from tests.checker import Entry, Report, Seen, money
from tests.given import registry
from tests.pooling import EVERY_TICKET, odds, prize
from tests.shared_pools import Shop

USERS = ["u-1", "u-2", "u-3"]
BUDGET = "budget:three"
BOX = {"right_id": "box", "type": "physical", "value_minor": 70, "supply": "ware"}
ONE_EACH = {"max_per_user": 1}
POINTS = {"right_id": "instead", "type": "points", "value_minor": 50}


@st.composite
def pooled(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A campaign that draws, reserves, or both, and the pools it names."""
    goal = draw(st.integers(1, 4))
    cycles = draw(st.sampled_from([1, 1, 2]))
    campaign = b.campaign(
        enrolment=draw(st.sampled_from(["claim", "claim", "auto"])),
        target={"orders": goal},
        window={"days": 8, "mode": "every_n" if cycles > 1 else "from_claim", "max_cycles": cycles},
        rounds={"max": draw(st.integers(1, 3)) if cycles == 1 else 1},
        qualify={"min_amount_minor": 1500, "daily_cap": draw(st.sampled_from([0, 1, 2]))},
        claim={"closes_at": b.at(9).isoformat()},
        step_rewards=[
            {"step": k, "right": {"right_id": f"s{k}", "type": kind, "value_minor": 100 * k}}
            for k in range(1, goal + 1)
            for kind in draw(st.sampled_from([[], ["coupon"], ["red_packet"]]))
        ],
    )
    features = draw(st.sampled_from(["draws", "reserves", "both", "both"]))
    if features != "reserves":
        steps = [*range(1, goal), "final"]
        won = [(step, draw(st.integers(1, 2))) for step in steps if draw(st.booleans())]
        campaign = lottery(
            campaign,
            *(won or [("final", 1)]),
            draw=draw(st.sampled_from(["request", "immediate"])),
            at_close=draw(st.sampled_from(["expire", "draw"])),
        )
    if features != "draws" and draw(st.booleans()):
        fallback = {"fallback": POINTS} if draw(st.booleans()) else {}
        campaign["final_rewards"] = [*campaign["final_rewards"], {**BOX, **fallback}]
    if features != "draws" and (draw(st.booleans()) or "supply" not in str(campaign)):
        record, problems = definition_from({**campaign, "budget": {"amount_minor": 10**9}})
        assert record is not None, problems
        amount = worst_case(record).amount_minor * draw(st.integers(1, 4))
        tasks = draw(st.sampled_from([{}, {"max_tasks": 2}]))
        campaign["budget"] = {"amount_minor": amount + draw(st.integers(0, 50)), **tasks}
    prizes = [
        prize("top", draw(st.integers(1, 3)), 10_000, **draw(st.sampled_from([{}, ONE_EACH]))),
        prize("five", 20),
    ]
    of_wheel = wheel(
        prizes=prizes,
        odds=[odds(("top", EVERY_TICKET // 3), ("five", EVERY_TICKET // 3))],
        budget_minor=draw(st.sampled_from([2_000_000, 25_000])),
    )
    return [of_wheel, ware(box=draw(st.integers(1, 9))), campaign]


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """What happens, in this order: to users, to pools, to what is on its way between them.

    From a seed: what a pool is asked depends on much that must happen first, and choices made one
    by one hardly ever get there.
    """
    rng = draw(st.randoms(use_true_random=True))
    size, lag = draw(st.integers(10, 80)), draw(st.sampled_from([1, 4, 30]))
    told = [(user, event) for user in USERS for event in history(rng)]
    rng.shuffle(told)
    told.sort(key=lambda one: one[1]["recorded_at_ms"] + rng.randrange(lag) * 7 * 3_600_000)
    plan: list[tuple[str, Any]] = []
    for about in told[:size]:
        plan.append(("tell", about))
        for _ in range(rng.randrange(4)):
            move = rng.choice(["serve", "serve", "hear", "hear", "ask again", "answer again"])
            plan.append((move, rng.randrange(99)))
        if not rng.randrange(20):
            plan.append(("tick", b.at(rng.randrange(3, 25))))
    return plan


def history(rng: Any) -> list[dict[str, Any]]:
    """What one user does in nine days: now and then something twice, or undone."""
    events = [b.claim(f"k{n}", day=rng.randrange(1, 9)) for n in range(1, 4)]
    events[0] = b.claim("k1", day=rng.randrange(1, 3))
    for n in range(1, 8):
        when = b.at(rng.randrange(1, 10), rng.choice(["07:00", "12:00", "20:00"]))
        events.append(b.order(f"o{n}", when=when, yuan=rng.choice([50, 50, 50, 5])))
        if rng.random() < 0.4:
            later = when + timedelta(days=rng.choice([0, 1, 4, 9]))
            events.append(b.cancel(f"o{n}", when=later, id=f"c{n}"))
            if rng.random() < 0.5:
                events.append(b.withdraw(f"c{n}", when=later + timedelta(days=rng.choice([1, 5]))))
    for n in range(8):
        when = b.at(rng.randrange(2, 12), "22:00")
        step = rng.choice(["1", "2", "3", "4", "1#2", "2#2", "3#2", "4#2"])
        events.append(draw_request(f"d{n}", when, rng.choice([1, 1, 1, 2]), step))
    return events


def draw_request(claim_id: str, when: datetime, round_: int, step: str) -> dict[str, Any]:
    return {
        "type": "draw.requested",
        "v": 1,
        "occurred_at": when.isoformat(),
        "recorded_at_ms": b.millis(when),
        "claim_id": claim_id,
        "round": round_,
        "step": step,
    }


def event_of(user: str, event: dict[str, Any]) -> Any:
    if event["type"] != "draw.requested":
        return {**event, "user_id": user}
    return DrawRequested(
        user_id=user,
        occurred_at_ms=event["recorded_at_ms"],
        recorded_at_ms=event["recorded_at_ms"],
        claim_id=event["claim_id"],
        task_id=ids.task_id(user, "three", event["round"]),
        step=event["step"],
    )


def play(shop: Shop, plan: list[tuple[str, Any]], check: Any = lambda _shop: None) -> Shop:
    for move, about in plan:
        pools_asked = sorted(shop.requests)
        answers = [answer for user in USERS for answer in shop.answers[user]]
        requests = [request for log in shop.requests.values() for request in log]
        if move == "tell":
            shop.tell(event_of(*about))
        elif move == "serve" and pools_asked:
            shop.serve(pools_asked[about % len(pools_asked)])
        elif move == "hear":
            shop.hear(USERS[about % len(USERS)])
        elif move == "ask again" and requests:
            shop.ask(requests[about % len(requests)])
        elif move == "answer again" and answers:
            shop.tell(answers[about % len(answers)])
        elif move == "tick":
            shop.tick(about)
        check(shop)
    return shop


def require_covered(shop: Shop) -> None:
    """At every position: no stock below zero, no budget above its bound, no reward uncovered."""
    for pool in shop.campaigns.pools:
        state = shop.pool(pool.pool_id)
        assert all(stock.left >= 0 for stock in state.stock), "L7"
        if state.budget_minor is not None:
            assert 0 <= state.held_minor <= state.budget_minor, "L8"
    if shop.campaigns.pool(BUDGET) is not None:
        assert [shop.overdrawn(user) for user in USERS] == [[]] * len(USERS), "L8"
    drawn = [o.event_id for o in shop.said if o.type == "draw.asked"]
    assert len(drawn) == len(set(drawn)), "L9"


@hypothesis.given(pooled(), plans())
def test_stock_is_never_oversold_and_no_reward_is_without_its_grant(definitions, plan):
    play(Shop(registry(*definitions), USERS), plan, check=require_covered)


@hypothesis.given(pooled(), plans())
def test_the_books_of_users_and_pools_agree_once_no_answer_is_in_flight(definitions, plan):
    shop = play(Shop(registry(*definitions), USERS), plan)
    shop.drain()
    agree(shop)
    shop.tick(b.at(40))
    shop.drain()
    agree(shop)
    require_books(shop)
    if shop.campaigns.pool(BUDGET) is not None:
        assert of_budget(shop, "reserved") == 0, "nothing waits, and all is released"


def agree(shop: Shop) -> None:
    require_covered(shop)
    known = [ask for user in USERS for ask in shop.asks(user)]
    assert all(ask.state != asks.ASKED for ask in known)
    for pool in shop.campaigns.pools:
        state = shop.pool(pool.pool_id)
        granted = [a for a in known if a.pool_id == pool.pool_id and a.purpose == RESERVE]
        out: Counter[str] = Counter()
        for ask in granted:
            if ask.state != asks.DENIED:
                out.update(reservations.share(ask))
        if pool.kind == "budget":
            assert state.held_minor == out[""]
        if pool.kind == "rights":
            held = {stock.id: stock.given - stock.returned for stock in state.stock}
            assert held == {stock.id: out[stock.id] for stock in state.stock}
        if pool.kind == "budget":
            assert -of_budget(shop, "budget") == state.held_minor, "L8: the users' books"
    won = [a for a in known if a.purpose == DRAW and a.right and a.state in (DRAWN, RETURNED)]
    said = [o.body for o in shop.said if o.type == "draw.drawn"]
    assert Counter(a.request_id for a in won) == Counter(b["draw_id"] for b in said if "given" in b)


def of_budget(shop: Shop, account: str) -> int:
    """What the users' ledgers post to an account, but for prizes: another budget pays those."""
    said = [o.body for o in shop.said if o.topic == "rewards" and o.body.get("kind") != "prize"]
    found = [posting for body in said for posting in body["postings"]]
    return sum(p["amount_minor"] for p in found if p["account"] == account)


def require_books(shop: Shop) -> None:
    """L3 by task and campaign, and no account overdrawn: what the checker of every tier asks."""
    report = Report()
    seen = Seen("rewards", 0, 0, b"", b"", (), 0)
    money.books_balance(report, [Entry(seen, o.body) for o in shop.said if o.topic == "rewards"])
    assert report.findings == []


@hypothesis.given(pooled(), plans())
def test_each_chance_is_drawn_once_and_its_prize_is_never_another(definitions, plan):
    shop, seen = Shop(registry(*definitions), USERS), {}

    def check(shop: Shop) -> None:
        for user in USERS:
            for ask in shop.asks(user):
                if ask.state in (DRAWN, RETURNED):
                    assert seen.setdefault(ask.request_id, ask.right) == ask.right

    play(shop, plan, check)
    shop.drain()
    prizes = [e for u in USERS for e in unpack_ledger(shop.users[u].ledger).values()]
    drawn = {(a.task_id, a.step): a for u in USERS for a in shop.asks(u) if a.purpose == DRAW}
    for entry in prizes:
        if entry.kind == "prize":
            assert drawn[entry.task_id, entry.step].right
            if entry.state in STANDING:
                assert drawn[entry.task_id, entry.step].state == DRAWN


@hypothesis.given(pooled(), plans())
def test_no_event_id_is_said_twice(definitions, plan):
    shop = play(Shop(registry(*definitions), USERS), plan)
    shop.drain()
    said = [o for o in shop.said if o.topic not in ("draw-results", "lottery-draws")]
    twice = [id_ for id_, n in Counter(o.event_id for o in said).items() if n > 1]
    assert [o.body for o in said if o.event_id in twice] == []
    asked = Counter(o.body["request_id"] for o in said if o.topic == "draw-requests")
    assert not [id_ for id_, n in asked.items() if n > 1]


@hypothesis.given(pooled(), plans())
def test_the_tasks_are_a_function_of_facts_and_answers(definitions, plan):
    shop = play(Shop(registry(*definitions), USERS), plan)
    for user, state in shop.users.items():
        asked = asks.unpack(state.asks)
        walk = Walk(user, shop.campaigns, asked).take(facts.unpack(state.facts))
        told = {t.task.task_id: bare(t.task) for t in walk.tallies()}
        assert {t.task_id: bare(t) for t in state.tasks} == told


def bare(task: Any) -> Any:
    return (task.task_id, task.counted, task.pending, task.lacks, task.completed_at_ms)


@hypothesis.given(histories.campaigns(), histories.histories(), plans())
def test_a_budget_that_is_large_enough_changes_nothing_in_the_end(campaign, events, plan):
    rich = registry({**campaign, "budget": {"amount_minor": 10**12}})
    between = [(move, about) for move, about in plan if move in ("serve", "hear")]
    shop, free = Shop(rich, USERS), Shop(registry(campaign), USERS)
    for event in events:
        if between:
            play(shop, [between.pop()])
        shop.tell(event)
        free.tell(event)
    shop.drain()
    assert shop.standing("u-1") == free.standing("u-1")
