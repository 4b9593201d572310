"""Budget and units set aside for a task when it begins, and given back when it is over.

A task whose campaign has a budget, or rights with a supply, is pending until every pool has granted
its worst case. Whether it was granted is a fact, so the walk judges it: denied, the claim never
began a task, and a later claim may. A task once granted is honoured, whichever claim began it.
Source: semantics.md 3 C5 and C8, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import ids
from streams.domain.asks import ASKED, DENIED, GRANTED, RELEASED, RESERVE, Ask
from streams.domain.dues import may_be_given
from streams.domain.holding import gone
from streams.domain.pool import BUDGET
from streams.domain.pool_state import TASKS
from streams.domain.state import ISSUED, ISSUING, RESERVED, REVOKED, REVOKING, VOID
from streams.domain.worst_case import worst_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from streams.domain.announce import Announcer
    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign
    from streams.domain.ledger import Due
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Task

BUDGET_EXHAUSTED, RIGHTS_EXHAUSTED = "BUDGET_EXHAUSTED", "RIGHTS_EXHAUSTED"
DENIALS = frozenset({BUDGET_EXHAUSTED, RIGHTS_EXHAUSTED})


class Need(NamedTuple):
    """What one pool is to set aside for a task: minor units, or units by right_id."""

    pool_id: str
    amount_minor: int
    units: dict[str, int]


class Verdict(NamedTuple):
    """What the pools say to a task: refused (code), pending, or granted with what they lack."""

    code: str = ""
    pending: bool = False
    lacks: tuple[str, ...] = ()  # supply pools with nothing left, whose rights have a fallback


class Afforded(NamedTuple):
    """The dues that can be paid, what is short by (task id, pool id), and of what is out already.

    unpaid: the ids of rewards that were not taken back after all, and whose money went back.
    """

    dues: list[Due]
    short: dict[tuple[str, str], Share]
    unpaid: frozenset[str]


HONOURED = Verdict()
MONEY = ""
Share = dict[str, int]
"""What of a pool is set aside: units by right_id, and minor units under MONEY."""


def reserves(campaign: Campaign) -> bool:
    """Tell whether a task of the campaign waits for pools before it is claimed."""
    return campaign.budget is not None or any(right.supply for right in campaign.rights())


def needs(campaign: Campaign) -> list[Need]:
    """Return what a task reserves, a pool each; campaign: with the task's variant applied."""
    if not reserves(campaign):
        return []
    worst = worst_case(campaign)
    found = []
    if campaign.budget is not None:
        found.append(Need(campaign.budget_pool_id, worst.amount_minor, {}))
    units: dict[str, dict[str, int]] = {}
    for (pool_id, right_id), count in sorted(worst.units.items()):
        units.setdefault(pool_id, {})[right_id] = count
    return found + [Need(pool_id, 0, of_pool) for pool_id, of_pool in units.items()]


def judge(task: Task, campaign: Campaign, cause_id: str, asked: Asked) -> Verdict:
    """Return what the pools said to the task that `cause_id` (a claim or an order) would begin."""
    wanted = needs(campaign)
    if not wanted:
        return HONOURED
    groups = _groups(asked, task.task_id)
    own = _verdict(wanted, groups.get(cause_id, {}), campaign)
    if own.code or not own.pending:
        return own
    for group in groups.values():
        if all(_covers(group.get(need.pool_id), need) for need in wanted):
            other = _verdict(wanted, group, campaign)
            if not other.code and not other.pending:
                return other
    return own


def answered(group: Mapping[str, Ask], campaign: Campaign) -> Verdict | None:
    """Return what the pools said to a task of which only this was ever asked; None: it asks anew.

    group: by pool, all that was asked for the task. campaign: with the task's variant applied.
    """
    wanted = needs(campaign)
    if not all(_covers(group.get(need.pool_id), need) for need in wanted):
        return None
    return _verdict(wanted, group, campaign)


