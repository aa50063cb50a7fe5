from pathlib import Path

from lightning_al.recipe_files import packaged_recipes, recipe_names

ROOT = Path(__file__).parents[1]


def test_in_a_checkout_they_are_those_beside_the_package():
    assert packaged_recipes() == ROOT / "recipes"


def test_in_an_installed_package_they_are_inside(tmp_path, monkeypatch):
    package = tmp_path / "lightning_al"
    (package / "recipes").mkdir(parents=True)
    (tmp_path / "recipes").mkdir()
    monkeypatch.setattr("lightning_al.recipe_files.__file__", str(package / "recipe_files.py"))
    assert packaged_recipes() == package / "recipes"


def test_names_are_paths_without_suffix_files_before_folders(tmp_path):
    for name in ("b.yaml", "a/z.yaml", "a/b/c.yaml", "a/notes.txt", "c.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert recipe_names(tmp_path) == ["b", "c", "a/z", "a/b/c"]
