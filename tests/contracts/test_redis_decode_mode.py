"""`TypeError: a bytes-like object is required, not 'str'`: replies used in the other mode than their client's."""

from __future__ import annotations

import pytest

BYTES = "import redis\n\nclient = redis.Redis(host='h')\n"
STR = "import redis\n\nclient = redis.Redis(host='h', decode_responses=True)\n"
WRONG_ON_BYTES = [
    "client.get('k').split(',')",
    "client.get('k').replace('a', 'b')",
    "client.get('k').startswith('a')",
    "client.get('k').encode()",
    "client.get('k').format(1)",
    "client.get('k') == 'on'",
    "'on' != client.get('k')",
    "'a' in client.get('k')",
    "client.get('k') in ('on', 'off')",
    "'on' in client.smembers('k')",
    "client.hgetall('k')['field']",
    "client.hgetall('k').get('field')",
    "'field' in client.hgetall('k')",
    "'prefix:' + client.get('k')",
    "','.join(client.lrange('k', 0, -1))",
    "f\"{client.get('k')}\"",
    "str(client.get('k'))",
    "Decimal(client.get('k'))",
    "datetime.fromisoformat(client.hget('k', 'at'))",
    "Kind(client.get('k'))",
    "client.get('k') == Kind.TICK",
    "[key.split(':') for key in client.scan_iter('k')]",
    "client.blpop('k')[1].split(',')",
]
WRONG_ON_STR = [
    "client.get('k').decode()",
    "client.get('k') == b'on'",
    "client.get('k').split(b',')",
    "client.hgetall('k')[b'field']",
    "client.hgetall('k').get(b'field')",
    "b'on' in client.smembers('k')",
    "[key.decode() for key in client.keys()]",
    "{k.decode(): v for k, v in client.hgetall('k').items()}",
    "client.get('k') + b'!'",
]
PRELUDE = (
    "from datetime import datetime\nfrom decimal import Decimal\nfrom enum import StrEnum\n\n"
    "class Kind(StrEnum):\n    TICK = 'tick'\n\n"
)


@pytest.mark.parametrize("use", WRONG_ON_BYTES)
def test_bytes_used_as_str_are_found_and_str_is_not(check, use):
    check(
        {"wrong.py": f"{PRELUDE}{BYTES}found = {use}  # !decode-mode\n", "right.py": f"{PRELUDE}{STR}found = {use}\n"}
    )


@pytest.mark.parametrize("use", WRONG_ON_STR)
def test_str_used_as_bytes_is_found_and_bytes_are_not(check, use):
    check({"wrong.py": f"{STR}found = {use}  # !decode-mode\n", "right.py": f"{BYTES}found = {use}\n"})


@pytest.mark.parametrize(
    "use",
    [
        "int(client.get('k'))",
        "float(client.get('k'))",
        "json.loads(client.get('k'))",
        "client.get('k') is None",
        "client.get('k') == other",
        "client.zrange('k', 0, -1, withscores=True)[0].decode()",
        "client.pipeline().get('k').decode()",
        "client.lpop('k', 3).decode()",
        "client.incr('k')",
        "log.info(f\"{client.get('k')}\")",
        "f\"{client.get('k')!r}\"",
        "getattr(client.get('k'), 'decode', str)()",
    ],
)
def test_use_that_works_or_is_not_known_gives_no_finding(check, use):
    for name, client in (("bytes.py", BYTES), ("str.py", STR)):
        check({name: f"import json\nfrom elsewhere import log, other\n{client}found = {use}\n"})


@pytest.mark.parametrize(
    ("built", "decodes"),
    [
        ("redis.from_url(url)", False),
        ("redis.from_url(url, decode_responses=True)", True),
        ("redis.Redis.from_url('redis://h/0?decode_responses=True')", True),
        ("redis.Redis(connection_pool=redis.ConnectionPool(decode_responses=True))", True),
        ("redis.Redis(connection_pool=redis.ConnectionPool.from_url(url))", False),
        ("redis.StrictRedis(decode_responses=DECODE)", True),
        ("make(True)", True),
        ("redis.Redis(**options, decode_responses=True)", True),
        ("redis.Redis(**options)", None),
        ("redis.Redis(decode_responses=options['decode'])", None),
        ("redis.Redis(connection_pool=options['pool'])", None),
    ],
)
def test_mode_is_read_off_the_way_a_client_is_built(check, built, decodes):
    check(
        {
            "m.py": f"""
                import redis
                from elsewhere import options, url

                DECODE = True

                def make(decode):
                    return redis.Redis(decode_responses=decode)

                client = {built}
                text = client.get("k").upper
                client.get("k").decode()  {"# !decode-mode" if decodes else ""}
                client.get("k").split(",")  {"# !decode-mode" if decodes is False else ""}
                """,
        }
    )


