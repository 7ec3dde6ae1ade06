"""The targets that chaosd ships, one line and one sentence each."""

from __future__ import annotations

from dataclasses import dataclass

_REFERENCE = "chaosd.target.reference"
_MUTANTS = "chaosd.target.mutants"


@dataclass(frozen=True, slots=True)
class Target:
    """`module` is what `python -m` starts. `about` says in a sentence what it is, or what is wrong with it."""

    name: str
    about: str
    module: str = ""

    def __post_init__(self) -> None:
        """A mutant's module has the mutant's name."""
        object.__setattr__(self, "module", self.module or f"{_MUTANTS}.{self.name}")


TARGETS = (
    Target("reference", "at-least-once, done properly: the pipeline that must pass", _REFERENCE),
    Target("auto_commit", "commits before the effects: a death loses what is in work"),
    Target("blocks_partition", "retries for ever what failed once: its partition never gets on"),
    Target("commits_past_unfinished", "two workers, one slow; the quick one commits for both"),
    Target("dead_letters_transient", "an outage of a moment sends good events to the DLQ"),
    Target("decimal_to_float", "money goes through a float"),
    Target("double_outcome", "one tick in fifty ends in the output and in the DLQ"),
    Target("drops_poison", "swallows what it cannot read: no SYSTEM_ERROR ever"),
    Target("duplicates_on_retry", "answers before it stores, and does both again on every retry"),
    Target("fresh_correlation", "its SYSTEM_ERRORs carry a correlation id of their own"),
    Target("leaks_connections", "opens connections to Redis and closes none"),
    Target("leaks_memory", "keeps all it has ever read"),
    Target("marks_dead_letters", "marks what it makes a dead letter of: the letter that is sent back is skipped"),
    Target("never_reconnects", "after the first error it is alive and does nothing"),
    Target("no_coordinates", "its SYSTEM_ERRORs do not say where the original record was"),
    Target("no_dedup", "forgets what it has finished: what is delivered again comes out again"),
    Target("no_timeouts", "its PostgreSQL pool waits without end for an answer"),
    Target("reorders", "four workers send without looking at keys"),
    Target("set_nx", "takes SET NX for `was it seen?` and drops its own events when the answer is lost"),
    Target("skips_on_rebalance", "starts at the end of the log whenever it is assigned partitions"),
    Target("slow_reconnect", "waits eight seconds after every error"),
    Target("swallowed_exception", "logs an error and goes on with the next batch"),
    Target("without_postgres", "correct, but never uses PostgreSQL: a fault there proves nothing about it"),
    Target("wrong_error_type", "calls poison transient in its SYSTEM_ERRORs"),
    Target("wrong_key", "sends its results under the key of the exchange"),
)
