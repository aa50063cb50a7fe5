"""The table of scores: its order, the file that it is written to, and how much memory that takes."""

import csv
import importlib.util
import tracemalloc

import pytest
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_al import Scores
from lightning_al.data.keys import Keys


def table(n=6, dtype=torch.float64, picks=(4, 1)):
    candidates = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    scores = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    return Scores.of(candidates, scores, list(picks), lambda index: Keys(index, lambda i: f"cat/{i:04d}.png"))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_in_the_order_of_the_dataset_whatever_that_of_the_candidates():
    candidates = torch.tensor([5, 0, 9])
    scores = Scores.of(candidates, torch.tensor([0.5, 0.0, 0.9]), [9], lambda index: Keys(index, str))
    assert scores.index.tolist() == [0, 5, 9]
    assert scores.score.tolist() == pytest.approx([0.0, 0.5, 0.9])
    assert list(scores.key) == ["0", "5", "9"]
    assert scores.key[1:] == ["5", "9"]
    assert next(scores.rows())[:2] == ("9", 9)


def test_the_picks_come_first_and_then_the_largest_scores(tmp_path):
    scores = table()
    scores.to_csv(tmp_path / "new" / "scores.csv")
    rows = rows_of(tmp_path / "new" / "scores.csv")
    assert [int(row["index"]) for row in rows[:2]] == [4, 1]
    assert [row["rank"] for row in rows] == ["1", "2", "", "", "", ""]
    rest = [float(row["score"]) for row in rows[2:]]
    assert rest == sorted(rest, reverse=True)
    assert {int(row["index"]): row["key"] for row in rows} == {i: f"cat/{i:04d}.png" for i in range(6)}
    assert {int(row["index"]): float(row["score"]) for row in rows} == dict(enumerate(scores.score.tolist()))


def test_picks_only(tmp_path):
    scores = table()
    scores.to_csv(tmp_path / "all.csv")
    scores.to_csv(tmp_path / "picks.csv", picks_only=True)
    assert rows_of(tmp_path / "picks.csv") == rows_of(tmp_path / "all.csv")[:2]
    assert Scores.read_csv(tmp_path / "picks.csv").picks == scores.picks
    Scores(torch.arange(2), ["a", "b"], torch.zeros(2), []).to_csv(tmp_path / "none.csv", picks_only=True)
    assert rows_of(tmp_path / "none.csv") == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_what_is_read_is_what_was_written(tmp_path, dtype):
    scores = table(200, dtype, picks=(7, 120, 3))
    scores.to_csv(tmp_path / "scores.csv")
    read = Scores.read_csv(str(tmp_path / "scores.csv"))
    assert read.picks == [7, 120, 3]
    assert read.index.equal(scores.index)
    assert read.key == list(scores.key)
    assert read.score.to(dtype).equal(scores.score)


def test_float32_has_its_own_digits(tmp_path):
    Scores(torch.arange(1), ["a"], torch.tensor([0.1]), []).to_csv(tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == "key,index,score,rank\na,0,0.1,\n"


def test_keys_of_any_text_and_none(tmp_path):
    keys = ['a,"b"\nc.png', "é\udcff.png", None]
    Scores(torch.arange(3), keys, None, [2]).to_csv(tmp_path / "scores.csv")
    read = Scores.read_csv(tmp_path / "scores.csv")
    assert (read.key, read.score, read.picks) == (keys, None, [2])
    assert repr(read) == "Scores(3 samples, 1 pick)"


def test_no_scores_are_no_rows(tmp_path):
    Scores(torch.arange(0), [], None, []).to_csv(tmp_path / "scores.csv")
    assert len(Scores.read_csv(tmp_path / "scores.csv")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"its first line must be key,index,score,rank, got None"),
        ("name;score\n", "its first line must be"),
        ("key,index,score,rank\na,0,0.5,\nb,one,0.5,\n", "line 3: invalid literal"),
        ("key,index,score,rank\na,0\n", "line 2: not enough values"),
        (f"key,index,score,rank\n{'a' * 200_000},0,0.5,\n", "line 2: field larger"),
    ],
)
def test_files_of_another_kind(tmp_path, text, said):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"scores.csv.*{said}"):
        Scores.read_csv(tmp_path / "scores.csv")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def key_of(index):
        raise OSError("the dataset is gone")

    with pytest.raises(OSError, match="the dataset is gone"):
        Scores(torch.arange(3), Keys(torch.arange(3), key_of), None, []).to_csv(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_the_first_of_several_processes_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    table().to_csv(tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_no_objects_are_kept_for_each_row(tmp_path):
    """Of ten times as many rows the most that Python holds at once is the same."""

    def most(n):
        scores = table(n, torch.float32)
        tracemalloc.start()
        scores.to_csv(tmp_path / "scores.csv")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    table(10).to_csv(tmp_path / "scores.csv")
    few, many = most(20_000), most(60_000)
    assert many < 1.1 * few


def test_a_frame_or_what_to_install():
    scores = table()
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(ImportError, match="pip install pandas"):
            scores.to_frame()
        return
    frame = scores.to_frame()
    assert list(frame.columns) == ["key", "index", "score", "rank"]
    assert frame["index"].tolist()[:2] == [4, 1]
    assert frame["rank"].isna().tolist() == [False, False, True, True, True, True]
