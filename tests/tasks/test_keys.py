"""What a sample is called: each source of names, and hashes of inputs by their content alone."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset, TensorDataset

from lightning_al import ClassificationTask
from lightning_al.tasks.keys import file_of, hash_of, name_of

TASK = ClassificationTask()


class Listed(Dataset):
    """Three samples, and a list of paths under some name."""

    def __init__(self, attribute, entries, root=None):
        setattr(self, attribute, entries)
        if root is not None:
            self.root = root

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.tensor([float(index)]), 0


class Keyed(Listed):
    def __init__(self, keys):
        self.own_keys = keys

    def sample_key(self, index):
        return self.own_keys[index]


PATHS = ["/data/cat/1.jpg", "/data/dog/2.jpg", "/elsewhere/3.jpg"]
BELOW = ["cat/1.jpg", "dog/2.jpg", "/elsewhere/3.jpg"]


def names(dataset):
    return [name_of(dataset, i) for i in range(len(dataset))]


@pytest.mark.parametrize(
    "entries",
    [
        PATHS,
        [Path(p) for p in PATHS],
        [(p, 0) for p in PATHS],
        tuple([Path(p), 0] for p in PATHS),
        np.array(PATHS),
        np.array(PATHS, dtype=object),
    ],
    ids=["text", "paths", "pairs", "lists", "array", "objects"],
)
def test_paths_below_the_root(entries):
    for root, expected in [("/data", BELOW), (Path("/data/"), BELOW), (None, PATHS), ("", PATHS)]:
        for attribute in ("samples", "imgs", "files", "paths", "image_paths"):
            assert names(Listed(attribute, entries, root)) == expected


def test_paths_are_written_one_way():
    odd = ["./a//1.jpg", "a/./2.jpg", "a/3.jpg/"]
    assert names(Listed("files", odd)) == ["a/1.jpg", "a/2.jpg", "a/3.jpg"]
    assert names(Listed("files", odd, "a")) == ["1.jpg", "2.jpg", "3.jpg"]


@pytest.mark.parametrize("entries", [PATHS[:2], [], dict.fromkeys(PATHS), [1, 2, 3], "abc", [["x" * 5000]] * 3, None])
def test_lists_that_name_no_samples(entries):
    assert names(Listed("samples", entries)) == [None] * 3


def test_the_data_set_s_own_keys_come_first():
    both = Keyed(["a", 2, Path("x/y")])
    both.samples = PATHS
    assert names(both) == ["a", "2", "x/y"]
    both.own_keys = ["a", None, "c"]
    assert names(both)[1] is None  # it says that there is none
    both.own_keys = [["a"]] * 3
    with pytest.raises(TypeError, match=r"`Keyed.sample_key` must return a string .*got list"):
        name_of(both, 0)


def test_names_go_through_wrappers():
    files, keyed, plain = Listed("files", PATHS, "/data"), Keyed("abc"), TensorDataset(torch.zeros(3))
    assert names(Subset(files, [2, 0])) == [BELOW[2], BELOW[0]]
    assert names(Subset(Subset(keyed, torch.tensor([2, 1])), np.array([1]))) == ["b"]
    assert names(ConcatDataset([files, plain, keyed])) == [*BELOW, None, None, None, *"abc"]
    assert names(ConcatDataset([Subset(keyed, [1]), ConcatDataset([keyed, files])])) == ["b", *"abc", *BELOW]
    assert names(StackDataset(plain, keyed)) == [*"abc"]
    assert names(StackDataset(image=files, target=keyed)) == BELOW
    assert names(Subset(StackDataset(ConcatDataset([plain, keyed])), [4])) == ["b"]


class Table:
    """What of a Hugging Face dataset the names need."""

    def __init__(self, **columns):
        self.columns = columns
        self.column_names = list(columns)
        self.features = dict.fromkeys(columns)

    def __len__(self):
        return 3

    def with_format(self, kind):
        assert kind is None
        return self.columns

    def __getitem__(self, index):
        return {"x": torch.tensor([float(self.columns["x"][index])]), "label": 0}


def test_the_id_column_of_a_table():
    assert names(Table(x=[5, 6, 7], id=[10, 11, 12])) == ["10", "11", "12"]
    assert names(Table(x=[5, 6, 7], idx=["a", None, "c"])) == ["a", None, "c"]
    rows = Table(x=[5, 6, 7], label=[0, 0, 0])
    assert names(rows) == [None] * 3
    task = ClassificationTask(inputs="x", target="label")
    assert [task.key(rows, i) for i in range(3)] == [hash_of(torch.tensor([float(v)])) for v in (5, 6, 7)]


# -- hashes ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    text: str


def inputs():
    palette = Image.new("P", (2, 2))
    palette.putpalette([1, 2, 3])
    return [
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(2, dtype=torch.bool),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(()),
        torch.zeros(0),
        torch.eye(3)[:, 1:],
        torch.eye(2).to_sparse(),
        np.zeros(2),
        np.zeros(2, np.float32),
        np.float64(0),
        np.array(["a", None], dtype=object),
        Image.new("RGB", (2, 3)),
        Image.new("RGB", (3, 2)),
        Image.new("L", (2, 3)),
        Image.new("P", (2, 2)),
        palette,
        {"a": 1, "b": 2},
        {"a": 2, "b": 1},
        ["a", "b"],
        ["ab"],
        [["a"], "b"],
        "ab",
        b"ab",
        1,
        1.0,
        True,
        None,
        Record(torch.zeros(2), "a"),
        Record(torch.zeros(2), "b"),
        frozenset({3}),
    ]


def test_a_hash_follows_from_content_alone():
    one, other = ([hash_of(value) for value in inputs()] for _ in range(2))
    assert one == other
    assert None not in one
    assert len(set(one)) == len(one)
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
    x = torch.arange(6.0).reshape(2, 3)
    assert hash_of(x.T) == hash_of(x.T.contiguous()) == hash_of(x.T.clone().requires_grad_())
    assert hash_of(x.T) != hash_of(x.reshape(3, 2))
    assert hash_of(open) is not None  # by its name
    assert hash_of(i for i in range(3)) is None
    assert hash_of(torch.zeros(2, device="meta")) is None


def test_a_hash_is_what_another_process_would_compute():
    expected = "sha256:" + hashlib.sha256(b"tensor torch.float32 (2,) " + bytes(8)).hexdigest()[:32]
    assert hash_of(torch.zeros(2)) == expected


# -- keys --------------------------------------------------------------------------------------------------------------


class Random(Listed):
    def __init__(self):
        pass

    def __getitem__(self, index):
        return torch.randn(2) + float(np.random.rand()), index


def test_the_key_of_a_task():
    assert TASK.key(Listed("samples", PATHS, "/data"), 1) == "dog/2.jpg"
    data = TensorDataset(torch.arange(6.0).reshape(3, 2), torch.arange(3))
    assert TASK.key(data, 2) == hash_of(torch.tensor([4.0, 5.0]))  # of the input alone
    relabelled = TensorDataset(data.tensors[0], torch.zeros(3))
    assert TASK.key(Subset(relabelled, [2]), 0) == TASK.key(data, 2)
    assert TASK.key(TensorDataset(data.tensors[0]), 1) == TASK.key(data, 1)  # a pool without targets
    assert TASK.key(["a", "b"], 1) == hash_of("b")  # not what the task takes for a sample: all of it


def test_random_inputs_have_no_key_but_their_index_and_generators_are_as_before():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert TASK.key(Random(), 1) == "1"
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


@pytest.mark.parametrize("root", ["/data", "/data/", Path("/data"), None])
@pytest.mark.parametrize("entries", [PATHS, [(p, 0) for p in PATHS], BELOW])
def test_where_the_file_of_a_sample_is(root, entries):
    dataset = Listed("samples", entries, root)
    where = PATHS if root is not None else [str(e[0] if isinstance(e, tuple) else e) for e in entries]
    assert [str(file_of(dataset, i)) for i in range(3)] == where
    whole = ConcatDataset([TensorDataset(torch.zeros(2)), StackDataset(dataset, dataset)])
    assert file_of(whole, 1) is None
    assert str(file_of(Subset(whole, [4]), 0)) == where[2]


def test_images_in_one_tensor_are_not_looked_through_for_paths():
    class Rows(torch.Tensor):
        def __iter__(self):
            raise AssertionError("all rows were made")

    class Images:
        images = torch.zeros(3, 2, 2).as_subclass(Rows)

        def __len__(self):
            return 3

    assert file_of(Images(), 1) is None
    assert name_of(Images(), 1) is None
