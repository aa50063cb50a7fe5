"""From a folder of files, or a table of texts, to picks without a line of Python; the page that says how."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lightning_al import Campaign
from lightning_al.campaign import Standing
from lightning_al.cli import main
from tests.helpers.pictures import COLOURS, colour_of, fill_folders, fill_in, keys_in, paint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your_files.md").read_text()
SHARED = Path(os.environ.get("CIFAR10_JPEGS", "cifar10-jpeg.tar.xz"))  # real photos, an archive
IMAGES, TEXTS = (ROOT / "recipes" / f"your_{name}.yaml" for name in ("images", "texts"))
SMALL = [
    *("--trainer.accelerator=cpu", "--trainer.max_epochs=12", "--trainer.enable_progress_bar=false"),
    *("--data.size=8", "--data.batch_size=8", "--data.augmentation=false"),
    *("--model.net=SmallCNN", "--model.net.init_args.in_channels=3", "--model.net.init_args.width=8"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    pytest.importorskip("jsonargparse")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    return tmp_path


def images(command, *flags):
    main([command, "-c", str(IMAGES), "--data.folder=photos", *SMALL, *flags])


def told(path="runs/your_images"):
    standing = Standing(path)
    return {standing.name(unit): standing.annotation(unit) for unit in standing.units("labelled")}


@pytest.mark.slow
def test_nothing_labelled_yet(folder, capsys):
    fill_folders("photos", labelled=0, unlabelled=6)
    images("ask", "-k", "7", "--export", "q.csv")
    assert "7 to label in q.csv, 0 labels" in capsys.readouterr().out
    first = keys_in("q.csv")
    assert len(set(first)) == 7
    images("ask", "-k", "3", "--export", "q.csv")  # the same question
    assert fill_in("q.csv", colour_of) == first
    main(["tell", "-c", str(IMAGES), "q.csv"])
    assert told() == {key: colour_of(key) for key in first}

    # files join, one is moved by hand to the folder of its class, and a new question is of others
    moved = next(key for key in sorted(os.listdir("photos/unlabelled")) if key not in first)
    shutil.move(f"photos/unlabelled/{moved}", f"photos/labelled/{colour_of(moved)}/{moved}")
    paint("photos/unlabelled/deep/er/199.PNG".replace("PNG", "png"), "green")
    images("ask", "-k", "4", "--keep-scores", "--export", "q.csv")
    second = keys_in("q.csv")
    assert not {*second} & {*first, moved}
    with open("runs/your_images/scores/round_0.csv") as file:
        scores = list(csv.DictReader(file))
    left = {*os.listdir("photos/unlabelled"), "deep/er/199.png"} - {*first, "deep"}
    assert {row["key"] for row in scores} == left
    assert [row["key"] for row in scores if row["rank"]] == second
    assert Campaign.load("runs/your_images").rounds[0].labelled == 8


def test_what_is_labelled_is_learnt_from(folder, capsys):
    """Labelled files train, and validate by a share; a file that cannot be read is named, or skipped."""
    fill_folders("photos", labelled=4, unlabelled=4)
    Path("photos/unlabelled/000.jpg").write_bytes(b"garbage")
    with pytest.raises(SystemExit, match=r"error: .*'000\.jpg'.* cannot be read.*--skip-unreadable"):
        images("ask", "-k", "2")
    validated = ("--data.val_share=0.4", "--loop.evaluate=validate", "--skip-unreadable")
    with pytest.warns(UserWarning, match=r"1 of 13 samples cannot be read and are left out: 0 \(OSError: .*000\.jpg"):
        images("ask", "-k", "2", "--export", "q.csv", *validated)
    assert not {"000.jpg"} & {*keys_in("q.csv")}
    [trained] = re.findall(r"2 to label in q.csv, (\d) labels", capsys.readouterr().out)
    Path("photos/unlabelled/000.jpg").unlink()  # what was skipped is known by its name
    fill_in("q.csv", colour_of)
    main(["tell", "-c", str(IMAGES), "q.csv"])
    images("ask", "-k", "2", *validated)
    campaign = Campaign.load("runs/your_images")
    assert 0 < int(trained) < 12
    assert [each.labelled for each in campaign.rounds] == [int(trained), int(trained) + 2]
    assert campaign.rounds[0].metrics.keys() == {"val_loss", "val_acc"}
    with pytest.raises(SystemExit, match=r"called 'ant' now"):
        Path("photos/labelled/ant").mkdir()
        images("ask", "-k", "2", "--more", *validated)


@pytest.mark.slow
def test_texts(folder):
    words = {"good": "fine great lovely well", "bad": "dull awful boring poor"}
    table = [(f"{said} {number} film", kind) for number in range(8) for kind, said in words.items()]
    kinds = dict(table[8:])
    flags = ["--trainer.accelerator=cpu", "--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"]
    flags += ["--model.net.init_args.dim=8", "--loop.query_size=2", "--data.file=t.csv"]

    def write(rows):
        with open("t.csv", "w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *rows])

    write([(text, "" if text in kinds else kind) for text, kind in table])
    main(["ask", "-c", str(TEXTS), *flags, "-k", "3", "--export", "q.csv"])
    with open("q.csv", newline="") as file:
        assert [row["text"] in kinds and row["key"].endswith(row["text"]) for row in csv.DictReader(file)] == [True] * 3
    keys = fill_in("q.csv", lambda key: kinds[key.partition(" ")[2]])
    main(["tell", "-c", str(TEXTS), "q.csv"])
    assert told("runs/your_texts") == {key: kinds[key.partition(" ")[2]] for key in keys}
    # rows join, in another order; one gets its label in the table
    open_texts = [text for text in kinds if text not in {key.partition(" ")[2] for key in keys}]
    rows = [
        ("fine new film", ""),
        *((text, kind if text not in kinds or text == open_texts[0] else "") for text, kind in table),
    ]
    write(rows[::-1])
    main(["ask", "-c", str(TEXTS), *flags, "-k", "2"])
    campaign = Campaign.load("runs/your_texts")
    assert campaign.rounds[-1].labelled == 8 + 3 + 1
    assert campaign.beside.size == 9
    assert len(campaign.pool.pending) == 2


def shell(*words):
    done = subprocess.run(
        [sys.executable, "-m", "lightning_al", *words],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(*flags):
    """The page's five commands, with flags that make them quick where a recipe's classes are made."""
    [block] = re.findall(r"<!-- commands that a test runs -->\n```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line)[1:] for line in block.replace("recipes/", f"{ROOT}/recipes/").splitlines()]
    return [line + list(flags) if line[0] in ("ask", "score") else line for line in lines]


def walk(of_file, *flags):
    """Do what the page says; return the second question, and the picks."""
    first, tell, again, status, score = commands(*flags)
    assert "5 to label in to_label.csv" in shell(*first)
    keys = fill_in("to_label.csv", of_file)
    assert "5 labelled; runs/your_images" in shell(*tell)
    assert told() == {key: of_file(key) for key in keys}
    assert "5 to label in to_label.csv" in shell(*again)
    assert not {*keys} & {*keys_in("to_label.csv")}
    assert Path("runs/your_images/scores/round_1.csv").is_file()
    assert "labelled    5 of" in shell(*status)
    [weights] = Path("runs/your_images/round_1").glob("*.ckpt")
    shutil.copy(weights, "model.ckpt")
    assert "picks.csv: 5 picks of" in shell(*score)
    with open("picks.csv") as file:
        picks = [row["key"] for row in csv.DictReader(file) if row["rank"]]
    return keys_in("to_label.csv"), picks


@pytest.mark.slow
def test_the_page_by_the_shell():
    fill_folders("photos", labelled=4, unlabelled=8)
    walk(colour_of, *SMALL)


@pytest.mark.slow
def test_the_page_on_real_photographs(folder):
    """The pool of what is left to ask for, and the weights, are those of the second question: so are the best picks."""
    if not SHARED.is_file():
        pytest.skip(f"{SHARED} is not on this machine: `CIFAR10_JPEGS=` says where it is")
    classes = ("airplane", "automobile", "frog")
    with tarfile.open(SHARED) as archive:
        for member in archive:
            parts = member.name.split("/")
            if len(parts) != 3 or parts[0] != "train" or parts[1] not in classes or not "0000" <= parts[2] < "0100":
                continue
            to = f"labelled/{parts[1]}/{parts[2]}" if parts[2] < "0020" else f"unlabelled/{parts[1]}_{parts[2]}"
            path = folder / "photos" / to
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
            if parts[1] == classes[-1] and parts[2] == "0099.jpg":
                break
    assert len(list((folder / "photos" / "unlabelled").iterdir())) == 240
    flags = [flag for flag in SMALL if "size=8" not in flag]
    second, picks = walk(lambda key: key.partition("_")[0], *flags, "--data.size=32")
    asked = told()
    assert [key for key in picks if key not in asked][:2] == second[:2]


def test_every_flag_of_the_page_is_an_option(capsys):
    with pytest.raises(SystemExit):
        main(["ask", "--help"])
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    known = capsys.readouterr().out
    for option in set(re.findall(r"--[\w-]+(?=[ `:])", PAGE)):
        assert option in known or "." in option, option
    assert set(COLOURS) == {"blue", "green", "red"}
