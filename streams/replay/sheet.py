"""The file between a proposal and its emission: JSON lines, signed by whoever has read them.

The first line says which broker and topics the others are about; each other one is a proposal
(`makegood.Proposal`). A reviewer takes lines out, then approves what is left: the last line then
holds the reviewer's name and a SHA-256 over every byte before it and the name. So a line that was
changed, added or taken out afterwards is found, and so is another name.

The digest guards against slips, not against forgers: who may write to `rewards` needs no file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from streams.domain import ids
from streams.errors import UsageError
from streams.replay.makegood import ISSUE, REVOKE, Proposal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VERSION = 1
_TYPES = {ISSUE: "reward.issued", REVOKE: "reward.revoked"}


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    makegood: int
    cluster: str
    topic_prefix: str
    proposed_at: str
    notes: list[str] = []


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line, once somebody has read the others."""

    reviewed_by: str
    digest: str


class Sheet(msgspec.Struct):
    """A file as it was read. `approval`: None while nobody has approved it."""

    head: Head
    proposals: list[Proposal]
    approval: Approval | None
    signed: bytes  # all that the digest is over, but for the name


def write(path: Path, head: Head, proposals: Iterable[Proposal]) -> None:
    """Write a new file, whole or not at all. Raises UsageError when there is one already."""
    if path.exists():
        raise UsageError(
            f"{path}: is there already, perhaps reviewed; give another --out or remove it"
        )
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as out:
            out.write(_line(msgspec.to_builtins(head)))
            for proposal in proposals:
                out.write(_line(msgspec.to_builtins(proposal)))
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    finally:
        new.unlink(missing_ok=True)


def read(path: Path) -> Sheet:
    """Read a file. Raises UsageError naming the line that is none of ours, or does not fit."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    head, proposals, approval, signed = None, [], None, b""
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if approval is not None:
            raise UsageError(f"{where}: stands behind the approval; approve the file again")
        try:
            if head is None:
                head = msgspec.json.decode(line, type=Head)
            elif line.startswith(b'{"digest"'):
                approval = msgspec.json.decode(line, type=Approval)
                continue
            else:
                proposals.append(_checked(msgspec.json.decode(line, type=Proposal)))
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{where}: no line of a make-good: {error}") from None
        signed += line
    if head is None or head.makegood != VERSION:
        raise UsageError(f"{path}: no make-good of version {VERSION}: leidan makegood --out FILE")
    return Sheet(head, proposals, approval, signed)


def _checked(proposal: Proposal) -> Proposal:
    """Return it, if its record can be emitted. Raises ValueError, KeyError."""
    record = proposal.record
    if proposal.action not in _TYPES:
        if record is not None:
            raise ValueError(f"action {proposal.action} has no record")
        return proposal
    if record is None:
        raise ValueError(f"action {proposal.action} without a record")
    if record["type"] != _TYPES[proposal.action] or record["reward_id"] != proposal.reward_id:
        raise ValueError("the record is of another reward, or of another type")
    if record["user_id"] != proposal.user_id:
        raise ValueError("the record is of another user")
    own = ids.ledger_event_id(record["reward_id"], record["type"], record["seq"])
    if record["event_id"] != own:
        raise ValueError(f"event_id must be {own}")
    if sum(posting["amount_minor"] for posting in record["postings"]):
        raise ValueError("postings do not sum to zero")
    return proposal


def approve(path: Path, reviewer: str) -> Sheet:
    """Put the reviewer's name and digest behind the lines; an earlier approval is replaced."""
    sheet = read(path)
    approval = Approval(reviewer, digest(sheet.signed, reviewer))
    line = _line({"digest": approval.digest, "reviewed_by": approval.reviewed_by})
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(sheet.signed + line)
    new.replace(path)
    return msgspec.structs.replace(sheet, approval=approval)


def require_approved(path: Path, sheet: Sheet) -> str:
    """Return the digest of an approved file. Raises UsageError for one that is not, or not now."""
    again = f"read it, then: leidan makegood --approve {path} --reviewer NAME"
    if sheet.approval is None:
        raise UsageError(f"{path}: nobody has approved it; {again}")
    if sheet.approval.digest != digest(sheet.signed, sheet.approval.reviewed_by):
        raise UsageError(f"{path}: is not what {sheet.approval.reviewed_by} has approved; {again}")
    return sheet.approval.digest


def digest(signed: bytes, reviewer: str) -> str:
    """Return the SHA-256, in hex, of the lines and the name."""
    return hashlib.sha256(signed + b"reviewed_by:" + reviewer.encode()).hexdigest()


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
