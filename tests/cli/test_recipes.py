import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lightning_al.cli import main
from lightning_al.recipe_files import packaged_recipes, recipe_names

ROOT = Path(__file__).parents[2]


def test_the_list_has_a_line_for_each_with_what_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    main(["recipes"])
    lines = capsys.readouterr().out.splitlines()
    names = recipe_names(packaged_recipes())
    assert [line.split()[0] for line in lines[: len(names)]] == names
    assert max(map(len, lines[: len(names)])) <= 100
    assert all(len(line.split()) > 2 for line in lines[: len(names)])  # each begins with a comment that says what it is
    assert any(line.startswith("acquisitions/saal ") and "SAAL, the highest scores" in line for line in lines)
    assert f"{len(names)} recipes, in {packaged_recipes()}" in lines[-1]


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["saal", "saal/", "recipes/saal"])
def test_a_folder_of_them(capsys, name):
    main(["recipes", name])
    lines = capsys.readouterr().out.splitlines()[:-2]
    assert {line.split("/")[0] for line in lines} == {"saal"}
    assert len(lines) == len(list((ROOT / "recipes/saal").glob("*.yaml")))


def test_copied_byte_by_byte_and_once_more_without_harm(tmp_path, capsys):
    for _ in range(2):
        main(["recipes", "--copy", str(tmp_path / "mine")])
    copied = recipe_names(tmp_path / "mine")
    assert copied == recipe_names(packaged_recipes())
    for name in copied:
        assert (tmp_path / f"mine/{name}.yaml").read_bytes() == (packaged_recipes() / f"{name}.yaml").read_bytes()
    assert f"lightning-al run -c {tmp_path / 'mine/diabetes.yaml'}" in capsys.readouterr().out


def test_what_was_changed_is_not_overwritten_and_nothing_else_is_copied(tmp_path):
    (tmp_path / "acquisitions").mkdir()
    (tmp_path / "acquisitions/saal.yaml").write_text("# mine\n")
    with pytest.raises(SystemExit, match=r"1 file with other contents .*saal\.yaml\. Nothing was copied"):
        main(["recipes", "acquisitions", "--copy", str(tmp_path)])
    assert recipe_names(tmp_path) == ["acquisitions/saal"]
    assert (tmp_path / "acquisitions/saal.yaml").read_text() == "# mine\n"


def test_all_wrong_names_are_said_at_once():
    with pytest.raises(SystemExit) as error:
        main(["recipes", "saal_kmean", "quikstart.yaml", "qqq", "saal"])
    said = str(error.value)
    assert "no recipe 'saal_kmean': did you mean acquisitions/saal_kmeans" in said
    assert "no recipe 'quikstart.yaml': did you mean quickstart?" in said
    assert "no recipe 'qqq': `lightning-al recipes` lists them." in said
    assert said.count("no recipe") == 3


def test_a_run_without_its_recipe_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="`lightning-al recipes --copy recipes`"):
        main(["run", "-c", "recipes/quickstart.yaml"])


@pytest.mark.slow
def test_a_wheel_holds_recipes_types_and_stubs_and_runs_from_another_folder(tmp_path):
    pytest.importorskip("hatchling", reason="the build backend is not installed, and nothing is fetched in tests")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(tmp_path / "site")
    assert {f"lightning_al/recipes/{name}.yaml" for name in recipe_names(ROOT / "recipes")} <= names
    files = [*(ROOT / "lightning_al").rglob("*.py"), *(ROOT / "lightning_al").rglob("*.pyi")]
    sources = {path.relative_to(ROOT).as_posix() for path in files}
    assert sources | {"lightning_al/py.typed"} <= names
    assert not {name for name in names if name.startswith(("tests", "docs"))}
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, 'site'); from lightning_al.cli import main; main()",
    ]
    listed = subprocess.run([*command, "reproduce"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "saal/table-1" in listed
    shown = subprocess.run([*command, "recipes"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert str(Path("site/lightning_al/recipes")) in shown
