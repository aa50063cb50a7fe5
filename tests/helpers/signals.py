"""Signals for processes that tests start."""

import signal


def signals_as_ever():
    """Undo, in a child, what `nohup`, or a shell's `&`, has it ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
