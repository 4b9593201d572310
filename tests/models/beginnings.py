"""How rounds begin and are left: what users ask, and orders of campaigns that enrol alone.

The facts are walked in key order; each is judged by what lies before it. So a later cancellation
never undoes a round that began (semantics.md 5, rule 7).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.models.chances import answer_to_draw
from tests.models.checkouts import checkout_of, gives_time, times_of
from tests.models.compaction import heeded
from tests.models.counting import as_of, cool_end, free_for, last_round, tally_of
from tests.models.definitions import Version, in_force, is_open
from tests.models.facts import ORDER, Fact
from tests.models.groups import preference
from tests.models.ids import draw_id, task_id
from tests.models.reservations import reserved
from tests.models.rounds import Begun, Round
from tests.models.who import kept_out, variant_of, verdict

if TYPE_CHECKING:
    from tests.models.world import World

Answers = dict[str, tuple[str, "str | None"]]


def walk(world: World, facts: list[Fact]) -> tuple[Begun, Answers]:
    """All rounds, and the answer to each thing the user asked."""
    begun, answers = Begun(), Answers()
    for fact in facts:
        if fact.kind == "claim.requested":
            answers[fact["claim_id"]] = answer_claim(world, facts, begun, fact)
        elif fact.kind == "draw.requested":
            code = answer_to_draw(world, facts, begun, fact)
            answers[fact["claim_id"]] = (code, fact["task_id"] if code == "DRAW" else None)
            if code == "DRAW":
                begun.draws.add(draw_id(fact["task_id"], fact["step"]))
        elif fact.kind == "task.withdrawn":
            leave(world, facts, begun, fact)
        elif fact.rank == ORDER:
            begin_alone(world, facts, begun, fact)
    return begun, answers


# -- claims ----------------------------------------------------------------------------------------


def answer_claim(
    world: World, facts: list[Fact], begun: Begun, claim: Fact
) -> tuple[str, str | None]:
    """(CLAIMED or a code, task_id); an accepted claim begins a round, unless a pool denied it."""
    campaign_id = claim["campaign_id"]
    version = in_force(world.versions_of(campaign_id), claim.key[0])
    name = task_id(world.user_id, campaign_id, len(begun.of(campaign_id)) + 1)
    known = heeded(facts, world.unheard, name)  # what began a history that is over, began it
    facts = known if claim in known else facts
    code = refusal(world, facts, begun, version, claim)
    if code == "ALREADY_ACTIVE":
        return code, begun.of(campaign_id)[-1].task_id
    if code is not None:
        return code, None
    assert version is not None
    return begin(world, begun, claimed_round(world, begun, version, claim))


def refusal(  # noqa: C901, PLR0911  one line per code, in their order
    world: World, facts: list[Fact], begun: Begun, version: Version | None, claim: Fact
) -> str | None:
    """The code that refuses this claim, in the order of C2, C3, C4; None accepts it."""
    at_ms = claim.key[0]
    if version is None:
        return "CAMPAIGN_UNKNOWN"  # as a worker that had not read the definition yet would say
    if version.opens_ms is not None and at_ms < version.opens_ms:
        return "CAMPAIGN_NOT_OPEN"
    if version.closes_ms is not None and at_ms >= version.closes_ms:
        return "CAMPAIGN_ENDED"
    window = variant_of(version, claim.event.get("context"))
    if version.first_day is not None and at_ms >= window.window_end(at_ms):
        return "CAMPAIGN_ENDED"  # a variant has days of its own
    if world.stopped(version.campaign_id, at_ms):
        return "CAMPAIGN_STOPPED"
    if version.auto:
        return "RULE_ENROLMENT"  # nobody claims what begins by itself
    last = last_round(world, facts, begun, version.campaign_id, claim.key)
    if last is not None and last.free_ms is None:
        return "ALREADY_ACTIVE"
    rule = kept_out(version, world.user_id, claim.event)
    if rule is not None:
        return rule
    if len(begun.of(version.campaign_id)) >= version.max_rounds:
        return "ROUNDS_USED"
    if last is not None and at_ms < cool_end(version, last):
        return "COOL_DOWN"
    if verdict(facts, None, before=claim.key) == "block":
        return "RULE_RISK"
    return None


def claimed_round(world: World, begun: Begun, version: Version, claim: Fact) -> Round:
    at_ms = claim.key[0]
    start_ms = at_ms
    if version.first_day is not None:
        start_ms = max(at_ms, version.begin_of(version.first_day))
    number = len(begun.of(version.campaign_id)) + 1
    version = variant_of(version, claim.event.get("context"))
    return Round(
        task_id=task_id(world.user_id, version.campaign_id, number),
        number=number,
        version=version,
        start_ms=start_ms,
        end_ms=version.window_end(at_ms),
        begins=(at_ms, ""),
        begun_ms=at_ms,
        cause_id=claim.cause_id,
        claim=claim,
    )


def begin(world: World, begun: Begun, this: Round) -> tuple[str, str | None]:
    """Add a round unless a pool has denied what it costs."""
    found, granted = reserved(world, this)
    if isinstance(found, str):
        return found, None
    begun.rounds.setdefault(this.version.campaign_id, []).append(
        replace(this, fallbacks=found, granted=granted)
    )
    return "CLAIMED", this.task_id


def leave(world: World, facts: list[Fact], begun: Begun, asked: Fact) -> None:
    """task.withdrawn ends a task that is active as of then; any other is left as it is."""
    this = begun.by_id(asked["task_id"])
    if this is None or this is not begun.of(this.version.campaign_id)[-1]:
        return
    if as_of(world, facts, begun, this, asked.key).free_ms is None:
        begun.left_ms[this.task_id] = asked.key[0]


# -- rounds that begin by themselves ---------------------------------------------------------------


def begin_alone(world: World, facts: list[Fact], begun: Begun, order: Fact) -> None:
    """Begin every automatic round for which this order event would count.

    In a group the order serves one task only, so of several new ones that one begins.
    """
    proposed = []
    for campaign_id in world.campaign_ids:
        version = in_force(world.versions_of(campaign_id), order.key[0])
        if version is not None and version.auto:
            found = automatic_round(world, facts, begun, version, order)
            if found is not None and not isinstance(reserved(world, found)[0], str):
                proposed.append(found)  # what a pool denied never began, nor competes
    so_far = [fact for fact in facts if fact.key <= order.key]
    for this in sorted(proposed, key=preference):
        # "a user's first order that would count begins it": in the task itself, as it would run,
        # and not beside others that the order does not begin (semantics.md 2, enrolment).
        counted = tally_of(world, so_far, begun.with_rounds([this]), this, order.key).counted
        serves = any(order["order_id"] in found.names for found in counted)
        if serves or not this.version.group:
            begin(world, begun, this)


def known_to(
    world: World, facts: list[Fact], rounds: list[Round], name: str, order: Fact
) -> list[Fact]:
    """Return the facts by which an order may begin a round, if histories are over by now.

    What is COMPACTED for a round did not begin it either; and an order that was in the window of
    an earlier one stays as that one knew it (semantics.md 5, rule 9).
    """
    own = heeded(facts, world.unheard, name)
    for before in rounds:
        known = heeded(own, world.unheard, before.task_id)
        if order in known and before.start_ms <= order.key[0] < before.end_ms:
            own = known
    return own


def automatic_round(
    world: World, facts: list[Fact], begun: Begun, version: Version, order: Fact
) -> Round | None:
    """The round that this order event would begin, judged as of itself, or None.

    The event must be the one that gives its order its time, the last round must be over, and the
    order must count in the window it would open.
    """
    rounds = begun.of(version.campaign_id)
    name = task_id(world.user_id, version.campaign_id, len(rounds) + 1)
    same = (fact for fact in facts if fact.rank == ORDER and fact["order_id"] == order["order_id"])
    if any((fact.cause_id, name) in world.not_begun for fact in same):
        return None  # nor does a later version: the time of the order is that of the first
    now = heeded(facts, world.unheard, name)
    then = known_to(world, facts, rounds, name, order)
    # As an earlier round knew it the order may have begun this one: then it was not that one's, and
    # what was read since undoes what it began.
    found = beginning(world, facts, begun, version, order, then)
    if found is None or then == now:
        return found
    return beginning(world, facts, begun, version, order, now)


def beginning(  # noqa: PLR0913  all, and what is known of the order
    world: World, facts: list[Fact], begun: Begun, version: Version, order: Fact, own: list[Fact]
) -> Round | None:
    """The round that this order event would begin by the facts `own`, or None."""
    rounds = begun.of(version.campaign_id)
    name = task_id(world.user_id, version.campaign_id, len(rounds) + 1)
    if len(rounds) >= version.max_rounds or gives_time(own, order["order_id"], version) != order:
        return None
    last = last_round(world, facts, begun, version.campaign_id, order.key)
    read_late = any((order.cause_id, earlier.task_id) in world.refused for earlier in rounds)
    if last is not None and (last.free_ms is None or read_late):
        return None
    so_far = [fact for fact in own if fact.key <= order.key]
    if kept_out(version, world.user_id, order.event) is not None:
        return None
    version = variant_of(version, order.event.get("context"))
    for time_ms in times_of(so_far, version, order["order_id"]):
        end_ms = version.window_end(time_ms)
        found = checkout_of(so_far, version, end_ms, order["order_id"])
        if found is None or found.key[0] != time_ms or found.amount_minor < version.min_minor:
            continue
        if order["order_id"] not in found.parts:
            continue  # an order that does not count itself begins nothing
        first_ms = version.begin_of(version.first_day or version.day(time_ms))
        if not first_ms <= time_ms < end_ms or not is_open(version, time_ms):
            continue
        if world.stopped(version.campaign_id, time_ms):
            continue
        if last is not None and not free_for(version, last, found):
            continue
        return Round(
            task_id=name,
            number=len(rounds) + 1,
            version=version,
            start_ms=time_ms if rounds else first_ms,
            end_ms=end_ms,
            begins=found.key if rounds else (first_ms, ""),
            begun_ms=time_ms,
            cause_id=order.cause_id,
        )
    return None
