"""What a user sees in the Trainer's progress bar over a campaign."""

import contextlib
import io
import logging
import os
import re

import lightning as L
import pytest
import rich
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

from lightning_al import score
from lightning_al.acquisition import CoreSet, Entropy
from lightning_al.acquisition.adversarial.separate_fit import fit_separately
from lightning_al.inference import bars
from lightning_al.stages import stage
from tests.acquisition.adversarial.test_separate_fit import Counting, loader
from tests.helpers.committee import Killer
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer, picks

ROUND = [
    "fitting · epoch 1/2",
    "fitting · epoch 2/2",
    "evaluating",
    "scoring with CoreSet",
    "selecting with CoreSet",
]
CAMPAIGN = [f"round {n} of 1 · {words}" for n, words in [*((0, w) for w in ROUND), *((1, w) for w in ROUND[:3])]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal with room for all that a bar has to say; standard output in :func:`shown_on`."""
    monkeypatch.setenv("COLUMNS", "200")
    yield Terminal()
    rich.reconfigure()


def shown_on(terminal):
    """Inside, standard output: pytest has its own for each phase of a test."""
    return contextlib.redirect_stdout(terminal)


def rich_bar(terminal, **options):
    return RichProgressBar(console_kwargs={"file": terminal, "force_terminal": True, "width": 200}, **options)


def words_in(text):
    """The words of all bars, each once, in their order."""
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
    said = [re.split(r":? +(?:━|╸|\d+%\||0it \[)|: +$|: +\|", line)[0].strip() for line in lines]
    return list(dict.fromkeys(words for words in said if words))


def rounds_in(text):
    return [words for words in words_in(text) if words.startswith("round ")]


def bar_of(kind, terminal, **options):
    return TQDMProgressBar(**options) if kind == "tqdm" else rich_bar(terminal, **options)


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_it_names_round_and_stage_of_all_that_takes_time(tmp_path, terminal, kind):
    bar = bar_of(kind, terminal)
    before = set(vars(bar))
    trainer = make_trainer(tmp_path, bar, acquisition=CoreSet(), enable_progress_bar=True)
    with shown_on(terminal):
        loop_in(tmp_path, rounds=1).run(trainer)
    said = words_in(terminal.getvalue())
    assert rounds_in(terminal.getvalue()) == CAMPAIGN
    assert "checking a few samples" in said
    assert not any(words.startswith(("Epoch", "Testing", "Predicting D")) for words in said)
    assert set(vars(bar)) - before == {"log", "log_dict"}  # of Lightning's; nothing of ours stays on it
    assert bar.is_enabled


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_picks_and_metrics_are_those_without_a_bar(tmp_path, terminal, kind):
    def run(name, **options):
        loop = loop_in(tmp_path / name, rounds=2)
        history = loop.run(make_trainer(tmp_path, *options.pop("bars", ()), acquisition=CoreSet(), **options))
        weights = [p.tolist() for p in loop.model.parameters()]
        return picks(history), [r.metrics for r in history], [r.scores for r in history], weights

    with shown_on(terminal):
        seen = run("with", bars=[bar_of(kind, terminal)], enable_progress_bar=True)
    assert seen == run("without")
    assert terminal.getvalue()


@pytest.mark.parametrize(("leave", "kept"), [(False, 0), (True, 5)])
def test_a_full_bar_makes_room_unless_it_was_to_stay(tmp_path, terminal, leave, kept):
    """tqdm ends what stays with a new line."""
    trainer = make_trainer(
        tmp_path,
        TQDMProgressBar(leave=leave),
        acquisition=CoreSet(),
        enable_progress_bar=True,
        check_val_every_n_epoch=9,  # whose bar would stand on a second line
    )
    with shown_on(terminal):
        loop_in(tmp_path, rounds=1).run(trainer)
    last = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert len({w for line in last for w in rounds_in(line) if w.startswith("round 0")}) == kept


class OfOnes_Own(ProgressBar):
    """Knows nothing of us, and prints."""

    def __init__(self):
        super().__init__()
        self.printed = []

    def disable(self):
        pass

    def print(self, *args, **kwargs):
        self.printed.append(args[0])


def test_a_bar_of_ones_own_prints_the_stages(tmp_path):
    bar = OfOnes_Own()
    trainer = make_trainer(tmp_path, bar, acquisition=CoreSet(), enable_progress_bar=True)
    loop_in(tmp_path, rounds=0).run(trainer)
    said = ["checking a few samples", "round 0 of 0 · fitting", "round 0 of 0 · evaluating"]
    assert list(dict.fromkeys(bar.printed)) == said


@pytest.mark.few(1)
@pytest.mark.parametrize("make", [TQDMProgressBar, RichProgressBar])
def test_a_file_gets_no_bar_and_a_line_of_a_stage_that_takes_long(tmp_path, monkeypatch, caplog, make):
    file = io.StringIO()

    def run(name):
        caplog.clear()
        bar = make()
        trainer = make_trainer(tmp_path, bar, acquisition=CoreSet(), enable_progress_bar=True)
        with contextlib.redirect_stdout(file):
            loop_in(tmp_path / name, rounds=1, pool_batch_size=4).run(trainer)
        assert bar.is_enabled
        return [text for text in caplog.messages if "·" in text]

    assert run("quick") == []
    monkeypatch.setattr(bars, "SAY_AFTER", 0.0)
    assert run("slow") == [
        "round 0 of 1 · fitting · epoch 1/2 (1 of 2)",
        "round 0 of 1 · scoring with CoreSet (1 of 13)",
        "round 0 of 1 · scoring with CoreSet (1 of 2)",
        "round 0 of 1 · selecting with CoreSet (1 of 4)",
        "round 1 of 1 · fitting · epoch 1/2 (1 of 3)",
    ]
    assert file.getvalue() == ""


def test_when_it_may_end_is_said_where_there_is_room(monkeypatch, terminal):
    with stage("round 3 of 10", until="until about 14:05"), stage("fitting"):
        shown = bars.present_stage()
    assert bars._text(shown, 120) == "round 3 of 10 · fitting · until about 14:05"
    assert bars._text(shown, 80) == "round 3 of 10 · fitting"


def test_a_campaign_that_was_killed_goes_on_in_the_round_that_it_was_in(tmp_path, terminal):
    with pytest.raises(SystemExit):
        loop_in(tmp_path).run(make_trainer(tmp_path, Killer(6, SystemExit)))  # 2 batches in each of two epochs, then 3
    trainer = make_trainer(tmp_path, TQDMProgressBar(), enable_progress_bar=True)
    with shown_on(terminal):
        loop_in(tmp_path).run(trainer, resume=True)
    assert rounds_in(terminal.getvalue())[0].startswith("round 1 of 2 · fitting")
    assert rounds_in(terminal.getvalue())[-1] == "round 2 of 2 · evaluating"


class Shared(Terminal):
    """A terminal of several processes, which notes who writes to it."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def write(self, text):
        with self.path.open("a") as file:
            file.write(f"{os.getpid()} {text!r}\n")
        return len(text)


@pytest.mark.slow
def test_of_two_processes_one_says_it(tmp_path, monkeypatch):
    seen = tmp_path / "seen.txt"
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(Shared(seen))])
    strategy, devices = fork(2)
    trainer = make_trainer(
        tmp_path, TQDMProgressBar(), acquisition=CoreSet(), enable_progress_bar=True, strategy=strategy, devices=devices
    )
    with contextlib.redirect_stdout(Shared(seen)):
        loop_in(tmp_path, rounds=1).run(trainer)
    lines = [line.partition(" ") for line in seen.read_text().splitlines()]
    assert len({pid for pid, _, text in lines if "round " in text}) == 1
    assert [text[1:].partition(":")[0] for _, _, text in lines if " labels | " in text] == ["round 0", "round 1"]
    assert any("round 0 of 1 · selecting with CoreSet" in text for _, _, text in lines)


