"""The TCP sockets of this machine, asked from the kernel by their state.

Over netlink, which gives the sockets of these states and no others: on a machine with a history of connections the text
of /proc/net/tcp, which tells every one that is still in TIME_WAIT, takes some 20 times as long. That text is read where
a sandbox knows no sock_diag. Sources: sock_diag(7), netlink(7), proc_net_tcp in the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple


class State(IntEnum):
    """States of a TCP socket, by the kernel's numbers."""

    ESTABLISHED = 1
    SYN_SENT = 2
    LISTEN = 10


class Socket(NamedTuple):
    """One socket; `inode` names it in /proc/<pid>/fd as `socket:[inode]`."""

    local_port: int
    remote_port: int
    inode: int


_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG, which the module socket does not name
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASK = struct.Struct("=BBBxI48x")  # family, protocol, extensions, states as bits; any address
_ANSWER_PORTS = struct.Struct(">4xHH")  # network order, after family, state, timer and retransmissions
_ANSWER_INODE = struct.Struct("=I")
_INODE_AT = 68
_CODE = struct.Struct("=i")
_ANSWER_BYTES = 1 << 18
_TIMEOUT_S = 2.0
_FAMILIES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


def sockets(*states: State) -> list[Socket]:
    """All sockets of this network namespace that are in one of these states, IPv4 and IPv6."""
    found: list[Socket] = []
    for family, text in _FAMILIES.items():
        try:
            found += _dumped(family, states)
        except OSError:
            with contextlib.suppress(OSError):  # a kernel without IPv6 has neither
                found += _written(text, states)
    return found


def _dumped(family: int, states: tuple[State, ...]) -> list[Socket]:
    ask = _ASK.pack(family, socket.IPPROTO_TCP, 0, sum(1 << state for state in states))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(ask), _BY_FAMILY, _DUMP, 1, 0) + ask)
        found: list[Socket] = []
        while True:
            for kind, body in _messages(kernel.recv(_ANSWER_BYTES)):
                if kind in (_ERROR, _DONE):  # a dump that fails on its way says so in its last message
                    if (code := _CODE.unpack_from(body)[0]) < 0:
                        raise OSError(-code, "sock_diag")
                    return found
                local, remote = _ANSWER_PORTS.unpack_from(body)
                found.append(Socket(local, remote, _ANSWER_INODE.unpack_from(body, _INODE_AT)[0]))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _written(path: str, states: tuple[State, ...]) -> list[Socket]:
    wanted = {f"{state:02X}" for state in states}
    found = []
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[3] in wanted:
                local, remote = (int(word.rpartition(":")[2], 16) for word in words[1:3])
                found.append(Socket(local, remote, int(words[9])))
    return found
