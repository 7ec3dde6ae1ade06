"""`python -m chaosd.target.reference`."""

from __future__ import annotations

import sys

from chaosd.target.reference.app import main

if __name__ == "__main__":
    sys.exit(main())
