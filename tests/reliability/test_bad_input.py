"""Wrong uses and the error that each gets: nothing trains before, nothing is overwritten or left on the model."""

import contextlib
import re
import sys
import warnings

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from lightning_al import acquisition
from lightning_al.checks import kind_of
from lightning_al.loop import score
from tests.reliability import wrong_answers, wrong_data, wrong_files, wrong_ledgers, wrong_options, wrong_projects
from tests.reliability.wrong import Project, Row, bytes_of, weights_and_hooks

MODULES = [wrong_options, wrong_data, wrong_projects, wrong_ledgers, wrong_files, wrong_answers]
ROWS = [row for module in MODULES for row in module.ROWS]
REHEARSED = 8
"""Samples that the model and the acquisition may be tried on; a pool pass is over more."""


@contextlib.contextmanager
def watched(monkeypatch):
    """What trains or scores meanwhile."""
    seen = {"steps": 0, "passes": 0}

    def stepped(optimizer, *_):
        seen["steps"] += any(p.grad is not None for group in optimizer.param_groups for p in group["params"])

    def passed(*args, **kwargs):
        seen["passes"] += len(args[3]) > REHEARSED
        return score_pool(*args, **kwargs)

    score_pool = score.score_pool
    handle = register_optimizer_step_post_hook(stepped)
    monkeypatch.setattr(score, "score_pool", passed)
    try:
        yield seen
    finally:
        handle.remove()


def test_the_names_of_rows_are_distinct():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_option_of_every_acquisition_has_wrong_values():
    assert {option for _, option in wrong_options.OPTIONS} == wrong_options.WRONG.keys()


@pytest.mark.parametrize("name", sorted({name for name, _ in wrong_options.OPTIONS}))
def test_all_wrong_options_of_an_acquisition_are_one_error(name):
    wrong = {option: wrong_options.WRONG[option][0] for of, option in wrong_options.OPTIONS if of == name}
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(acquisition, name)(**wrong)
    for option, value in wrong.items():
        got = kind_of(value) if option == "encoder" else repr(value)
        assert re.search(rf"`{option}` .*got {re.escape(got)}", str(caught.value)), option


@pytest.mark.few(100)
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_input(row: Row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    row.given(Project(tmp_path))
    before = bytes_of(tmp_path)
    project = Project(tmp_path)
    with watched(monkeypatch) as seen, warnings.catch_warnings():
        if row.error is UserWarning:
            warnings.filterwarnings("error", f"(?s).*{row.words}")
        with pytest.raises(row.error, match=f"(?s){row.words}"):
            row.use(project)
    assert seen == {"steps": 0, "passes": 0}
    after = bytes_of(tmp_path)
    assert "harm" not in after  # what hostile files would make
    assert {name: after.get(name) for name in before} == before
    if project.dirpath.name in before:
        assert after.keys() == before.keys()
    for model, was in project.used:
        assert weights_and_hooks(model) == was
