"""GET /tasks/{user_id}: what a user is to be shown, by the worker that owns the user's partition.

Another worker answers 307 with the owner's address, once (`hop=1`); where nobody owns it for the
moment, or it is being restored, 503 says when to ask again. Reads see what was committed, never a
unit of work under way.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from streams.domain.events import Context
from streams.domain.features import FEATURES
from streams.domain.render import OPERATOR, USER, Asking, render
from streams.domain.state import new
from streams.errors import DiskError
from streams.feed.ports import BrokerLost, CannotTell, NotOwned, NotReady
from streams.partitioner import partition_of
from streams.web.server import Answer, Question, refusal
from streams.wire import rows
from streams.wire.envelope import MAX_INTEGER, MAX_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.domain.registry import Campaigns
    from streams.web.owners import Owners

TASKS = "/tasks/"
"""What stands before the user's id."""

KNOWN = ("scene", "type", "entry", "at", "locale", "role", "segments", "orders_30d", "hop")
LONGEST_ID = 128
AGAIN_S = 1

_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,4}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refusal(Exception):
    """What was asked cannot be answered; the answer says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Request(NamedTuple):
    """A question that is understood. at_ms None: now."""

    user_id: str
    asking: Asking
    at_ms: int | None
    hopped: bool


class Tasks:
    """The page; see the module."""

    def __init__(  # noqa: PLR0913 - made in surface.py only
        self,
        partitions: int,
        committed: Callable[[int, bytes], bytes | None],
        campaigns: Callable[[], Campaigns],
        owners: Owners,
        now_ms: Callable[[], int],
        *,
        anyone_operates: bool = False,
    ) -> None:
        """committed: a row as of the last commit; raises NotOwned, NotReady, DiskError.

        now_ms: the wall clock, read here and nowhere below (D8). anyone_operates: no token is set
        and only this machine can ask.
        """
        self._partitions, self._committed, self._campaigns = partitions, committed, campaigns
        self._owners, self._now_ms = owners, now_ms
        self._anyone_operates = anyone_operates

    async def __call__(self, question: Question) -> Answer:
        try:
            request = understood(question)
            if request.asking.role == OPERATOR and not (question.operator or self._anyone_operates):
                return refusal(
                    403, "not_operator", "role=operator needs the operator's token",
                    "set web_operator_token_file and bear that token",
                )  # fmt: skip
            return await self._answer(question, request)
        except Refusal as refused:
            return refused.answer

    async def _answer(self, question: Question, request: Request) -> Answer:
        key = request.user_id.encode()
        p = partition_of(key, self._partitions)
        try:
            data = self._committed(p, key)
        except NotOwned:
            return await self._elsewhere(question, request, p)
        except NotReady:
            return _later("restoring", f"partition {p} is being restored")
        except DiskError:
            return _later("disk", f"partition {p} cannot be read; the worker is going to end")
        row = new(request.user_id) if data is None else rows.decode_row(request.user_id, data)
        found = render(row, self._campaigns(), request.asking, request.at_ms, self._now_ms())
        return Answer(200, orjson.dumps(found), headers={"Cache-Control": "no-store"})

    async def _elsewhere(self, question: Question, request: Request, p: int) -> Answer:
        """Send the question to the worker that owns p: once, so that none goes round in circles."""
        if request.hopped:
            return _later("owner_moving", f"partition {p} moved away while you were sent here")
        try:
            address = await self._owners.of(p)
        except CannotTell:
            return _later(
                "owner_unknown",
                f"another worker owns partition {p}, and this broker cannot say which: the "
                "embedded one does not describe groups",
                "ask the other workers, or use a real broker",
            )
        except BrokerLost as lost:
            return _later("broker_lost", f"who owns partition {p} cannot be asked: {lost}")
        if address is None:
            return _later("no_owner", f"nobody owns partition {p} at the moment")
        if not address:
            return _later(
                "owner_without_web",
                f"the worker that owns partition {p} has no web address",
                "set web_port on every worker, and web_advertised where others see it elsewhere",
            )
        query = f"{question.query}&hop=1" if question.query else "hop=1"
        answer = refusal(307, "elsewhere", f"partition {p} is another worker's", "follow Location")
        return answer._replace(headers={"Location": f"{address}{question.path}?{query}"})


def understood(question: Question) -> Request:
    """Return what is asked. Raises Refusal: 400, naming the parameter."""
    given = _parameters(question.query)
    user_id = _decoded(question.path.removeprefix(TASKS), "user_id")
    if not _NAME.fullmatch(user_id):
        _refuse("user_id", f"1 to {LONGEST_ID} characters, no control characters")
    role = given.get("role", USER)
    if role not in (USER, OPERATOR):
        _refuse("role", f"{USER} or {OPERATOR}")
    if given.get("hop", "1") != "1":
        _refuse("hop", "1, and by workers only")
    locale = given.get("locale", "")
    if locale and not _LOCALE.fullmatch(locale):
        _refuse("locale", "a language tag such as zh-CN")
    for name in ("scene", "entry"):
        if name in given and not _NAME.fullmatch(given[name]):
            _refuse(name, f"1 to {LONGEST_ID} characters, no control characters")
    kind = given.get("type")
    if kind is not None and kind not in FEATURES:
        _refuse("type", f"one of {', '.join(FEATURES)}")
    asking = Asking(given.get("scene"), given.get("entry"), locale, role, _context(given), kind)
    at_ms = instant(given["at"]) if "at" in given else None
    return Request(user_id, asking, at_ms, "hop" in given)


def _parameters(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if name not in KNOWN:
            _refuse(_decoded(name, "query")[:LONGEST_ID], f"unknown; known: {', '.join(KNOWN)}")
        if name in given:
            _refuse(name, "given twice")
        given[name] = _decoded(value, name)
    return given


def _context(given: dict[str, str]) -> Context | None:
    """Return what the shop says of its user; None: nothing, so the row's newest word counts."""
    if "segments" not in given and "orders_30d" not in given:
        return None
    segments = orders = None
    if "segments" in given:
        segments = tuple(filter(None, given["segments"].split(",")))
        if len(segments) > MAX_SEGMENTS or not all(map(_NAME.fullmatch, segments)):
            _refuse("segments", f"at most {MAX_SEGMENTS} names with commas between; may be empty")
    if "orders_30d" in given:
        text = given["orders_30d"]
        if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > MAX_INTEGER:
            _refuse("orders_30d", "a whole number, 0 or more")
        orders = int(text)
    return Context(segments, orders)


