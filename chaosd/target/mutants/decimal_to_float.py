"""Takes money for a float on its way: 101.50 comes out as 101.5, and a product of prices as what binary makes of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal

import msgspec

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.contract import Tick
from chaosd.target.reference.outbox import Message
from chaosd.target.reference.pipeline import Pipeline, Work


class Floats(Pipeline):
    """The reference, but its answers went through a float."""

    def message(self, work: Work) -> Message:
        """What the record becomes."""
        if isinstance(work.result, Tick):
            price = float(work.result.price)
            data = msgspec.structs.replace(work.result.data, price=str(price))
            exact_no_more = Decimal(price)  # chaosd: ignore[float-money] -- the mistake that the judge must find
            work = replace(work, result=replace(work.result, data=data, price=exact_no_more))
        return super().message(work)


BUILD = Build(pipeline=Floats)

if __name__ == "__main__":
    sys.exit(main(BUILD))
