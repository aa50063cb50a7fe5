"""How much memory may be taken, and what running out of it looks like."""

import os
import platform
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


_FAULTS = """
import resource, torch
from lightning_al.inference.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [torch.ones(3 * 2**18) for _ in range(4)]  # 12 MiB, 3 of which are given back at a time
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
without = faults()
keep_freed_memory()
faults()
print(without, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone it is known what is given back, and when")
def test_freed_memory_does_not_come_fresh_from_the_system_again():
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    run = subprocess.run(
        [sys.executable, "-c", _FAULTS], env=settings, capture_output=True, text=True, check=True, timeout=300
    )
    without, kept = map(int, run.stdout.split())
    assert without > 20 * 1000  # pages of 4 KiB
    assert kept < without / 10
