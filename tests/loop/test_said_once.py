"""What Lightning says at every fit comes once a campaign, and nothing else is lost."""

import logging
import warnings

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.rank_zero import rank_zero_module as rank_zero

from lightning_al import _compat
from tests.helpers.projects import Net, loop_in, make_trainer

LOGGING = "smaller than the logging interval"


class Odd(Net):
    """Warns, and notes something, in every round."""

    def on_fit_start(self):
        warnings.warn("of the user", stacklevel=1)
        rank_zero_info("note of the user")


@pytest.fixture
def said(caplog):
    """Runs a campaign of three rounds, and returns what was warned of and noted."""

    def run(tmp_path, *callbacks, **options):
        with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.INFO):
            warnings.simplefilter("always")  # Python's memory is lost whenever somebody changes a filter
            caplog.clear()
            loop_in(tmp_path, Odd()).run(
                make_trainer(tmp_path, *callbacks, logger=L.pytorch.loggers.CSVLogger(tmp_path), **options)
            )
        return [str(each.message) for each in warned], caplog.messages

    return run


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_hints_come_once_and_what_others_say_as_ever(tmp_path, said, monkeypatch, name):
    monkeypatch.setattr(rank_zero, "log", logging.getLogger(f"{name}.utilities.rank_zero"))
    warned, noted = said(tmp_path)
    assert len([text for text in warned if LOGGING in text]) == 1  # "(2)", "(3)" and "(4) is smaller"
    assert warned.count("of the user") == 3
    assert noted.count("note of the user") == 3
    assert noted.count("`Trainer.fit` stopped: `max_epochs=2` reached.") == 1
    assert [text.partition(":")[0] for text in noted if " labels | " in text] == ["round 0", "round 1", "round 2"]


def test_what_a_callback_tells_of_a_fit_comes_in_every_round(tmp_path, said):
    _, noted = said(
        tmp_path,
        ModelCheckpoint(monitor="val_acc", mode="max", verbose=True, save_top_k=-1),
        enable_checkpointing=True,
    )
    assert len([text for text in noted if "'val_acc' reached" in text]) == 6


def of_lightning(text, name="pytorch/loops/fit_loop.py"):
    """Say something as from a file of Lightning's."""
    file = str(_compat._LIGHTNING / name)
    warnings.showwarning(UserWarning(text), UserWarning, file, 1)
    logger = rank_zero.log
    logger.handle(logger.makeRecord(logger.name, logging.INFO, file, 1, text, (), None))


def test_a_new_warning_in_a_later_round_is_shown(monkeypatch, caplog):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *where, **more: shown.append(str(message)))
    before = warnings.showwarning
    hints = _compat.Hints()
    with caplog.at_level(logging.INFO):
        for _ in range(2):  # as when a loop is launched again
            with hints.once():
                of_lightning("The loader has 3 workers.")
                of_lightning("The loader has 4 workers.")
                of_lightning("The loss is NaN.")
                of_lightning("better", "pytorch/callbacks/early_stopping.py")
    assert shown == ["The loader has 3 workers.", "The loss is NaN.", "better"]
    assert caplog.messages == [
        "The loader has 3 workers.",
        "The loader has 4 workers.",
        "The loss is NaN.",
        "better",
        "better",
    ]
    assert warnings.showwarning is before
    of_lightning("The loss is NaN.")
    assert shown[-1] == "The loss is NaN."
    assert len(shown) == 4
