"""``lightning-al diagnose``: tables and pictures of what is inside campaigns, from their folders."""

import argparse
import contextlib
import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_al._compat import quiet_infos
from lightning_al.campaign.campaign import Campaign
from lightning_al.checks import Findings
from lightning_al.cli.diagnosed import files_of, names_of, numbers_of
from lightning_al.cli.recipe import config_words
from lightning_al.cli.run import ActiveLearningCLI
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.report import diagnostics
from lightning_al.report.diagnostics import Diagnosis, KeptCampaign, open_campaign
from lightning_al.report.diagnostics.rounds import chosen_rounds, rounds_kept

_ONE_EACH = (
    "Each campaign is one run: what it shows, and what two of them differ in, may be chance. With fewer than 5 seeds "
    "of each method nothing can be concluded."
)
_MOST_ROWS, _FEW_ROWS = 40, 5  # of a table that is printed; and of a longer one, which is none to read

OPEN: dict[str, Callable[..., list[Diagnosis]]] = {
    "bound": diagnostics.bound,
    "losses": diagnostics.losses,
    "labels_kept": diagnostics.labels_kept,
    "landscape": diagnostics.landscape,
    "norms": diagnostics.norms,
    "falls": diagnostics.falls,
    "influence": diagnostics.influences,
    "gap": diagnostics.gap,
    "classes": diagnostics.classes,
    "confidence": diagnostics.confidence,
    "tsne": diagnostics.embedding,
}
"""Those of campaigns that are open, by name."""


