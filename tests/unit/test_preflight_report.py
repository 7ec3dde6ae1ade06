"""What a preflight tells: places, suppressions, files it could not read, formats and exit codes."""

from __future__ import annotations

import json

import pytest
from source_trees import check

from chaosd.cli.app import run as chaosd_command
from chaosd.kernel.errors import UsageError
from chaosd.preflight.check import run
from chaosd.preflight.output.fingerprint import fingerprint
from chaosd.preflight.output.table import render
from chaosd.preflight.rules.pages import renewed
from chaosd.preflight.rules.table import RULES

__all__ = ["check"]

BROKEN_CALL = "class Metrics:\n    def increment(self): ...\n\n\nMetrics().increment_count()"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "m.py").write_text(BROKEN_CALL + "\n", encoding="utf-8")
    return tmp_path


def test_finding_names_place_symbol_definition_and_nearest_name(project):
    (finding,) = run(project).findings
    assert (finding.path, finding.line, finding.column) == ("m.py", 5, 10)
    assert (finding.rule, finding.symbol, finding.defined_at) == ("missing-method", "Metrics.increment_count", "m.py:1")
    assert "did you mean 'increment'?" in finding.message


def test_call_written_over_several_lines_is_reported_where_the_name_stands(check):
    check({"m.py": "class M: ...\n\nM(\n).missing(  # !missing-method\n)\n"})


def test_calls_are_counted_with_those_whose_callee_is_known(tmp_path):
    (tmp_path / "m.py").write_text("import json\nfrom x import *\njson.loads('1')\nsomething()\n", encoding="utf-8")
    report = run(tmp_path)
    assert (report.files, report.calls, report.calls_resolved) == (1, 2, 1)


def test_suppression_hides_its_rule_on_its_line_only(project):
    text = BROKEN_CALL + "  # chaosd: ignore[missing-method]\n"
    (project / "m.py").write_text(text, encoding="utf-8")
    assert run(project).findings == ()
    (project / "m.py").write_text("# chaosd: ignore[missing-method]\n" + BROKEN_CALL + "\n", encoding="utf-8")
    assert [finding.rule for finding in run(project).findings] == ["unused-suppression", "missing-method"]


def test_suppression_of_an_unknown_rule_is_a_finding(project):
    (project / "m.py").write_text("x = 1  # chaosd: ignore[missing-methods]\n", encoding="utf-8")
    (finding,) = run(project).findings
    assert finding.rule == "unused-suppression"
    assert "no such rule" in finding.message


def test_file_that_does_not_parse_is_a_finding_and_the_others_are_still_checked(project):
    (project / "broken.py").write_text("x = 1\ndef f(:\n", encoding="utf-8")
    report = run(project)
    assert [(f.path, f.line, f.rule) for f in report.findings] == [
        ("broken.py", 2, "syntax-error"),
        ("m.py", 5, "missing-method"),
    ]
    assert (report.files, report.unparsed) == (1, 1)


@pytest.mark.parametrize("data", [b"x = '\xff'\n", b"# -*- coding: nonsense -*-\n", b"x = 1\x00\n"])
def test_file_that_is_not_text_is_a_syntax_error(tmp_path, data):
    (tmp_path / "m.py").write_bytes(data)
    assert [finding.rule for finding in run(tmp_path).findings] == ["syntax-error"]


def test_partial_analysis_is_never_clean_even_when_its_rule_is_left_out(tmp_path):
    (tmp_path / "m.py").write_text("def f(:\n", encoding="utf-8")
    report = run(tmp_path, rules=["missing-method"])
    assert report.findings == ()
    assert not report.clean


def test_nothing_to_read_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="nothing to check"):
        run(tmp_path / "absent")
    with pytest.raises(UsageError, match="no Python file"):
        run(tmp_path)
    with pytest.raises(UsageError, match="no rule"):
        run(tmp_path, rules=["missing-methods"])


def test_virtual_environments_and_hidden_folders_are_left_out(project):
    for folder in (".hidden", "own_env", "node_modules"):
        (project / folder).mkdir()
        (project / folder / "x.py").write_text("def f(:\n", encoding="utf-8")
    (project / "own_env" / "pyvenv.cfg").touch()
    assert run(project).files == 1


