"""The table of commands, and how each of them ends: exit codes, and errors without a traceback.

A command is one file `chaosd/cli/<name>.py` and one line in COMMANDS. The file exports a `typer.Typer` named `app` or a
function with the command's name. Nothing of it, typer included, is imported before it is called, so that help is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaosd import __version__
from chaosd.kernel.errors import ChaosdError, Exit, UsageError, nearest


@dataclass(frozen=True, slots=True)
class Command:
    """`module` holds the command; `help_line` is its line in `chaosd --help`.

    `plain` names a module whose `plain(arguments)` answers the usual calls without typer, and gives None for others.
    """

    name: str
    module: str
    help_line: str
    plain: str = ""


COMMANDS = (
    Command("run", "chaosd.cli.run", "run experiments and judge them"),
    Command("plan", "chaosd.cli.plan", "show what an experiment would do, and do nothing"),
    Command("init", "chaosd.cli.init", "write first files into a project of yours"),
    Command("check", "chaosd.cli.check", "tell every mistake in experiment files, for editors and CI"),
    Command("list", "chaosd.cli.list", "list the experiments there are"),
    Command("faults", "chaosd.cli.faults", "list what can be broken, with parameters and proofs"),
    Command("preflight", "chaosd.cli.preflight", "find what would kill a pipeline at run time, without running it"),
    Command("doctor", "chaosd.cli.doctor", "measure whether this machine and its stack are fit for a run"),
    Command("verify", "chaosd.cli.verify", "judge a run again from its journal"),
    Command("report", "chaosd.cli.report", "write the report of a run in another format"),
    Command("stack", "chaosd.cli.stack", "install, start, look at and stop the real parts"),
    Command("dlq", "chaosd.cli.dlq", "look into a dead letter topic, and replay what lies there"),
    Command("heal", "chaosd.cli.heal", "undo what earlier runs left broken", plain="chaosd.cli.mend"),
    Command("halt", "chaosd.cli.halt", "the kill switch: all runs heal and end, none begins"),
    Command("resume", "chaosd.cli.resume", "let runs begin again after halt"),
    Command("selftest", "chaosd.cli.selftest", "see whether the judge finds every mistake of pipelines made to fail"),
    Command("daemon", "chaosd.cli.daemon", "run experiments on schedule, with HTTP and metrics"),
    Command("schema", "chaosd.cli.schema", "print JSON Schema for the files people write"),
)
DEBUG_VARIABLE = "CHAOSD_DEBUG"
_INTERRUPTED = 130  # typer's own code for Ctrl-C


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name); the exit code, see chaosd.kernel.errors.Exit."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # here, where a reader that went away is still answered for
    except ChaosdError as error:
        _say(f"chaosd: {error}")
        _say_traceback()
        return error.exit_code
    except KeyboardInterrupt:
        _say("chaosd: interrupted")
        return Exit.ABORTED
    except BrokenPipeError:
        # The reader of our output went away (`chaosd list | head`): what is left unsaid must not fail at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.PASS
    except Exception as error:  # noqa: BLE001 -- the last place: a person gets one line, a developer the traceback
        _say(f"chaosd: unexpected {type(error).__name__}: {error}")
        if not _say_traceback():
            _say(f"  remedy: this is a mistake in chaosd; set {DEBUG_VARIABLE}=1 to see where, and report it")
        return Exit.USAGE
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments:
        _say(_help())
        return Exit.USAGE
    name, *rest = arguments
    if name in {"--help", "-h", "help"} and not rest:
        print(_help())
        return Exit.PASS
    if name == "help":
        name, rest = rest[0], ["--help"]
    if name in {"--version", "-V"}:
        print(f"chaosd {__version__}")
        return Exit.PASS
    return _invoke(_find(name), rest)


def _find(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    what = "option" if name.startswith("-") else "command"
    near = nearest(name, [command.name for command in COMMANDS])
    hint = f"; did you mean {near!r}?" if near else ""
    raise UsageError(f"there is no {what} {name!r}{hint}", remedy="chaosd --help lists the commands")


def _invoke(command: Command, arguments: list[str]) -> int:
    if command.plain and (code := importlib.import_module(command.plain).plain(arguments)) is not None:
        return int(code)
    import typer

    built = typer.main.get_command(_load(command))
    try:
        result = built(args=arguments, prog_name=f"chaosd {command.name}", standalone_mode=False)
    except typer.Abort:
        return Exit.ABORTED
    except SystemExit as end:
        result = end.code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _complain(command, error)
    if result == _INTERRUPTED:
        _say("chaosd: interrupted")
        return Exit.ABORTED
    return result if isinstance(result, int) else Exit.PASS


def _load(command: Command) -> Any:
    import typer

    module = importlib.import_module(command.module)
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command()(getattr(module, command.name))
    return app


def _complain(command: Command, error: Any) -> int:
    """Say what typer found wrong with the arguments; its classes are private to it, hence known by their methods."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else f"chaosd {command.name}"
    if type(error).__name__ == "NoArgsIsHelpError":
        _say(error.format_message() or f"{path}: a command is missing; {path} --help lists them")
    else:
        _say(f"{path}: {error.format_message()}\n  remedy: {path} --help shows what it takes")
    return Exit.USAGE


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = "\n".join(f"  {command.name:<{width}}  {command.help_line}" for command in COMMANDS)
    return f"""\
chaosd breaks a real event pipeline on purpose and proves what happened to every event.

usage: chaosd COMMAND [ARGUMENTS]…

{lines}

`chaosd COMMAND --help` shows what a command takes; `chaosd --version` says which chaosd this is.
First steps: chaosd stack install, then chaosd run redis-latency.
Exit codes: 0 pass, 1 fail, 2 usage or tool error, 3 inconclusive, 4 preflight, 5 aborted, 6 not healed."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_traceback() -> bool:
    if not os.environ.get(DEBUG_VARIABLE):
        return False
    traceback.print_exc()
    return True
