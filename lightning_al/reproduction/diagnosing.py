"""Diagnoses of a result's campaigns, as jobs: what ``lightning-al diagnose`` is asked, and where its tables go."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_al.reproduction.figures import Figure, over_seeds
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case
from lightning_al.reproduction.runs import Choice, Run
from lightning_al.reproduction.shown import SHOWN, Diagnosed
from lightning_al.storage.files import atomic_write
from lightning_al.sweep.jobs import Job

RECORD = "diagnosed.json"
"""File beside the tables of a diagnosis that ended: its command."""


@dataclass(frozen=True)
class DiagnosisJob(Job):
    """A diagnosis that need not run again with the same command.

    Args:
        output: Folder of its tables.
    """

    output: Path = Path()

    def is_done(self) -> bool:
        """Whether its tables are there, by the same command as now."""
        try:
            return bool(json.loads((self.output / RECORD).read_text()) == list(self.words))
        except (OSError, ValueError):
            return False

    def end(self) -> bool:
        """Take note that it is done."""
        with atomic_write(self.output / RECORD) as file:
            file.write((json.dumps(list(self.words)) + "\n").encode())
        return True


def jobs_of(choice: Choice, runs: Sequence[Run], needs: Needs, program: Sequence[str]) -> list[DiagnosisJob]:
    """Return the diagnoses of the campaigns that are finished, those of one seed and case together.

    Args:
        choice: What was chosen; what its result shows is one of ``SHOWN``.
        runs: Of it.
        needs: Knows recipes.
        program: Starts the command line.
    """
    shown = SHOWN[choice.result.shows]
    options = list(shown.small if choice.small and shown.small else shown.options)
    named = choice.result.options.get("rounds")
    rounds: Sequence[int | None] = named if named and shown.apart else [None]
    if named and not shown.apart:
        options.append(f"--rounds={','.join(map(str, named))}")
    jobs = []
    for case, seed, folders in _campaigns(choice, runs):
        model = [f"--model={_other_model(choice, case, needs)}"] if shown.diagnosis == "transfer" else []
        for number in rounds:
            output = _output(choice, case, seed) / ("" if number is None else f"round_{number}")
            of_round = [] if number is None else [f"--rounds={number}"]
            where = [f"--output={output}", *options, *model, *of_round]
            name = f"{case.name}: {shown.diagnosis}, seed {seed}" + ("" if number is None else f", round {number}")
            jobs.append(
                DiagnosisJob(
                    name=name,
                    words=(*program, "diagnose", *map(str, folders), "--show", shown.diagnosis, *where),
                    log=output / "diagnose.log",
                    kind=f"{case.name}: {shown.diagnosis}",
                    output=output,
                )
            )
    return jobs


def found_by(choice: Choice, runs: Sequence[Run], needs: Needs) -> list[Figure]:
    """Return the rows that the tables of diagnoses have."""
    shown = SHOWN[choice.result.shows]
    of_seeds = []
    for case, seed, folders in _campaigns(choice, runs):
        methods = {run.folder: run.method for run in runs}
        # A single campaign is named after its own folder, several after what differs in their paths.
        names = {folder.name if len(folders) == 1 else folder.parent.name: methods[folder] for folder in folders}
        of_seeds.append(shown.read(Diagnosed(_output(choice, case, seed), case, names, needs)))
    return over_seeds(of_seeds)


def _output(choice: Choice, case: Case, seed: int) -> Path:
    return choice.folder / case.name / f"seed_{seed}"


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
    text = yaml.safe_dump({"model": {**model, "init_args": {**model["init_args"], "net": other}}}, sort_keys=False)
    with atomic_write(path) as file:
        file.write(text.encode())
    return path
