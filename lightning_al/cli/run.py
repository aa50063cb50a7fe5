"""``lightning-al run``: a campaign from YAML and flags, by a LightningCLI with a ``loop:`` section."""

import argparse
import functools
import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only, rank_zero_warn

import lightning_al.zoo  # noqa: F401 - imported classes can be named without their module
from lightning_al import oracle, tasks
from lightning_al.acquisition import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.saved import IN_THE_LEDGER, few, keep_configuration
from lightning_al.checks import where_raised
from lightning_al.cli.ending import refuse
from lightning_al.cli.named_files import is_file_name, path_of
from lightning_al.cli.recipe import fill_in, fill_in_trainer, listed, method_of
from lightning_al.cli.refusals import Option, in_a_line
from lightning_al.data.readable import UnreadableSampleError
from lightning_al.extras import needs
from lightning_al.inference.replaced import replaced
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.storage.yaml_text import yaml_text
from lightning_al.sweep.plan import recipe_of

with needs("The command line", "jsonargparse", "cli"):
    from jsonargparse import ActionConfigFile, Namespace, set_dumper  # type: ignore[attr-defined]
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

set_dumper("yaml", yaml_text)  # its own writes strings that it reads as numbers

for room in (oracle, tasks):  # as those of the zoo, which are imported as they are listed
    for public in room.__all__:
        getattr(room, public)


