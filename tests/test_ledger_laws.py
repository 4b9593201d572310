"""Laws of the ledger over random campaigns, histories and answers (semantics.md 5, L1, L3, L6)."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from streams.domain import asks, facts, ids, reservations, settlement
from streams.domain import state as s
from streams.domain.announce import Announcer
from streams.domain.campaign import OWABLE, Right
from streams.domain.events import PoolAnswered, RewardResult
from streams.domain.fold import Outcome, step
from streams.domain.ledger import Due, Settling, next_deadline_ms, settle, with_all_fallbacks
from streams.domain.orders import NEVER_MS
from streams.domain.walk import walked
from tests import builders as b
from tests import histories
from tests.builders import USER, decoded
from tests.checker import Entry, Report, Seen, money
from tests.given import registry, require_both_paths_alike

if TYPE_CHECKING:
    from streams.domain.events import Event
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns

OUTCOMES = ("issued", "failed", "spent", "expired", "revoked", "revoke_failed")
LIKELY = {s.ISSUING: ("issued", "failed"), s.ISSUED: ("spent", "expired"),
          s.REVOKING: ("revoked", "revoke_failed"),
          s.REVOKED: ("revoked", "revoke_failed"),
          s.RESERVED: ("issued", "revoke_failed")}  # fmt: skip


@st.composite
def campaigns(
    draw: st.DrawFn, modes: tuple[str, ...] = ("assumed", "required"), *, budgets: bool = True
) -> dict[str, Any]:
    """A random campaign, with all that concerns its rewards drawn too."""
    made = draw(histories.campaigns())
    fallback = {"right_id": "f-1", "type": "coupon", "value_minor": 70}
    fallback |= draw(st.sampled_from([{}, {"fallback": {**fallback, "right_id": "f-2"}}]))
    final = {"right_id": "pts", "type": "points", "value_minor": 500}
    final |= draw(st.sampled_from([{}, {"fallback": fallback}]))
    mug = {"right_id": "mug", "type": "physical", "value_minor": 900}
    if draw(st.booleans()):
        made["saved"] = {"rule": "percent", "bp": 1000, "cap_minor": 400}
        bank = {"right_id": "bank", "type": "red_packet", "value": "saved_amount"}
        final = draw(st.sampled_from([bank, {**bank, "fallback": fallback}]))
    made |= {
        "results": draw(st.sampled_from(modes)),
        "final_rewards": [final, *draw(st.sampled_from([[], [mug]]))],
        "debt_cap_minor": draw(st.sampled_from([0, 150, 10_000])),
        "clawback": draw(st.sampled_from([{}, {}, {"points": "keep"}, {"red_packet": "revoke"}])),
        "budget": draw(st.sampled_from([None, {"amount_minor": 10**9} if budgets else None])),
        "collect": draw(st.sampled_from(["auto", "auto", "manual"])),
        "release": draw(
            st.sampled_from(
                [None, None, {"instant_limit_minor": 150, "on": "fulfilled", "hold_days": 0}]
            )
        ),
    }
    return {name: value for name, value in made.items() if value is not None}


@st.composite
def collections(draw: st.DrawFn) -> dict[str, Any]:
    task_id = ids.task_id(USER, "three", draw(st.integers(1, 2)))
    kind, right_id = draw(
        st.sampled_from([("step", "s1"), ("step", "s2"), ("step", "s3"), ("final", "pts")])
    )
    reward_id = ids.reward_id(task_id, str(draw(st.integers(1, 3))), kind, right_id)
    claim_id = draw(st.sampled_from(["t1", "t2", "t3", "t4", "t5"]))
    return b.collect(reward_id, draw(histories.DAYS), claim_id)


EVENTS = st.lists(
    st.one_of(
        *[histories.orders()] * 4,
        histories.claims(),
        *[histories.cancellations()] * 2,
        collections(),
    ),
    max_size=18,
)


@st.composite
def in_time(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A task that gets on while time passes: after grace, what is left of it is given back.

    From a seed, since choices made one by one hardly ever get there.
    """
    rng = draw(st.randoms(use_true_random=True))
    told, later = [b.claim("k1", day=1)], []
    for n in range(1, rng.randrange(2, 6)):
        for status in rng.choice([["paid"], ["paid", "fulfilled"]]):
            day, version = n + 2 * (status == "fulfilled"), 1 + (status == "fulfilled")
            order = b.order(f"o{n}", day, status=status, version=version, lines=[(2, 2500)])
            told.append({**order, "channel": "app"})
        undo = rng.choice([b.cancel, part_back, None])
        if undo:
            (told if rng.random() < 0.7 else later).append(undo(f"o{n}", day=n + 1, id=f"u{n}"))
        if undo and rng.random() < 0.7:
            (told if rng.random() < 0.3 else later).append(b.withdraw(f"u{n}", day=n + 2))
    rng.shuffle(later)
    if rng.random() < 0.3:
        rng.shuffle(told)
    events = [*told, b.tick(rng.choice([10, 14, 20])), *later]
    for day in rng.sample([3, 6, 12, 25, 60], k=rng.randrange(3)):
        events.insert(rng.randrange(len(events) + 1), b.tick(day))
    for event in draw(EVENTS):
        events.insert(rng.randrange(len(events) + 1), event)
    return events


