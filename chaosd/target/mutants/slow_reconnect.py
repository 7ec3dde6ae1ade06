"""Waits eight seconds after every error, so it notices a healed part late: longer than five seconds after the heal."""

from __future__ import annotations

import sys

from chaosd.target.reference.app import Build, main
from chaosd.target.reference.retry import Backoff

BUILD = Build(backoff=Backoff(first_s=8.0, cap_s=8.0))

if __name__ == "__main__":
    sys.exit(main(BUILD))
