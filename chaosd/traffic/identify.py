"""Loads a function of the user's that finds identity and type of a result, where places in the record cannot say it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from chaosd.experiment.mapped import Identify
from chaosd.kernel.errors import UsageError


def load(given: str) -> Identify | None:
    """`FILE:FUNCTION`; None for "". Raises UsageError when there is no such function, or its file cannot be loaded."""
    if not given:
        return None
    file, _, name = given.rpartition(":")
    spec = importlib.util.spec_from_file_location(f"chaosd_target_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"there is no function {name} in {file}")

    def identify(
        topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]
    ) -> tuple[str | None, str | None]:
        # Whatever it does with a record that it cannot read, that record has no identity then, which is a FAIL.
        try:
            found, kind = function(topic, key, value, headers)
        except Exception:  # noqa: BLE001
            return None, None
        return (found if isinstance(found, str) else None), (kind if isinstance(kind, str) else None)

    return identify
