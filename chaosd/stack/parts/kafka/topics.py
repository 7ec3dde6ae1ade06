"""Topics as a broker makes and deletes them, in words of its own: settings included, and with the answer's error codes.

Message formats: kafka.apache.org/protocol, in their last non-flexible versions. All of it raises NotReady, OSError or
TimeoutError while the broker cannot be asked, and Refused when it says no. A broker hands both on to the controller,
whose answer holds although the other brokers learn of it a moment later.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from chaosd.stack.address import Address
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import protocol
from chaosd.stack.parts.kafka.admin import UNKNOWN_TOPIC, Refused
from chaosd.stack.parts.kafka.protocol import array, call, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIST_OFFSETS, _CREATE, _DELETE, _DESCRIBE_CONFIGS = 2, 19, 20, 32
_TOPIC = 2  # a resource of the kind topic
_OWN = 1  # a setting that was made on the topic itself
_LATEST = -1
_EXISTS = 36
_CALL_S = 5.0


async def settings(address: Address, topic: str) -> dict[str, str]:
    """The settings that were made on a topic itself, those of the broker left out."""
    body = array([struct.pack(">b", _TOPIC) + text(topic) + struct.pack(">i", -1)]) + b"\0"
    answer = await call(address, _DESCRIBE_CONFIGS, 1, body, _CALL_S)
    answer.take("i")
    found = {}
    for _ in answer.count():
        _told(f"to tell the settings of {topic}", answer.take("h"), answer.text())
        answer.take("b")
        answer.text()
        for _ in answer.count():
            name, value, _, source, _ = (
                answer.text(), answer.text(), answer.take("b"), answer.take("b"), answer.take("b"),
            )  # fmt: skip
            if source == _OWN:
                found[name] = value
            for _ in answer.count():
                answer.text(), answer.text(), answer.take("b")
    return found


async def ends(address: Address, topic: str) -> list[int]:
    """The end offset of each partition of a topic, each asked of its leader."""
    told = await protocol.metadata(address)
    found = []
    for number, partition in sorted(told.partitions.get(topic, {}).items()):
        if partition.leader not in told.brokers:
            raise NotReady(f"partition {number} of {topic} has no leader")
        wish = array([text(topic) + array([struct.pack(">iq", number, _LATEST)])])
        answer = await call(
            Address(*told.brokers[partition.leader]), _LIST_OFFSETS, 1, struct.pack(">i", -1) + wish, _CALL_S
        )
        for _ in answer.count():
            answer.text()
            for _ in answer.count():
                answer.take("i")
                _told(f"to tell the end of {topic}/{number}", answer.take("h"))
                answer.take("q")
                found.append(answer.take("q"))
    return found


async def create(address: Address, topic: str, partitions: int, copies: int, own: Mapping[str, str]) -> bool:
    """Make a topic with these settings of its own; False where it is there already, made by whomever."""
    configs = array([text(name) + text(value) for name, value in own.items()])
    wanted = text(topic) + struct.pack(">ih", partitions, copies) + array([]) + configs
    body = array([wanted]) + struct.pack(">ib", round(_CALL_S * 1_000), 0)
    answer = await call(address, _CREATE, 2, body, _CALL_S)
    answer.take("i")
    made = False
    for _ in answer.count():
        answer.text()
        code, why = answer.take("h"), answer.text()
        made = not code
        if code != _EXISTS:
            _told(f"to make {topic}", code, why)
    return made


async def delete(address: Address, topic: str) -> None:
    """Delete a topic with all its records. One that is not there is fine."""
    answer = await call(address, _DELETE, 1, array([text(topic)]) + struct.pack(">i", round(_CALL_S * 1_000)), _CALL_S)
    answer.take("i")
    for _ in answer.count():
        answer.text()
        code = answer.take("h")
        if code != UNKNOWN_TOPIC:
            _told(f"to delete {topic}", code)


def _told(what: str, code: int, why: str = "") -> None:
    if code:
        raise Refused(what, code, why)