def part_back(order_id: str, **fields: Any) -> dict[str, Any]:
    return b.refund(order_id, {"1": 1}, **fields)


class User:
    """One user and the rights service, driven by drawn choices; checks every law at every step."""

    def __init__(self, campaigns: Campaigns) -> None:
        self.campaigns, self.state = campaigns, s.new(USER)
        self.accounts: Counter[str] = Counter()
        self.ids: set[str] = set()
        self.seqs: dict[str, int] = {}
        self.given: Counter[str] = Counter()  # issued less revoked, by reward
        self.answers = 0
        self.ledger: list[Entry] = []
        self.set_aside: Counter[str] = Counter()  # by task: out of its budget, as the ledger says
        self.unheard: list[PoolAnswered] = []  # what pools say to what is asked after a release

    @property
    def entries(self) -> dict[str, s.Entry]:
        return s.unpack_ledger(self.state.ledger)

    def take(self, event: dict[str, Any]) -> None:
        self._fold(decoded(event))
        self.check_books(self.entries)
        self._is_what_is_due()

    def _fold(self, event: Event) -> None:
        """Fold an event; what is asked of pools is granted: to a task that begins, at once."""
        known = {ask.task_id for ask in asks.unpack(self.state.asks).reservations()}
        self.state, outputs, outcome = step(self.state, event, self.campaigns)
        assert outcome != Outcome.ROW_FULL
        for output in outputs:
            self.read(output)
        for asked in [output.body for output in outputs if output.type == "pool.reserve"]:
            at_ms = b.millis(histories.LAST)
            names = (asked["request_id"], asked["pool_id"])
            answered = PoolAnswered(USER, at_ms, at_ms, *names, "granted")
            if asked["task_id"] in known:
                self.unheard.append(answered)
            else:
                self._fold(answered)

    def hear(self) -> None:
        """Let a pool's answer be read."""
        self._fold(self.unheard.pop(0))
        self.check_books(self.entries)
        self._is_what_is_due()

    def answer(self, entry: s.Entry, outcome: str, *, seq: int | None = None) -> None:
        self.answers += 1
        self.take(
            b.result(
                entry.reward_id,
                outcome,
                entry.seq if seq is None else seq,
                day=12,
                id=f"a{self.answers}",
            )
        )

    def dues(self) -> list[Due]:
        known = facts.unpack(self.state.facts)
        asked = asks.unpack(self.state.asks)
        walk = walked(self.state, known, asked, self.campaigns)
        return settlement.dues_of(walk, walk.tallies(), asked, known)

    def read(self, output: Output) -> None:
        assert output.event_id not in self.ids
        self.ids.add(output.event_id)
        if output.topic != "rewards":
            return
        body = output.body
        position = Seen("rewards", 0, len(self.ledger), b"", b"", (), 0)
        self.ledger.append(Entry(position, body))
        assert sum(p["amount_minor"] for p in body["postings"]) == 0
        bound = self._is_bound(body)
        for posting in body["postings"]:
            if bound and posting["account"] == "budget":
                self.set_aside[body["task_id"]] -= posting["amount_minor"]
        if "reward_id" not in body:
            return
        reward_id, amount = body["reward_id"], body["amount_minor"]
        for posting in body["postings"]:
            account = posting["account"]
            home = bound and account in ("budget", "reserved")  # the one after the release
            self.accounts["home" if home else account] += posting["amount_minor"]
        if output.type == "reward.adjusted":
            assert body["seq"] == self.seqs.get(reward_id, 0)
            if body["reason"] == "failed":
                self.given[reward_id] -= amount
            elif body["reason"] == "spent" and body["seq"] % 2 == 0:
                self.given[reward_id] += amount
            return
        seq = self.seqs[reward_id] = self.seqs.get(reward_id, 0) + 1
        assert (body["seq"], output.type) == (seq, "reward.issued" if seq % 2 else "reward.revoked")
        self.given[reward_id] += amount if seq % 2 else -amount

    def _is_bound(self, body: dict[str, Any]) -> bool:
        """Tell whether a record is of a budget: prizes are their pool's."""
        campaign = self.campaigns.pinned(body["campaign_id"], body["campaign_version"])
        return campaign.budget is not None and body.get("kind") != "prize"

    def check_books(self, entries: dict[str, s.Entry]) -> None:
        paid_back: Counter[str] = Counter()
        for entry in entries.values():
            for debt_id, part in entry.set_off:
                assert part > 0
                paid_back[debt_id] += part
        for entry in entries.values():
            numbers = (entry.paid, entry.offset, entry.owed, entry.held, entry.written_off)
            assert min(numbers) >= 0
            assert entry.offset == sum(part for _, part in entry.set_off)
            assert entry.debt == entry.owed + entry.written_off + paid_back[entry.reward_id]
        assert +self.accounts == +books(entries, self.campaigns), "L3: postings are the ledger"
        for entry in entries.values():
            assert self.given[entry.reward_id] == outstanding(entry), "L6"

    def _is_what_is_due(self) -> None:
        """Due rewards are given, on their way, waiting or lost for good; no other is, but kept."""
        entries = self.entries
        assert self.state.owed_minor == sum(entry.owed for entry in entries.values())
        if self.unheard:
            return  # some of it waits for that
        dues = self.dues()
        before = s.pack_ledger(entries)
        say = Announcer(USER, "again", 0)
        asked = asks.unpack(self.state.asks)
        said = settlement.settle(entries, dues, [], asked, self.campaigns, say).outputs
        assert (said, s.pack_ledger(entries)) == ([], before), "settled twice is settled"
        for due in dues:
            entry = entries[due.reward_id]
            failed = entry.state == s.VOID and entry.why == "failed"
            assert entry.due or (failed and due.right.fallback is not None)
            assert entry.state not in (s.REVOKED, s.DEBT)
            assert (entry.state == s.RESERVED) <= bool(due.ready_ms or due.collect_by_ms)
        for entry in entries.values():
            if not entry.due and entry.state in s.STANDING and not entry.frozen:
                campaign = self.campaigns.pinned(entry.campaign_id, entry.campaign_version)
                policy = campaign.policies[entry.type]
                assert policy == "keep" or entry.state == s.SPENT or entry.type == "physical"
                assert not (policy == "debt" and entry.state == s.SPENT)


