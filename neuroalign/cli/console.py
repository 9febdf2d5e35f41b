"""What commands say: results, warnings of one line, and errors that end with exit code 2."""

from __future__ import annotations

import functools
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, ParamSpec, TextIO

import typer

from neuroalign.errors import NeuroAlignError

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count

P = ParamSpec("P")

# messages name the Python argument that would help; here is what a shell would type
_IN_SHELL_WORDS: Final = (
    (re.compile(r"name them as two subjects \(.*?\)"), "name them as two subjects (NAME=FILE)"),
    (re.compile(r"\bpass sessions=['\"]concatenate['\"]"), "pass --sessions concatenate"),
    (re.compile(r"\bpass overwrite=True"), "pass --overwrite"),
    (re.compile(r"\bpass allow_missing=True"), "pass --set allow_missing=true"),
    (
        re.compile(r"carries no data spec with ([\w.]+); pass \w+=\.\.\."),
        r"has none in its data spec; add \1 to the spec.",
    ),
    (re.compile(r"\bpass label=\"?odor\"?"), "pass --label odor"),
    (re.compile(r"\bsplit the trials with stratify=label"), "choose another --test-size"),
)


class StopRequestedError(Exception):
    """The user stopped the command; the message says how to go on."""


def say(text: str = "") -> None:
    """Write a line of results."""
    typer.echo(text)


def is_watched() -> bool:
    """Tell whether a person watches, for whom progress bars move."""
    return sys.stderr.isatty()


def in_shell_words(message: str) -> str:
    """Rewrite the remedy of an error message for someone who types commands.

    Examples
    --------
    >>> in_shell_words("two files; pass sessions='concatenate' if they belong together.")
    'two files; pass --sessions concatenate if they belong together.'
    """
    for pattern, replacement in _IN_SHELL_WORDS:
        message = pattern.sub(replacement, message)
    return message


def reports_problems(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end with one message and an exit code instead of a traceback."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with collected_warnings(echo=True):
                command(*args, **kwargs)
        except NeuroAlignError as problem:
            _fail(in_shell_words(str(problem)))
        except BrokenPipeError:
            raise  # whoever read our output has seen enough; no error of ours
        except OSError as problem:
            where = f"{problem.filename}: " if problem.filename else ""
            _fail(f"{where}{problem.strerror or problem}; check the path and its permissions.")
        except StopRequestedError as stopped:
            _fail(str(stopped), code=INTERRUPTED, kind="interrupted")
        except KeyboardInterrupt:
            _fail("run the same command again.", code=INTERRUPTED, kind="interrupted")

    return guarded


def _fail(message: str, *, code: int = BAD_INPUT, kind: str = "error") -> NoReturn:
    typer.echo(f"{kind}: {_one_line(message)}", err=True)
    raise typer.Exit(code)


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def collected_warnings(*, echo: bool = False) -> Iterator[list[str]]:
    """Collect the text of warnings, each once; with `echo`, show each as one line.

    Yields
    ------
    list of str
        Grows as warnings come. An enclosing call sees them as well.
    """
    found: list[str] = []
    outer = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = _one_line(str(message))
        if text in found:
            return
        found.append(text)
        if echo:
            typer.echo(f"warning: {text}", err=True)
        else:
            outer(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        silent: tuple[Any, ...] = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
        for category in silent:  # for developers of libraries, not for users of commands
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield found
