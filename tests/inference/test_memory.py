"""How much memory may be taken, and what running out of it looks like."""

import ctypes
import os
import subprocess
import sys
import weakref

import pytest
import torch

from lightning_al.inference import memory


def test_what_running_out_of_memory_looks_like():
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ):
        assert memory.is_out_of_memory(error)
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not memory.is_out_of_memory(ValueError("out of memory"))


def test_the_default_budget(monkeypatch):
    cpu = torch.device("cpu")
    assert 1 <= memory.default_max_bytes(cpu) <= memory.CPU_MAX_BYTES == 2**31
    monkeypatch.setattr(memory.Path, "read_text", lambda self: "MemTotal: 900 kB\nMemAvailable: 400 kB\n")
    assert memory.default_max_bytes(cpu) == 102_400

    def unknown(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(memory.Path, "read_text", unknown)
    assert memory.default_max_bytes(cpu) == memory.CPU_MAX_BYTES
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    assert memory.default_max_bytes(torch.device("cuda")) == 1000


def test_what_was_saved_and_counted_is_let_go():
    """Of a forward pass that no backward pass follows; results of `tanh` are saved for its gradient."""
    x = torch.randn(1000, requires_grad=True)
    with memory.saved_bytes([]) as saved:
        y = x.tanh()
    alive = weakref.ref(y)
    del y
    assert alive() is None
    assert saved.total == 4000


_BLOCKS = """
import ctypes, torch
from lightning_al.inference.memory import keep_freed_memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks rest".split()]
    _fields_ += [("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

keep_freed_memory()
before = mallinfo().hblks  # taken from the system by themselves
blocks = [torch.empty(size * 2**20, dtype=torch.uint8) for size in (8, 31, 40)]
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc from 2.33 on tells")
def test_only_blocks_above_32_mib_are_given_back_at_once():
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_PRE"))
    }
    run = subprocess.run(
        [sys.executable, "-c", _BLOCKS], env=settings, capture_output=True, text=True, check=True, timeout=300
    )
    assert int(run.stdout) == 1
