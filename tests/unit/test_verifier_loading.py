"""Folders of verifiers are mounted by their place, and say what is wrong with them."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from histories import SOURCES

from chaosd.kernel.errors import UsageError
from chaosd.verification.loading import load

GOOD = """
from dataclasses import dataclass
from chaosd.kernel.verdict import Grade, Verdict
from chaosd.verification.verifier import Verifier

@dataclass(frozen=True, slots=True)
class Partial:
    n: int

def conclude(case, partial):
    return Verdict("{name}", Grade.PASS)

verifier = Verifier("{name}", ("A",), lambda case, partition: Partial(1), lambda a, b: a, conclude)
"""


def test_the_bundled_verifiers_are_these_and_carry_their_text():
    assert [source.verifier.name for source in SOURCES] == [
        "integrity", "no_duplicates", "no_loss", "order", "recovery", "replays", "resources", "system_errors",
    ]  # fmt: skip
    for source in SOURCES:
        assert source.text == source.path.read_bytes()
        assert source.sha256 == hashlib.sha256(source.text).hexdigest()


def test_two_folders_with_a_file_of_one_name_do_not_meet(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(GOOD.format(name=folder))
    names = [load(tmp_path / folder)[0].verifier.name for folder in ("a", "b", "a")]
    assert names == ["a", "b", "a"]


def test_a_partial_result_of_a_mounted_verifier_can_be_pickled(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD.format(name="mine"))
    partial = load(tmp_path)[0].verifier.fold(None, None)
    assert pickle.loads(pickle.dumps(partial)) == partial


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has no verifiers"),
        ({"a.py": "verifier = 1"}, "does not export"),
        ({"a.py": "import nothing_of_this_name"}, "ModuleNotFoundError"),
        ({"a.py": "1 +"}, "SyntaxError"),
        ({"a.py": GOOD.format(name="x"), "b.py": GOOD.format(name="x")}, "more than one verifier called x"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, files, says):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=says):
        load(tmp_path)
