import io
import re
from datetime import datetime
from pathlib import Path

from lightning_al.sweep import Job, Progress, Schedule, State
from lightning_al.sweep.screen import Screen, failures


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def screen_of(is_terminal):
    clock, stream = Clock(), io.StringIO()
    now = lambda: datetime(2025, 3, 1, 14, 0)  # noqa: E731
    return Screen(stream, is_terminal=is_terminal, clock=clock, now=now), clock, stream


def schedule_of(*names, slots=2):
    return Schedule([Job(name, ("true",), Path("runs") / f"{name}.log") for name in names], slots)


def story(screen, clock):
    """Three jobs, of which one is finished, one fails, and one was finished before."""
    schedule = schedule_of("a", "b", "c")
    for entry in schedule.entries[:2]:
        schedule.start(entry, 0.0)
        screen.changed(schedule, entry)
    screen.looked(schedule)
    clock.seconds = 60.0
    schedule.see(schedule.entries[0], Progress([60.0], 3), 60.0)
    screen.looked(schedule)
    clock.seconds = 310.0
    screen.looked(schedule)
    schedule.end(schedule.entries[0], State.FINISHED, 310.0)
    screen.changed(schedule, schedule.entries[0])
    schedule.end(schedule.entries[2], State.FINISHED, 310.0)
    screen.changed(schedule, schedule.entries[2])
    schedule.end(schedule.entries[1], State.FAILED, 311.0, "exit code 1: error: no | data")
    screen.changed(schedule, schedule.entries[1])
    screen.close()
    return schedule


def shown_on(text):
    """What a terminal shows in the end of a text with these few escape sequences."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[\d*[AJ]|\r|\n)", text):
        if part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part == "\x1b[J":
            lines = [*lines[:row], ""]
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part != "\r":
            lines[row] += part
    return lines


LASTING = [
    "[1/3] a: finished in 5:10; 2 left, about 5:10, until 14:05",
    "[2/3] c: finished already; 1 left, about 0:00, until 14:00",
    "[3/3] b: FAILED in 5:11, exit code 1: error: no | data; log runs/b.log; none left",
]


def test_in_a_file_each_line_stays():
    screen, clock, stream = screen_of(False)
    story(screen, clock)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().splitlines() == [
        "[0/3] a: starts; log runs/a.log",
        "[0/3] b: starts; log runs/b.log",
        "  a: 1 of 3 rounds done, 2 left, about 2:00, until 14:02",
        "  b: round 1, about 2:00, until 14:02",
        "  a: 1 of 3 rounds done, 2 left, about 0:00, until 14:00",
        "  b: round 1, about 0:00, until 14:00",
        *LASTING,
    ]


def test_in_a_terminal_what_runs_is_written_anew():
    screen, clock, stream = screen_of(True)
    schedule = schedule_of("a", "b", slots=1)
    schedule.start(schedule.entries[0], 0.0)
    screen.changed(schedule, schedule.entries[0])
    screen.looked(schedule)
    assert shown_on(stream.getvalue()) == [
        "  a: round 1, no telling yet how long",
        "[0/2] 2 left, no telling yet how long",
        "",
    ]
    clock.seconds = 60.0
    schedule.see(schedule.entries[0], Progress([60.0], 3), 60.0)
    screen.looked(schedule)
    assert shown_on(stream.getvalue()) == [
        "  a: 1 of 3 rounds done, 2 left, about 2:00, until 14:02",
        "[0/2] 2 left, about 5:00, until 14:05",
        "",
    ]


def test_in_a_terminal_nothing_but_what_became_of_jobs_is_left():
    screen, clock, stream = screen_of(True)
    story(screen, clock)
    assert shown_on(stream.getvalue()) == [*LASTING, ""]


def test_lines_are_no_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    screen, _, stream = screen_of(True)
    schedule = schedule_of("a" * 50)
    schedule.start(schedule.entries[0], 0.0)
    screen.looked(schedule)
    assert max(map(len, shown_on(stream.getvalue()))) <= 29


def test_failures_are_a_table():
    screen, clock, _ = screen_of(False)
    assert failures(story(screen, clock)).splitlines() == [
        "| failed | why                           | log        |",
        "|--------|-------------------------------|------------|",
        "| b      | exit code 1: error: no / data | runs/b.log |",
    ]