def to_ask(
    task: Task, campaign: Campaign, cause_id: str, at_ms: int, asked: Asked
) -> Iterator[Ask]:
    """Yield the reservations of a pending task; none while an answer is outstanding for it."""
    groups = _groups(asked, task.task_id)
    if cause_id in groups or any(
        ask.state == ASKED for group in groups.values() for ask in group.values()
    ):
        return
    for need in needs(campaign):
        yield Ask(
            request_id=ids.request_id(task.task_id, _purpose(RESERVE, need.pool_id), cause_id),
            purpose=RESERVE,
            pool_id=need.pool_id,
            task_id=task.task_id,
            at_ms=at_ms,
            until_ms=task.end_ms + campaign.grace_ms,
            cause_id=cause_id,
            amount_minor=need.amount_minor,
            units=need.units,
            round=task.round,
            campaign_version=task.campaign_version,
        )


def begins(ask: Ask) -> bool:
    """Tell whether a reservation was asked for by what would begin its task.

    What is asked for later (`more`) may have the same cause; denied, it undoes no task.
    """
    purpose = _purpose(RESERVE, ask.pool_id)
    return ask.request_id == ids.request_id(ask.task_id, purpose, ask.cause_id)


def of_pool(asked: Asked, task_id: str, pool_id: str) -> list[Ask]:
    """Return what one pool has granted to a task, in the order in which it was asked."""
    return [
        ask
        for ask in asked.reservations()
        if (ask.task_id, ask.pool_id) == (task_id, pool_id) and ask.state in (GRANTED, RELEASED)
    ]


def share(ask: Ask) -> Share:
    """Return what of a grant was not released."""
    granted = {**ask.units, MONEY: ask.amount_minor}
    return {name: n - ask.released.get(name, 0) for name, n in granted.items()}


def gave_back_minor(task_id: str, asked: Asked) -> int:
    """Return what a task has given back to its budget so far."""
    return sum(ask.released.get(MONEY, 0) for ask in asked.reservations() if ask.task_id == task_id)


def until_ms(ask: Ask, task: Task | None, campaigns: Campaigns) -> int:
    """Return when what is left goes back: end + grace, of the end that its task has come to."""
    if task is None or not task.ended_ms:
        return ask.until_ms
    return min(ask.until_ms, task.ended_ms + campaigns.of_task(task).grace_ms)


def whole(ask: Ask, campaigns: Campaigns) -> Share:
    """Return all of a grant whose task never began; a budget that bounds tasks gets that back."""
    pool = campaigns.pool(ask.pool_id)
    return share(ask) | ({TASKS: 1} if pool is not None and pool.max_tasks else {})


def free(
    task_id: str, pool_id: str, asked: Asked, entries: Mapping[str, Entry], campaigns: Campaigns
) -> Share:
    """Return what of a pool's grants to a task no reward of it holds."""
    left: Share = {}
    for ask in of_pool(asked, task_id, pool_id):
        for name, n in share(ask).items():
            left[name] = left.get(name, 0) + n
    for entry in entries.values():
        if entry.task_id != task_id or entry.kind == "prize" or not holds(entry):
            continue
        if pool_id.startswith(BUDGET):
            left[MONEY] = left.get(MONEY, 0) - _held_minor(entry)
        elif entry.right_id in left:
            campaign = campaigns.pinned(entry.campaign_id, entry.campaign_version)
            left[entry.right_id] -= quantity(campaign, entry.right_id)
    return left


def given_back(ask: Ask, part: Share) -> Ask:
    """Return the ask with this much more of it released."""
    released = {name: ask.released.get(name, 0) + part.get(name, 0) for name in share(ask)}
    return msgspec.structs.replace(
        ask, state=RELEASED, released={name: n for name, n in released.items() if n}
    )


def release_id(ask: Ask, cause_id: str) -> str:
    """One deadline can give back twice of one grant: what went back before tells them apart."""
    before = sum(ask.released.values())
    return ids.request_id(ask.task_id, f"release:{ask.request_id}:{before}", cause_id)


