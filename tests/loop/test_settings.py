"""Several options that are wrong are refused at once; each by itself is in ``reliability/wrong_options.py``."""

import lightning as L
import pytest

from lightning_al import ActiveLearningLoop, Campaign, NoisyOracle
from lightning_al.acquisition import Random
from tests.helpers.oracles import campaign
from tests.helpers.projects import SIZE, Data, Net, make_trainer


def refused(error, *words, model=None, data=None, **options):
    with pytest.raises(error) as caught:
        ActiveLearningLoop(
            Net() if model is None else model,
            Data() if data is None else data,
            **{"initial": 6, "query_size": 4, **options},
        )
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(words)} things cannot be as they are:"
    for number, (line, each) in enumerate(zip(lines, words, strict=True), 1):
        assert line.startswith(f"  {number}. {each}"), line


def test_three_options_at_once():
    refused(
        ValueError,
        "`query_size` must be at least 1, got 0.",
        "`rounds` must be an integer of at least 0 or None, got '3'.",
        "`reset` must be one of 'initial', ",
        query_size=0,
        rounds="3",
        reset="never",
    )


def test_three_of_the_wrong_type_are_a_type_error():
    refused(
        TypeError,
        "`model` must be a `lightning.LightningModule`, got int.",
        "`dirpath` must be a path or None, got 3.",
        "`seed` must be an integer of at least 0, got 0.5.",
        model=3,
        dirpath=3,
        seed=0.5,
    )


def test_what_is_the_datamodule_s_is_in_the_list():
    refused(
        ValueError,
        "`weights` must be one of 'last', 'best', got 'mean'.",
        "`pool` must be one of 'auto', 'predict', got 'train'.",
        "`pool_batch_size` must be at least 1, got 0.",
        weights="mean",
        pool="train",
        pool_batch_size=0,
    )


def test_what_cannot_go_together_is_in_the_list_and_what_is_wrong_by_itself_is_said_once():
    refused(
        ValueError,
        "`query_size=9` is larger than the sub-pool it is picked from, `subpool_size=8`.",
        "`budget=5` counts the initial labels too and does not cover the 6 of `initial`.",
        '`reset="continue"` keeps the optimizer state',
        query_size=9,
        subpool_size=8,
        budget=5,
        reset="continue",
        weights="best",
    )
    refused(
        ValueError,
        "`budget` must be above 0 and finite, got -1.",
        "`subpool_size` must be at least 1, got 0.",
        query_size=9,
        subpool_size=0,
        budget=-1,
    )


def test_what_a_launch_would_say_of_model_and_loaders_is_in_the_list():
    class Lacks(Net):
        validation_step = L.LightningModule.validation_step
        training_step = L.LightningModule.training_step
        configure_optimizers = L.LightningModule.configure_optimizers

    refused(
        ValueError,
        "`query_size` must be at least 1, got 0.",
        "LightningDataModule has no `train_dataloader()`, so there is nothing to label.",
        '`evaluate="validate"` needs a `val_dataloader()`, which LightningDataModule does not have.',
        '`evaluate="validate"` needs a `validation_step`, which Lacks lacks.',
        "Lacks has no `training_step`, so nothing would train.",
        "Lacks has no `configure_optimizers`, so nothing would train.",
        model=Lacks(),
        data=L.LightningDataModule(),
        query_size=0,
    )
    refused(
        ValueError,
        "`evaluate` must be one of 'validate', 'test' or None, got 'train'.",
        "Lacks has no `training_step`, so nothing would train.",
        "Lacks has no `configure_optimizers`, so nothing would train.",
        model=Lacks(),
        evaluate="train",
    )
    loop = ActiveLearningLoop(Lacks(), Data(), query_size=4, initial=6)  # which may get what it lacks before a launch
    assert loop.status == "new"


def test_the_budget_must_cover_the_initial_set(tmp_path):
    with pytest.raises(ValueError, match=r"`budget=5` .* does not cover the 6 of `initial`: they cost 12"):
        campaign(tmp_path, NoisyOracle(price=2.0), budget=5)
    assert not Campaign.exists(tmp_path)


@pytest.mark.parametrize(
    ("budget", "error"), [("many", TypeError), (True, TypeError), (0, ValueError), (float("inf"), ValueError)]
)
def test_budgets_that_are_none(budget, error):
    with pytest.raises(error, match="`budget` must be"):
        ActiveLearningLoop(Net(), Data(), initial=6, query_size=5, budget=budget)


class TestAll:
    """``initial="all"``: one training on all labels."""

    def test_labels_every_sample(self, tmp_path):
        model, data, trainer = Net(), Data(), make_trainer(Random())
        options = {"initial": "all", "query_size": 4, "rounds": 0, "dirpath": tmp_path}
        [result] = ActiveLearningLoop(model, data, **options).run(trainer)
        assert (result.labelled, result.picked) == (SIZE, [])
        campaign = Campaign.load(tmp_path)
        assert sorted(campaign.pool.labelled) == list(range(SIZE))
        assert ActiveLearningLoop(model, data, **options).run(make_trainer(Random()), resume=True) == [result]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"rounds": 3}, "`initial` is all of 60 samples, so that none is left to ask for.*`rounds=0`"),
            ({"rounds": 0, "budget": 6}, "`budget=6` counts the initial labels too and does not cover the 60"),
        ],
    )
    def test_leaves_nothing_to_ask_for_and_is_paid(self, tmp_path, options, text):
        loop = ActiveLearningLoop(Net(), Data(), initial="all", query_size=4, dirpath=tmp_path, **options)
        with pytest.raises(ValueError, match=text):
            loop.run(make_trainer(Random()))
        assert not Campaign.exists(tmp_path)

    def test_a_count_of_all_is_told_the_same(self, tmp_path):
        loop = ActiveLearningLoop(Net(), Data(), initial=SIZE, query_size=4, rounds=1, dirpath=tmp_path)
        with pytest.raises(ValueError, match="none is left to ask for"):
            loop.run(make_trainer(Random()))

    @pytest.mark.parametrize("word", ["every", "", "ALL"])
    def test_no_other_word_is_one(self, word):
        with pytest.raises(TypeError, match='`initial` must be a count, a list of dataset indices, or "all", got'):
            ActiveLearningLoop(Net(), Data(), initial=word, query_size=4)
