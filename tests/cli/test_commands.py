import contextlib
import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

import lightning_al
from lightning_al.cli import main
from tests.helpers.curves import write_campaign


def test_help_lists_the_commands(capsys):
    for args in ([], ["--help"]):
        with pytest.raises(SystemExit) if args else contextlib.nullcontext():
            main(args)
        out = capsys.readouterr().out
        assert "run -c recipe.yaml" in out
        assert "score -c project.yaml" in " ".join(out.split())
        assert "features -c recipe.yaml" in " ".join(out.split())
        assert "compare runs/" in out
        for words in ("ask -c recipe.yaml", "tell -c recipe.yaml labels.csv", "status FOLDER"):
            assert words in out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as done:
        main(["fit"])
    assert done.value.code == 2
    assert "there is no 'fit'; there are run, score, " in capsys.readouterr().err


def test_a_reader_that_has_gone_ends_it_without_a_word():
    """As `head` does."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "lightning_al", "reproduce"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_another_broken_pipe_is_an_error(monkeypatch):
    def broken(args):
        raise BrokenPipeError("of a worker")

    monkeypatch.setattr("lightning_al.cli.commands._main", broken)
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as printed:
        monkeypatch.setattr(sys, "stdout", printed)
        with pytest.raises(BrokenPipeError, match="of a worker"):
            main([])


def test_compare_has_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["compare", "--help"])
    assert done.value.code == 0
    assert "--metric" in capsys.readouterr().out


def test_compare_prints_tables_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for method in ("margin", "random"):
        for seed in (0, 1):
            write_campaign(tmp_path / method / f"seed_{seed}", [0.5, 0.6], extra=["test_loss"])
    main(["compare", str(tmp_path), "--metric", "test_loss", "--output", str(tmp_path / "loss.png")])
    out = capsys.readouterr().out
    assert "margin" in out
    assert "random" in out
    assert (tmp_path / "loss.png").stat().st_size > 5_000


def test_compare_takes_all_options(tmp_path, capsys, monkeypatch):
    module = pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(module.Figure, "savefig", lambda *args, **options: None)
    roots = [str(tmp_path / name) for name in ("x", "y")]
    for root in roots:
        for method in ("margin", "badge"):
            write_campaign(tmp_path / root / method / "seed_0", [0.5, 0.6])
    main(["compare", *roots, "--baseline", "badge", "--wins-by", "best", "--lower-is-better"])
    out = capsys.readouterr().out
    assert "Method - badge, over the seeds that both have, less is better:" in out
    assert "# All 2 folders" in out
    assert "by min over rounds" in out
    main(["compare", roots[0], "--higher-is-better"])
    assert "max over rounds" in capsys.readouterr().out


def test_compare_says_in_one_line_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match=f"error: No campaign at or below '{tmp_path}'"):
        main(["compare", str(tmp_path)])


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "args",
    [
        *(["--help"], ["--version"], ["compare", "--help"], ["compare", "."], ["ask", "-c", "x.yaml", "--help"]),
        *(
            ["features", "--help"],
            ["tell", "--help"],
            ["sweep", "--help"],
            ["status", "--help"],
            ["status", "random/seed_0"],
            ["report", "--help"],
            ["report", ".", "--no-data"],
        ),
    ],
)
def test_only_what_runs_a_model_waits_for_torch(tmp_path, args):
    write_campaign(tmp_path / "random" / "seed_0", [0.5, 0.6])
    script = (
        "import sys, runpy\n"
        "try:\n"
        "    runpy.run_module('lightning_al', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, *args], cwd=tmp_path, check=True, capture_output=True)


def test_python_dash_m():
    for module in ("lightning_al", "lightning_al.cli"):
        command = [sys.executable, "-m", module, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == version("lightning_al") == lightning_al.__version__


def test_every_public_name_is_there_when_it_is_used():
    names = set(lightning_al.__all__)
    assert {"ActiveLearningLoop", "ActiveDataModule", "Pool", "Campaign", "SKIP"} <= names
    assert names <= set(dir(lightning_al))
    for name in names | {"acquisition", "functional", "training", "tasks"}:
        assert getattr(lightning_al, name).__class__
    with pytest.raises(AttributeError, match="Nothing"):
        lightning_al.Nothing
