"""The web surface: this machine only unless told, a token if there is one, nothing of any user."""

from __future__ import annotations

import http.client
import socket

import pytest

from streams import health, settings

TOKEN = "0123456789abcdef-token"  # noqa: S105 - of these tests


def served(token: str | None) -> int:
    return health.serve("127.0.0.1", 0, lambda: {"ok": True, "partitions": [1]}, token)


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


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/", "/tasks/u-1", "/metrics?x=1"])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Basic {TOKEN}", TOKEN, "Bearer \u00e9\u00e9"],
)  # fmt: skip
def test_without_the_token_nothing_is_served(guarded, path, authorization):
    answer, body = ask(guarded, path, authorization)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert body == b"a bearer token is needed\n"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_it_is_served(guarded, scheme):
    assert ask(guarded, "/metrics", f"{scheme} {TOKEN}")[0].status == 200
    assert ask(guarded, "/healthz", f"{scheme} {TOKEN}")[0].status == 200


@pytest.mark.parametrize("path", sorted(health.OPEN))
def test_probes_need_no_token(guarded, path):
    assert ask(guarded, path)[0].status != 401


def test_without_a_token_set_everything_is_open_on_loopback():
    port = served(None)
    assert ask(port, "/healthz")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_get_is_answered(guarded, method):
    assert ask(guarded, "/metrics", f"Bearer {TOKEN}", method)[0].status == 501


def test_the_answer_does_not_say_what_runs_here(guarded):
    assert "Python" not in (ask(guarded, "/healthz")[0].headers["Server"] or "")


def test_the_surface_is_bound_to_this_machine_unless_told():
    found = settings.load(None, {}, {})
    assert (found.web_host, found.web_port) == ("127.0.0.1", None)
    assert health.is_loopback(found.web_host)
    assert not health.is_loopback("0.0.0.0")  # noqa: S104 - the question itself
    assert not health.is_loopback("a.host")


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
    assert ask(guarded, "/healthz", f"Bearer {TOKEN}")[0].status == 200
