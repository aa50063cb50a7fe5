"""``ask`` and ``tell`` where parts of images are asked for."""

import numpy as np
import pytest

from lightning_al import Campaign
from lightning_al.cli.commands import main
from lightning_al.tasks.mask_png import mask_to_png
from tests.helpers.regions import VOID, labels_in, make_images

pytest.importorskip("jsonargparse")

RECIPE = """
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks: [{class_path: Entropy}]
model: {class_path: tests.helpers.regions.Pixels}
data: {class_path: tests.helpers.regions.NamedImages}
loop:
  task: {class_path: lightning_al.SegmentationTask, init_args: {num_classes: 3, regions: 3}}
  initial: 2
  query_size: 2
  evaluate: null
  oracle: AwaitTell
  dirpath: c
"""

MASKS = make_images()[1].numpy().astype(np.uint8)


def paint(folder):
    paths = [path for path in folder.glob("*.png") if not path.name.endswith(".asked.png")]
    for path in paths:
        path.write_bytes(mask_to_png(MASKS[int(path.stem.removeprefix("image_"))]))


def test_a_folder_with_pictures_of_what_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, first, second = tmp_path / "recipe.yaml", tmp_path / "first", tmp_path / "second"
    recipe.write_text(RECIPE)
    with pytest.raises(SystemExit, match=r"boxes.json \(coco\) has no room for which parts of images are asked for"):
        main(["ask", "-c", str(recipe), "--export", "boxes.json"])
    assert not (tmp_path / "c").exists()
    main(["ask", "-c", str(recipe), "--export", str(first)])
    assert not list(first.glob("*.asked.png"))
    paint(first)
    main(["tell", "c", str(first)])
    main(["ask", "-c", str(recipe), "--export", str(second)])
    pending = Campaign.load("c").pool.pending.tolist()
    assert {path.name for path in second.iterdir()} == {
        f"image_{n}{suffix}" for n in pending for suffix in (".png", ".asked.png")
    }  # fmt: skip
    paint(second)
    main(["tell", "c", str(second)])
    campaign = Campaign.load("c")
    told = labels_in(campaign)
    for n in pending:
        expected = np.where(campaign.regions.all(n), MASKS[n], VOID)
        assert (told[n] == expected).all() if (expected != VOID).any() else n not in told
