"""The canaries' own small protocols: answers cut anywhere, outcomes by socket error, the login by password."""

from __future__ import annotations

import base64
import struct

import pytest

from chaosd.journal.columns import ProbeOutcome
from chaosd.testbed import tongues
from chaosd.testbed.scram import Scram
from chaosd.testbed.wire import classify

KAFKA_OK = struct.pack(">iihi", 10, 1, 0, 0)
KAFKA_ERROR = struct.pack(">iihi", 10, 1, 35, 0)
READY = b"Z\0\0\0\5I"


@pytest.mark.parametrize(
    ("exchange", "answer", "well"),
    [
        (tongues.redis().ping, b"+PONG\r\n", True),
        (tongues.redis().ping, b"-LOADING Redis is loading\r\n", False),
        (tongues.redis().up(10), b":0\r\n", True),
        (tongues.redis().down(5), b"$5\r\nxxxxx\r\n", True),
        (tongues.kafka().ping, KAFKA_OK, True),
        (tongues.kafka().ping, KAFKA_ERROR, False),
        (tongues.kafka().up(40_000), KAFKA_OK * 2, True),
        (tongues.kafka().up(40_000), KAFKA_ERROR + KAFKA_OK, False),
        (tongues.postgres("u", "p", "d").ping, b"I\0\0\0\4" + READY, True),
        (tongues.postgres("u", "p", "d").ping, b"E\0\0\0\6x\0" + READY, False),
    ],
)
def test_answer_is_whole_at_its_last_byte_and_not_before(exchange, answer, well):
    assert [exchange.step(bytearray(answer[:length])) for length in range(len(answer))] == [None] * len(answer)
    assert exchange.step(bytearray(answer)) is well


@pytest.mark.parametrize("tongue", [tongues.redis(), tongues.kafka(), tongues.postgres("u", "p", "d")])
def test_bulk_requests_are_large_in_their_direction_only(tongue):
    assert len(tongue.up(50_000).request) >= 50_000
    assert len(tongue.down(50_000).request) < 5_000


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ProbeOutcome.EOF),
        (TimeoutError(), ProbeOutcome.TIMEOUT),
        (ConnectionRefusedError(), ProbeOutcome.REFUSED),
        (ConnectionResetError(), ProbeOutcome.RESET),
        (BrokenPipeError(), ProbeOutcome.RESET),
        (OSError(), ProbeOutcome.ERROR),
    ],
)
def test_every_end_of_a_connection_has_its_outcome(error, outcome):
    assert classify(error) is outcome


def _asks(kind: int, data: bytes) -> bytearray:
    return bytearray(b"R" + struct.pack(">ii", len(data) + 8, kind) + data)


def test_scram_proof_is_the_one_of_rfc_7677():
    """RFC 7677, section 3, but that PostgreSQL wants the user's name left empty: hence the nonce alone is given."""
    scram = Scram("pencil")
    scram._first = b"n=user,r=rOprNGfwEbeRWgbNEkqO"
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    said = scram.next(_asks(11, first))
    assert said is not None
    assert said.endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert said[5:].startswith(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")


def test_server_that_wants_the_password_in_clear_gets_it():
    assert Scram("secret").next(_asks(3, b"")) == b"p\0\0\0\x0bsecret\0"


def test_server_that_offers_scram_gets_a_fresh_nonce():
    offers = _asks(10, b"SCRAM-SHA-256\0\0")
    one, two = Scram("x").next(offers), Scram("x").next(offers)
    assert one is not None
    assert one[5:].startswith(b"SCRAM-SHA-256\0")
    assert one != two
    assert len(base64.b64decode(one.rpartition(b"r=")[2])) == 18


@pytest.mark.parametrize("answer", [_asks(0, b""), bytearray(b"S\0\0\0\6a\0"), _asks(5, b"salt")])
def test_nothing_is_said_to_what_is_no_demand_or_not_known(answer):
    assert Scram("x").next(answer) is None
