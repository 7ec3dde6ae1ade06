"""The adapter around toxiproxy-python: async, bounded, read back; what is not as asked raises.

The library blocks, has no time-outs, keeps the server's address in class globals, and takes many failures for success
(it raises only on 400, 404 and 409). So each adapter runs it on one thread of its own, on a session that belongs to
that thread, and every change is read back from the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import toxiproxy
import toxiproxy.api
import toxiproxy.exceptions
import toxiproxy.proxy
import toxiproxy.server

from chaosd.kernel.errors import StackError
from chaosd.stack.parts.toxiproxy.toxics import Toxic, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from chaosd.stack.address import Address
    from chaosd.stack.handle import Proxy

T = TypeVar("T")

DEADLINE_S = 2.0
_CONNECT_S = 1.0
_REFUSALS = (toxiproxy.exceptions.NotFound, toxiproxy.exceptions.ProxyExists, toxiproxy.exceptions.InvalidToxic)


class ToxiproxyError(StackError):
    """Toxiproxy did not answer in time, refused, or is not in the state that was asked for."""


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy as the server tells it. `listen` and `upstream` are `host:port`."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...]


class _Routed(toxiproxy.api.APIConsumer):  # type: ignore[misc]
    """Stands in for the library's one global consumer: the calls of an adapter's thread go to that adapter's server.

    Any other thread (a test of the user that uses the library by itself) meets the library's own behaviour.
    """

    thread = threading.local()

    @classmethod
    def get(cls, url: str, params: Any = None, **options: Any) -> Any:
        return cls._call("GET", url, params=params, **options)

    @classmethod
    def delete(cls, url: str, **options: Any) -> Any:
        return cls._call("DELETE", url, **options)

    @classmethod
    def post(cls, url: str, data: Any = None, json: Any = None, **options: Any) -> Any:
        return cls._call("POST", url, data=data, json=json, **options)

    @classmethod
    def _call(cls, verb: str, url: str, **options: Any) -> Any:
        session: _Session | None = getattr(cls.thread, "session", None)
        if session is None:
            return getattr(super(), verb.lower())(url, **options)
        return toxiproxy.api.validate_response(session.request(verb, url, **options))


toxiproxy.server.APIConsumer = _Routed
toxiproxy.proxy.APIConsumer = _Routed


class _Session:
    """One HTTP session to one server, used by one thread only."""

    def __init__(self, address: Address) -> None:
        self._base = f"http://{address}"
        self._http = requests.Session()
        # No proxy from the environment: the server is local, and an HTTP proxy would refuse or log it.
        self._http.trust_env = False
        self.deadline_s = DEADLINE_S

    def request(self, verb: str, url: str, **options: Any) -> requests.Response:
        times = (min(_CONNECT_S, self.deadline_s), self.deadline_s)
        answer = self._http.request(verb, self._base + url, timeout=times, **options)
        if answer.status_code >= 500:
            raise ToxiproxyError(f"Toxiproxy answers {answer.status_code} to {verb} {url}")
        return answer

    def close(self) -> None:
        self._http.close()


class Toxiproxy:
    """One Toxiproxy server. All methods raise ToxiproxyError, within `deadline_s`, unless the state is as asked."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session = _Session(address)
        self._thread = ThreadPoolExecutor(1, f"toxiproxy-{address.port}", initializer=self._adopt_thread)
        self._server = toxiproxy.Toxiproxy()

    def _adopt_thread(self) -> None:
        _Routed.thread.session = self._session

    def close(self) -> None:
        """Give up the thread and the connection. A call that still hangs ends by its own time-out."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _bounded(self, what: str, call: Callable[[], T], deadline_s: float) -> T:
        """Run one call on the adapter's thread. The deadline counts the wait for that thread, too."""

        def work() -> T:
            self._session.deadline_s = deadline_s
            return call()

        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise ToxiproxyError(
                f"{what}: Toxiproxy at {self.address} gave no answer within {deadline_s:g} s"
            ) from error
        except ToxiproxyError as error:
            raise ToxiproxyError(f"{what}: {error.message}") from error
        except _REFUSALS as error:
            raise ToxiproxyError(f"{what}: Toxiproxy at {self.address}: {error or type(error).__name__}") from error
        except (requests.RequestException, KeyError, ValueError) as error:
            raise ToxiproxyError(f"{what}: Toxiproxy at {self.address} cannot be used: {error!r}") from error

    async def version(self, *, deadline_s: float = DEADLINE_S) -> str:
        """The server's version, such as `2.12.0`."""
        # Not the library's: that asks its one global address whether anything listens, and gives None if not.
        return await self._bounded("version", lambda: str(self._json("GET", "/version")["version"]), deadline_s)

    async def list(self, *, deadline_s: float = DEADLINE_S) -> dict[str, ProxyState]:
        """All proxies with their toxics, by name."""
        return await self._bounded("list", self._list, deadline_s)

    def _list(self) -> dict[str, ProxyState]:
        return {name: _state(data) for name, data in self._json("GET", "/proxies").items()}

    def _json(self, verb: str, url: str, **options: Any) -> Any:
        answer = self._session.request(verb, url, **options)
        if not answer.ok:
            raise ToxiproxyError(f"Toxiproxy answers {answer.status_code} to {verb} {url}: {answer.text[:200].strip()}")
        return answer.json()

    @contextlib.contextmanager
    def _known(self, name: str) -> Iterator[toxiproxy.Proxy]:
        """A proxy, to be changed. ToxiproxyError when the server does not know it."""
        try:
            yield _named(name)
        except toxiproxy.exceptions.NotFound as error:
            raise ToxiproxyError(f"there is no proxy {name!r}") from error

    def _get(self, proxy: str) -> ProxyState:
        return _state(self._json("GET", f"/proxies/{proxy}"))

    async def create_proxy(
        self, name: str, listen: str, upstream: str, *, deadline_s: float = DEADLINE_S
    ) -> ProxyState:
        """Make a proxy, enabled. One of that name that is already there is an error."""

        def call() -> ProxyState:
            self._server.create(upstream=upstream, name=name, listen=listen, enabled=True)
            return self._expect_proxy(name, listen, upstream)

        return await self._bounded(f"create proxy {name}", call, deadline_s)

    def _expect_proxy(self, name: str, listen: str, upstream: str) -> ProxyState:
        state = self._get(name)
        if (state.listen, state.upstream, state.enabled) != (listen, upstream, True):
            raise ToxiproxyError(f"proxy {name} should listen on {listen} for {upstream}, but is {state}")
        return state

    async def delete_proxy(self, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Remove a proxy and cut its connections. One that is absent is fine."""

        def call() -> None:
            with contextlib.suppress(toxiproxy.exceptions.NotFound):
                _named(name).destroy()
            if name in self._list():
                raise ToxiproxyError(f"proxy {name} is still there")

        await self._bounded(f"delete proxy {name}", call, deadline_s)

    async def set_enabled(self, proxy: str, enabled: bool, *, deadline_s: float = DEADLINE_S) -> None:  # noqa: FBT001
        """Open or close a proxy's port. Closing cuts all its connections; opening does not restore them."""

        def call() -> None:
            with self._known(proxy) as found:
                if enabled:
                    found.enable()
                else:
                    found.disable()
            if self._get(proxy).enabled is not enabled:
                raise ToxiproxyError(f"proxy {proxy} should be {'enabled' if enabled else 'disabled'}, but is not")

        await self._bounded(f"{'enable' if enabled else 'disable'} proxy {proxy}", call, deadline_s)

    async def add_toxic(
        self,
        proxy: str,
        name: str,
        type: str,
        stream: str,
        attributes: Mapping[str, int],
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Toxic:
        """Add a toxic with toxicity 1. Raises UsageError for attributes that the server would misunderstand."""
        check(type, stream, attributes)

        def call() -> Toxic:
            with self._known(proxy) as found:
                found.add_toxic(name=name, type=type, stream=stream, toxicity=1.0, attributes=dict(attributes))
            return self._expect_toxic(proxy, name, attributes)

        return await self._bounded(f"add toxic {name} to {proxy}", call, deadline_s)

    async def update_toxic(
        self, proxy: str, name: str, attributes: Mapping[str, int], *, deadline_s: float = DEADLINE_S
    ) -> Toxic:
        """Change the attributes of a toxic that is there; those not named keep their values."""

        def call() -> Toxic:
            found = self._find(proxy, name)
            if found is None:
                raise ToxiproxyError(f"proxy {proxy} has no toxic {name}")
            check(found.type, found.stream, {**found.attributes, **attributes})
            self._json("PATCH", f"/proxies/{proxy}/toxics/{name}", json={"attributes": dict(attributes)})
            return self._expect_toxic(proxy, name, attributes)

        return await self._bounded(f"update toxic {name} of {proxy}", call, deadline_s)

    def _find(self, proxy: str, name: str) -> Toxic | None:
        return next((toxic for toxic in self._get(proxy).toxics if toxic.name == name), None)

    def _expect_toxic(self, proxy: str, name: str, attributes: Mapping[str, int]) -> Toxic:
        found = self._find(proxy, name)
        if found is None or any(found.attributes.get(key) != value for key, value in attributes.items()):
            raise ToxiproxyError(f"toxic {name} of {proxy} should have {dict(attributes)}, but is {found}")
        return found

    async def let_go(self, proxy: str, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Take a toxic's effect from all connections and leave it there: removing some closes them. Absent is fine."""

        def call() -> None:
            if self._find(proxy, name) is None:
                return
            self._json("PATCH", f"/proxies/{proxy}/toxics/{name}", json={"toxicity": 0.0})
            found = self._find(proxy, name)
            if found is not None and found.toxicity != 0.0:
                raise ToxiproxyError(f"toxic {name} of {proxy} should have no effect, but is {found}")

        await self._bounded(f"let go toxic {name} of {proxy}", call, deadline_s)

    async def remove_toxic(self, proxy: str, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Remove a toxic. One that is absent, or whose proxy is absent, is fine."""

        def call() -> None:
            try:
                _named(proxy).destroy_toxic(name)
            except toxiproxy.exceptions.NotFound:
                return
            if self._find(proxy, name) is not None:
                raise ToxiproxyError(f"toxic {name} of {proxy} is still there")

        await self._bounded(f"remove toxic {name} of {proxy}", call, deadline_s)

    async def toxics(self, proxy: str, *, deadline_s: float = DEADLINE_S) -> dict[str, Toxic]:
        """The toxics of a proxy, both streams, by name."""
        state = await self._bounded(f"toxics of {proxy}", lambda: self._get(proxy), deadline_s)
        return {toxic.name: toxic for toxic in state.toxics}

    async def populate(self, proxies: Iterable[Proxy], *, deadline_s: float = DEADLINE_S) -> None:
        """Make all these proxies be there and enabled. One that is as asked is left alone, with its connections.

        Not the server's /populate: that stops at its first error and says nothing about the rest.
        """
        wanted = tuple(proxies)

        def call() -> None:
            present = self._list()
            for proxy in wanted:
                state = present.get(proxy.name)
                if state and (state.listen, state.upstream, state.enabled) == (proxy.listen, proxy.upstream, True):
                    continue
                if state:
                    _named(proxy.name).destroy()
                self._server.create(upstream=proxy.upstream, name=proxy.name, listen=proxy.listen, enabled=True)
                self._expect_proxy(proxy.name, proxy.listen, proxy.upstream)

        await self._bounded("populate", call, deadline_s)


def _named(name: str) -> toxiproxy.Proxy:
    """The library's value for a proxy that may be there. Its calls use the name alone.

    Not asked of the server: that would be a whole call more between the wish and its effect on the wire, and on a busy
    machine as long as the other one.
    """
    return toxiproxy.Proxy(name=name, upstream="", listen="", enabled=True)


def _state(data: dict[str, Any]) -> ProxyState:
    toxics = tuple(
        Toxic(toxic["name"], toxic["type"], toxic["stream"], float(toxic["toxicity"]), dict(toxic["attributes"]))
        for toxic in data["toxics"]
    )
    return ProxyState(data["name"], data["listen"], data["upstream"], data["enabled"], toxics)
