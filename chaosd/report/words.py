"""What the reasons and the classes of anomalies mean, in words for someone who has never read the definitions."""

from __future__ import annotations

CLASSES = {
    "LOST": "accepted by the broker, and its result never came out",
    "MISSING-ERROR": "should have ended as SYSTEM_ERROR in the dead letter topic, and did not",
    "UNSEEN": "no result seen, but it is not proved that none would come",
    "STUCK": "an input partition stood still although there was work, no fault and a healthy stack",
    "VANISHED": "its result was read once and is gone from the topic",
    "RESURRECTED": "the broker refused it, and yet it was processed",
    "RECOVERED": "its send ended unknown, and it arrived: counted only",
    "PHANTOM": "a result for an envelope that was never sent",
    "FOREIGN": "a late result of another run: counted only",
    "UNIDENTIFIED": "a record on the run's own topics that names no envelope",
    "DUP-ID": "more results than one for the same envelope",
    "DUP-OFFSET": "the same offset was read with two different contents",
    "REORDERED": "results of one key came out in another order than their inputs",
    "CORRUPT": "a field of the result differs from what it must be",
    "MISROUTED": "the right content on the wrong topic, partition or key",
    "DOUBLE-OUTCOME": "a result in the output and in the dead letter topic, both",
    "WRONG-ERROR": "the SYSTEM_ERROR says the wrong thing: type, correlation, coordinates or payload",
    "UNEXPECTED-ERROR": "a SYSTEM_ERROR for an envelope that should have succeeded",
    "VOIDED": "the fault itself took the obligation away: counted only",
    "SLOW-RECOVERY": "the pipeline was not back within the recovery limit",
    "SLOW": "latency outside the faults is above its limit",
    "LEAK": "the pipeline's memory, files or connections grow, or are not given back",
    "BACKLOG": "what the pipeline has not committed yet grows",
    "DEGRADED": "after the faults the pipeline is slower than before",
    "BAD-REPLAY": "a dead letter was sent back, and its result did not come exactly once",
    "EXHAUSTED": "the pipeline held more connections at once than it may",
}
REASONS = {
    "too_slow": "recovery took longer than the limit",
    "not_recovered": "the pipeline was not seen to recover",
    "too_late": "latency outside the faults is above what the experiment allows",
    "capacity": "the backlog of the outage explains it: too little spare capacity to catch up in time",
    "too_short": "observation ended before recovery could be told",
    "judge_stalled": "the judge's own reader stalled, so times are too wide to decide",
    "generator_late": "the generator was late, so times are too wide to decide",
    "not_decided": "the measured interval spans the limit",
    "latency_not_decided": "the measured latency spans its limit",
    "nothing_outside_faults": "no envelope was due outside the faults",
    "resources_too_short": "too little calm time to tell whether something grows",
    "resources_unknown": "nothing is known of what the pipeline uses",
    "resources_not_decided": "the measured growth spans what is allowed",
    "baseline_missing": "too few envelopes before the fault to know what is normal",
    "baseline_unstable": "latency before the fault was not steady, so there is nothing to compare with",
    "baseline_too_slow": "latency before the fault is too near the recovery limit to tell them apart",
    "no_bite": "the fault was injected, but nothing shows that it hurt",
    "not_exposed": "the pipeline did not use the path that was hurt",
    "exposure_unknown": "it is not known whether the pipeline used the path that was hurt",
    "bypass": "the pipeline reached the part past the proxy, so the fault did not cover it",
    "not_injected": "a planned fault was never injected",
    "failed": "a fault could not be injected whole, or not be kept up as planned; it was undone",
    "not_healed": "a fault was not undone, or its undo was not seen",
    "heal_not_proved": "the fault was undone, but nothing shows that it is gone",
    "part_slow": "a part itself answered much later than before the faults, past all proxies, which slows any pipeline",
    "stack_unhealthy": "the stack itself failed outside the faults, which looks just like a broken pipeline",
    "generator_poisoned": "the generator's own sends failed in an unforeseen way",
    "generator_died": "the process that sends envelopes died",
    "tap_died": "the process that reads the topics died",
    "conductor_died": "the process that leads the run died",
    "unsealed": "the journal was not sealed: the run was cut off",
    "altered": "a journal file was changed after the run: what it shows is no evidence",
    "topic_unfollowed": "chaosd did not follow a topic that was deleted and made again: its records are no evidence",
    "torn": "the end of a journal file is cut off",
    "torn_facts": "the end of a facts file is cut off",
    "missing_file": "a file of the journal is not there",
    "aborted": "the run was ended before its end",
    "empty": "nothing was sent",
    "drain_not_proved": "it is not proved that the pipeline had finished its work",
    "unidentified_records": "as many records without identity as results missing: they may be the same",
    "retention": "the topic's retention may explain what is gone",
    "nothing_replayed": "there was no dead letter to be sent back, so nothing is known of replays",
    "replay_open": "what came of a replay may not have been seen yet",
    "fresh_read_incomplete": "the second, fresh read of the topics did not reach the end",
    "certificate_incomplete": "a verifier did not notice an anomaly that was planted to test it",
    "verifier_crashed": "a verifier crashed on this history",
    "void": "a circumstance of the run takes this claim back",
}
_WORDS = {**REASONS, **CLASSES}

# What to do about a verdict that could not be had. What the pipeline did wrong is its owner's to know.
_QUIETER = (
    "run it where less else is going on, at a lower rate, or with a longer limit (expect: {recovery: {within: …}})"
)
REMEDIES = {
    "baseline_too_slow": _QUIETER,
    "baseline_unstable": _QUIETER,
    "judge_stalled": _QUIETER,
    "generator_late": _QUIETER,
    "not_decided": _QUIETER,
    "part_slow": "find what keeps the part busy: other load on the machine, or the pipeline, which is then at fault",
    "baseline_missing": "a longer baseline or a higher rate (phases: {baseline: …}, traffic: {rate: …})",
    "too_short": "a longer time after the faults (phases: {hold: …})",
    "no_bite": "a stronger or longer fault; the report shows what was asked and what was measured",
    "not_exposed": "give the target the proxied addresses (chaosd stack status shows them), or hurt a part it uses",
    "bypass": "give the target the proxied addresses (chaosd stack status shows them) and no others",
    "drain_not_proved": "see in the report which input partition was not finished, and the target's log",
    "resources_too_short": "longer phases: growth needs calm time to be told from noise",
}


def explain(code: str) -> str:
    """What a class or a reason means; empty for one that is plain words already.

    Reasons may carry what they are about, and who says it: `no_bite:redis-latency`, `no_loss: LOST`, `void:LOST`,
    `recovery:part_slow:kafka`.
    """
    return _found(_WORDS, code)


def remedy(code: str) -> str:
    """What to do about a reason, written as for `explain`; empty where nothing general can be said."""
    return _found(REMEDIES, code)


def _found(words: dict[str, str], code: str) -> str:
    first, *middle = code.split(":")
    for piece in (code, first, *reversed(middle)):
        if found := words.get(piece.strip()):
            return found
    return ""
