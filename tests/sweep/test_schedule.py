import math
from pathlib import Path

from lightning_al.sweep import Job, Progress, Schedule, State


def schedule_of(*names, slots=2):
    return Schedule([Job(name, ("true",), Path(name), kind=name[0]) for name in names], slots)


def names(entries):
    return [entry.job.name for entry in entries]


def test_they_start_in_order_as_slots_get_free():
    schedule = schedule_of("a", "b", "c")
    for _ in range(2):
        schedule.start(schedule.next_to_start(), 0.0)
    assert names(schedule.of(State.RUNNING)) == ["a", "b"]
    assert schedule.next_to_start() is None
    schedule.end(schedule.entries[0], State.FAILED, 3.0, "exit code 1")
    assert schedule.next_to_start().job.name == "c"
    assert (schedule.entries[0].seconds, schedule.ended, schedule.is_over) == (3.0, 1, False)


def test_what_another_process_runs_is_not_over_and_is_looked_at_again():
    schedule = schedule_of("a")
    schedule.end(schedule.next_to_start(), State.ELSEWHERE, 0.0)
    assert schedule.next_to_start() is None
    assert not schedule.is_over
    schedule.look_again()
    assert schedule.next_to_start().job.name == "a"


def test_a_running_job_goes_by_its_own_steps_since_the_last():
    schedule = schedule_of("a", "b")
    [one, two] = schedule.entries
    schedule.start(one, 100.0)
    assert schedule.see(one, Progress([10.0], 3), 112.0)
    assert not schedule.see(one, Progress([10.0], 3), 115.0)
    assert schedule.seconds_left(one, 115.0) == 20.0 - 3.0
    assert schedule.seconds_left(one, 500.0) == 0.0
    # of the other nothing is known but that: 12 seconds to the end of the first step, and two more steps
    assert schedule.seconds_left(two, 115.0) == 32.0
    assert schedule.time_left(115.0) == 32.0


def test_jobs_of_its_kind_go_before_others():
    schedule = schedule_of("a1", "b1", "a2", slots=1)
    for entry, seconds in zip(schedule.entries[:2], (10.0, 99.0), strict=True):
        schedule.start(entry, 0.0)
        schedule.end(entry, State.FINISHED, seconds)
    assert schedule.seconds_left(schedule.entries[2], 0.0) == 10.0
    schedule.start(schedule.entries[2], 200.0)
    assert schedule.seconds_left(schedule.entries[2], 204.0) == 6.0


def test_one_that_was_finished_before_counts_by_its_steps_and_a_resumed_one_too():
    schedule = schedule_of("a1", "a2", "a3")
    before, resumed, new = schedule.entries
    schedule.see(before, Progress([5.0, 5.0], 2), 0.0)
    schedule.end(before, State.FINISHED, 0.0)
    assert (before.seconds, schedule.seconds_left(new, 0.0)) == (0.0, 10.0)
    schedule.see(resumed, Progress([9.0], 2), 0.0)
    schedule.start(resumed, 0.0)
    schedule.end(resumed, State.FINISHED, 3.0)
    schedule.see(resumed, Progress([9.0, 9.0], 2), 3.0)
    assert schedule.seconds_left(new, 3.0) == 14.0


def test_nothing_is_known_at_first():
    schedule = schedule_of("a")
    assert math.isnan(schedule.time_left(0.0))
    schedule.start(schedule.next_to_start(), 0.0)
    assert math.isnan(schedule.time_left(9.0))
