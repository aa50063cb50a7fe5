"""The parts of SAF and MESA: the loss, the memory of outputs, the averaged weights."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from lightning_al.training.sam.trajectory import AveragedWeights, OutputMemory, trajectory_loss
from tests.helpers.sam_family_reference import divergence


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 4),
    classes=st.integers(1, 5),
    positions=st.lists(st.integers(1, 3), max_size=2),
    tau=st.floats(0.1, 20),
    seed=st.integers(0, 2**31),
)
def test_the_loss_is_the_divergence_of_each_sample_and_position(size, classes, positions, tau, seed):
    g = torch.Generator().manual_seed(seed)
    now, then = (5 * torch.randn(size, classes, *positions, generator=g, dtype=torch.float64) for _ in range(2))
    losses = trajectory_loss(now.requires_grad_(), then, tau)
    assert losses.shape == (size,)
    for i in range(size):
        pairs = zip(then[i].reshape(classes, -1).T, now[i].reshape(classes, -1).T)
        each = [divergence(a, b, tau) for a, b in pairs]
        assert losses[i].item() == pytest.approx(float(sum(each) / len(each)), abs=1e-10)
    [gradient] = torch.autograd.grad(losses.sum(), now)
    assert gradient.isfinite().all()


def test_half_precision_masked_classes_and_confident_outputs_stay_finite():
    now = torch.tensor([[80.0, -80.0, -torch.inf]], dtype=torch.bfloat16, requires_grad=True)
    then = torch.tensor([[-80.0, 80.0, -torch.inf]], dtype=torch.bfloat16)
    loss = trajectory_loss(now[:, :2], then[:, :2], 1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(160.0)
    masked = trajectory_loss(torch.zeros(1, 3), then.float(), 1.0)
    assert masked.isfinite().all()


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(1)


def whole(shard):
    return shard


def test_the_memory_is_of_lag_epochs_ago_whatever_the_order():
    memory = OutputMemory(lag=2)
    for epoch in range(6):
        order = torch.randperm(7, generator=torch.Generator().manual_seed(epoch))
        for ids in order.split(3):
            past = memory.recall(epoch, ids)
            if epoch < 2:
                assert past is None
            else:
                outputs, is_known = past
                assert is_known.all()
                assert torch.equal(outputs, rows(*(10 * (epoch - 2) + i for i in ids.tolist())))
            memory.record(ids, rows(*(10 * epoch + i for i in ids.tolist())))
        memory.close(epoch, whole)
    assert sorted(memory.state_dict()["epochs"]) == [4, 5]  # and no more


def test_samples_that_were_not_seen_and_those_seen_twice():
    memory = OutputMemory(lag=1)
    memory.record(torch.tensor([4, 2, 4]), rows(1, 2, 3))
    memory.close(0, whole)
    outputs, is_known = memory.recall(1, torch.tensor([4, 9, 0, 2]))
    assert outputs.flatten().tolist() == [3, 0, 0, 2]
    assert is_known.tolist() == [True, False, False, True]
    memory.close(1, whole)  # an epoch without batches
    assert memory.recall(2, torch.tensor([4])) is None


def test_what_was_not_seen_counts_nothing_even_where_the_memory_is_not_finite():
    memory = OutputMemory(lag=1)
    memory.record(torch.tensor([4]), rows(torch.inf))
    memory.close(0, whole)
    outputs, is_known = memory.recall(1, torch.tensor([5]))
    assert outputs.tolist() == [[0.0]]
    assert not is_known


def test_the_memory_is_of_all_ranks_together():
    memory = OutputMemory(lag=1)
    memory.record(torch.tensor([0]), rows(1))
    other = {"ids": torch.tensor([5]), "outputs": rows(2)}
    memory.close(0, lambda own: {name: torch.cat([own[name], other[name]]) for name in own})
    outputs, is_known = memory.recall(1, torch.tensor([5, 0]))
    assert is_known.all()
    assert outputs.flatten().tolist() == [2, 1]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_memory_that_was_saved_mid_epoch_goes_on():
    memory, other = OutputMemory(lag=1), OutputMemory(lag=1)
    memory.record(torch.tensor([0]), rows(1))
    memory.close(0, whole)
    memory.record(torch.tensor([1]), rows(2))
    other.load_state_dict(through_a_file(memory.state_dict()))
    other.record(torch.tensor([3]), rows(4))
    assert other.recall(1, torch.tensor([0]))[0].item() == 1
    other.close(1, whole)
    assert other.recall(2, torch.tensor([3, 1]))[0].flatten().tolist() == [4, 2]


def test_outputs_made_on_a_gpu_are_kept_in_ram_as_those_of_a_checkpoint_are():
    memory = OutputMemory(lag=1)
    memory.load_state_dict({"epochs": {}, "open": [{"ids": torch.tensor([1]), "outputs": rows(2)}]})
    with FakeTensorMode():  # no GPU is needed for these
        memory.record(torch.tensor([3], device="cuda"), torch.zeros(1, 1, device="cuda"))
    kept = [tensor for part in memory.state_dict()["open"] for tensor in part.values()]
    assert [tensor.device.type for tensor in kept] == ["cpu"] * 4


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()


def test_averages_are_those_of_each_weight_and_leave_nothing_behind():
    net, averages, decay = normed(), AveragedWeights(0.9), 0.9
    by_hand = copy.deepcopy(net).eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    averages.update(net)
    x = torch.randn(6, 3, dtype=torch.float64)
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(net(x), torch.tensor([0, 1] * 3)).backward()
        optimizer.step()
        averages.update(net)
        for v, w in zip(by_hand.state_dict().values(), net.state_dict().values()):
            if v.is_floating_point():
                v.copy_(decay * v + (1 - decay) * w)
    before = copy.deepcopy(net.state_dict())
    net[1].eval()  # a flag of the user's
    other = AveragedWeights(0.9)
    other.load_state_dict(through_a_file(averages.state_dict()))
    for kept in (averages, other):
        with pytest.raises(KeyError), kept.in_place(net):
            torch.testing.assert_close(net(x), by_hand(x), rtol=0, atol=1e-12)
            raise KeyError
        assert [m.training for m in net] == [True, False, True, True]
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_averages_of_half_precision_move_by_less_than_it_has_a_next_number_for(dtype):
    layer, averages = nn.BatchNorm1d(1, dtype=dtype), AveragedWeights(0.9995)
    averages.update(layer)  # 1 and 0
    for tensor in (layer.weight.data, layer.running_mean):
        tensor.fill_(2.0)
    for i in range(1000):
        averages.update(layer)
        if i == 500:
            averages.load_state_dict(through_a_file(averages.state_dict()))
    with averages.in_place(layer):
        assert layer.weight.dtype == layer.running_mean.dtype == dtype
        assert layer.weight.item() == pytest.approx(2 - 0.9995**1000, rel=torch.finfo(dtype).eps)
        assert layer.running_mean.item() == pytest.approx(2 - 2 * 0.9995**1000, rel=torch.finfo(dtype).eps)
    assert layer.weight.item() == layer.running_mean.item() == 2.0
