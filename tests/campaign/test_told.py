"""What people say in files, and what of it a campaign takes."""

import json
import subprocess
import sys
import unicodedata

import pytest

from lightning_al import SKIP, Campaign
from lightning_al.campaign import NeedsProject, Problems, Standing, tell_campaign
from lightning_al.campaign.questions import write_question
from lightning_al.cli.status import status_of
from lightning_al.oracle import read_labels
from tests.helpers.ledger import record
from tests.helpers.told import PETS, asked, said, tell

KEYS = ["a/1.jpg", "a/2.jpg", "b/10.jpg"]


@pytest.fixture
def campaign(tmp_path):
    return asked(tmp_path / "c", KEYS)


def table(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


GOOD = [
    "key,label\na/1.jpg,cat\na/2.jpg,skip\nb/10.jpg,\n",
    "file;class;note\r\na/1.jpg;cat;\r\na/2.jpg;SKIP;blurred\r\n",  # Excel's, in a language with decimal commas
    "sep=;\r\nfile;label\r\na/1.jpg;cat\r\na/2.jpg;skip\r\n",
    "\ufefflabel\tkey\ncat\ta/1.jpg\nskip\ta/2.jpg\n",
    '"KEY","Label"\n"a\\1.jpg"," cat "\n\n"./a/2.jpg",<skip>\n',
    "key,label\na/1.jpg,cat\na/2.jpg,skip",  # no end, and no word begins so
    "key,label\na/1.jpg,cat\na/1.jpg,cat\na/2.jpg,skip\n",
    "key,label\na/1.jpg,cat\na/2.jpg,skip\n".encode("utf-16"),
]


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_tables_as_programs_write_them(campaign, tmp_path, text):
    told = tell(campaign, table(tmp_path, text))
    assert (told.labelled, told.skipped) == (1, 1)
    assert said(campaign) == {"a/1.jpg": "cat", "a/2.jpg": SKIP, "b/10.jpg": None}
    ledger = Campaign.load(campaign)
    assert (ledger.labels, ledger.pool.skipped.tolist(), ledger.pool.pending.tolist()) == ({0: 0}, [1], [2])


BAD = [
    ("key,label\na/1.jpg,cat\nx.jpg,dog\n", r"line 3: no sample that was asked for is called 'x.jpg'"),
    ("key,label\n10.jpg,dog\n", r"^1 entry cannot(?s:.*)line 2: no sample .* '10.jpg'; did you mean 'b/10.jpg'\?"),
    ("key,label\na/1.jpg,cat\nA/2.JPG,dog\nc/9.jpg,dog\n", r"'A/2.JPG'; did you mean 'a/2.jpg'\?\n.*'c/9.jpg'\."),
    ("key,label\na/1.jpg,cat\na/2.jpg,dgo\n", r"line 3: There is no class 'dgo'; did you mean 'dog'\?"),
    ("key,label\na/1.jpg,cat\na/2.jpg,1\n", r"line 3: There is no class '1'"),
    ("key,label\na/1.jpg,cat\na/2.jpg,1.0\n", r"line 3: There is no class '1.0'"),
    ("key,label\na/1.jpg,cat\n,dog\n", r"line 3: the key is blank"),
    ("key,label\nx.jpg,cat\ny.jpg,\n", r"line 2: none of the 2 samples .* 'a/2.jpg', 'b/10.jpg'.*another campaign's"),
    ("key,label\na/1.jpg,cat\na/1.jpg,dog\n", r"line 3: 'a/1.jpg' is 'dog', and 'cat' in .*line 2.*column `annotator`"),
    ("key,label,annotator\na/1.jpg,cat,anna\na/1.jpg,skip,anna\n", r"line 3.* by the same person"),
    ("a/1.jpg,cat\na/2.jpg,dog\n", r"line 1 must name the columns.*got 'a/1.jpg,cat'"),
    ("key/label\na/1.jpg/cat\n", r"line 1 must name the columns.*got 'key/label'"),
    ("", r"line 1 must name the columns"),
    ("key,label,label\na/1.jpg,cat,dog\n", r"two columns are called 'label'"),
    ("key,label\na/1.jpg,cat\na/2.jpg,cat, really\n", r"line 3: 3 columns, the header has 2"),
    ("key,label,annotator\na/1.jpg,cat,\na/2.jpg,d", r"line 3: the last line has 2 of 3 columns and no end"),
    ("key,label\na/2.jpg,dog\na/1.jpg,cat", None),  # below
    ('key,label\na/1.jpg,cat\n"a/2.jpg,dog\n', r"line 3: unexpected end of data"),
    ('key,label\n"a/1.jpg"x,cat\n', r"line 2: .*quotation mark"),
    ("key,label\na/1.jpg,k\u00e4tze\n".encode("latin-1"), r"line 2: the byte 0xE4 is not UTF-8.*CSV UTF-8"),
    ("key,label\na/1.jpg,cat\n".encode("utf-16-le"), r"line 1: NUL characters"),
    ("key,label\na/1.jpg,cat\n".encode("utf-16")[:-1], r"line 2: the file ends in the middle of a character"),
    ("key,label\na/1.jpg,k\u00e4tze".encode()[:16] + b"\xc3", r"line 2: the file ends in the middle of a character"),
    ("key,label\na/1.jpg;cat\na/2.jpg;dog\n", r"line 2: columns are divided by ';' here, and by ',' in the header"),
    ("key;label\na/1.jpg;cat\na/2.jpg,dog\n", r"line 3: columns are divided by ',' here, and by ';' in the header"),
    ("key,label,annotator\na/1.jpg,cat,anna\na/2.jpg,dog,an", r"line 3: 'an' may be the beginning of 'anna'"),
    (b"PK\x03\x04rest", r"is a workbook"),
]


@pytest.mark.parametrize(("text", "what"), BAD, ids=range(len(BAD)))
def test_tables_that_are_wrong(campaign, tmp_path, text, what):
    before = sorted((campaign / "ledger").iterdir())
    path = table(tmp_path, text)
    if what is None:
        what = r"line 3: 'cat' may be the beginning of 'catfish': the last line has no end"
    with pytest.raises(ValueError, match=what) as error:
        tell(campaign, path)
    assert str(path) in str(error.value)
    assert sorted((campaign / "ledger").iterdir()) == before


def test_partial_takes_what_is_right(campaign, tmp_path):
    path = table(tmp_path, "key,label\na/1.jpg,cat\na/2.jpg,dgo\nx,cat\nb/10.jpg,dog\nb/10.jpg,cat\n")
    with pytest.raises(Problems, match="3 entries cannot be taken; nothing was taken") as error:
        tell(campaign, path)
    told = tell(campaign, path, partial=True)
    assert told.problems == error.value.problems
    assert [problem.split(":")[0].rpartition("line ")[2] for problem in told.problems] == ["3", "4", "6"]
    assert said(campaign) == {"a/1.jpg": "cat", "a/2.jpg": None, "b/10.jpg": None}


def test_many_problems_are_few_lines(tmp_path):
    path = asked(tmp_path / "c", ["k0", "k1"])
    lines = "".join(f"x{i},cat\n" for i in range(1000))
    with pytest.raises(Problems) as error:
        tell(path, table(tmp_path, f"key,label\nk0,cat\n{lines}"))
    assert str(error.value).count("\n") == 21
    assert "and 980 more" in str(error.value)


ODD_KEYS = ["=1+1", "-x.jpg", "+y", "@z", "it's", 'a "b"', "two\nlines", "c,d;e", " blank ", "\u00fc.jpg", "007", "key"]
ODD_CLASSES = ["=cat", "-", "@", "skip", "", "1.0", "a, b", 'x "y"', "SKIP?", "l1\nl2", "[x", "<empty"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_odd_names_come_back(tmp_path, suffix):
    from lightning_al.oracle import Entry, write_labels

    path = asked(tmp_path / "c", ODD_KEYS, {**PETS, "classes": ODD_CLASSES, "count": 12})
    file = tmp_path / f"labels{suffix}"
    entries = [Entry(key, name, annotator="Doe, Jane") for key, name in zip(ODD_KEYS, ODD_CLASSES, strict=True)]
    write_labels(file, entries, classes=ODD_CLASSES)
    assert tell(path, file).labelled == len(ODD_KEYS)
    assert said(path) == dict(zip(ODD_KEYS, ODD_CLASSES, strict=True))
    assert {each.annotator for sample in Standing(path).samples.values() for each in sample.said} == {"Doe, Jane"}
    write_labels(file, [Entry(ODD_KEYS[0], SKIP)], classes=ODD_CLASSES)
    with pytest.raises(Problems, match="cannot take back"):
        tell(path, file, annotator="Doe, Jane")


def test_names_of_files_on_other_systems(tmp_path):
    path = asked(tmp_path / "c", ["Ordner/\u00fcber.jpg", "x\\y.jpg", "x/y.jpg"])
    decomposed = unicodedata.normalize("NFD", "Ordner\\\u00fcber.jpg")
    assert tell(path, table(tmp_path, f"key,label\n{decomposed},cat\nx\\y.jpg,dog\nx/y.jpg,cat\n")).labelled == 3
    with pytest.raises(Problems, match=r"'x/./y.jpg' may be any of"):
        tell(path, table(tmp_path, "key,label\nx/./y.jpg,dog\n"))


def test_several_people(campaign, tmp_path):
    by = "key,label,annotator\na/1.jpg,cat,anna\na/1.jpg,dog,ben\na/2.jpg,dog,anna\na/2.jpg,dog,ben\n"
    told = tell(campaign, table(tmp_path, by), agreement="majority")
    assert (told.labelled, told.undecided, told.disagreements) == (1, ["a/1.jpg"], ["a/1.jpg"])
    assert said(campaign) == {"a/1.jpg": None, "a/2.jpg": "dog", "b/10.jpg": None}
    assert tell(campaign, table(tmp_path, by), agreement="majority").unchanged == 4
    # a third settles it, in a file of their own
    carl = table(tmp_path, "key,label\na/1.jpg,cat\na/2.jpg,cat\n", "carl.csv")
    told = tell(campaign, carl, agreement="majority", annotator="carl")
    assert (told.labelled, told.disagreements) == (1, ["a/1.jpg", "a/2.jpg"])
    assert said(campaign) == {"a/1.jpg": "cat", "a/2.jpg": "dog", "b/10.jpg": None}
    standing = Standing(campaign)
    assert {each.annotator for each in standing.samples[0].said} == {"anna", "ben", "carl"}
    answered = [e for e in Campaign.read_events(campaign) if e["kind"] == "answered"]
    assert [e["annotator"] for e in answered] == ["anna, ben", "anna, carl"]
    assert Campaign.load(campaign).labels == {0: 0, 1: 1}


@pytest.mark.parametrize("agreement", ["latest", "first", "majority"])
def test_skips_are_kept_as_each_person_said_them(campaign, tmp_path, agreement):
    rows = ["a/1.jpg,skip,anna", "a/1.jpg,skip,ben", "a/2.jpg,skip,anna", "a/2.jpg,dog,ben", "b/10.jpg,skip,carl"]
    by = table(tmp_path, "key,label,annotator\n" + "\n".join(rows) + "\n")
    told = tell(campaign, by, agreement=agreement)
    assert (told.labelled, told.skipped) == (1, 2)
    heard = {
        unit: [(each.annotator, each.annotation) for each in sample.said]
        for unit, sample in Standing(campaign).samples.items()
    }
    assert {unit: dict(words) for unit, words in heard.items()} == {
        0: {"anna": SKIP, "ben": SKIP},
        1: {"anna": SKIP, "ben": 1},
        2: {"carl": SKIP},
    }
    before = len(Campaign.read_events(campaign))
    assert tell(campaign, by, agreement=agreement).unchanged == len(rows)
    assert len(Campaign.read_events(campaign)) == before
    # one more who skips says it of a sample that is skipped already
    more = tell(campaign, table(tmp_path, "key,label\nb/10.jpg,skip\n", "dora.csv"), annotator="dora")
    assert (more.labelled, more.skipped) == (0, 0)
    assert [each.annotator for each in Standing(campaign).samples[2].said] == ["carl", "dora"]
    assert status_of(campaign)["annotators"] == {
        "anna": {"skip": 2},
        "ben": {"skip": 1, "dog": 1},
        "carl": {"skip": 1},
        "dora": {"skip": 1},
    }


def test_the_status_names_what_has_no_class(tmp_path):
    path = asked(tmp_path / "c", KEYS, {"kind": "classes", "classes": ["x", "y"], "count": 2, "priced": False})
    tell(path, table(tmp_path, "key,label\na/1.jpg,[]\na/2.jpg,x|y\n"), annotator="anna")
    assert status_of(path)["annotators"] == {"anna": {"[]": 1, "x|y": 1}}


@pytest.mark.parametrize(("agreement", "label"), [("latest", "dog"), ("first", "cat"), ("majority", "cat")])
def test_one_file_after_the_other(campaign, tmp_path, agreement, label):
    tell(campaign, table(tmp_path, "key,label\na/1.jpg,cat\n"), annotator="anna", agreement=agreement)
    told = tell(campaign, table(tmp_path, "key,label\na/1.jpg,dog\n"), annotator="ben", agreement=agreement)
    assert said(campaign)["a/1.jpg"] == label
    assert told.disagreements == ["a/1.jpg"]
    assert told.labelled == (agreement == "latest")


def test_a_correction_by_the_same_person(campaign, tmp_path):
    for label in ("cat", "dog"):
        assert tell(campaign, table(tmp_path, f"key,label\na/1.jpg,{label}\n"), agreement="first").labelled == 1
    with pytest.raises(Problems, match="a skip cannot take back its label"):
        tell(campaign, table(tmp_path, "key,label\na/1.jpg,skip\n"))
    assert said(campaign)["a/1.jpg"] == "dog"


KINDS = [
    ("class", None, "2", 2),
    ("class", None, "2.0", 2),  # a column of numbers with gaps
    ("classes", ["x", "y", "z"], "z|x", [1, 0, 1]),
    ("classes", ["x", "y|z", "skip"], '"[""y|z""]"', [0, 1, 0]),
    ("classes", ["x", "y", "z"], "[]", [0, 0, 0]),
    ("classes", None, "0|2", [1, 0, 1]),
    ("number", None, "-1.5e3", -1500.0),
    ("number", None, "2", 2.0),
]


@pytest.mark.parametrize(("kind", "classes", "cell", "label"), KINDS)
def test_kinds_of_labels(tmp_path, kind, classes, cell, label):
    path = asked(tmp_path / "c", ["k0", "k1"], {"kind": kind, "classes": classes, "count": 3})
    tell(path, table(tmp_path, f"key,label\nk0,{cell}\nk1,\n"))
    assert Campaign.load(path).labels == {0: label}
    assert type(Campaign.load(path).labels[0]) is type(label)


@pytest.mark.parametrize(
    ("kind", "cell", "what"),
    [
        ("number", "1,5", "3 columns"),
        ("number", '"1,5"', "decimals have a point"),
        ("number", "nan", "no finite"),
        ("number", "1_5", "is no number"),  # to Python it is 15
        ("class", "9" * 6000, "There is no class '9"),
        ("class", "3", "the model has 3 classes"),
        ("class", "cat", "by their numbers"),
        ("classes", "0|7", "There are 3 labels"),
        ("boxes", "cat", "takes boxes"),
        ("mask", "cat", "takes a mask"),
    ],
)
def test_labels_of_another_kind(tmp_path, kind, cell, what):
    path = asked(tmp_path / "c", ["k0"], {"kind": kind, "classes": None, "count": 3})
    with pytest.raises(Problems, match=f"line 2: .*{what}"):
        tell(path, table(tmp_path, f"key,label\nk0,{cell}\n"))


def test_what_the_ledger_alone_cannot_say(tmp_path):
    for number, annotations in enumerate([{}, {**PETS, "kind": None}, {**PETS, "priced": True}]):
        path = asked(tmp_path / str(number), ["k0"], annotations)
        with pytest.raises(NeedsProject, match="give the recipe"):
            tell(path, table(tmp_path, "key,label\nk0,cat\n"))


def test_samples_that_moved_are_found_by_their_keys(campaign, tmp_path):
    ledger = Campaign.load(campaign)
    record(ledger, "moved", size=9, root="", indices=[0, 1, 2], now=[5, -1, 0], keys=KEYS)
    assert tell(campaign, table(tmp_path, "key,label\na/1.jpg,cat\nb/10.jpg,dog\n")).labelled == 2
    assert Campaign.load(campaign).labels == {5: 0, 0: 1}
    with pytest.raises(Problems, match=r"'a/2.jpg' was not in the data any more"):
        tell(campaign, table(tmp_path, "key,label\na/2.jpg,cat\n"))


def test_a_sample_without_a_key_is_called_by_its_index(tmp_path):
    path = asked(tmp_path / "c", [None, "k1"])
    tell(path, table(tmp_path, "key,label\nindex:0,dog\nk1,cat\n"))
    assert Campaign.load(path).labels == {0: 1, 1: 0}


def test_without_torch(campaign, tmp_path):
    table(tmp_path, "key,label\na/1.jpg,cat\n")
    script = (
        "import sys\nfrom lightning_al.cli import main\n"
        f"main(['tell', {str(campaign)!r}, {str(tmp_path / 'labels.csv')!r}])\n"
        f"main(['status', {str(campaign)!r}])\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 labelled" in done.stdout
    assert "by tell" in done.stdout


def test_json_lines(campaign, tmp_path):
    lines = [
        {"key": "a/1.jpg", "label": "cat", "annotator": "anna"},
        {"key": "a/2.jpg", "skip": True},
        {"key": "b/10.jpg", "label": None},
    ]
    path = table(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "labels.jsonl")
    told = tell_campaign(campaign, [read_labels(path)])
    assert (told.labelled, told.skipped, told.blank) == (1, 1, 1)
    wrong = (
        ('{"key": "a/1.jpg", "lab', "line 1"),
        ("[1]", '"key" is needed'),
        ('{"label": 1}', '"key"'),
        ('{"key": "a/1.jpg", "label": "cat", "skip": true}', "line 1: 'a/1.jpg' has a label, 'cat', and \"skip\" too"),
        ('{"key": "a/1.jpg", "skip": "yes"}', "\"skip\" is true or false, got 'yes'"),
        ('{"key": "a/1.jpg", "skip": 1}', '"skip" is true or false, got 1'),
    )
    for text, what in wrong:
        with pytest.raises(Problems, match=what):
            tell(campaign, table(tmp_path, text, "labels.jsonl"))


BOX, OTHER = [0, 0, 4, 2], [1, 1, 2, 2]
SAME = {  # one label, as different people and programs write it
    "a name twice": ("classes", "x|x", "x"),
    "names in another order": ("classes", "z|x", "x|z"),
    "zeros before it": ("class", "01", "1"),
    "digits after it": ("number", "1.50", "1.5"),
    "with the image's size": (
        "boxes",
        {"boxes": [BOX], "labels": ["x"], "size": [9, 9], "scores": [0.5]},
        {"boxes": [BOX], "labels": ["x"]},
    ),
    "boxes in another order": (
        "boxes",
        {"boxes": [OTHER, BOX], "labels": ["y", "x"]},
        {"boxes": [BOX, OTHER], "labels": ["x", "y"]},
    ),
}


@pytest.mark.parametrize(("kind", "one", "other"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("agreement", ["latest", "majority"])
def test_what_means_the_same_is_the_same(tmp_path, kind, one, other, agreement):
    """By one person it is no contradiction, by two no disagreement, and told again nothing new."""
    names = None if kind in ("class", "number") else ["x", "y", "z"]
    path = asked(tmp_path / "c", ["k0", "k1"], {"kind": kind, "classes": names, "count": 3})
    lines = [("k0", one, "anna"), ("k0", other, "anna"), ("k0", other, "ben")]
    text = "".join(json.dumps({"key": key, "label": label, "annotator": who}) + "\n" for key, label, who in lines)
    file = table(tmp_path, text, "labels.jsonl")
    told = tell(path, file, agreement=agreement)
    assert (told.labelled, told.undecided, told.disagreements) == (1, [], [])
    events = Campaign.read_events(path)
    again = tell(path, file, agreement=agreement)
    assert (again.labelled, again.unchanged) == (0, 2)
    assert Campaign.read_events(path) == events


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ({"boxes": None, "labels": None}, "four numbers each.*got None"),
        ({"boxes": [BOX], "labels": ["x"], "size": 5}, "width and height in pixels, got 5"),
        ({"boxes": [BOX], "labels": ["x"], "scores": ["high"]}, "are numbers, got 'high'"),
        ({"boxes": [[0, 0, "wide", 2]], "labels": ["x"]}, "are numbers, got 'wide'"),
        ({"boxes": [BOX], "labels": None}, "1 boxes, 0 labels"),
    ],
)
def test_boxes_that_are_none(tmp_path, label, what):
    path = asked(tmp_path / "c", ["k0"], {"kind": "boxes", "classes": ["x"], "count": 1})
    with pytest.raises(Problems, match=f"line 1: .*{what}"):
        tell(path, table(tmp_path, json.dumps({"key": "k0", "label": label}), "labels.jsonl"))


def test_samples_of_one_input_share_what_is_told(tmp_path):
    """They have one key: of two that wait a file has one row, and its label is of both."""
    path = asked(tmp_path / "c", ["sha256:a", "sha256:b", "sha256:a"])
    write_question(tmp_path / "q.csv", Standing(path), [0, 1, 2])
    assert (tmp_path / "q.csv").read_text() == "key,index,label,annotator\nsha256:a,0,,\nsha256:b,1,,\n"
    told = tell(path, table(tmp_path, "key,label\nsha256:a,dog\nsha256:b,\n"))
    assert (told.labelled, told.blank) == (2, 1)
    campaign = Campaign.load(path)
    assert (campaign.labels, campaign.pool.pending.tolist()) == ({0: 1, 2: 1}, [1])
    with pytest.raises(Problems, match=r"(?s)1 entry .*line 3: 'sha256:a' is 'dog', and 'cat' in"):
        tell(path, table(tmp_path, "key,label\nsha256:a,cat\nsha256:a,dog\n"))
    campaign.forget(["sha256:a"])
    assert (campaign.labels, campaign.pool.skipped.tolist()) == ({}, [0, 2])
