"""How a target that chaosd ships is started, and when it is ready."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chaosd.kernel.clock import SECOND, Clock, SystemClock
from chaosd.kernel.errors import StackError, UsageError, nearest
from chaosd.process import patience, spawn
from chaosd.stack.handle import Addresses, Endpoints
from chaosd.target.progress import group_state, open_admin
from chaosd.target.table import TARGETS, Target

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

_BY_NAME = {target.name: target for target in TARGETS}
# What a Python program needs of the environment of its starter; everything else would make runs differ.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
_LOOK_EVERY_S = 0.02
_LOG_LINES = 15


def names() -> tuple[str, ...]:
    """The targets that chaosd ships: the reference pipeline first, then its mutants."""
    return tuple(_BY_NAME)


def checked(target: str) -> Target:
    """The target of that name. Raises UsageError, with the nearest name, when there is none."""
    if target not in _BY_NAME:
        near = nearest(target, _BY_NAME)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"there is no target {target!r}{hint}", remedy=f"one of: {', '.join(_BY_NAME)}")
    return _BY_NAME[target]


def source(target: str) -> Path:
    """The folder or the file with the target's own code, for the preflight. Raises UsageError for an unknown name."""
    place = Path(__file__).resolve().parent.joinpath(*checked(target).module.split(".")[2:])
    return place if place.is_dir() else place.with_suffix(".py")


def recipe(
    target: str, endpoints: Endpoints, topics: Mapping[str, str], *, group: str, instance: str, log: Path
) -> spawn.Recipe:
    """How to start `target`. It is told only the PROXIED addresses, so every fault hits it.

    `topics`: the topic's name by role (`input`, `output`, `dlq`). `instance`: the static member id in `group`.
    Raises UsageError for a name that is not in `names()`.
    """
    module = checked(target).module
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env |= _addresses(endpoints.proxied)
    env |= {
        spawn.PART: instance,
        "GROUP": group,
        "INSTANCE": instance,
        "INPUT_TOPIC": topics["input"],
        "OUTPUT_TOPIC": topics["output"],
        "DLQ_TOPIC": topics["dlq"],
        "PYTHONUNBUFFERED": "1",
    }
    return spawn.Recipe(argv=(sys.executable, "-m", module), env=env, cwd=str(log.parent), log=str(log))


def _addresses(proxied: Addresses) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": proxied.bootstrap,
        "REDIS_URL": f"redis://{proxied.redis}",
        "DATABASE_URL": proxied.postgres.dsn,
    }


async def wait_ready(
    handle: spawn.Handle,
    recipe: spawn.Recipe,
    bootstrap: str,
    group: str,
    *,
    members: int = 1,
    timeout_s: float = 20.0,
    clock: Clock | None = None,
) -> tuple[int, int]:
    """Wait until the target says so in its log and its group is Stable with so many members.

    Gives CLOCK_MONOTONIC of the last look that found it not ready (of the call, when there is none), and of the first
    that found it ready. `bootstrap` is the DIRECT address. Raises StackError, with the end of the log, when the target
    ends or is not ready within `timeout_s`.
    """
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - `chaosd heal` must begin within a second, without it

    clock, log = clock or SystemClock(), Path(recipe.log)
    low_ns = clock.now_ns()
    timeout_s *= patience.scale()
    deadline_ns = low_ns + round(timeout_s * SECOND)
    admin: AIOKafkaAdminClient | None = None
    waits_for = "its ready line"
    try:
        while True:
            look_ns = clock.now_ns()
            if not spawn.alive(handle):
                raise StackError("the target ended while it was starting", detail=_tail(log))
            if look_ns > deadline_ns:
                raise StackError(
                    f"the target is not ready after {timeout_s:g} s: waited for {waits_for}", detail=_tail(log)
                )
            if _says_ready(log, handle.pid):
                waits_for = f"a Stable consumer group {group!r} with a member"
                try:
                    admin = admin or await open_admin(bootstrap)
                    state = await group_state(admin, group)
                    if state.ready and state.members >= members:
                        return low_ns, clock.now_ns()
                except (KafkaError, OSError, TimeoutError) as error:
                    waits_for = f"Kafka to tell about consumer group {group!r} ({type(error).__name__})"
            low_ns = look_ns
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        if admin is not None:
            await admin.close()


def _says_ready(log: Path, pid: int) -> bool:
    """Whether this very process wrote its ready line: the log may hold those of its predecessors."""
    try:
        lines = log.read_bytes().splitlines()
    except FileNotFoundError:
        return False
    for line in reversed(lines):
        if b'"ready"' not in line:
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("event") == "ready" and said.get("pid") == pid:
            return True
    return False


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
    except FileNotFoundError:
        return "(no log)"