def books(entries: dict[str, s.Entry], campaigns: Campaigns) -> Counter[str]:
    """The accounts as the entries say; `reserved` only where a claim has not reserved it."""
    found: Counter[str] = Counter()
    for e in entries.values():
        campaign = campaigns.pinned(e.campaign_id, e.campaign_version)
        budgeted = campaign.budget is not None and e.kind != "prize"
        found["reserved"] += 0 if budgeted else e.held
        found["issued"] += e.paid if e.state in (s.ISSUING, s.ISSUED) else 0
        found["returning"] += e.back if e.state == s.REVOKING else 0
        found["breakage"] += e.paid if e.state == s.VOID and e.why == "lapsed" else 0
        found["debt"] += e.owed
        found["written_off"] += e.written_off
        spent = e.state in (s.SPENT, s.DEBT) or (e.state == s.VOID and e.why == "written_off")
        found["spent"] += (e.paid if spent else 0) + e.offset - e.debt
        home = "home" if budgeted else "budget"
        found[home] -= outstanding(e) + (e.back if e.state == s.REVOKING else 0)
        found[home] -= 0 if budgeted else e.held
    return found


def outstanding(entry: s.Entry) -> int:
    """What was issued of a reward and not taken back: due and paid, kept, owed or written off."""
    if entry.state in (s.ISSUING, s.ISSUED, s.SPENT, s.DEBT):
        return entry.paid
    return entry.paid if entry.state == s.VOID and entry.why in ("lapsed", "written_off") else 0


