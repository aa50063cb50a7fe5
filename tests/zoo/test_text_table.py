import hashlib
import re

import pytest

from lightning_al.zoo import TextTableDataModule
from lightning_al.zoo.text_table import key_of_text, tokens_of


def opened(path, content, **options):
    path.write_text(content, encoding=options.pop("encoding", "utf-8"))
    data = TextTableDataModule(str(path), max_length=6, **options)
    data.setup("fit")
    return data


def rows(dataset):
    return [(row.text, row.key, row.label) for row in dataset.rows]


def test_a_table(tmp_path):
    content = 'text,other,label\n"A fine film, well played.",1,good\nDull.,2,bad\n"I left\nearly.",3,\n,4,good\n'
    data = opened(tmp_path / "t.csv", content)
    assert data.classes == ["bad", "good"]
    train = data.train_dataloader().dataset
    assert [(text, label) for text, _, label in rows(train)] == [("A fine film, well played.", 1), ("Dull.", 0)]
    assert rows(data.unlabelled_dataset()) == [("I left\nearly.", key_of_text("I left\nearly."), -1)]
    assert data.unlabelled_dataset().sample_key(0).endswith(" I left early.")
    tokens, label = train[1]
    assert tokens.tolist() == tokens_of("Dull.", vocabulary=30_000, max_length=6).tolist()
    assert label == 0


@pytest.mark.parametrize(("delimiter", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16")])
def test_ids_and_other_programs_tables(tmp_path, delimiter, encoding):
    content = "id,body,kind\n7,Gut so,ja\n8,Schön,\n".replace(",", delimiter)
    data = opened(tmp_path / "t.csv", content, text="body", label="kind", classes=["nein", "ja"], encoding=encoding)
    assert rows(data.train_dataloader().dataset) == [("Gut so", "7", 1)]
    assert rows(data.unlabelled_dataset()) == [("Schön", "8", -1)]


def test_tokens_are_those_of_the_hash():
    text, size = "The plot; the CAST!", 50
    expected = [
        1 + int(hashlib.sha256(word.encode()).hexdigest()[:16], 16) % (size - 1)
        for word in re.findall(r"\w+|[^\w\s]", text.lower())
    ]
    tokens = tokens_of(text, vocabulary=size, max_length=9).tolist()
    assert tokens == expected + [0] * 3
    assert min(expected) > 0
    assert max(expected) < size
    assert tokens_of(text, vocabulary=size, max_length=2).tolist() == expected[:2]
    assert tokens_of("", vocabulary=size, max_length=2).tolist() == [0, 0]


def test_rows_that_join_change_nothing(tmp_path):
    lines = [f"{i},text {i},{'ab'[i % 2]}" for i in range(60)]
    before = opened(tmp_path / "t.csv", "\n".join(["id,text,label", *lines[:40]]) + "\n", val_share=0.25)
    after = opened(tmp_path / "t.csv", "\n".join(["id,text,label", *reversed(lines)]) + "\n", val_share=0.25)
    for loader in ("train_dataloader", "val_dataloader"):
        then, now = (getattr(data, loader)().dataset for data in (before, after))
        assert set(rows(then)) < set(rows(now))
    assert len(before.train_dataloader().dataset) + len(before.val_dataloader().dataset) == 40


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("text\nx\n", r"no column 'label'; its first line has 'text'"),
        ("text,label\nx,\n", r"has no label yet"),
        ("id,text,label\n1,x,a\n1,y,b\n", r"2 rows have the id '1'"),
    ],
)
def test_what_is_refused(tmp_path, content, error):
    with pytest.raises(ValueError, match=error):
        opened(tmp_path / "t.csv", content)


def test_a_label_of_no_class_is_named_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"line 3: no class 'c'; they are a, b"):
        opened(tmp_path / "t.csv", "text,label\nx,a\ny,c\n", classes=["a", "b"])
    with pytest.raises(FileNotFoundError, match="There is no file"):
        TextTableDataModule(str(tmp_path / "none.csv")).setup()
