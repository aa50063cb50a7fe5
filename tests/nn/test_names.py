"""The public names of the room."""

import lightning_al.nn


def test_a_star_import_gives_every_network():
    names: dict = {}
    exec("from lightning_al.nn import *", names)
    assert {name for name in names if not name.startswith("__")} == {
        "GCN", "VAE", "Adversaries", "Discriminator", "LossPrediction",
    }  # fmt: skip
    assert all(names[name] is getattr(lightning_al.nn, name) for name in lightning_al.nn.__all__)