def affordable(  # noqa: PLR0913  # what is to be paid, of what, and when
    dues: list[Due],
    entries: Mapping[str, Entry],
    asked: Asked,
    campaigns: Campaigns,
    now_ms: int = 0,
    out: Sequence[Entry] = (),
) -> Afforded:
    """Return the dues that can be paid, and what is short.

    out: rewards that were taken back, as was assumed, and are not. They are not given anew; the
    first that is left pays for them, and where it went back already, they are short of it too.
    Short can be only what falls due again, or for more, after its task's reservation was released,
    what is `out`, and what no claim reserves: the compensation of a killed campaign. What stands
    and is worth more now, or had set off a debt that is none any more, stays at what it has until
    more is granted.
    Nothing is short for what is never given again: it failed for good, or has waited in vain.
    """
    over = {ask.task_id for ask in asked.reservations() if ask.state == RELEASED}
    over |= {due.task.task_id for due in dues if due.kind == "compensation"}
    if not over and not out:
        return Afforded(dues, {}, frozenset())
    stand = {(e.task_id, e.step, e.kind, e.right_id): e for e in entries.values() if holds(e)}
    wanted = {due.reward_id: due.right.value_minor for due in dues}
    left: dict[tuple[str, str], Share] = {}

    def take(task_id: str, costs: Iterable[tuple[str, str, int]]) -> bool:
        enough = True
        for pool_id, name, n in costs:
            of = left.get((task_id, pool_id))
            if of is None:
                of = left[task_id, pool_id] = free(task_id, pool_id, asked, entries, campaigns)
            of[name] = of.get(name, 0) - n
            enough = enough and of[name] >= 0
        return enough

    never_back = {entry.reward_id for entry in out}
    unpaid = {e.reward_id for e in out if not take(e.task_id, _held_again(e, asked, campaigns))}
    payable: list[Due] = []
    for due in dues:
        task_id = due.task.task_id
        entry = stand.get((task_id, due.step, due.kind, due.right.right_id))
        covered = 0
        if entry is not None:
            covered = entry.paid + _still_set_off(entry, entries, wanted)
        costs = _may_rise(entry, due, covered) if entry else _is_given(due, entries, now_ms)
        if task_id not in over or not costs or due.reward_id in never_back:
            payable.append(due)
            continue
        enough = take(task_id, _cost(due, entry, covered))
        if not enough and entry is not None and covered:
            right = msgspec.structs.replace(due.right, value_minor=covered)
            payable.append(due._replace(right=right))
        elif enough:
            payable.append(due)
    short = {key: {name: -n for name, n in of.items() if n < 0} for key, of in left.items()}
    return Afforded(payable, {key: of for key, of in short.items() if of}, frozenset(unpaid))


def more(task_id: str, pool_id: str, short: Share, say: Announcer, asked: Asked) -> Ask | None:
    """Return a further reservation for what is short; None: one is outstanding, or just denied."""
    known = [a for a in asked.reservations() if (a.task_id, a.pool_id) == (task_id, pool_id)]
    for ask in known:
        if ask.state == ASKED:
            return None
        if ask.state == DENIED and say.cause_id == f"result:{ask.request_id}":
            return None  # asked again at once, the two would go on for ever
    return Ask(
        request_id=ids.request_id(task_id, _purpose("more", pool_id), say.cause_id),
        purpose=RESERVE,
        pool_id=pool_id,
        task_id=task_id,
        at_ms=say.at_ms,
        until_ms=max(ask.until_ms for ask in known),
        cause_id=say.cause_id,
        amount_minor=short.get(MONEY, 0),
        units={name: n for name, n in short.items() if name != MONEY},
        round=known[0].round,
        campaign_version=known[0].campaign_version,
    )


def _is_given(due: Due, entries: Mapping[str, Entry], now_ms: int) -> bool:
    """Tell whether what does not stand is to be given, if there is money for it."""
    return may_be_given(entries.get(due.reward_id), due) and not gone(due, now_ms)


def _may_rise(entry: Entry, due: Due, covered: int) -> bool:
    """Tell whether what stands is to be given anew, for more than its task still holds for it."""
    return entry.state in (RESERVED, ISSUING, ISSUED) and due.right.value_minor > covered


def _still_set_off(entry: Entry, entries: Mapping[str, Entry], wanted: Mapping[str, int]) -> int:
    """Return what a reward has set off against debts that will not be restored now."""
    debts = ((entries[debt_id], part) for debt_id, part in entry.set_off)
    return sum(
        part
        for debt, part in debts
        if max(0, debt.value - wanted.get(debt.reward_id, 0)) >= debt.debt
    )


