"""Proves that nothing more can come, so that absence may be called loss.

Definitions: docs/verification.md, "Drain". Positions and commits are read from Kafka by the tap; this room only decides
when to go on waiting, and writes down what was proved for which input partition and what was not.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chaosd.conductor.context import Context
from chaosd.conductor.instruments import Instruments
from chaosd.conductor.replaying import replay
from chaosd.conductor.traffic import Schedule
from chaosd.kernel.clock import MS, SECOND

LIMIT_NS = 60 * SECOND
_QUIET_NS = 2 * SECOND
# Without a commit or a new result for this long beyond the recovery limit there is nothing to wait for: STUCK.
_STILL_NS = 5 * SECOND
_STUCK_NS = 10 * SECOND
_STEP_S = 0.05
# The generator's delivery time-out is 40 s; then every send has an outcome.
_RESOLVE_S = 45.0
_FRESH_READ_S = 60.0


async def drain(
    context: Context, instruments: Instruments, schedule: Schedule, *, fence: bool, limit_ns: int = LIMIT_NS
) -> None:
    """End the traffic and wait until every input partition is drained, or the limit passes; then read all afresh."""
    context.phase("drain", "the traffic has ended; waiting until nothing more can come")
    started_ns = context.clock.now_ns()
    ended = await _end_traffic(context, instruments, schedule, fence=fence, limit_ns=limit_ns)
    sent_ns = context.clock.now_ns()
    pipeline, commits = context.experiment.pipeline, bool(context.testbed.record.group)
    asked_ns = (pipeline.quiet_ns or 0) if pipeline is not None else 0
    until_ns = started_ns + limit_ns
    quiet_from_ns = await settle(context, instruments, sent_ns, until_ns, commits=commits, asked_ns=asked_ns)
    if fence and quiet_from_ns is not None and context.experiment.replay is not None:
        # Only now is it known which letters there are. What they bring is waited for as everything else was.
        await replay(context)
        sent_ns = context.clock.now_ns()
        until_ns = sent_ns + limit_ns
        quiet_from_ns = await settle(context, instruments, sent_ns, until_ns, commits=commits, asked_ns=asked_ns)
    ended_ns = context.clock.now_ns()
    if quiet_from_ns is not None:
        context.facts.append("quiet", from_ns=quiet_from_ns, until_ns=ended_ns)
    context.facts.append(
        "drain",
        durable=True,
        limit_ns=limit_ns,
        started_ns=started_ns,
        ended_ns=ended_ns,
        partitions=proofs(
            instruments.tap.last,
            ended,
            sent_ns,
            quiet=quiet_from_ns is not None,
            commits=commits,
        ),
    )
    await _fresh_read(context, instruments)


async def _end_traffic(
    context: Context, instruments: Instruments, schedule: Schedule, *, fence: bool, limit_ns: int
) -> dict[str, Any] | None:
    """Gives the generator's last word: every send has its outcome then. None when it died or did not end in time."""
    if fence and instruments.generator.alive:
        await schedule.fence()
    stopped = instruments.generator.stopping()
    await instruments.generator.send({"cmd": "stop"})
    if instruments.generator.alive:
        wait_s = min(_RESOLVE_S, limit_ns / SECOND) + max(0, schedule.end_ns - context.clock.now_ns()) / SECOND
        return await instruments.generator.wait_for(stopped, wait_s)
    return None


