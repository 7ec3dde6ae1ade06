"""Plants anomalies in a copy of a run's rows, each at a place where its class applies by definition.

One function a class; a class whose place does not exist in this history is left out. STUCK and UNSEEN need a partition
that is not drained: one is held still for them (verification/hold.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from chaosd.journal.columns import Deviation, Outcome, Role
from chaosd.journal.model import Partition
from chaosd.kernel.clock import SECOND
from chaosd.verification.case import Case, overlaps
from chaosd.verification.episodes import Episode, episodes
from chaosd.verification.ground import PER_CLASS, Ground, Planting
from chaosd.verification.halts import Halts
from chaosd.verification.hold import Held
from chaosd.verification.latency import stalled_ns
from chaosd.verification.obligations import drained, in_flight_during_faults, owed, sent_ns, voided

_PHANTOM_SEQ = (1 << 32) - 1
# In so many shares of a history each class is planted.
_CARRYING = 2


class Planter:
    """Plants over the shares of a history. `plantings` is what must be noticed."""

    def __init__(self, case: Case, rng: np.random.Generator, held: Held | None = None) -> None:
        """`case` is that of the copy, in which the partition of `held` is not drained."""
        self._ground = Ground(case, rng)
        self._held = held
        # A quarter of the limit is the highest threshold of a run that would PASS.
        self._episodes = list(episodes(case.run, case.run.limit_ns // 4))

    @property
    def plantings(self) -> list[Planting]:
        """All plants so far."""
        return self._ground.plantings

    def plant(self, shares: Sequence[Partition]) -> tuple[Partition, ...]:
        """Copies of the shares with their plants, and those shares in which nothing differs, themselves."""
        copies = list(shares)
        for number, copy in self.copies(shares):
            copies[number] = copy
        return tuple(copies)

    def copies(self, shares: Sequence[Partition]) -> Iterator[tuple[int, Partition]]:
        """The copies that differ, each with the number of its share, one after the other: a copy is whole when it is
        given.

        Two shares carry plants of a class, half of them each, so that a verifier that joins shares must keep what both
        hold; the first two in which the class has a place.
        """
        carrying = Counter[str]()
        if len(shares) > 1:
            self._ground.most = PER_CLASS // _CARRYING
        still = [self._held is not None and self._held.touches(share.envelopes) for share in shares]
        for number in self._order(still):
            names = [name for name in _PLANTS if carrying[name] < _CARRYING]
            if self._plant(shares[number], names, still=still[number]):
                yield number, self._ground.harvest()
            carrying.update(name for name, planted in self._ground.share.count.items() if planted)

    def _order(self, still: Sequence[bool]) -> list[int]:
        """Those that are changed anyway come first."""
        if len(still) < 2:
            return list(range(len(still)))
        return sorted(self._ground.rng.permutation(len(still)).tolist(), key=lambda number: not still[number])

    def _plant(self, share: Partition, names: Sequence[str], *, still: bool) -> bool:
        """Plant in one share, which may hold envelopes of the partition that stands still. Whether the copy differs."""
        ground, before = self._ground, len(self.plantings)
        ground.till(share)
        if self._held is not None and still:
            self._held.plant(ground)
        self._episodes = [episode for episode in self._episodes if not _slow(ground, episode)]
        for name in names:
            _PLANTS[name](ground, name)
        return still or len(self.plantings) > before


def _slow(ground: Ground, episode: Episode) -> bool:
    """Delay one result beyond the limit after an episode, so that no calm lies between."""
    run, rows = ground.case.run, ground.share.rows
    if run.hold_ns < run.limit_ns // 4:
        return False  # a hold shorter than θ may be over before one late result is late: calm can come first
    # Late also where a part was slow meanwhile, which counts against nobody.
    clock = Halts(ground.case.slow_spans(run.limit_ns // 4))
    at_ns = np.array([clock.after(episode.zero_high_ns, run.limit_ns + 2 * SECOND)], np.int64)
    at_ns += stalled_ns(ground.case.stalls, at_ns) + SECOND
    # Early enough to be the oldest one that waits when the limit is reached: that is whom the verifier names. And to
    # wait too long before the hold is over, else calm came first: θ is at most a quarter of the limit.
    span_ns = min(run.hold_ns, run.limit_ns // 2)
    from_ns, until_ns = episode.zero_low_ns, episode.zero_low_ns + span_ns // 8
    sites = (rows["kind"] == 0) & (rows["due_ns"] >= from_ns) & (rows["acked_ns"] < until_ns)
    sites &= (rows["due_ns"] < until_ns) & (rows["first_output_ns"] < at_ns[0])
    chosen = ground.choose(sites, "SLOW-RECOVERY", 1)
    rows["first_output_ns"][chosen] = rows["last_output_ns"][chosen] = at_ns[0]
    return bool(len(chosen))


def _plain(ground: Ground) -> np.ndarray:
    return np.asarray(ground.share.rows["kind"] == 0)


def _poison(ground: Ground) -> np.ndarray:
    return np.asarray(ground.share.rows["kind"] > 0)


def _calm(ground: Ground, sites: np.ndarray) -> np.ndarray:
    """Those of the sites that are free, and were not under way during a fault."""
    found = np.flatnonzero(sites & ground.share.free)
    calm = np.zeros_like(sites)
    calm[found[~in_flight_during_faults(ground.case, ground.share.rows[found])]] = True
    return calm


def _lost(ground: Ground, name: str) -> None:
    ground.clear(ground.choose(_plain(ground), name))


def _missing_error(ground: Ground, name: str) -> None:
    ground.clear(ground.choose(_poison(ground), name))


def _vanished(ground: Ground, name: str) -> None:
    chosen = ground.choose(_plain(ground), name)
    results = ground.share.results(chosen)
    ground.share.dropped[results[ground.share.sightings["final"][results] == 1]] = True
    ground.share.rows["fresh_output"][chosen] = 0


def _resurrected(ground: Ground, name: str) -> None:
    ground.share.rows["outcome"][ground.choose(_plain(ground), name)] = Outcome.REJECTED


def _recovered(ground: Ground, name: str) -> None:
    ground.share.rows["acked_ns"][ground.choose(_plain(ground), name)] = -1


def _dup_id(ground: Ground, name: str) -> None:
    rows, sites = ground.share.rows, _plain(ground)
    if ground.case.run.expect.duplicates == "allowed_during_faults":
        sites = _calm(ground, sites)
    for index in ground.choose(sites, name):
        if ground.record(Role.OUTPUT, int(index)) is not None:
            for column in ("n_output", "live_output", "fresh_output"):
                rows[column][index] += 1


def _dup_offset(ground: Ground, name: str) -> None:
    chosen = ground.choose(_plain(ground), name)
    results = ground.share.results(chosen)
    ground.share.sightings["content"][results[ground.share.sightings["final"][results] == 1]] ^= np.uint64(1)


def _reordered(ground: Ground, name: str) -> None:
    """Exchange the places of two outputs of one key that follow one another."""
    rows, sightings = ground.share.rows, ground.share.sightings
    if len(rows) < 2 or not ground.share.free.any():
        return
    # What is in the input twice has two places, and so no order that could be held against it.
    sites = _plain(ground) & ground.share.free & (rows["n_input"] <= 1)
    if ground.case.run.expect.order == "per_key_outside_faults":
        sites = _calm(ground, sites)
    pairs = sites[:-1] & sites[1:] & (rows["stream"][:-1] == rows["stream"][1:])
    pairs &= (rows["in_partition"][:-1] == rows["in_partition"][1:]) & (rows["in_offset"][:-1] < rows["in_offset"][1:])
    candidates = ground.rng.permutation(np.flatnonzero(pairs))[: 3 * PER_CLASS]
    for index in np.sort(candidates):
        pair = np.array([index, index + 1])
        if ground.left(name) < 1 or not ground.share.free[pair].all():
            continue
        first, second = (ground.share.results(pair[n : n + 1]) for n in (0, 1))
        if len(first) != 2 or len(second) != 2:
            continue
        if any(sightings[column][first[0]] != sightings[column][second[0]] for column in ("topic", "partition")):
            continue
        offsets = sightings["offset"][first].copy()
        sightings["offset"][first], sightings["offset"][second] = sightings["offset"][second], offsets
        ground.share.moved[first] = ground.share.moved[second] = True
        ground.use(pair)
        ground.note(name, pair[:1])


def _deviates(role_sites: Callable[[Ground], np.ndarray], *deviations: Deviation) -> Callable[[Ground, str], None]:
    """Every way in which a record can deviate takes its turn."""

    def plant(ground: Ground, name: str) -> None:
        for turn, row in enumerate(ground.choose(role_sites(ground), name)):
            at = ground.share.results(np.array([row]))
            ground.share.sightings["deviation"][at] |= np.uint32(deviations[turn % len(deviations)])

    return plant


def _voided(ground: Ground, name: str) -> None:
    """Where a fault takes the obligation away, a missing result is VOIDED and not LOST."""
    case, rows = ground.case, ground.share.rows
    void = voided(case, rows, if_lost=True)
    if not void.any():
        return
    sites = _plain(ground) & owed(rows) & (rows["n_output"] == 1) & (rows["n_dlq"] == 0) & void
    candidates = np.flatnonzero(sites & ~ground.share.free & case.phase_mask(rows, "faults", "tail"))
    most = min(ground.left(name), len(candidates))
    chosen = np.sort(ground.rng.choice(candidates, most, replace=False))
    ground.note(name, chosen)
    ground.clear(chosen)


def _bad_replay(ground: Ground, name: str) -> None:
    """What came of a replay is gone."""
    case, rows = ground.case, ground.share.rows
    sites = (rows["replayed"] > 0) & owed(rows)
    if not sites.any():
        return
    sites &= (rows["n_output"] == 1) & drained(case, rows) & case.phase_mask(rows, "faults", "tail")
    candidates = np.flatnonzero(sites)
    chosen = np.sort(ground.rng.choice(candidates, min(ground.left(name), len(candidates)), replace=False))
    ground.note(name, chosen)
    ground.clear(chosen)


def _double_outcome(ground: Ground, name: str) -> None:
    _dead_letters(ground, ground.choose(_plain(ground), name) if len(ground.case.topics(Role.DLQ)) else _NONE)


def _unexpected_error(ground: Ground, name: str) -> None:
    case, rows = ground.case, ground.share.rows
    sites = _plain(ground)
    if case.run.expect.system_errors == "allowed_during_faults":
        sites &= ~overlaps(sent_ns(rows), rows["first_output_ns"], case.fault_spans(case.run.limit_ns))
    chosen = ground.choose(sites, name) if len(case.topics(Role.DLQ)) else _NONE
    seen = rows["first_output_ns"][chosen].copy()
    ground.clear(chosen)
    _dead_letters(ground, chosen)
    rows["first_dlq_ns"][chosen] = seen


def _dead_letters(ground: Ground, chosen: np.ndarray) -> None:
    rows = ground.share.rows
    rows["first_dlq_ns"][chosen] = rows["first_output_ns"][chosen]
    for column in ("n_dlq", "live_dlq", "fresh_dlq"):
        rows[column][chosen] = 1
    for index in chosen:
        ground.record(Role.DLQ, int(index))


def _strays(ground: Ground, name: str, most: int, deviation: Deviation) -> None:
    while ground.count[name] < most and ground.left(name) > 0:
        made = ground.record(Role.OUTPUT)
        if made is None:
            return
        made["deviation"] = deviation
        if name == "PHANTOM":
            made["stream"], made["seq"] = 0, _PHANTOM_SEQ - ground.count[name]
        ground.note_stray(name, made)


def _phantom(ground: Ground, name: str) -> None:
    _strays(ground, name, PER_CLASS, Deviation.UNPLANNED)


def _foreign(ground: Ground, name: str) -> None:
    _strays(ground, name, PER_CLASS, Deviation.FOREIGN)


def _unidentified(ground: Ground, name: str) -> None:
    # As many of them as outputs are missing would take the name of LOST away.
    _strays(ground, name, min(PER_CLASS, ground.count["LOST"] - 1), Deviation.UNIDENTIFIED)


_NONE = np.zeros(0, np.int64)
_PLANTS: dict[str, Callable[[Ground, str], None]] = {
    "REORDERED": _reordered,
    "LOST": _lost,
    "VOIDED": _voided,
    "MISSING-ERROR": _missing_error,
    "WRONG-ERROR": _deviates(
        _poison,
        Deviation.ERROR_TYPE,
        Deviation.CORRELATION,
        Deviation.CAUSATION,
        Deviation.COORDINATES,
        Deviation.PAYLOAD,
        Deviation.TYPE,
    ),
    "VANISHED": _vanished,
    "RESURRECTED": _resurrected,
    "RECOVERED": _recovered,
    "DUP-ID": _dup_id,
    "DUP-OFFSET": _dup_offset,
    "DOUBLE-OUTCOME": _double_outcome,
    "BAD-REPLAY": _bad_replay,
    "CORRUPT": _deviates(
        _plain,
        Deviation.FIELD,
        Deviation.TYPE,
        Deviation.CORRELATION,
        Deviation.CAUSATION,
        Deviation.UNDECODABLE,
    ),
    "MISROUTED": _deviates(_plain, Deviation.TOPIC, Deviation.KEY),
    "UNEXPECTED-ERROR": _unexpected_error,
    "PHANTOM": _phantom,
    "FOREIGN": _foreign,
    "UNIDENTIFIED": _unidentified,
}
CLASSES = ("SLOW-RECOVERY", "STUCK", "UNSEEN", *_PLANTS)
