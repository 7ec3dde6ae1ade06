"""`chaosd heal` itself. Without typer: what is broken waits for it, and a plain call needs no parser of arguments."""

from __future__ import annotations

import asyncio
import sys

from chaosd.healing.recover import recover
from chaosd.kernel.errors import Exit


def plain(arguments: list[str]) -> Exit | None:
    """The usual calls: no argument, or `--force`. None for any other, which typer then answers."""
    return mend(force=bool(arguments)) if arguments in ([], ["--force"]) else None


def mend(*, force: bool) -> Exit:
    """Undo what nobody answers for any more (everything with `force`), and say so."""
    # A part takes seconds to start: whoever waits sees at once that it has begun.
    done = asyncio.run(recover(force=force, begins=lambda what: print(f"healing: {what}", flush=True)))
    for item in done:
        print(f"{'healed' if item.ok else 'NOT HEALED'}: {item.what}", file=sys.stdout if item.ok else sys.stderr)
        if item.error:
            print(f"  | {item.error}", file=sys.stderr)
    if not done:
        print("nothing to heal")
    return Exit.PASS if all(item.ok for item in done) else Exit.UNHEALED