@hypothesis.given(campaigns(), campaigns(), in_time(), st.data())
def test_the_books_hold_whatever_happens_and_whatever_is_answered(campaign, other, events, data):
    other |= {"campaign_id": "other"}
    user = User(registry(campaign, other))
    for event in events:
        if event["type"] == "claim.requested" and data.draw(st.booleans()):
            event = {**event, "campaign_id": "other"}  # noqa: PLW2901
        user.take(event)
        for entry in user.entries.values():
            if entry.seq and data.draw(st.integers(0, 2)) == 0:
                likely = LIKELY.get(entry.state, OUTCOMES)
                user.answer(entry, data.draw(st.sampled_from(likely)))
        if user.entries and data.draw(st.integers(0, 4)) == 0:
            entry = data.draw(st.sampled_from(list(user.entries.values())))
            user.answer(
                entry, data.draw(st.sampled_from(OUTCOMES)), seq=data.draw(st.integers(1, 4))
            )
        while user.unheard and data.draw(st.booleans()):
            user.hear()
    while user.unheard:
        user.hear()
    the_checker_finds_nothing(user, [campaign, other])


def the_checker_finds_nothing(user: User, definitions: list[dict[str, Any]]) -> None:
    """The judge of every other tier, on this ledger: it must know all that a ledger may say."""
    report = Report()
    due = {d.reward_id: money.Right(USER, d.right.value_minor) for d in user.dues()}
    # As due as it was, for good; spent at more than it was worth then, the rest is a debt (5.5).
    over = [e for e in user.entries.values() if e.frozen and e.due]
    due |= {e.reward_id: money.Right(USER, e.value - e.debt) for e in over}
    money.net_equals_the_set_model(report, user.ledger, due, definitions)
    money.money_is_conserved(report, user.ledger, due, definitions)
    assert report.findings == [], report.findings
    granted: Counter[str] = Counter()
    for ask in asks.unpack(user.state.asks).reservations():
        granted[ask.task_id] += reservations.share(ask)[reservations.MONEY]
    assert user.set_aside == granted, "L3 by task, L8"


LOSABLE = [b.claim(), b.order("o1"), b.order("o2"), b.order("o3"), b.cancel("o1", day=4)]


def losses_not_found() -> tuple[int, int]:
    """Lose each command of a ledger in its turn; return how many there are, and how many pass."""
    definition = b.campaign(results="required")
    user = User(registry(definition))
    for event in LOSABLE:
        user.take(event)
        answer_all(user)
    the_checker_finds_nothing(user, [definition])  # so what it finds below is the loss
    whole = user.ledger
    lost = [n for n, entry in enumerate(whole) if entry.body["type"] != "reward.adjusted"]
    passed = 0
    for n in lost:
        user.ledger = whole[:n] + whole[n + 1 :]
        with contextlib.suppress(AssertionError):
            the_checker_finds_nothing(user, [definition])
            passed += 1
    return len(lost), passed


def test_the_checker_misses_no_command_that_is_lost():
    commands, passed = losses_not_found()
    assert commands > 4
    assert passed == 0


def test_a_checker_that_does_not_look_misses_every_command_that_is_lost(monkeypatch):
    for law in ("net_equals_the_set_model", "money_is_conserved"):
        monkeypatch.setattr(money, law, lambda *_: None)
    commands, passed = losses_not_found()
    assert passed == commands


def test_the_checker_misses_no_reservation_that_is_lost():
    user = User(registry(b.campaign(budget={"amount_minor": 10**9})))
    for event in (b.claim(), b.order("o1")):
        user.take(event)
    assert user.ledger[0].body["reason"] == "reserved"
    whole, without = Report(), Report()
    money.books_balance(whole, user.ledger)
    assert whole.findings == [], "so what it finds without is the loss"
    money.books_balance(without, user.ledger[1:])
    assert "overdraws reserved" in str(without.findings)


SAVING = b.campaign(
    features=["light_box"],
    entries=None,
    results="required",
    target={"orders": 1},
    qualify={"min_amount_minor": 0},
    step_rewards=None,
    saved={"rule": "percent", "bp": 1000, "cap_minor": 400},
    final_rewards=[{"right_id": "bank", "type": "red_packet", "value": "saved_amount"}],
)


