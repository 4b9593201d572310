"""A second judge of public records, from semantics.md 6 and schemas/README.md alone.

Shares nothing with `streams`: plain dicts, its own arithmetic (tests/fair.py), its own bookkeeping.
It takes records one by one and keeps what they add up to, so that a million can be judged.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tests import fair

EARLIER = "0" * 64
FRAME = ("type", "v", "pool_id", "occurred_at", "no", "previous")


class Wrong(Exception):
    """What is wrong with which record."""


def judge(lines: list[bytes], known: bytes | None = None) -> int:
    """Return how many draws were judged. Raises Wrong.

    known: the secret seed, where its keeper asks before the reveal; else they must end with it.
    """
    try:
        last = json.loads(lines[-1])
        revealed = last["type"] == "draw.revealed"
        need(revealed or known is not None, "ends with the reveal")
        judged = Judge(bytes.fromhex(last["seed"]) if revealed else known or b"")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Wrong(f"unreadable: {error!r}") from None
    for line in lines:
        judged.take(line)
    return judged.draws


class Judge:
    """The records of one pool so far, and what they add up to. stock: what is left, by prize."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.no = self.draws = 0
        self.previous = EARLIER
        self.over = False
        self.pool: dict[str, Any] = {}
        self.commitment = ""
        self.tables: list[dict[str, Any]] = []
        self.closed: list[int] = []
        self.drawn: dict[str, str | None] = {}  # by draw, what was given
        self.hits: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()  # units, by prize
        self.of_entrant: Counter[tuple[str, str]] = Counter()
        self.returned: dict[str, int] = {}  # by draw, the units that came back
        self.spent = self.regained = 0  # minor units

    @property
    def stock(self) -> dict[str, int]:
        return {each["prize_id"]: self._left(each) for each in self.pool.get("prizes", ())}

    def take(self, line: bytes) -> None:
        """Judge the next record. Raises Wrong."""
        try:
            self._take(line, json.loads(line))
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise Wrong(f"unreadable: {error!r}") from None

    def _take(self, line: bytes, record: dict[str, Any]) -> None:
        place = self.no
        need(not self.over, f"{place} comes after the reveal")
        for key in FRAME:
            need(key in record, f"{key} of {place}")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        need(text.encode() == line, f"canonical {place}")
        need(type(record["no"]) is int and record["no"] == place + 1, f"no of {place}")
        need(record["v"] == 1 and type(record["v"]) is int, f"v of {place}")
        need(record["previous"] == self.previous, f"chain at {place}")
        need(written(moment(record["occurred_at"])) == record["occurred_at"], f"time of {place}")
        if place == 0:
            need(record["type"] == "draw.committed", "begins with the commitment")
            self._begin(record)
        need(record["pool_id"] == self.pool["pool_id"], f"pool_id of {place}")
        if record["type"] == "draw.revealed":
            self._reveal(record)
        elif record["type"] == "draw.committed":
            self._commitment(record)
        elif record["type"] == "draw.drawn":
            self._draw(record)
        else:
            need(record["type"] == "draw.stock_changed", f"type of {place}")
            self._change(record)
        self.no = place + 1
        self.previous = hashlib.sha256(line).hexdigest()

    def _begin(self, record: dict[str, Any]) -> None:
        pool = self.pool = record["pool"]
        self.commitment = record["commitment"]
        need(self.commitment == fair.commitment(pool["pool_id"], self.seed), "commitment")
        need(moment(record["occurred_at"]) == moment(pool["effective_from"]), "time of commitment")
        need(moment(pool["effective_from"]) <= moment(pool["opens_at"]), "committed before opening")

    def _reveal(self, record: dict[str, Any]) -> None:
        self.over = True
        need(sorted(record) == sorted([*FRAME, "seed", "records"]), "fields of the reveal")
        need(record["seed"] == self.seed.hex(), "the seed, as hex in small letters")
        need(record["records"] == self.no + 1, "count")
        wait = self.pool.get("reveal_after_hours", 48) * 3_600_000
        need(moment(record["occurred_at"]) == self._closes() + wait, "time of the reveal")

    def _closes(self) -> int:
        return min([moment(self.pool["closes_at"]), *self.closed])

    def _commitment(self, record: dict[str, Any]) -> None:
        need(sorted(record) == sorted([*FRAME, "commitment", "pool", "odds_digests"]), "fields")
        tables = record["pool"]["odds"]
        digests = [
            {"odds_version": table["odds_version"], "digest": fair.odds_digest(table)}
            for table in tables
        ]
        need(record["odds_digests"] == digests, "digests")
        need(but_odds(record["pool"]) == but_odds(self.pool), "same pool")
        need(record["commitment"] == self.commitment, "same commitment")
        if self.tables:
            need(tables[:-1] == self.tables, "one table more")
            known = [table["odds_version"] for table in tables[:-1]]
            need(tables[-1]["odds_version"] not in known, "a new version")
        self.tables = tables

    def _draw(self, record: dict[str, Any]) -> None:
        pool = self.pool
        fields = {*FRAME, "draw_id", "odds_version", "task_id", "step", "entrant", "counter"}
        found = set(record) - {"hit", "given"}
        need(found == fields | {"ticket", "outcome"}, "fields of a draw")
        task, step, no = record["task_id"], record["step"], record["no"]
        need(record["draw_id"] == "drw_" + fair.hashed_id("draw", task, step), f"id of draw {no}")
        need(record["draw_id"] not in self.drawn, f"draw {no} is a second one")
        at = moment(record["occurred_at"])
        need(moment(pool["opens_at"]) <= at <= self._closes(), f"open {no}")
        odds = next(t for t in self.tables if t["odds_version"] == record["odds_version"])
        lines = ["leidan/draw/1", pool["pool_id"], str(odds["odds_version"]), task, step]
        ticket, counter, _, _ = fair.uniform(self.seed, lines, odds["denominator"])
        need((record["ticket"], record["counter"]) == (ticket, counter), f"ticket of {no}")
        for number in (record["ticket"], record["counter"]):
            need(not isinstance(number, bool), "ints")
        hit, passed = None, 0
        for weight in odds["weights"]:
            passed += weight["weight"]
            if hit is None and ticket < passed:
                hit = weight["prize_id"]
        need(record.get("hit") == hit, f"hit of {no}")
        outcome = "nothing" if hit is None else self._check(record, hit)
        given = hit if outcome == "won" else None
        if given is None and pool.get("fallback") and self._can_pay("fallback"):
            given = "fallback"
        need(record["outcome"] == outcome, f"outcome of {no}")
        need(record.get("given") == given, f"given of {no}")
        need(None not in (record.get("hit", 0), record.get("given", 0)), "nothing said by silence")
        self.draws += 1
        self.drawn[record["draw_id"]] = given
        if hit is not None:
            self.hits[hit] += 1
        if given is not None:
            self.given[given] += 1
            self.of_entrant[record["entrant"], given] += 1
            self.spent += self._cost(given)

    def _check(self, record: dict[str, Any], hit: str) -> str:
        prize = next(each for each in self.pool["prizes"] if each["prize_id"] == hit)
        if self._left(prize) <= 0:
            return "no_stock"
        n = self.given[hit] - self.moved[hit]  # the unit's number, from 0, of those defined
        if "release" in prize and n >= 0:
            opens, closes = moment(self.pool["opens_at"]), moment(self.pool["closes_at"])
            slot = int(Fraction(closes - opens, prize["stock"]))
            free = opens + n * slot
            if prize["release"].get("jitter"):
                lines = ["leidan/release/1", self.pool["pool_id"], hit, str(n)]
                free += fair.uniform(self.seed, lines, slot)[0]
            if moment(record["occurred_at"]) < free:
                return "not_released"
        mine = self.of_entrant[record["entrant"], hit]
        if "max_per_user" in prize and prize["max_per_user"] <= mine:
            return "user_limit"
        return "won" if self._can_pay(hit) else "no_budget"

    def _left(self, prize: dict[str, Any]) -> int:
        id_ = prize["prize_id"]
        return int(prize["stock"]) + self.moved[id_] - self.given[id_]

    def _can_pay(self, given: str) -> bool:
        if "budget_minor" not in self.pool:
            return True
        left = int(self.pool["budget_minor"]) + self.regained - self.spent
        return self._cost(given) <= left

    def _cost(self, given: str) -> int:
        if given == "fallback":
            return int(self.pool["fallback"]["value_minor"])
        prizes = self.pool["prizes"]
        right = next(each["right"] for each in prizes if each["prize_id"] == given)
        return int(right["value_minor"])

    def _change(self, record: dict[str, Any]) -> None:
        extra = {
            "returned": ["prize_id", "amount_minor", "draw_id"],
            "spent": ["prize_id", "amount_minor", "draw_id"],
            "restocked": ["prize_id"],
            "budget_added": ["amount_minor"],
            "closed": [],
        }[record["reason"]]
        need(sorted(record) == sorted([*FRAME, "reason", "change", *extra]), "fields of a change")
        closes, at = self._closes(), moment(record["occurred_at"])
        need(not isinstance(record["change"], bool), "an integer")
        if record["reason"] == "returned":
            draw = record["draw_id"]
            need(self.drawn[draw] == record["prize_id"], "returns what was given")
            need(draw not in self.returned, "returns it once")
            self.returned[draw] = record["change"]
            unit = record["prize_id"] != "fallback" and at < closes
            need(record["change"] == int(unit), "a unit while open")
            need(record["amount_minor"] == self._cost(record["prize_id"]), "its cost")
        elif record["reason"] == "spent":
            draw = record["draw_id"]
            need(draw in self.returned, "it had come back")
            need(self.drawn[draw] == record["prize_id"], "what was given")
            need(record["change"] == -self.returned.pop(draw), "the unit that had come back")
            need(record["amount_minor"] == -self._cost(record["prize_id"]), "its cost")
        elif record["reason"] == "restocked":
            need(record["change"] > 0, "more units")
            need(record["prize_id"] in self.stock, "a prize")
        else:
            need(record["change"] == 0, "no units")
            if record["reason"] == "budget_added":
                need(record["amount_minor"] > 0 and "budget_minor" in self.pool, "more money")
            else:
                need(at < closes, "closes earlier")
                self.closed.append(at)
        if "prize_id" in record:
            self.moved[record["prize_id"]] += record["change"]
        self.regained += record.get("amount_minor", 0)


def but_odds(pool: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pool.items() if key != "odds"}


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
