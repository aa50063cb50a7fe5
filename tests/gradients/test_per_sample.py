import gc
import math
import weakref
from functools import partial

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import score_groups
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.scorers import MAX_GROUPS, ByTorchFunc
from lightning_al.gradients.tape import Tape
from lightning_al.inference import memory
from lightning_al.inference.outputs import batch_size_of
from tests.helpers import reference
from tests.helpers.exact import SCORES as EXACT_SCORES
from tests.helpers.exact import messages
from tests.helpers.models import NAMES, B, C, case, randn, seeded
from tests.helpers.ways import WAYS, only

SCORES = {
    "saal": F_al.saal,
    "entropy": F_al.gradient_norm,
    "expected_norm": lambda m, x, **o: F_al.gradient_norm(m, x, loss="expected_norm", **o),
}


def counted(forward=None):
    calls = []

    def run(model, x):
        calls.append(1)
        return forward(model, x) if forward else model(x)

    return calls, run


# --------------------------------------------------------------------------------------------------- which way is taken


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", NAMES)
def test_rules_come_first_then_torch_func_then_one_by_one(name, score, monkeypatch):
    net, x, forward, traceable = case(name)
    with messages() as engine:
        want = SCORES[score](net, x, forward=forward)
    by_rules = traceable or name in ("counting", "lstm")
    assert any("No layer-wise gradients" in m for m in engine.said) is not by_rules
    assert any("scoring one group at a time" in m for m in engine.said) is not by_rules
    only("torch.func", monkeypatch)
    net, x, forward, _ = case(name)
    with messages() as engine:
        got = SCORES[score](net, x, forward=forward)
    assert any("switched off" in m for m in engine.said)
    assert any("scoring one group at a time" in m for m in engine.said) is not traceable
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_how_often_the_model_runs(monkeypatch):
    net, x, *_ = case("batch norm")
    for score, passes in (("saal", 2), ("entropy", 1), ("expected_norm", 1)):
        calls, run = counted()
        SCORES[score](net, x, forward=run)
        first = len(calls)
        SCORES[score](net, x, forward=run)
        classes = score == "expected_norm"  # counts them
        assert len(calls) - first == passes + classes  # all samples at once
        assert first <= 20  # looks at a few samples, once, in either order
        calls.clear()
        SCORES[score](net, x, forward=run, max_bytes=1)
        assert len(calls) == passes * B + classes  # one at a time, by the rules as well


def test_a_plan_is_made_anew_for_what_it_depends_on():
    net, x, *_ = case("batch norm")

    def said(**options):
        calls, run = counted()
        F_al.saal(net, options.pop("x", x), forward=run, **options)
        return len(calls) > 3

    assert said()
    assert not said()
    assert not said(x=x[:4])
    assert said(x=randn(B, 2, 5, 5))
    assert said(perturbation="asam")
    assert said(group_size=2)
    assert said(loss_fn=lambda z, y: reference.loss(z, y))
    net.conv.requires_grad_(False)
    assert said()
    net.norm = nn.Identity()
    assert said()


def test_strings_beside_the_inputs_do_not_make_a_plan_each():
    net, x, *_ = case("layer norm")
    for i in range(2):
        calls, run = counted(lambda m, v: m(v["x"]))
        F_al.saal(net, {"x": x, "files": [f"{i}-{j}" for j in range(B)]}, forward=run)
        assert (len(calls) > 3) is (i == 0)


def test_plans_do_not_keep_models_alive():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, C)

        def forward(self, x):
            return self.head(x)

        def loss(self, z):
            return z.square().sum(1)

        def logits(self, model, x):
            return model(x)

    def scored():
        net = Net()
        F_al.gradient_norm(net, torch.randn(B, 4), loss=net.loss, forward=net.logits)
        F_al.saal(net, torch.randn(B, 4), loss_fn=lambda z, y: net.loss(z))
        return weakref.ref(net)

    gone = scored()
    gc.collect()
    assert gone() is None


def test_a_fault_of_the_models_own_comes_through():
    def forward(m, x):
        raise KeyError("pixel_values")

    with pytest.raises(KeyError, match="pixel_values"):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=forward)


# ------------------------------------------------------------------------------------------------------------- chunks


