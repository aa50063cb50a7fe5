"""The script for a GPU: what it covers, how it takes failures, and a rehearsal of all of it on the CPU."""

import json

import pytest

from lightning_al import acquisition
from lightning_al import functional as F_al
from tests.gpu import __main__ as script
from tests.gpu.functional import CASES, WITHOUT
from tests.gpu.picks import NAMES
from tests.gpu.record import STUCK, Check, forget_errors, rows_in, run_checks, table_of


def test_every_acquisition_and_every_function_is_asked():
    assert set(acquisition.__all__) - {"Acquisition"} == NAMES
    assert set(F_al.__all__) - WITHOUT == CASES.keys()


def fails():
    raise RuntimeError("out of luck")


def test_a_check_that_fails_leaves_the_others_alone_and_is_tried_again(tmp_path, capsys):
    file, ran = tmp_path / "part.jsonl", []
    checks = [
        Check("first", lambda: ran.append(1) or {"right": True, "figure": 0.123456}),
        Check("second", fails),
        Check("third", lambda: ran.append(3) or {"right": False}),
    ]
    run_checks("part", iter(checks), file, seconds=60)
    assert ran == [1, 3]
    assert [row.get("right", row.get("error")) for row in rows_in(file)] == [
        True,
        "RuntimeError: out of luck",
        False,
    ]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("part: first: right figure 0.123")
    assert [line.split(":")[2].split()[0] for line in said] == ["right", "ERROR", "WRONG"]
    with file.open("a") as out:
        out.write('{"name": "cut o')  # by a kill
    forget_errors(file)
    run_checks("part", iter([*checks[:1], Check("second", lambda: {"right": True}), *checks[2:]]), file, seconds=60)
    assert ran == [1, 3]
    assert [row["name"] for row in rows_in(file)] == ["first", "third", "second"]


def test_an_error_of_the_device_ends_the_process_and_the_next_goes_on_after_it(tmp_path):
    def stuck():
        raise RuntimeError("CUDA error: device-side assert triggered")

    file, ran = tmp_path / "part.jsonl", []
    checks = [Check("first", stuck), Check("second", lambda: ran.append(2) or {"right": True})]
    with pytest.raises(SystemExit) as ended:
        run_checks("part", iter(checks), file, seconds=60)
    assert (ended.value.code, ran) == (STUCK, [])
    run_checks("part", iter(checks), file, seconds=60)
    assert ran == [2]
    assert [("error" in row) for row in rows_in(file)] == [True, False]


def test_what_there_is_no_time_for_is_said(tmp_path):
    file = tmp_path / "part.jsonl"
    checks = [Check("first", lambda: {"right": True}), Check("second", lambda: {"right": True})]
    run_checks("part", iter(checks), file, seconds=-1)
    assert [row["error"] for row in rows_in(file)] == ["first and what comes after it"]
    assert "first and what" in table_of(rows_in(file))


def test_goals_are_judged_by_their_rows_alone():
    rows = [
        {"goal": True, "forwards": 5.0, "times the loop": 30.0},
        {"goal": True, "forwards": 7.0, "times the loop": 19},
    ]
    [forwards, times] = script._goals([*rows, {"goal": False, "forwards": 99.0, "times the loop": 1.0}, {"error": "x"}])
    assert forwards == "goal: forwards at most 6: reached in 1 of 2 (worst 7.0, best 5.0)"
    assert times == "goal: times the loop at least 20: reached in 1 of 2 (worst 19.0, best 30.0)"
    assert script._goals([{"error": "x"}]) == ["the goals: nothing was measured"]


def test_without_a_gpu_it_says_what_can_be_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert script.main(["--out", str(tmp_path)]) == 2
    assert "`--tiny --device cpu`" in capsys.readouterr().err


@pytest.mark.slow
def test_a_rehearsal_on_the_cpu(tmp_path, capsys):
    arguments = ["--tiny", "--device", "cpu", "--seconds", "3000", "--out", str(tmp_path)]
    assert script.main(arguments) == 0, capsys.readouterr().out[-3000:]
    whole = json.loads((tmp_path / "gpu.json").read_text())
    assert whole["machine"]["torch"]
    assert [goal.split(" reached")[0] for goal in whole["goals"]] == [
        "goal: forwards at most 6:",
        "goal: times the loop at least 20:",
    ]
    assert all(rows for rows in whole["parts"].values())
    assert all(f"## {part}" in (tmp_path / "gpu.md").read_text() for part in whole["parts"])
    counts = [len(rows) for rows in whole["parts"].values()]
    assert script.main([*arguments, "--parts", "functional"]) == 0  # nothing is left to do
    again = json.loads((tmp_path / "gpu.json").read_text())
    assert [len(rows) for rows in again["parts"].values()] == counts
