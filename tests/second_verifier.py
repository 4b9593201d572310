"""A second judge of public records, from semantics.md 6 and schemas/README.md alone.

Shares nothing with `streams`: plain dicts, its own arithmetic (tests/fair.py), its own bookkeeping.
Slow and short: what is given is recounted from all records before, for every draw.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tests import fair

EARLIER = "0" * 64


class Wrong(Exception):
    """What is wrong with which record."""


def judge(lines: list[bytes], known: bytes | None = None) -> int:
    """Return how many draws were judged. Raises Wrong.

    known: the secret seed, where its keeper asks before the reveal; else they must end with it.
    """
    try:
        records = [json.loads(line) for line in lines]
        return _judge(lines, records, known)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration, IndexError) as error:
        raise Wrong(f"unreadable: {error!r}") from None


def _judge(lines: list[bytes], records: list[dict[str, Any]], known: bytes | None) -> int:
    first, last = records[0], records[-1]
    need(first["type"] == "draw.committed", "begins with the commitment")
    revealed = last["type"] == "draw.revealed"
    need(revealed or known is not None, "ends with the reveal")
    seed = bytes.fromhex(last["seed"]) if revealed else known or b""
    pool = first["pool"]
    for place, record in enumerate(records):
        for key in FRAME:
            need(key in record, f"{key} of {place}")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        need(text.encode() == lines[place], f"canonical {place}")
        need(type(record["no"]) is int and record["no"] == place + 1, f"no of {place}")
        need(record["v"] == 1 and type(record["v"]) is int, f"v of {place}")
        need(record["pool_id"] == pool["pool_id"], f"pool_id of {place}")
        earlier = hashlib.sha256(lines[place - 1]).hexdigest() if place else EARLIER
        need(record["previous"] == earlier, f"chain at {place}")
        need(written(moment(record["occurred_at"])) == record["occurred_at"], f"time of {place}")
    need(first["commitment"] == fair.commitment(pool["pool_id"], seed), "commitment")
    need(moment(first["occurred_at"]) == moment(pool["effective_from"]), "time of commitment")
    need(moment(pool["effective_from"]) <= moment(pool["opens_at"]), "committed before opening")
    if revealed:
        _reveal(records, pool)
    draws = 0
    for place, record in enumerate(records[:-1] if revealed else records):
        before = records[:place]
        if record["type"] == "draw.committed":
            _commitment(record, before, pool)
        elif record["type"] == "draw.drawn":
            _draw(record, before, pool, seed)
            draws += 1
        else:
            need(record["type"] == "draw.stock_changed", f"type of {place}")
            _change(record, before, pool)
    return draws


def _reveal(records: list[dict[str, Any]], pool: dict[str, Any]) -> None:
    last = records[-1]
    need(sorted(last) == sorted([*FRAME, "seed", "records"]), "fields of the reveal")
    need(last["seed"] == bytes.fromhex(last["seed"]).hex(), "hex in small letters")
    need(last["records"] == len(records), "count")
    closes = min(
        [moment(pool["closes_at"])]
        + [moment(r["occurred_at"]) for r in records if r.get("reason") == "closed"]
    )
    wait = pool.get("reveal_after_hours", 48) * 3_600_000
    need(moment(last["occurred_at"]) == closes + wait, "time of the reveal")


FRAME = ("type", "v", "pool_id", "occurred_at", "no", "previous")


def _commitment(record: dict[str, Any], before: list[dict[str, Any]], pool: dict[str, Any]) -> None:
    need(sorted(record) == sorted([*FRAME, "commitment", "pool", "odds_digests"]), "fields")
    tables = record["pool"]["odds"]
    digests = [
        {"odds_version": table["odds_version"], "digest": fair.odds_digest(table)}
        for table in tables
    ]
    need(record["odds_digests"] == digests, "digests")
    others = {key: value for key, value in record["pool"].items() if key != "odds"}
    need(others == {key: value for key, value in pool.items() if key != "odds"}, "same pool")
    committed = [each for each in before if each["type"] == "draw.committed"]
    if committed:
        need(record["commitment"] == committed[0]["commitment"], "same commitment")
        need(tables[:-1] == committed[-1]["pool"]["odds"], "one table more")
        known = [table["odds_version"] for table in tables[:-1]]
        need(tables[-1]["odds_version"] not in known, "a new version")


def _draw(
    record: dict[str, Any], before: list[dict[str, Any]], pool: dict[str, Any], seed: bytes
) -> None:
    fields = {*FRAME, "draw_id", "odds_version", "task_id", "step", "entrant", "counter", "ticket"}
    need(set(record) - {"hit", "given"} == fields | {"outcome"}, "fields of a draw")
    task, step, no = record["task_id"], record["step"], record["no"]
    need(record["draw_id"] == "drw_" + fair.hashed_id("draw", task, step), f"id of draw {no}")
    drawn = [each for each in before if each["type"] == "draw.drawn"]
    need(all(each["draw_id"] != record["draw_id"] for each in drawn), f"draw {no} is a second one")
    at = moment(record["occurred_at"])
    closed = [moment(r["occurred_at"]) for r in before if r.get("reason") == "closed"]
    need(moment(pool["opens_at"]) <= at <= min([moment(pool["closes_at"]), *closed]), f"open {no}")
    tables = [each for each in before if each["type"] == "draw.committed"][-1]["pool"]["odds"]
    odds = next(table for table in tables if table["odds_version"] == record["odds_version"])
    lines = ["leidan/draw/1", pool["pool_id"], str(odds["odds_version"]), task, step]
    ticket, counter, _, _ = fair.uniform(seed, lines, odds["denominator"])
    need((record["ticket"], record["counter"]) == (ticket, counter), f"ticket of {no}")
    need(not isinstance(record["ticket"], bool) and not isinstance(record["counter"], bool), "ints")
    hit, passed = None, 0
    for weight in odds["weights"]:
        passed += weight["weight"]
        if hit is None and ticket < passed:
            hit = weight["prize_id"]
    need(record.get("hit") == hit, f"hit of {no}")
    outcome = "nothing" if hit is None else _check(record, before, pool, seed, hit)
    given = hit if outcome == "won" else None
    if (
        given is None
        and pool.get("fallback")
        and _money_left(before, pool) >= _cost(pool, "fallback")
    ):
        given = "fallback"
    need(record["outcome"] == outcome, f"outcome of {no}")
    need(record.get("given") == given, f"given of {no}")
    need(None not in (record.get("hit", 0), record.get("given", 0)), "nothing is said by silence")


def _check(
    record: dict[str, Any],
    before: list[dict[str, Any]],
    pool: dict[str, Any],
    seed: bytes,
    hit: str,
) -> str:
    prize = next(each for each in pool["prizes"] if each["prize_id"] == hit)
    given = [each for each in before if each.get("given") == hit]
    moved = [each["change"] for each in before if each.get("prize_id") == hit]
    if prize["stock"] + sum(moved) - len(given) <= 0:
        return "no_stock"
    n = len(given) - sum(moved)  # the number of the unit, counted from 0, of those defined
    if "release" in prize and n >= 0:
        opens, closes = moment(pool["opens_at"]), moment(pool["closes_at"])
        slot = int(Fraction(closes - opens, prize["stock"]))
        free = opens + n * slot
        if prize["release"].get("jitter"):
            lines = ["leidan/release/1", pool["pool_id"], hit, str(n)]
            free += fair.uniform(seed, lines, slot)[0]
        if moment(record["occurred_at"]) < free:
            return "not_released"
    mine = [each for each in given if each["entrant"] == record["entrant"]]
    if "max_per_user" in prize and prize["max_per_user"] <= len(mine):
        return "user_limit"
    return "won" if _cost(pool, hit) <= _money_left(before, pool) else "no_budget"


def _cost(pool: dict[str, Any], given: str) -> int:
    if given == "fallback":
        return int(pool["fallback"]["value_minor"])
    right = next(each["right"] for each in pool["prizes"] if each["prize_id"] == given)
    return int(right["value_minor"])


def _money_left(before: list[dict[str, Any]], pool: dict[str, Any]) -> float:
    if "budget_minor" not in pool:
        return float("inf")
    spent = sum(_cost(pool, each["given"]) for each in before if "given" in each)
    return int(pool["budget_minor"]) + sum(r.get("amount_minor", 0) for r in before) - spent


def _change(record: dict[str, Any], before: list[dict[str, Any]], pool: dict[str, Any]) -> None:
    extra = {
        "returned": ["prize_id", "amount_minor", "draw_id"],
        "restocked": ["prize_id"],
        "budget_added": ["amount_minor"],
        "closed": [],
    }[record["reason"]]
    need(sorted(record) == sorted([*FRAME, "reason", "change", *extra]), "fields of a change")
    closed = [moment(r["occurred_at"]) for r in before if r.get("reason") == "closed"]
    closes = min([moment(pool["closes_at"]), *closed])
    need(not isinstance(record["change"], bool), "an integer")
    if record["reason"] == "returned":
        draw = next(each for each in before if each.get("draw_id") == record["draw_id"])
        need(draw["given"] == record["prize_id"], "returns what was given")
        again = [each for each in before if each.get("reason") == "returned"]
        need(all(each["draw_id"] != record["draw_id"] for each in again), "returns it once")
        unit = record["prize_id"] != "fallback" and moment(record["occurred_at"]) < closes
        need(record["change"] == int(unit), "a unit while open")
        need(record["amount_minor"] == _cost(pool, record["prize_id"]), "its cost")
    elif record["reason"] == "restocked":
        need(record["change"] > 0, "more units")
        need(record["prize_id"] in [each["prize_id"] for each in pool["prizes"]], "a prize")
    else:
        need(record["change"] == 0, "no units")
        if record["reason"] == "budget_added":
            need(record["amount_minor"] > 0 and "budget_minor" in pool, "more money")
        else:
            need(moment(record["occurred_at"]) < closes, "closes earlier")


def need(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def written(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC)
    tail = f".{rest:03}" if rest else ""
    return text.strftime("%Y-%m-%dT%H:%M:%S") + tail + "+00:00"
