"""Hooks of the rounds."""

from tests.helpers.recorder import Recorder, run


def test_hooks_reach_every_callback_in_order(tmp_path):
    recorder = Recorder()
    run(tmp_path, recorder, rounds=1)
    query = ["query_start", "query_end"]
    assert recorder.events == ["round_start", "fit", *query, "round_end", "round_start", "fit", "round_end"]
