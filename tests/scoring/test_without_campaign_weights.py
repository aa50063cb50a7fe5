"""The weights of a file, scored; or refused by name where they are another model's."""

import pytest
import torch
from torch import nn

from lightning_al.acquisition import (
    Entropy,
    LearningLoss,
    LPLGrad,
)
from tests.helpers import reference
from tests.helpers.projects import SIZE, Data, Net, make_trainer
from tests.helpers.scene import Learner
from tests.helpers.scored import Never, X, scored


class Makes(Net):
    """Makes its layers late, and anew for each stage."""

    def __init__(self, hook):
        super().__init__()
        self.made = self.net
        del self.net
        self.hook = hook

    def make(self):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.net = nn.Sequential(
                nn.Linear(4, 8), nn.Identity(), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 3)
            ).double()

    def setup(self, stage):
        if self.hook == "setup":
            self.make()

    def configure_model(self):
        if self.hook == "configure_model" and not hasattr(self, "net"):
            self.make()


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_layers_that_are_made_late_have_the_weights_of_the_checkpoint(tmp_path, hook):
    model = Net(lr=1.0)
    nn.init.normal_(model.net[-1].weight)
    model.made = Makes(hook).made
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    scores = scored(tmp_path, Entropy(), model=Makes(hook), ckpt_path=tmp_path / "weights.pt")
    assert scores.score.tolist() == pytest.approx(reference.entropy(model(X).detach()).tolist())


@pytest.mark.parametrize("kind", ["checkpoint", "state_dict"])
def test_the_weights_of_a_file_are_scored(tmp_path, kind):
    trained = Net()
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(trained, Data())
    file = tmp_path / "best.ckpt"
    if kind == "checkpoint":
        trainer.save_checkpoint(file)
    else:
        torch.save(trained.state_dict(), file)
    scores = scored(tmp_path, Entropy(), model=Net(), ckpt_path=str(file))
    assert scores.score.tolist() == pytest.approx(reference.entropy(trained(X).detach()).tolist(), rel=1e-12)


class Wider(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)


class Restless(Net):
    strict_loading = False


@pytest.mark.parametrize(
    ("saved", "model", "said"),
    [
        (Net(), Wider(), r"it misses `head.weight` \(2 such\)\."),
        (Wider(), Net(), r"it has the unexpected `head.weight` \(2 such\)\."),
        (Net().net, Net(), r"it misses `net.0.weight` \(4 such\); it has the unexpected `0.weight` \(4 such\)"),
        (
            nn.ModuleDict({"net": nn.Sequential(nn.Linear(5, 8))}),
            Net(),
            r"`net.0.weight` is \(8, 5\) there and \(8, 4\)",
        ),
        (nn.Linear(2, 2), Restless(), r"it misses `net.0.weight`"),
    ],
)
def test_weights_of_another_model_are_refused_by_name_and_nothing_is_scored(tmp_path, saved, model, said):
    torch.save(saved.state_dict(), tmp_path / "other.pt")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"other.pt holds the weights of another model.*{said}"):
        scored(tmp_path, Never(), model=model, ckpt_path=tmp_path / "other.pt")
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_files_that_hold_no_weights(tmp_path):
    (tmp_path / "text.ckpt").write_text("weights")
    torch.save({"epoch": 3, "weights": Net().state_dict()}, tmp_path / "nested.ckpt")
    for name in ("empty", "full"):
        (tmp_path / f"{name}.ckpt").mkdir()
    (tmp_path / "full.ckpt" / "b.ckpt").touch()
    for name, said in {
        "text": "is no checkpoint",
        "nested": "holds no weights",
        "missing": "no such file",
        "empty": "no such file",
        "full": r"it is a folder, with '.*b\.ckpt' in it",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            scored(tmp_path, Never(), ckpt_path=tmp_path / f"{name}.ckpt")


def test_a_model_that_learnt_to_predict_its_loss(tmp_path):
    model = Learner()
    with pytest.raises(ValueError, match=r"no `loss_prediction` yet.*ckpt_path"):
        scored(tmp_path, LearningLoss(), model=model)
    assert model.loss_prediction_module is None
    assert len(scored(tmp_path, LPLGrad(), model=Learner())) == SIZE  # whose scores are the main model's alone
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, Data())
    trainer.save_checkpoint(tmp_path / "fitted.ckpt")
    scores = scored(tmp_path, LearningLoss(), model=Learner(), ckpt_path=tmp_path / "fitted.ckpt")
    assert scores.score.tolist() == pytest.approx(model.predict_losses(X).tolist())
