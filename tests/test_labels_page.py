"""The page on labels: its table is told, its commands and options are there."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lightning_al import SKIP, Campaign
from lightning_al.cli import main
from lightning_al.cli.tell import tell_parser
from tests.helpers.told import asked, said, tell

PAGE = (Path(__file__).parents[1] / "docs" / "labels.md").read_text()
KEYS = ["cat/001.jpg", "cat/002.jpg", "dog/001.jpg", "dog/002.jpg"]


@pytest.mark.parametrize(("agreement", "label"), [("latest", "cat"), ("first", "dog"), ("majority", None)])
def test_the_table_is_told(tmp_path, agreement, label):
    table = tmp_path / "to_label.csv"
    table.write_text(re.search(r"```csv\n(.*?)```", PAGE, re.DOTALL)[1])
    campaign = asked(tmp_path / "c", KEYS)
    tell(campaign, table, agreement=agreement)
    assert said(campaign) == dict(zip(KEYS, ["cat", SKIP, None, label], strict=True))


def test_its_options_are_there(capsys):
    with pytest.raises(SystemExit):
        main(["ask", "--help"])
    known = capsys.readouterr().out + tell_parser().format_help() + "--resume"
    for option in re.findall(r"--\w+", PAGE):
        assert option in known


RECIPE = {
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    "model": {"class_path": "Segmenter", "init_args": {"num_classes": 3, "net": {
        "class_path": "torch.nn.Conv2d", "init_args": {"in_channels": 3, "out_channels": 3, "kernel_size": 1}}}},
    "data": {"class_path": "mine.PhotosDataModule"},
}  # fmt: skip


def test_images_that_nobody_has_painted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    block = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Photos(" in code)
    (tmp_path / "mine.py").write_text(block)
    loop = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    Path("recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **loop, "seed_everything": 0}))
    for number in range(10):
        path = Path(f"photos/{'day' if number % 2 else 'dusk'}/{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 20 * number, dtype=np.uint8)).save(path)
    for total in (4, 8):
        main(["ask", "-c", "recipe.yaml", "--trainer.callbacks=Entropy", "--export", "to_label"])
        blank = [path for path in Path("to_label").rglob("*.png") if (np.array(Image.open(path)) == 255).all()]
        assert len(blank) == 4
        for path in blank:
            Image.fromarray(np.full((6, 8), len(path.parent.name) % 3, dtype=np.uint8)).save(path)
        main(["tell", "runs/photos", "to_label"])
        assert len(Campaign.load("runs/photos").labels) == total
