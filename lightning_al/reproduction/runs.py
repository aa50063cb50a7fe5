"""The campaigns of a result, as jobs; results that show the same runs share their folders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_al.report.alignment import FULL_DATA
from lightning_al.reproduction.needs import Needs, protocol_of
from lightning_al.reproduction.registry import Case, Result
from lightning_al.sweep.campaigns import CampaignJob, is_finished
from lightning_al.sweep.plan import Method, Plan

_AMOUNTS = ("--loop.initial", "--loop.initial_by", "--loop.rounds", "--loop.budget")
KEEP_WEIGHTS = "--loop.keep_weights=true"


@dataclass(frozen=True)
class Choice:
    """What of a result is to be had.

    Args:
        result: Which.
        cases: Of its cases.
        methods: Of their methods; None: all.
        seeds: Of all methods.
        small: Whether protocols for a CPU stand in the place of the paper's.
        keep_weights: Whether runs keep the weights of each round.
        root: The folder of all that ``reproduce`` writes.
        overrides: Further words of each run.
    """

    result: Result
    cases: Sequence[Case]
    methods: Sequence[str] | None
    seeds: Sequence[int]
    small: bool
    keep_weights: bool
    root: Path
    overrides: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Where tables and pictures go."""
        return self.root / (self.result.id + "_small" * self.small)

    def methods_of(self, case: Case) -> list[str]:
        """Return the methods of a case that are to be had, training on all labels at the end."""
        methods = [method for method in case.methods if self.methods is None or method in self.methods]
        return [*methods, FULL_DATA] if self.result.full_data and methods else methods


@dataclass(frozen=True)
class Run:
    """A campaign of a case.

    Args:
        case: The case's name.
        method: As the table has it.
        seed: Its seed.
        words: After ``lightning-al run``, without those that it has of its own.
        job: Runs it.
    """

    case: str
    method: str
    seed: int
    words: Sequence[str]
    job: CampaignJob

    @property
    def folder(self) -> Path:
        """The campaign's."""
        return self.job.folder

    @property
    def is_finished(self) -> bool:
        """Whether the campaign came to its end."""
        return is_finished(self.folder)


def runs_of(choice: Choice, needs: Needs, program: Sequence[str]) -> list[Run]:
    """Return the campaigns of what was chosen, all with the first seed before any with the second.

    Args:
        choice: What was chosen.
        needs: Knows recipes and where the data are.
        program: Starts the command line.
    """
    plans = [
        (case, method, _plan(choice, case, method, needs))
        for case in choice.cases
        for method in choice.methods_of(case)
    ]
    runs = []
    for place, seed in enumerate(choice.seeds):
        for case, method, plan in plans:
            if method == FULL_DATA and place:  # takes as long as all others
                continue
            [job] = replace(plan, seeds=(seed,)).jobs(program)
            kind = f"{case.name}: {method}"
            job = replace(job, name=f"{kind}, seed {seed}", kind=kind)
            runs.append(Run(case.name, method, seed, words=plan.words(plan.methods[0]), job=job))
    return runs


def _plan(choice: Choice, case: Case, method: str, needs: Needs) -> Plan:
    recipes, small = needs.recipes, choice.small
    protocol = protocol_of(case, small=small)
    training = case.small_training if small else case.training
    own = training if training is None else choice.result.trainings_of.get(method, {}).get(training, training)
    recipe = _recipe_of(method, recipes, small=small)
    files = [recipe, *([] if own is None else [recipes / own])]
    options = case.options.get(method, ())
    further = _without_amounts(choice.overrides) if method == FULL_DATA else choice.overrides
    keeps = (KEEP_WEIGHTS,) if choice.keep_weights else ()
    marks = [*([] if training is None else [Path(training).stem]), *map(_short, case.arguments)]
    marks += ["weights"] * choice.keep_weights
    of_protocol = "+".join([*(str(Path(file).with_suffix("")) for file in protocol), *marks])
    name = "+".join([recipe.stem, *map(_short, options)])
    return Plan(
        protocol=tuple(recipes / file for file in protocol),
        methods=(Method(name, tuple(files)),),
        seeds=(),
        template=str(choice.root / "runs" / of_protocol / "{method}" / "seed_{seed}"),
        overrides=(*case.arguments, *options, *keeps, *needs.words(case, small=small), *further),
    )


def _recipe_of(method: str, recipes: Path, *, small: bool) -> Path:
    """Return the recipe of a method; some have one for a CPU."""
    for_a_cpu = recipes / "acquisitions" / f"{method}_small.yaml"
    return for_a_cpu if small and for_a_cpu.is_file() else recipes / "acquisitions" / f"{method}.yaml"


def _without_amounts(words: Sequence[str]) -> list[str]:
    """Return words of a run without those that say how many labels there are.

    Example:
        >>> _without_amounts(["--loop.rounds=1", "--loop.initial", "20", "--loop.evaluate", "test"])
        ['--loop.evaluate', 'test']
    """
    kept: list[str] = []
    takes_value = is_amount = False
    for word in words:
        if not takes_value:
            is_amount = word.partition("=")[0] in _AMOUNTS
        takes_value = word.startswith("--") and "=" not in word
        kept += [] if is_amount else [word]
    return kept


def _short(word: str) -> str:
    """Return an option as part of a folder's name.

    Example:
        >>> _short("--trainer.callbacks.rho=0.04")
        'rho=0.04'
    """
    name, _, value = word.lstrip("-").partition("=")
    return f"{name.rpartition('.')[2]}={value.replace('/', '_')}"
