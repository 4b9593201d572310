"""I5: users and the pools they share: each request answered once, each chance drawn once (L7-L9).

The first half compares records with records. The second asks the fold's rows, of which `refold` has
said that they are the changelog's: what pools have given is what users have, to the unit. Both hold
at rest only, when no request and no answer is in flight.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from streams.domain import asks, reservations
from streams.domain.pool_state import PoolState, pool_key
from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN
from tests.pooling import SEED
from tests.second_verifier import Judge, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.pool import Pool
    from tests.checker.evidence import Bad, Evidence, Seen
    from tests.checker.findings import Report
    from tests.checker.fold import Fold

ASKING = {"draw.asked": {"draw.result"}, "pool.reserve": {"pool.granted", "pool.denied"}}
NEVER_DRAWN = frozenset({"closed", "unknown"})


def good(evidence: Evidence, topic: str, bad: Bad) -> Iterator[tuple[Seen, dict[str, Any]]]:
    for seen in evidence.below_c(topic):
        if seen.position not in bad:
            yield seen, json.loads(seen.value or b"null")


def each_request_is_answered_once(report: Report, evidence: Evidence, bad: Bad) -> None:
    """Every request has its answer, an answer its request; told again, it is the same answer."""
    asked = {
        body["request_id"]: body
        for _seen, body in good(evidence, "draw-requests", bad)
        if body["type"] in ASKING and not _is_news(body)
    }
    told: dict[str, dict[str, Any]] = {}
    for seen, body in good(evidence, "draw-results", bad):
        report.compared["answers of pools"] += 1
        request = asked.get(body["request_id"])
        if request is None or body["type"] not in ASKING[request["type"]]:
            report.add("I5", BROKEN, f"{stands_at(seen)}: answers what nobody asked: {body}")
        elif told.setdefault(body["request_id"], body) != body:
            report.add("I5", BROKEN, f"{stands_at(seen)}: {body['request_id']} was told otherwise")
    for request_id in sorted(asked.keys() - told.keys()):
        report.add("I5", BROKEN, f"{request_id} was asked, and never answered")
    _answers_are_the_draws(report, evidence, asked, told)


def _is_news(request: dict[str, Any]) -> bool:
    """A prize that had returned and is spent: a pool is told, not asked."""
    return request["type"] == "pool.reserve" and "step" in request


def _answers_are_the_draws(
    report: Report,
    evidence: Evidence,
    asked: dict[str, dict[str, Any]],
    told: dict[str, dict[str, Any]],
) -> None:
    """L9: one public record for each draw that was answered, and both say the same."""
    drawn = Counter[str]()
    for seen in evidence.outputs.get("lottery-draws", ()):
        body = json.loads(seen.value or b"null")
        if body is None or body.get("type") != "draw.drawn":
            continue
        id_ = body["draw_id"]
        drawn[id_] += 1
        answer = told.get(id_, {})
        found = answer.get("outcome"), answer.get("prize_id")
        if found != (body["outcome"], body.get("given")):
            report.add("I5", BROKEN, f"{stands_at(seen)}: {id_} was drawn so, and told {answer}")
    for id_, request in sorted(asked.items()):
        if request["type"] != "draw.asked" or told.get(id_, {}).get("outcome") in NEVER_DRAWN:
            continue
        report.compared["chances drawn"] += 1
        if drawn[id_] != 1:
            report.add("I5", BROKEN, f"{id_}: drawn {drawn[id_]} times")


def requests_are_made_once(report: Report, evidence: Evidence) -> None:
    """I1 of what folds ask: no request twice. A test's own client may ask as often as it likes."""
    first: dict[str, Seen] = {}
    for seen in evidence.inputs.get("draw-requests", ()):
        if not _ours(seen):
            continue
        report.compared["requests"] += 1
        for name in ("event_id", "request_id"):
            id_ = json.loads(seen.value or b"null")[name]
            before = first.setdefault(id_, seen)
            if before is not seen:
                report.add("I1", BROKEN, f"{stands_at(seen)}: {id_} is at {stands_at(before)} too")


def _ours(seen: Seen) -> bool:
    return any(name == "cause-topic" for name, _ in seen.headers)


