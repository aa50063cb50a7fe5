"""What the ledger says of a campaign's options, and that a later launch is of the same campaign."""

import json
import warnings

import numpy as np
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_al import Campaign
from lightning_al.acquisition import CoreSet, Margin, TypiClust
from lightning_al.campaign.saved import changes_of
from lightning_al.campaign.standing import Standing
from tests.helpers.projects import loop_in, make_data, make_trainer

X = make_data()[0]


@pytest.fixture(params=["a module", "a file"])
def encoder(request, tmp_path):
    """Gives the inputs themselves; wrong of any other samples than it is asked for."""
    if request.param == "a module":
        return nn.Identity()
    np.save(tmp_path / "features.npy", X.numpy())
    return tmp_path / "features.npy"


def test_the_ledger_says_how(tmp_path, encoder):
    loop = loop_in(tmp_path, initial_by=TypiClust(max_clusters=9, encoder=encoder), rounds=1)
    loop.run(make_trainer(tmp_path, acquisition=CoreSet(encoder=encoder), max_epochs=1))
    options = Campaign.load(tmp_path / "c").options
    named = "Identity" if isinstance(encoder, nn.Module) else str(encoder)
    assert options["initial_by"] == {
        "class": "TypiClust", "selection": "top", "encoder": named, "max_clusters": 9, "neighbours": 20,
        "variant": "paper",
    }  # fmt: skip
    assert options["acquisition"]["encoder"] == named
    for path in (tmp_path / "c" / "ledger").glob("*.json"):
        json.loads(path.read_text())


def test_corrected_labels_are_not_other_data(tmp_path):
    loop, trainer = loop_in(tmp_path), make_trainer(tmp_path)
    loop.run(trainer)
    some = loop.pool.labelled[:3]
    loop.tell(some, (make_data()[1][some] + 1) % 3)
    assert len(loop_in(tmp_path, rounds=3).run(make_trainer(tmp_path), resume=True)) == 4


def test_another_precision_is_another_option_but_not_where_there_was_none(tmp_path):
    loop_in(tmp_path, rounds=0).run(make_trainer(tmp_path))
    [first, *_] = sorted((tmp_path / "c" / "ledger").glob("*.json"))
    whole = first.read_text()
    assert '"pool_precision": "32"' in whole
    first.write_text(whole.replace(' "pool_precision": "32",', ""))  # of a campaign from before there was a choice
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loop_in(tmp_path, rounds=0, pool_precision=32).run(make_trainer(tmp_path), resume=True)
    assert not [each for each in said if "options that changed" in str(each.message)]
    with pytest.warns(UserWarning, match="pool_precision: '32', now 'trainer'"):
        loop_in(tmp_path, rounds=0, pool_precision="trainer").run(make_trainer(tmp_path), resume=True)


def test_a_secret_among_the_options_that_changed_is_not_shown(tmp_path):
    class ByService(Margin):
        def __init__(self, api_key):
            super().__init__()
            self.api_key = api_key

    loop_in(tmp_path, rounds=0).run(make_trainer(tmp_path, acquisition=ByService("first-key")))
    with pytest.warns(UserWarning, match=r"acquisition.api_key: another than before, which is not shown\.$") as said:
        loop_in(tmp_path, rounds=0).run(make_trainer(tmp_path, acquisition=ByService("second-key")), resume=True)
    assert not [each for each in said if "-key'" in str(each.message)]


def test_what_a_launch_changes_is_told_once_and_kept_with_the_round_that_it_is_of(tmp_path):
    """Settings of loop, acquisition and Trainer, also those of a first launch that trained nothing."""

    def ask(acquisition, max_epochs, **options):
        loop = loop_in(tmp_path, rounds=5, **options)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loop.ask(make_trainer(tmp_path, acquisition=acquisition, max_epochs=max_epochs))
        loop.tell(loop.pool.pending, make_data()[1][loop.pool.pending])
        return [str(each.message).partition("changed: ")[2] for each in said if "changed: " in str(each.message)]

    with pytest.raises(MisconfigurationException, match="monitor"):
        loop_in(tmp_path, query_size=9, weights="best").run(
            make_trainer(tmp_path, ModelCheckpoint(monitor="typo"), enable_checkpointing=True)
        )
    with pytest.raises(FileExistsError, match=r"no round of it is finished, so all are .* by the options of now; or"):
        loop_in(tmp_path).run(make_trainer(tmp_path))
    assert ask(Margin(), 1) == [
        "query_size: 9, now 4; weights: 'best', now 'last'; acquisition.class: 'Entropy', now 'Margin'; "
        "trainer.max_epochs: 2, now 1."
    ]
    assert ask(Margin(), 1) == []
    assert ask(Margin(), 2) == ["trainer.max_epochs: 1, now 2."]
    assert ask(Margin(), 2, query_size=3) == ["query_size: 4, now 3."]
    with pytest.raises(FileExistsError, match="to go on with it after 4 rounds; or another"):
        loop_in(tmp_path).run(make_trainer(tmp_path))
    events = Campaign.read_events(tmp_path / "c")
    assert changes_of(tmp_path / "c", events) == {2: "trainer.max_epochs: 1, now 2", 3: "query_size: 4, now 3"}
    assert [each["kind"] for each in events].count("changed") == 3  # the first one before round 0, of which no more
    campaign = Campaign.load(tmp_path / "c")
    assert (campaign.options["rounds"], campaign.options["query_size"]) == (5, 3)
    assert Standing(tmp_path / "c").options == campaign.options
