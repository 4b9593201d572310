"""GET /tasks/{user_id}: what is asked is understood or refused, and who answers it.

The page without a socket; what it shows is tests/domain/test_render.py.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import hypothesis
import orjson
import pytest
from hypothesis import strategies as st

from streams.domain.events import Context
from streams.errors import DiskError
from streams.feed.members import address_in, client_id
from streams.feed.ports import BrokerLost, CannotTell, NotOwned, NotReady
from streams.partitioner import partition_of
from streams.settings import Settings
from streams.web.owners import Owners
from streams.web.server import Question
from streams.web.tasks import Refusal, Tasks, instant, understood
from streams.wire import rows
from streams.wire.envelope import MAX_SEGMENTS
from tests.builders import USER, at, campaign, claim, millis, order
from tests.given import given, registry

N = 4
NOW_MS = millis(at(3))


class World:
    """A worker as the page sees it: rows it has, partitions it owns, a group it is in."""

    def __init__(self, *, owned: set[int] | None = None) -> None:
        self.owned = set(range(N)) if owned is None else owned
        self.rows: dict[bytes, bytes] = {}
        self.raises: Exception | None = None
        self.group: dict[int, str] | Exception = {}
        self.asked = self.epoch = 0
        self.campaigns = registry(campaign())
        self.clock_s = 0.0
        self.owners = Owners(self._ask, lambda: self.epoch, lambda: self.clock_s)
        self.page = Tasks(N, self._committed, lambda: self.campaigns, self.owners, lambda: NOW_MS)

    def _committed(self, p: int, key: bytes) -> bytes | None:
        if self.raises is not None:
            raise self.raises
        if p not in self.owned:
            raise NotOwned
        return self.rows.get(key)

    def _ask(self) -> Future[dict[int, str]]:
        self.asked += 1
        answer: Future[dict[int, str]] = Future()
        if isinstance(self.group, Exception):
            answer.set_exception(self.group)
        else:
            answer.set_result(self.group)
        return answer

    def get(self, target: str, *, operator: bool = False) -> Any:
        path, _, query = target.partition("?")

        async def ask() -> Any:
            return await self.page(Question(path, query, "", operator))

        return asyncio.run(ask())

    def code(self, target: str) -> tuple[int, str]:
        answer = self.get(target)
        return answer.status, orjson.loads(answer.body)["code"]


def test_the_committed_row_is_shown():
    world = World()
    state = given(campaign(), [claim(), order("o1")]).state
    world.rows[USER.encode()] = rows.encode_row(state)
    answer = world.get(f"/tasks/{USER}")
    assert answer.status == 200
    (task,) = orjson.loads(answer.body)["tasks"]
    assert (task["state"], task["counted"], task["remaining"]) == ("active", 1, 2)


def test_a_user_of_whom_nothing_is_known_is_offered_what_there_is():
    (task,) = orjson.loads(World().get("/tasks/nobody").body)["tasks"]
    assert task["state"] == "claimable"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/tasks/", "bad_user_id"),
        ("/tasks/%00", "bad_user_id"),
        ("/tasks/%0a", "bad_user_id"),
        ("/tasks/%01pool:wheel", "bad_user_id"),  # the key of a pool's row
        ("/tasks/" + "a" * 129, "bad_user_id"),
        ("/tasks/%ff", "bad_user_id"),
        ("/tasks/%zz", "bad_user_id"),
        ("/tasks/%", "bad_user_id"),
        ("/tasks/u?at=yesterday", "bad_at"),
        ("/tasks/u?at=2026-03-02T12:00:00", "bad_at"),
        ("/tasks/u?at=1767571200000", "bad_at"),
        ("/tasks/u?at=1999-12-31T23:59:59Z", "bad_at"),
        ("/tasks/u?at=", "bad_at"),
        ("/tasks/u?role=admin", "bad_role"),
        ("/tasks/u?scene=", "bad_scene"),
        ("/tasks/u?type=", "bad_type"),
        ("/tasks/u?type=light", "bad_type"),
        ("/tasks/u?entry=%07", "bad_entry"),
        ("/tasks/u?locale=%3Cscript%3E", "bad_locale"),
        ("/tasks/u?orders_30d=-1", "bad_orders_30d"),
        ("/tasks/u?orders_30d=99999999999999999999", "bad_orders_30d"),
        ("/tasks/u?segments=a,%00", "bad_segments"),
        ("/tasks/u?segments=" + ",".join("a" * (MAX_SEGMENTS + 1)), "bad_segments"),
        ("/tasks/u?hop=2", "bad_hop"),
        ("/tasks/u?scene=a&scene=b", "bad_scene"),
        ("/tasks/u?sceen=home", "bad_query"),
        ("/tasks/u?&", "bad_query"),
    ],
)
def test_what_is_not_understood_is_400_and_says_which(target, code):
    assert World().code(target) == (400, code)


@pytest.mark.parametrize(
    ("path", "user_id"),
    [("/tasks/a%2Fb", "a/b"), ("/tasks/a/b", "a/b"), ("/tasks/%E7%94%A8", "用"),
     ("/tasks/a+b", "a+b"), ("/tasks/..%2f..%2fetc", "../../etc"), ("/tasks/%25", "%")],
)  # fmt: skip
def test_a_user_id_is_percent_decoded_and_no_more(path, user_id):
    assert understood(Question(path, "", "", operator=False)).user_id == user_id


def test_a_time_may_have_its_plus_as_it_is():
    wanted = millis(at(1))
    for text in ("2026-03-02T12:00:00+08:00", "2026-03-02T04:00:00Z", "2026-03-02t04:00:00.000z"):
        assert instant(text) == wanted
    found = understood(Question("/tasks/u", "at=2026-03-02T12:00:00+08:00", "", operator=False))
    assert found.at_ms == wanted


@pytest.mark.parametrize(
    ("query", "context"),
    [("", None), ("segments=", Context((), None)), ("segments=a,b", Context(("a", "b"), None)),
     ("orders_30d=0", Context(None, 0)), ("segments=a&orders_30d=2", Context(("a",), 2))],
)  # fmt: skip
def test_what_the_shop_says_of_its_user_is_told_from_what_it_leaves_open(query, context):
    found = understood(Question("/tasks/u", query, "", operator=False))
    assert found.asking.context == context


def test_the_operators_view_needs_the_operators_token():
    world = World()
    assert world.code("/tasks/u?role=operator") == (403, "not_operator")
    assert world.get("/tasks/u?role=operator", operator=True).status == 200


# --- who answers --------------------------------------------------------------------------------

P = partition_of(b"u", N)
ELSEWHERE = "http://other:8080"


def without_p(group: dict[int, str] | Exception) -> World:
    world = World(owned=set(range(N)) - {P})
    world.group = group
    return world


def test_another_workers_user_is_sent_to_it_with_all_that_was_asked():
    world = without_p({P: ELSEWHERE})
    answer = world.get("/tasks/u?scene=home")
    assert answer.status == 307
    assert answer.headers["Location"] == f"{ELSEWHERE}/tasks/u?scene=home&hop=1"
    assert world.get("/tasks/u").headers["Location"] == f"{ELSEWHERE}/tasks/u?hop=1"


def test_who_was_sent_already_is_not_sent_again():
    world = without_p({P: ELSEWHERE})
    assert world.code("/tasks/u?hop=1") == (503, "owner_moving")
    assert world.get("/tasks/u?hop=1").headers["Retry-After"] == "1"
    assert world.asked == 0


@pytest.mark.parametrize(
    ("group", "code"),
    [({}, "no_owner"), ({P: ""}, "owner_without_web"), (CannotTell(), "owner_unknown"),
     (BrokerLost("away"), "broker_lost")],
)  # fmt: skip
def test_where_nobody_can_be_named_it_is_503_with_the_reason(group, code):
    world = without_p(group)
    assert world.code("/tasks/u") == (503, code)
    assert world.get("/tasks/u").headers["Retry-After"] == "1"


@pytest.mark.parametrize(("error", "code"), [(NotReady(), "restoring"), (DiskError("x"), "disk")])
def test_a_partition_that_cannot_be_read_now_is_503(error, code):
    world = World()
    world.raises = error
    assert world.code("/tasks/u") == (503, code)


def test_owners_are_asked_for_once_in_a_while_and_after_every_rebalance_of_ours():
    world = without_p({P: ELSEWHERE})
    for _ in range(5):
        world.get("/tasks/u")
    assert world.asked == 1
    world.epoch += 1
    world.get("/tasks/u")
    assert world.asked == 2
    world.clock_s += 10
    world.get("/tasks/u")
    assert world.asked == 3


def test_many_who_wait_share_one_question():
    world = without_p({P: ELSEWHERE})

    async def all_at_once() -> list[Any]:
        question = Question("/tasks/u", "", "", operator=False)
        return await asyncio.gather(*(world.page(question) for _ in range(20)))

    assert {answer.status for answer in asyncio.run(all_at_once())} == {307}
    assert world.asked == 1


def test_a_failed_question_is_asked_again():
    world = without_p(BrokerLost("away"))
    world.code("/tasks/u")
    world.group = {P: ELSEWHERE}
    assert world.get("/tasks/u").status == 307


def test_a_worker_says_its_address_in_its_client_id():
    settings = Settings(instance="leidan@7")
    assert address_in(client_id(settings, "http://a:80")) == "http://a:80"
    assert address_in(client_id(settings, "")) == ""
    assert address_in("some-consumer@home") == ""


# --- hostile ------------------------------------------------------------------------------------

TARGETS = st.one_of(
    st.text(max_size=60),
    st.builds("/tasks/{}".format, st.text(max_size=40)),
    st.builds(
        "/tasks/u?{}={}".format,
        st.sampled_from(
            ["at", "segments", "orders_30d", "role", "locale", "scene", "type", "hop", "x"]
        ),
        st.text(max_size=40),
    ),
    st.builds(
        "/tasks/u?at={}".format,
        st.from_regex(r"[0-9+:TZ.%-]{0,30}", fullmatch=True),
    ),
)


@hypothesis.given(TARGETS)
def test_whatever_is_asked_is_answered_and_never_with_500(target):
    answer = PAGE.get(target)
    assert answer.status in {200, 400, 403}
    assert set(orjson.loads(answer.body)) >= {"tasks"} or answer.status != 200


PAGE = World()


def test_a_refusal_carries_its_answer():
    with pytest.raises(Refusal) as refused:
        understood(Question("/tasks/u", "at=x", "", operator=False))
    assert refused.value.answer.status == 400
