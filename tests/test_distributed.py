import multiprocessing as mp
import os
import socket

import pytest
import torch
import torch.distributed as dist

from lightning_al.distributed import check_same_on_every_rank, gather_objects, gather_rows


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
        dist.init_process_group("gloo", rank=rank, world_size=count)
        try:
            queue.put((rank, function(rank)))
        except Exception as error:
            queue.put((rank, repr(error)))
        dist.destroy_process_group()
        os._exit(0)

    workers = [context.Process(target=main, args=(rank,)) for rank in range(count)]
    for worker in workers:
        worker.start()
    results = dict(queue.get() for _ in workers)
    for worker in workers:
        worker.join(30)
    return [results[rank] for rank in range(count)]


@pytest.mark.parametrize("lengths", [(3, 1), (0, 2), (2, 0, 1), (0, 0)])
def test_unequal_rows_come_together_in_rank_order(lengths):
    def rows(rank):
        n, start = lengths[rank], sum(lengths[:rank])
        if n == 0:
            return {}
        values = torch.arange(start, start + n)
        return {"a": values.double(), "b": torch.stack([values, -values], 1)}

    def gather(rank):
        return {k: v.tolist() for k, v in gather_rows(rows(rank), torch.device("cpu")).items()}

    n = sum(lengths)
    expected = {"a": [float(i) for i in range(n)], "b": [[i, -i] for i in range(n)]} if n else {}
    assert in_processes(gather, len(lengths)) == [expected] * len(lengths)


def test_disagreement_is_named():
    def compare(rank):
        check_same_on_every_rank(rank // 2, "the labelled samples")
        return "fine"

    for result in in_processes(compare, 3):
        assert "disagree about the labelled samples: {0: 0, 1: 0, 2: 1}" in result


def test_one_process_needs_no_group():
    assert gather_objects(3) == [3]
    rows = {"a": torch.ones(2)}
    assert gather_rows(rows, torch.device("cpu"))["a"].tolist() == [1, 1]
    check_same_on_every_rank(1, "anything")
