"""Functions in forked processes of one gloo group."""

import multiprocessing as mp
import os
import socket

import torch.distributed as dist


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_processes(function, count):
    """Run ``function(rank)`` in forked processes of one gloo group and return what each put in the queue."""
    context = mp.get_context("fork")
    queue = context.SimpleQueue()
    port = str(free_port())

    def main(rank):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        try:
            dist.init_process_group("gloo", rank=rank, world_size=count)
            dist.barrier()  # one that has nothing to do must not go before the others have reached it
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
