"""Is the infrastructure what a run needs? Measured, not asked: the host, Redis, Kafka, PostgreSQL, and the way between.

Everything is done with names of its own and cleaned up; nothing that is there is touched. The budgets are those that
the first pipeline was built with: Redis 5 ms in both decode modes, a round trip through Kafka 10 ms, PostgreSQL 20 ms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from chaosd.kernel.finding import Finding


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `measured` and `wanted` are for people, `remedy` is only shown when it failed."""

    area: str
    name: str
    passed: bool
    measured: str
    wanted: str
    remedy: str = ""

    def finding(self) -> Finding:
        """The same as a finding of the preflight; the place is the part."""
        text = f"{self.name}: {self.measured}, wanted {self.wanted}" + (f"; {self.remedy}" if self.remedy else "")
        return Finding(self.area, 1, 0, f"infrastructure-{self.area}", text, symbol=self.name)


def within(area: str, name: str, took_ms: list[float], budget_ms: float, remedy: str = "") -> Check:
    """A mean against its budget, with the slowest beside it."""
    mean = sum(took_ms) / len(took_ms)
    measured = f"{mean:.2f} ms mean, {max(took_ms):.2f} ms slowest of {len(took_ms)}"
    return Check(area, name, mean < budget_ms, measured, f"mean < {budget_ms:g} ms", remedy)


def holds(area: str, name: str, *, passed: bool, measured: str, wanted: str, remedy: str = "") -> Check:
    """A property that holds or not."""
    return Check(area, name, passed, measured, wanted, remedy)


async def ask(
    area: str, probe: Callable[[], Awaitable[Iterable[Check]]], errors: tuple[type[Exception], ...]
) -> list[Check]:
    """The checks of one part; one that cannot be reached is a failed check, not an end of the others."""
    try:
        return list(await probe())
    except errors as error:
        why = str(error).splitlines()[0][:200] if str(error) else ""
        measured = f"{type(error).__name__} {why}".rstrip()
        return [
            holds(area, "answers", passed=False, measured=measured, wanted="an answer", remedy="chaosd stack status")
        ]
