"""How a run ends for a surface without a screen. A stub stands in for the conductor: it says what it is told to."""

from __future__ import annotations

import pytest

from chaosd.conductor.follow import follow
from chaosd.conductor.kept import Kept
from chaosd.kernel.errors import Exit, UsageError

RUN = {"event": "run", "run_id": "run-1", "run_dir": "/runs/run-1"}
VERDICT = {"event": "verdict", "verdict": "FAIL", "reasons": ["no_loss:LOST"], "exit": 1}
ERROR = {"event": "error", "message": "no", "detail": "why", "remedy": "do", "exit": 6}


class StubConductor:
    def __init__(self, code, *events):
        self.code = None
        self._code = code
        self._events = events

    async def events(self):
        for event in self._events:
            yield event
        self.code = self._code


async def ending(code, *events):
    seen = []
    found = await follow(StubConductor(code, *events), seen.append)
    assert seen == list(events)
    return found


async def test_the_verdict_and_its_reasons_are_kept():
    found = await ending(1, RUN, VERDICT)
    assert (found.run_id, str(found.run_dir), found.verdict) == ("run-1", "/runs/run-1", "FAIL")
    assert (found.reasons, found.exit, found.error) == (("no_loss:LOST",), Exit.FAIL, "")


async def test_a_known_failure_ends_with_the_code_of_the_conductor():
    assert (await ending(0, RUN, VERDICT)).exit is Exit.PASS


async def test_an_error_counts_more_than_the_verdict():
    found = await ending(6, RUN, VERDICT, ERROR)
    assert (found.verdict, found.exit, found.error, found.remedy) == ("FAIL", Exit.UNHEALED, "no\nwhy", "do")


async def test_an_error_before_the_run_began_has_no_run_directory():
    found = await ending(2, {**ERROR, "exit": 2})
    assert (found.run_id, found.run_dir, found.verdict, found.exit) == ("", None, "", Exit.USAGE)


async def test_a_conductor_that_dies_before_its_run_began_is_an_aborted_run():
    found = await ending(-9)
    assert (found.verdict, found.exit, found.run_dir) == ("", Exit.ABORTED, None)
    assert "code -9" in found.error


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "x" * 65])
def test_a_testbed_is_not_kept_outside_of_its_folder(name, tmp_path):
    with pytest.raises(UsageError, match="is no name for a testbed"):
        Kept(name, "embedded", tmp_path / "log")


async def test_a_name_is_taken_once_and_free_again_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path))
    first, second = (Kept("shared", "embedded", tmp_path / "guard.log") for _ in range(2))
    await first.open()
    try:
        with pytest.raises(UsageError, match="belongs to another process"):
            await second.open()
    finally:
        await first.close()
    await second.open()
    await second.close()
    assert list((tmp_path / "kept").iterdir()) == []


async def test_a_testbed_that_is_there_already_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_STATE", str(tmp_path))
    (tmp_path / "testbeds" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="there is already a testbed mine"):
        await Kept("mine", "embedded", tmp_path / "guard.log").open()
    assert (tmp_path / "testbeds" / "mine").is_dir()
