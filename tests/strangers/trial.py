"""Runs a stranger's script, as it was and with its few changed lines, and watches what its Trainer does."""

import difflib
import re
import runpy
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils import _pytree as pytree

from lightning_al import ActiveLearningLoop

PROJECTS = Path(__file__).parent / "projects"


def patched(source: str, diff: str) -> str:
    """Return ``source`` with a unified diff applied; every hunk must fit in exactly one place."""
    for hunk in re.split(r"^@@.*@@\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert source.count(old) == 1, f"does not fit: {hunk}"
        source = source.replace(old, new)
    return source


def changed_lines(before: str, after: str) -> int:
    """Count changed lines: one that was replaced by another, that came or that went each once; blank ones never."""
    old, new = ([line for line in text.splitlines() if line.strip()] for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")


def sources(name: str) -> dict[str, tuple[str, str]]:
    """Return a project's files by name, each as it was and as it is in active learning."""
    files = {}
    for path in sorted(PROJECTS.glob(f"{name}.*")):
        if path.suffix != ".diff":
            plain = path.read_text()
            diff = path.with_name(path.name + ".diff")
            files[path.name] = (plain, patched(plain, diff.read_text()) if diff.exists() else plain)
    return files


@dataclass
class Fit:
    """What was seen of one ``trainer.fit``."""

    start: dict[str, torch.Tensor]
    end: dict[str, torch.Tensor] = field(default_factory=dict)
    steps: int = 0
    epochs: list[int] = field(default_factory=list)
    """Samples of each epoch."""
    rates: list[float] = field(default_factory=list)
    """The first optimizer's learning rate at each of its steps."""
    ends: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """The weights at the end of each epoch."""
    trail: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """The weights after each batch, of small models."""
    dtypes: set[torch.dtype] = field(default_factory=set)
    """Of what linear layers gave."""

    @property
    def moved(self) -> bool:
        """Whether parameters changed."""
        return any(not torch.equal(self.end[name], value) for name, value in self.start.items())


class Witness(L.Callback):
    """Notes what happens in the fits of a Trainer."""

    def __init__(self) -> None:
        self.fits: list[Fit] = []

    def on_train_start(self, trainer, pl_module):
        self.fits.append(Fit(self._weights(pl_module)))
        layers = [m for m in pl_module.modules() if isinstance(m, torch.nn.Linear)]
        self.hooks = [m.register_forward_hook(lambda m, i, out: self.fits[-1].dtypes.add(out.dtype)) for m in layers]

    def on_train_epoch_start(self, trainer, pl_module):
        self.fits[-1].epochs.append(0)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.fits[-1].epochs[-1] += next(len(t) for t in pytree.tree_leaves(batch) if isinstance(t, torch.Tensor))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.fits[-1].steps += 1
        if optimizer is trainer.optimizers[0]:
            self.fits[-1].rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if sum(p.numel() for p in pl_module.parameters()) < 1e5:
            self.fits[-1].trail.append(self._weights(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        self.fits[-1].ends.append(self._weights(pl_module))

    def on_train_end(self, trainer, pl_module):
        self.fits[-1].end = self._weights(pl_module)
        for hook in self.hooks:
            hook.remove()

    def _weights(self, model):
        return {name: p.detach().cpu().clone() for name, p in model.named_parameters()}


@dataclass
class Trial:
    """A finished run of a script."""

    fits: list[Fit]
    trainer: L.Trainer
    model: L.LightningModule
    loop: ActiveLearningLoop | None
    names: dict[str, Any]
    """What the script defined."""


def run(name: str, folder: Path, monkeypatch, *, active: bool, edit=lambda source: source) -> Trial:
    """Run a project's script in a folder of its own, as it was or in active learning.

    ``edit`` changes the script further.
    """
    folder = folder / ("active" if active else "plain")
    folder.mkdir(parents=True)
    for file, versions in sources(name).items():
        source = versions[active]
        (folder / file).write_text(edit(source) if file == f"{name}.py" else source)
    monkeypatch.chdir(folder)
    witness, seen = Witness(), {}
    fit, run_loop = L.Trainer.fit, ActiveLearningLoop.run

    def watched_fit(self, model, *args, **kwargs):
        seen.update(trainer=self, model=model)
        self.callbacks = [*self.callbacks, witness]
        try:
            return fit(self, model, *args, **kwargs)
        finally:
            self.callbacks = [c for c in self.callbacks if c is not witness]

    def watched_run(self, *args, **kwargs):
        seen["loop"] = self
        return run_loop(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "fit", watched_fit)
        patch.setattr(ActiveLearningLoop, "run", watched_run)
        names = runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    return Trial(witness.fits, seen["trainer"], seen["model"], seen.get("loop"), names)
