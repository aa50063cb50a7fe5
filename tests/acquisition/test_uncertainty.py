import pytest
import torch
from torch import nn

from lightning_al import AwaitTell, ClassificationTask
from lightning_al.acquisition import Entropy, LeastConfidence, Margin
from tests.helpers import reference
from tests.helpers.bound import EXACT
from tests.helpers.models import case

METHODS = {Entropy: reference.entropy, LeastConfidence: reference.least_confidence, Margin: reference.margin}


@pytest.mark.parametrize("cls", METHODS)
def test_equals_the_definition_one_sample_at_a_time(cls, bound):
    got = bound.scores(cls())
    net = reference.evaluated(bound.model)
    want = torch.cat([METHODS[cls](net(x[None])) for x in bound.batch[0]]).detach()
    torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("cls", METHODS)
def test_a_model_that_gives_probabilities(cls, bound):
    acquisition = bound.bind(cls(), outputs="probabilities")
    model = nn.Sequential(bound.model, nn.Softmax(1)).eval()
    torch.testing.assert_close(acquisition.rows(model, bound.batch)["score"], bound.scores(cls()), **EXACT)


@pytest.mark.parametrize("cls", METHODS)
def test_under_autocast_as_without(cls, bound):
    """Rounded to bfloat16, logits tie: the picks would follow the order of the candidates."""
    model, batch = bound.model.float().eval(), [bound.batch[0].float(), bound.batch[1]]
    acquisition = bound.bind(cls())
    plain = acquisition.rows(model, batch)["score"]
    assert plain.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(batch[0]).dtype == torch.bfloat16
        assert torch.equal(acquisition.rows(model, batch)["score"], plain)


@pytest.mark.parametrize("cls", METHODS)
def test_nothing_is_left_behind_in_train_mode(cls, bound):
    want = bound.scores(cls())
    bound.model.train()
    before = reference.snapshot(bound.model)
    assert torch.equal(bound.bind(cls()).rows(bound.model, bound.batch)["score"], want)
    assert reference.snapshot(bound.model) == before


@pytest.mark.few(1)
@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_works_with_a_frozen_script_module(cls):
    net, x, *_ = case("batch norm")
    net.eval().requires_grad_(False)
    task = ClassificationTask()
    acquisition = cls()
    acquisition.bind(task, AwaitTell())
    got = acquisition.rows(torch.jit.trace(net, x), [x])["score"]
    torch.testing.assert_close(got, METHODS[cls](net(x)), **EXACT)
