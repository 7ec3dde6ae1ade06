"""`chaosd doctor`: is this machine, and the stack on it, fit for a run? Measured within 30 seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaosd.testbed.checks import Check


def doctor(
    name: Annotated[
        str, typer.Option("--name", help="A testbed that is up; by default one is started and ended.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> int:
    """Measure host, Redis in both decode modes, Kafka and PostgreSQL through the proxies, against their budgets.

    Exit 0: all within, 1: something is not, 2: no stack could be had.
    """
    import json
    from dataclasses import asdict

    from chaosd.kernel.clock import SECOND, SystemClock
    from chaosd.kernel.errors import Exit

    clock = SystemClock()
    began_ns = clock.now_ns()
    found = measure(name)
    took_s = (clock.now_ns() - began_ns) / SECOND
    failed = [check for check in found if not check.passed]
    if as_json:
        typer.echo(json.dumps({"took_s": round(took_s, 2), "checks": [asdict(check) for check in found]}, indent=2))
    else:
        for line in table(found):
            typer.echo(line)
        typer.echo(f"{len(found) - len(failed)} of {len(found)} checks hold, {took_s:.1f} s")
    return int(Exit.FAIL if failed else Exit.PASS)


def measure(name: str) -> list[Check]:
    """The checks of the host and of a testbed: the named one, or one that lives only for this."""
    from chaosd.cli.stack import cancellable
    from chaosd.kernel.clock import SystemClock
    from chaosd.testbed.checks_host import host

    return host(SystemClock()) + cancellable(_of_stack(name))


async def _of_stack(name: str) -> list[Check]:
    import os

    from chaosd.cli.stack import guarded
    from chaosd.kernel.clock import SystemClock
    from chaosd.kernel.errors import UsageError
    from chaosd.process.places import testbeds_dir
    from chaosd.stack.handle import RECORD
    from chaosd.stack.stack import Stack
    from chaosd.testbed.infrastructure import check
    from chaosd.testbed.testbed import Testbed, tear_down

    if name:
        folder = testbeds_dir() / name
        if not (folder / RECORD).exists():
            raise UsageError(
                f"there is no testbed {name!r}", remedy=f"chaosd stack up --name {name}; or leave --name out"
            )
        stack = Stack.open(folder)
        try:
            return await check(stack, SystemClock())
        finally:
            stack.close()
    folder = testbeds_dir() / f"doctor-{os.getpid()}"
    async with guarded(folder, 1):
        testbed = await Testbed.up(folder)
        try:
            found = await check(testbed.stack, SystemClock())
        finally:
            testbed.stack.close()
    await tear_down(folder)
    return found


def table(found: list[Check]) -> list[str]:
    """One line for each check, what failed with its remedy."""
    width = max(len(check.name) for check in found)
    seen = max(len(check.measured) for check in found)
    lines = []
    for check in found:
        mark = "ok  " if check.passed else "FAIL"
        lines.append(f"{mark} {check.area:<9} {check.name:<{width}}  {check.measured:<{seen}}  wanted {check.wanted}")
        if check.remedy and not check.passed:
            lines.append(f"     remedy: {check.remedy}")
    return lines
