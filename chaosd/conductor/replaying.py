"""Sends the originals of a run's dead letters back to where they came from, once everything has come to rest.

Which letters these are is written down before the first is sent: a record that comes in again has no other name in the
journal than the place of its letter. What says of itself that it would fail again (poison) stays where it is.
"""

from __future__ import annotations

from chaosd.conductor.context import Context
from chaosd.traffic.letters import read_letters
from chaosd.traffic.replay import plan, send


async def replay(context: Context) -> int:
    """Gives how many were sent. Raises StackError when Kafka does not take them all."""
    record = context.testbed.record
    bootstrap = context.testbed.stack.endpoints.direct.bootstrap
    names = [topic.name for topic in record.topics if topic.role == "dlq"]
    letters = [letter for name in names for letter in await read_letters(bootstrap, name)]
    planned = await plan(bootstrap, letters, force=False)
    chosen = [one.found for one in planned if one.original is not None]
    context.phase("replay", f"sending {len(chosen)} of {len(letters)} dead letters back")
    context.facts.append(
        "replay_intended",
        durable=True,
        letters=[[one.topic, one.partition, one.offset] for one in chosen],
        left_alone=len(letters) - len(chosen),
    )
    sent = await send(bootstrap, planned, context.experiment.traffic.rate_hz, context.clock, lambda _: None)
    context.facts.append("replay_done", durable=True, sent=sent)
    return sent
