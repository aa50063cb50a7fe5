import pytest
import torch

from lightning_al.acquisition import EntropyGradNorm, ExpectedGradNorm
from tests.helpers import reference
from tests.helpers.bound import EXACT


@pytest.mark.parametrize("norm", ["global", "tensor_sum"])
def test_norm(bound, norm):
    x = bound.batch[0]
    want = reference.gradient_norm(bound.model, x, "entropy", norm)
    torch.testing.assert_close(bound.scores(EntropyGradNorm(norm=norm)), want, **EXACT)
    want = reference.gradient_norm(bound.model, x, "expected_norm", norm)
    torch.testing.assert_close(bound.scores(ExpectedGradNorm(norm=norm)), want, **EXACT)


@pytest.mark.parametrize("loss", ["expected_norm", "expected_loss"])
def test_loss(bound, loss):
    want = reference.gradient_norm(bound.model, bound.batch[0], loss)
    torch.testing.assert_close(bound.scores(ExpectedGradNorm(loss=loss)), want, **EXACT)


def test_defaults(bound):
    assert torch.equal(bound.scores(EntropyGradNorm()), bound.scores(EntropyGradNorm(norm="global")))
    default = ExpectedGradNorm(loss="expected_norm", norm="global")
    assert torch.equal(bound.scores(ExpectedGradNorm()), bound.scores(default))


def test_the_published_sum_is_the_entropy_norm(bound):
    torch.testing.assert_close(
        bound.scores(ExpectedGradNorm(loss="expected_loss")), bound.scores(EntropyGradNorm()), **EXACT
    )
    assert (bound.scores(ExpectedGradNorm()) - bound.scores(EntropyGradNorm())).abs().max() > 1e-3


@pytest.mark.parametrize("cls", [EntropyGradNorm, ExpectedGradNorm])
def test_refuses_an_unknown_norm(cls):
    with pytest.raises(ValueError, match="`norm` must be one of 'global', 'tensor_sum', got 'max'"):
        cls(norm="max")


@pytest.mark.parametrize("loss", ["entropy", "pseudo_label", len])
def test_refuses_another_loss(loss):
    with pytest.raises(ValueError, match="`loss` must be one of 'expected_norm', 'expected_loss', got "):
        ExpectedGradNorm(loss=loss)
