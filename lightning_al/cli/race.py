"""``lightning-al race``: what several acquisitions would ask for next, beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from lightning_al import acquisition as acquisitions_room
from lightning_al.acquisition import Acquisition
from lightning_al.cli.named_files import classes_and_recipes
from lightning_al.cli.recipe import listed
from lightning_al.cli.run import ActiveLearningCLI, ActiveParser, raised_inside, run
from lightning_al.extras import needs
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.scoring import RaceResult
from lightning_al.storage.files import write_csv
from lightning_al.sweep.plan import Method, PlanError, methods_of, recipe_of
from lightning_al.words import counted

with needs("The command line", "jsonargparse", "cli"):
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser

_OPTIONS = ("methods", "k", "output")
_PICTURES = (".png", ".pdf", ".svg")


class RaceCLI(ActiveLearningCLI):
    """``LightningCLI`` with the subcommand ``race``."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"race": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the ``loop:`` section, and who races."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--methods", type=str | None, default=None, help="Who races: saal,entropy,CoreSet.")
        parser.add_argument("-k", "--k", type=int | None, default=None, help="How many each. Default: loop.query_size.")
        parser.add_argument("--output", type=str | None, default=None, help="File: .png, .pdf or .svg, or .csv.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep who races out of the configuration that is saved with the campaign."""
        super().parse_arguments(parser, args)
        config = self.config["race"]
        self.options: dict[str, Any] = {name: config.pop(name) for name in _OPTIONS}
        self.files = [str(file) for file in config.get("config") or [] if file is not None]

    def race(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Race, and say what came of it."""
        options, loop_options = self.options, dict(self._get(self.config_init, "loop"))
        findings: list[str] = []
        if loop_options["dirpath"] is None:
            findings.append("`race` needs `--loop.dirpath`: `ask` must find the campaign again.")
        path = None if options["output"] is None else Path(options["output"])
        if path is not None and path.suffix not in (*_PICTURES, ".csv"):
            findings.append(f"`--output` must end in {', '.join(_PICTURES)} or .csv, got {str(path)!r}.")
        if options["methods"] is None:
            findings.append("`race` needs `--methods`: names of recipes or classes, as `--methods saal,entropy`.")
        racers = {} if options["methods"] is None else racers_named(options["methods"], self.files, findings)
        if findings:
            raise PlanError(findings)
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, Acquisition) for callback in callbacks):
            callbacks.append(next(iter(racers.values())))  # the campaign's own, for later questions
        self.loop = loop = ActiveLearningLoop(model, datamodule, **loop_options)
        result = loop.race(self.trainer, racers, options["k"])
        if not self.trainer.is_global_zero:
            return
        print(result)
        if path is not None:
            write_race(result, path)
            print(f"In {path}.")
        waiting = len(loop.pool.pending)
        beside = f", beside {counted(waiting, 'sample')} that {'wait' if waiting > 1 else 'waits'} for labels" * bool(
            waiting
        )
        print(
            "The race itself asks for nothing: `lightning-al ask ... --acquisition NAME` asks for the picks of one"
            f"{beside}; {loop.dirpath}"
        )


def racers_named(text: str, protocol: Sequence[str], findings: list[str]) -> dict[str, Acquisition]:
    """Return acquisitions by the names of their recipes, or of their classes.

    Args:
        text: The names, with commas between.
        protocol: Files, beside which recipes are looked for.
        findings: Takes what is wrong.
    """
    words = [word.strip() for word in text.split(",")]
    classes, others = classes_and_recipes(text)
    found: dict[str, Acquisition] = {}
    methods = methods_of(others, [Path(file) for file in protocol], findings) if others or not classes else []
    recipes = {method.name: method for method in methods}
    for word in words:
        if word in classes:
            if word in found:
                findings.append(f"`--methods` names {word} more than once.")
            found[word] = getattr(acquisitions_room, word)()
    for name, method in recipes.items():
        made = _acquisition_of(method, findings)
        if made is not None:
            found[name] = made
    order = {word: number for number, word in enumerate(words)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _acquisition_of(method: Method, findings: list[str]) -> Acquisition | None:
    """Return the acquisition that a recipe names; None, and a finding, if it names none."""
    made: list[Acquisition] = []
    for file in method.files:
        section = (recipe_of(file, findings) or {}).get("trainer")
        callbacks = section.get("callbacks") if isinstance(section, Mapping) else None
        if not callbacks:
            continue
        parser = ActiveParser(exit_on_error=False)
        parser.add_argument("--callbacks", type=list[Callback] | Callback)
        try:
            callbacks = parser.instantiate_classes(parser.parse_object({"callbacks": callbacks}))["callbacks"]
        except Exception as error:  # the parser's, and whatever a constructor raises
            findings.append(f"{file}: {' '.join(str(raised_inside(error)).split())}")
            return None
        made += [callback for callback in listed(callbacks) if isinstance(callback, Acquisition)]
    if len(made) != 1:
        files = ", ".join(map(str, method.files))
        findings.append(f"{files}: a race needs one acquisition of each among `trainer.callbacks`, found {len(made)}.")
        return None
    return made[0]


def write_race(result: RaceResult, path: Path) -> None:
    """Write the picture of a race, or its rows, by the suffix of the file."""
    if path.suffix in _PICTURES:
        result.save_picture(path)
        return
    write_csv(path, result.rows())


def race(args: Sequence[str] | None) -> None:
    """Run ``lightning-al race``.

    Args:
        args: The command line from ``race`` on; None: that of this process.
    """
    run(args, RaceCLI)
