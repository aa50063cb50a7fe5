"""The process that jobs are forks of: ``python -m lightning_al.sweep.fork_server CHANNEL MODULE ...``."""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

_MOST = 1 << 16  # bytes of a request


def serve(channel: socket.socket) -> list[str]:
    """Fork for each request; return, in a fork, the module to run and its arguments.

    Exits when nobody listens any more; forks go on then.

    Args:
        channel: Each message to it is a request, with the descriptor of a log. From it come ``{"pid": ...}`` for each,
            or ``{"error": ...}``, and ``{"pid": ..., "status": ...}`` when one has ended.
    """
    news, wake = os.pipe()
    os.set_blocking(news, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    watched: list[socket.socket | int] = [channel, news]
    while True:
        readable, _, _ = select.select(watched, [], [])
        with contextlib.suppress(BlockingIOError):
            os.read(news, 4096)
        for pid, status in _ended():
            _say(channel, {"pid": pid, "status": status})
        if channel not in readable:
            continue
        said, logs, _, _ = socket.recv_fds(channel, _MOST, 1)
        if not said:
            sys.exit()
        request, log = json.loads(said), logs[0]
        try:
            pid = os.fork()
        except OSError as error:
            _say(channel, {"error": str(error)})
        else:
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (news, wake, channel.detach()):
                    os.close(descriptor)
                return _become(request, log)
            with contextlib.suppress(PermissionError):  # it has done so itself, and is another program by now
                os.setpgid(pid, pid)
            _say(channel, {"pid": pid})
        os.close(log)


def _ended() -> list[tuple[int, int]]:
    """Return the forks that have ended, with their exit status."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the end is read where requests are
        channel.send(json.dumps(message).encode())


def _become(request: dict[str, Any], log: int) -> list[str]:
    """Make this process one that was started with a log, in a process group of its own."""
    os.setpgid(0, 0)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.update(request["variables"])
    if "numpy" in sys.modules:  # random and torch see to it themselves
        sys.modules["numpy"].random.seed()
    return list(request["words"])


@contextlib.contextmanager
def _ending_with(channel: socket.socket) -> Iterator[None]:
    """Inside, which may be an import of minutes, exit as soon as nobody listens any more."""
    done = threading.Event()

    def watch() -> None:
        poll = select.poll()
        poll.register(channel, 0)  # what is asked whatever is given: whether the other end is closed
        while not done.is_set():
            if poll.poll(200):
                os._exit(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()  # forks have no thread but the one that forks


def main() -> None:
    """Import modules, and run in forks what is asked for."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    with _ending_with(channel):
        for module in sys.argv[2:]:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that forks share these pages for long
    sys.argv = serve(channel)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