def seen_groups(n, group_size=1, copies=1, max_bytes=None, model=None):
    """The group sizes each call of the score saw, where no rules are given, from the shapes inside."""
    model = model or nn.Linear(1, 2)
    sizes = []

    def forward(m, x):
        sizes.append(len(x))
        return m(x)

    def score(diff, call, params, group):
        return call(params, group)[:, 0]

    x = torch.arange(float(n)).reshape(n, 1)
    options = {"forward": forward, "group_size": group_size, "copies": copies, "max_bytes": max_bytes}
    score_groups(model, score, x, **options)  # looks at one group first
    sizes.clear()
    got = score_groups(model, score, x, **options)
    torch.testing.assert_close(got, model(x)[:, 0].detach())
    return sizes


def test_chunks_and_groups_of_torch_func():
    assert MAX_GROUPS == 128
    assert seen_groups(5) == [1]
    assert seen_groups(129) == [1, 1]
    assert seen_groups(7, group_size=3) == [3, 1]  # the smaller last group on its own
    assert seen_groups(3, group_size=3) == [3]
    assert seen_groups(2, group_size=3) == [2]
    assert seen_groups(260, group_size=64) == [64, 64, 4]  # at most 128 samples at once
    assert seen_groups(400, group_size=200) == [200, 200]
    size = 4 * 4  # four float32 weights
    assert seen_groups(6, max_bytes=size * 2) == [1] * 3
    assert seen_groups(6, max_bytes=size * 2, copies=2) == [1] * 6
    assert seen_groups(6, max_bytes=size * 3) == [1] * 2
    assert seen_groups(0) == []


def test_what_a_sample_keeps_for_its_gradient_counts(monkeypatch):
    only("torch.func", monkeypatch)
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2)))
    plain = 2 * 8 * sum(p.numel() for p in net.parameters())  # copies of the weights
    kept = 8 * (4 + 64)  # at least: the input and the hidden layer
    batches = []
    scored = ByTorchFunc.__call__

    def counted(scorer, inputs, group_size):
        batches.append(batch_size_of(inputs))
        return scored(scorer, inputs, group_size)

    monkeypatch.setattr(ByTorchFunc, "__call__", counted)
    F_al.gradient_norm(net, randn(6, 4), max_bytes=6 * plain + kept)
    assert max(batches) < 6


def test_nothing_is_left_for_the_collector(monkeypatch):
    """Circles would keep the activations of many batches alive."""
    net, x, *_ = case("batch norm")
    seen = []
    record = Tape.record

    def recorded(tape, given):
        outputs = record(tape, given)
        seen.extend(weakref.ref(call.x) for call in tape.calls)
        return outputs

    monkeypatch.setattr(Tape, "record", recorded)
    for score in SCORES.values():
        score(net, x)  # looks at the model first
        seen.clear()
        gc.disable()
        try:
            score(net, x)
            assert seen
            assert not any(activation() is not None for activation in seen)
        finally:
            gc.enable()


def test_a_small_budget_is_kept_when_a_model_is_looked_at(monkeypatch):
    """The comparison with the plain loop in float64 takes more than scoring does."""
    compared = []
    in_double = ScoredModel.in_double
    monkeypatch.setattr(ScoredModel, "in_double", lambda model: compared.append(1) or in_double(model))
    for max_bytes, wanted in ((None, [1]), (100, [])):
        net, x, *_ = case("batch norm")
        want = F_al.saal(net, x)
        compared.clear()
        net, x, *_ = case("batch norm")
        torch.testing.assert_close(F_al.saal(net, x, max_bytes=max_bytes), want, rtol=1e-9, atol=1e-9)
        assert compared == wanted


def test_frozen_weights_do_not_count_for_the_budget():
    model = nn.Linear(1, 2)
    model.bias.requires_grad_(False)
    assert seen_groups(6, max_bytes=2 * 4 * 3, model=model) == [1] * 2


def sizes_of(net, x, score=F_al.saal, **options):
    """How many samples the engine took at once."""
    sizes = []

    def run(m, v):
        sizes.append(len(v))
        return m(v)

    score(net, x, forward=run, **options)  # looks at the model first
    sizes.clear()
    score(net, x, forward=run, **options)
    return sizes


