"""Pictures of rounds in loggers: what is in them, once for each round, and never at the price of a label."""

import io
import re
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import TensorDataset

from lightning_al import AwaitTell, Campaign
from lightning_al.report import LogPictures
from lightning_al.report.grid import Tile, grid
from lightning_al.report.loggers import picture_of_figure
from lightning_al.report.page.pictures import PALETTE, Look
from lightning_al.tasks.annotations import Boxes, Mask
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


class Pictures(Data):
    """The four features as images of 2 x 2 pixels."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        x, y = make_data(self.n)
        self.train = TensorDataset(x.reshape(-1, 1, 2, 2), y)
        self.held_out = TensorDataset(self.held_out.tensors[0].reshape(-1, 1, 2, 2), self.held_out.tensors[1])


class PictureNet(Net):
    def forward(self, x):
        return self.net(x.flatten(1))


def run(folder, *loggers, callbacks=(), resume=False, samples=16, **options):
    trainer = make_trainer(folder, LogPictures(samples=samples), *callbacks, logger=list(loggers), max_epochs=1)
    loop = loop_in(folder, PictureNet(), Pictures(), **options)
    return loop, loop.run(trainer, resume=resume)


def events_of(logger):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    return events


def test_tensorboard_and_files_get_each_round_once(tmp_path):
    pytest.importorskip("tensorboard")
    board, table = TensorBoardLogger(tmp_path, name="tb"), CSVLogger(tmp_path, name="csv")
    _, history = run(tmp_path, board, table)
    events = events_of(board)
    assert [event.step for event in events.Images("al/picks")] == [r.labelled for r in history[:-1]]
    assert [event.step for event in events.Images("al/curve")] == [r.labelled for r in history]
    image = Image.open(io.BytesIO(events.Images("al/picks")[0].encoded_image_string))
    assert np.asarray(image).std() > 10
    folder = tmp_path / "csv" / "version_0" / "al"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")) == [
        "curve.png",
        "picks/round_0.png",
        "picks/round_1.png",
    ]
    kept = np.asarray(Image.open(folder / "picks" / "round_0.png"))
    assert np.array_equal(kept, np.asarray(image))


def test_one_pick_of_several_is_drawn(tmp_path):
    run(tmp_path, CSVLogger(tmp_path, name="csv"), samples=1, rounds=1)
    assert (tmp_path / "csv/version_0/al/picks/round_0.png").is_file()


@pytest.mark.slow
def test_a_round_that_a_kill_kept_from_the_loggers_comes_later_and_others_not_again(tmp_path):
    class Kill(L.Callback):
        def on_query_end(self, trainer, pl_module, loop):
            if loop.campaign.next_round == 2:
                raise SystemExit

    def drawn(name):
        return sorted(path.name for path in (tmp_path / name / "version_0" / "al").rglob("round_*.png"))

    with pytest.raises(SystemExit):
        run(tmp_path, CSVLogger(tmp_path, "a"), callbacks=[Kill()])
    run(tmp_path, CSVLogger(tmp_path, "b"), resume=True)
    assert (drawn("a"), drawn("b")) == (["round_0.png"], ["round_1.png"])


def test_pictures_that_fail_are_told_of_and_cost_nothing(tmp_path):
    class Full(L.pytorch.loggers.logger.DummyLogger):
        @property
        def save_dir(self):
            raise OSError("No space left on device.")

        log_dir = None

    good = CSVLogger(tmp_path, "good")
    with pytest.warns(UserWarning, match="Full did not take `al/picks`: OSError: No space left on device"):
        _, history = run(tmp_path, good, Full())
    assert Campaign.load(tmp_path / "c").rounds == history
    assert [r.labelled for r in history] == [8, 12, 16]
    assert len(list((tmp_path / "good").rglob("round_*.png"))) == 2


def test_without_a_logger_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(LogPictures, "_picks", None)  # so that calling it fails
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No picture")
        _, history = run(tmp_path)
    assert len(history) == 3


def test_labels_of_a_dataset_are_no_ones_where_people_are_asked(tmp_path, monkeypatch):
    tiles = []
    monkeypatch.setattr("lightning_al.report.log_pictures.grid", lambda t, *_: tiles.append(t) or grid(t, *_))
    table = CSVLogger(tmp_path, "csv")
    loop, _ = run(tmp_path, table, oracle=AwaitTell())
    loop.tell(loop.pool.pending, make_data()[1][loop.pool.pending].tolist())
    asked = loop.run(make_trainer(tmp_path, LogPictures(), logger=[table], max_epochs=1), resume=True)[0].picked
    [of_round] = tiles
    assert [tile.annotation for tile in of_round] == [None] * 4
    run(tmp_path / "simulated", CSVLogger(tmp_path, "other"), rounds=1)
    _, of_simulated = tiles
    assert len(asked) == 4
    assert all(tile.annotation is not None for tile in of_simulated)


def test_boxes_masks_and_regions_are_drawn_in():
    grey = Image.new("RGB", (40, 20), (128, 128, 128))
    boxed = Boxes([[5, 5, 15, 15]], ["dog"], size=(40, 20))
    mask = Mask(np.full((20, 40), 2))
    tiles = [Tile("a", Look(image=grey), boxed), Tile("b", Look(image=grey), mask), Tile("c", None)]
    pixels = np.asarray(picture_of_figure(grid(tiles, ["cat", "dog"], "$x$"))).reshape(-1, 3).astype(int)

    def count(colour, pixels=pixels):
        return int((np.abs(pixels - np.array(colour)).max(1) <= 20).sum())

    assert count(PALETTE[1]) > 100  # the frame of the box, in the colour of the second class
    assert count([(128 + part) // 2 for part in PALETTE[2]]) > 5000  # the whole of one image
    plain = picture_of_figure(grid([Tile("a", Look(image=grey))], None, ""))
    assert count(PALETTE[1], np.asarray(plain).reshape(-1, 3).astype(int)) == 0


def test_texts_and_numbers_have_a_place():
    tiles = [Tile("a", Look(text="costs $5 and $6" * 40), "x", 0.5), Tile("b", Look(values=[("0", "1.5")]))]
    assert picture_of_figure(grid(tiles, None, "Round 0")).size[0] > 100


def test_bad_options():
    with pytest.raises(ValueError, match="`samples`"):
        LogPictures(samples=0)


@pytest.mark.slow
def test_mlflow_gets_numbers_and_pictures_by_labels(tmp_path):
    pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    where = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logger = MLFlowLogger(tracking_uri=where, artifact_location=str(tmp_path / "kept"))
    _, history = run(tmp_path, logger)
    numbers = logger.experiment.get_metric_history(logger.run_id, "al/val_acc")
    assert [(m.step, m.value) for m in numbers] == [(r.labelled, r.metrics["val_acc"]) for r in history]
    names = sorted(path.name for path in (tmp_path / "kept").rglob("*.png"))
    assert [name.split("timestamp")[0] for name in names] == [
        *(f"al~curve+step+{n}+" for n in (12, 16, 8)),
        *(f"al~picks+step+{n}+" for n in (12, 8)),
    ]


@pytest.mark.slow
def test_weights_and_biases_keeps_the_step_of_the_fit(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(mode="offline", save_dir=tmp_path)
    rows, defined = [], []
    monkeypatch.setattr(logger.experiment, "log", rows.append)
    monkeypatch.setattr(logger.experiment, "define_metric", lambda name, **options: defined.append((name, options)))
    try:
        _, history = run(tmp_path, logger)
    finally:
        wandb.finish()
    ours = [row for row in rows if any(name.startswith("al/") for name in row)]
    assert not any("trainer/global_step" in row for row in ours)
    assert [row["al/labelled"] for row in ours if "al/val_acc" in row] == [r.labelled for r in history]
    assert [row["al/labelled"] for row in ours if "al/picks" in row] == [8, 12]
    assert all(isinstance(row["al/picks"], wandb.Image) for row in ours if "al/picks" in row)
    assert {name for name, options in defined if options["step_metric"] == "al/labelled"} == {"al/*"}


def test_the_page_on_loggers_makes_a_trainer(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "loggers.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(block, names)
    assert any(isinstance(callback, LogPictures) for callback in names["trainer"].callbacks)
