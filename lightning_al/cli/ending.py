"""How a command ends: with what is wrong, or without a word once nobody reads what it prints."""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn


def refuse(error: Exception) -> NoReturn:
    """End the command with what is wrong; what a reader that has gone leaves behind passes.

    Raises:
        BrokenPipeError: If that is the error.
        SystemExit: With the text of any other.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    sys.exit(f"error: {error}")


@contextlib.contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """End quietly, as other programs do, where what is printed goes to a program that has ended, as to ``head``.

    Raises:
        SystemExit: With the code that a shell has for it.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if _is_read():  # another pipe's
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
        sys.exit(128 + signal.SIGPIPE)


def _is_read() -> bool:
    """Whether somebody may still read what is printed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
