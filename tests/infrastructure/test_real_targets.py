"""Whole runs on pipelines of somebody's own: of a target file, already running, or as `chaosd init` was told of one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from on_a_terminal import told_on_a_terminal
from real_place import Place, Ran, opened
from ruamel.yaml import YAML

from chaosd.experiment import target_file
from chaosd.process import spawn
from chaosd.testbed import topics
from chaosd.testbed.record import Topic

TOPICS = [Topic("orders", "input", 4), Topic("bills", "output", 4), Topic("orders.dlq", "dlq", 1)]
EXAMPLES = Path(__file__).parents[2] / "examples"
_NPM_S = 120


@pytest.fixture(scope="module")
async def place(tmp_path_factory) -> AsyncIterator[Place]:
    async with opened(tmp_path_factory.mktemp("real")) as place:
        yield place


def with_node(folder: Path) -> None:
    """The modules of an example for Node.js, which stay for the next time; without them there is nothing to judge."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here")
    if (folder / "node_modules" / ".package-lock.json").is_file():  # npm writes it last
        return
    argv = ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
    try:
        subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=_NPM_S, check=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"`npm ci` does not work here: {error.stderr.strip()[-500:]}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"`npm ci` did not end within {_NPM_S} s")


def passes(ran: Ran) -> None:
    if ran.undecided:
        pytest.skip(f"this machine is too busy: {ran.verdict['reasons']}")
    assert (ran.word, ran.code) == ("PASS", 0), ran.verdict["reasons"]


def passes_with_its_letters(ran: Ran) -> None:
    """All that the target file says was judged: the certificate says so."""
    passes(ran)
    assert ran.verdict["envelopes"]["expected_output"] > 1000
    assert ran.verdict["envelopes"]["expected_dlq"] > 0
    certificate = ran.verdict["certificate"]
    assert certificate["planted"] == certificate["noticed"] > 0
    assert {"LOST", "MISSING-ERROR", "WRONG-ERROR", "CORRUPT"} <= set(certificate["by_class"])


@pytest.mark.parametrize("example", ["plain", "two-inputs", "node"])
async def test_a_pipeline_of_a_target_file_is_judged_by_its_own_contract(place, example):
    """Loops of the examples: other topics, one or two of them, other JSON, other dead letters."""
    folder = EXAMPLES / example
    if example == "node":
        await asyncio.to_thread(with_node, folder)
    target = str(folder / "chaosd.yaml")
    passes_with_its_letters(await place.run(target=target, profile="quick"))


async def test_what_one_of_two_inputs_loses_is_lost_and_of_that_one_alone(place, monkeypatch):
    """The testbed is kept, and the same pipeline runs there already, without what its environment now breaks."""
    file = EXAMPLES / "two-inputs" / "chaosd.yaml"
    await place.testbed.end_target()
    await place.testbed.deploy_pipeline(target_file.read(file))
    assert place.testbed.holds(target_file.read(file))
    monkeypatch.setenv("BROKEN", "1")
    ran = await place.run("{at: 0s, for: 500ms, fault: kill, on: target}", target=str(file), within="5s")
    assert (ran.word, ran.code) == ("FAIL", 1), ran.verdict["reasons"]
    no_loss = next(verifier for verifier in ran.verdict["verifiers"] if verifier["name"] == "no_loss")
    lost = [witness for witness in no_loss["witnesses"] if witness["class"] == "LOST"]
    assert lost
    for witness in lost:
        acked = next(entry for entry in witness["lifeline"] if entry["what"] == "acked")
        assert (witness["hop"], acked["topic"]) == ("committed past without a result", "refunds")


@asynccontextmanager
async def by_hand(place: Place, example: Path) -> AsyncIterator[None]:
    """A pipeline that a person started with the proxied address, and its topics: chaosd knows nothing of its process.

    Topics that came after it might be met by its client only when it looks for new ones, which may take minutes.
    """
    await place.testbed.end_target()
    direct = str(place.testbed.stack.endpoints.direct.kafka)
    await topics.create(direct, TOPICS)
    env = {**os.environ, "KAFKA": str(place.testbed.stack.endpoints.proxied.kafka), "INSTANCE": "by-hand"}
    recipe = spawn.Recipe((sys.executable, "worker.py"), env, str(example), str(place.folder / "by-hand.log"))
    worker = spawn.start(recipe, "by-hand")
    try:
        yield
        assert spawn.alive(worker), Path(recipe.log).read_text()
    finally:
        await asyncio.to_thread(spawn.end, worker, 5)
        await place.testbed.end_target()
        await topics.delete(direct, [topic.name for topic in TOPICS])


async def test_a_pipeline_that_runs_already_passes_where_the_fault_was_seen_to_meet_it(place, tmp_path):
    example = EXAMPLES / "plain"
    told = YAML(typ="safe").load(example / "chaosd.yaml")
    for key in ("command", "env", "source"):
        del told["target"][key]
    told["target"]["external"] = True
    target = tmp_path / "chaosd.yaml"
    target.write_text(json.dumps(told))
    async with by_hand(place, example):
        step = "{at: 0s, for: 1s, fault: reset, on: kafka}"
        ran = await place.run(step, target=str(target), within="5s", profile="quick")
    passes_with_its_letters(ran)
    fault = ran.fault("1-reset-kafka")
    assert (fault["bite"], fault["exposed"], fault["healed"]) == ("proved", "proved", "proved")
    assert fault["evidence"]["exposed"]["past_the_proxy"] is None


async def test_what_init_wrote_after_asking_is_judged(place, tmp_path):
    """The files a person has who answered the questions, and has done nothing more."""
    shutil.copy(EXAMPLES / "plain" / "worker.py", tmp_path)
    answers = (
        f"env INSTANCE=one {sys.executable} worker.py", "orders",
        '{"id": "${id}", "customer": "${key}", "amount": "${amount}"}', "bills", "$.order", "billing", "orders.dlq",
        "KAFKA", "none",
    )  # fmt: skip
    code, said = await asyncio.to_thread(told_on_a_terminal, tmp_path, *answers)
    assert code == 0, said
    ran = await place.carry_out(tmp_path / "chaos" / "killed.chaos.yaml", profile="quick")
    passes(ran)
    fault = ran.fault("1-kill-target")
    assert (fault["bite"], fault["exposed"], fault["healed"]) == ("proved", "proved", "proved")