@pytest.mark.parametrize("score", SCORES)
def test_the_byte_budget_bounds_a_batch_of_the_engine(score):
    net, *_ = case("convolution")
    x = randn(40, 2, 6, 6)
    some = sizes_of(net, x, SCORES[score], max_bytes=100_000)
    fewer = sizes_of(net, x, SCORES[score], max_bytes=50_000)
    assert max(fewer) < max(some) < 40
    assert max(sizes_of(net, x, SCORES[score])) == 40


def test_groups_are_never_torn_by_the_budget():
    net, *_ = case("convolution")
    x = randn(13, 2, 6, 6)
    sizes = sizes_of(net, x, group_size=4, max_bytes=1)
    assert sizes == [4, 4, 4, 4, 4, 4, 1, 1]
    for max_bytes in (1, 60_000, 10**6, None):
        got = F_al.saal(net, x, group_size=4, max_bytes=max_bytes)
        torch.testing.assert_close(got, reference.saal(net, x, group_size=4), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("score", SCORES)
def test_ways_and_splits_do_not_show(score, way, monkeypatch):
    net, *_ = case("convolution")
    x = randn(9, 2, 6, 6)
    want = SCORES[score](net, x)
    mode = only(way, monkeypatch)
    for max_bytes in {1, 20_000, mode}:
        torch.testing.assert_close(SCORES[score](net, x, max_bytes=max_bytes), want, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- out of memory


def limited(most, error=torch.OutOfMemoryError):
    """A forward that has the memory for so many samples."""
    sizes = []

    def forward(m, x):
        sizes.append(len(x))
        if len(x) > most:
            raise error("CUDA out of memory")
        return m(x)

    return sizes, forward


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("score", SCORES)
def test_out_of_memory_halves_the_batch_and_goes_on(score, error):
    net, *_ = case("layer norm")
    x = randn(40, 4)
    sizes, forward = limited(12, error)
    with messages() as engine:
        got = SCORES[score](net, x, forward=forward)
    torch.testing.assert_close(got, SCORES[score](net, x), rtol=1e-9, atol=1e-9)
    assert engine.said == [
        "Out of memory with 40 samples at once; going on with 20.",
        "Out of memory with 20 samples at once; going on with 10.",
    ]
    assert sizes.count(10) == 4 * (2 if score == "saal" else 1)
    assert 40 in sizes


def test_out_of_memory_in_torch_func_halves_as_well(monkeypatch):
    only("torch.func", monkeypatch)
    batches = []
    real = ByTorchFunc.__call__

    def call(self, inputs, group_size):
        batches.append(len(inputs[0]))
        if batches[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, inputs, group_size)

    monkeypatch.setattr(ByTorchFunc, "__call__", call)
    net, x, *_ = case("layer norm")
    torch.testing.assert_close(F_al.saal(net, x), reference.saal(net, x), rtol=1e-9, atol=1e-9)
    assert batches == [5, 2, 2, 1]


def test_groups_stay_whole_when_memory_runs_out():
    net, *_ = case("layer norm")
    x = randn(22, 4)
    sizes, forward = limited(7)
    got = F_al.saal(net, x, group_size=3, forward=forward)
    torch.testing.assert_close(got, reference.saal(net, x, group_size=3), rtol=1e-9, atol=1e-9)


def test_memory_for_one_sample_only():
    """Not even enough to look at two."""
    net, *_ = case("layer norm")
    x = randn(B, 4)
    sizes, forward = limited(1)
    torch.testing.assert_close(F_al.saal(net, x, forward=forward), reference.saal(net, x), rtol=1e-9, atol=1e-9)


def test_memory_for_no_sample_is_not_hidden():
    _, forward = limited(0)
    with pytest.raises(torch.OutOfMemoryError):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=forward)


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


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "model", [nn.Linear(4, C).requires_grad_(False), nn.Identity()], ids=["all frozen", "no weights"]
)
def test_refuses_a_model_without_trainable_parameters(model):
    for score in (F_al.saal, F_al.gradient_norm):
        with pytest.raises(ValueError, match=r"no trainable parameter.*Unfreeze"):
            score(model, torch.zeros(2, 4))


def test_refuses_a_model_whose_lazy_layers_have_no_shape():
    for score in (F_al.saal, F_al.gradient_norm):
        with pytest.raises(ValueError, match=r"lazy layers.*Run one batch"):
            score(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, C)), torch.zeros(2, 4))


