"""Settings: defaults < file < environment < flags; what is wrong is named with what to do."""

from __future__ import annotations

import pytest

from streams import settings
from streams.errors import UsageError


def load(config=None, flags=None, **environ):
    return settings.load(config, flags, environ)


def test_defaults_are_those_of_the_documents():
    s = load()
    assert (s.app_id, s.group, s.instance) == ("leidan", "leidan-fold", "leidan-0")
    assert (s.transaction_timeout_ms, s.session_timeout_ms, s.batch_records) == (
        15_000,
        10_000,
        24_000,
    )
    assert s.database_dir.parts == ("state", "leidan-0", "users")
    assert (s.dead_letter_budget, s.embedded, s.web_port) == (True, False, None)


def test_flags_win_over_environment_over_file(tmp_path):
    file = tmp_path / "leidan.toml"
    file.write_text('instance = "file"\nbatch_records = 1\n[kafka]\nbootstrap_servers = "f:1"\n')
    s = load(file, {"instance": "flag"}, LEIDAN_INSTANCE="env", LEIDAN_BATCH_RECORDS="2")
    assert (s.instance, s.batch_records, s.kafka.bootstrap_servers) == ("flag", 2, "f:1")


def test_nested_names_are_joined_by_two_underscores():
    s = load(LEIDAN_KAFKA__BOOTSTRAP_SERVERS="b:2", LEIDAN_KAFKA__CLIENT__FETCH_MIN_BYTES="5")
    assert s.kafka.bootstrap_servers == "b:2"
    assert s.kafka.client == {"fetch.min.bytes": "5"}


TLS = {"LEIDAN_KAFKA__CLIENT__SECURITY_PROTOCOL": "ssl"}


def test_secrets_come_from_files(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hush\n")
    s = load(LEIDAN_KAFKA__CLIENT__SSL_KEY_PASSWORD_FILE=str(secret), **TLS)
    assert s.kafka.client["ssl.key.password"] == "hush"


def test_several_campaign_files_fit_into_one_variable():
    assert load(LEIDAN_CAMPAIGN_FILES="a.json:b.json").campaign_files == ("a.json", "b.json")


def test_flags_not_given_do_not_hide_the_rest():
    s = load(None, {"instance": None, "kafka": {"topic_prefix": None}}, LEIDAN_INSTANCE="env")
    assert s.instance == "env"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch_record": 1}, "did you mean batch_records?"),
        ({"kafka": {"bootstrap": "x"}}, "unknown setting kafka.bootstrap"),
        ({"batch_records": "many"}, "batch_records: Expected `int`"),
        ({"batch_records": 0}, "1..100000"),
        ({"instance": "a/b"}, "directory name"),
        ({"kafka": {"client": {"partitioner": "x"}}}, "kafka.client.partitioner: fixed"),
        ({"kafka": {"client": {"isolation.level": "x"}}}, "kafka.client.isolation.level: fixed"),
        ({"kafka": "x"}, "kafka is a section"),
    ],
)
def test_what_is_wrong_is_named(flags, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?").replace(".", r"\.")):
        load(None, flags)


@pytest.mark.parametrize("key", sorted(settings.FIXED_CLIENT_KEYS))
def test_every_fixed_client_key_is_refused_with_its_reason(key):
    with pytest.raises(UsageError, match="remove it"):
        load(None, {"kafka": {"client": {key: "x"}}})


def test_an_unknown_variable_of_ours_is_an_error():
    with pytest.raises(
        UsageError, match="environment: unknown setting instanze; did you mean instance"
    ):
        load(LEIDAN_INSTANZE="x")


def test_fault_injection_is_no_setting():
    assert load(LEIDAN_KILL="K6:1", LEIDAN_REQUIRE="kafka") == load()


@pytest.mark.parametrize("text", ["instance = ", "\xff"])
def test_a_broken_file_is_named(tmp_path, text):
    file = tmp_path / "leidan.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"leidan\.toml"):
        load(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        load(tmp_path / "nowhere.toml")
