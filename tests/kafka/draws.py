"""`python -m tests.kafka.draws --draws 1000000 --workers 4 --kills 12`: draws by the whole way.

Claims and orders of users -> chances -> draw-requests -> the pools -> draw-results -> the users ->
prizes in the ledger, on a real broker, while workers are killed with -9. Then everything is read
again as anybody could read it: each draw is judged by `tests/second_verifier.py`, which shares no
code with the engine; each chance was drawn once and each draw told once; each prize was issued
once; tickets fall as the odds declare (chi-square); stock is given and left to the unit.

Exit status: 0 all holds; 1 something does not; 2 no Java or Maven, or void: too few kills landed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streams.domain.pool_state import PoolState, pool_key
from streams.domain.sample import commitment
from streams.errors import Exit
from streams.traffic import START_MS, rfc3339
from streams.wire.rows import decode
from tests import builders as b
from tests import fair
from tests.checker.evidence import NEXT
from tests.kafka.cluster import Cluster, KafkaMissing
from tests.kafka.harness import (
    FOLDED,
    Reader,
    TookTooLong,
    Topics,
    dice,
    wait_at_rest,
    wait_settled,
)
from tests.kafka.workers import Unexpected, Worker
from tests.pooling import EVERY_TICKET, SEED, odds, prize
from tests.second_verifier import Judge, Wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.checker import Seen

ORDERS, CHANCES = 2, 5
A_USER = ORDERS * CHANCES
"""Chances of a user: five with the first order, five with the last."""

LABELS = [
    str(step) if n == 1 else f"{step}#{n}"
    for step in range(1, ORDERS + 1)
    for n in range(1, CHANCES + 1)
]
WEIGHTS = {"top": 10_000, "five": 50_000, "one": 200_000}
"""Of a million tickets. Of the first two there is less stock than will be hit."""

CANCELS, REPEATS = 40, 25  # one of so many users takes the last order back, or sends one twice
POINTS = ("K2", "K3", "K4", "K5", "K6", "K7", "K8")
SPACING_MS = 200
LEAST_P = 0.001
SAY_S = 10.0


@dataclass(frozen=True)
class Plan:
    """What is run. draws: rounded up to whole users."""

    draws: int
    workers: int = 4
    kills: int = 12
    seed: int = 1
    pools: int = 4
    batch_records: int = 2_000
    limit_s: float = 1_500.0

    @property
    def users(self) -> int:
        return -(-self.draws // A_USER)

    def pool(self, user: int) -> int:
        return user % self.pools

    def task(self, user: int) -> str:
        whose, campaign = user_id(user), f"spin-{self.pool(user)}"
        return "tsk_" + fair.hashed_id("task", whose, campaign, "1")

    def cancels(self, user: int) -> bool:
        return user % CANCELS == 0


def user_id(user: int) -> str:
    return f"u-{user:07d}"


def definitions(plan: Plan) -> list[dict[str, Any]]:
    """As many lotteries as pools, each with a campaign of its own."""
    a_pool = plan.users * A_USER / plan.pools
    hits = {id_: a_pool * weight / EVERY_TICKET for id_, weight in WEIGHTS.items()}
    pools = [
        b.pool(
            pool_id=f"wheel-{n}",
            commitment=commitment(f"wheel-{n}", SEED),
            prizes=[
                prize("top", round(hits["top"] * 0.6), 900),
                prize("five", round(hits["five"] * 0.8), 500, max_per_user=2),
                prize("one", round(a_pool), 100),
            ],
            odds=[odds(*WEIGHTS.items())],
            budget_minor=None,
        )
        for n in range(plan.pools)
    ]
    chances = [{"step": 1, "count": CHANCES}, {"step": "final", "count": CHANCES}]
    campaigns = [
        b.campaign(
            campaign_id=f"spin-{n}",
            features=["light_box", "lottery"],
            entries=None,
            window={"days": 30},
            target={"orders": ORDERS},
            qualify={"min_amount_minor": 1_000, "daily_cap": 0},
            step_rewards=None,
            claim=b.CLOSING,
            lottery={
                "pool_id": f"wheel-{n}",
                "odds_version": 1,
                "chances": chances,
                "draw": "immediate",
            },
        )
        for n in range(plan.pools)
    ]
    return [*pools, *campaigns]


def traffic(plan: Plan) -> Iterator[tuple[str, bytes, bytes, int]]:
    """A claim and two orders of each user, some of them twice."""
    for user in range(plan.users):
        at_ms, whose = START_MS + user * SPACING_MS, user_id(user)
        claim = {"claim_id": f"k-{user}", "campaign_id": f"spin-{plan.pool(user)}"}
        yield sent("claims", whose, "claim.requested", at_ms, claim)
        orders = [
            sent("orders", whose, "order.paid", at_ms + 20 * (n + 1), paid(f"o-{user}-{n}"))
            for n in range(ORDERS)
        ]
        yield from orders
        if user % REPEATS == 1:
            yield orders[0]


def cancellations(plan: Plan) -> Iterator[tuple[str, bytes, bytes, int]]:
    """Some users' last orders are taken back, when their chances have been drawn."""
    for user in filter(plan.cancels, range(plan.users)):
        at_ms = START_MS + (plan.users + user) * SPACING_MS
        order_id = f"o-{user}-{ORDERS - 1}"
        body = {"cancellation_id": f"c-{user}", "order_id": order_id, "reason": "user"}
        yield sent("cancellations", user_id(user), "order.cancelled", at_ms, body)


