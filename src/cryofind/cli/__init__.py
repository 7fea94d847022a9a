"""The command line: a lazy group, so that `cryofind --help` imports nothing heavy."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

import cryofind
from cryofind.errors import EXIT_USAGE, CryofindError

# name -> one line for the list; the command is `command` in `cryofind.cli.NAME`.
COMMANDS = {
    "demo": "Simulate, train, pick and score: the whole road, without data.",
    "init": "Make a copick project from loose tomograms and pick files.",
    "simulate": "Make tomograms with their truth, from a recipe.",
    "train": "Train a model on the annotated runs of projects.",
    "pick": "Pick the particles of tomograms.",
    "search": "Search a better recipe for training, within a budget.",
    "tune": "Set a model's thresholds from annotated runs that it never saw.",
    "score": "Compare picks with the truth.",
    "view": "Look at a tomogram and its picks in the browser.",
    "report": "Write pages that show picks, their score, and what went wrong.",
    "submit": "Write picks as a Kaggle submission.",
    "export": "Write picks for RELION, Dynamo, copick and others.",
    "info": "Say what a file or project holds.",
    "doctor": "Say what this computer can do, and what is wrong with an input.",
    "config": "Print the resolved recipe.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"cryofind.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from cryofind.errors import advise_known_names

            ctx.fail(f"'{args[0]}' is not a command; {advise_known_names(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cryofind.__version__, prog_name="cryofind")
@click.option("--quiet", is_flag=True, help="Show warnings and errors only.")
def application(quiet: bool) -> None:
    """Find and name protein complexes in cryo-electron tomograms."""
    _log_to_stderr(logging.WARNING if quiet else logging.INFO)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all done, 1 some items failed, 2 usage or input error."""
    try:
        with _ending_in_order():
            code: Any = application.main(args=arguments, prog_name="cryofind", standalone_mode=False)
    except CryofindError as error:
        click.echo(f"cryofind: error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        click.echo(f"cryofind: error: {_describe_usage_error(error)}", err=True)
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("cryofind: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM, which batch systems send, end commands as Ctrl-C does: nothing half written, no process left."""

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one would cut off the cleaning up
        raise SystemExit(128 + number)

    # One that is ignored stays ignored, and only the main thread may choose.
    is_heeded = signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    if threading.current_thread() is not threading.main_thread() or not is_heeded:
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _describe_usage_error(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see `{context.command_path} --help`" if context is not None else message


def _log_to_stderr(level: int) -> None:
    logger = logging.getLogger("cryofind")
    logger.setLevel(level)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logger.handlers[:] = [handler]


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        return f"{prefix}{record.getMessage()}"