@pytest.mark.parametrize("value", [0, -3, 1.5, "1GB"])
def test_refuses_sizes_below_one(value):
    with pytest.raises(ValueError, match=f"`group_size` must be at least 1, got {value!r}"):
        score_groups(nn.Linear(1, 1), lambda *a: None, torch.zeros(2, 1), group_size=value)
    with pytest.raises(ValueError, match="`max_bytes` must be at least 1, got "):
        F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), max_bytes=0 if value == 1.5 else value)


@pytest.mark.parametrize("way", WAYS)
def test_refuses_a_score_that_is_not_one_number_per_sample(way, monkeypatch):
    net, x, *_ = case("dense")
    mode = only(way, monkeypatch)
    for score in (
        lambda loss: F_al.saal(net, x, loss_fn=loss, max_bytes=mode),
        lambda loss: F_al.gradient_norm(net, x, loss=lambda z: loss(z, z.argmax(1)), max_bytes=mode),
    ):
        with pytest.raises(ValueError, match=r"one number per sample, \(\d,\) here, got \d+ numbers\. Average"):
            score(lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"))


@pytest.mark.parametrize(
    ("values", "got"), [(0.5, "float"), ([1.0, 2.0], "list"), (torch.tensor([1, 2]), "torch.int64")]
)
def test_refuses_a_loss_that_is_no_floating_tensor(values, got):
    for score in (
        lambda: F_al.saal(nn.Linear(4, C), torch.zeros(2, 4), loss_fn=lambda z, y: values),
        lambda: F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), loss=lambda z: values),
    ):
        with pytest.raises(TypeError, match=f"The loss must give a floating-point tensor.* got {got}"):
            score()


def test_scores_are_seen_by_no_graph_even_when_the_inputs_want_gradients():
    net = seeded(lambda: nn.Linear(4, C))
    x = randn(B, 4).requires_grad_()
    for score in SCORES.values():
        assert not score(net, x).requires_grad
    assert x.grad is None
    assert math.isfinite(float(F_al.saal(net, x).sum()))


