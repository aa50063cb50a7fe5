"""``lightning-al score``: scores without a campaign, from the YAML of a project."""

from argparse import SUPPRESS
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_al.acquisition import Acquisition
from lightning_al.campaign.questions import explain_hashes
from lightning_al.cli.recipe import fill_in_trainer
from lightning_al.cli.run import ActiveParser  # first: it says what to install
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.scoring import score
from lightning_al.storage.checkpoints import hyperparameters
from lightning_al.words import shown


class ScoringTrainer(pl.Trainer):
    """Lightning's Trainer, with the subcommand `score`."""

    def score(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Score unlabelled samples with a trained model."""
        raise NotImplementedError("Score with `lightning_al.score(...)`.")


class LoopSection(ActiveLearningLoop):
    """The section ``loop:`` of a project, where nothing of it is required."""

    def __init__(self, *args: Any, query_size: int = 1, initial: int | list[int] = 1, **kwargs: Any) -> None:
        super().__init__(*args, query_size=query_size, initial=initial, **kwargs)


class ScoreCLI(LightningCLI):
    """``LightningCLI`` with the subcommand ``score``, for the files that ``lightning-al run`` takes."""

    config: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            None,
            pl.LightningDataModule,
            subclass_mode_data=True,
            trainer_class=ScoringTrainer,
            save_config_callback=None,
            parser_class=ActiveParser,
            **kwargs,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"score": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options, which ``lightning-al score --help`` says more of, and the section ``loop:``."""
        parser.add_class_arguments(LoopSection, "loop", skip={"model", "datamodule"}, instantiate=False)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Weights to load first.")
        parser.add_argument("--k", type=int | None, default=None, help="How many to pick.")
        parser.add_argument("--output", type=str, default="picks.csv", help="CSV file.")
        parser.add_argument("--picks-only", action="store_true", help="Leave out of the file what was not picked.")
        parser.add_argument("--batch_size", type=int | None, default=None, help="Samples of a batch.")
        parser.add_argument("--labelled", action="store_true", help="The training set is labelled already.")
        parser.add_argument("--skip-unreadable", action="store_true", help="Leave out what cannot be read.")
        parser.add_argument("--cache", type=str | None, default=None, help="Folder that keeps what the model gives.")
        parser.add_argument("--resume", action="store_true", help=SUPPRESS)  # in the file that a campaign keeps

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put the method's name and the seed where the Trainer's options keep places, as `run` does."""
        super().parse_arguments(parser, args)
        section = self.config[self.config["subcommand"]]
        fill_in_trainer(section, section["loop"]["seed"])

    def _parse_ckpt_path(self) -> None:
        """Make the model of ``model:`` as the checkpoint's was made.

        Lightning's own takes the class from the checkpoint too, and fails where the model was not made by a
        LightningCLI, or was saved with arguments that are no plain values.
        """
        self.config: Any
        config = self.config[self.config["subcommand"]]
        path = config["ckpt_path"]
        if path is None or config["model"] is None or not Path(path).is_file():
            return  # `score` says so
        class_path, options = config["model"]["class_path"], config["model"].get("init_args") or {}
        saved = {name: value for name, value in hyperparameters(path).items() if name in options}
        if not saved:
            return
        model = {"class_path": class_path, "init_args": saved}
        self.config = self.parser.parse_object({self.config["subcommand"]: {"model": model}}, self.config)
        now = self.config[self.config["subcommand"]]["model"]["init_args"]
        changed = ", ".join(
            f"{name}={shown(now[name])} (not {shown(options[name])})" for name in saved if now[name] != options[name]
        )
        if changed:
            rank_zero_info(f"As {path} was trained: {changed}.")

    def score(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Score, write the file and say where it is."""
        loop, config = self._get(self.config_init, "loop"), self.config[self.config["subcommand"]]
        batch_size = config["batch_size"] if config["batch_size"] is not None else loop["pool_batch_size"]
        if config["ckpt_path"] is None:
            rank_zero_warn("No `--ckpt_path`: the model scores with the weights that it is made with.")
        scores = score(
            model,
            datamodule,
            _acquisition_of(self.trainer),
            config["k"],
            task=loop["task"],
            labelled=config["labelled"],
            ckpt_path=config["ckpt_path"],
            batch_size=batch_size,
            pool_precision=loop["pool_precision"],
            trainer=self.trainer,
            skip_unreadable=config["skip_unreadable"],
            cache=config["cache"],
            seed=loop["seed"],
        )
        scores.to_csv(config["output"], picks_only=config["picks_only"])
        rank_zero_only(print)(f"{config['output']}: {len(scores.picks):,} picks of {len(scores):,} samples")
        explained = explain_hashes(scores.key[:1])
        if explained:
            rank_zero_only(print)(explained)


def _acquisition_of(trainer: pl.Trainer) -> Acquisition:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    acquisitions = [callback for callback in callbacks if isinstance(callback, Acquisition)]
    if len(acquisitions) != 1:
        raise ValueError(
            f"`score` needs exactly one acquisition among the Trainer's callbacks, found {len(acquisitions)}. Add the "
            "file of a method, as `-c recipes/acquisitions/entropy.yaml`, or the flag `--trainer.callbacks=Entropy`."
        )
    return acquisitions[0]