class ActiveTrainer(pl.Trainer):
    """Lightning's Trainer, with the subcommand `run`."""

    def run(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Run an active-learning campaign: fit, evaluate, score, ask for labels, round after round."""
        raise NotImplementedError("Run the campaign with `ActiveLearningLoop(...).run(trainer)`.")

    def ask(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Hand out which samples to label next; fit first where labels came since."""
        raise NotImplementedError("Ask with `ActiveLearningLoop(...).ask(trainer)`.")

    def race(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Put what several acquisitions would ask for beside each other."""
        raise NotImplementedError("Race with `ActiveLearningLoop(...).race(trainer, [...])`.")

    def tell(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Take labels from files."""
        raise NotImplementedError("Tell with `ActiveLearningLoop(...).tell(indices, labels)`.")


class LaterFile(ActionConfigFile):
    """``-c FILE``: of callbacks, a file that lists an acquisition alone changes the acquisition alone.

    Lists of a later file take the place of those before, and with a method's file a project's own checkpoints and
    early stopping would be gone.
    """

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read a file, and keep what callbacks it is not about."""
        before = listed(cfg.get(_CALLBACKS))
        findings: list[str] = []
        if isinstance(values, str) and is_file_name(values) and recipe_of(path_of(values), findings) is None:
            parser.error(findings[0])  # jsonargparse does not name the file, nor what was meant
        super().__call__(parser, cfg, values, option_string)
        after = listed(cfg.get(_CALLBACKS))
        if after and all(map(_is_acquisition, after)):
            cfg[_CALLBACKS] = [*(callback for callback in before if not _is_acquisition(callback)), *after]


_CALLBACKS = "trainer.callbacks"


def _is_acquisition(callback: Any) -> bool:
    """Whether a callback as configured is one; what does not exist is for the parser to refuse."""
    module, _, name = (callback if isinstance(callback, str) else callback["class_path"]).rpartition(".")
    try:
        return issubclass(getattr(importlib.import_module(module or "lightning_al.acquisition"), name), Acquisition)
    except Exception:  # whatever somebody's module raises
        return False


class ActiveParser(LightningArgumentParser):
    """Lightning's parser, which says in a line what is wrong, and where missing sections may come from."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Let ``-c`` keep callbacks that a method's file is not about."""
        if kwargs.get("action") is ActionConfigFile:
            kwargs["action"] = LaterFile
        return super().add_argument(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """End with the message in a line, and a way out where something is missing."""
        message = in_a_line(message, _options_of(self))
        if "equired, and not given" in message:
            message += (
                " Is a file missing? The first has the protocol (`model:`, `data:`, `loop:`), another the method: "
                "`-c recipes/saal/cifar10_low_budget.yaml -c recipes/acquisitions/badge.yaml`."
            )
        elif "`--ckpt_path`" in message:
            message += (
                " A campaign begins with the weights of its model: in place of `model.class_path` name a function of "
                "yours that loads it, `def from_checkpoint(path: str) -> MyModule`."
            )
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"error: {message}", file=sys.stderr)
        self.exit(2)


def _options_of(parser: Any) -> dict[str, Option]:
    """Return the options of a parser and of its subcommands by name, with the types of their values."""
    options: dict[str, Option] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options.update({k: v for each in action.choices.values() for k, v in _options_of(each).items()})
        elif action.option_strings:
            flag = max(action.option_strings, key=len)
            options[action.dest] = Option(flag, getattr(action, "_typehint", None))
    return options


class SaveCampaignConfig(SaveConfigCallback):
    """Saves the configuration in the campaign's folder, so that it can be run again, and each that is another one."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Do nothing yet: the campaign's folder is not known."""

    def on_round_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: ActiveLearningLoop) -> None:
        """Write what the round begins with, and say what changed since the last one."""
        campaign, session = loop.campaign, loop.session
        if campaign is None or session is None or not trainer.is_global_zero:
            return
        number = campaign.next_round + session.is_trained if campaign.fits else 0
        differs = keep_configuration(campaign.dirpath, self.text, number)
        beside = [each for each in differs if not each.startswith(IN_THE_LEDGER)]  # of which the loop has told
        if beside and campaign.fits:
            rank_zero_warn(
                f"{campaign.dirpath} goes on with a configuration that changed: {few(beside)}. What is trained from "
                f"round {number} on has that of now, and the curve is of both. To keep them apart, give a "
                "`--loop.dirpath` of its own."
            )

    @functools.cached_property
    def text(self) -> str:
        """The configuration as YAML, but for what was asked of this launch alone."""
        config = self.config.clone()
        config.pop("quiet", None)
        return str(self.parser.dump(config, skip_none=False))


class ActiveLearningCLI(LightningCLI):
    """``LightningCLI`` with a ``loop:`` section and the subcommand ``run``.

    Optimizers and schedulers of the ``optimizer:`` and ``lr_scheduler:`` sections are built afresh in every round,
    while the stock CLI builds them once. ``--loop.seed`` also seeds the model's initial weights, unless
    ``--seed_everything`` is given. In ``loop.dirpath`` and in all texts of ``trainer``, as a logger's ``save_dir``,
    ``{seed}`` stands for the loop's seed and ``{method}`` for the names of the method's configuration files: ``badge``
    of ``-c protocol.yaml -c badge.yaml``, see :func:`~lightning_al.cli.recipe.method_of`.

    Args:
        model_class: The module's class, or None for any: the configuration names it.
        datamodule_class: The datamodule's class, or None for any.
        **kwargs: Of ``LightningCLI``.
    """

    def __init__(self, model_class: Any = None, datamodule_class: Any = None, **kwargs: Any) -> None:
        kwargs.setdefault("trainer_class", ActiveTrainer)
        kwargs.setdefault("save_config_callback", SaveCampaignConfig)
        kwargs.setdefault("parser_class", ActiveParser)
        if datamodule_class is None:
            datamodule_class = pl.LightningDataModule
            kwargs.setdefault("subclass_mode_data", True)
        super().__init__(model_class, datamodule_class, **kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"run": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the ``loop:`` section and ``--resume``."""
        parser.add_class_arguments(ActiveLearningLoop, "loop", skip={"model", "datamodule"}, instantiate=False)
        parser.add_argument(
            "--resume",
            action="store_true",
            help="Go on with the campaign in --loop.dirpath; where there is none, start.",
        )
        parser.add_argument(
            "--quiet", action="store_true", help="Print nothing but warnings and errors: no bar, no line a round."
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Let the loop's seed be the one seed, unless ``seed_everything`` is given; name the campaign's folder."""
        super().parse_arguments(parser, args)
        config = self.config[self.config["subcommand"]] if "subcommand" in self.config else self.config
        loop = config["loop"]
        if config["seed_everything"] is True:
            config["seed_everything"] = loop["seed"]
        self.fill_in_places(config)

    def fill_in_places(self, section: Any) -> None:
        """Put the method's name and the seed where the campaign's folder and the Trainer's options keep places."""
        loop = section["loop"]
        if isinstance(loop["dirpath"], str):
            loop["dirpath"] = fill_in(loop["dirpath"], method_of(section.get("config")), loop["seed"])
        fill_in_trainer(section, loop["seed"])

    @property
    def _is_quiet(self) -> bool:
        return bool(self._get(self.config, "quiet"))

    def instantiate_classes(self) -> None:
        """Make the Trainer's callbacks last.

        Those of one method may draw when they are made, as an encoder does that is named among them. Made first, they
        would give the model other initial weights than those of another method have with the same seed.
        """
        make = self.parser.instantiate_classes

        def in_order(config: Any) -> Any:
            others = config.clone()
            section = others[self.subcommand] if self.subcommand else others
            trainer = section.pop("trainer")
            made = make(others)
            alone = Namespace({"trainer": trainer})
            alone = Namespace({"subcommand": self.subcommand, self.subcommand: alone}) if self.subcommand else alone
            section = made[self.subcommand] if self.subcommand else made
            section["trainer"] = self._get(make(alone), "trainer")
            return made

        if self._is_quiet:
            logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        with replaced(self.parser, "instantiate_classes", in_order):
            super().instantiate_classes()
        if self._is_quiet:
            trainer: Any = self.trainer
            trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, (ProgressBar, ModelSummary))]

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        build = super()._add_configure_optimizers_method_to_model
        build(subcommand)
        model = self.model
        if "configure_optimizers" not in vars(model):
            return  # none was given; the model has its own

        def configure_optimizers() -> Any:
            with replaced(model, "configure_optimizers", model.configure_optimizers):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # "will be overridden", said once already
                    build(subcommand)
                return model.configure_optimizers()

        model.configure_optimizers = configure_optimizers

    def check_acquisition(self) -> None:
        """Refuse a Trainer without an acquisition, with the flags that give it one.

        Raises:
            ValueError: If it has none.
        """
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, Acquisition) for callback in callbacks):
            raise ValueError(
                "The loop needs exactly one acquisition among the Trainer's callbacks, found 0. Add the file of a "
                "method, as `-c recipes/acquisitions/saal.yaml`, or the flag `--trainer.callbacks=SAAL`."
            )

    def run(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Run the campaign, which says in the end where it is."""
        self.check_acquisition()
        options = dict(self._get(self.config_init, "loop"))
        resume = bool(self._get(self.config, "resume"))
        if resume and options["dirpath"] is None:
            raise ValueError("`--resume` needs `--loop.dirpath`: without it every run begins a folder of its own.")
        self.loop = ActiveLearningLoop(model, datamodule, **options)
        if resume and Campaign.exists(options["dirpath"]):
            campaign = Campaign.load(options["dirpath"])
            for result in campaign.rounds:
                if result.round in campaign.reported and not self._is_quiet:
                    say(str(result))
        self.loop.say = say_nothing if self._is_quiet else say
        self.loop.run(self.trainer, resume=resume)


def say(text: str) -> None:
    """Print a line, of several processes in the first."""
    rank_zero_only(print)(text)


def say_nothing(text: str) -> None:
    """Print nothing."""


def is_ours(error: BaseException) -> bool:
    """Whether this package raised an error on purpose: its text says all, and a traceback would bury it."""
    where = where_raised(error)
    if isinstance(error, UnreadableSampleError) and isinstance(error.__cause__, OSError):
        return True  # it is the file's fault, and no code's
    if error.__cause__ is None:
        return where.startswith("lightning_al.")
    # With a cause it is somebody else's, whose traceback tells where, unless it only passes on what we raised.
    return _is_of_parser(error) and is_ours(error.__cause__)


def raised_inside(error: Exception) -> Exception:
    """Return what a class raised as it was made, without what jsonargparse says around it."""
    cause = error.__cause__
    if isinstance(error, argparse.ArgumentError) or not isinstance(cause, Exception) or not _is_of_parser(error):
        return error
    return raised_inside(cause)


def _is_of_parser(error: BaseException) -> bool:
    return where_raised(error).startswith("jsonargparse.")


def run(args: Sequence[str] | None, cli: Callable[..., object] = ActiveLearningCLI) -> None:
    """Run ``lightning-al run``, or another command by a LightningCLI.

    Args:
        args: The command line from the command on; None: that of this process.
        cli: Reads it and runs the command.

    Raises:
        SystemExit: With one line of what is wrong, where this package found it; the user's own errors pass.
    """
    sys.path.insert(0, str(Path.cwd()))  # the user's own modules, as `python -m` would find them
    try:
        cli(args=None if args is None else list(args))
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        if not is_ours(error):
            raise
        refuse(raised_inside(error))
