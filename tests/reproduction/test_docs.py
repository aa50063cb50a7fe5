"""The page on published results: its list is what is printed, and its commands and options are those that there are."""

import re
import shlex

import pytest

from lightning_al.cli.reproduce import reproduce_parser
from lightning_al.reproduction.choosing import choice_of, result_of
from lightning_al.reproduction.listing import listing
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from tests.helpers.recipes import RECIPES, ROOT
from tests.reproduction.test_needs import IDX, touch

PAGE = ROOT / "docs" / "reproduction.md"
SMALL = ROOT / "docs" / "reproduction_small.md"


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """Of a machine with Fashion-MNIST, no other data, and all packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightning_al.reproduction.needs.importlib.util.find_spec", lambda name: name)
    touch(tmp_path / "fashion", *IDX)
    return Needs(RECIPES, str(tmp_path / "fashion"))


def test_its_list_is_what_is_printed(needs):
    [block] = re.findall(r"```text\n(result .*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert block.rstrip("\n") == listing(read_results(RECIPES), needs)
    assert len(re.findall(r"(?m)^\w+/(?:table|figure)-", block)) == 49


def test_its_commands_can_run(needs):
    results = read_results(RECIPES)
    pages = "\n".join(page.read_text() for page in (PAGE, SMALL, ROOT / "docs/start/yaml.md"))
    lines = re.findall(r"(?m)^lightning-al reproduce ?(.*)$", pages)
    assert len(lines) >= 12
    for line in lines:
        options, overrides = reproduce_parser().parse_known_args(shlex.split(line, comments=True))
        assert all(word.startswith(("--trainer.", "--loop.", "--model.")) for word in overrides), line
        findings = []
        result = options.result and result_of(options.result, results, findings)
        if result:
            how = {name: getattr(options, name) for name in ("only", "methods", "seeds", "small")}
            choice_of(result, needs, findings=findings, **how)
        assert [each for each in findings if "lacks" not in each and "--data.root" not in each] == [], line


def test_every_picture_and_section_that_small_forms_link_to_is_there():
    text = SMALL.read_text()
    heads = re.findall(r"(?m)^## (.*)$", text)
    sections = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= sections
    links = re.findall(r"\]\(([\w/]+\.\w+)", text)
    assert len(links) >= 10
    assert [link for link in links if not (SMALL.parent / link).is_file()] == []


def test_every_option_is_on_the_page():
    options = {word for action in reproduce_parser()._actions for word in action.option_strings} - {"-h", "--help"}
    assert options - set(re.findall(r"--[a-z][a-z.-]*", PAGE.read_text())) == set()
