"""How much memory may be taken, and what running out of it looks like."""

import weakref

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
