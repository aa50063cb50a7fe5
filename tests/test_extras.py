"""What the package imports is declared, and what may be missing says which extra brings it."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_al import zoo
from lightning_al.campaign.regions import region_blob
from lightning_al.drawing.canvas import new_figure
from lightning_al.functional.selection.clusters import cluster_labels
from lightning_al.oracle.people.label_studio.showing import _opened
from lightning_al.oracle.people.pictures import image_of
from lightning_al.tasks.mask_png import mask_blob

ROOT = Path(__file__).parents[1]
# Which the reader brings: `to_frame`, `library: timm`, their WandbLogger and RichProgressBar; and what scikit-learn
# itself stands on.
NOT_OURS = {"pandas", "rich", "threadpoolctl", "timm", "wandb"}
# Extras whose packages are imported by others than us: torchmetrics finds the average precision of boxes by it.
NOT_IMPORTED = {"faster-coco-eval"}


def declared():
    """The distributions that `pyproject.toml` names for users: needed by all, and by extras."""
    text = (ROOT / "pyproject.toml").read_text()
    core = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    extras = text.partition("\n[project.optional-dependencies]")[2].partition("\ndemo =")[0]
    return tuple(set(re.findall(r'"([\w-]+)[^"]*"', re.sub(r"#.*", "", part))) for part in (core, extras))


def imported():
    """The distributions that the package imports: wherever a file is imported, and only where something is done."""
    always, later = set(), set()
    names = packages_distributions()
    for path in (ROOT / "lightning_al").rglob("*.py"):
        lines = re.findall(r"^( *)(?:import|from) (\w+)[\w.]*(?: import .*| as \w+)?$", path.read_text(), flags=re.M)
        for indent, name in lines:
            if name in {"lightning_al", *sys.stdlib_module_names}:
                continue
            found = names.get(name, [name])[0].lower()
            (later if indent else always).add(found)
    return always, later


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    core, extras = declared()
    always, later = imported()
    assert {"torch", "scipy"} <= core
    assert {"matplotlib", "pillow"} <= extras
    assert always - core - {"jsonargparse"} == set()  # files of commands
    assert later - core - extras - NOT_OURS == set()
    assert core | extras == (always | later | NOT_IMPORTED) - NOT_OURS


@pytest.mark.parametrize(
    ("missing", "extra", "do"),
    [
        ("matplotlib", "plot", new_figure),
        ("PIL", "labels", lambda: mask_blob(np.zeros((2, 2), dtype=np.uint8))),
        ("PIL", "labels", lambda: region_blob(np.ones((2, 2), dtype=bool))),
        ("PIL", "labels", lambda: image_of(torch.zeros(3, 2, 2))),
        ("PIL", "label-studio", lambda: _opened(Path("a.png"))),
        ("sklearn", "cluster", lambda: cluster_labels(torch.eye(3), 2)),
        ("sklearn", "demo", lambda: zoo.DigitsDataModule().read()),
        ("torchvision", "detection", lambda: zoo.SmallSSD(num_classes=2)),
    ],
)
def test_what_is_missing_says_which_extra_brings_it(monkeypatch, missing, extra, do):
    for name in [each for each in sys.modules if each.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=re.escape(f"pip install 'lightning-al[{extra}]'")):
        do()
