"""The recipe in the documentation is one."""

import re
from pathlib import Path

import pytest
import yaml

from lightning_al.oracle import LabelStudio
from tests.helpers.recipes import RECIPES, ROOT

pytest.importorskip("jsonargparse")
PAGE = ROOT / "docs/label_studio.md"


def test_the_recipe_is_parsed_and_says_nothing_of_the_token(tmp_path, monkeypatch):
    from lightning_al.cli.run import ActiveLearningCLI

    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a secret")
    [recipe] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe)
    files = ["-c", str(RECIPES / "quickstart.yaml"), "-c", str(tmp_path / "recipe.yaml")]
    cli = ActiveLearningCLI(args=[*files, "--loop.initial_by=random"], run=False)
    oracle = cli.config_init["loop"]["oracle"]
    assert isinstance(oracle, LabelStudio)
    options = yaml.safe_load(recipe)["loop"]["oracle"]["init_args"]
    assert {name: getattr(oracle, name) for name in options} == options
    assert "a secret" not in cli.parser.dump(cli.config, skip_none=False)


def test_the_picture_is_there():
    [name] = re.findall(r"!\[.*?\]\((.*?)\)", PAGE.read_text())
    assert (Path(PAGE).parent / name).stat().st_size > 0
