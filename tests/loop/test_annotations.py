"""How people say labels: kept in the ledger, and compared with today's data."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import (
    AwaitTell,
    BinaryTask,
    Campaign,
    ClassificationTask,
    MultiLabelTask,
    NoisyOracle,
    RegressionTask,
)
from lightning_al.loop.annotations import _classes_in
from lightning_al.tasks.base import annotation_kind_of
from tests.helpers.marks import slow
from tests.helpers.projects import Data, loop_in, make_data, make_trainer


class Named(TensorDataset):
    """Samples with names and classes that have some."""

    def __init__(self, *tensors, classes):
        super().__init__(*tensors)
        self.classes = classes
        self.paths = [f"img/{i:02d}.png" for i in range(len(self))]


class NamedData(Data):
    def __init__(self, *classes):
        super().__init__()
        self.classes = list(classes)

    def setup(self, stage):
        super().setup(stage)
        self.train = Named(*make_data(self.n), classes=self.classes)


def loop(folder, *classes, **options):
    return loop_in(folder, data=NamedData(*classes) if classes else None, oracle=AwaitTell(), **options)


def test_told_by_key_and_name(tmp_path):
    first = loop(tmp_path, "cat", "dog", "fox", initial=[3, 1, 2])
    assert first.ask(make_trainer(tmp_path)) == [3, 1, 2]
    first.tell(["img/01.png", "img/03.png", "img/40.png"], ["dog", 0, "fox"], annotator="anna")  # one was not asked for
    ledger = Campaign.load(tmp_path / "c")
    assert ledger.labels == {1: 1, 3: 0, 40: 2}
    assert ledger.annotations == {"kind": "class", "classes": ["cat", "dog", "fox"], "count": 3, "priced": False}
    assert Campaign.read_events(tmp_path / "c")[-1]["annotator"] == "anna"
    # in another process what was asked for is known by its key, and nothing else
    later = loop(tmp_path, "cat", "dog", "fox")
    later.tell(("img/02.png",), ["cat"])
    with pytest.raises(ValueError, match=r"1 of 2 keys names no sample: 'img/41.png'\. `Campaign.keys`"):
        later.tell(["img/02.png", "img/41.png"], ["cat", "cat"])
    with pytest.raises(ValueError, match=r"2 of 2 .* no sample: '02.png' \(did you mean 'img/02.png'\?\), 'z'\. "):
        later.tell(["02.png", "z"], ["cat", "cat"])
    with pytest.raises(TypeError, match=r"no class 'cow'.*'cat', 'dog', 'fox'"):
        later.tell([2], ["cow"])
    with pytest.raises(ValueError, match="must be distinct"):
        later.tell(["img/02.png", "img/02.png"], ["cat", "cat"])


def test_a_name_is_no_label_where_classes_have_none(tmp_path):
    unnamed = loop(tmp_path)
    asked = unnamed.ask(make_trainer(tmp_path))
    with pytest.raises(TypeError, match="needs class indices"):
        unnamed.tell(asked[:1], ["1"])


def test_the_open_question_is_handed_out_again(tmp_path):
    one = loop(tmp_path, "cat", "dog", "fox")
    initial = one.ask(make_trainer(tmp_path), more=False)
    assert one.ask(make_trainer(tmp_path), more=False) == initial
    one.tell(initial, [i % 3 for i in initial])
    asked = one.ask(make_trainer(tmp_path), more=False)
    events = len(Campaign.read_events(tmp_path / "c"))
    assert loop(tmp_path, "cat", "dog", "fox").ask(make_trainer(tmp_path), k=1, more=False) == asked
    assert len(Campaign.read_events(tmp_path / "c")) == events
    assert set(one.ask(make_trainer(tmp_path), k=2)).isdisjoint(asked)
    with pytest.raises(TypeError, match="`more` must be True or False"):
        one.ask(make_trainer(tmp_path), more=1)


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (("cat", "fox", "dog"), r"Class 1 is called 'fox' now, and was 'dog'"),
        slow(("ant", "cat", "dog", "fox"), r"Class 0 is called 'ant' now, and was 'cat'"),
        slow(("cat",), r"Class 1 is called None now, and was 'dog'"),
        (("cat", "dog", "cow"), None),  # nothing was labelled so
        slow(("cat", "dog", "fox", "gnu"), None),
        slow((), None),
    ],
)
def test_labels_keep_their_meaning(tmp_path, now, what):
    first = loop(tmp_path, "cat", "dog", "fox")
    asked = first.ask(make_trainer(tmp_path))
    first.tell(asked, [i % 2 for i in range(len(asked))])
    data = NamedData(*now)
    if not now:
        data.setup = lambda stage: NamedData.setup(data, stage) or delattr(data.train, "classes")
    later = loop_in(tmp_path, data=data, oracle=AwaitTell())
    if what is not None:
        with pytest.raises(ValueError, match=what):
            later.ask(make_trainer(tmp_path))
        return
    later.ask(make_trainer(tmp_path))
    assert Campaign.load(tmp_path / "c").annotations["classes"] == list(now or ("cat", "dog", "fox"))


def test_prices_are_the_oracles(tmp_path):
    loop_in(tmp_path, oracle=NoisyOracle(price=2.0), rounds=0).run(make_trainer(tmp_path))
    assert Campaign.load(tmp_path / "c").annotations["priced"]


def test_a_task_that_says_labels_its_own_way_has_no_kind():
    class Soft(ClassificationTask):
        def encode_label(self, label):
            return [float(p) for p in label]

    class Harmless(ClassificationTask):
        def loss(self, logits, targets):
            return super().loss(logits, targets)

    class Says(Soft):
        annotation_kind = "number"

    assert [annotation_kind_of(task) for task in (ClassificationTask(), MultiLabelTask(), Harmless())] == [
        *("class", "classes", "class")
    ]
    assert [annotation_kind_of(task) for task in (BinaryTask(), RegressionTask())] == ["class", "number"]
    several = RegressionTask()
    several.check(torch.nn.Identity(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    assert annotation_kind_of(several) is None
    assert (annotation_kind_of(Soft()), annotation_kind_of(Says())) == (None, "number")
    assert torch.is_tensor(MultiLabelTask().decode_label([1, 0]))


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (2, {2}),
        ([1, 0, 1], {0, 2}),
        ([0, 0, 0], set()),
        ({"boxes": [[0, 0, 1, 1]], "labels": [1]}, {1}),
        ([[0, 2], [255, 2]], {0, 2, 255}),
        (0.5, set()),
        ([0.2, 0.8, 0.0], set()),
        ("cat", set()),
    ],
)
def test_the_classes_of_a_label(label, classes):
    assert _classes_in(label, 3) == classes
