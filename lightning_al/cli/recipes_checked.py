"""What is wrong with recipes, found by making all that they name but the Trainer; a process of its own for it.

``python -m lightning_al.cli.recipes_checked RUNS FINDINGS`` reads the one file and writes the other.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.acquisition import Acquisition
from lightning_al.campaign.saved import SEEDS, begun_otherwise
from lightning_al.checks import Findings, SeveralFindings
from lightning_al.cli.recipe import fill_in_trainer, listed
from lightning_al.cli.run import ActiveLearningCLI, raised_inside
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.words import cut


class RecipeCLI(ActiveLearningCLI):
    """Reads recipes and makes model, datamodule and callbacks, but no Trainer: there may be no GPU here."""

    def __init__(self, args: Sequence[str]) -> None:
        super().__init__(args=list(args), run=False, parser_kwargs={"exit_on_error": False})

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Make none."""
        return None

    def fill_in_places(self, section: Any) -> None:
        """Keep what is written for all seeds too, with which campaigns of any may be compared."""
        self.of_all_seeds = section.clone()
        fill_in_trainer(self.of_all_seeds, None)
        super().fill_in_places(section)

    def check(self) -> None:
        """Refuse what the loop refuses before it looks at data.

        Raises:
            ValueError: With what is wrong.
            TypeError: With what is wrong.
        """
        callbacks = listed(self._get(self.config_init, "trainer")["callbacks"])
        acquisitions = [callback for callback in callbacks if isinstance(callback, Acquisition)]
        with Findings() as findings:
            findings.refuse_if(
                len(acquisitions) != 1,
                f"the loop needs exactly one acquisition among `trainer.callbacks`, found {len(acquisitions)}.",
            )
            for acquisition in acquisitions:
                findings.of(acquisition.check_model, self.model)
            with findings.of_block():
                loop = ActiveLearningLoop(self.model, self.datamodule, **self._get(self.config_init, "loop"))
                for acquisition in acquisitions:
                    findings.of(acquisition.bind, loop.task, loop.oracle)

    def others_of(self, folders: Sequence[str]) -> list[str]:
        """Return a line on the campaigns that began with other options, if any did."""
        config = self.parser.dump(self.of_all_seeds, skip_none=False, skip_validation=True)
        others = {folder: begun_otherwise(Path(folder), config, without=SEEDS) for folder in folders}
        begun = [folder for folder, options in others.items() if options]
        if not begun:
            return []
        more = f" (and {len(begun) - 1} more)" if len(begun) > 1 else ""
        return [
            f"{begun[0]}{more} began with other options: {others[begun[0]]}. One curve would be of both: give another "
            "`--dirpath`, or the options that it began with."
        ]


def findings_of(args: Sequence[str], folders: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the command line of a run, and with its campaigns as far as they were begun."""
    try:
        recipe = RecipeCLI(args)
        recipe.check()
        return recipe.others_of(folders)
    except SeveralFindings as error:
        return [_in_a_line(each) for each in error.args]
    except (Exception, SystemExit) as error:  # whatever the user's own classes raise
        return [_in_a_line(error)]


def _in_a_line(error: BaseException) -> str:
    error = raised_inside(error) if isinstance(error, Exception) else error
    return cut(" ".join(str(error).split()) or type(error).__name__)


def findings_by_method(runs: Sequence[tuple[str, Sequence[str], Sequence[str]]]) -> list[str]:
    """Return what is wrong, once, with the names of the runs that it holds for.

    Args:
        runs: The name, the command line, and the folders of the campaigns of each.
    """
    whose: dict[str, list[str]] = {}
    for name, args, folders in runs:
        for finding in findings_of(args, folders):
            whose.setdefault(finding, []).append(name)
    return [
        f"{'All methods' if len(names) == len(runs) > 1 else ', '.join(names)}: {finding}"
        for finding, names in whose.items()
    ]


if __name__ == "__main__":
    asked, answer = map(Path, sys.argv[1:])
    sys.argv = ["lightning-al"]  # LightningCLI warns about others
    answer.write_text(json.dumps(findings_by_method(json.loads(asked.read_text()))))
