import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al.gradients.rules.base import find_rule
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, messages, probe
from tests.helpers.extent import examples
from tests.helpers.models import B, randn, seeded

BATCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
SHAPES = st.lists(st.integers(2, 4), min_size=1, max_size=3)


@examples(6)
@given(shape=SHAPES, kept=st.integers(1, 2), bias=st.booleans(), rms=st.booleans())
def test_layer_and_rms_norm(shape, kept, bias, rms):
    inner = shape[-kept:]
    net = probe(lambda: nn.RMSNorm(inner) if rms else nn.LayerNorm(inner, bias=bias))
    assert_exact(net, randn(B, *shape), FEW)


@examples(5)
@given(positions=st.lists(st.integers(1, 3), max_size=3), groups=st.integers(1, 2), each=st.integers(2, 3))
def test_group_norm(positions, groups, each):
    net = probe(lambda: nn.GroupNorm(groups, groups * each))
    assert_exact(net, randn(B, groups * each, *positions), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("running", [False, True])
@examples(4)
@given(shape=SHAPES, channels=st.integers(1, 3))
def test_instance_norm(running, shape, channels):
    net = probe(lambda: INSTANCE[len(shape)](channels, affine=True, track_running_stats=running))
    assert_exact(net, randn(B, channels, *shape), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("synchronised", [False, True])
@examples(4)
@given(shape=SHAPES, channels=st.integers(1, 3), eps=st.sampled_from([1e-5, 0.1]))
def test_batch_norm(synchronised, shape, channels, eps):
    kind = nn.SyncBatchNorm if synchronised else BATCH[len(shape)]
    assert_exact(probe(lambda: kind(channels, eps=eps)), randn(B, channels, *shape), FEW)


def test_batch_norm_of_vectors():
    assert_exact(probe(lambda: nn.BatchNorm1d(4)), randn(B, 4))


@pytest.mark.few(4)
@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.LayerNorm(4),
        lambda: nn.GroupNorm(1, 3),
        lambda: nn.InstanceNorm1d(3, affine=True),
        lambda: nn.BatchNorm1d(3),
    ],
)
def test_a_frozen_part(build, frozen):
    net = probe(build)
    getattr(net.layer, frozen).requires_grad_(False)
    assert_exact(net, randn(B, 3, 4), BRIEF)


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.LayerNorm(4, elementwise_affine=False),
        lambda: nn.RMSNorm(4, elementwise_affine=False),
        lambda: nn.GroupNorm(1, 3, affine=False),
        lambda: nn.InstanceNorm1d(3),
        lambda: nn.InstanceNorm1d(3, track_running_stats=True),
        lambda: nn.BatchNorm1d(3, affine=False),
    ],
)
def test_norms_without_weights_need_no_rule(norm):
    net = probe(lambda: nn.Sequential(nn.Linear(4, 4), norm(), nn.Linear(4, 2)))
    assert_exact(net, randn(B, 3, 4), BRIEF)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_without_running_statistics_is_scored_as_if_alone(affine):
    """Each sample by its own statistics, as in the loop; with weights layer by layer, else by the fallback."""
    norm = nn.BatchNorm1d(3, affine=affine, track_running_stats=False)
    net, x = probe(lambda: nn.Sequential(nn.Linear(4, 4), norm)), randn(B, 3, 4)
    assert find_rule(net.layer[1]) is None
    if affine:
        assert_exact(net, x, FEW)
        return
    for name in FEW:
        score, loop, options = SCORES[name]
        with messages() as engine:
            got = score(net, x, **options)
        assert "where the plain loop gives" in engine.fell_back[0]
        assert (got - loop(net, x, **options)).abs().max() < 1e-9


def test_a_small_net_with_every_norm():
    def build():
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.GroupNorm(2, 4),
            nn.Conv2d(4, 4, 3, stride=2),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            nn.Flatten(2),
            nn.LayerNorm(4),
            nn.RMSNorm((4, 4)),
            nn.Flatten(),
            nn.Linear(16, 3),
        )

    assert_exact(seeded(build), randn(B, 2, 6, 6))


def test_a_gradient_that_two_layers_have_is_not_written_to(monkeypatch):
    """The bias's gradient may be the output's, which a sum hands to both of its terms."""
    monkeypatch.setattr("lightning_al.gradients.perturbed_losses.CACHED_WEIGHTS", 1)
    net = probe(lambda: nn.ModuleList([nn.BatchNorm1d(4), nn.BatchNorm1d(4)]), lambda two, x: two[0](x) + two[1](x))
    assert_exact(net, randn(B, 4), FEW)
