"""What was kept of a pass is used where nothing changed, and never where anything did."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_al import ClassificationTask, score
from lightning_al.acquisition import BADGE, CoreSet, Entropy, Margin
from lightning_al.scoring import kept_passes
from tests.helpers.inference import Seen
from tests.helpers.marks import slow
from tests.helpers.projects import SIZE, make_data, make_trainer

X = make_data()[0]


class Transformed(Dataset):
    """Samples behind a transform."""

    def __init__(self, x=X, scale=1.0, noise=0.0):
        self.x, self.scale, self.noise = x.clone(), scale, noise

    def __len__(self):
        return len(self.x)

    def sample_key(self, index):
        return f"{index}.png"  # whatever is in it

    def __getitem__(self, index):
        x = self.x[index] * self.scale
        return x + self.noise * torch.rand(4, dtype=torch.float64), -1


def scored(tmp_path, model, data=None, acquisition=None, *, cache=True, **options):
    options = {"trainer": make_trainer(tmp_path, barebones=True, enable_checkpointing=None), **options}
    model.seen.clear()
    where = tmp_path / "kept" if cache else None
    return score(model, data or Transformed(), acquisition or Entropy(), 5, cache=where, **options)


def same(one, other):
    assert one.picks == other.picks
    if one.score is not None:
        torch.testing.assert_close(one.score, other.score, rtol=1e-12, atol=0)


def sampled(model):
    """Samples that went through the model, without the few that a rehearsal looks at."""
    return sum(n for n in model.seen if n > 2)


def test_a_second_look_takes_what_the_first_one_made(tmp_path):
    model = Seen()
    first = scored(tmp_path, model)
    assert sampled(model) == SIZE
    same(scored(tmp_path, model), first)
    assert sampled(model) == 8  # those that are compared
    margins = scored(tmp_path, model, acquisition=Margin(), batch_size=7)
    assert sampled(model) <= 8
    same(margins, scored(tmp_path, model, acquisition=Margin(), cache=False))


@pytest.mark.parametrize("acquisition", [CoreSet, slow(BADGE)])
def test_features_are_kept_too(tmp_path, acquisition):
    model = Seen()
    scored(tmp_path, model)
    first = scored(tmp_path, model, acquisition=acquisition(), labelled=[1, 5])
    made = sampled(model)
    assert made >= SIZE - 2
    same(scored(tmp_path, model, acquisition=acquisition(), labelled=[1, 5]), first)
    assert sampled(model) < made / 2
    same(scored(tmp_path, model, acquisition=acquisition(), labelled=[1, 5], cache=False), first)


def _weight(model, data):
    with torch.no_grad():
        model.net[-1].weight[0, 0] += 0.5


def _sample(model, data):
    data.x[17] += 3.0


def _forward(model, data):
    model.forward = lambda x: type(model).forward(model, x) * torch.tensor([1.0, 0.2, 3.0], dtype=torch.float64)


CHANGES = {
    "a weight": _weight,
    "a sample of the same name": _sample,
    "the transform": lambda model, data: setattr(data, "scale", 1.5),
    "a number of the model": lambda model, data: setattr(model, "temperature", 3.0),
    "the model's code": _forward,
}


@pytest.mark.few(2)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_of_before_a_change_is_used(tmp_path, change):
    model, data = Seen(), Transformed()
    before = scored(tmp_path, model, data)
    change(model, data)
    after = scored(tmp_path, model, data)
    expected = scored(tmp_path, model, data, cache=False)
    same(after, expected)
    assert after.score.tolist() != before.score.tolist()
    same(scored(tmp_path, model, data), expected)


@pytest.mark.slow
def test_what_is_kept_of_one_precision_is_not_taken_for_another(tmp_path):
    class Single(Seen):
        def forward(self, x):
            return self.net(x.float())

    model = Single()
    model.net.float()
    trainer = {"barebones": True, "enable_checkpointing": None, "precision": "bf16-mixed"}
    scores = {}
    for cache in (True, False):
        for precision in ("32", "trainer", "32"):
            options = {"pool_precision": precision, "trainer": make_trainer(tmp_path, **trainer)}
            scores[cache, precision] = scored(tmp_path, model, cache=cache, **options).score
    for precision in ("32", "trainer"):
        torch.testing.assert_close(scores[True, precision], scores[False, precision], rtol=1e-5, atol=1e-6)
    assert float((scores[True, "32"] - scores[True, "trainer"]).abs().max()) > 1e-4


@pytest.mark.slow
def test_another_collate_function_makes_other_inputs(tmp_path):
    def doubled(samples):
        x, y = default_collate(samples)
        return x * 2, y

    model = Seen()
    scored(tmp_path, model, DataLoader(Transformed(), batch_size=8))
    other = DataLoader(Transformed(), batch_size=8, collate_fn=doubled)
    same(scored(tmp_path, model, other), scored(tmp_path, model, other, cache=False))


@pytest.mark.slow
def test_where_one_sample_is_new_only_it_is_run(tmp_path):
    model = Seen()
    scored(tmp_path, model, Transformed(X[:-3]))
    got = scored(tmp_path, model, Transformed())
    assert sum(model.seen[-5:]) <= SIZE
    assert sampled(model) + sum(n for n in model.seen if n <= 2) <= 8 + 3 + 6  # compared, new, rehearsed
    same(got, scored(tmp_path, model, Transformed(), cache=False))


@pytest.mark.slow
def test_what_a_model_leaves_in_itself_is_of_the_samples_at_hand(tmp_path):
    class Remembering(Seen):
        def forward(self, x):
            self.hidden = self.net[0](x)
            return super().forward(x)

    class Task(ClassificationTask):
        def features(self, model, inputs, layer=None):
            model(inputs)
            return model.hidden

    model = Remembering()
    for _ in range(2):
        got = scored(tmp_path, model, acquisition=CoreSet(), task=Task())
    same(got, scored(tmp_path, model, acquisition=CoreSet(), task=Task(), cache=False))


def said(caplog):
    return [r.message for r in caplog.records if "is not kept for later questions" in r.message]


@pytest.fixture
def _unsaid(monkeypatch):
    monkeypatch.setattr(kept_passes, "_SAID", set())


@pytest.mark.usefixtures("_unsaid")
def test_random_inputs_are_not_kept_which_is_said_once(tmp_path, caplog):
    model, data = Seen(), Transformed(noise=1.0)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            same(scored(tmp_path, model, data), scored(tmp_path, model, data, cache=False))
    assert said(caplog) == [
        "What the model gives of samples is not kept for later questions: inputs are random, or cannot be told from "
        "each other."
    ]
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("_unsaid")
def test_a_model_that_draws_is_not_kept(tmp_path, caplog):
    class Drawing(Seen):
        def forward(self, x):
            return super().forward(x) + torch.rand(len(x), 3, dtype=torch.float64)

    model = Drawing()
    with caplog.at_level(logging.INFO):
        same(scored(tmp_path, model), scored(tmp_path, model, cache=False))
    assert said(caplog)[0].endswith("the model draws at random.")
    assert not list((tmp_path / "kept").rglob("*.pt"))


@pytest.mark.usefixtures("_unsaid")
def test_outputs_too_large_are_not_kept(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("lightning_al.scoring.without_campaign.CACHE_GB", 1e-6)
    model = Seen()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            scored(tmp_path, model)
    assert said(caplog)[0].endswith("outputs of 60 samples take 2.4e-06 GB.")
    assert sampled(model) == SIZE


def test_a_folder_is_refused_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"`cache='.*file'` must be a folder"):
        score(Seen(), Transformed(), Entropy(), cache=tmp_path / "file")
    with pytest.raises(TypeError, match="`cache` must be a folder or None, got 3"):
        score(Seen(), Transformed(), Entropy(), cache=3)


class Listed(Dataset):
    """Three images of three channels a batch, as lists: the channels look like samples."""

    def __init__(self):
        self.x = torch.randn(9, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def __len__(self):
        return 9

    def __getitem__(self, index):
        return self.x[index], -1


@pytest.mark.slow
def test_lists_of_images_and_words_are_not_taken_apart(tmp_path):
    class OfLists(Seen):
        def forward(self, images, names):
            assert len(images) == len(names)
            return torch.stack([super(OfLists, self).forward(image).mean(0) for image in images])

    class Task(ClassificationTask):
        def inputs(self, batch):
            return batch[0]

        def logits(self, model, inputs):
            return model(list(inputs), [str(float(image.sum())) for image in inputs])

    model, data = OfLists(), Listed()
    loader = DataLoader(data, batch_size=3)
    for number in range(3):
        got = scored(tmp_path, model, loader, task=Task())
        same(got, scored(tmp_path, model, loader, task=Task(), cache=False))
        data.x[number, 0] += 1.0


@pytest.mark.slow
def test_outputs_that_are_no_rows_are_made_each_time(tmp_path):
    class Dense(Seen):
        def forward(self, x):
            return {"logits": super().forward(x), "note": "no tensor"}

    class Task(ClassificationTask):
        def logits(self, model, inputs):
            return model(inputs)["logits"]

    model = Dense()
    for _ in range(2):
        got = scored(tmp_path, model, task=Task())
        assert sampled(model) == SIZE
    same(got, scored(tmp_path, model, task=Task(), cache=False))
