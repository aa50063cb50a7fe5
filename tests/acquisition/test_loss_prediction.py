import copy

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_al import functional as F_al
from lightning_al.acquisition import SAAL, EntropyGradNorm, LearningLoss, LPLGrad
from lightning_al.training import LossPredictionMixin
from tests.helpers import reference
from tests.helpers.bound import EXACT, Bound, pick
from tests.helpers.models import B, C, randn


class Plain(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.net = nn.Sequential(
            *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, C)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Learner(LossPredictionMixin, Plain):
    loss_width = 5


def learner() -> Learner:
    model = Learner().double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    model.predict_losses(randn(2, 2, 10, 10))
    return model


@pytest.fixture
def bound() -> Bound:
    x, labels = randn(B, 2, 10, 10), (randn(B, seed=7) * 10).long() % C
    return Bound(learner(), [x, labels], TensorDataset(x, labels))


def predicted_losses(model: LossPredictionMixin, inputs: Tensor) -> Tensor:
    """METHODS.md, section 4: one sample at a time, in plain torch, from the weights of the module."""
    net, state = copy.deepcopy(model).eval(), model.loss_prediction.state_dict()
    names = [k.split(".")[1] for k in state if k.startswith("maps.") and k.endswith("weight")]
    found = []
    for x in inputs:
        seen: dict[str, Tensor] = {}
        for name in names:
            layer = net.get_submodule(name[1:].replace("/", "."))
            layer.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out.clone()}))
        net(x[None])
        hidden = []
        for name in names:
            pooled = seen[name][0].flatten(1).mean(1)
            hidden.append((state[f"maps.{name}.weight"] @ pooled + state[f"maps.{name}.bias"]).clamp(min=0))
        found.append(state["head.weight"][0] @ torch.cat(hidden) + state["head.bias"][0])
    return torch.stack(found).detach()


def main_gradient_norms(model: LossPredictionMixin, inputs: Tensor, norm: str) -> Tensor:
    """The entropy norm of the model with its loss prediction taken away."""
    main = copy.deepcopy(model)
    del main.loss_prediction
    return reference.gradient_norm(main, inputs, "entropy", norm)


def test_learning_loss_is_what_the_module_predicts(bound):
    assert bound.model.loss_prediction.layers == ["net.2", "net.3", "net.5"]
    torch.testing.assert_close(bound.scores(LearningLoss()), predicted_losses(bound.model, bound.batch[0]), **EXACT)


@pytest.mark.parametrize("norm", ["tensor_sum", "global"])
def test_norm(bound, norm):
    scores = bound.scores(LPLGrad(norm=norm))
    torch.testing.assert_close(scores, main_gradient_norms(bound.model, bound.batch[0], norm), **EXACT)
    torch.testing.assert_close(scores, bound.scores(EntropyGradNorm(norm=norm)), **EXACT)
    main = copy.deepcopy(bound.model)
    del main.loss_prediction
    assert torch.equal(scores, F_al.gradient_norm(main, bound.batch[0], norm=norm))


def test_the_default_norm_is_the_codes(bound):
    assert torch.equal(bound.scores(LPLGrad()), bound.scores(LPLGrad(norm="tensor_sum")))


def test_a_module_that_the_forward_uses_is_left_out_too():
    """Were its weights among the parameters, their gradient would count."""

    class Uses(Learner):
        def forward(self, x: Tensor) -> Tensor:
            z = self.net(x)
            module = self.loss_prediction_module
            return z if module is None else z * module.head.weight.sum()

    model = Uses().double()
    model.predict_losses(randn(2, 2, 10, 10))
    x = randn(B, 2, 10, 10)
    held = Bound(model, [x, torch.zeros(B).long()], TensorDataset(x, torch.zeros(B).long()))
    frozen = copy.deepcopy(model)
    frozen.loss_prediction.requires_grad_(False)
    expected = reference.gradient_norm(frozen, x, "entropy", "tensor_sum")
    torch.testing.assert_close(held.scores(LPLGrad()), expected, **EXACT)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("cls", [LearningLoss, LPLGrad])
def test_selection(cls):
    scores = [0.1, 5.0, 4.9, 0.2, 2.5, 5.0]
    assert cls().selection == "top"
    assert pick(cls(selection="top"), scores, 4) == [1, 5, 2, 4]
    assert any(pick(cls(selection="kmeans++"), scores, 3, s) != [1, 5, 2] for s in range(3))
    with pytest.raises(ValueError, match="`selection` must be one of"):
        cls(selection="best")


def test_predicted_losses_may_be_negative():
    with pytest.raises(ValueError, match=r"LearningLoss.*negative"):
        LearningLoss(selection="badge")
    assert LPLGrad(selection="badge").selection == "badge"


@pytest.mark.parametrize("acquisition", [LearningLoss(), LPLGrad()])
def test_batching_does_not_matter(bound, acquisition):
    whole = bound.scores(acquisition)
    alone = torch.cat([acquisition.rows(bound.model, [t[i : i + 1] for t in bound.batch])["score"] for i in range(B)])
    torch.testing.assert_close(alone, whole, **EXACT)


@pytest.mark.parametrize("acquisition", [LearningLoss(), LPLGrad()])
def test_nothing_is_left_behind(bound, acquisition):
    bound.bind(acquisition)
    bound.model.train()
    before = reference.snapshot(bound.model)
    acquisition.rows(bound.model, bound.batch)
    assert reference.snapshot(bound.model) == before


@pytest.mark.parametrize("acquisition", [EntropyGradNorm(norm="tensor_sum"), SAAL(), SAAL(perturbation="asam")])
def test_other_acquisitions_score_as_without_the_module(bound, acquisition):
    with_module = bound.scores(acquisition)
    del bound.model.loss_prediction
    torch.testing.assert_close(bound.scores(acquisition), with_module, **EXACT)


def test_refuses_a_model_that_does_not_learn_it(bound):
    for acquisition, also in ((LearningLoss(), ""), (LPLGrad(), r'.*EntropyGradNorm\(norm="tensor_sum"\)')):
        bound.bind(acquisition)
        name = type(acquisition).__name__
        with pytest.raises(TypeError, match=rf"{name} needs.*class Net\(LossPredictionMixin, Plain\)`.*import.*{also}"):
            acquisition.rows(Plain().double(), bound.batch)


def test_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match=r"`norm` must be one of 'global', 'tensor_sum', got 'max'"):
        LPLGrad(norm="max")
