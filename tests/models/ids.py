"""Derived ids and samples (semantics.md 4 and 6): hashes of lines."""

from __future__ import annotations

import hashlib
import hmac


def h(kind: str, *parts: str) -> str:
    """H(kind; parts): the first 32 hex digits over the lines `leidan/<kind>/1`, parts."""
    lines = "\n".join((f"leidan/{kind}/1", *parts))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def task_id(user_id: str, campaign_id: str, number: int) -> str:
    return "tsk_" + h("task", user_id, campaign_id, str(number))


def reward_id(task: str, step: str, kind: str, right_id: str) -> str:
    return "rwd_" + h("reward", task, step, kind, right_id)


def draw_id(task: str, label: str) -> str:
    return "drw_" + h("draw", task, label)


def request_id(task: str, purpose: str, cause_id: str) -> str:
    return "req_" + h("request", task, purpose, cause_id)


def entrant(pool_id: str, user_id: str) -> str:
    return h("entrant", pool_id, user_id)


def sample(key: bytes | None, lines: list[str], width: int) -> int:
    """An integer in [0, width) from HMAC-SHA256, or SHA-256 without a key, by rejection."""
    return sampled(key, lines, width)[0]


def sampled(key: bytes | None, lines: list[str], width: int) -> tuple[int, int]:
    """(the integer, the counter that gave it)."""
    counter = 0
    while True:
        text = "\n".join([*lines, str(counter)]).encode()
        if key is None:
            digest = hashlib.sha256(text).digest()
        else:
            digest = hmac.new(key, text, hashlib.sha256).digest()
        number = int.from_bytes(digest[:8], "big")
        if number < 2**64 - 2**64 % width:
            return number % width, counter
        counter += 1
