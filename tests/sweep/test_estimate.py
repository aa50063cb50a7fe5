import itertools
import math

import numpy as np
import pytest

from lightning_al.sweep.estimate import seconds_left, time_until_all_end


@pytest.mark.parametrize("seconds", [[2.0], [1.0, 2.0], [1.0, 4.0, 2.0, 9.0], [3.0, 3.1, 5.0]])
def test_steps_go_on_along_the_line_of_least_squares(seconds):
    n, left = len(seconds), 3
    line = np.polyfit(range(n), seconds, deg=min(n - 1, 1))
    assert seconds_left(seconds, left) == pytest.approx(sum(np.polyval(line, n + i) for i in range(left)))


def test_steps_do_not_get_shorter():
    assert seconds_left([4.0, 2.0], 5) == 15.0


def test_nothing_is_known_before_the_first_step_and_nothing_left_after_the_last():
    assert math.isnan(seconds_left([], 1))
    assert seconds_left([], 0) == seconds_left([1.0], 0) == 0.0


def by_hand(running, waiting, slots):
    """Second by second, for whole numbers."""
    running, waiting, now = list(running), list(waiting), 0
    while True:
        running = [seconds for seconds in running if seconds > 0]
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
        running = [seconds for seconds in running if seconds > 0]
        if not running and not waiting:
            return now
        running = [seconds - 1 for seconds in running]
        now += 1


def test_jobs_side_by_side_end_when_they_do_second_by_second():
    for running, waiting in itertools.product([(), (5,), (1, 7)], [(), (2,), (3, 1, 4, 1, 5), (6, 6)]):
        for slots in (2, 3):
            assert time_until_all_end(running, waiting, slots) == by_hand(running, waiting, slots)


def test_one_that_nobody_knows_leaves_the_end_unknown():
    assert math.isnan(time_until_all_end([math.nan], [1.0], 2))
    assert math.isnan(time_until_all_end([1.0], [math.nan], 2))
