"""A race as text, rows, a table, a picture, and plain values for the ledger."""

import math

import pytest
import torch

from lightning_al.scoring.race_result import Raced, RaceResult


def raced(name, indices, classes=(), forward="shared"):
    seconds = {"learn": 1.0, "score": 0.25}
    near = math.nan if not classes else 0.5
    return Raced(name, {"class": name}, indices, [None] * len(indices), [], seconds, forward, list(classes), near, near)


def race(*entries, classes=("cat", "dog", "fox"), classes_are="true"):
    return RaceResult(2, 30, 1000, 4, classes, classes_are, tuple(entries), 9.0, "abc")


@pytest.fixture
def three():
    return race(
        raced("Entropy", [1, 2, 3, 4], [4, 0, 0]),
        raced("SAAL", [3, 4, 5, 6], [2, 1, 1], "own"),
        raced("Random", [7, 8, 9, 1], [2, 2, 0], "none"),
    )


def test_what_picks_have_in_common(three):
    assert three.overlap.tolist() == [[4, 2, 1], [2, 4, 0], [1, 0, 4]]
    assert [row["in_common"] for row in three.rows()] == [0.375, 0.25, 0.125]
    assert three.picks["SAAL"] == [3, 4, 5, 6]
    assert three["Random"].forward == "none"
    with pytest.raises(KeyError, match=r"race is called 'saal'\. There are Entropy, SAAL, Random"):
        three["saal"]


def test_how_even_classes_are(three):
    quarters = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3)
    evenness = [row["evenness"] for row in three.rows()]
    assert evenness == pytest.approx([0, quarters, math.log(2) / math.log(3)])
    assert [three.rows()[1][f"class_{name}"] for name in three.classes] == [2, 1, 1]


def test_text_says_all_of_it(three):
    text = str(three)
    assert text.startswith(
        "Race of 3 acquisitions in round 2: 4 picks each of 1,000 candidates, after 30 labels, in 9.0"
    )
    assert "| SAAL    | 1.2     | own     | 0.5         | 0.5   | 2 1 1        | 0.95     |" in text
    assert "Classes: cat, dog, fox." in text
    assert "forward own: " in text
    assert "| 1 Entropy | -    | 0.50 | 0.25 | 0.38 |" in text


def test_text_of_a_task_without_classes_or_features_and_of_a_single_one():
    text = str(race(raced("Entropy", [1, 2]), classes=(), classes_are=""))
    assert "class" not in text
    assert "common" not in text
    assert "| Entropy | 1.2     | shared  | -           | -     |" in text


def test_many_classes_are_counted():
    names = tuple(map(str, range(20)))
    text = str(race(raced("Entropy", [1, 2, 3], [1] * 3 + [0] * 17), classes=names))
    assert "| 3 of 20 " in text
    assert "Classes:" not in text


def test_plain_values_make_it_again(three, tmp_path):
    torch.save(three.as_state(), tmp_path / "race")
    assert RaceResult.of_state(torch.load(tmp_path / "race", weights_only=True)) == three


def test_a_data_frame(three):
    pytest.importorskip("pandas")
    frame = three.to_frame()
    assert list(frame["acquisition"]) == ["Entropy", "SAAL", "Random"]
    assert list(frame["class_cat"]) == [4, 2, 2]


@pytest.mark.parametrize("classes", [("a", "b"), ()])
def test_a_picture(tmp_path, classes):
    pytest.importorskip("matplotlib")
    entries = [raced(name, [n, n + 1], [1] * len(classes)) for n, name in enumerate(("Entropy", "a long name"))]
    race(*entries, classes=classes).save_picture(tmp_path / "below" / "race.png")
    assert (tmp_path / "below" / "race.png").stat().st_size > 3000