class ProjectCLI(ActiveLearningCLI):
    """Makes model and datamodule as a campaign's ``config.yaml`` says, and a quiet Trainer in the place of its own.

    Args:
        files: YAML files, later ones go first.
        accelerator: Where the model is looked at.
    """

    def __init__(self, files: Sequence[Path], accelerator: str) -> None:
        self.accelerator = accelerator
        super().__init__(run=False, save_config_callback=None, args=config_words(files))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Return one on one device that writes nothing."""
        return quiet_trainer(self.accelerator)

    @property
    def loop_options(self) -> dict[str, Any]:
        """The section ``loop:``."""
        return dict(self._get(self.config_init, "loop"))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what Lightning says of arguments that do not come from the command line, and of seeds."""
    with quiet_infos(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        yield


def diagnose(options: argparse.Namespace) -> None:
    """Run ``lightning-al diagnose``.

    Raises:
        ValueError: If a campaign kept no weights, or something cannot be looked at; the folder is named.
    """
    folders, numbers = names_of([Path(folder) for folder in options.folders]), numbers_of(options.rounds)
    output = Path(options.folders[0]) / "diagnoses" if options.output is None else Path(options.output)
    given = {name: value for name, value in _given(options).items() if value is not None}
    wanted = list(options.show)
    _check_taken(wanted, given, options)
    for name in [name for name in ("seconds", "transfer") if name in wanted]:
        wanted.remove(name)
        if name == "seconds":
            _write(diagnostics.seconds(folders), output)
        else:
            _write(_transfer(folders, options, numbers, output / "transfer"), output)
    if not wanted:
        return
    for folder in folders.values():  # before anything is loaded
        chosen_rounds(folder, rounds_kept(folder, Campaign.read_events(folder)), numbers)
    with contextlib.ExitStack() as stack:
        campaigns = [stack.enter_context(_opened(name, folder, options, numbers)) for name, folder in folders.items()]
        with Findings() as findings:  # what cannot be shown keeps nothing else from it
            for name in wanted:
                function = OPEN[name]
                takes = inspect.signature(function).parameters
                with findings.of_block():
                    _write(function(campaigns, **{k: v for k, v in given.items() if k in takes}), output)
    print(_ONE_EACH)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that functions take, by their names there."""
    return {
        "samples": options.samples,
        "held_out": options.held_out,
        "rho": options.rho,
        "radii": None if options.rho is None else (options.rho,),
        "perturbation": options.perturbation,
        "norm": options.norm,
        "span": options.span,
        "points": options.points,
        "seed": options.seed,
        "loss": options.loss,
        "damping": options.damping,
    }


def _check_taken(wanted: Sequence[str], given: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Refuse options that nothing of what is to be shown takes.

    Raises:
        ValueError: With their names, and what takes each.
    """
    takes = {name: set(inspect.signature(function).parameters) for name, function in OPEN.items()}
    takes["transfer"] = {"model"}
    named = {**given, "model": options.model}
    with Findings() as findings:
        for option in [name for name, value in named.items() if value is not None and name != "radii"]:
            words = {option, "radii"} if option == "rho" else {option}
            takers = [name for name, taken in takes.items() if taken & words]
            findings.refuse_if(
                not set(wanted) & set(takers),
                f"`--{option.replace('_', '-')}` changes nothing of {' or '.join(wanted)}: it is for "
                f"{', '.join(takers)}.",
            )


@contextlib.contextmanager
def _opened(name: str, folder: Path, options: argparse.Namespace, numbers: list[int] | None) -> Iterator[KeptCampaign]:
    with _quietly():
        project = ProjectCLI(files_of(folder, options), options.accelerator)
    loop = project.loop_options
    batch_size = options.batch_size if options.batch_size is not None else loop["pool_batch_size"]
    with open_campaign(
        folder,
        project.model,
        project.datamodule,
        task=loop["task"],
        rounds=numbers,
        name=name,
        pool=loop["pool"],
        oracle=loop["oracle"],
        batch_size=batch_size,
        trainer=project.trainer,
    ) as campaign:
        yield campaign


def _transfer(
    folders: dict[str, Path], options: argparse.Namespace, numbers: list[int] | None, output: Path
) -> list[Diagnosis]:
    """Train the model of ``--model`` on the labels of each round, in a campaign of its own without a query.

    What was trained of the same settings on the same samples is not trained again.
    """
    if options.model is None:
        raise ValueError("`transfer` trains another model on the picks: give its file, `--model resnet50.yaml`.")

    def train(name: str, round: int, indices: list[int]) -> dict[str, float]:
        words = config_words([*files_of(folders[name], options), Path(options.model)])
        with _quietly():
            project = ActiveLearningCLI(run=False, save_config_callback=None, args=words)
        settings = str(project.parser.dump(project.config, skip_none=False))
        folder = output / name.replace("/", "_") / f"round_{round}_{_digest(settings, indices)}"
        config: dict[str, Any] = dict(project.config_init["loop"])
        alone: dict[str, Any] = {"initial": indices, "initial_by": "random", "rounds": 0, "budget": None, "stop": None}
        loop = ActiveLearningLoop(
            project.model, project.datamodule, **{**config, **alone, "keep_weights": False, "dirpath": folder}
        )
        history = loop.run(project.trainer, resume=True)
        if loop.status != "finished":
            raise ValueError(
                f"`transfer` trains on the labels of the data, and those of {folders[name]} are told by people, for "
                f"whom it waits in {folder}."
            )
        return history[-1].metrics

    return diagnostics.transfer(folders, train, rounds=numbers)


def _digest(settings: str, indices: Sequence[int]) -> str:
    """Return letters that tell what is trained, and on which samples, from all else that has its name.

    Example:
        >>> _digest("lr: 0.1", [3, 5])
        '4bf6b65d5a41'
    """
    return hashlib.sha256(f"{settings}\n{list(indices)}".encode()).hexdigest()[:12]


def _write(found: list[Diagnosis], output: Path) -> None:
    """Print tables, and write them and the pictures."""
    for each in found:
        most = _MOST_ROWS if len(each.rows) <= _MOST_ROWS else _FEW_ROWS
        print(f"## {each.title}\n\n{each.table(most=most)}\n")
        each.to_csv(output / f"{each.name}.csv")
        picture = output / f"{each.name}.png"
        each.plot(picture)
        print(f"{picture}\n")
