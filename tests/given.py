"""given(campaigns, events).when(event).then(...): rules as sentences (no mocks, the real fold)."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain.campaign import Campaign
from streams.domain.definition import definition_from
from streams.domain.fold import refold, step
from streams.domain.registry import Campaigns
from streams.domain.state import STANDING, new, unpack_ledger
from tests.builders import USER, decoded

if TYPE_CHECKING:
    from streams.domain.events import Event
    from streams.domain.fold import Folded
    from streams.domain.outputs import Output
    from streams.domain.state import Task, UserState


def registry(*definitions: dict[str, Any], **fields: Any) -> Campaigns:
    """Return the registry of definitions, each of which must be a good one.

    Pools come before the campaigns that name them. fields: of every campaign, in place of what its
    definition says.
    """
    found = [definition_from(definition) for definition in definitions]
    assert all(record is not None for record, _ in found), [said for _, said in found]
    good = [record for record, _ in found if record is not None]
    return Campaigns.of(
        msgspec.structs.replace(record, **fields) if isinstance(record, Campaign) else record
        for record in good
    )


def said(output: Output) -> str:
    """Return an output in short: `issued 1 rp-1`, `order.ignored MIN_AMOUNT`, `task.advanced 2`."""
    body = output.body
    if output.type == "reward.issued":
        seq = f" seq={body['seq']}" if body["seq"] > 1 else ""
        off = f" offset={body['offset_minor']}" if body["offset_minor"] else ""
        return f"issued {body['step']} {body['right']['right_id']}{seq}{off}"
    if output.type == "reward.revoked":
        return f"revoked {body['step']} {body['right_id']}"
    if output.type == "reward.adjusted" and "reward_id" not in body:
        return f"{body['reason']} {body['amount_minor']}"
    if output.type == "reward.adjusted":
        return f"{body['reason']} {body['step']} {body['right_id']} {body['amount_minor']}"
    if output.type == "notice.due":
        return f"notice {body['kind']} {body['send_from'][11:16]}"
    return f"{output.type} {_about(output)}".rstrip()


def _about(output: Output) -> str:
    body = output.body
    if output.topic == "draw-requests":
        share = body.get("step") or body.get("units") or body.get("amount_minor")
        return f"{body['pool_id']} {share}"
    if output.type.startswith("chance."):
        return body["step"]
    if output.type.startswith("task."):
        return str(body["view"]["counted"])
    return body.get("code", "")


def require_both_paths_alike(state: UserState, fact: Event, campaigns: Campaigns) -> Folded:
    """Fold a fact: the short path must say and leave what the walk from nothing does."""
    quick, slow = step(state, fact, campaigns), refold(state, fact, campaigns)
    assert quick.state == slow.state
    assert sorted(map(str, quick.outputs)) == sorted(map(str, slow.outputs))
    return quick


class Given:
    """A user of whom these events are known, and what the fold said to the last."""

    def __init__(self, campaigns: Campaigns, state: UserState) -> None:
        self.campaigns, self.state = campaigns, state
        self.outputs: tuple[Output, ...] = ()
        self.outcome = ""

    def when(self, *events: dict[str, Any] | Event) -> Given:
        for event in events:
            fact = decoded(event) if isinstance(event, dict) else event
            self.state, self.outputs, self.outcome = step(self.state, fact, self.campaigns)
        return self

    def then(self, *expected: str) -> Given:
        """The last event said exactly this, in any order; nothing expected: nothing was said."""
        assert sorted(map(said, self.outputs)) == sorted(expected)
        return self

    def standing(self, *expected: str) -> Given:
        """These rewards stand in the ledger now: `<step> <right_id>`."""
        entries = unpack_ledger(self.state.ledger).values()
        found = sorted(f"{e.step} {e.right_id}" for e in entries if e.state in STANDING)
        assert found == sorted(expected)
        return self

    def task(self, index: int = -1) -> Task:
        return self.state.tasks[index]

    def reward_id(self, step_: str, right_id: str) -> str:
        entries = unpack_ledger(self.state.ledger).values()
        return next(e.reward_id for e in entries if (e.step, e.right_id) == (step_, right_id))


def given(
    definitions: dict[str, Any] | list[dict[str, Any]],
    events: list[dict[str, Any]],
    **fields: Any,
) -> Given:
    many = definitions if isinstance(definitions, list) else [definitions]
    campaigns = registry(*many, **fields)
    state = reduce(lambda s, e: step(s, decoded(e), campaigns).state, events, new(USER))
    return Given(campaigns, state)