def instant(text: str) -> int:
    """Return ms since the epoch of an RFC 3339 time with offset. A `+` stands for itself."""
    try:
        at = msgspec.convert(text, datetime).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError):
        at = None
    if at is None or "T" not in text.upper() or not _offset_in(text) or not 2000 <= at.year < 3000:  # noqa: PLR2004 - as in events
        _refuse("at", "RFC 3339 with an offset, such as 2026-03-02T12:00:00%2B08:00")
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _offset_in(text: str) -> bool:
    return re.search(r"(Z|[+-]\d\d:?\d\d)$", text, re.IGNORECASE) is not None


def _decoded(text: str, name: str) -> str:
    """Undo percent-encoding: UTF-8, and nothing left over."""
    if _BAD_PERCENT.search(text):
        _refuse(name, "percent-encoded UTF-8")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:  # of what was encoded, or of half a surrogate pair
        _refuse(name, "percent-encoded UTF-8")


def _refuse(name: str, wanted: str) -> NoReturn:
    raise Refusal(
        refusal(
            400,
            f"bad_{name}" if name in (*KNOWN, "user_id") else "bad_query",
            f"{name}: {wanted}",
            "correct the request",
        )
    )


def _later(code: str, message: str, do: str = "ask again") -> Answer:
    return refusal(503, code, message, do, Retry_After=str(AGAIN_S))
