"""Two processes on the CPU, against the loop written by hand on the concatenated batch."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from tests.helpers import sam_family_reference as reference
from tests.helpers.marks import slow
from tests.helpers.ranks import Leave, free_port
from tests.helpers.sam_reference import (
    AutoFront,
    ManualFront,
    asam_epsilon,
    by_norm,
    distance,
    hand_sam,
    network,
    rows,
    sam_epsilon,
    sgd,
    trainer,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
RHO, ROWS, PER_RANK = 0.5, 24, 2


class OwnHalf(Sampler):
    """Of each 4 rows, rank 0 gets the first two and rank 1 the others."""

    def __iter__(self):
        rank = dist.get_rank()
        for start in range(0, ROWS, 2 * PER_RANK):
            yield list(range(start + rank * PER_RANK, start + (rank + 1) * PER_RANK))

    def __len__(self):
        return ROWS // (2 * PER_RANK)


def fit(model, **kwargs):
    strategy = DDPStrategy(start_method="fork", process_group_backend="gloo", **kwargs.pop("ddp", {}))
    callbacks = [*kwargs.pop("extra", []), Leave()]
    data = kwargs.pop("data", None) or DataLoader(rows(ROWS), batch_sampler=OwnHalf())
    t = trainer(devices=2, strategy=strategy, callbacks=callbacks, **{"use_distributed_sampler": False, **kwargs})
    t.fit(model, data)
    return model


def halves():
    x, y = rows(ROWS).tensors
    return [(x[i : i + PER_RANK], y[i : i + PER_RANK]) for i in range(0, ROWS, PER_RANK)]


def hand_global(n, clip=None):
    net = network()
    x, y = rows(ROWS).tensors
    step = 2 * PER_RANK
    batches = [(x[i : i + step], y[i : i + step]) for i in range(0, ROWS, step)]
    hand_sam(net, batches, sgd, lambda *a: sam_epsilon(*a, rho=RHO), n=n, clip=clip, epochs=2)
    return net


def hand_per_rank(n):
    """Each rank climbs along the gradient of its own window; the second gradients are averaged."""
    net = network()
    params = list(net.parameters())
    optimizer = sgd(params)
    own = [halves()[rank::2] for rank in range(2)]

    def gradient(window):
        return torch.autograd.grad(sum(F.cross_entropy(net(x), y) / n for x, y in window), params)

    for _ in range(2):
        for start in range(0, len(own[0]), n):
            total = [torch.zeros_like(w) for w in params]
            for rank in range(2):
                window = own[rank][start : start + n]
                theta = [w.detach().clone() for w in params]
                for w, e in zip(params, sam_epsilon(theta, gradient(window), None, rho=RHO)):
                    w.data = w.data + e
                total = [t + g / 2 for t, g in zip(total, gradient(window))]
                for w, t in zip(params, theta):
                    w.data = t
            for w, t in zip(params, total):
                w.grad = t
            optimizer.step()
    return net


@pytest.mark.few(2)
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize(
    ("ascent", "n"),  # 6 batches: the last window of 4 has 2
    [("global", 4), ("per_rank", 4), slow("global", 1), slow("per_rank", 1)],
)
def test_ddp(form, n, ascent):
    manual = form is ManualFront
    model = form(rho=RHO, ascent=ascent, **({"accumulate_grad_batches": n} if manual else {}))
    fit(model, **({} if manual else {"accumulate_grad_batches": n}))
    by_hand = {"global": hand_global, "per_rank": hand_per_rank}
    assert distance(model.net, by_hand[ascent](n)) < 1e-10
    other = by_hand["per_rank" if ascent == "global" else "global"](n)
    assert distance(model.net, other) > 1e-4


@pytest.mark.few(1)
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_ddp_with_clipping_and_unused_parameters(form):
    manual = form is ManualFront
    clip = {"gradient_clip_val": 0.1}
    model = form(rho=RHO, **(clip if manual else {}))
    model.unused = nn.Linear(2, 2).double()
    before = [w.detach().clone() for w in model.unused.parameters()]
    fit(model, ddp={"find_unused_parameters": True}, **({} if manual else clip))
    assert distance(model.net, hand_global(1, by_norm(0.1))) < 1e-10
    assert all(torch.equal(a, b) for a, b in zip(before, model.unused.parameters()))


FAMILY = {
    "esam": ({"beta": 1.0}, reference.esam),
    "gsam": ({"alpha": 0.9}, lambda: reference.gsam(alpha=0.9)),
    "looksam": ({"every": 3}, lambda: reference.looksam(every=3)),
}


@pytest.mark.parametrize(
    ("form", "variant"),
    [
        (ManualFront, "gsam"),
        *(slow(form, variant) for form in (ManualFront, AutoFront) for variant in FAMILY),
    ],
)
def test_ddp_of_variants(form, variant):
    """Both halves are one window; of ESAM's samples each rank selects among its own."""
    options, direction = FAMILY[variant]
    model = form(rho=RHO, variant=variant, **options)
    fit(model)
    net = reference.by_hand(network(), halves(), sgd, direction(), n=2, epochs=2)
    assert distance(model.net, net) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_ddp_of_esams_masks_that_all_ranks_share(form):
    model = form(rho=RHO, variant="esam", beta=0.5, gamma=0.5)
    fit(model)  # `Leave` compares the weights of the ranks
    assert distance(model.net, network()) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_ddp_of_mesa(form):
    model = form(variant="mesa", start_epoch=1, decay=0.8)
    fit(model, max_epochs=4)
    net = reference.mesa(network(), halves(), sgd, start=1, decay=0.8, epochs=4, n=2)
    assert distance(model.net, net) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_ddp_of_saf_remembers_samples_that_were_another_ranks(form):
    data = rows(ROWS)
    model = form(variant="saf", start_epoch=1, lag=1, trajectory_weight=2.0, temperature=1.0)
    fit(model, max_epochs=3, data=DataLoader(data, batch_size=2, shuffle=True), use_distributed_sampler=True)
    net = network()
    optimizer, outputs = sgd(net.parameters()), {}
    for epoch in range(3):
        orders = []
        for rank in range(2):
            sampler = DistributedSampler(data, num_replicas=2, rank=rank, seed=0)
            sampler.set_epoch(epoch)
            orders.append(list(sampler))
        for start in range(0, ROWS // 2, 2):
            batch = [i for order in orders for i in order[start : start + 2]]
            optimizer.zero_grad()
            loss = 0.0
            for i in batch:
                z = net(data[i][0].unsqueeze(0))
                loss = loss + F.cross_entropy(z, data[i][1].unsqueeze(0)) / len(batch)
                outputs[epoch, i] = z[0].detach().clone()
                if epoch >= 1:
                    loss = loss + 2.0 * reference.divergence(outputs[epoch - 1, i], z[0], 1.0) / len(batch)
            loss.backward()
            optimizer.step()
    assert distance(model.net, net) < 1e-10


class Synced(Callback):
    """Whether each backward pass averaged its gradient over the ranks."""

    def __init__(self, expected):
        self.expected, self.seen = expected, []

    def on_after_backward(self, trainer, pl_module):
        self.seen.append(trainer.strategy.model.require_backward_grad_sync)

    def on_fit_end(self, trainer, pl_module):
        assert self.seen == self.expected, self.seen


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("form", "ascent"),
    [
        (ManualFront, "global"),
        (AutoFront, "per_rank"),
        slow(ManualFront, "per_rank"),
        slow(AutoFront, "global"),
    ],
)
def test_ddp_averages_only_at_the_end_of_a_window(form, ascent):
    manual, once = form is ManualFront, ascent == "global"
    last, first = [False, False, False, True], [False, False, False, once]
    synced = Synced([*first, *last, False, once, False, True])  # windows of 4 and 2
    model = form(ascent=ascent, **({"accumulate_grad_batches": 4} if manual else {}))
    fit(model, max_epochs=1, extra=[synced], **({} if manual else {"accumulate_grad_batches": 4}))
    with pytest.raises(Exception, match=r"AssertionError|terminated"):  # the callback can fail
        fit(form(ascent=ascent), max_epochs=1, extra=[synced])