def sent(
    topic: str, whose: str, type_: str, at_ms: int, body: dict[str, Any]
) -> tuple[str, bytes, bytes, int]:
    frame = {"type": type_, "v": 1, "user_id": whose, "occurred_at": rfc3339(at_ms)}
    return topic, whose.encode(), orjson.dumps(frame | body), at_ms


def paid(order_id: str) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "version": 1,
        "currency": "CNY",
        "goods_minor": 2_000,
        "discounts": [],
        "consumption_minor": 2_000,
        "lines": [{"line_id": "1", "sku": "s", "quantity": 1, "unit_minor": 2_000}],
    }


# -- the run ---------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What was done and found."""

    landed: Counter[str] = field(default_factory=Counter)
    fenced: int = 0
    drawing_s: float = 0.0
    checking_s: float = 0.0
    draws: int = 0
    prizes: int = 0  # issued
    revoked: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    left: dict[str, dict[str, int]] = field(default_factory=dict)
    square: float = 0.0
    p: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        per_s = self.draws / self.drawing_s if self.drawing_s else 0.0
        hits = ", ".join(f"{id_ or 'nothing'} {n}" for id_, n in sorted(self.hits.items()))
        return [
            f"{self.draws} draws in {self.drawing_s:.1f} s, {per_s:.0f} draws/s end to end",
            f"{self.landed.total()} kills landed: {dict(sorted(self.landed.items()))}",
            f"{self.fenced} workers were fenced and started again",
            f"hits: {hits}; chi-square {self.square:.2f}, p = {self.p:.4f}",
            *(f"stock left of {pool_id}: {left}" for pool_id, left in sorted(self.left.items())),
            f"{self.prizes} prizes issued, {self.revoked} of them taken back",
            f"checked in {self.checking_s:.1f} s: {len(self.wrong)} violations",
            *(f"VIOLATION {text}" for text in self.wrong[:20]),
        ]


