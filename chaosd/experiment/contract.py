"""What a pipeline of somebody's own is given and must give, as a target file says it: values that cross processes.

Texts are templates (templates.py), places in records are in the words of where.py. Pure.
"""

from __future__ import annotations

import msgspec

from chaosd.experiment.dealing import deal

# What a record's template may hold. `key` is the record's own key.
RECORD = {
    "id": "the identity, a UUID",
    "seq": "the number in its stream, from 0",
    "stream": "the stream's number, from 0",
    "key": "the record's key, one for each stream",
    "time": "a time with its offset, as in RFC 3339",
    "time_ms": "the same in milliseconds since 1970",
    "amount": "money as text, with two decimals, from 100.00 to 999.99",
    "count": "a whole number from 1 to 1000",
}
# What a key may be made of: a stream has one key.
KEY = ("key", "stream")
SPOILED = ("not_json", "wrong_encoding")


class Input(msgspec.Struct, frozen=True):
    """What is sent to an input topic: templates of the record. `share`: its weight among the inputs (dealing.py)."""

    topic: str
    value: str
    partitions: int = 4
    key: str = "${key}"
    headers: dict[str, str] = {}
    share: int = 1


class Result(msgspec.Struct, frozen=True):
    """`count` records on `topic` for each input, told by `type` from others there ("" = whatever is there).

    `key` None: any. `fields`: place in the record → template of what must stand there. `optional`: an input may give
    none of them. `sources`: the input topics whose records owe them; empty: all.
    """

    topic: str
    type: str = ""
    count: int = 1
    key: str | None = "${key}"
    fields: dict[str, str] = {}
    optional: bool = False
    sources: list[str] = []


class Table(msgspec.Struct, frozen=True):
    """`count` rows in a table of PostgreSQL (`name`, or `schema.name`) for each input, whose identity is in `key`.

    `columns`: name → template of its text. `sources` as of a Result.
    """

    name: str
    key: str
    columns: dict[str, str] = {}
    count: int = 1
    optional: bool = False
    sources: list[str] = []

    @property
    def title(self) -> str:
        """What it is called among the run's topics: no topic has a name with a space."""
        return f"table {self.name}"


class Letters(msgspec.Struct, frozen=True):
    """How dead letters speak: a `dialect` by its name, or `places` of their parts; `types`: class of error → type."""

    dialect: str = ""
    places: dict[str, str] = {}
    types: dict[str, str] = {}


class Contract(msgspec.Struct, frozen=True):
    """`id` and `type` say where a result carries them; `events`: results are CloudEvents.

    `python` (`FILE:FUNCTION`, absolute) finds identity and type instead of the two.
    """

    inputs: list[Input]
    results: list[Result]
    id: str = "$.id"
    type: str = ""
    events: bool = False
    python: str = ""
    letters: Letters | None = None
    tables: list[Table] = []

    @property
    def kinds(self) -> list[Result | Table]:
        """What an input gives; a kind's number is its place here."""
        return [*self.results, *self.tables]

    @property
    def owes_nothing(self) -> bool:
        """Whether an input may give no result at all."""
        return all(one.optional for one in self.kinds)

    def owing(self, kind: Result | Table) -> list[int]:
        """The numbers of the inputs whose records owe results of this kind."""
        return [number for number, one in enumerate(self.inputs) if not kind.sources or one.topic in kind.sources]

    def dealt(self, streams: int) -> tuple[int, ...]:
        """The number of the input of each stream."""
        return deal([one.share for one in self.inputs], streams)

    def not_judged(self) -> list[str]:
        """What of the results and dead letters nobody looks at, for people to know."""
        found = []
        if self.owes_nothing:
            found.append("loss: every result is optional")
        plain = [one.name for one in self.tables if not one.columns]
        found += [f"the columns of {name}: the target file has no rules for them" for name in plain]
        for one in self.results:
            if not one.fields:
                found.append(f"the fields of {one.topic}: the target file has no rules for them")
            if one.key is None:
                found.append(f"the keys of {one.topic}: any will do")
        if self.letters is not None and not self.letters.types:
            found.append("the error types of dead letters: the target file has no map of classes to types")
        return found
