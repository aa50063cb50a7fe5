"""Diagnoses of a result's campaigns, as jobs: what ``lightning-al diagnose`` is asked, and where its tables go."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_al.reproduction.figures import Figure, over_seeds
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case
from lightning_al.reproduction.runs import Choice, Run
from lightning_al.reproduction.shown import SHOWN, Diagnosed
from lightning_al.storage.files import atomic_write
from lightning_al.storage.yaml_text import yaml_text
from lightning_al.sweep.jobs import Job

RECORD = "diagnosed.json"
"""File beside the tables of a diagnosis that ended: its command, and how far the campaigns were."""


@dataclass(frozen=True)
class DiagnosisJob(Job):
    """A diagnosis that need not run again with the same command.

    Args:
        output: Folder of its tables.
        campaigns: Whose.
    """

    output: Path = Path()
    campaigns: tuple[Path, ...] = ()

    def is_done(self) -> bool:
        """Whether its tables are there, by the same command as now, of the campaigns as they are now."""
        try:
            return bool(json.loads((self.output / RECORD).read_text()) == self._made_by())
        except (OSError, ValueError):
            return False

    def end(self) -> bool:
        """Take note that it is done."""
        with atomic_write(self.output / RECORD) as file:
            file.write((json.dumps(self._made_by()) + "\n").encode())
        return True

    def _made_by(self) -> dict[str, list[Any]]:
        """Return the command, and how many events each campaign has."""
        events = [sum(1 for _ in (folder / "ledger").glob("[0-9]*.json")) for folder in self.campaigns]
        return {"command": list(self.words), "events": events}


def jobs_of(choice: Choice, runs: Sequence[Run], needs: Needs, program: Sequence[str]) -> list[DiagnosisJob]:
    """Return the diagnoses of the campaigns that are finished, those of one seed and case together.

    Args:
        choice: What was chosen; what its result shows is one of ``SHOWN``.
        runs: Of it.
        needs: Knows recipes.
        program: Starts the command line.
    """
    shown = SHOWN[choice.result.shows]
    jobs = []
    for case, seed, folders in _campaigns(choice, runs):
        model = [f"--model={_other_model(choice, case, needs)}"] if shown.diagnosis == "transfer" else []
        output = _output(choice, seed, folders)
        jobs.append(
            DiagnosisJob(
                name=f"{case.name}: {shown.diagnosis}, seed {seed}",
                words=(
                    *(*program, "diagnose", *map(str, folders), "--show", shown.diagnosis),
                    *(f"--output={output}", *_options(choice), *model),
                ),
                log=output / "diagnose.log",
                kind=f"{case.name}: {shown.diagnosis}",
                output=output,
                campaigns=tuple(folders),
            )
        )
    return jobs


def outputs_of(choice: Choice, runs: Sequence[Run]) -> list[Path]:
    """Return the folders of a result's diagnoses, whether they have ended or not."""
    return [_output(choice, seed, folders) for _, seed, folders in _campaigns(choice, runs)]


def found_by(choice: Choice, runs: Sequence[Run], needs: Needs) -> list[Figure]:
    """Return the rows that the tables of diagnoses have."""
    shown = SHOWN[choice.result.shows]
    of_seeds = []
    for case, seed, folders in _campaigns(choice, runs):
        methods = {run.folder: run.method for run in runs}
        names = {folder.parent.name: methods[folder] for folder in folders}
        of_seeds.append(shown.read(Diagnosed(_output(choice, seed, folders), case, names, needs)))
    return over_seeds(of_seeds)


def _options(choice: Choice) -> list[str]:
    shown, named = SHOWN[choice.result.shows], choice.result.options.get("rounds")
    options = list(shown.small if choice.small and shown.small else shown.options)
    return [*options, f"--rounds={','.join(map(str, named))}"] if named else options


def _output(choice: Choice, seed: int, folders: Sequence[Path]) -> Path:
    """Return where the tables of campaigns go: results that show the same of the same campaigns share them."""
    protocol = folders[0].parents[1].relative_to(choice.root / "runs")
    options = [option.lstrip("-") for option in _options(choice)]
    what = "+".join([SHOWN[choice.result.shows].diagnosis, *options])
    methods = "+".join(folder.parent.name for folder in folders)
    return choice.root / "diagnoses" / protocol / what / methods / f"seed_{seed}"


def _campaigns(choice: Choice, runs: Sequence[Run]) -> list[tuple[Case, int, list[Path]]]:
    """Return the folders of the finished campaigns by case and seed."""
    found = []
    for case in choice.cases:
        for seed in choice.seeds:
            folders = [run.folder for run in runs if (run.case, run.seed) == (case.name, seed) and run.is_finished]
            if folders:
                found.append((case, seed, folders))
    return found


def _other_model(choice: Choice, case: Case, needs: Needs) -> Path:
    """Write the protocol's model with the other network, and return the file."""
    model = needs.recipe(case, small=choice.small)["model"]
    net = model["init_args"]["net"]["init_args"]
    kept = {name: net[name] for name in ("num_classes", "in_channels") if name in net}
    other: dict[str, Any] = {"class_path": "ResNet50", "init_args": kept}
    if choice.small:
        other = {"class_path": "ResNet18", "init_args": {**kept, "width": 8}}
    path = choice.folder / f"{case.name}_other_model.yaml"
    text = yaml_text({"model": {**model, "init_args": {**model["init_args"], "net": other}}})
    with atomic_write(path) as file:
        file.write(text.encode())
    return path
