"""Who owns which partition, as the group's coordinator knows it, and where to ask them.

Each worker says its web address in the client id of the group's consumer: `<instance>@<address>`.
A static member that comes back within its session keeps the client id it joined with (Kafka 4.1:
`ClassicGroup.replaceStaticMember`), so the address of an instance must not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.feed import client
from streams.feed.ports import BrokerLost, CannotTell

if TYPE_CHECKING:
    from streams.settings import Settings

ANSWER_S = 3.0


def client_id(settings: Settings, address: str) -> str:
    """Return what a member of the group is called; an empty address is said by silence."""
    return f"{settings.instance}@{address}" if address else settings.instance


class Members:
    """Asks the broker; blocks, so call it in a thread of its own."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """topic: any that every worker reads, on the broker's name for it."""
        self._settings, self._topic = settings, topic
        self._admin: Any = None

    def owners(self) -> dict[int, str]:
        """Return address by partition, "" for a worker without; none while the group rebalances.

        Raises CannotTell, BrokerLost.
        """
        if self._admin is None:
            self._admin = AdminClient(client.common(self._settings))
        group = self._settings.group
        try:
            asked = self._admin.describe_consumer_groups([group], request_timeout=ANSWER_S)
            found = asked[group].result(ANSWER_S + 1)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001
                raise CannotTell from error
            raise BrokerLost(error.args[0].str()) from error
        except TimeoutError as error:
            raise BrokerLost("no answer") from error
        return {
            tp.partition: address_in(member.client_id)
            for member in found.members
            for tp in (member.assignment.topic_partitions if member.assignment else ())
            if tp.topic == self._topic
        }


def address_in(client_id_: str) -> str:
    address = client_id_.rpartition("@")[2]
    return address if address.startswith(("http://", "https://")) else ""