async def settle(
    context: Context,
    instruments: Instruments,
    sent_ns: int,
    until_ns: int,
    *,
    commits: bool = True,
    asked_ns: int = 0,
) -> int | None:
    """Wait for committed ends and quiet; gives the start of the quiet time, None when the limit passed first.

    `commits`: the target has a group. `asked_ns`: how long it must be quiet by the target's own word.

    Only what the tap asked Kafka after `sent_ns`, when the last send had its outcome, says anything about the ends; and
    the quiet time counts as far as the tap has looked, all that there was to read being read.
    """
    now = context.clock.now_ns()
    moved_ns, last_seen = now, None
    still_ns = max(context.experiment.expect.recovery.within_ns, _STUCK_NS) + _STILL_NS
    while now < until_ns and instruments.tap.alive:
        state = instruments.tap.last
        inside = str(state.get("inside"))
        seen = (state.get("resolved"), str(state.get("progress")), inside, state.get("last_new_ns"))
        if seen != last_seen:
            moved_ns, last_seen = now, seen
        quiet_ns = max(_QUIET_NS, asked_ns, round(state.get("max_latency_ms", 0.0) * MS) + SECOND)
        quiet_from_ns = max(moved_ns, int(state.get("last_new_ns", 0)))
        if _committed(state, sent_ns, commits=commits):
            if state.get("asked_ns", 0) - quiet_from_ns >= quiet_ns and not state.get("behind"):
                return quiet_from_ns
        elif now - moved_ns > still_ns:
            return None
        await asyncio.sleep(_STEP_S)
        now = context.clock.now_ns()
    return None


def _committed(state: dict[str, Any], sent_ns: int, *, commits: bool) -> bool:
    """Whether the groups have committed all; of a target without one (`commits` False) only the quiet time tells."""
    progress = state.get("progress") or []
    done = not commits or all(_past(row) for row in progress)
    return _known(state, sent_ns) and bool(progress) and done and not _left_inside(state)


def _left_inside(state: dict[str, Any]) -> str:
    """What a service has not read yet of a topic between services, in words; empty when all is read."""
    return next(
        (
            f"{row['topic']}/{row['partition']}: committed {row['committed']} of {row['end']}"
            for row in state.get("inside") or []
            if not _past(row)
        ),
        "",
    )


def _known(state: dict[str, Any], sent_ns: int) -> bool:
    """Whether this state of the tap holds ends and commits of after the last send."""
    return bool(state.get("asked_ns", 0) >= sent_ns)


def _past(row: dict[str, Any]) -> bool:
    # A partition that never got a record has no commit.
    return bool(row["committed"] >= row["end"] or row["end"] <= row.get("start", 0))


def proofs(
    state: dict[str, Any], ended: dict[str, Any] | None, sent_ns: int, *, quiet: bool, commits: bool = True
) -> list[dict[str, Any]]:
    """What is proved per input partition, by the last `state` of the tap and the generator's last word `ended`.

    `commits`: the target has a group, whose commits must be there; without one the quiet time alone proves it.

    Fences are checked by the reader, who alone knows what came out.
    """
    proofs = []
    for row in state.get("progress") or []:
        why = ""
        if ended is None:
            why = "the generator did not end in order: its last sends may still come"
        elif ended.get("pending"):
            why = f"{ended['pending']} sends without an outcome"
        elif not _known(state, sent_ns):
            why = "Kafka told no commits after the last send"
        elif commits and not _past(row):
            why = f"committed {row['committed']} of {row['end']}"
        elif left := _left_inside(state):
            why = left
        elif not quiet:
            why = "results still came"
        proofs.append(
            {
                "topic": row.get("topic", ""),
                "partition": row["partition"],
                "proved": not why,
                "input_end": row["end"],
                "committed": row["committed"],
                "why": why,
            }
        )
    return proofs


async def _fresh_read(context: Context, instruments: Instruments) -> None:
    """Have everything read again by a fresh consumer; without the tap nothing is read and that is a fact too."""
    done = instruments.tap.expect("fresh_read_done")
    dsn = context.testbed.stack.endpoints.direct.postgres.dsn
    await instruments.tap.send({"cmd": "fresh_read", "dsn": dsn})
    answer = await instruments.tap.wait_for(done, _FRESH_READ_S) if instruments.tap.alive else None
    if why := (answer or {}).get("why"):
        context.note(f"the fresh read is not complete: {why}")
    context.facts.append(
        "fresh_read",
        durable=True,
        complete=bool(answer and answer.get("complete")),
        ends=(answer or {}).get("ends", {}),
        starts=(answer or {}).get("starts", {}),
    )