def test_what_was_spent_and_is_worth_less_now_is_due_and_owes_the_rest():
    """Less than it was paid at (5.5), down to nothing; also once its debt is written off."""
    user = User(registry(SAVING))
    reward_id = ids.reward_id(ids.task_id(USER, "three", 1), "1", "final", "bank")
    user.take(b.claim())
    for day, yuan, owed in ((5, 50, 0), (4, 25, 150), (3, 0, 400)):
        user.take(b.order(f"o{day}", lines=[(1, yuan * 100)]))
        if not owed:
            user.answer(user.entries[reward_id], "spent")
        entry = user.entries[reward_id]
        assert (entry.state, entry.due, entry.owed) == (s.SPENT, True, owed)
        the_checker_finds_nothing(user, [SAVING])
    for day in (12, 100, 110):
        user.take(b.tick(day))
        the_checker_finds_nothing(user, [SAVING])
    assert user.entries[reward_id].written_off == 400
    assert user.entries[reward_id].frozen


@pytest.mark.parametrize(("policy", "owed"), [("debt", 150), ("revoke", 0)])
def test_what_could_not_be_taken_back_is_owed_or_forgiven_by_its_policy(policy, owed):
    """Worth less now, it was to be given anew; its revocation failed as spent (5.5, clawback)."""
    definition = {**SAVING, "clawback": {"red_packet": policy}}
    user = User(registry(definition))
    for event in (b.claim(), b.order("o5"), b.order("o4", yuan=25)):
        user.take(event)
    [entry] = user.entries.values()
    assert entry.state == s.REVOKING
    user.answer(entry, "revoke_failed")
    [entry] = user.entries.values()
    assert (entry.state, entry.due, entry.owed) == (s.SPENT, True, owed)
    the_checker_finds_nothing(user, [definition])


def test_a_debt_that_a_lapsed_reward_paid_off_is_not_paid_out_again():
    definition = {**SAVING, "rounds": {"max": 2, "cool_down_days": 1}, "window": {"days": 3}}
    user = User(registry(definition))
    for event in (b.claim(), b.order("o3", lines=[(2, 2500)])):
        user.take(event)
    first = next(iter(user.entries))
    user.answer(user.entries[first], "spent")
    user.take(b.refund("o3", {"1": 1}, day=3, when=b.at(3, "18:00")))
    user.take(b.claim("k2", day=5))
    user.take(b.order("o5"))
    second = next(name for name in user.entries if name != first)
    assert user.entries[second].offset == user.entries[first].debt == 150
    user.answer(user.entries[second], "expired")
    user.take(b.withdraw("r-o3", day=6))
    assert (user.entries[first].due, user.entries[first].owed) == (True, 0)
    assert user.entries[first].debt == 150, "it stays paid off"
    the_checker_finds_nothing(user, [definition])


@hypothesis.given(campaigns(), EVENTS, st.booleans())
def test_once_all_is_answered_what_is_due_stands_and_nothing_is_on_its_way(
    campaign, events, at_end
):
    user = User(registry(campaign))
    for event in events:
        user.take(event)
        if not at_end:
            answer_all(user)
    answer_all(user)
    assert user.accounts["returning"] == 0
    for due in user.dues():
        waits = due.ready_ms or due.collect_by_ms
        assert user.entries[due.reward_id].state == (s.RESERVED if waits else s.ISSUED)


def answer_all(user: User) -> None:
    while True:
        open_ = [e for e in user.entries.values() if e.state in (s.ISSUING, s.REVOKING)]
        if not open_:
            return
        user.answer(open_[0], "issued" if open_[0].state == s.ISSUING else "revoked")


@hypothesis.given(campaigns(budgets=False), EVENTS, st.randoms(use_true_random=False))
def test_in_any_order_the_same_rewards_are_due_waiting_or_given(campaign, events, rng):
    events = histories.one_of_each(events)
    shuffled = rng.sample(events, k=len(events))
    campaigns = registry(campaign)
    states = []
    for arrived in (events, shuffled):
        state = s.new(USER)
        for event in arrived:
            state = step(state, decoded(event), campaigns).state
        states.append(s.canonical_state(state))
    assert states[0] == states[1]


@hypothesis.given(campaigns(), EVENTS)
def test_with_rewards_of_every_kind_the_short_path_says_and_leaves_what_the_walk_does(
    campaign, events
):
    campaigns = registry(campaign)
    state = s.new(USER)
    for event in events:
        state = require_both_paths_alike(state, decoded(event), campaigns).state


