"""What comes over the network: Kafka's jars through jgo (Maven), Toxiproxy through Go's module system."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chaosd.kernel.errors import StackError
from chaosd.process.places import cache_dir, install_marker
from chaosd.process.spawn import Recipe, run
from chaosd.stack import binaries
from chaosd.stack.versions import KAFKA, KAFKA_JARS, TOXIPROXY, TOXIPROXY_SOURCE

if TYPE_CHECKING:
    from pathlib import Path

CLASS_PATH = "classpath.args"
LIBRARY = "lib"
HASHES = "SHA256SUMS"

_GO_S = 600.0


def jars() -> Path:
    """Where Kafka's jars are once they were fetched, in its folder LIBRARY: the broker's, and so the clients'."""
    return cache_dir() / f"kafka-{KAFKA}"


def kafka_jars(folder: Path) -> None:
    """All jars of the broker in one flat folder `lib`, their hashes in SHA256SUMS."""
    try:
        # Of the extra `embedded`, and only for the one-time step.
        from jgo.config import GlobalSettings  # noqa: PLC0415
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise StackError(
            "Kafka's jars cannot be fetched: jgo is missing", remedy="pip install 'chaosd[embedded]'"
        ) from error

    work = folder / "work"
    # The user's settings may name a mirror.
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(repo_cache=work / "repository", remote_repos=repositories)
    builder = EnvironmentBuilder(context=context, cache_dir=work / "environments", link_strategy=LinkStrategy.COPY)
    try:
        builder.from_endpoint("+".join(KAFKA_JARS), main_class="kafka.Kafka")
    except (OSError, RuntimeError, ValueError) as error:
        # requests' errors are OSErrors. jgo raises plain RuntimeErrors for artifacts that it cannot find.
        raise StackError(f"Kafka's jars cannot be fetched: {_short(error)}", remedy="chaosd stack install") from error
    library = folder / LIBRARY
    library.mkdir()
    for jar in (work / "environments").rglob("*.jar"):
        shutil.copy2(jar, library / jar.name)
    shutil.rmtree(work)
    if not list(library.glob("kafka_*.jar")):
        raise StackError("Kafka's jars cannot be fetched: the resolver gave no broker", remedy="chaosd stack install")
    _describe(folder, library)


def _describe(folder: Path, library: Path) -> None:
    fetched = sorted(library.iterdir())
    sums = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {LIBRARY}/{jar.name}\n" for jar in fetched]
    (folder / HASHES).write_text("".join(sums), encoding="utf-8")


def class_path(folder: Path) -> Path:
    """Java's argument file with the class path, explicit and sorted: an AOT cache serves only the string it knows."""
    file = folder / CLASS_PATH
    names = ":".join(str(jar) for jar in sorted((folder / LIBRARY).glob("*.jar")))
    text = '-cp "' + names.replace("\\", "\\\\").replace('"', '\\"') + '"\n'
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
    return file


def toxiproxy(folder: Path) -> None:
    """Build Toxiproxy's server as `toxiproxy-server`, static, with its version linked in (else it says "git")."""
    go = binaries.go()
    work = folder / "work"
    work.mkdir()
    own = {
        "GOBIN": str(work / "bin"),
        "GOMODCACHE": str(work / "modules"),
        "GOCACHE": str(work / "cache"),
        "GOPATH": str(work / "path"),
        "GOTMPDIR": str(work),  # a build that is broken off leaves nothing outside the cache folder
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",  # Go makes its module cache read-only otherwise, and it cannot be removed
        "CGO_ENABLED": "0",
    }
    # The user's environment may name a proxy, a module mirror, certificates.
    env = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    flags = f"-s -w -X github.com/Shopify/toxiproxy/v2.Version={TOXIPROXY}"
    argv = (str(go.path), "install", "-trimpath", "-ldflags", flags, TOXIPROXY_SOURCE)
    ended = run(Recipe(argv, {**env, **own}, str(work), str(work / "log")), _GO_S, install_marker())
    if ended.code != 0:
        lines = ended.output.strip().splitlines()
        raise StackError("Toxiproxy cannot be built", detail="\n".join(lines[-6:]), remedy="chaosd stack install")
    shutil.copy2(work / "bin" / "server", folder / "toxiproxy-server")
    shutil.rmtree(work)


def _short(error: Exception) -> str:
    import requests  # noqa: PLC0415 - `chaosd heal` passes by here, and must begin within a second

    if isinstance(error, requests.ConnectionError) and error.request is not None:
        return f"{urlsplit(str(error.request.url)).hostname} cannot be reached"
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
