"""The web surface: this machine only unless told, a token if there is one, two of them."""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from streams import settings
from streams.settings import Settings
from streams.web import server, surface
from streams.web.pages import pages

TOKEN = "0123456789abcdef-token"  # noqa: S105 - of these tests
OPERATORS = "fedcba9876543210-operator"


async def who(question: server.Question) -> server.Answer:
    return server.Answer(200, b"operator" if question.operator else b"user")


def served(token: str | None) -> int:
    listening = server.bind("127.0.0.1", 0)
    said = pages(lambda: server.Answer(200, b"live"), lambda: server.Answer(503, b"ready"), who)
    server.serve(listening, said, server.Tokens(token, OPERATORS))
    return listening.getsockname()[1]


@pytest.fixture(scope="module")
def guarded() -> int:
    return served(TOKEN)


def ask(port: int, path: str, authorization: str | None = None, method: str = "GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize("path", ["/metrics", "/", "/tasks/u-1", "/metrics?x=1"])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Basic {TOKEN}", TOKEN, "Bearer \u00e9\u00e9"],
)  # fmt: skip
def test_without_the_token_nothing_is_served(guarded, path, authorization):
    answer, body = ask(guarded, path, authorization)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert json.loads(body)["code"] == "no_token"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_it_is_served(guarded, scheme):
    assert ask(guarded, "/metrics", f"{scheme} {TOKEN}")[0].status == 200
    assert ask(guarded, "/tasks/u-1", f"{scheme} {TOKEN}")[0].status == 200


def test_an_operator_is_who_bears_that_token_and_it_opens_everything(guarded):
    assert ask(guarded, "/tasks/u-1", f"Bearer {OPERATORS}")[1] == b"operator"
    assert ask(guarded, "/tasks/u-1", f"Bearer {TOKEN}")[1] == b"user"
    assert ask(guarded, "/metrics", f"Bearer {OPERATORS}")[0].status == 200


def test_probes_need_no_token(guarded):
    assert {"/livez", "/readyz"} == server.OPEN
    live, body = ask(guarded, "/livez")
    assert (live.status, body) == (200, b"live")
    ready, body = ask(guarded, "/readyz")
    assert (ready.status, body) == (503, b"ready")


def test_without_a_token_set_everything_is_open_on_loopback():
    port = served(None)
    assert ask(port, "/livez")[0].status == 200
    assert ask(port, "/tasks/u-1")[1] == b"user"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_get_is_answered(guarded, method):
    answer, _ = ask(guarded, "/metrics", f"Bearer {TOKEN}", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/", "/tasks", "/metrics/", "/nowhere", "/..", "//"])
def test_what_is_not_there_is_404_as_json(guarded, path):
    answer, body = ask(guarded, path, f"Bearer {TOKEN}")
    assert answer.status == 404
    assert set(json.loads(body)) == {"code", "message", "do"}


def test_a_connection_serves_many_requests(guarded):
    connection = http.client.HTTPConnection("127.0.0.1", guarded, timeout=10)
    for _ in range(3):
        connection.request("GET", "/livez", headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert connection.sock is not None, "kept alive"
    connection.close()


def test_a_client_that_says_nothing_is_sent_away(monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.1)
    port = served(None)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
        silent.sendall(b"GET /heal")
        assert silent.recv(100) == b""


def test_more_connections_than_allowed_are_closed_and_those_before_are_served(monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    port = served(None)
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(2)]
    for connection in kept:
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as third:
        assert third.recv(100) == b""
    kept[0].request("GET", "/livez")
    assert kept[0].getresponse().status == 200
    for connection in kept:
        connection.close()


def test_our_own_error_is_500_without_its_words():
    async def broken(_question):
        raise RuntimeError("a secret of the row")

    listening = server.bind("127.0.0.1", 0)
    server.serve(listening, broken, server.Tokens())
    answer, body = ask(listening.getsockname()[1], "/")
    assert answer.status == 500
    assert b"secret" not in body


def test_the_answer_does_not_say_what_runs_here(guarded):
    assert ask(guarded, "/livez")[0].headers["Server"] == "leidan"


def test_the_surface_is_bound_to_this_machine_unless_told():
    found = settings.load(None, {}, {})
    assert (found.web_host, found.web_port) == ("127.0.0.1", None)
    assert server.is_loopback(found.web_host)
    assert not server.is_loopback("0.0.0.0")  # noqa: S104 - the question itself
    assert not server.is_loopback("a.host")


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", socket.gethostname()),
                        ("0.0.0.0", socket.gethostname())],  # noqa: S104 - never shown
)  # fmt: skip
def test_others_are_sent_to_an_address_they_can_reach(host, shown):
    with server.bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        found = surface.address(Settings(web_host=host, web_port=port), listening)
    assert found == f"http://{shown}:{port}"


@pytest.mark.parametrize(
    "sent", [b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
             b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
             b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_a_request_that_is_none_is_refused_and_the_next_is_served(guarded, sent):
    with socket.create_connection(("127.0.0.1", guarded), timeout=10) as raw:
        raw.sendall(sent)
        first = raw.recv(4_096)
    assert b" 200 " not in first
    assert b"aiohttp" not in first
    assert b"Traceback" not in first
    assert ask(guarded, "/livez", f"Bearer {TOKEN}")[0].status == 200
