import pytest
import yaml

from lightning_al.cli.saved import CONFIG, begun_otherwise

BEGUN = {
    "seed_everything": 0,
    "trainer": {
        "max_epochs": 4,
        "accelerator": "cpu",
        "callbacks": [{"class_path": "SAAL", "init_args": {"rho": 0.05, "selection": "top"}}],
    },
    "model": {"class_path": "Net", "init_args": {"optimizer": None, "width": 8}},
    "data": {"class_path": "Digits", "init_args": {"root": "data", "batch_size": 10}},
    "loop": {"rounds": 2, "budget": None, "seed": 0, "dirpath": "runs/a", "keep_weights": False},
}


def with_(place, value):
    made = yaml.safe_load(yaml.safe_dump(BEGUN))
    *above, last = place
    below = made
    for key in above:
        below = below[key]
    below[last] = value
    return yaml.safe_dump(made)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / CONFIG).write_text(yaml.safe_dump(BEGUN, sort_keys=False))
    return tmp_path


RHO = ("trainer", "callbacks", 0, "init_args", "rho")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("trainer", "max_epochs"), 30, "trainer.max_epochs: 4, now 30"),
        (RHO, 0.1, "trainer.callbacks.rho: 0.05, now 0.1"),
        (("model", "class_path"), "Other", "model.class_path: 'Net', now 'Other'"),
        (("model", "init_args", "optimizer"), {"lr": 1}, "model.optimizer: None, now {'lr': 1}"),
        (("data", "init_args", "batch_size"), 20, "data.batch_size: 10, now 20"),
        (("loop", "seed"), 1, "loop.seed: 0, now 1"),
    ],
)
def test_what_it_began_with_otherwise_is_told(folder, place, value, said):
    assert begun_otherwise(folder, with_(place, value)) == said


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("loop", "rounds"), 9),
        (("loop", "budget"), 50),
        (("loop", "dirpath"), "elsewhere/a"),
        (("loop", "keep_weights"), True),
        (("trainer", "accelerator"), "gpu"),
        (("data", "init_args", "root"), "/mnt/data"),
        (("loop", "an_option_of_a_later_version"), 3),
    ],
)
def test_more_of_the_same_and_another_machine_are_no_difference(folder, place, value):
    assert begun_otherwise(folder, with_(place, value)) == ""


def test_several_at_once_and_what_is_not_looked_at(folder):
    made = yaml.safe_load(with_(("trainer", "max_epochs"), 30))
    made["loop"]["seed"] = made["seed_everything"] = 1
    now = yaml.safe_dump(made)
    assert begun_otherwise(folder, now, without=("loop.seed",)) == (
        "seed_everything: 0, now 1; trainer.max_epochs: 4, now 30"
    )
    (folder / CONFIG).write_text(yaml.safe_dump({"model": {f"option_{n}": n for n in range(30)}}))
    assert begun_otherwise(folder, yaml.safe_dump({"model": {f"option_{n}": -1 for n in range(30)}})).endswith(
        "; and 22 more"
    )


@pytest.mark.parametrize("text", [None, "[", "3", ""])
def test_without_a_configuration_nobody_knows(folder, text):
    (folder / CONFIG).unlink() if text is None else (folder / CONFIG).write_text(text)
    assert begun_otherwise(folder, yaml.safe_dump(BEGUN)) == ""
