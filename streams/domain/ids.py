"""Derived identities: hashes of stable fields, never uuid4, never the clock (D5).

The same history gives the same ids in any replay, so downstream dedupes by event id. Ids hold no
offset, batch or worker. Source: semantics.md 4, `Ids`.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256


def derived(kind: str, *parts: str) -> str:
    """H(kind; parts): 32 hex digits of SHA-256 over the lines `leidan/<kind>/1`, parts."""
    lines = f"leidan/{kind}/1\n" + "\n".join(parts)
    return sha256(lines.encode()).hexdigest()[:32]


def task_id(user_id: str, campaign_id: str, round_: int) -> str:
    return "tsk_" + derived("task", user_id, campaign_id, str(round_))


@lru_cache(maxsize=4096)  # a refold names what is due before and after, mostly the same
def reward_id(task: str, step: str, kind: str, right_id: str) -> str:
    return "rwd_" + derived("reward", task, step, kind, right_id)


def task_event_id(task_or_user: str, type_: str, cause_id: str) -> str:
    return "evt_" + derived("event", task_or_user, type_, cause_id)


def order_event_id(task_or_user: str, type_: str, cause_id: str, about: str, code: str) -> str:
    """One cause can say several things (of several orders or claims) about one task or user.

    semantics.md hashes task, type and cause alone; two spares of one late claim would share an id.
    """
    return "evt_" + derived("event", task_or_user, type_, cause_id, about, code)


def chance_event_id(task: str, type_: str, cause_id: str, label: str) -> str:
    """One cause can bring, or take, several chances of one task: the label tells them apart."""
    return "evt_" + derived("event", task, type_, cause_id, label)


def ledger_event_id(reward: str, type_: str, seq: int) -> str:
    return "evt_" + derived("event", reward, type_, str(seq))


def adjustment_id(task_or_reward: str, reason: str, cause_id: str) -> str:
    return "evt_" + derived("event", task_or_reward, "reward.adjusted", reason, cause_id)


def release_event_id(task: str, cause_id: str, before_minor: int) -> str:
    """What a task gave back; a cause that gives back twice is told apart by what went before."""
    if not before_minor:
        return adjustment_id(task, "released", cause_id)
    said = ("reward.adjusted", "released", cause_id, str(before_minor))
    return "evt_" + derived("event", task, *said)


def draw_id(task: str, step: str) -> str:
    """The draw of one chance, and the id of the request that asks for it."""
    return "drw_" + derived("draw", task, step)


def request_id(task: str, purpose: str, cause_id: str) -> str:
    return "req_" + derived("request", task, purpose, cause_id)


def entrant(pool: str, user_id: str) -> str:
    """Who drew, to the public: the same within a pool, nobody's across pools."""
    return derived("entrant", pool, user_id)


def notification_id(object_id: str, kind: str, due: str) -> str:
    """`due` as the notice says it: RFC 3339 in the campaign's zone."""
    return "ntf_" + derived("notice", object_id, kind, due)
