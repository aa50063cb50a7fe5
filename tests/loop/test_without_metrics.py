"""Campaigns that evaluate nothing: without a validation set, or without a step for it."""

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.stopping import MetricReached
from lightning_al.words import WITHOUT_METRICS
from tests.helpers.projects import Data, Net, loop_in, make_trainer, picks


class Bare(Net):
    validation_step = L.LightningModule.validation_step
    test_step = L.LightningModule.test_step


class BareData(Data):
    val_dataloader = L.LightningDataModule.val_dataloader
    test_dataloader = L.LightningDataModule.test_dataloader


def test_it_runs_and_picks_as_it_would_with_metrics(tmp_path, capsys):
    loop = loop_in(tmp_path, Bare(), BareData(), evaluate=None)
    history = loop.run(make_trainer(tmp_path))
    assert [r.metrics for r in history] == [{}, {}, {}]
    assert [r.seconds["evaluate"] for r in history] == [0.0] * 3
    assert picks(history) == picks(loop_in(tmp_path / "with").run(make_trainer(tmp_path)))
    assert "| no metrics |" in str(history[0])
    assert picks(Campaign.load(tmp_path / "c").rounds) == picks(history)
    assert not [call for call in loop.datamodule.datamodule.calls if call in ("setup validate", "setup test")]
    resumed = loop_in(tmp_path, Bare(), BareData(), evaluate=None, rounds=3).run(make_trainer(tmp_path), resume=True)
    assert picks(resumed)[:2] == picks(history)[:2]


class Silent(Net):
    def validation_step(self, batch, batch_idx):
        pass


def test_an_evaluation_that_logs_nothing_is_told_of(tmp_path):
    with pytest.warns(
        UserWarning, match=r"`evaluate=\"validate\"` evaluated Silent, which logged nothing.*in `validation_step`; if"
    ):
        history = loop_in(tmp_path, Silent(), rounds=0).run(make_trainer(tmp_path))
    assert history[0].metrics == {}
    with pytest.raises(ValueError, match=r"no round has metrics: .* or what it evaluated logged nothing"):
        history.plot()


def test_one_line_says_so(tmp_path, caplog):
    with caplog.at_level("INFO", "lightning.pytorch.utilities.rank_zero"):
        loop_in(tmp_path, Bare(), BareData(), evaluate=None, rounds=0).run(make_trainer(tmp_path))
    assert [r.message for r in caplog.records if "evaluate=None" in r.message] == [
        "`evaluate=None`: nothing is evaluated after a round, and its `metrics` are empty. For metrics pass the loop "
        '`evaluate="validate"` or `"test"`.'
    ]


def test_the_best_weights_may_be_those_of_what_training_logs(tmp_path):
    checkpoint = ModelCheckpoint(monitor="train_loss", mode="min")
    loop = loop_in(tmp_path, Bare(), BareData(), evaluate=None, weights="best", rounds=1)
    assert len(loop.run(make_trainer(tmp_path, checkpoint, enable_checkpointing=True))) == 2


def test_a_rule_that_needs_metrics_is_refused_and_others_are_not(tmp_path):
    with pytest.raises(ValueError, match=r"`stop=MetricReached\(monitor='val_acc'\)` needs metrics.*`evaluate=None`"):
        loop_in(tmp_path, evaluate=None, stop=MetricReached("val_acc", 0.9))
    loop = loop_in(tmp_path, evaluate=None, stop=lambda history: len(history) == 2, rounds=None)
    assert len(loop.run(make_trainer(tmp_path))) == 2


@pytest.mark.parametrize("evaluate", ["validate", "test"])
def test_the_ways_out_are_those_that_are_there(tmp_path, evaluate):
    other = {"validate": "test", "test": "validate"}[evaluate]
    short = {"validate": "val", "test": "test"}
    step = {"validate": "validation_step", "test": "test_step"}

    def said(model: type, data: type) -> str:
        loop = ActiveLearningLoop(model(), data(), initial=8, query_size=4, evaluate=evaluate, dirpath=tmp_path / "c")
        with pytest.raises(ValueError) as caught:
            loop.run(make_trainer(tmp_path))
        return str(caught.value)

    class NoLoader(Data):
        locals()[f"{short[evaluate]}_dataloader"] = getattr(L.LightningDataModule, f"{short[evaluate]}_dataloader")

    class NoStep(Net):
        locals()[step[evaluate]] = getattr(L.LightningModule, step[evaluate])

    for model, data in ((Net, NoLoader), (NoStep, Data)):  # the other set is there
        assert f'Define it, or pass `evaluate="{other}"`, or {WITHOUT_METRICS}.' in said(model, data)
    for model, data in ((Net, BareData), (Bare, Data), (Bare, BareData)):
        text = said(model, data)
        assert f'evaluate="{other}"' not in text
        assert text.count(WITHOUT_METRICS) == 1


def test_a_trainer_that_logs_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"`barebones=True` .* Remove it, or pass the loop `evaluate=None`"):
        loop_in(tmp_path).run(L.Trainer(barebones=True, max_epochs=1))
    with pytest.raises(ValueError, match=r"`limit_val_batches=0`: .* Remove the limit, or pass the loop `eval"):
        loop_in(tmp_path).run(make_trainer(tmp_path, limit_val_batches=0))
    assert len(loop_in(tmp_path, evaluate=None, rounds=1).run(make_trainer(tmp_path, limit_val_batches=0))) == 2
