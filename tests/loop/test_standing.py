"""A loop says what state it is in, in all of them."""

import logging
import re

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_module

from lightning_al import ActiveLearningLoop, AwaitTell
from tests.helpers.projects import loop_in, make_trainer


class Listens:
    """Keeps what a loop says of itself inside of a round."""

    def __new__(cls, said):
        import lightning as L

        class Listening(L.Callback):
            def on_train_start(self, trainer, pl_module):
                said.append(repr(self.loop))

            def on_round_start(self, trainer, pl_module, loop):
                self.loop = loop

        return Listening()


def test_a_campaign_that_people_label(tmp_path):
    said: list[str] = []
    loop, trainer = loop_in(tmp_path, oracle=AwaitTell(), rounds=1), make_trainer(tmp_path, Listens(said), max_epochs=1)
    folder = re.escape(str(tmp_path / "c"))
    assert re.search(
        rf"\(not started; 8 labels first, 4 a round, 1 round; labels from AwaitTell; {folder}\)", repr(loop)
    )
    first = loop.ask(trainer)
    assert "the initial set, waiting for 8 labels from AwaitTell; 0 labelled, 8 pending, 0 skipped, 52" in repr(loop)
    loop.tell(first, [0, 1] * 4)
    assert "round 0 of 1, not finished; 8 labelled, 0 pending" in repr(loop)
    asked = loop.ask(trainer)
    assert said == [
        repr(loop)
        .replace("round 0 of 1, waiting for 4 labels from AwaitTell", "round 0 of 1, not finished")
        .replace("4 pending, 0 skipped, 48", "0 pending, 0 skipped, 52")
    ]
    assert "; Entropy; " in repr(loop)
    other = loop_in(tmp_path, oracle=AwaitTell(), rounds=1)
    assert "not opened yet, a campaign is in its folder" in repr(other)
    loop.tell(asked, [0] * 4)
    assert len(loop.run(trainer, resume=True)) == 2
    assert "finished after round 1 of 1; 12 labelled, 0 pending, 0 skipped, 48 unlabelled" in repr(loop)
    html = loop._repr_html_()
    assert html.count("<tr>") == 3
    assert "finished after round 1 of 1" in html


def test_what_bounds_a_campaign_is_said(tmp_path):
    assert "8 labels first, 4 a round, a budget of 20;" in repr(loop_in(tmp_path, rounds=None, budget=20))
    assert "(not started; all labels, 4 a round, 0 rounds;" in repr(loop_in(tmp_path, initial="all", rounds=0))


@pytest.mark.parametrize("show", [repr, ActiveLearningLoop._repr_html_])
def test_a_loop_that_is_half_made_can_be_shown(show):
    assert "ActiveLearningLoop object at" in show(ActiveLearningLoop.__new__(ActiveLearningLoop))


def test_the_last_line_names_the_folder(tmp_path, caplog):
    """Also the one that was chosen by the loop; once each, and not where notes are silenced."""
    logger = rank_zero_module.log

    def last_of(call):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger=logger.name):
            call()
        assert sum(str(tmp_path) in text for text in caplog.messages) == 1
        return caplog.messages[-1]

    loop = loop_in(tmp_path, rounds=0, dirpath=None)
    trainer = make_trainer(tmp_path, max_epochs=1)
    assert last_of(lambda: loop.run(trainer)) == f"finished: 8 labels, {tmp_path}/al/version_0"
    people = loop_in(tmp_path, oracle=AwaitTell(), dirpath=None)
    assert last_of(lambda: people.ask(trainer)) == f"waiting: 8 to label, 0 labels, {tmp_path}/al/version_1"
    assert last_of(lambda: people.run(trainer)) == f"waiting: 0 labels, {tmp_path}/al/version_1"
    with caplog.at_level(logging.WARNING, logger=logger.name):
        caplog.clear()
        loop.run(trainer)
    assert caplog.messages == []
