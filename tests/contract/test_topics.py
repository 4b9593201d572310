"""`schemas/topics` against the code that names topics and the schemas that describe them."""

import re

import pytest

from streams import topics

CONSTANTS = {
    topics.ORDERS,
    topics.CLAIMS,
    topics.CANCELLATIONS,
    topics.REWARD_RESULTS,
    topics.TICKS,
    topics.CAMPAIGNS,
    topics.DRAW_REQUESTS,
    topics.DRAW_RESULTS,
    topics.REWARDS,
    topics.LOTTERY_DRAWS,
    topics.TASK_EVENTS,
    topics.NOTIFICATIONS,
    topics.DEAD_LETTERS,
    topics.DECISIONS,
    topics.CHANGELOG,
    topics.JOURNAL,
}
EVERY_TOPIC = pytest.mark.parametrize("topic", topics.registry().values(), ids=lambda t: t.topic)


def test_every_topic_the_code_names_has_a_file_and_the_reverse():
    assert set(topics.registry()) == CONSTANTS


@EVERY_TOPIC
def test_a_topic_name_is_lower_case_words_joined_by_hyphens(topic):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", topic.topic)


@EVERY_TOPIC
def test_a_topic_says_what_it_is_for_and_who_uses_it(topic):
    assert topic.purpose
    assert topic.key
    assert topic.producers
    assert topic.consumers


def test_topics_keyed_by_user_or_pool_all_have_as_many_partitions():
    said = (
        topics.REWARDS,
        topics.LOTTERY_DRAWS,
        topics.TASK_EVENTS,
        topics.CHANGELOG,
        topics.JOURNAL,
    )
    keyed = (*topics.FOLDED, *said)
    assert {topics.registry()[name].partition_count(12) for name in keyed} == {12}


def test_campaigns_have_one_partition_and_the_brokers_time():
    campaigns = topics.registry()[topics.CAMPAIGNS]
    assert campaigns.partition_count(12) == 1
    assert campaigns.configs["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    "name", [*topics.FOLDED, topics.CAMPAIGNS, topics.JOURNAL, topics.REWARDS, topics.LOTTERY_DRAWS]
)
def test_what_a_replay_needs_is_kept_for_ever(name):
    configs = topics.topic_configs(name)
    assert (configs["cleanup.policy"], configs["retention.ms"]) == ("delete", "-1")


@pytest.mark.parametrize("name", topics.FOLDED)
def test_inputs_carry_the_time_their_writer_gave_them(name):
    assert topics.topic_configs(name)["message.timestamp.type"] == "CreateTime"


@pytest.mark.parametrize("name", [*topics.FOLDED, topics.CAMPAIGNS])
def test_whatever_an_input_may_hold_fits_into_a_dead_letter(name):
    largest = int(topics.topic_configs(name)["max.message.bytes"])
    room_for_headers = 1024 * 1024
    dead_letter = int(topics.topic_configs(topics.DEAD_LETTERS)["max.message.bytes"])
    assert dead_letter >= largest + room_for_headers


def test_the_changelog_is_compacted_and_never_expires():
    configs = topics.topic_configs(topics.CHANGELOG)
    assert configs["cleanup.policy"] == "compact"
    assert "retention.ms" not in configs


@EVERY_TOPIC
def test_each_published_version_has_its_schema(topic):
    for version in topic.schemas.versions:
        assert topics.schema_path(topic.topic, version).is_file()


def test_no_schema_is_left_without_a_topic():
    published = {
        topics.schema_path(topic.topic, version)
        for topic in topics.registry().values()
        for version in topic.schemas.versions
    }
    assert set(topics.schemas_dir().glob("*.schema.json")) == published


def test_a_version_never_published_is_refused_by_name():
    with pytest.raises(LookupError, match="orders has no schema version 2"):
        topics.schema_path(topics.ORDERS, 2)


@EVERY_TOPIC
def test_settings_are_texts_as_the_admin_client_wants_them(topic):
    configs = topics.topic_configs(topic.topic)
    assert configs
    assert all(isinstance(value, str) for value in configs.values())


def as_made(name: str, **changed: str) -> dict[str, str]:
    """What a broker says of a topic made from the registry, and of what it was made with."""
    found = {"retention.bytes": "-1", "segment.ms": "604800000", **topics.topic_configs(name)}
    return found | {key.replace("_", "."): value for key, value in changed.items()}


@EVERY_TOPIC
def test_a_topic_made_from_the_registry_fits_it(topic):
    assert topics.unfit(topic.topic, as_made(topic.topic)) == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (topics.ORDERS, {"retention_ms": "604800000"}),
        (topics.ORDERS, {"retention_bytes": "1073741824"}),
        (topics.ORDERS, {"cleanup_policy": "compact"}),
        (topics.ORDERS, {"message_timestamp_type": "LogAppendTime"}),
        (topics.ORDERS, {"max_message_bytes": "1048588"}),
        (topics.CAMPAIGNS, {"message_timestamp_type": "CreateTime"}),
        (topics.CHANGELOG, {"cleanup_policy": "compact,delete"}),
        (topics.CHANGELOG, {"delete_retention_ms": "86400000"}),
        (topics.DEAD_LETTERS, {"retention_ms": "86400000"}),
    ],
)
def test_a_setting_that_loses_something_is_named_with_its_fix(name, changed):
    (said,) = topics.unfit(name, as_made(name, **changed), "shop-")
    ((key, value),) = changed.items()
    key = key.replace("_", ".")
    assert said.startswith(f"shop-{name}: {key} is {value}, must be ")
    assert f"--topic shop-{name} --add-config {key}=" in said


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (topics.DEAD_LETTERS, {"retention_ms": "-1"}),
        (topics.ORDERS, {"max_message_bytes": "20971520"}),
        (topics.CHANGELOG, {"min_cleanable_dirty_ratio": "0.5"}),
        (topics.CHANGELOG, {"retention_ms": "1000"}),
    ],
)
def test_more_than_was_asked_for_and_what_costs_only_time_is_no_difference(name, changed):
    assert topics.unfit(name, as_made(name, **changed)) == []
