"""Which queues Maestro makes: the rules for their names and arguments, kept in this one place. No I/O."""

import struct
from collections.abc import Mapping
from typing import Any

from pika.data import encode_table
from pika.exceptions import AMQPError

from maestro.errors import SpecRefused

DEAD_LETTER_EXCHANGE = "maestro.dlx"
DEAD_LETTER_QUEUE = "maestro.dlq"


def name_flaw(name: str) -> str:
    """Why no automation can have a queue of this name; empty when one can."""
    size = len(name.encode())
    if name.startswith("amq."):
        return "names that begin with amq. are RabbitMQ's own"
    # This name alone and not all of maestro.*: in a namespace called maestro, queues are so named by default.
    if name == DEAD_LETTER_QUEUE:
        return "Maestro keeps dead letters there"
    if size > 255:
        return f"RabbitMQ takes names of 255 bytes at most, this one has {size}"
    return ""


def arguments_flaw(arguments: Mapping[str, Any]) -> str:
    """Why no queue can have these arguments; empty as far as can be told without the broker."""
    # RabbitMQ routes dead letters with Maestro's own rights: another exchange or key would be a way to write
    # into the queues of other namespaces.
    if arguments.get("x-dead-letter-exchange", DEAD_LETTER_EXCHANGE) != DEAD_LETTER_EXCHANGE:
        return f"x-dead-letter-exchange can only be {DEAD_LETTER_EXCHANGE}, or be left out"
    if "x-dead-letter-routing-key" in arguments:
        return "x-dead-letter-routing-key can't be set, since dead letters are told apart by their queue"
    try:
        encode_table([], dict(arguments))
    except (AMQPError, struct.error) as error:
        return f"its arguments can't be sent ({error})"
    return ""


def refuse_unusable(name: str, arguments: Mapping[str, Any]) -> None:
    """Raises SpecRefused for what RabbitMQ would refuse or change, and for what Maestro can't allow."""
    if flaw := name_flaw(name) or arguments_flaw(arguments):
        raise refused(name, flaw)


def refused(name: str, words: str) -> SpecRefused:
    return SpecRefused(
        "QueueRefused",
        f"The queue {name} can't be had: {words}. Delete this Automation and apply it again with a "
        "queueName and queueArguments that can.",
        condition="QueueReady",
    )
