"""The pages as a whole: every one is reached, every link leads somewhere, and nothing public is left out."""

import importlib
import re
from pathlib import Path

import pytest

import lightning_al
from lightning_al import acquisition

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = [DOCS / "_build", DOCS / "gallery"]
FOUND = sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])
PAGES = [path for path in FOUND if not any(made in path.parents for made in MADE)]
ROOMS = [*lightning_al._ROOMS, "loop", "scoring", "sweep"]


def without_code(text):
    return re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """The names that headings of a page have as targets, as GitHub and MyST make them."""
    heads = re.findall(r"^#+ (.*)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower().replace("`", "")).strip().replace(" ", "-") for head in heads}


def links(path):
    """What a page links to in this repository: files and anchors."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if not target.startswith(("http:", "https:", "mailto:")):
            file, _, anchor = target.partition("#")
            yield target, path if not file else path.parent / file, anchor


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target, file, anchor in links(path):
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def entries(path):
    """The pages in the toctrees of a page."""
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                named = re.search(r"<(.*)>", line)
                page = path.parent / (named[1] if named else line)
                notebook = page.with_name(f"{page.name}.ipynb")
                yield notebook if notebook.exists() else page.with_name(f"{page.name}.md")


def test_every_page_is_in_one_table_of_contents():
    listed = [entry for path in PAGES for entry in entries(path)]
    assert len(listed) == len(set(listed))
    left = set(PAGES) - {DOCS / "index.md", *listed}
    assert not left, "Add these to a `toctree` of docs/index.md."
    assert set(listed) - set(PAGES) == {DOCS / "gallery" / "index.md"}


def test_every_acquisition_has_a_page_with_all_its_parts():
    described = set()
    for path in (DOCS / "methods").glob("*.md"):
        if path.stem != "index":
            text = path.read_text()
            assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
                *("Source", "Cost", "Where we differ", "What our evidence says")
            ], path
            described.add(re.search(r"^# (\w+)$", text, re.MULTILINE)[1])
            for recipe in re.findall(r"recipes/[\w/]+\.yaml", text):
                assert (ROOT / recipe).is_file(), recipe
    assert described == set(acquisition.__all__) - {"Acquisition"}
    table = (DOCS / "guides" / "acquisitions.md").read_text()
    assert set(re.findall(r"\[`(\w+)`\]\(\.\./methods", table)) == described


def test_every_public_room_is_in_the_api():
    said = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    assert set(re.findall(r"automodule:: lightning_al\.(\w+)", said)) == set(ROOMS)
    assert set(lightning_al.__all__) <= set(re.findall(r"`(\w+)`", (DOCS / "api" / "index.md").read_text()))
    for room in ROOMS:
        module = importlib.import_module(f"lightning_al.{room}")
        for name in getattr(module, "__all__", []):
            assert getattr(module, name).__doc__, (room, name)


def test_the_readme_is_one_screen_and_its_figures_are_where_it_links_to():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    told = 0
    for said, target in re.findall(r"\[([^]]*)\]\((docs/[\w/]+\.md)[^)]*\)", text):
        for figure in re.findall(r"\d[\d,.]*\d", said):
            told += 1
            assert figure in (ROOT / target).read_text(), (said, target)
    assert told >= 6


def test_the_questions_are_twenty_two_and_each_says_where_it_was_asked():
    asked = (DOCS / "faq.md").read_text().partition("\n## In your first hour\n")[0]
    questions = re.split(r"^### ", asked, flags=re.MULTILINE)[1:]
    assert len(questions) == 22
    for question in questions:
        assert re.search(r"\*Asked:\* \[", question), question.splitlines()[0]
