"""The broker of T4, for the benchmark's smoke run."""

from tests.kafka.conftest import broker, kafka_jars  # noqa: F401 - fixtures
