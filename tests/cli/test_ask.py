"""``ask``, ``tell`` and ``status`` as their user meets them, in one process."""

import csv
import json
import sys
import warnings

import pytest
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import Campaign, ClassificationTask
from lightning_al.campaign.saved import changes_of
from lightning_al.cli import main
from tests.helpers.files import CLASSES, fill, recipe, truth
from tests.helpers.projects import Data, make_data


class Shouting(ClassificationTask):
    """Classes are said in capitals."""

    def from_annotation(self, annotation, classes):
        return super().from_annotation(annotation.lower(), classes)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    fill(tmp_path / "pool", range(24))
    return recipe(tmp_path)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def label(path, answers=truth, annotator=""):
    """Fill a table in, as a person would."""
    filled = [{**row, "label": answers(row["key"]), "annotator": annotator} for row in rows(path)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["key", "label", "annotator"])
        writer.writeheader()
        writer.writerows(filled)
    return [row["key"] for row in filled]


@pytest.mark.slow
def test_settings_that_change_between_two_questions_are_told_and_kept(project, tmp_path):
    ask, table, told = ["ask", "-c", str(project)], tmp_path / "to_label.csv", []
    changed = ["--trainer.max_epochs=3", "--model.lr=0.25"]
    for flags in ([], [], changed, changed):  # the initial set, and rounds 0 to 2
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            main([*ask, "--export", str(table), *flags])
        label(table)
        main(["tell", "-c", str(project), str(table)])
        told.append([text for each in said if "changed: " in (text := str(each.message))])
    assert [len(texts) for texts in told] == [0, 0, 2, 0]
    assert told[2][0].endswith("goes on with options that changed: trainer.max_epochs: 1, now 3.")
    assert "that changed: model.lr: 0.05, now 0.25. What is trained from round 1 on" in told[2][1]
    folder = tmp_path / "runs" / "5"
    assert sorted(path.name for path in folder.glob("*.yaml")) == ["config.yaml", "config_round_1.yaml"]
    [text] = changes_of(folder, Campaign.read_events(folder)).values()
    assert text == "trainer.max_epochs: 1, now 3; model.lr: 0.05, now 0.25"


class Unnamed(TensorDataset):
    classes = CLASSES


class UnnamedData(Data):
    """Samples that have no names."""

    def pool_dataset(self):
        return Unnamed(*make_data(24))

    def train_dataloader(self):
        return DataLoader(self.pool_dataset(), batch_size=4)


def test_keys_that_are_hashes_are_explained_once(project, tmp_path, capsys):
    ask = ["ask", "-c", str(project), f"--data={__name__}.UnnamedData", "--data.n=24"]
    main(ask)
    *keys, explained, classes, _ = capsys.readouterr().out.splitlines()
    assert all(key.startswith("sha256:") for key in keys[-4:])
    assert explained.startswith(
        "Keys that begin with sha256: are hashes of the samples' inputs, since the data set has"
    )
    assert explained.endswith("give the data set a method `sample_key(index)`, or a list of its files as `paths`.")
    main([*ask, "--export", str(tmp_path / "t.csv")])
    assert "Keys that begin" not in capsys.readouterr().out
    assert [row["index"] for row in rows(tmp_path / "t.csv")] != [""] * 4


def test_a_campaign_from_the_shell(project, tmp_path, capsys):
    ask, table, folder = ["ask", "-c", str(project)], tmp_path / "to_label.csv", tmp_path / "runs" / "5"
    main([*ask, "--export", str(table)])
    first = rows(table)
    assert len(first) == 4
    assert {row["label"] for row in first} == {""}
    main([*ask, "--export", str(table)])  # the same question
    assert rows(table) == first
    said = capsys.readouterr().out
    assert f"waiting: 4 to label in {table}, 0 labels" in said
    assert "Labels may be: 'cat', 'dog', 'a fox'.\n" in said

    keys = label(table, annotator="anna")
    with pytest.raises(SystemExit, match="has labels that were not told yet"):
        main([*ask, "--export", str(table)])
    main(["tell", "-c", str(project), str(table)])
    assert "4 labelled" in capsys.readouterr().out
    main(["tell", str(folder), str(table)])
    assert "0 labelled, 4 unchanged" in capsys.readouterr().out

    main([*ask, "-k", "2", "--export", str(table)])
    second = {row["key"] for row in rows(table)}
    assert len(second) == 2
    assert second.isdisjoint(keys)
    capsys.readouterr()
    main([*ask, "-k", "5"])  # still the open question, on the console
    said = capsys.readouterr().out
    assert set(said.splitlines()[:2]) == second
    assert "They were asked for before and have no label yet" in said
    main([*ask, "-k", "1", "--more"])
    said = capsys.readouterr().out
    assert said.splitlines()[0] not in second
    assert "asked for before" not in said
    label(table, lambda key: "skip" if key == min(second) else "dog", annotator="ben")
    main(["tell", "-c", str(project), "--trainer.max_epochs", "9", str(table)])

    capsys.readouterr()
    main(["status", str(folder), "--json"])
    status = json.loads(capsys.readouterr().out)
    assert (status["labelled"], status["pending"], status["skipped"], status["spent"]) == (5, 1, 1, 5)
    assert status["annotators"]["ben"] == {"skip": 1, "dog": 1}
    assert sum(status["annotators"]["anna"].values()) == 4
    main(["status", str(folder)])
    assert "labelled    5 of 24 samples" in capsys.readouterr().out
    campaign = Campaign.load(folder)
    assert {campaign.keys[i]: campaign.annotations["classes"][n] for i, n in campaign.labels.items()} == {
        **{key: truth(key) for key in keys},
        max(second): "dog",
    }


