"""`chaosd dlq`: look into a dead letter topic, and send what lies there back to where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosd.traffic.letters import Found

app = typer.Typer(
    help="Look into a dead letter topic, and replay what lies there.", no_args_is_help=True, add_completion=False
)

Testbed = Annotated[str, typer.Option(help="The kept testbed whose DLQ is meant.")]
Bootstrap = Annotated[str | None, typer.Option(help="host:port of a Kafka instead, with --topic.")]
Topic = Annotated[str | None, typer.Option(help="The dead letter topic; a testbed knows its own.")]
Dialect = Annotated[str, typer.Option(help="chaosd, kafka-connect, spring or kafka-streams; found out by default.")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=TEXT", help="Only letters like this: --where error_type=transient."),
]
Limit = Annotated[int, typer.Option(min=1, help="At most so many, the newest.")]
AllowHost = Annotated[list[str] | None, typer.Option(help="Send there, although it is no loopback.")]

_FIELDS = ("dialect", "error_class", "error_message", "error_type", "key", "topic")
_CUT = 60


@app.command("list")
def list_(
    testbed: Testbed = "default",
    bootstrap: Bootstrap = None,
    topic: Topic = None,
    dialect: Dialect = "",
    where: Where = None,
    limit: Limit = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List dead letters: where they lie, where they came from, what was wrong with them."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    _, _, letters = _letters(testbed, bootstrap, topic, dialect, where)
    shown = letters[-limit:]
    if as_json:
        print(json.dumps([_brief(found) for found in shown], indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("letter", "original", "key", "error", "message"):
        table.add_column(column)
    for found in shown:
        said = _brief(found)
        origin = f"{said['topic']}/{said['partition']}/{said['offset']}" if said["topic"] else "?"
        error = " ".join(filter(None, (said["error_type"], said["error_class"]))) or "in no known dialect"
        # Text, not markup: what lies in a DLQ is anything.
        table.add_row(*(Text(_plain(x)) for x in (found.place, origin, said["key"], error, said["error_message"])))
    console = Console(highlight=False)
    if shown:
        console.print(table)
    more = f", the newest {len(shown)} are shown" if len(shown) < len(letters) else ""
    print(f"{len(letters)} dead letters{more}")


@app.command()
def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION/OFFSET", help="As `chaosd dlq list` names it.")],
    testbed: Testbed = "default",
    bootstrap: Bootstrap = None,
    topic: Topic = None,
    dialect: Dialect = "",
) -> None:
    """Show one dead letter, and its original as it is in its own topic."""
    import asyncio
    import json

    from chaosd.kernel.errors import UsageError
    from chaosd.traffic.letters import read_originals

    server, name, letters = _letters(testbed, bootstrap, topic, dialect, None)
    found = next((one for one in letters if one.place == place), None)
    if found is None:
        raise UsageError(f"there is no letter {place} in {name}", remedy="`chaosd dlq list` shows those there are")
    said = _brief(found)
    if found.letter is not None:
        originals = asyncio.run(read_originals(server, [found.letter]))
        original = next(iter(originals.values()), None)
        said["original"] = None if original is None else _record(original.key, original.value, original.headers)
        said["carried"] = _record(found.letter.key, found.letter.value, found.letter.headers)
    print(json.dumps(said, indent=2, ensure_ascii=False))


@app.command()
def replay(
    testbed: Testbed = "default",
    bootstrap: Bootstrap = None,
    topic: Topic = None,
    dialect: Dialect = "",
    where: Where = None,
    limit: Limit = 1_000,
    rate: Annotated[str, typer.Option(help="So many a second at the most.")] = "50/s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what the letter calls hopeless, or was replayed before.")
    ] = False,
    allow_host: AllowHost = None,
) -> int:
    """Send dead letters back to their original topic: original key, value and headers, and a mark of the replay.

    A pipeline that deduplicates by the envelope's id does each of them once. Exit code 0: all that were chosen were
    sent; 2: some could not be, or nothing was there to be sent.
    """
    import asyncio
    import sys

    from chaosd.kernel.clock import SystemClock
    from chaosd.kernel.errors import Exit, UsageError
    from chaosd.kernel.units import parse_rate_hz
    from chaosd.traffic.replay import plan, send

    try:
        rate_hz = parse_rate_hz(rate)
    except ValueError as error:
        raise UsageError(f"--rate {rate!r}: expected {error}") from error
    server, name, letters = _letters(testbed, bootstrap, topic, dialect, where, allow_host)
    chosen = letters[-limit:]
    planned = asyncio.run(plan(server, chosen, force=force))
    for one in planned:
        if one.why_not:
            print(f"left alone {one.found.place}: {one.why_not}", file=sys.stderr)
    ready = [one for one in planned if not one.why_not]
    if dry_run:
        for one in ready:
            print(_plain(f"would send {one.found.place} to {one.topic}/{one.partition}"))
        print(f"{len(ready)} of {len(planned)} letters of {name} would be replayed")
        return Exit.PASS
    sent = asyncio.run(send(server, ready, rate_hz, SystemClock(), _progress(len(ready)))) if ready else 0
    print(f"{sent} of {len(planned)} letters of {name} were replayed")
    return Exit.PASS if ready and len(ready) == len(planned) else Exit.USAGE


def _progress(count: int) -> Any:
    """On a terminal a line that is written over, elsewhere one now and then."""
    import sys

    def say(sent: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{sent} of {count}", end="\n" if sent == count else "", file=sys.stderr, flush=True)
        elif sent % 100 == 0:
            print(f"{sent} of {count}", file=sys.stderr, flush=True)

    return say


def _letters(
    testbed: str,
    bootstrap: str | None,
    topic: str | None,
    dialect: str,
    where: Sequence[str] | None,
    allowed: Sequence[str] | None = None,
) -> tuple[str, str, list[Found]]:
    """Where Kafka is, the topic's name, and the letters that fit. Raises UsageError and StackError."""
    import asyncio

    from chaosd.traffic.letters import read_letters

    conditions = [_condition(text) for text in where or ()]
    server, name = _place(testbed, bootstrap, topic, allowed or ())
    letters = asyncio.run(read_letters(server, name, dialect))
    return server, name, [one for one in letters if all(word in str(_brief(one)[key]) for key, word in conditions)]


