"""How rounds begin: claims and their answers, and orders of campaigns that enrol alone."""

from __future__ import annotations

from tests.models.checkouts import checkout_of, gives_time, times_of
from tests.models.counting import cool_end, free_for, last_round
from tests.models.definitions import Version, in_force, is_open
from tests.models.facts import CLAIM, ORDER, Fact
from tests.models.ids import task_id
from tests.models.rounds import Round


def begin_rounds(
    user_id: str,
    campaign_id: str,
    facts: list[Fact],
    versions: list[Version],
    answers: dict[str, tuple[str, str | None]],
) -> list[Round]:
    """Walk the facts in key order; each claim and order is judged by what lies before it.

    So a later cancellation never undoes a round that began (semantics.md 5, rule 7).
    """
    rounds: list[Round] = []
    for fact in facts:
        at_ms = fact.key[0]
        version = in_force(versions, at_ms)
        if fact.rank == CLAIM and fact["campaign_id"] == campaign_id:
            code = refusal(facts, rounds, version, fact)
            if code is None:
                assert version is not None
                rounds.append(claimed_round(user_id, rounds, version, fact))
            answers[fact["claim_id"]] = (
                code or "CLAIMED",
                rounds[-1].task_id if code in (None, "ALREADY_ACTIVE") else None,
            )
        elif fact.rank == ORDER and version is not None and version.auto:
            begun = automatic_round(user_id, facts, rounds, version, fact)
            if begun is not None:
                rounds.append(begun)
    return rounds


def refusal(  # noqa: PLR0911  one line per code, in their order
    facts: list[Fact], rounds: list[Round], version: Version | None, claim: Fact
) -> str | None:
    """The code that refuses this claim, in the order of C2, C3, C4; None accepts it."""
    at_ms = claim.key[0]
    if version is None:
        return "CAMPAIGN_UNKNOWN"  # as a worker that had not read the definition yet would say
    if version.opens_ms is not None and at_ms < version.opens_ms:
        return "CAMPAIGN_NOT_OPEN"
    if version.closes_ms is not None and at_ms >= version.closes_ms:
        return "CAMPAIGN_ENDED"
    if version.first_day is not None and at_ms >= version.window_end(at_ms):
        return "CAMPAIGN_ENDED"
    if version.auto:
        return "RULE_ENROLMENT"  # nobody claims what begins by itself
    last = last_round(facts, rounds, claim.key)
    if last is not None and last.free_ms is None:
        return "ALREADY_ACTIVE"
    if version.entries and claim.event.get("entry") not in version.entries:
        return "RULE_ENTRY"
    if len(rounds) >= version.max_rounds:
        return "ROUNDS_USED"
    if last is not None and at_ms < cool_end(version, last):
        return "COOL_DOWN"
    return None


def claimed_round(user_id: str, rounds: list[Round], version: Version, claim: Fact) -> Round:
    at_ms = claim.key[0]
    start_ms = at_ms
    if version.first_day is not None:
        start_ms = max(at_ms, version.begin_of(version.first_day))
    number = len(rounds) + 1
    return Round(
        task_id=task_id(user_id, version.campaign_id, number),
        number=number,
        version=version,
        start_ms=start_ms,
        end_ms=version.window_end(at_ms),
        begins=(at_ms, ""),
        claim=claim,
    )


def automatic_round(
    user_id: str, facts: list[Fact], rounds: list[Round], version: Version, order: Fact
) -> Round | None:
    """The round that this order event begins, judged as of itself, or None.

    The event must be the one that gives its order its time, the last round must be over, and the
    order must count in the window it would open.
    """
    if len(rounds) >= version.max_rounds or gives_time(facts, order["order_id"], version) != order:
        return None
    last = last_round(facts, rounds, order.key)
    if last is not None and last.free_ms is None:
        return None
    so_far = [fact for fact in facts if fact.key <= order.key]
    for time_ms in times_of(so_far, version, order["order_id"]):
        end_ms = version.window_end(time_ms)
        found = checkout_of(so_far, version, end_ms, order["order_id"])
        if found is None or found.key[0] != time_ms or found.amount_minor < version.min_minor:
            continue
        first_ms = version.begin_of(version.first_day or version.day(time_ms))
        if not first_ms <= time_ms < end_ms or not is_open(version, time_ms):
            continue
        if last is not None and not free_for(version, last, found):
            continue
        number = len(rounds) + 1
        return Round(
            task_id=task_id(user_id, version.campaign_id, number),
            number=number,
            version=version,
            start_ms=time_ms if rounds else first_ms,
            end_ms=end_ms,
            begins=found.key if rounds else (first_ms, ""),
        )
    return None
