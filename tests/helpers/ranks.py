"""Functions in forked processes: of one gloo group, or as torchrun starts them."""

import multiprocessing as mp
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback


class Leave(Callback):
    """At the end of a fit the weights of both processes are the same, and the group ends."""

    def on_fit_end(self, trainer, pl_module):
        ours = torch.cat([w.detach().flatten() for w in pl_module.parameters()])
        both = [torch.empty_like(ours) for _ in range(2)]
        dist.all_gather(both, ours)
        assert torch.equal(*both)

    def teardown(self, trainer, pl_module, stage):
        dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_processes(function, count):
    """Run ``function(rank)`` in forked processes of one gloo group and return what each put in the queue."""

    def begin(rank: int, port: str) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        dist.init_process_group("gloo", rank=rank, world_size=count)
        dist.barrier()  # one that has nothing to do must not go before the others have reached it

    return in_forks(function, count, begin, str(free_port()))


def under_torchrun(function, count):
    """Run ``function(rank)`` in forked processes that find what torchrun tells its own; return what each gives."""

    def begin(rank: int, port: str) -> None:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "GROUP_RANK": 0}
        os.environ |= {name: str(number) for name, number in numbers.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
        torch.set_num_threads(1)

    return in_forks(function, count, begin, str(free_port()))


def in_forks(function: Callable[[int], Any], count: int, begin: Callable[[int, str], None], port: str) -> list[Any]:
    """Run ``function(rank)`` in forked processes, ``begin(rank, port)`` first; return what each gives."""
    context = mp.get_context("fork")
    queue = context.SimpleQueue()

    def main(rank):
        try:
            begin(rank, port)
            queue.put((rank, function(rank)))
        except Exception as error:
            queue.put((rank, repr(error)))
        if dist.is_initialized():
            dist.destroy_process_group()
        os._exit(0)

    workers = [context.Process(target=main, args=(rank,)) for rank in range(count)]
    for worker in workers:
        worker.start()
    results = dict(queue.get() for _ in workers)
    for worker in workers:
        worker.join(30)
    return [results[rank] for rank in range(count)]
