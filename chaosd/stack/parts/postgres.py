"""PostgreSQL as a part. Protocol 3.0: postgresql.org/docs/current/protocol-message-formats.html."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe
from chaosd.stack.part import PROBE_S, NotReady, Part, connection

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from chaosd.stack.address import Address

SUPERUSER = "chaosd"
PIPELINE = "pipeline"  # the ordinary role, its password and its database
MAX_CONNECTIONS = 20

_PROTOCOL = 3 << 16
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "superuser_reserved_connections": "3",  # chaosd's way in when the pipeline has taken all others
    # A killed process loses nothing that reached the page cache: fsync only guards against power loss.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "shared_buffers": "2MB",
    "wal_buffers": "128kB",
    "work_mem": "1MB",
    "maintenance_work_mem": "1MB",
    "temp_buffers": "800kB",
    "max_locks_per_transaction": "16",
    "max_wal_size": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "0",
    "max_parallel_workers": "0",
    "autovacuum": "off",
    "jit": "off",
    "huge_pages": "off",
    "dynamic_shared_memory_type": "mmap",
}


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, length = struct.unpack(">ci", await reader.readexactly(5))
    return kind, await reader.readexactly(length - 4)


async def _start_up(address: Address, query: bytes = b"", limit_s: float = PROBE_S) -> str:
    """Ask for a session. A demand for a password is an answer, too: the server serves, and tells no version."""
    version = ""
    async with connection(address, limit_s) as (reader, writer):
        wish = b"user\0chaosd\0database\0postgres\0application_name\0chaosd probe\0\0"
        writer.write(struct.pack(">ii", len(wish) + 8, _PROTOCOL) + wish)
        while (message := await _message(reader))[0] != b"Z":
            kind, body = message
            if kind == b"R" and struct.unpack(">i", body[:4])[0] != 0:
                return ""
            if kind == b"E":
                return _refusal(body)
            if kind == b"S" and body.startswith(b"server_version\0"):
                version = body.split(b"\0")[1].decode()
        if query:
            writer.write(b"Q" + struct.pack(">i", len(query) + 5) + query + b"\0")
            while (message := await _message(reader))[0] != b"Z":
                if message[0] == b"E":
                    raise NotReady(_text(message[1]))
        writer.write(b"X\0\0\0\4")
    return version


def _text(body: bytes) -> str:
    return ", ".join(field[1:].decode(errors="replace") for field in body.split(b"\0") if field[:1] in b"CM" and field)


def _refusal(body: bytes) -> str:
    # Class 28 (no such role, not allowed) and 3D000 (no such database) come from a server that serves others.
    code = next((field[1:] for field in body.split(b"\0") if field[:1] == b"C"), b"")
    if code.startswith((b"28", b"3D")):
        return ""
    raise NotReady(_text(body))


async def _round_trip(address: Address) -> None:
    await _start_up(address, b"SELECT 1")


def init_recipe(bin_dir: Path, data: Path, log: Path) -> Recipe:
    """How to make a database cluster with chaosd's superuser."""
    argv = (
        str(bin_dir / "initdb"),
        "-D",
        str(data),
        "-A",
        "trust",
        "-U",
        SUPERUSER,
        "-N",
        "--no-instructions",
        "--no-locale",
    )
    return Recipe(
        (*argv, "-E", "UTF8", "--wal-segsize=1"), {"LC_ALL": "C", "PATH": str(bin_dir)}, "/", str(log), drop_root=True
    )


async def set_up(address: Address) -> None:
    """Make the pipeline's ordinary role and its database, once, in the template that every stack is copied from."""
    await _start_up(address, f"CREATE ROLE {PIPELINE} LOGIN PASSWORD '{PIPELINE}'".encode())
    await _start_up(address, f"CREATE DATABASE {PIPELINE} OWNER {PIPELINE}".encode(), limit_s=20.0)


def recipe(bin_dir: Path, port: int, data: Path, log: Path) -> Recipe:
    """How to start the server: small, quick to restart, nothing lost when its processes are killed."""
    settings = tuple(word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}"))
    argv = (str(bin_dir / "postgres"), "-D", str(data), "-p", str(port), *settings)
    env = {PART: "postgres", "LC_ALL": "C", "MALLOC_ARENA_MAX": "1", "TZ": "UTC"}
    return Recipe(argv, env, str(data), str(log), drop_root=True)


def _forget_the_dead(data: Path) -> None:
    """Remove the lock file of a killed postmaster.

    The next one takes the lock's pid for a live server as long as the pid exists, and a killed process whose parent
    does not reap it (another process of chaosd that started the stack, a container's first process) exists on.
    """
    (data / "postmaster.pid").unlink(missing_ok=True)


# SIGTERM would wait until the last client has gone.
part = Part("postgres", _start_up, _round_trip, stop=signal.SIGINT, clear=_forget_the_dead)
