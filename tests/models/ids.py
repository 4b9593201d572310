"""Derived ids (semantics.md 4): hashes of lines."""

from __future__ import annotations

import hashlib


def task_id(user_id: str, campaign_id: str, number: int) -> str:
    return "tsk_" + h("task", user_id, campaign_id, str(number))


def h(kind: str, *parts: str) -> str:
    """H(kind; parts) of semantics.md 4."""
    lines = "\n".join((f"leidan/{kind}/1", *parts))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]
