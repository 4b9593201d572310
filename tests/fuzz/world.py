"""The fuzzed topics as a worker meets them: records of one user after another, folded and encoded.

State is carried from input to input, so that an accepted input meets what earlier ones left.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

import orjson

from streams.domain import pools
from streams.domain import state as states
from streams.domain.campaign import Campaign
from streams.domain.definition import TYPES, definition_from
from streams.domain.events import Tick
from streams.domain.fold import Outcome, step
from streams.domain.pool import Pool
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.errors import CampaignRefused, EventRejected, Reason
from streams.feed.batch import dead_letter
from streams.feed.campaigns import Registry
from streams.feed.ports import Record
from streams.position import Position
from streams.topics import schemas_dir
from streams.wire import campaigns as campaigns_wire
from streams.wire import outputs, rows
from streams.wire.envelope import LEAD_MS
from streams.wire.ticks import PartitionTick
from tests import builders
from tests.native.beside import MODULE, Beside
from tests.pooling import SEED, Book, budget, lottery, rights
from tests.wire.examples import DECODERS, examples, key_of, ms

if TYPE_CHECKING:
    from streams.domain.events import Event
    from streams.domain.state import UserState

TOPICS = tuple(DECODERS)
WRITTEN_AT_MS = ms("2026-06-01T00:00:00+00:00")
LAST_MS = ms("9999-12-31T23:59:59.999+00:00")  # producers set a record's time, and may set this
MOST_FACTS = 25  # of one user, who then begins anew: a long history only makes the fuzzer slow
MOST_USERS = 200


def definitions() -> list[dict[str, Any]]:
    """Return good definitions of every shape there is."""
    found = [orjson.loads(e.value) for e in examples("valid", topics=("campaigns",))]
    found += [orjson.loads(path.read_bytes()) for path in schemas_dir().glob("samples/*.json")]
    found += [builders.pool(), builders.shelf(), builders.campaign()]
    found.append(builders.campaign(campaign_id="auto", enrolment="auto", rounds={"max": 5}))
    flat: list[dict[str, Any]] = []
    for one in found:
        flat += one if isinstance(one, list) else [one]
    return flat


@cache
def registry(read: Any = definition_from) -> Campaigns:
    """Return the registry of all that fit together: pools first, then of each campaign one."""
    known = Campaigns()
    found = [record for record, _ in map(read, definitions()) if record is not None]
    for record in sorted(found, key=lambda record: not isinstance(record, Pool)):
        with suppress(Unfit):
            known = known.with_record(record)
    return known


HISTORY = (
    builders.claim(),
    builders.order("o1", lines=[(2, 2500), (1, 900)], discounts=[("full", 300, 3000)]),
    builders.order("o2", parent_order_id="p", channel="app", category="veg"),
    builders.order("o3"),
    builders.cancel("o2", day=4),
    builders.refund("o1", {"1": 1}, day=5),
    builders.order("o6"),
)
"""What `builders.USER` has done; every user of the records knows nothing else at first."""

MORE = (
    builders.order("o7", status="placed"),
    builders.order("o7", status="paid", version=2),
    builders.order("o8", status="fulfilled"),
    builders.withdraw("c-o2"),
    builders.claim("k2", day=9),
    builders.result("r", "spent"),
)


def written(event: dict[str, Any]) -> bytes:
    return orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})


def folded(state: UserState, event: Event, campaigns: Campaigns, cause: Record) -> UserState:
    """Fold, and encode all that a worker would: outputs, their headers, the row and back."""
    after, said, outcome = step(state, event, campaigns)
    for output in said:
        _require_sendable(outputs.encode(output, cause))
    if outcome in {Outcome.CONFLICT, Outcome.ROW_FULL}:
        _require_sendable(dead_letter(cause, Reason(outcome.value), ""))
    if after is not state:
        row = rows.encode_row(after)
        assert rows.decode_row(after.user_id, row) == after, "a row must be read as written"
    return after


def _require_sendable(outgoing: Any) -> None:
    """What librdkafka takes: bytes, and header names that are text."""
    assert outgoing.value is None or isinstance(outgoing.value, bytes)
    for name, value in outgoing.headers:
        assert isinstance(name, str)
        assert value is None or isinstance(value, bytes)
        name.encode()


class Records:
    """One topic: decode, then fold into the user's state or set aside as a dead letter."""

    def __init__(self, topic: str) -> None:
        self.topic, self.decode = topic, DECODERS[topic]
        found = [e.value for e in examples("valid", "tolerated", "invalid", topics=(topic,))]
        ours = [e for e in (*HISTORY, *MORE) if builders.topic_of(e) == topic]
        self.examples = [value for value in found if value] + [written(e) for e in ours]
        self.campaigns = registry()
        self._begun = reduce(
            lambda s, e: step(s, builders.decoded(e), self.campaigns).state,
            HISTORY,
            states.new(builders.USER),
        )
        if topic == "reward-results":
            rewards = list(states.unpack_ledger(self._begun.ledger))
            self.examples += [written(builders.result(r, "spent")) for r in rewards]
            self.examples += [written(builders.result(r, "failed")) for r in rewards]
        self._users: dict[str, UserState] = {}
        self._number = 0
        self._beside = Beside(self.campaigns) if topic == "orders" and MODULE else None

    def judge(self, value: bytes) -> tuple[str, bool]:
        self._number += 1
        record = Record(
            self.topic, 0, self._number, self._key(value), value, self._headers(), self._time()
        )
        try:
            event = self.decode(record)
        except EventRejected as refused:
            _require_sendable(dead_letter(record, refused.reason, refused.detail))
            if self._beside is not None:
                self._beside.judge(record, states.new(""))
            return f"{refused.reason.value}: {_shape(refused.detail)}", False
        return self._accepted(record, event)

    def _accepted(self, record: Record, event: Any) -> tuple[str, bool]:
        if isinstance(event, PartitionTick):
            assert record.key is None, "a tick is for everybody"
            event = Tick(builders.USER, event.at_ms)
            folded(self._begun, event, self.campaigns, record)
            return "accepted", True
        assert record.key == event.user_id.encode(), "keyed by user"
        assert not event.user_id.startswith("\0"), "keys of ours begin with NUL"
        state = self._users.get(event.user_id)
        if state is None or state.facts.count > MOST_FACTS:
            if len(self._users) > MOST_USERS:
                self._users.clear()
            known = event.user_id == builders.USER
            state = self._begun if known else states.new(event.user_id)
        if self._beside is not None:
            self._beside.judge(record, state)
        self._users[event.user_id] = folded(state, event, self.campaigns, record)
        return "accepted", True

    def _key(self, value: bytes) -> bytes | None:
        """The value's own user, or pool, nearly always: a wrong key ends the matter at once."""
        body = value[5:] if value[:1] == b"\x00" else value
        try:
            user = key_of(body, self.topic)
            key = None if user is None else user.encode()
        except (ValueError, RecursionError):  # no text, or too deep for the parser of the tests
            key = builders.USER.encode()
        return b"somebody else" if self._number % 50 == 0 else key

    def _time(self) -> int:
        turn = self._number % 10
        return LAST_MS if turn < 3 else 2**62 if turn == 3 else WRITTEN_AT_MS

    def _headers(self) -> list[tuple[str, bytes | None]]:
        turn = self._number % 20
        if turn == 0:
            return [("ce_id", b"k1"), ("traceparent", b"00-\xff"), ("dl-attempt", b"")]
        return [("ce_id", None)] if turn == 1 else []


