"""The command ``simflow``: one file per command, and here the way from words to a command and from errors to sentences.

This package is the composition root: it alone knows all parts, hands pictures and evaluation to the loop as
callbacks, and prints. The parser (tyro) and everything heavy are imported when a command is run, so the library
needs neither.

A mistake of the user is one sentence on standard error and exit code 2; a failure on the way (a damaged
checkpoint, a full disk) is one sentence and 1; a run that was stopped by a signal and saved ends with 130.
``--debug``, anywhere, shows the traceback instead.

Files and modules that ``SIMFLOW_IMPORT`` names are imported before a command begins (:mod:`simflow.extend`).
"""

import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from traceback import walk_tb
from typing import Any, Protocol, cast, runtime_checkable

from simflow.allocator import keep_freed_memory
from simflow.cli.words import split_settings
from simflow.extend import VARIABLE, import_all

COMMANDS = {
    "train": "train a recipe on your images; the same command again resumes",
    "sample": "make images with a trained run",
    "plan": "measure how a trained run samples fastest on this machine, and store it",
    "reconstruct": "encode and decode images with a trained run",
    "interpolate": "decode the way between the latents of two images",
    "classify": "classify images by the flow's densities, and report the accuracy",
    "evaluate": "the field's figures of a run, or of samples from anywhere, as JSON",
    "stats": "statistics of real images, for later evaluations",
    "study": "reproduce one of the paper's tables: recipes, seeds, and which orderings hold",
    "analyze": "look into the latents, the noise and the guidance of trained runs",
    "report": "one HTML file on one or several runs, side by side",
    "info": "parameter counts and geometry of a recipe or a run",
    "recipes": "list the recipes, and the trained models that come with the package",
    "import": "turn a published TarFlow checkpoint into a model that samples",
    "demo": "train SimFlow from scratch on the embedded images in minutes, then sample",
}
"""Each command is a module of this package (:func:`module_of`); the text is its line in the help."""

ALONE = 10.0
"""Seconds after which a process that torchrun has not ended is the only one with an error."""

STOPPED = 130
"""Exit code of a run that was stopped before its end."""


@runtime_checkable
class Command(Protocol):
    """What a command's module holds."""

    Arguments: type
    """Frozen dataclass of its arguments; its docstring is the help."""

    def run(self, arguments: Any, settings: Mapping[str, Any]) -> int:
        """Does it; ``settings`` are the dotted flags. Gives the exit code."""
        ...


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command that the words (``sys.argv`` if None) say; gives the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal cannot show is escaped, as it is on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    if debug:
        return dispatch(given)
    try:
        return dispatch(given)
    except KeyboardInterrupt:
        return complain("stopped", STOPPED) if is_first() else left(STOPPED)
    except BrokenPipeError:  # whoever read what is printed, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return complain(str(error), 1)
    except Exception as error:  # the edge: a slip of ours is said shortly, and in full with --debug
        if isinstance(error, ValueError) and raised_here(error):
            from simflow.train.checkpoint import Damaged

            return complain(str(error), 1 if isinstance(error, Damaged) else 2)
        return complain(f"{type(error).__name__}: {error} (run again with --debug for the traceback)", 1)


def raised_here(error: Exception) -> bool:
    """Whether an error is one of ours, so that its message is meant for the user, and not from inside a library."""
    *_, (innermost, _) = walk_tb(error.__traceback__)
    return str(innermost.f_globals.get("__name__")).partition(".")[0] == "simflow"


def dispatch(words: Sequence[str]) -> int:
    """Finds the command, imports what the user wants imported, parses the command's arguments and runs it.

    Raises:
        ValueError: there is no such command, an import fails, or what is wrong with its arguments.
    """
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        import simflow

        print(f"simflow {simflow.__version__}")
        return 0
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(COMMANDS)}"
        raise ValueError(f"there is no command '{name}'; {hint}")
    import_all(os.environ.get(VARIABLE, ""))
    from simflow.cli.parsing import parsed

    command = cast(Command, import_module(f"simflow.cli.{module_of(name)}"))
    plain, settings = split_settings(rest)
    try:
        arguments = parsed(command.Arguments, plain, prog=f"simflow {name}")
    except SystemExit:  # help is printed
        return 0
    return command.run(arguments, settings)


def module_of(command: str) -> str:
    """The module of a command; one that is a word of Python has an underscore.

    >>> module_of("sample"), module_of("import")
    ('sample', 'import_')
    """
    return f"{command}_" if iskeyword(command) else command


def overview() -> str:
    """The help of the whole command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    head = "usage: simflow COMMAND ... [--debug]\n\nImage generation with normalizing flows.\n"
    own = f"{VARIABLE}=mine.py simflow COMMAND ... imports a file or module of your own first."
    return "\n".join([head, *lines, "\nsimflow COMMAND --help says more.", own])


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def complain(sentence: str, code: int) -> int:
    """Says a sentence on standard error, once for all processes that torchrun started; gives the code back.

    A mistake is one of all processes, mostly: the first says it and ends, and torchrun ends the others meanwhile. A
    process that is left alone with its error says it itself.
    """
    if not is_first():
        time.sleep(ALONE)
    print(f"simflow: {sentence}", file=sys.stderr)
    return left(code)


def left(code: int) -> int:
    """Gives the code back; a process that still belongs to a group (:func:`simflow.distributed.launch`) ends with it at
    once, for a group is left by all together, and the others may be waiting for this one."""
    if "RANK" in os.environ:
        from simflow.distributed import is_running

        if is_running():
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    return code
