"""What every command does with the screen: quiet libraries, and what was refused in red instead of a traceback.

Belongs here: the console, exit codes of refusals. Does not: any command.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

console = Console()


def quiet() -> None:
    """Leave the screen to the command: warnings and log lines of libraries are not shown."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def refuse(said: object, code: int = 1) -> typer.Exit:
    """Print what was refused, letter for letter, and give the exit to raise."""
    console.print(str(said), style="red", soft_wrap=True, markup=False, highlight=False)
    return typer.Exit(code)


@contextmanager
def refusing(*expected: type[Exception], code: int = 1) -> Iterator[None]:
    """End the command with ``code`` and the error's own words where one of the ``expected`` errors is raised."""
    try:
        yield
    except expected as error:
        raise refuse(error, code) from error
