"""The one dynamic look of the preflight: builds a pipeline's Redis client in a process, and reads its decode mode.

Where a mode comes from configuration, the source alone does not tell it. Building a client opens no connection.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from chaosd.kernel.errors import UsageError
from chaosd.process.spawn import Recipe, run

MODES = ("text", "bytes")
_LIMIT_S = 20.0
_MARK = "chaosd-probe:"
# Runs with the user's interpreter, so it imports nothing of chaosd. Coroutine functions are run; containers' providers
# are called like any other factory.
_SCRIPT = """
import asyncio, importlib, inspect, sys
module, _, path = sys.argv[1].partition(":")
sys.path.insert(0, "")
found = importlib.import_module(module)
for name in path.split("."):
    found = getattr(found() if inspect.isclass(found) else found, name)
if not hasattr(found, "connection_pool"):
    found = found()
if inspect.iscoroutine(found):
    found = asyncio.run(found)
print("chaosd-probe:" + ("text" if found.connection_pool.connection_kwargs.get("decode_responses") else "bytes"))
"""


def decode_mode(factory: str, folder: Path, python: str = "") -> str:
    """`text` or `bytes` for `module:name`, imported from `folder`. Raises UsageError with what the process said."""
    if not factory.partition(":")[2]:
        raise UsageError(
            f"{factory!r} names no factory", remedy="write it as module:name, e.g. orders.clients:make_redis"
        )
    with tempfile.TemporaryDirectory(prefix="chaosd-probe-") as scratch:
        log = str(Path(scratch) / "probe.log")
        argv = (python or sys.executable, "-c", _SCRIPT, factory)
        done = run(Recipe(argv=argv, env=dict(os.environ), cwd=str(folder.resolve()), log=log), _LIMIT_S)
    answers = [line.removeprefix(_MARK) for line in done.output.splitlines() if line.startswith(_MARK)]
    if not answers:
        tail = "\n".join(done.output.splitlines()[-3:])
        raise UsageError(f"{factory} gave no Redis client", detail=tail, remedy="name what makes one, and its --folder")
    return answers[-1]