def test_root_inside_a_package_is_understood_with_what_it_imports(tmp_path):
    (tmp_path / "shop" / "orders").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "orders" / "__init__.py").touch()
    (tmp_path / "shop" / "metrics.py").write_text("class Metrics: ...\n\nMetrics().other()\n", encoding="utf-8")
    handler = (
        "from shop.metrics import Metrics\nfrom ..metrics import Metrics as Same\n\nMetrics().add()\nSame().add()\n"
    )
    (tmp_path / "shop" / "orders" / "handler.py").write_text(handler, encoding="utf-8")
    report = run(tmp_path / "shop" / "orders")
    assert [(f.path, f.line, f.defined_at) for f in report.findings] == [
        ("handler.py", 4, "../metrics.py:1"),
        ("handler.py", 5, "../metrics.py:1"),
    ]
    assert report.files == 2


def test_code_is_read_and_never_run(tmp_path):
    (tmp_path / "m.py").write_text("open('ran', 'w').close()\nraise SystemExit\n", encoding="utf-8")
    assert run(tmp_path).findings == ()
    assert not (tmp_path / "ran").exists()


def test_text_ends_with_what_was_looked_at(project):
    lines = render(run(project), "text").splitlines()
    assert lines[0].startswith("m.py:5: missing-method: Metrics has no method 'increment_count'")
    assert lines[0].endswith("(defined at m.py:1)")
    assert lines[-1] == "1 finding in 1 file, 50% of 2 calls resolved"


def test_json_has_the_documented_keys(project):
    told = json.loads(render(run(project), "json"))
    assert told.keys() == {"chaosd", "root", "files", "unparsed", "calls", "calls_resolved", "findings"}
    (finding,) = told["findings"]
    assert finding.keys() == {
        "path",
        "line",
        "column",
        "rule",
        "confidence",
        "symbol",
        "message",
        "defined_at",
        "fingerprint",
    }
    assert finding["confidence"] == "high"


def test_fingerprint_survives_a_move_and_tells_symbols_apart(project):
    (before,) = run(project).findings
    (project / "m.py").write_text("\n\n" + BROKEN_CALL + "\n", encoding="utf-8")
    (after,) = run(project).findings
    assert before != after
    assert fingerprint(before) == fingerprint(after)
    (project / "m.py").write_text(BROKEN_CALL.replace("increment_count", "other") + "\n", encoding="utf-8")
    (other,) = run(project).findings
    assert fingerprint(before) != fingerprint(other)


def test_github_annotation_escapes_what_would_end_it(project):
    (project / "a,b").mkdir()
    (project / "a,b" / "m.py").write_text(BROKEN_CALL, encoding="utf-8")
    first = render(run(project), "github").splitlines()[0]
    assert f"::error file={project.as_posix()}/a%2Cb/m.py,line=5,col=11,title=missing-method::Metrics has no" in first


@pytest.mark.parametrize(("text", "code"), [("x = 1\n", 0), (BROKEN_CALL, 1), ("def f(:\n", 1)])
def test_command_exits_by_what_was_found(tmp_path, capsys, text, code):
    (tmp_path / "m.py").write_text(text, encoding="utf-8")
    assert chaosd_command(["preflight", str(tmp_path)]) == code
    assert "resolved" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["absent"], [".", "--format", "xml"], [".", "--rule", "nothing"]])
def test_command_refuses_what_cannot_be(options, capsys):
    assert chaosd_command(["preflight", *options]) == 2
    assert "remedy" in capsys.readouterr().err


def test_command_writes_the_report_to_a_file(project, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "report.json"
    assert chaosd_command(["preflight", str(project), "--format", "json", "--output", str(target)]) == 1
    assert json.loads(target.read_text(encoding="utf-8"))["files"] == 1


def test_every_rule_has_a_page(request):
    pages = request.config.rootpath / "docs" / "preflight"
    for name in [rule.name for rule in RULES] + [
        "schema-evolution",
        "tier2-attribute",
        "tier2-bytes",
        "unused-suppression",
    ]:
        text = (pages / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        assert "\n## Why\n" in text
        assert "\n## Remedy\n" in text


def test_index_of_the_pages_is_what_the_rules_say(request):
    text = (request.config.rootpath / "docs" / "preflight" / "README.md").read_text(encoding="utf-8")
    assert renewed(text) == text


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_example_on_the_page_of_a_rule_is_found_by_it(request, tmp_path, name):
    text = (request.config.rootpath / "docs" / "preflight" / f"{name}.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    assert name in {finding.rule for finding in run(tmp_path).findings}