def test_without_a_bar_nothing_is_shown_and_no_callback_is_added(tmp_path, terminal):
    trainer = make_trainer(tmp_path, acquisition=CoreSet())
    assert bars.naming(trainer) == []
    with shown_on(terminal):
        loop_in(tmp_path, rounds=1).run(trainer)
    assert terminal.getvalue() == ""


def test_scores_without_a_campaign_are_named_too(tmp_path, terminal):
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[TQDMProgressBar()], devices=1
    )
    with shown_on(terminal):
        score(Net(), [(x, 0) for x in make_data()[0]], Entropy(), 3, trainer=trainer)
    assert [words for words in words_in(terminal.getvalue()) if words != "Predicting"] == [
        "checking a few samples",
        "scoring with Entropy",
    ]


def test_a_fit_beside_the_user_s_is_in_the_same_bar(tmp_path, terminal):
    trainer = make_trainer(tmp_path, TQDMProgressBar(), enable_progress_bar=True)
    with shown_on(terminal), stage("round 0 of 1"), stage("learning with VAAL"):
        fit_separately(trainer, Counting(), loader(), steps=1, seed=0)
    assert rounds_in(terminal.getvalue()) == ["round 0 of 1 · learning with VAAL"]


class Broken(Net):
    def validation_step(self, batch, batch_idx):
        raise ZeroDivisionError


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_after_an_error_the_bar_is_as_it_was(tmp_path, terminal, kind):
    bar = bar_of(kind, terminal)
    trainer = make_trainer(tmp_path, bar, enable_progress_bar=True, num_sanity_val_steps=0)
    with shown_on(terminal), pytest.raises(ZeroDivisionError):
        loop_in(tmp_path, Broken()).run(trainer)
    assert not {"init_train_tqdm", "_add_task", "_get_train_description"} & vars(bar).keys()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[bar], max_epochs=1)
    terminal.truncate(0)
    with shown_on(terminal):
        trainer.fit(Net(), datamodule=Data())
    assert rounds_in(terminal.getvalue()) == []
