"""The pages for contributors name what is there, and the citation is of this version."""

import re
from pathlib import Path

import yaml

import lightning_al

ROOT = Path(__file__).parents[1]


def test_every_path_that_is_named_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = [path for path in re.findall(r"`([\w./]+/[\w./]*)`", text) if "yours" not in path]
    assert len(paths) > 15
    missing = [path for path in paths if not any((root / path).exists() for root in (ROOT, ROOT / "recipes"))]
    assert not missing


def test_every_target_that_is_named_is_one():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = set(re.findall(r"make ([\w-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named
    assert named <= targets


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lightning_al.__version__
    assert {"SAAL", "LPLgrad", "Boosting"} == {re.split(r"[: ]", entry["title"])[0] for entry in citation["references"]}


def test_issue_forms_are_yaml_with_what_forms_need():
    forms = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))]
    assert len(forms) == 2
    for form in forms:
        assert {"name", "description", "body"} <= set(form)
        assert all(entry["attributes"]["label"] for entry in form["body"])
