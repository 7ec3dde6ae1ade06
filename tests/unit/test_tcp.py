"""The kernel's sockets, both ways of asking for them."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from chaosd.process import tcp
from chaosd.process.tcp import State


@pytest.fixture(params=["netlink", "text"])
def ask(request, monkeypatch):
    """`tcp.sockets` by one of its two ways. In a sandbox without sock_diag it is the text twice."""
    if request.param == "text":

        def refuse(*_: object) -> list[tcp.Socket]:
            raise PermissionError

        monkeypatch.setattr(tcp, "_dumped", refuse)
    return tcp.sockets


@contextlib.contextmanager
def pair(family: int, host: str):
    """A listening socket and both ends of a connection to it."""
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        with socket.create_connection(server.getsockname()[:2]) as client, server.accept()[0] as other:
            yield server, client, other


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_sockets_are_told_with_their_ports_and_inodes_by_their_state(ask, family, host):
    with contextlib.ExitStack() as held:
        try:
            server, client, other = held.enter_context(pair(family, host))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        port, from_port = server.getsockname()[1], client.getsockname()[1]
        inodes = [os.fstat(one.fileno()).st_ino for one in (server, client, other)]
        assert [one for one in ask(State.LISTEN) if one.local_port == port] == [(port, 0, inodes[0])]
        connected = {one for one in ask(State.ESTABLISHED, State.SYN_SENT) if port in one[:2]}
        assert connected == {(from_port, port, inodes[1]), (port, from_port, inodes[2])}
    assert not [one for one in ask(*State) if one.inode in inodes]


def test_a_dump_that_does_not_fit_one_answer_is_read_to_its_end(ask):
    with contextlib.ExitStack() as many:
        ports = set()
        for _ in range(600):
            server = many.enter_context(socket.socket())
            server.bind(("127.0.0.1", 0))
            server.listen()
            ports.add(server.getsockname()[1])
        assert ports <= {one.local_port for one in ask(State.LISTEN)}


def test_what_the_kernel_refuses_is_an_error_and_not_an_empty_list():
    with pytest.raises(OSError, match=r"sock_diag|not supported|denied|permitted"):
        tcp._dumped(250, (State.LISTEN,))  # no such family


def test_a_machine_without_either_has_no_sockets(monkeypatch, tmp_path):
    monkeypatch.setattr(tcp, "_FAMILIES", {250: str(tmp_path / "none")})
    assert tcp.sockets(*State) == []
