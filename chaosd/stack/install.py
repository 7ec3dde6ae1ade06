"""The one-time steps: Kafka's jars, its AOT cache, formatted templates, Toxiproxy's binary. In the cache folder.

Idempotent and resumable: each step works under a temporary name and renames its result at the end. One installation at
a time: a lock on the cache folder.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import ChaosdError, StackError
from chaosd.process import spawn
from chaosd.process.places import cache_dir, install_marker
from chaosd.stack import binaries, fetch, train
from chaosd.stack.binaries import Binary
from chaosd.stack.handle import locked
from chaosd.stack.parts.kafka import broker
from chaosd.stack.versions import KAFKA, TOXIPROXY, numbers

Progress = Callable[[str, float], None]  # the step, and how much of it is done: 0.0 … 1.0

STEPS = ("toxiproxy", "kafka jars", "kafka cache", "postgres template")
_TEMPORARY = "tmp-"


@dataclass(frozen=True, slots=True)
class Installed:
    """All that an embedded stack is started from."""

    redis: Binary
    postgres: Binary
    java: Binary
    kafka: Binary
    toxiproxy: Binary
    class_path: Path
    java_cache: tuple[str, ...]  # flags of the AOT cache, none where this Java has no such cache
    kafka_template: Path
    postgres_template: Path


@dataclass(frozen=True, slots=True)
class _Places:
    """Where each step leaves its result. The names carry what the result depends on."""

    jars: Path
    toxiproxy: Path
    trained: Path
    postgres: Path


def installed() -> Installed | None:
    """What `install` would give, if all of it is there."""
    postgres, java, named = binaries.postgres(), binaries.java(), binaries.toxiproxy()
    places = _places(postgres, java)
    wanted = [places.jars, places.trained, places.postgres, *([] if named else [places.toxiproxy])]
    if not all(path.exists() for path in wanted):
        return None
    return Installed(
        redis=binaries.redis(),
        postgres=postgres,
        java=java,
        kafka=Binary(places.jars, KAFKA, "Maven"),
        toxiproxy=named or Binary(places.toxiproxy / "toxiproxy-server", TOXIPROXY, "Go module"),
        class_path=places.jars / fetch.CLASS_PATH,
        java_cache=train.cache_flags(places.trained),
        kafka_template=places.trained / train.DATA,
        postgres_template=places.postgres,
    )


def _places(postgres: Binary, java: Binary) -> _Places:
    home = cache_dir()
    return _Places(
        jars=fetch.jars(),
        toxiproxy=home / f"toxiproxy-{TOXIPROXY}",
        trained=home / f"kafka-{KAFKA}-trained-java-{java.version}",
        postgres=home / f"postgres-{postgres.version}",
    )


def install(on_progress: Progress) -> Installed:
    """Do what is missing, side by side where steps do not need each other. Blocks.

    Raises StackError that says what is missing and how to get it.
    """
    found = installed()
    if found is not None:
        return found
    home = cache_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock"):
            # We hold the lock: what is left here belongs to an installation that was broken off.
            spawn.end_marked(install_marker())
            for left in home.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(left)
            _steps(on_progress)
    except OSError as error:
        raise StackError(f"cannot install into {home}: {error}", remedy="make room or set CHAOSD_CACHE") from error
    found = installed()
    if found is None:
        raise StackError(f"the installation in {home} is not complete", remedy=f"remove {home} and install again")
    return found


def _steps(on_progress: Progress) -> None:
    postgres, java, named = binaries.postgres(), binaries.java(), binaries.toxiproxy()
    binaries.redis()  # missing ones are told before anything is fetched
    places = _places(postgres, java)

    def kafka() -> None:
        _step("kafka jars", places.jars, fetch.kafka_jars, on_progress)
        aot = numbers(java.version)[0] >= broker.AOT_JAVA
        _step(
            "kafka cache", places.trained, lambda work: train.kafka(work, java.path, places.jars, aot=aot), on_progress
        )

    def toxiproxy() -> None:
        if named is None:
            _step("toxiproxy", places.toxiproxy, fetch.toxiproxy, on_progress)

    def database() -> None:
        _step("postgres template", places.postgres, lambda work: train.postgres(work, postgres.path), on_progress)

    with ThreadPoolExecutor(3) as pool:
        results = [pool.submit(work) for work in (kafka, toxiproxy, database)]
    errors = [error for result in results if (error := result.exception()) is not None]
    for error in errors:
        if not isinstance(error, ChaosdError):
            raise error
    if errors:
        raise StackError(
            "; ".join(str(error.args[0]) for error in errors),
            detail="\n".join(error.detail for error in errors if isinstance(error, ChaosdError) and error.detail),
            remedy="with access to the network: chaosd stack install (it goes on where it stopped)",
        )


def _step(name: str, result: Path, work: Callable[[Path], None], on_progress: Progress) -> None:
    """Run one step into a temporary folder that takes the result's name when it is complete."""
    if not result.exists():
        on_progress(name, 0.0)
        with _temporary(result) as folder:
            work(folder)
            folder.rename(result)
    on_progress(name, 1.0)


@contextlib.contextmanager
def _temporary(result: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{result.name}-", dir=result.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)
