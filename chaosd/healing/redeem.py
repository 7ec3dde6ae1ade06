"""A lease kept by somebody who is not its holder: undone from the disk, and closed. Others may be at it as well."""

from __future__ import annotations

from pathlib import Path

from chaosd.faults.fault import Cleared
from chaosd.healing import ladder
from chaosd.healing.lease import Lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import ChaosdError, HealError

_clock = SystemClock()


async def redeem(leases: Leases, lease: Lease) -> Cleared:
    """Undo what the lease is about, then close it. Raises HealError, and nothing else, while it is open.

    What failed because somebody else was quicker (closed the lease, or ended the testbed under our hands) is healed.
    """
    began_ns = _clock.now_ns()
    try:
        cleared = await ladder.undo_from_disk(lease)
    except (ChaosdError, OSError) as error:
        if leases.holds(lease) and Path(lease.testbed).exists():
            raise HealError(str(error)) from error
        cleared = Cleared(began_ns, _clock.now_ns(), {"by": "somebody else"})
    leases.close(lease)
    return cleared