def test_ddp_refuses_what_would_hang_or_average_silently():
    class Skips(ManualFront):
        def training_step(self, batch, batch_idx):
            return None if dist.get_rank() == 1 else super().training_step(batch, batch_idx)

    with pytest.raises(Exception, match=r"returned None|terminated|Connection closed"):
        fit(Skips())
    with pytest.raises(Exception, match="static_graph"):
        fit(ManualFront(ascent="per_rank"), ddp={"static_graph": True})


def sharded(form):
    """FSDP2: ``fully_shard`` on the layers and on the whole."""

    class Net(form):
        def configure_model(self):
            from torch.distributed.fsdp import fully_shard

            for layer in self.net:
                if isinstance(layer, nn.Linear):
                    fully_shard(layer, mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    return Net


def fsdp2_worker(rank, port, path, manual, options):
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        WORLD_SIZE="2",
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE="2",
        GROUP_RANK="0",
        TORCHELASTIC_RUN_ID="sam",
    )
    torch.set_num_threads(1)
    n, clip, own_options = options
    own = {"accumulate_grad_batches": n, "gradient_clip_val": clip}
    model = sharded(ManualFront if manual else AutoFront)(
        rho=RHO, scope="weights", **own_options, **(own if manual else {})
    )
    strategy = ModelParallelStrategy(
        data_parallel_size=2,
        tensor_parallel_size=1,
        process_group_backend="gloo",
        save_distributed_checkpoint=False,
    )
    t = trainer(devices=2, strategy=strategy, use_distributed_sampler=False, **({} if manual else own))
    t.fit(model, DataLoader(rows(ROWS), batch_sampler=OwnHalf()))
    whole = [w.full_tensor().detach() for w in model.net.parameters()]
    if rank == 0:
        torch.save(whole, path)
    dist.destroy_process_group()


