import pytest

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


def test_report_shows_samples_as_the_projects_files_say(tmp_path, capsys):
    campaign = begin(tmp_path / "x", size=1437)
    record(campaign, "asked", round=-1, indices=[3, 7], keys=[None, None], scores=[], seconds={})
    record(campaign, "answered", indices=[3, 7], keys=[None, None], labels=[1, 2], annotator="dataset")
    fitted(campaign, 0, 0.5)
    (tmp_path / "x" / "config.yaml").write_text(PROJECT)
    main(["report", str(tmp_path / "x")])
    page = page_of(tmp_path / "x" / "report.html")
    assert [image["alt"] for image in page.images] == ["index 3: 1", "index 7: 2"]
    (tmp_path / "other.yaml").write_text(PROJECT.replace("DigitsDataModule", "NoDataModule"))
    main(["report", str(tmp_path / "x"), "-c", str(tmp_path / "other.yaml")])
    assert "The data could not be opened: ValueError" in page_of(tmp_path / "x" / "report.html").text


def test_report_says_in_one_line_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match=f"error: No campaign at or below '{tmp_path}'"):
        main(["report", str(tmp_path)])
    write_campaign(tmp_path / "x", [0.5, 0.6])
    with pytest.raises(SystemExit, match="error: There is no file nowhere"):
        main(["report", str(tmp_path), "-c", "nowhere.yaml"])
    with pytest.raises(SystemExit, match="error: No metric 'f1'"):
        main(["report", str(tmp_path), "--metric", "f1", "--no-data"])
