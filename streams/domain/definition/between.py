"""Rules between the fields of a campaign: definitions that could not mean what they say.

Source: semantics.md 2, the table `Refused`; each row's message is kept word for word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.definition.rights import SAVED, with_fallbacks
from streams.domain.worst_case import most_saved_minor, worst_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.campaign import Campaign, Right
    from streams.domain.definition.fields import Fields

    Problem = tuple[str, str]  # path, what is wrong


def refuse_unclear(top: Fields, campaign: Campaign) -> None:
    """Add to `top` whatever is wrong between the fields, each of which is clear by itself."""
    found = [*_features(campaign), *_window(campaign), *_terms(campaign, "")]
    found += [*_steps(campaign), *_saved(campaign), *_budget(campaign), *_reminders(campaign)]
    for number, _ in enumerate(campaign.variants, 1):
        own = campaign.with_variant(number)
        found += _terms(own, f"variants[{number - 1}].")
    for path, problem in dict.fromkeys(found):
        top.problem(path, problem)


def _features(c: Campaign) -> Iterator[Problem]:
    if len(c.features & {"dark_box", "light_box"}) != 1:
        yield "features", "choose exactly one of dark_box, light_box"
    if ("lottery" in c.features) != (c.lottery is not None):
        yield "lottery", "lottery feature and lottery object go together"
    if "full_link" in c.features and not c.entries:
        yield "entries", "full_link needs entries"


def _window(c: Campaign) -> Iterator[Problem]:
    def misfit(path: str, why: str = "") -> Problem:
        return path, f"{path.rsplit('.', maxsplit=1)[-1]} does not fit window mode {c.mode}{why}"

    if c.mode == "fixed" and c.first_day is None:
        yield misfit("window.first_day", ": it is missing")
    if c.mode == "from_claim" and c.first_day is not None:
        yield misfit("window.first_day")
    if c.mode != "every_n" and c.max_cycles != 1:
        yield misfit("window.max_cycles")
    if c.mode == "every_n" and c.target_amount_minor:
        yield misfit("target.amount_minor")
    if c.mode == "every_n" and c.rounds_max != 1:
        yield "rounds.max", f"rounds does not fit window mode {c.mode}"
    if c.opens_at_ms is not None and c.closes_at_ms is not None and c.closes_at_ms <= c.opens_at_ms:
        yield "claim.closes_at", "not after opens_at"


def _terms(c: Campaign, path: str) -> Iterator[Problem]:
    """X, Y and Z, of the campaign or of a variant (with its path)."""
    reach, orders = c.days * c.daily_cap, f"{path}orders" if path else "target.orders"
    if 0 < reach < c.limit:
        said = f"{c.days} days x daily_cap {c.daily_cap} = {reach}"
        yield orders, f"{c.limit} orders cannot be reached: {said}"
    if c.step_rewards and "full_link" not in c.features:
        yield f"{path}step_rewards", "step_rewards need full_link"
    if not c.final_rewards and not c.step_rewards and c.lottery is None:
        yield f"{path}final_rewards", "nothing to win"
    for step in c.step_rewards:
        if not 1 <= step <= c.target_orders:
            yield f"{path}step_rewards", f"step {step} is outside 1..{c.target_orders}"
    for one in c.lottery.chances if c.lottery is not None else ():
        if one.step == c.target_orders:
            yield "lottery.chances", f"chance at step {one.step}: use final"
        elif isinstance(one.step, int) and not 1 <= one.step <= c.target_orders:
            yield "lottery.chances", f"step {one.step} is outside 1..{c.target_orders}"
    yield from _same_right(f"{path}final_rewards", c.final_rewards)
    for step, rights in c.step_rewards.items():
        yield from _same_right(f"{path}step_rewards", rights, f"step {step}: ")


def _same_right(path: str, rights: tuple[Right, ...], where: str = "") -> Iterator[Problem]:
    """A reward's id holds its right, so one right twice at one step would be one reward."""
    if len({right.right_id for right in rights}) != len(rights):
        yield path, f"{where}use quantity"
        return
    ids = [right.right_id for right in with_fallbacks(rights)]
    for right_id in sorted({one for one in ids if ids.count(one) > 1}):
        yield path, f"{where}{right_id} is a fallback and given already: use another right_id"


def _steps(c: Campaign) -> Iterator[Problem]:
    steps = [one.step for one in c.lottery.chances] if c.lottery is not None else []
    if len(set(steps)) != len(steps):
        yield "lottery.chances", "same step twice: use count"


def _saved(c: Campaign) -> Iterator[Problem]:
    banked = any(
        right.value == SAVED
        for own in c.each_variant()
        for right in with_fallbacks(own.final_rewards)
    )
    if banked and c.saved is None:
        yield "final_rewards", "no saved rule"
    if c.saved is not None and most_saved_minor(c) is None:
        yield "saved", "saved needs cap_minor"


def _budget(c: Campaign) -> Iterator[Problem]:
    if c.budget is None or not c.budget.amount_minor:
        return
    most = max(worst_case(own).amount_minor for own in c.each_variant())
    if c.budget.amount_minor < most:
        yield "budget", f"budget {c.budget.amount_minor} cannot pay one task ({most})"


def _reminders(c: Campaign) -> Iterator[Problem]:
    if c.dark and any(one.kind == "one_order_left" for one in c.reminders):
        yield "reminders", "reminder reveals the target"