FSDP2 = {
    "sam": (1, None, {}),
    "accumulate": (4, None, {"p": 1.5}),
    "asam": (1, 0.1, {"perturbation": "asam"}),
    "gsam": (1, None, {"variant": "gsam", "alpha": 0.9}),
    "looksam": (1, None, {"variant": "looksam", "every": 3}),
}
"""Batches a step, where to clip, and options."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manual", "case"),
    [
        (True, "accumulate"),
        (False, "asam"),
        *(slow(*n) for n in ((True, "sam"), (True, "asam"), (False, "sam"), (False, "accumulate"))),
        *(slow(manual, variant) for manual in (True, False) for variant in ("gsam", "looksam")),
    ],
)
def test_fsdp2(manual, case, tmp_path):
    options = FSDP2[case]
    context = torch.multiprocessing.get_context("fork")
    port, path = free_port(), tmp_path / "weights.pt"
    workers = [context.Process(target=fsdp2_worker, args=(r, port, path, manual, options)) for r in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(120)
    assert [w.exitcode for w in workers] == [0, 0]
    n, clip, own = options
    net = network()
    x, y = rows(ROWS).tensors
    step = 2 * PER_RANK
    batches = [(x[i : i + step], y[i : i + step]) for i in range(0, ROWS, step)]

    def epsilon(params, grads, names):
        if own.get("perturbation") == "asam":
            return asam_epsilon(params, grads, names, rho=RHO, scope="weights")
        return sam_epsilon(params, grads, names, rho=RHO, p=own.get("p", 2.0))

    if case in FAMILY:
        reference.by_hand(net, batches, sgd, FAMILY[case][1](), epochs=2)
    else:
        hand_sam(net, batches, sgd, epsilon, n=n, clip=clip and by_norm(clip), epochs=2)
    for ours, theirs in zip(torch.load(path), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-10)