def books_agree(report: Report, evidence: Evidence, model: Fold) -> None:
    """L7, L8: stock and money that pools have given out are what users' rows say they have."""
    out, won = _of_users(report, model)
    foreign = {
        (seen.key or b"").decode(errors="replace")
        for seen in evidence.inputs.get("draw-requests", ())
        if not _ours(seen)
    }
    spent: Counter[str] = Counter()
    for seen in evidence.inputs.get("draw-requests", ()):
        body = json.loads(seen.value or b"{}")
        spent[body.get("pool_id", "")] += body.get("type") == "pool.reserve" and "step" in body
    for pool in model.campaigns.pools:
        row = model.pools[pool_key(pool.pool_id)]
        assert isinstance(row, PoolState)
        _nothing_below_zero(report, pool, row, spent[pool.pool_id])
        if pool.kind == "lottery":
            _lottery_agrees(report, evidence, pool, row, won, pool.pool_id in foreign)
        elif pool.pool_id not in foreign:
            _supply_agrees(report, pool, row, out[pool.pool_id])


def _of_users(report: Report, model: Fold) -> tuple[dict[str, Counter[str]], dict[str, str]]:
    """Return what users hold of each pool's grants, and the pool of each draw that won."""
    out: dict[str, Counter[str]] = defaultdict(Counter)
    won: dict[str, str] = {}
    for key, state in sorted(model.states.items()):
        asked = asks.unpack(state.asks)
        for ask in (*asked.reservations(), *asked.draws()):
            report.compared["asks"] += 1
            if ask.state == asks.ASKED:
                report.add("I5", BROKEN, f"{ask.request_id} of {key!r} is not answered in its row")
            elif ask.purpose == asks.RESERVE and ask.state != asks.DENIED:
                out[ask.pool_id].update(reservations.share(ask))
            elif ask.purpose == asks.DRAW and ask.right:
                won[ask.request_id] = ask.pool_id
    return out, won


def _nothing_below_zero(report: Report, pool: Pool, row: PoolState, spent: int) -> None:
    """spent: prizes that had returned and were given to others, and are out all the same."""
    for stock in row.stock:
        report.compared["stock"] += 1
        if stock.left < -spent:
            report.add("I5", BROKEN, f"{pool.pool_id}: {stock.left} of {stock.id} are left")
    if row.budget_minor is not None:
        report.compared["budgets"] += 1
        dearest_minor = max((prize.right.value_minor for prize in pool.prizes), default=0)
        if not 0 <= row.held_minor <= row.budget_minor + spent * dearest_minor:
            text = f"{row.held_minor} of {row.budget_minor} minor units are out"
            report.add("I5", BROKEN, f"{pool.pool_id}: {text}")


def _supply_agrees(report: Report, pool: Pool, row: PoolState, out: Counter[str]) -> None:
    if pool.kind == "budget" and row.held_minor != out[""]:
        text = f"{row.held_minor} minor units are out, users have {out['']}"
        report.add("I5", BROKEN, f"{pool.pool_id}: {text}")
    if pool.kind == "rights":
        held = {stock.id: stock.given - stock.returned for stock in row.stock}
        if held != {stock.id: out[stock.id] for stock in row.stock}:
            report.add("I5", BROKEN, f"{pool.pool_id}: {held} are out, users have {dict(out)}")


def _lottery_agrees(  # noqa: PLR0913 - two books, and whose they are
    report: Report,
    evidence: Evidence,
    pool: Pool,
    row: PoolState,
    won: dict[str, str],
    others: bool,  # noqa: FBT001 - somebody else drew, too
) -> None:
    judge = Judge(SEED)
    try:
        for seen in evidence.outputs.get("lottery-draws", ()):
            if seen.key == pool.pool_id.encode():
                judge.take(seen.value or b"")
    except Wrong:
        return  # said already
    if judge.no != row.no or (judge.no and judge.stock != {s.id: s.left for s in row.stock}):
        text = f"{judge.no} public records leave {judge.stock}, its row has {row}"
        report.add("I5", BROKEN, f"{pool.pool_id}: {text}")
    given = {draw for draw, prize in judge.drawn.items() if prize is not None}
    users = {draw for draw, pool_id in won.items() if pool_id == pool.pool_id}
    if users - given or (given != users and not others):
        some = sorted(given ^ users)[:3]
        report.add("I5", BROKEN, f"{pool.pool_id}: users and public records differ about {some}")
