"""What a few functions and classes of libraries give: amounts, moments, Kafka producers, providers of containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaosd.preflight.infer.values import STR, UNKNOWN, Scalar, Values, one, texts

_PRODUCERS = frozenset(
    {
        "aiokafka.AIOKafkaProducer",
        "aiokafka.producer.AIOKafkaProducer",
        "kafka.KafkaProducer",
        "kafka.producer.KafkaProducer",
    }
)
_PROVIDERS = frozenset(
    f"dependency_injector.providers.{name}"
    for name in (
        "Singleton",
        "ThreadSafeSingleton",
        "ThreadLocalSingleton",
        "Factory",
        "Callable",
        "ContextLocalSingleton",
    )
)
_KINDS = {
    "json.dumps": "str",
    "decimal.Decimal": "decimal.Decimal",
    "decimal.Decimal.from_float": "decimal.Decimal",
    "uuid.UUID": "uuid.UUID",
    "uuid.uuid1": "uuid.UUID",
    "uuid.uuid4": "uuid.UUID",
    "uuid.uuid5": "uuid.UUID",
    "datetime.timedelta": "datetime.timedelta",
    "datetime.date": "datetime.date",
    "datetime.date.today": "datetime.date",
    "pathlib.Path": "pathlib.Path",
    "time.time": "float",
    "time.monotonic": "float",
    "time.perf_counter": "float",
}
# Of the clock calls of datetime: the place of the time zone among the positional arguments, None where there is none.
_MOMENTS: dict[str, int | None] = {
    "datetime.datetime": 7,
    "datetime.datetime.now": 0,
    "datetime.datetime.utcnow": None,
    "datetime.datetime.today": None,
    "datetime.datetime.fromtimestamp": 1,
    "datetime.datetime.utcfromtimestamp": None,
}
_NOT_A_NUMBER = frozenset({"nan", "inf", "-inf", "infinity", "-infinity", "+inf"})


def builds(path: str) -> str | None:
    """`producer`, `provider` or `value` when the rules know what calling a dotted path gives."""
    if path in _PRODUCERS:
        return "producer"
    if path in _PROVIDERS:
        return "provider"
    return "value" if path in _KINDS or path in _MOMENTS or path == "builtins.float" else None


def made(path: str, positional: Sequence[Values], keywords: Mapping[str, Values]) -> Values:
    """The value that such a call gives."""
    if path == "builtins.float":
        words = texts(positional[0]) if positional else None
        odd = words is not None and all(word.strip().lower() in _NOT_A_NUMBER for word in words)
        return one(Scalar("float", nuance="nan" if odd else ""))
    if path in _MOMENTS:
        return _moment(path, positional, keywords)
    if path.startswith("decimal.") and positional:
        words = texts(positional[0])
        if words is not None and all(word.strip().lower() in _NOT_A_NUMBER for word in words):
            return one(Scalar("decimal.Decimal", nuance="nan"))
    return one(Scalar(_KINDS[path]))


def constant(path: str) -> Values | None:
    """The value of a library's constant, None for all others."""
    if path in {"math.nan", "math.inf"}:
        return one(Scalar("float", nuance="nan"))
    return one(Scalar("float")) if path in {"math.pi", "math.e"} else None


def of_moment(scalar: Scalar, name: str, arguments: Sequence[Values], keywords: Mapping[str, Values]) -> Values:
    """What a method of a datetime gives."""
    if name in {"isoformat", "strftime", "ctime"}:
        return STR
    if name == "timestamp":
        return one(Scalar("float"))
    if name == "astimezone":
        return one(Scalar("datetime.datetime", nuance="aware"))
    if name == "replace":
        zone = keywords.get("tzinfo")
        nuance = scalar.nuance if zone is None else _zoned(zone)
        return one(Scalar("datetime.datetime", nuance=nuance))
    return UNKNOWN


def _moment(path: str, positional: Sequence[Values], keywords: Mapping[str, Values]) -> Values:
    at = _MOMENTS[path]
    zone = keywords.get("tz", keywords.get("tzinfo"))
    if zone is None and at is not None and at < len(positional):
        zone = positional[at]
    return one(Scalar("datetime.datetime", nuance="naive" if zone is None else _zoned(zone)))


def _zoned(zone: Values) -> str:
    """`aware` for anything given as zone but None; a zone that is unknown may be None."""
    if zone.open:
        return ""
    return "aware" if zone.atoms else "naive"
