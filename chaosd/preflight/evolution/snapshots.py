"""The snapshots in the user's repository: numbered JSON files, never changed, compared with all of them."""

from __future__ import annotations

import json
from pathlib import Path

from chaosd.kernel.errors import SourceError, UsageError
from chaosd.preflight.evolution.schema import VERSION, Schemas

FOLDER = "chaosd-schemas"


def load(folder: Path) -> list[tuple[str, Schemas]]:
    """All snapshots by name, oldest first. Raises SourceError for a file that is none."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"not JSON: {error}", file=str(file)) from error
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}", remedy="check its permissions") from error
        version = data.get("chaosd-schemas") if isinstance(data, dict) else None
        try:
            if version != VERSION:
                raise ValueError(version)
            found.append((file.stem, Schemas.from_json(data)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError("not a snapshot", file=str(file), expected=f'"chaosd-schemas": {VERSION}') from error
    return found


def save(folder: Path, schemas: Schemas) -> Path | None:
    """Write the next snapshot; None when the last one says the same already. Raises UsageError."""
    before = load(folder)
    if before and before[-1][1].shape() == schemas.shape():
        return None
    numbers = [int(name) for name, _ in before if name.isdigit()]
    file = folder / f"{max(numbers, default=0) + 1:04}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(schemas.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {file}: {error.strerror}", remedy="choose another --snapshots folder"
        ) from error
    return file
