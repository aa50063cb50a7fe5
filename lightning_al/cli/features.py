"""``lightning-al features``: features of every sample, by an encoder that it trains first, in a file."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader

from lightning_al._compat import is_overridden
from lightning_al.acquisition.features import features_by
from lightning_al.campaign.metrics import metrics_in_words
from lightning_al.checks import rows_not_finite
from lightning_al.cli.recipe import fill_in_trainer
from lightning_al.cli.run import ActiveParser  # first: it says what to install
from lightning_al.data.stream import check_map_style
from lightning_al.data.template import LoaderTemplate
from lightning_al.inference.mode import scoring_mode
from lightning_al.storage.checkpoints import save_checkpoint
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.classification import ClassificationTask


class EncoderKept(pl.Callback):
    """Keeps the training in one file, after each epoch, so that it can go on; prints how it goes where no bar does.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file anew, and print the epoch's metrics."""
        save_checkpoint(trainer, self.path)
        if trainer.progress_bar_callback is None:
            metrics = metrics_in_words({name: float(value) for name, value in trainer.callback_metrics.items()})
            print(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}: {metrics}", flush=True)


class EncodingTrainer(pl.Trainer):
    """Lightning's Trainer, with the subcommand `features`."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put the method's name and the seed where the Trainer's options keep places, as `run` does."""
        super().parse_arguments(parser, args)
        section = self.config[self.config["subcommand"]]
        fill_in_trainer(section, section["seed_everything"])

    def features(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Train an encoder without labels, and write the features of every sample."""
        raise NotImplementedError("Write features with `lightning-al features`.")


class FeaturesCLI(LightningCLI):
    """``LightningCLI`` with the subcommand ``features``."""

    config: Any
    trainer: pl.Trainer

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            None,
            pl.LightningDataModule,
            subclass_mode_data=True,
            trainer_class=EncodingTrainer,
            save_config_callback=None,
            parser_class=ActiveParser,
            seed_everything_default=0,
            **kwargs,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"features": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options, which ``lightning-al features --help`` says more of."""
        parser.add_argument("--output", type=str, default="features.npy", help="File of the features.")
        parser.add_argument("--resume", action="store_true", help="Go on with the training that was cut short.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put the method's name and the seed where the Trainer's options keep places, as `run` does."""
        super().parse_arguments(parser, args)
        section = self.config[self.config["subcommand"]]
        fill_in_trainer(section, section["seed_everything"])

    def features(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Train the model, if it trains, and write the file."""
        config = self.config[self.config["subcommand"]]
        path, trainer = Path(config["output"]), self.trainer
        state = path.with_suffix(".ckpt")
        _check(trainer, path, state, resume=config["resume"])
        datamodule.prepare_data()
        datamodule.setup("fit")
        template, parts = _samples_of(datamodule)
        if is_overridden("training_step", model):
            trainer.callbacks.append(EncoderKept(state))  # type: ignore[attr-defined]
            data: dict[str, Any] = {"datamodule": datamodule}
            if hasattr(model, "views"):
                views = model.views(ConcatDataset(parts))
                size = min(template.batch_size, len(views))
                options = {"batch_size": size, "shuffle": True, "drop_last": True, "collate_fn": None}
                data = {"train_dataloaders": template.loader(views, **options)}
            trainer.fit(model, **data, ckpt_path=state if config["resume"] and state.is_file() else None)
            if trainer.interrupted:
                return
        loaders = [template.loader(part, batch_size=template.batch_size) for part in parts]
        table = torch.cat([_features(model, loader, trainer) for loader in loaders])
        bad = rows_not_finite(table).tolist()
        if bad:
            raise ValueError(
                f"Features of {len(bad)} of {len(table)} samples are NaN or infinite, indices {bad[:10]}: the training "
                "has diverged. A lower learning rate, perhaps?"
            )
        with atomic_write(path) as file:
            np.save(file, table.numpy())
        print(f"{path}: {len(table):,} samples, {table.shape[1]} features each")


def _check(trainer: pl.Trainer, path: Path, state: Path, *, resume: bool) -> None:
    if path.suffix != ".npy":
        raise ValueError(f"`--output` must name a `.npy` file, got {str(path)!r}.")
    there = [file for file in (path, state) if file.exists()]
    if there and not resume:
        raise ValueError(
            f"{there[0]} is there already. `--resume` goes on with its training, or give another `--output`."
        )
    if trainer.world_size > 1:
        raise ValueError(
            f"`features` runs on one device, and the Trainer has {trainer.world_size}: `--trainer.devices=1`."
        )


def _samples_of(datamodule: pl.LightningDataModule) -> tuple[LoaderTemplate, list[Any]]:
    """Return the loader that others are like, and the parts of all samples, in the order of the rows of such a file."""
    loader = datamodule.train_dataloader()
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        raise ValueError(
            f"`train_dataloader()` of {type(datamodule).__name__} must be one `torch.utils.data.DataLoader` with a "
            f"batch size, got {type(loader).__name__}."
        )
    parts = []
    for hook in ("unlabelled_dataset", "pool_dataset"):
        make = getattr(datamodule, hook, None)
        made = None if make is None else make()
        if made is None and hook == "pool_dataset":
            made = loader.dataset
        if made is not None:
            check_map_style(made, f"`{hook}()` of {type(datamodule).__name__}")
            parts.append(made)
    return LoaderTemplate(loader), parts


def _features(model: pl.LightningModule, loader: DataLoader[Any], trainer: pl.Trainer) -> Tensor:
    """Return the features of a loader's samples, (N, d), in its order."""
    device, task = trainer.strategy.root_device, ClassificationTask()
    model.to(device)
    made = []
    with scoring_mode(model), torch.no_grad():
        for batch in loader:
            inputs = model.transfer_batch_to_device(task.inputs(batch), device, 0)
            made.append(features_by(model, inputs).float().cpu())
    return torch.cat(made)