@hypothesis.given(campaigns(("required",), budgets=False), EVENTS, st.data())
def test_results_read_before_their_commands_give_the_same_rewards(campaign, events, data):
    """A replay may read a result first: the same commands come, and the same becomes of them."""
    events = histories.one_of_each(events)
    campaigns = registry(campaign)
    live, log = s.new(USER), []
    for event in events:
        live = step(live, decoded(event), campaigns).state
        for entry in s.unpack_ledger(live.ledger).values():
            if entry.state == s.ISSUING and entry.type in OWABLE and data.draw(st.booleans()):
                outcome = data.draw(st.sampled_from(["issued", "failed", "spent"]))
                log.append(b.result(entry.reward_id, outcome, entry.seq, id=f"a{len(log)}"))
                live = step(live, decoded(log[-1]), campaigns).state
    hypothesis.assume(len(log) <= 64)
    replay = s.new(USER)
    for event in (*log, *events):
        replay = step(replay, decoded(event), campaigns).state
    seqs = {e.reward_id: e.seq for e in s.unpack_ledger(live.ledger).values()}
    again = {e.reward_id: e.seq for e in s.unpack_ledger(replay.ledger).values()}
    if seqs == again:  # else other commands were given, of which these results say nothing
        assert s.canonical_state(live) == s.canonical_state(replay)


DAY_MS = 86_400_000
NAMES = [("1", "red_packet"), ("2", "points"), ("3", "cash"), ("4", "coupon"), ("5", "physical")]


@st.composite
def dense_dues(draw: st.DrawFn, campaign: Any, task: s.Task) -> list[Due]:
    """What may be due at one moment: any rewards, any values, anything to wait for."""
    found = []
    for label, type_ in NAMES:
        if draw(st.booleans()):
            plain = Right(f"f{label}", "coupon", 10)
            right = Right(
                f"r{label}",
                type_,
                draw(st.sampled_from([100, 100, 200])),
                fallback=draw(st.sampled_from([None, plain])),
            )
            found.append(
                Due(
                    task, campaign, label, "prize" if label == "3" else "step", right, "o",
                    held=draw(st.integers(0, 9)) == 0,
                    ready_ms=draw(st.sampled_from([0] * 6 + [50 * DAY_MS, NEVER_MS])),
                    collect_by_ms=draw(st.sampled_from([0] * 6 + [60 * DAY_MS])),
                )
            )  # fmt: skip
    return found


@hypothesis.given(campaigns(), st.lists(st.integers(0, 5), min_size=3, max_size=30), st.data())
def test_the_books_hold_whatever_is_due_next_and_however_time_passes(definition, moves, data):
    campaign = next(iter(registry(definition)))
    task = s.Task("t", "three", 1, 1, 0, 0, 40 * DAY_MS)
    user = User(registry(definition))
    entries: dict[str, s.Entry] = {}
    dues: list[Due] = []
    at_ms, n = 0, 0
    for move in moves:
        n, at_ms, now_ms = n + 1, at_ms + 7 * DAY_MS, 0
        over = {"t"} if campaign.budget is None else set()
        policies = dict.fromkeys(entries, campaign)
        if move < 2:
            dues = data.draw(dense_dues(campaign, task))
        elif move == 2:
            now_ms = next_deadline_ms(entries, dues, policies)
            at_ms = max(at_ms, now_ms)
        policies |= {due.reward_id: campaign for due in with_all_fallbacks(dues)}
        settling = Settling(entries, policies, at_ms, now_ms, over)
        if move > 2 and entries:
            entry = data.draw(st.sampled_from(list(entries.values())))
            outcome = data.draw(st.sampled_from(LIKELY.get(entry.state, OUTCOMES)))
            result = RewardResult("", at_ms, at_ms, str(n), entry.reward_id, entry.seq, outcome)
            settling.answer(entry, result)
        settling.bring_to(dues)
        say = Announcer(USER, f"cause:{n}", at_ms)
        for change in settling.changes:
            user.read(say.ledger(change, campaign.calendar))
        user.check_books(entries)
        before = s.pack_ledger(entries)
        assert settle(entries, dues, policies, at_ms, now_ms, over) == []
        assert s.pack_ledger(entries) == before
        if move == 2 and now_ms:
            later = next_deadline_ms(entries, dues, policies, now_ms)
            assert later == 0 or later > now_ms
