import pytest
import yaml

from lightning_al.campaign.saved import CONFIG, begun_otherwise, changes_of, configurations, keep_configuration

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


def test_the_place_of_the_seed_is_the_campaigns(folder):
    (folder / CONFIG).write_text(with_(RHO, "by seed 0"))
    assert begun_otherwise(folder, with_(RHO, "by seed {seed}")) == ""
    assert begun_otherwise(folder, with_(RHO, "at seed {seed}")) == (
        "trainer.callbacks.rho: 'by seed 0', now 'at seed {seed}'"
    )


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


def test_what_comes_later_is_kept_beside_the_first(tmp_path):
    first, longer = yaml.safe_dump(BEGUN), with_(("loop", "rounds"), 9)
    assert keep_configuration(tmp_path, with_(RHO, 7), 0) == []
    assert keep_configuration(tmp_path, first, 0) == ["trainer.callbacks.rho: 7, now 0.05"]
    assert keep_configuration(tmp_path, longer, 1) == []
    assert keep_configuration(tmp_path, with_(RHO, 0.1), 2) == ["trainer.callbacks.rho: 0.05, now 0.1"]
    assert keep_configuration(tmp_path, with_(RHO, 0.1), 3) == []
    assert keep_configuration(tmp_path, first, 10) == ["trainer.callbacks.rho: 0.1, now 0.05"]
    files = {number: path.name for number, path in configurations(tmp_path).items()}
    assert [*files.items()] == [(0, "config.yaml"), (2, "config_round_2.yaml"), (10, "config_round_10.yaml")]
    assert (tmp_path / "config.yaml").read_text() == first
    assert begun_otherwise(tmp_path, first) == "trainer.callbacks.rho: 0.1, now 0.05"  # in rounds 2 to 9
    events = [{"kind": "started", "options": {}}, {"kind": "fitted", "round": 2}]
    assert changes_of(tmp_path, events) == {2: "trainer.callbacks.rho: 0.05, now 0.1"}  # round 10 was not trained


def test_secrets_that_changed_are_said_without_them(tmp_path):
    text = (
        "model: {hf_token: abcdef, rho: 0.05, auth: {user: abcdef}, h: [[Authorization, abcdef]], a: [--token, abcdef]}"
    )
    assert keep_configuration(tmp_path, text, 0) == []
    said = keep_configuration(tmp_path, text.replace("abcdef", "bcdefa").replace("0.05", "0.5"), 2)
    assert not {"abcdef", "bcdefa"} & set("; ".join(said).replace("'", " ").split())
    assert [each.partition(":")[0] for each in said] == [
        "model.hf_token",
        "model.rho",
        "model.auth.user",
        "model.h",
        "model.a",
    ]
    assert said[1] == "model.rho: 0.05, now 0.5"
