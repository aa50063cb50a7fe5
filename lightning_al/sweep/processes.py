"""Commands as processes: each a program of its own, or a fork of one process that has imported what they need."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Protocol

_CAN_FORK = sys.platform == "linux"  # elsewhere system libraries that were in use before a fork may fail in it
_MOST = 1 << 16  # bytes of a message


class Process(Protocol):
    """A command that runs, at the head of a process group of its own."""

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""

    def wait(self) -> int:
        """Return its exit code, once it has ended: less than zero, the number of the signal that ended it."""


class Start(Protocol):
    """Starts a command."""

    def __call__(self, words: Sequence[str], log: IO[bytes], variables: Mapping[str, str]) -> Process:
        """Start it.

        Args:
            words: The command.
            log: Takes its output. Locked, it is so until the command and all that it starts have ended.
            variables: Of its environment, beside this process's.

        Raises:
            OSError: If it cannot be started.
        """


def start_program(words: Sequence[str], log: IO[bytes], variables: Mapping[str, str]) -> Process:
    """Start a command as a program of its own; see :class:`Start`."""
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        start_new_session=True,
    )


def end_group(process: Process, number: int) -> None:
    """Send a signal to a command and all processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class Forks:
    """Starts commands ``python -m MODULE ...`` as forks of one process that has imported what they need.

    Importing torch and Lightning takes seconds, as long as a small campaign does; here it happens once, and not once a
    command. Any other command, and all of them where a process cannot be forked safely or that one has ended, are
    programs of their own: what comes out is the same. A context manager; commands that run when it is left go on.

    Args:
        modules: What to import. Doing so starts no threads and leaves GPUs alone.
        variables: Of the environment meanwhile, beside this process's: libraries read ``OMP_NUM_THREADS`` then.
    """

    def __init__(self, modules: Sequence[str], variables: Mapping[str, str]) -> None:
        self._modules, self._variables = list(modules), dict(variables)
        self._channel: socket.socket | None = None
        self._answers: queue.SimpleQueue[_Fork | OSError | None] = queue.SimpleQueue()  # None: there is no process

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)  # which the process takes for the end

    def start(self, words: Sequence[str], log: IO[bytes], variables: Mapping[str, str]) -> Process:
        """Start a command; see :class:`Start`."""
        if not _CAN_FORK or tuple(words[:2]) != (sys.executable, "-m"):
            return start_program(words, log, variables)
        if self._channel is None:
            self._channel = self._begin()
        request = {"words": list(words[2:]), "variables": {"PYTHONUNBUFFERED": "1", **variables}}
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode()], [log.fileno()])
        except OSError:  # it has ended
            return start_program(words, log, variables)
        answer = self._answers.get()
        if isinstance(answer, OSError):
            raise answer
        return start_program(words, log, variables) if answer is None else answer

    def _begin(self) -> socket.socket:
        """Start the process that forks; return the channel to it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", "lightning_al.sweep.fork_server", str(theirs.fileno()), *self._modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # what cannot be imported, the commands will say
                env={**os.environ, **self._variables},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(ours, server), daemon=True).start()
        return ours

    def _listen(self, channel: socket.socket, server: "subprocess.Popen[bytes]") -> None:
        """Take what the process says, until it has ended."""
        running: dict[int, _Fork] = {}
        with contextlib.suppress(ConnectionResetError):
            while said := channel.recv(_MOST):
                message: dict[str, Any] = json.loads(said)
                if "error" in message:
                    self._answers.put(OSError(message["error"]))
                elif "status" in message:
                    running.pop(message["pid"]).end(os.waitstatus_to_exitcode(message["status"]))
                else:
                    fork = running[message["pid"]] = _Fork(message["pid"])
                    self._answers.put(fork)
        channel.close()
        self._answers.put(None)
        for fork in running.values():  # nobody will say how they ended
            fork.end(-signal.SIGKILL)
        server.wait()


class _Fork:
    """A command that runs as a fork."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._code = 0

    def end(self, code: int) -> None:
        """Take note that it has ended."""
        self._code = code
        self._ended.set()

    def wait(self) -> int:
        self._ended.wait()
        return self._code