ASYNC_STORE = {
    "annotated": """
        from redis.asyncio import Redis

        class Store:
            def __init__(self, redis: Redis) -> None:
                self._redis = redis

            async def position(self, symbol: str) -> str:
                state = await self._redis.hgetall(f"risk:{symbol}")
                if not state:
                    return ""
                return state["position"]  # !decode-mode
        """,
    "mixed": """
        class Store:
            def __init__(self, redis) -> None:
                self._redis = redis

            async def position(self, symbol: str) -> "dict[str, str]":
                return await self._redis.hgetall(symbol)  # !decode-mode
        """,
    "unannotated": """
        class Store:
            def __init__(self, redis):
                self._redis = redis

            async def raw(self, symbol):
                return await self._redis.get(symbol)

            async def position(self, symbol):
                raw = await self.raw(symbol)
                if raw is None:
                    return None
                amount, currency = raw.split(",")  # !decode-mode
                return amount
        """,
}


@pytest.mark.parametrize("store", ASYNC_STORE)
def test_asynchronous_client_is_followed_into_a_store(check, store):
    check(
        {
            "store.py": ASYNC_STORE[store],
            "app.py": """
                import redis.asyncio as aioredis
                from store import Store

                def client(url):
                    return aioredis.from_url(url, max_connections=4)

                async def main(url):
                    async with client(url) as connection:
                        await Store(connection).position("A")
                """,
        }
    )


def test_function_that_promises_the_other_kind_is_found_at_its_return(check):
    check(
        {
            "m.py": f"""
                {"import redis"}
                client = redis.Redis()

                def text() -> str | None:
                    return client.get("k")  # !decode-mode

                def data() -> bytes | None:
                    return client.get("k")

                def decoded() -> str:
                    return client.get("k").decode()

                def unsure():
                    return client.get("k")
                """,
        }
    )


READER = """
    class Reader:
        def __init__(self, redis):
            self.redis = redis{mark}

        def read(self):
            return self.redis.get("k")
    """
TWO_MODES = """
    import redis
    from reader import Reader

    Reader(redis.Redis(decode_responses=True)).read()
    Reader(redis.Redis()).read()
    """


def test_attribute_fed_by_clients_of_both_modes_is_found_once(check):
    report = check({"reader.py": READER.format(mark="  # !decode-mode"), "app.py": TWO_MODES})
    (finding,) = report.findings
    assert "app.py:4" in finding.message
    assert "app.py:5" in finding.message


@pytest.mark.parametrize(
    "read",
    [
        "value = self.redis.get('k')\n            return value.decode() if isinstance(value, bytes) else value",
        "return self.redis.ping()",
        "return self.redis.incr('k')",
    ],
)
def test_attribute_of_both_modes_that_asks_or_does_not_care_is_fine(check, read):
    reader = READER.format(mark="").replace('return self.redis.get("k")', read)
    check({"reader.py": reader, "app.py": TWO_MODES})


def test_one_attribute_for_each_mode_is_fine(check):
    check(
        {
            "m.py": """
                import redis

                class Cache:
                    def __init__(self):
                        self.texts = redis.Redis(decode_responses=True)
                        self.blobs = redis.Redis()

                    def read(self):
                        return self.texts.get("k").split(","), self.blobs.get("k").decode()
                """,
        }
    )


@pytest.mark.parametrize(
    "use",
    [
        "if isinstance(value, bytes):\n        value = value.decode()",
        "try:\n        value = value.decode()\n    except AttributeError:\n        pass",
        "if hasattr(value, 'decode'):\n        value = value.decode()",
        "value = convert(value)\n    value.decode()",
    ],
)
def test_code_that_looks_first_gives_no_finding(check, use):
    check({"m.py": f"from elsewhere import convert\n{STR}\ndef read():\n    value = client.get('k')\n    {use}\n"})


def test_reply_decoded_once_may_be_used_as_text_after(check):
    check(
        {
            "m.py": """
                import redis

                client = redis.Redis()

                def read(fallback):
                    value = client.get("k")
                    if value is None:
                        return fallback.split(",")
                    value = value.decode()
                    for part in value.split(","):
                        value = part
                    return value.decode()  # !missing-method
                """,
        }
    )