def _cost(due: Due, stands: Entry | None, covered: int) -> Iterator[tuple[str, str, int]]:
    """Yield (pool id, name, n) of what a reward takes; prizes are paid by their own pool.

    stands: it has its units, and of its value what is `covered`.
    """
    if due.kind == "prize":
        return
    if due.campaign.budget is not None:
        yield due.campaign.budget_pool_id, MONEY, due.right.value_minor - covered
    if due.right.supply and stands is None:
        yield due.right.supply, due.right.right_id, due.right.quantity


def _held_again(entry: Entry, asked: Asked, campaigns: Campaigns) -> Iterator[tuple[str, str, int]]:
    """Yield (pool id, name, n) of what a reward takes that was not taken back after all.

    Waiting to be given again, it has its units, and of its money what was set aside for that.
    """
    if entry.kind == "prize":
        return
    campaign = campaigns.pinned(entry.campaign_id, entry.campaign_version)
    mine = [ask for ask in asked.reservations() if ask.task_id == entry.task_id]
    for pool_id in dict.fromkeys(ask.pool_id for ask in mine):
        if pool_id.startswith(BUDGET):
            if entry.back > entry.held:
                yield pool_id, MONEY, entry.back - entry.held
        elif entry.state != RESERVED and any(
            entry.right_id in ask.units for ask in mine if ask.pool_id == pool_id
        ):
            yield pool_id, entry.right_id, quantity(campaign, entry.right_id)


def _held_minor(entry: Entry) -> int:
    """Return what of its task's money a reward takes that holds its share."""
    if entry.state == RESERVED:
        return entry.held
    return entry.back if entry.state == REVOKING else entry.paid


def holds(entry: Entry) -> bool:
    """Tell whether a reward still takes its share of what was set aside for its task.

    Void, it does if it was given all the same: it lapsed, or was owed and written off.
    """
    if entry.state == VOID:
        return entry.why in ("lapsed", "written_off")
    return entry.state != REVOKED


def quantity(campaign: Campaign, right_id: str) -> int:
    """Return the units of one reward of the right; the most where variants differ."""
    rights = (right for variant in campaign.each_variant() for right in variant.rights())
    return max((right.quantity for right in rights if right.right_id == right_id), default=1)


def _groups(asked: Asked, task_id: str) -> dict[str, dict[str, Ask]]:
    """Return what was asked to begin a task: what would begin it -> pool -> ask."""
    groups: dict[str, dict[str, Ask]] = {}
    for ask in asked.reservations():
        if ask.task_id == task_id and begins(ask):
            groups.setdefault(ask.cause_id, {})[ask.pool_id] = ask
    return groups


def _verdict(wanted: list[Need], group: Mapping[str, Ask], campaign: Campaign) -> Verdict:
    """Judge one group of asks: refused at the first denial that nothing replaces, else by all."""
    states = [group[need.pool_id].state if need.pool_id in group else ASKED for need in wanted]
    denied = [need for need, state in zip(wanted, states, strict=True) if state == DENIED]
    if any(need.pool_id.startswith(BUDGET) for need in denied):
        return Verdict(BUDGET_EXHAUSTED)
    if not all(_replaceable(campaign, need.pool_id) for need in denied):
        return Verdict(RIGHTS_EXHAUSTED)
    if ASKED in states:
        return Verdict(pending=True)
    return Verdict(lacks=tuple(need.pool_id for need in denied))


def _replaceable(campaign: Campaign, pool_id: str) -> bool:
    """Tell whether all rights of a supply have a fallback that needs no units itself."""
    rights = [right for right in campaign.rights() if right.supply == pool_id]
    return all(right.fallback is not None and not right.fallback.supply for right in rights)


def _covers(ask: Ask | None, need: Need) -> bool:
    """Tell whether what was asked under another claim is enough: the version may be another."""
    if ask is None or ask.amount_minor < need.amount_minor:
        return False
    return all(ask.units.get(right_id, 0) >= n for right_id, n in need.units.items())


def _purpose(purpose: str, pool_id: str) -> str:
    """One cause can ask several pools for one task: all but its budget add their id."""
    return purpose if pool_id.startswith(BUDGET) else f"{purpose}:{pool_id}"
