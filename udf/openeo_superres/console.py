"""What commands say, and where: results on stdout, progress and complaints on stderr."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table


def reason(message: object) -> str:
    """What went wrong, in one line."""
    if isinstance(message, MemoryError):
        return "Memory is short: give --window a part of the scene, or use fewer --threads."
    return " ".join(str(message).split())


def complain(kind: str, message: object) -> None:
    """Say on stderr what went wrong."""
    line = reason(message)
    # a name may hold what a terminal takes for commands
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    click.echo(f"{kind}: {shown}", err=True)


@contextmanager
def progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(text), total=None)

        def report(done: int, total: int) -> None:
            if done < total:
                bar.update(task, completed=done, total=total)
            else:  # overviews, packing and a last look take a while, of which nothing is told
                bar.update(task, description=f"{escape(text)}: finishing the file", total=None)

        yield report


def show(table: Table) -> None:
    """Print a table."""
    console = Console()
    # a file or a pipe has no width to keep to
    (console if console.is_terminal else Console(width=200)).print(table)
