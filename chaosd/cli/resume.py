"""`chaosd resume`: lets runs begin again after `chaosd halt`."""

from __future__ import annotations

from chaosd.kernel.errors import Exit


def resume() -> Exit:
    """Take back `chaosd halt`. Runs that it ended are not started again."""
    from chaosd.healing.halt import resume as open_again

    print("runs may begin again" if open_again() else "nothing was halted")
    return Exit.PASS
