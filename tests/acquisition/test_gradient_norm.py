import pytest
import torch

from lightning_al import DatasetOracle, MultiLabelTask
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


@pytest.mark.few(1)
@pytest.mark.parametrize("labels", [2, 12])
def test_of_several_labels_the_expected_norm_ranks_by_all_of_them_at_once(labels):
    """A sample that is certain of every label, of some that they are there, is wanted least."""
    net = torch.nn.Linear(labels, labels, bias=False).double()
    torch.nn.init.eye_(net.weight)
    certain = torch.tensor([30.0, -30.0] * (labels // 2), dtype=torch.float64)
    task = MultiLabelTask()
    made = ExpectedGradNorm()
    made.bind(task, DatasetOracle())
    scores = made.score_batch(net, (torch.stack([certain, certain / 30]), None))
    assert scores[0] < 1e-9
    want = reference.gradient_norm(net, certain[None] / 30, "expected_norm", forward=task.logits)
    torch.testing.assert_close(scores[1:], want, **EXACT)


@pytest.mark.parametrize("cls", [EntropyGradNorm, ExpectedGradNorm])
def test_refuses_an_unknown_norm(cls):
    with pytest.raises(ValueError, match="`norm` must be one of 'global', 'tensor_sum', got 'max'"):
        cls(norm="max")


@pytest.mark.parametrize("loss", ["entropy", "pseudo_label", len])
def test_refuses_another_loss(loss):
    with pytest.raises(ValueError, match="`loss` must be one of 'expected_norm', 'expected_loss', got "):
        ExpectedGradNorm(loss=loss)
