"""Sends dead letters back to where their originals came from: same key, same value, same headers, and a mark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chaosd.kernel.clock import SECOND, Clock
from chaosd.kernel.errors import StackError
from chaosd.traffic.letters import Found, Original, read_originals

# How often the record was replayed, and from which dead letter: whoever meets it again can tell.
HEADER_COUNT = "chaosd-replay"
HEADER_FROM = "chaosd-replayed-from"
_START_S = 10.0
_RESULT_S = 60.0


@dataclass(frozen=True, slots=True)
class Replay:
    """One record to be sent again, or, with `why_not`, the reason for leaving it alone."""

    found: Found
    topic: str = ""
    partition: int = -1
    original: Original | None = None
    why_not: str = ""


async def plan(bootstrap: str, letters: Sequence[Found], *, force: bool) -> list[Replay]:
    """What would be sent for each letter. `force`: also for those that are called hopeless or were replayed before.

    The original is read from its own topic where it still is; else the letter's copy is used if it is exact.
    """
    originals = await read_originals(bootstrap, [found.letter for found in letters if found.letter is not None])
    return [_plan(found, originals, force=force) for found in letters]


def _plan(found: Found, originals: dict[tuple[str, int, int], Original], *, force: bool) -> Replay:
    letter = found.letter
    if letter is None:
        return Replay(found, why_not="it is in no dialect that chaosd reads")
    if not letter.topic:
        return Replay(found, why_not="it does not say which topic its original was in")
    original = originals.get((letter.topic, letter.partition, letter.offset))
    if original is None and not letter.exact:
        return Replay(found, why_not="its original is no longer in its topic, and the letter's copy may not be exact")
    original = original or Original(letter.key, letter.value, letter.headers)
    if not force and not letter.may_replay:
        return Replay(found, why_not="it says that the same record would fail again")
    if not force and replays(original):
        return Replay(found, why_not="it was replayed before, and failed again")
    return Replay(found, letter.topic, letter.partition, original)


def replays(original: Original) -> int:
    """How often a record was replayed already."""
    count = dict(original.headers).get(HEADER_COUNT, b"0")
    return int(count) if count.isdigit() else 1


def marked(replay: Replay) -> tuple[tuple[str, bytes], ...]:
    """The original's headers, with the marks of this replay instead of an earlier one's."""
    if replay.original is None:
        raise ValueError(replay.why_not)
    found = replay.found
    kept = [(name, value) for name, value in replay.original.headers if name not in (HEADER_COUNT, HEADER_FROM)]
    place = f"{found.topic}/{found.partition}/{found.offset}"
    return (*kept, (HEADER_COUNT, b"%d" % (replays(replay.original) + 1)), (HEADER_FROM, place.encode()))


async def send(
    bootstrap: str, replays: Sequence[Replay], rate_hz: float, clock: Clock, on_sent: Callable[[int], None]
) -> int:
    """Send what can be sent, at most `rate_hz` a second, each acknowledged by all replicas; gives how many were.

    One after the other, so that the order of the letters is kept. Raises StackError at the first that is not
    acknowledged; those before it are.
    """
    ready = [replay for replay in replays if replay.original is not None]
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, client_id="chaosd-replay", acks="all", enable_idempotence=True
    )
    sent = 0
    try:
        async with asyncio.timeout(_START_S):
            await producer.start()
        begin_ns = clock.now_ns()
        for number, replay in enumerate(ready):
            due_ns = begin_ns + round(number / rate_hz * SECOND)
            await asyncio.sleep(max(0.0, (due_ns - clock.now_ns()) / SECOND))
            async with asyncio.timeout(_RESULT_S):
                await _send_one(producer, replay)
            sent += 1
            on_sent(sent)
    except (KafkaError, OSError, TimeoutError) as error:
        raise StackError(
            f"{sent} of {len(ready)} letters were replayed, then Kafka on {bootstrap} did not confirm one: "
            f"{type(error).__name__} {error}".rstrip(),
            remedy=f"replay the rest when it is well; what arrived carries the header {HEADER_FROM}",
        ) from error
    finally:
        await producer.stop()
    return sent


async def _send_one(producer: AIOKafkaProducer, replay: Replay) -> None:
    if replay.original is None:
        return
    # The original's own partition, so that whatever shares its key stays in order; one that is gone is chosen anew.
    there = await producer.partitions_for(replay.topic)
    await producer.send_and_wait(
        replay.topic,
        replay.original.value,
        key=replay.original.key,
        partition=replay.partition if replay.partition in there else None,
        headers=list(marked(replay)),
    )
