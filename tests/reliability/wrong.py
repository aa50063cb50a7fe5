"""What a row of the table of wrong uses is, and the small project that it is tried on."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lightning_al import ActiveLearningLoop
from lightning_al.cli import main
from tests.helpers.projects import Data, Net, make_trainer
from tests.helpers.reference import snapshot

RECIPE = """
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: Margin
model:
  class_path: tests.helpers.projects.Net
data:
  class_path: tests.helpers.projects.Data
loop:
  initial: 6
  query_size: 4
  rounds: 1
"""


class CommandError(Exception):
    """What the command line said before it ended."""


@dataclass
class Project:
    """A folder, and a campaign of :class:`Net` on :class:`Data` in ``c`` below it, unless a row says otherwise."""

    folder: Path
    used: list[tuple[torch.nn.Module, Any]] = field(default_factory=list)

    @property
    def dirpath(self) -> Path:
        return self.folder / "c"

    def loop(self, model: Any = None, data: Any = None, **options: Any) -> ActiveLearningLoop:
        model = Net() if model is None else model
        if isinstance(model, L.LightningModule) and model not in [m for m, _ in self.used]:
            self.used.append((model, weights_and_hooks(model)))
        options = {"initial": 6, "query_size": 4, "rounds": 1, "dirpath": self.dirpath, **options}
        return ActiveLearningLoop(model, Data() if data is None else data, **options)

    def trainer(self, *callbacks: Any, **options: Any) -> L.Trainer:
        return make_trainer(self.folder, *callbacks, **{"max_epochs": 1, **options})

    def run(self, *, trainer: Any = None, acquisition: Any = None, resume: bool = False, **options: Any) -> Any:
        trainer = self.trainer(acquisition=acquisition) if trainer is None else trainer
        return self.loop(**options).run(trainer, resume=resume)

    def command(self, *flags: str, recipe: str = RECIPE) -> None:
        """``lightning-al run`` on a recipe; its campaign is in ``dirpath`` too."""
        path = self.folder / "recipe.yaml"
        path.write_text(recipe)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                main(["run", "-c", str(path), f"--loop.dirpath={self.dirpath}", *flags])
        except SystemExit as error:
            raise CommandError(said.getvalue() if isinstance(error.code, int) else str(error.code)) from None
        finally:
            path.unlink()


def weights_and_hooks(model: torch.nn.Module) -> Any:
    """All that must be on a model as it was; a lazy layer has no values yet."""
    if any(isinstance(p, torch.nn.parameter.UninitializedParameter) for p in model.parameters()):
        return sorted(vars(model))
    found = snapshot(model)
    return {name: value for name, value in found.items() if name not in ("rng", "attributes")}


@dataclass(frozen=True)
class Row:
    """One wrong use.

    Args:
        name: What is wrong, in a few words.
        error: What is raised. A warning is raised as an error, where it would have been given.
        words: A regular expression that its message must hold: the value seen, and the way out.
        use: Does it.
        given: What is there before, such as a ledger.
    """

    name: str
    error: type[BaseException]
    words: str
    use: Callable[[Project], Any]
    given: Callable[[Project], Any] = lambda project: None


def bytes_of(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
