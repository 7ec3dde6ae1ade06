"""The command line's frame: what it says, what it ends in, and that a person never meets a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import typer

from chaosd import __version__
from chaosd.cli import app as frame
from chaosd.kernel.errors import Exit, HealError, PreflightError, StackError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put one command `probe` into the table, made of a function or of a typer app."""

    def install(**exports: object) -> None:
        module = ModuleType("chaosd_probe_command")
        for name, value in exports.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(frame, "COMMANDS", (frame.Command("probe", module.__name__, "a probe"),))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def probe() -> None:
        raise error

    return probe


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--help"]) == Exit.PASS
    said = capsys.readouterr()
    assert all(f"  {command.name} " in said.out and command.help_line in said.out for command in frame.COMMANDS)
    assert said.err == ""


def test_no_command_is_a_usage_error_that_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run([]) == Exit.USAGE
    said = capsys.readouterr()
    assert "usage: chaosd COMMAND" in said.err
    assert said.out == ""


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--version"]) == Exit.PASS
    assert capsys.readouterr().out == f"chaosd {__version__}\n"


def test_unknown_command_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["reprot"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "there is no command 'reprot'; did you mean 'report'?" in said
    assert "remedy: chaosd --help" in said


def test_unknown_command_far_from_all_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["xyzzy"]) == Exit.USAGE
    assert "did you mean" not in capsys.readouterr().err


def test_unknown_option_is_called_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--frobnicate"]) == Exit.USAGE
    assert "there is no option '--frobnicate'" in capsys.readouterr().err


def test_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "chaosd", "--help"], stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.PASS, b"")


def test_function_is_a_command_and_its_number_is_the_exit_code(command: Callable[..., None]) -> None:
    def probe(names: list[str], fast: bool = False) -> int:
        assert (names, fast) == (["a", "b"], True)
        return Exit.INCONCLUSIVE

    command(probe=probe)
    assert frame.run(["probe", "a", "b", "--fast"]) == Exit.INCONCLUSIVE


def test_command_that_returns_nothing_passes(command: Callable[..., None]) -> None:
    def probe() -> None:
        return None

    command(probe=probe)
    assert frame.run(["probe"]) == Exit.PASS


def test_app_with_groups_keeps_the_exit_code_of_its_command(command: Callable[..., None]) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def up() -> int:
        return 4

    @app.command()
    def down() -> None:
        raise typer.Exit(3)

    command(app=app)
    assert frame.run(["probe", "up"]) == Exit.PREFLIGHT
    assert frame.run(["probe", "down"]) == Exit.INCONCLUSIVE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StackError("no Kafka", remedy="install it"), Exit.USAGE),
        (PreflightError("findings"), Exit.PREFLIGHT),
        (HealError("still broken"), Exit.UNHEALED),
    ],
)
def test_error_for_people_is_said_without_a_traceback(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception, code: Exit
) -> None:
    command(probe=raising(error))
    assert frame.run(["probe"]) == code
    assert capsys.readouterr().err == f"chaosd: {error}\n"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), typer.Abort()])
def test_interruption_is_an_abort(command: Callable[..., None], interruption: BaseException) -> None:
    command(probe=raising(interruption))
    assert frame.run(["probe"]) == Exit.ABORTED


def test_unexpected_error_is_one_line_and_a_remedy(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(frame.DEBUG_VARIABLE, raising=False)
    command(probe=raising(ZeroDivisionError("of nothing")))
    assert frame.run(["probe"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: of nothing" in said
    assert frame.DEBUG_VARIABLE in said
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [ZeroDivisionError("of nothing"), StackError("no Kafka")])
def test_traceback_is_shown_to_who_asks(
    command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setenv(frame.DEBUG_VARIABLE, "1")
    command(probe=raising(error))
    frame.run(["probe"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--no-such"], [], ["a", "b"], ["a", "--count", "many"]])
def test_wrong_arguments_are_a_usage_error_with_the_way_to_help(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    def probe(name: str, count: int = 1) -> None:
        raise AssertionError(name, count)

    command(probe=probe)
    assert frame.run(["probe", *arguments]) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith("chaosd probe: ")
    assert "remedy: chaosd probe --help" in said
    assert "Traceback" not in said


def test_help_of_a_command_is_its_own(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def probe(name: str) -> None:
        """Probe one thing by name."""

    command(probe=probe)
    for arguments in (["probe", "--help"], ["help", "probe"]):
        assert frame.run(arguments) == Exit.PASS
        assert "Probe one thing by name." in capsys.readouterr().out


@pytest.mark.parametrize("listed", frame.COMMANDS, ids=lambda listed: listed.name)
def test_every_command_in_the_table_shows_its_help(listed: frame.Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run([listed.name, "--help"]) == Exit.PASS, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"chaosd {listed.name}" in said
    assert "--install-completion" not in said  # it would complete `chaosd NAME`, which is no program