@pytest.mark.slow
def test_the_saved_configuration_runs(project, tmp_path):
    main(["ask", "-c", str(project), "--loop.initial=3"])
    keys = tmp_path / "labels.jsonl"
    main(["ask", "-c", str(project), "--loop.initial=3", "--export", str(keys)])
    lines = [json.loads(line) for line in keys.read_text().splitlines()]
    keys.write_text("".join(json.dumps({**line, "label": truth(line["key"])}) + "\n" for line in lines))
    main(["tell", "-c", str(project), str(keys)])
    main(["ask", "-c", str(project), "--loop.initial=3", "-k", "2"])
    config = tmp_path / "runs" / "5" / "config.yaml"
    assert "export" not in config.read_text()
    main(["run", "-c", str(config), "--resume"])
    assert len(Campaign.load(tmp_path / "runs" / "5").pool.pending) == 2


def test_what_ask_refuses(project, tmp_path):
    with pytest.raises(SystemExit, match=r"`ask` needs `--loop.dirpath`"):
        main(["ask", "-c", str(project), "--loop.dirpath=null"])
    with pytest.raises(SystemExit, match="its name does not say"):
        main(["ask", "-c", str(project), "--export", str(tmp_path / "labels.xlsx")])
    with pytest.raises(SystemExit, match="`k` must be at least 1"):
        main(["ask", "-c", str(project), "-k", "0"])
    assert not (tmp_path / "runs").exists()


def test_what_tell_refuses(project, tmp_path, capsys):
    folder = tmp_path / "runs" / "5"
    for args in (["labels.csv"], ["-c", str(project)], ["c", "labels.csv", "--wrong"]):
        with pytest.raises(SystemExit) as end:
            main(["tell", *args])
        assert end.value.code == 2
    with pytest.raises(SystemExit, match="There is no file"):
        main(["tell", "-c", str(project), "labels.csv"])
    table = tmp_path / "labels.csv"
    table.write_text("key,label\na/000.txt,cat\n")
    with pytest.raises(SystemExit, match=f"There is no campaign in {folder}"):
        main(["tell", "-c", str(project), str(table)])
    with pytest.raises(SystemExit, match=f"There is no campaign in {folder.parent}/7"):
        main(["tell", "-c", str(project), "--loop.seed=7", str(table)])
    with pytest.raises(SystemExit, match=r"no `loop.dirpath` says"):
        project.write_text("loop: {}")
        main(["tell", "-c", str(project), str(table)])


@pytest.mark.slow
def test_a_task_of_its_own_needs_the_recipe(project, tmp_path, capsys):
    task = f"--loop.task={__name__}.Shouting"
    main(["ask", "-c", str(project), task, "--export", "q.csv"])
    keys = label("q.csv", lambda key: truth(key).upper())
    with pytest.raises(SystemExit, match="its task's own: give the recipe"):
        main(["tell", str(tmp_path / "runs" / "5"), "q.csv"])
    with pytest.raises(SystemExit, match=r"wrong.csv, line 2: .*no class 'cow'"):
        (tmp_path / "wrong.csv").write_text(f"key,label\n{keys[0]},COW\n")
        main(["tell", "-c", str(project), task, "wrong.csv"])
    main(["tell", "-c", str(project), task, "q.csv"])
    assert "4 labelled" in capsys.readouterr().out
    assert len(Campaign.load(tmp_path / "runs" / "5").labels) == 4
