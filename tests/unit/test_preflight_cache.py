"""The cache answers only what nothing has changed about; and bad input ends in findings or clear errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaosd.cli.app import run as chaosd_command
from chaosd.preflight import cache, check
from chaosd.preflight.check import run


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAOSD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shop" / "orders").mkdir(parents=True)
    for name in ("shop", "shop/orders"):
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "shop" / "metrics.py").write_text("class Metrics:\n    def add(self): ...\n", encoding="utf-8")
    (tmp_path / "shop" / "orders" / "handler.py").write_text(
        "from shop.metrics import Metrics\n\nMetrics().add()\n", encoding="utf-8"
    )
    return tmp_path / "shop"


@pytest.fixture
def analysed(monkeypatch):
    """How often something was really analysed."""
    calls = []
    monkeypatch.setattr(check, "run", lambda *args, **words: calls.append(args) or run(*args, **words))
    return calls


def test_nothing_changed_is_answered_from_the_cache(project, analysed):
    first, second = cache.checked(project), cache.checked(project)
    assert first == second
    assert len(analysed) == 1


def test_change_of_a_file_that_is_only_imported_counts(project, analysed):
    assert cache.checked(project / "orders").clean
    (project / "metrics.py").write_text("class Metrics: ...\n", encoding="utf-8")
    (finding,) = cache.checked(project / "orders").findings
    assert (finding.rule, finding.line) == ("missing-method", 3)
    assert cache.checked(project / "orders").findings == (finding,)
    assert len(analysed) == 2


def test_new_file_and_other_rules_count(project, analysed):
    cache.checked(project)
    cache.checked(project, ["not-json"])
    (project / "more.py").write_text("x = 1\n", encoding="utf-8")
    assert cache.checked(project).files == 5
    assert len(analysed) == 3


def test_damaged_cache_is_as_good_as_none(project, tmp_path):
    before = cache.checked(project)
    for file in (tmp_path / "cache" / "preflight").iterdir():
        file.write_text("{", encoding="utf-8")
    assert cache.checked(project) == before


def test_cache_that_cannot_be_written_is_no_error(project, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHAOSD_CACHE", str(tmp_path / "file"))
    assert cache.checked(project).clean


def test_symlink_loop_is_not_followed(project):
    (project / "again").symlink_to(project, target_is_directory=True)
    (project / "itself.py").symlink_to("itself.py")
    report = run(project)
    assert [(f.path, f.rule) for f in report.findings] == [("itself.py", "syntax-error")]
    assert not report.clean


def test_named_pipe_and_unknown_encoding_are_findings_that_say_nothing_of_this_machine(project, tmp_path, capsys):
    os.mkfifo(project / "pipe.py")
    (project / "odd.py").write_text("# -*- coding: nosuch -*-\n", encoding="utf-8")
    (project / "latin.py").write_bytes(b"x = '\xe9'\n")
    assert chaosd_command(["preflight", str(project)]) == 1
    told = capsys.readouterr().out
    assert "pipe.py:1: syntax-error: does not parse: is no regular file" in told
    assert "odd.py:1: syntax-error: does not parse: unknown encoding: nosuch" in told
    assert "latin.py:1: syntax-error" in told
    assert str(tmp_path) not in told


def test_folder_that_cannot_be_read_is_an_error_and_not_left_out(project, monkeypatch, capsys):
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "orders":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert chaosd_command(["preflight", str(project), "--no-cache"]) == 2
    told = capsys.readouterr().err
    assert "orders cannot be read: Permission denied" in told
    assert "remedy" in told


def test_import_cycle_is_followed_once(tmp_path):
    (tmp_path / "a.py").write_text("from b import B\n\nclass A(B): ...\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("from a import A\n\nclass B(A): ...\n\nB().run()\n", encoding="utf-8")
    run(tmp_path)


@pytest.mark.parametrize("regular", [True, False])
def test_package_split_over_two_roots_is_read_as_one(tmp_path, regular):
    for side, name, text in (
        ("one", "metrics.py", "class Metrics: ...\n"),
        ("two", "handler.py", "from shop.metrics import Metrics\n\nMetrics().add()\n"),
    ):
        (tmp_path / side / "shop").mkdir(parents=True)
        (tmp_path / side / "shop" / name).write_text(text, encoding="utf-8")
        if regular:
            (tmp_path / side / "shop" / "__init__.py").touch()
    assert [(f.path, f.rule) for f in run(tmp_path).findings] == [("two/shop/handler.py", "missing-method")]


def test_library_of_the_name_of_a_folder_of_ones_own_stays_a_library(tmp_path):
    for place in ("infra/redis/client.py", "jobs/redis/work.py"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text("class Client: ...\n", encoding="utf-8")
    (tmp_path / "app.py").write_text("from redis.client import Client\n\nClient().get('a')\n", encoding="utf-8")
    assert run(tmp_path).clean


def test_generated_module_of_five_megabytes_is_read(tmp_path):
    text = "TABLE = {\n" + "".join(f"    'key_{n}': {'text ' * 50 + str(n)!r},\n" for n in range(20_000)) + "}\n"
    text += "\nclass Shop: ...\n\nShop().missing()\n"
    (tmp_path / "generated.py").write_text(text, encoding="utf-8")
    assert len(text) > 5_000_000
    assert [(f.rule, f.line) for f in run(tmp_path).findings] == [("missing-method", 20_006)]


def test_deeply_nested_expression_is_a_finding_or_fine_and_no_traceback(tmp_path, capsys):
    (tmp_path / "deep.py").write_text(
        "x = " + "(" * 150 + "1" + ")" * 150 + "\ny = " + "+".join(["1"] * 5000) + "\n", encoding="utf-8"
    )
    assert chaosd_command(["preflight", str(tmp_path), "--no-cache"]) in {0, 1}
    assert "unexpected" not in capsys.readouterr().err


@pytest.mark.parametrize("path", ["absent", "."])
def test_nothing_to_read_is_told_with_the_remedy(tmp_path, monkeypatch, capsys, path):
    monkeypatch.chdir(tmp_path)
    assert chaosd_command(["preflight", path]) == 2
    assert "remedy" in capsys.readouterr().err