class Sorted(nn.Module):
    """Sorts its batch by a feature, runs, and puts it back."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.net(x[order])[order.argsort()]


class Routed(nn.Module):
    """Sends each sample to one of two experts, and their outputs back to where the samples were."""

    def __init__(self, back):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])
        self.shared = nn.Linear(6, 6)
        self.back = back

    def forward(self, x):
        chosen = (x[:, 0] > 0).long()
        rows = [torch.nonzero(chosen == i).flatten() for i in (0, 1)]
        outputs = torch.cat([self.experts[0](x), self.experts[1](x)])
        index = torch.cat([rows[0], len(x) + rows[1]])
        mixed, home = self.shared(outputs[index].repeat(1, 2)), torch.cat(rows)
        if self.back == "index":
            return mixed[home.argsort()][:, :3]
        return torch.zeros(len(x), 6, dtype=x.dtype).index_copy(0, home, mixed)[:, :3]


@pytest.mark.parametrize("build", [Sorted, lambda: Routed("index"), lambda: Routed("copy")])
@pytest.mark.parametrize("in_order", [True, False])
def test_rows_picked_by_the_data_are_not_taken_for_rows_in_order(build, in_order):
    """The first samples may be in order already, so that comparing them with the loop shows nothing."""
    x = randn(8, 6)
    if in_order:
        x = x[x[:, 0].argsort()]
        x[2:] = x[2:][torch.tensor([3, 0, 5, 1, 4, 2])]
    net = seeded(build)
    for name in ("sam", "asam", "tensor_sum", "groups"):
        score, loop, options = EXACT_SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_rows_in_another_order_are_found_out_although_the_first_samples_are_the_same():
    class Flipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, x):
            return self.net(x.flip(0)).flip(0)

    x = randn(6, 6)
    x[1] = x[0]
    net = seeded(Flipped)
    score, loop, options = EXACT_SCORES["tensor_sum"]
    torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def trimmed(m, x):
    """Cuts to the longest of the batch, and takes the mean over what is left."""
    return m(x[:, : int((x != 0).any(2).sum(1).max())]).mean(1)


def scaled(m, x):
    return m(x / x.abs().amax()).mean(1)


def rows_of(index, x):
    return nn.functional.one_hot(index, len(x)).to(x.dtype) @ x.flatten(1)


def sorted_by_length(m, x):
    order = (x != 0).any(2).sum(1).argsort(stable=True)
    return rows_of(order.argsort(), m(rows_of(order, x).view(x.shape)).mean(1))


def interleaved(m, x):
    z = m(torch.cat([x[::2], x[1::2]])).mean(1)
    half = (len(x) + 1) // 2
    return torch.stack([z[i // 2 + half * (i % 2)] for i in range(len(x))])


@pytest.mark.parametrize("forward", [trimmed, scaled, sorted_by_length, interleaved])
@pytest.mark.parametrize("small", [0, 2])
def test_what_the_first_two_samples_share_hides_nothing(forward, small):
    """Of the same length and largest value, they score alone as together; two cannot show another order than theirs."""
    x = randn(7, 4, 6).clamp(-1, 1)
    x[:3, 0] = torch.tensor([1.0, -1, 1, -1, 1, -1])
    x[3:] *= 0.3
    for i, length in enumerate((2, 2, 2, 3, 4, 1, 3)):
        x[i, length:] = 0
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    for name in ("sam", "asam", "groups", "tensor_sum"):
        score, loop, options = EXACT_SCORES[name]
        if small:  # has been looked at already
            score(net, x[: 2 * options.get("group_size", 1)], forward=forward, **options)
        got = score(net, x, forward=forward, **options)
        torch.testing.assert_close(got, loop(net, x, forward=forward, **options), rtol=1e-9, atol=1e-9)


def test_what_is_bound_to_a_forward_belongs_to_the_plan():
    def forward(model, x, flip=False):
        return model(x.flip(0)).flip(0) if flip else model(x)

    class Task:
        flip = False

        def forward(self, model, x):
            return forward(model, x, self.flip)

    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    x, task = randn(6, 6), Task()
    wanted = F_al.gradient_norm(net, x)
    for flip in (False, True):
        task.__dict__["flip"] = flip
        for way in (partial(forward, flip=flip), lambda m, x, flip=flip: forward(m, x, flip), task.forward):
            torch.testing.assert_close(F_al.gradient_norm(net, x, forward=way), wanted, rtol=1e-9, atol=1e-9)


class Mixing(nn.Module):
    """Takes something from the other samples, once it is told to."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.how = lambda h: h

    def forward(self, x):
        return self.head(self.how(self.first(x)).tanh())


def mix(h):
    return h - 0.3 * h.mean(0)


def test_scores_of_nothing_but_rounding_errors_decide_nothing():
    """A head of zeros, whose predictions are uniform: the entropy has no gradient yet."""
    net, x = seeded(Mixing), randn(6, 6)
    net.head.requires_grad_(False).weight.zero_()
    calls, run = counted()
    torch.testing.assert_close(F_al.gradient_norm(net, x, forward=run), torch.zeros(6).double())
    assert len(calls) < 30  # looked at once, not for every sample
    nn.init.normal_(net.head.weight)
    with messages() as engine:
        F_al.gradient_norm(net, x, forward=run)
    assert not engine.fell_back
    net.how = mix
    net.head.weight.zero_()
    F_al.gradient_norm(net, x, forward=run)
    nn.init.normal_(net.head.weight)
    got = F_al.gradient_norm(net, x, forward=run)
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", ["function", "hook", "hook before"])
def test_functions_in_attributes_and_hooks_belong_to_the_plan(way):
    net, x = seeded(Mixing), randn(6, 6)
    F_al.gradient_norm(net, x)
    if way == "function":
        net.how = mix
    elif way == "hook":
        net.first.register_forward_hook(lambda m, args, h: mix(h))
    else:
        net.head.register_forward_pre_hook(lambda m, args: (mix(args[0]),))
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)


def test_nan_in_the_first_samples_says_nothing_of_the_next():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    x = randn(6, 6)
    poisoned = x.clone()
    poisoned[0] = torch.nan
    assert F_al.gradient_norm(net, poisoned)[0].isnan()
    with messages() as engine:
        F_al.gradient_norm(net, x)
    assert not engine.fell_back
    assert engine.passes