class Kills:
    """Deals the deaths out over the run, by the share of draws that were made and folded."""

    def __init__(self, plan: Plan, workers: Sequence[Worker], figures: Figures) -> None:
        self.workers, self.figures = workers, figures
        self._dice = dice(f"draws/{plan.seed}")
        total = plan.users * A_USER
        self._at = [total * (n + 0.5) / (plan.kills + 0.5) for n in range(plan.kills)]
        self._armed: dict[str, str] = {}  # by worker, where its next death is
        self._arm_next = ""  # who dies again soon after it was started

    def tend(self, done: int) -> None:
        """Kill who is due, start again who is dead. Raises Unexpected for any other end."""
        for worker in self.workers:
            if worker.running:
                continue
            point = self._armed.pop(worker.name, None)
            if worker.ended() == Exit.FENCED:  # its partitions had moved while it was away
                self.figures.fenced += 1
            else:
                worker.note_death(point or "random")
                self.figures.landed[(point or "random").partition(":")[0]] += 1
            self._start(worker)
        unarmed = [one for one in self.workers if one.name not in self._armed]
        if self._at and done >= self._at[0] and unarmed:
            self._at.pop(0)
            victim = self._dice.choice(unarmed)
            victim.kill()  # and every second one dies again soon, at a line of the protocol
            again = bool(self._at) and self._dice.random() < 0.5
            if again:
                self._at.pop(0)
            self._arm_next = victim.name if again else ""

    def end(self) -> None:
        """Let every worker live from here on: who is to die still dies now, and counts."""
        self._at.clear()
        self._arm_next = ""
        for worker in self.workers:
            if worker.name in self._armed and worker.running:
                self._armed[worker.name] = "random"
                worker.kill()
        self.tend(0)

    def _start(self, worker: Worker) -> None:
        if worker.name == self._arm_next:
            self._arm_next = ""
            point = f"{self._dice.choice(POINTS)}:{self._dice.randint(2, 6)}"
            self._armed[worker.name] = point
            worker.start_and_die_at(point)
        else:
            worker.start()


def run(
    broker: Cluster, directory: Path, plan: Plan, *, prefix: str, say: Callable[[str], None] = print
) -> tuple[Topics, list[Worker], Figures]:
    """Draw it all and stop the workers; nothing is checked yet."""
    figures, topics = Figures(), Topics(broker.bootstrap, prefix)
    topics.create(broker, max(plan.workers, plan.pools))
    path, seeds = directory / "wheels.json", directory / "seeds"
    path.write_bytes(orjson.dumps(definitions(plan)))
    seeds.mkdir()
    for n in range(plan.pools):
        (seeds / f"wheel-{n}").write_text(SEED.hex())
    settings = {"batch_records": plan.batch_records, "pool_secrets_dir": seeds}
    workers = [
        Worker(
            broker.bootstrap,
            prefix,
            f"leidan-{n}",
            directory,
            campaigns=[path],
            settings=settings,
        )
        for n in range(plan.workers)
    ]
    kills = Kills(plan, workers, figures)
    try:
        for worker in workers:
            worker.start()
        begun_s = time.monotonic()
        sending = topics.sending(traffic(plan), per_s=None)
        _until_drawn(topics, workers[0].group, sending.join, kills, plan, say)
        figures.drawing_s = time.monotonic() - begun_s
        kills.end()
        topics.send(cancellations(plan))
        wait_at_rest(topics, workers[0].group, 120)
        wait_settled(topics)
        for worker in workers:
            status = worker.stop()
            if status != 0:
                figures.wrong.append(f"{worker.name} stopped with {status}\n{worker.tail(15)}")
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    return topics, workers, figures