def _condition(text: str) -> tuple[str, str]:
    from chaosd.kernel.errors import UsageError, nearest

    field, equals, word = text.partition("=")
    if not equals or field not in _FIELDS:
        near = nearest(field, _FIELDS)
        hint = f"did you mean {near!r}?" if near else f"FIELD=TEXT, where FIELD is one of: {', '.join(_FIELDS)}"
        raise UsageError(f"--where {text!r}: there is no such field", remedy=hint)
    return field, word


def _place(testbed: str, bootstrap: str | None, topic: str | None, allowed: Sequence[str]) -> tuple[str, str]:
    from chaosd.kernel.errors import UsageError
    from chaosd.process.places import testbeds_dir
    from chaosd.stack.address import is_loopback
    from chaosd.stack.stack import Stack
    from chaosd.testbed import record as records

    if bootstrap is not None:
        if topic is None:
            raise UsageError("--bootstrap needs --topic", remedy="name the dead letter topic")
        host = bootstrap.rpartition(":")[0]
        if not is_loopback(host) and host not in allowed:
            raise UsageError(
                f"{bootstrap} is not this machine", remedy=f"if that is what you want: --allow-host {host}"
            )
        return bootstrap, topic
    folder = testbeds_dir() / testbed
    record = records.load(folder)
    own = next((one.name for one in record.topics if one.role == "dlq"), None)
    if topic is None and own is None:
        raise UsageError(
            f"the testbed {testbed} has no pipeline and so no DLQ",
            remedy="name one: --topic, or --bootstrap and --topic",
        )
    return str(Stack.open(folder).endpoints.direct.kafka), topic or str(own)


def _brief(found: Found) -> dict[str, Any]:
    letter = found.letter
    return {
        "letter": found.place,
        "timestamp_ms": found.timestamp_ms,
        "bytes": found.size,
        "dialect": letter.dialect if letter else "",
        "topic": letter.topic if letter else "",
        "partition": letter.partition if letter else -1,
        "offset": letter.offset if letter else -1,
        "key": _text(letter.key if letter and letter.key is not None else found.key),
        "error_type": letter.error_type if letter else "",
        "error_class": letter.error_class if letter else "",
        "error_message": letter.error_message if letter else "",
        "may_replay": bool(letter and letter.may_replay),
    }


def _record(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    return {"key": _text(key), "value": _text(value), "headers": {name: _text(content) for name, content in headers}}


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode("utf-8", "backslashreplace")


def _plain(text: str) -> str:
    """One short line without control characters: a letter must not steer the terminal it is shown on."""
    clean = "".join(one if one.isprintable() else " " for one in text)
    return clean if len(clean) <= _CUT else clean[: _CUT - 1] + "…"
