"""`python -m chaosd`, and what the installed `chaosd` calls."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code."""
    from chaosd.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
