"""Secrets are read from files and variables and shown nowhere; half a security is refused."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from streams import app, connect, logs, settings
from streams.cli import run
from streams.errors import UsageError
from streams.feed import client
from streams.settings import FIXED_CLIENT_KEYS, HIDDEN, SECRETS, redacted
from streams.web import server
from tests.security.secured import KEY_PASSWORD, authority, certificate

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hush-hush-0123456789"  # noqa: S105 - of these tests
SASL = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "SCRAM-SHA-256",
    "sasl.username": "u",
    "sasl.password": SECRET,
}


def loaded(client_settings, **others):
    return settings.load(None, {"kafka": {"client": client_settings}, **others}, {})


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def test_a_secret_in_toml_may_be_the_name_of_a_file(tmp_path, secret_file):
    config = tmp_path / "leidan.toml"
    config.write_text(
        f"""
web_token_file = "{secret_file}"
[kafka.client]
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "u"
"sasl.password_file" = "{secret_file}"
"""
    )
    found = settings.load(config, {}, {})
    assert (found.web_token, found.kafka.client["sasl.password"]) == (SECRET, SECRET)


def test_the_settings_shown_to_operators_are_clear(tmp_path, secret_file):
    text = (ROOT / "deploy" / "SECURITY.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    config = tmp_path / "leidan.toml"
    config.write_text(re.sub(r"/run/secrets/[\w-]+", str(secret_file), block))
    found = settings.load(config, {}, {})
    assert (found.web_token, found.kafka.client["sasl.password"]) == (SECRET, SECRET)


def test_every_setting_of_security_is_explained_to_operators():
    text = (ROOT / "deploy" / "SECURITY.md").read_text()
    for word in (*SECRETS - {"sasl.oauthbearer.client.secret"}, *settings.PROTOCOLS):
        assert f"`{word}`" in text
    for word in (*settings.MECHANISMS, *server.OPEN, "web_host"):
        assert f"`{word}`" in text


def test_a_secret_may_be_a_variable_or_the_name_of_a_file_in_one(secret_file):
    for given in ({"LEIDAN_WEB_TOKEN": SECRET}, {"LEIDAN_WEB_TOKEN_FILE": str(secret_file)}):
        assert settings.load(None, {}, given).web_token == SECRET


def test_settings_show_no_secret(secret_file):
    found = loaded(SASL, web_token_file=str(secret_file))
    for shown in (repr(found), str(found), f"{found.kafka}", repr([found])):
        assert SECRET not in shown
        assert HIDDEN in shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_logged_or_printed_has_no_secret_in_it(form, capsys):
    loaded(SASL)
    logs.to_stderr("info", form)
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("leidan").exception("it was %s", SECRET)
    shown = capsys.readouterr().err
    assert SECRET not in shown
    assert shown.count(HIDDEN) == 2
    assert redacted(f"a {SECRET} b") == f"a {HIDDEN} b"


@pytest.mark.parametrize("key", sorted(SECRETS))
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(key, capsys):
    name = key if key == "web_token" else f"kafka.client.{key}"
    assert run(["worker", "--set", f"{name}=not-said-before-{SECRET}"]) == 2
    shown = capsys.readouterr()
    assert "_file" in shown.err
    assert SECRET not in shown.err + shown.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"security.protocol": "tls"}, "security.protocol: none of"),
        ({"security.protocol": "plaintext"}, "without effect"),
        ({"security.protocol": "ssl"}, "without effect"),
        ({"sasl.mechanism": "GSSAPI"}, "sasl.mechanism: none of"),
        ({"sasl.username": ""}, "sasl.username: missing"),
        ({"sasl.password": ""}, "sasl.password: missing"),
        ({"enable.ssl.certificate.verification": False}, "not verified"),
        ({"ssl.endpoint.identification.algorithm": "none"}, "must name the broker"),
        ({"ssl.keystore.location": "x.p12"}, "ssl.certificate.location"),
    ],
)
def test_a_security_that_would_not_hold_is_refused(changes, said):
    with pytest.raises(UsageError, match=said) as refused:
        loaded(SASL | changes)
    assert SECRET not in str(refused.value)


def test_every_client_of_librdkafka_begins_with_the_same_security():
    found = loaded(SASL)
    for config in (client.common(found), client.consumer(found)):
        assert connect.security(config) == SASL
    assert not SASL.keys() & FIXED_CLIENT_KEYS.keys()


def test_faust_gets_the_same_credentials_and_verifies_as_strictly(tmp_path):
    authority(tmp_path, "ca")
    certificate(tmp_path, "client", KEY_PASSWORD)
    found = loaded(
        SASL
        | {
            "ssl.ca.location": str(tmp_path / "ca.pem"),
            "ssl.certificate.location": str(tmp_path / "client.pem"),
            "ssl.key.location": str(tmp_path / "client.key"),
            "ssl.key.password": KEY_PASSWORD,
        }
    )
    credentials = app._credentials(found)  # noqa: SLF001 - what Faust is given
    assert (credentials.username, credentials.password) == ("u", SECRET)
    assert credentials.mechanism.value == "SCRAM-SHA-256"
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.ssl_context.check_hostname
    assert [c["subject"] for c in credentials.ssl_context.get_ca_certs()] == [
        ((("commonName", "ca"),),)
    ]
    assert SECRET not in repr(credentials)


def test_a_key_that_needs_a_password_is_refused_and_nobody_is_asked(tmp_path):
    authority(tmp_path, "ca")
    certificate(tmp_path, "client", KEY_PASSWORD)
    given = {
        "security.protocol": "ssl",
        "ssl.certificate.location": str(tmp_path / "client.pem"),
        "ssl.key.location": str(tmp_path / "client.key"),
    }
    with pytest.raises(UsageError, match="ssl"):
        connect.tls_context(loaded(given).kafka.client)


@pytest.mark.parametrize("token", ["", "short", "line\nfeed-0123456789", "é" * 20])
def test_a_token_that_protects_nothing_is_refused_and_not_repeated(token):
    with pytest.raises(UsageError, match="web_token") as refused:
        settings.load(None, {"web_token": token}, {})
    assert not token or token not in str(refused.value)