def _shape(detail: str) -> str:
    """A detail without its numbers and names: how it ended, not with what."""
    head = detail.partition("`")[0] if "`$" not in detail else detail
    return "".join("0" if sign.isdigit() else sign for sign in head)[:60]


class Requests(Records):
    """Requests to pools: decode, then fold into the rows of the pool, each encoded and read."""

    def __init__(self) -> None:
        super().__init__("draw-requests")
        pools_there = [lottery(), rights(cup=20, cake=9), budget(10**6, pool_id="budget:veg-full")]
        self._pools = {pool.pool_id: pool for pool in pools_there}
        self._rows = Book(pools_there[0])

    def _accepted(self, record: Record, event: Any) -> tuple[str, bool]:
        assert record.key == event.pool_id.encode(), "keyed by pool"
        if len(self._rows) > MOST_USERS:
            self._rows.clear()
        pool = self._pools.get(event.pool_id)
        folded = pools.step(self._rows, event, pool, (), lambda _pool: SEED)
        assert set(folded.rows) <= set(pools.keys_of(event)), "rows that were not fetched"
        for output in folded.outputs:
            _require_sendable(outputs.encode(output, record))
        for key, row in folded.rows.items():
            assert rows.decode(key, rows.encode(row)) == row, "a row must be read as written"
        self._rows.update(folded.rows)
        return "accepted", True


class Definitions:
    """Definitions from the topic, into the registry and then under a user's events."""

    def __init__(self) -> None:
        self.examples = [orjson.dumps(one) for one in definitions()]
        self.examples += [e.value for e in examples("invalid", topics=("campaigns",))]
        self._number = 0

    def judge(self, value: bytes) -> tuple[str, bool]:
        self._number += 1
        recorded = WRITTEN_AT_MS if self._number % 4 == 0 else None
        try:
            record = campaigns_wire.decode(value, recorded, "campaigns[0]@1")
        except CampaignRefused as refused:
            str(refused).encode("utf-8", "surrogateescape")  # it goes to a log
            first = refused.problems[0].partition(": ")[2] or refused.problems[0]
            return f"{refused.reason.value}: {len(refused.problems) > 1} {_shape(first)}", False
        reader = Registry([])
        reader.take(
            value, record.effective_from_ms - LEAD_MS, Position("campaigns", 0, self._number)
        )
        if not reader.campaigns.holds(record):  # a version that is not 1, say: clear, but unfit
            assert sum(reader.refused.values()) == 1
            return f"{TYPES[type(record)]} out of sequence", True
        if isinstance(record, Campaign):
            fold_under(record, reader.campaigns)
        return f"{TYPES[type(record)]} accepted", True


def fold_under(campaign: Campaign, campaigns: Campaigns) -> None:
    """Fold a short history whose claims and currency are the definition's own."""
    state = states.new(builders.USER)
    wanted = {"campaign_id": campaign.campaign_id, "currency": campaign.currency}
    for number, given in enumerate(HISTORY):
        changes = {name: of for name, of in wanted.items() if name in given}
        value = written({**given, **changes})
        topic = builders.topic_of(given)
        record = Record(topic, 0, number, b"u-1", value, [], given["recorded_at_ms"])
        state = folded(state, DECODERS[topic](record), campaigns, record)