def _until_drawn(  # noqa: PLR0913 - the loop of `run`
    topics: Topics,
    group: str,
    join: Callable[[float], int],
    kills: Kills,
    plan: Plan,
    say: Callable[[str], None],
) -> None:
    """Kill and start again until all is drawn, answered and folded. Raises TookTooLong."""
    begun_s = said_s = asked_s = time.monotonic()
    total, drawn, told = plan.users * A_USER, 0, 0
    while True:
        now_s = time.monotonic()
        if now_s - begun_s > plan.limit_s:
            msg = f"{told} of {total} draws after {plan.limit_s:.0f} s"
            raise TookTooLong(msg)
        drawn = sum(topics.ends(["lottery-draws"], committed=True).values())  # and some markers
        told = sum(topics.committed(group, ["draw-results"]).values())
        kills.tend((drawn + told) // 2)
        if now_s - said_s >= SAY_S:
            said_s = now_s
            landed = kills.figures.landed.total()
            far = f"about {drawn} of {total} drawn, {told} folded by users, {landed} kills"
            say(f"[{now_s - begun_s:6.1f} s] {far}")
        if told >= total * 0.9 and now_s - asked_s >= 2.0:
            asked_s = now_s
            if topics.unread(group, FOLDED) == 0:
                join(60)
                if topics.unread(group, FOLDED) == 0:
                    return
        time.sleep(0.5)


# -- the proof -------------------------------------------------------------------------------------


def prove(topics: Topics, workers: Sequence[Worker], plan: Plan, figures: Figures) -> Figures:
    """Read all of it again and write down what does not hold."""
    begun_s = time.monotonic()
    judges = {f"wheel-{n}": Judge(SEED) for n in range(plan.pools)}
    given = _judged(topics, judges, figures)
    figures.draws = sum(judge.draws for judge in judges.values())
    _every_chance_once(plan, given, figures)
    _asked_and_told_once(topics, given, figures)
    _prizes(topics, plan, given, figures)
    figures.hits = sum((judge.hits for judge in judges.values()), Counter())
    figures.hits[""] = figures.draws - figures.hits.total()
    figures.square = chi_square(figures.hits, figures.draws)
    figures.p = fair.chance_of_more(figures.square, len(WEIGHTS))
    if figures.p <= LEAST_P:
        figures.wrong.append(f"p = {figures.p}: tickets do not fall as declared")
    _stock(workers, judges, figures)
    figures.checking_s = time.monotonic() - begun_s
    return figures


def chi_square(hits: Counter[str], draws: int) -> float:
    declared = WEIGHTS | {"": EVERY_TICKET - sum(WEIGHTS.values())}
    wanted = {id_: draws * weight / EVERY_TICKET for id_, weight in declared.items()}
    return sum((hits[id_] - n) ** 2 / n for id_, n in wanted.items())


def _records(topics: Topics, topic: str) -> Iterator[Seen]:
    """All records of a topic, none of them kept."""
    reader, ends = Reader(topics, [topic]), topics.ends([topic], committed=True)
    try:
        while any(reader.position(*at) < end for at, end in ends.items()):
            reader.some(0.2)
            yield from reader.seen[topic]
            reader.seen[topic].clear()
    finally:
        reader.close()


def _judged(topics: Topics, judges: dict[str, Judge], figures: Figures) -> dict[str, str | None]:
    """Return what each draw gave, by its id; all pools' records are judged."""
    stopped: set[str] = set()
    for seen in _records(topics, "lottery-draws"):
        pool_id = (seen.key or b"").decode()
        try:
            if pool_id not in stopped:
                judges[pool_id].take(seen.value or b"")
        except Wrong as wrong:
            stopped.add(pool_id)
            figures.wrong.append(f"{pool_id}: {wrong}")
    return {draw: prize for judge in judges.values() for draw, prize in judge.drawn.items()}


def _every_chance_once(plan: Plan, given: dict[str, str | None], figures: Figures) -> None:
    """Nobody's draw is missing, and there is none of no chance. That none is twice, judges say."""
    chances = ((plan.task(user), label) for user in range(plan.users) for label in LABELS)
    found = sum("drw_" + fair.hashed_id("draw", *chance) in given for chance in chances)
    if found != plan.users * A_USER or found != len(given):
        lost = plan.users * A_USER - found
        figures.wrong.append(f"{lost} draws are lost, {len(given) - found} are nobody's")


def _asked_and_told_once(topics: Topics, given: dict[str, str | None], figures: Figures) -> None:
    asked = Counter(
        orjson.loads(seen.value or b"null")["request_id"]
        for seen in _records(topics, "draw-requests")
        if b'"draw.asked"' in (seen.value or b"")
    )
    twice = asked.total() - len(asked)
    if twice or asked.keys() != given.keys():
        figures.wrong.append(
            f"{twice} chances were asked twice, {len(asked.keys() ^ given.keys())} not drawn"
        )
    told: dict[str, str | None] = {}
    for seen in _records(topics, "draw-results"):
        body = orjson.loads(seen.value or b"null")
        if body["request_id"] in told:
            figures.wrong.append(f"{body['request_id']} was told twice")
        told[body["request_id"]] = body.get("prize_id")
    if told != given:
        figures.wrong.append("users were told something else than was drawn")


def _prizes(topics: Topics, plan: Plan, given: dict[str, str | None], figures: Figures) -> None:
    """Each prize is issued once; it is taken back where its order is, and nowhere else."""
    seqs: dict[tuple[str, str], int] = defaultdict(int)
    for seen in _records(topics, "rewards"):
        body = orjson.loads(seen.value or b"null")
        if sum(posting["amount_minor"] for posting in body["postings"]):
            figures.wrong.append(f"postings of {body['event_id']} do not sum to zero")
        if body["type"] == "reward.adjusted" or body["kind"] != "prize":
            continue
        chance = body["task_id"], body["step"]
        if body["seq"] != seqs[chance] + 1:
            figures.wrong.append(f"{chance} has seq {body['seq']} after {seqs[chance]}")
        seqs[chance] = body["seq"]
    won = 0
    for user in range(plan.users):
        task = plan.task(user)
        for label in LABELS:
            prize_id = given.get("drw_" + fair.hashed_id("draw", task, label))
            seq, back = seqs[task, label], plan.cancels(user) and label.startswith(str(ORDERS))
            won += seq > 0
            figures.revoked += seq % 2 == 0 and seq > 0
            if seq != (0 if prize_id is None else 2 if back else 1):
                figures.wrong.append(f"{task} {label}: {prize_id} drawn, its reward has seq {seq}")
    figures.prizes = won
    if won != sum(seq > 0 for seq in seqs.values()):
        figures.wrong.append("prizes were issued to nobody known")


def _stock(workers: Sequence[Worker], judges: dict[str, Judge], figures: Figures) -> None:
    """What the pools' rows say is left is what the public records leave."""
    import rocksdict  # noqa: PLC0415 - the definitions above are of use without it

    newest: dict[str, tuple[int, PoolState]] = {}
    for worker in workers:
        for path in sorted(worker.databases.glob("*/CURRENT")):
            db: Any = rocksdict.Rdict(
                str(path.parent),
                rocksdict.Options(raw_mode=True),
                access_type=rocksdict.AccessType.read_only(False),  # noqa: FBT003 - as the checker
            )
            at = sum(json.loads(db.get(NEXT) or b"{}").values())
            for pool_id in judges:
                row = db.get(pool_key(pool_id).encode())
                if row is not None and at >= newest.get(pool_id, (0,))[0]:
                    state = decode(pool_key(pool_id), row)
                    assert isinstance(state, PoolState)
                    newest[pool_id] = at, state
            db.close()
    for pool_id, judge in judges.items():
        left = {stock.id: stock.left for stock in newest[pool_id][1].stock}
        figures.left[pool_id] = left
        if left != judge.stock or min(left.values()) < 0 or newest[pool_id][1].no != judge.no:
            figures.wrong.append(f"{pool_id}: its row says {left}, its records {judge.stock}")


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.draws", description=__doc__)
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pools", type=int, default=4)
    parser.add_argument("--limit-s", type=float, default=1_500.0, help="then it is given up")
    given = parser.parse_args(argv)
    plan = Plan(**vars(given))
    home = Path(tempfile.mkdtemp(prefix="leidan-draws-"))
    try:
        with Cluster(lasting=True).start() as broker:
            topics, workers, figures = run(broker, home, plan, prefix="draws.")
            print(f"drawn in {figures.drawing_s:.1f} s; reading it again", flush=True)
            prove(topics, workers, plan, figures)
    except KafkaMissing as missing:
        print(missing)
        return 2
    except (TookTooLong, Unexpected) as broken:
        print(f"{broken}\nkept: {home}")
        return 1
    print("\n".join(figures.lines()))
    if figures.wrong:
        print(f"kept: {home}")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0 if figures.landed.total() >= plan.kills else 2


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    sys.exit(main())
