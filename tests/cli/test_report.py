import pytest
from torch.utils.data import Dataset

from lightning_al.cli import main
from tests.helpers.curves import write_campaign
from tests.helpers.ledger import begin, fitted, record
from tests.helpers.pages import page_of

PROJECT = """
model:
  class_path: lightning_al.zoo.Classifier
  init_args:
    net: {class_path: lightning_al.zoo.PlainCNN, init_args: {num_classes: 10, in_channels: 1, size: 8}}
    num_classes: 10
data: {class_path: lightning_al.zoo.DigitsDataModule, init_args: {batch_size: 10}}
trainer: {callbacks: [{class_path: lightning_al.acquisition.TypiClust, init_args: {encoder: not_there.npy}}]}
loop: {query_size: 2, initial: 2}
"""


def test_report_says_the_result_and_where_the_page_is(tmp_path, capsys):
    for method in ("margin", "random"):
        write_campaign(tmp_path / method / "seed_0", [0.5, 0.6], extra=["test_loss"], options={"seed": 0})
    options = ["--metric", "test_loss", "--baseline", "margin", "--higher-is-better", "--no-data"]
    main(["report", str(tmp_path), "--output", str(tmp_path / "x.html"), *options])
    out = capsys.readouterr().out
    assert out.startswith("Nothing can be concluded yet: with 1 seed in common")
    assert f"Report: {tmp_path / 'x.html'} (0.0 MB)" in out
    page = page_of(tmp_path / "x.html")
    assert page.tables["by-mean"][0][0] == "mean over curve (test_loss)"
    assert "The data were not opened" in page.text


def a_campaign(folder, annotator="dataset"):
    campaign = begin(folder, size=1437)
    record(campaign, "asked", round=-1, indices=[3, 7], keys=[None, None], scores=[], seconds={})
    record(campaign, "answered", indices=[3, 7], keys=[None, None], labels=[1, 2], annotator=annotator)
    fitted(campaign, 0, 0.5)


def test_report_shows_samples_as_the_projects_files_say(tmp_path, capsys):
    a_campaign(tmp_path / "x")
    (tmp_path / "x" / "config.yaml").write_text(PROJECT)
    main(["report", str(tmp_path / "x")])
    page = page_of(tmp_path / "x" / "report.html")
    assert [image["alt"] for image in page.images] == ["index 3: 1", "index 7: 2"]
    (tmp_path / "other.yaml").write_text(PROJECT.replace("DigitsDataModule", "NoDataModule"))
    main(["report", str(tmp_path / "x"), "-c", str(tmp_path / "other.yaml")])
    assert "The data could not be opened: ValueError" in page_of(tmp_path / "x" / "report.html").text


class Ones(Dataset):
    """A label for each of the digits, the same."""

    def __len__(self):
        return 1197

    def __getitem__(self, index):
        return 0, 1


def test_the_projects_simulated_oracle_says_what_is_in_the_pool(tmp_path):
    a_campaign(tmp_path / "x", annotator="another dataset")
    own = "{class_path: DatasetOracle, init_args: {dataset: {class_path: tests.cli.test_report.Ones}}}"
    oracle = f"{{class_path: NoisyOracle, init_args: {{flip: 0.1, classes: 10, oracle: {own}}}}}"
    (tmp_path / "x" / "config.yaml").write_text(PROJECT.replace("initial: 2", f"initial: 2, oracle: {oracle}"))
    main(["report", str(tmp_path / "x")])
    rows = page_of(tmp_path / "x" / "report.html").tables["class-table"]
    assert [row[::2] for row in rows] == [["class", "in the pool"], ["2", "0.0%"], ["1", "100.0%"]]


def test_no_oracle_is_made_that_asks_people(tmp_path):
    from lightning_al.cli.project_data import data_of

    oracle = "{class_path: LabelStudio, init_args: {url: 'http://127.0.0.1:9', project: 1}}"
    (tmp_path / "config.yaml").write_text(PROJECT.replace("initial: 2", f"initial: 2, oracle: {oracle}"))
    assert data_of([tmp_path / "config.yaml"]).oracle is None


def test_report_says_what_keeps_samples_from_being_shown(tmp_path, capsys):
    for seed in (0, 1):  # as begun from Python, which writes no config.yaml
        a_campaign(tmp_path / "x" / f"seed_{seed}")
    main(["report", str(tmp_path)])
    [said] = [line for line in capsys.readouterr().out.splitlines() if "could not be opened" in line]
    assert "seed_0 has no config.yaml, which `lightning-al run` and `ask` write, and Python does not: give the" in said
    assert said.endswith("keys stand in place of the samples.")
    main(["report", str(tmp_path), "--no-data"])
    assert "keys stand" not in capsys.readouterr().out


def test_report_says_in_one_line_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match=f"error: No campaign at or below '{tmp_path}'"):
        main(["report", str(tmp_path)])
    write_campaign(tmp_path / "x", [0.5, 0.6])
    with pytest.raises(SystemExit, match="error: There is no file nowhere"):
        main(["report", str(tmp_path), "-c", "nowhere.yaml"])
    with pytest.raises(SystemExit, match="error: No metric 'f1'"):
        main(["report", str(tmp_path), "--metric", "f1", "--no-data"])
