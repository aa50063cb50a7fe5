"""Recipes of encoders, for `lightning-al features`."""

import sys

import pytest
import torch

from lightning_al import zoo
from tests.helpers.recipes import FEATURES, arguments, head, idle, load


@pytest.mark.few(1)
@pytest.mark.parametrize("name", FEATURES)
def test_encoders_are_built(name, monkeypatch):
    pytest.importorskip("torchvision")
    pytest.importorskip("jsonargparse")
    monkeypatch.setattr(sys, "argv", ["lightning-al"])  # LightningCLI warns about pytest's own
    from lightning_al.cli.features import FeaturesCLI

    made = idle(FeaturesCLI)(args=["features", *arguments(f"features/{name}")])
    recipe = load(f"features/{name}")
    assert type(made.model) is zoo.SimCLR
    pixels = {len(recipe["model"]["init_args"][key]) for key in ("mean", "std")}
    assert pixels == {len(made.datamodule.mean)}
    assert set(made.datamodule.mean) == {0.0}
    assert set(made.datamodule.std) == {1.0}
    assert list(made.model.mean.flatten()) == pytest.approx(type(made.datamodule).pixel_mean, abs=1e-4)
    channels = len(made.datamodule.mean)
    view, _ = made.model.views([torch.zeros(channels, 28, 28)])[0]
    assert made.model.eval()(view[None]).shape == (1, made.model.num_features)


@pytest.mark.parametrize("name", FEATURES)
def test_heads_have_the_commands(name):
    said = "\n".join(head(f"features/{name}"))
    assert f"lightning-al features -c recipes/features/{name}.yaml" in said
    assert f"--trainer.callbacks.encoder={load(f'features/{name}')['output']}" in said
    assert "--resume" in said
