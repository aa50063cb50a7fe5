import json
import re
import tempfile

import numpy as np
import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop, AwaitTell, ClassificationTask
from lightning_al.acquisition import BADGE, CoreGCN, CoreSet, Entropy, ProbCover, TypiClust
from lightning_al.scoring import pick, pool_pass
from lightning_al.scoring.pool_pass import rows_of_each, score_pool
from lightning_al.storage import rows as storage
from tests.helpers import reference
from tests.helpers.bound import seeded
from tests.helpers.marks import slow
from tests.helpers.models import Notes
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import SIZE, Data, Net, make_data, make_trainer, picks

FEATURED = [CoreSet, ProbCover, TypiClust, BADGE]
X = make_data()[0]


def bound(acquisition, task=None):
    acquisition.bind(task or ClassificationTask(), AwaitTell())
    return acquisition


def rows(acquisition, model, task=None):
    return bound(acquisition, task).rows(model, [X, torch.zeros(SIZE)])


def features(acquisition, model, task=None):
    return rows(acquisition, model, task)["features"]


class Twice(nn.Module):
    """A recurrent layer, whose output is a tuple, a layer that never runs, and an in-place one."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 5, batch_first=True)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True))
        self.aside = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)
        self.calls = Notes()
        self.double()

    def forward(self, x):
        self.calls.append(1)
        return self.head(input=self.body(self.rnn(x.unsqueeze(1))[0][:, 0]))


def hidden(net):
    return net.rnn(X.unsqueeze(1))[0]


@pytest.mark.parametrize("cls", FEATURED)
@torch.no_grad()
def test_of_the_last_linear_layer_or_of_a_named_one(cls):
    net = Twice()
    got = features(cls(), net)
    torch.testing.assert_close(got, net.body(hidden(net)[:, 0]))
    assert torch.equal(features(cls(features="body"), net), got)
    torch.testing.assert_close(features(cls(features="rnn"), net), hidden(net)[:, 0])  # a tuple: its first
    before = net.body[0](hidden(net)[:, 0])
    torch.testing.assert_close(features(cls(features="body.0"), net), before)  # not what the next layer made of it
    assert bool((before < 0).any())


@pytest.mark.parametrize("options", [{}, {"features": "body.0"}])
def test_one_forward_pass_gives_all(options):
    net, task = Twice(), ClassificationTask()
    entropy = Entropy(selection="badge")
    rows(entropy, net, task)  # looks for the last layer, once for each model
    net.calls.clear()
    assert set(rows(BADGE(**options), net, task)) == {"residuals", "features"}
    assert len(net.calls) == 1
    rows(entropy, net, task)
    assert len(net.calls) == 3  # the score, and both factors


@pytest.mark.parametrize("cls", FEATURED)
def test_refuses_a_layer_that_gives_none(cls):
    net = Twice()
    with pytest.raises(ValueError, match=r"no layer 'bodi'.*among others: 'body'"):
        features(cls(features="bodi"), net)
    with pytest.raises(ValueError, match="no layer ''"):
        features(cls(features=""), net)
    with pytest.raises(ValueError, match="'aside' does not run"):
        features(cls(features="aside"), net)

    class Whole(Twice):
        def forward(self, x):
            return super().forward(x[:1]).expand(len(x), 3)

    with pytest.raises(ValueError, match=r"one row for each of the 60 samples, got shape \(1, 6\) from 'body'"):
        features(cls(features="body"), Whole())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("cls", FEATURED)
def test_a_tasks_own_features_are_used(cls):
    class Mine(ClassificationTask):
        def features(self, model, inputs):
            return inputs[:, :2] * 3

    class Layered(ClassificationTask):
        def features(self, model, inputs, layer=None):
            return inputs[:, :1] * len(layer)

    assert torch.equal(features(cls(), Net(), Mine()), X[:, :2] * 3)
    assert torch.equal(features(cls(features="four"), Net(), Layered()), X[:, :1] * 4)


@pytest.mark.parametrize("cls", FEATURED)
def test_whole_precision_under_autocast(cls):
    net, batch = Twice().float(), [X.float()]
    for acquisition in (bound(cls()), bound(cls(encoder=Twice().float()))):
        want = acquisition.rows(net, batch)
        with torch.autocast("cpu", torch.bfloat16):
            got = acquisition.rows(net, batch)
        for name, values in got.items():
            assert values.dtype == torch.float32
            assert torch.equal(values, want[name])


def test_bf16_campaigns_pick_what_float32_ones_do(tmp_path):
    class Single(Frozen):
        def __init__(self):
            super().__init__()
            self.float()

        def forward(self, x):
            return super().forward(x.float())

    def run(name, **options):
        loop = ActiveLearningLoop(Single(), Data(), initial=6, query_size=9, rounds=1, dirpath=tmp_path / name)
        return picks(loop.run(make_trainer(tmp_path, acquisition=CoreSet(), max_epochs=1, **options)))

    assert run("whole") == run("half", precision="bf16-mixed")


# ------------------------------------------------------------------------------------------------------ an encoder


@pytest.mark.parametrize("cls", FEATURED)
def test_an_encoder_is_evaluated_and_left_as_it_was(cls):
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)).double()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    net[0].bias.requires_grad_(False)
    net[1].eval()
    before = reference.snapshot(net)
    got = features(cls(encoder=net), None)
    assert reference.snapshot(net) == before
    torch.testing.assert_close(got, reference.evaluated(net)(X).detach())
    assert not got.requires_grad


@pytest.mark.parametrize("leave", [lambda mine: mine.unbind(), lambda mine: mine.on_fit_start(None, None)])
@pytest.mark.parametrize("cls", [*FEATURED, CoreGCN])
def test_an_encoder_follows_the_inputs_and_goes_home(cls, leave):
    class Travels(nn.Linear):
        """Says that it is where it was sent."""

        at = torch.device("cpu")

        def to(self, device):
            seen.append((torch.device(device).type, torch.is_inference_mode_enabled()))
            self.at = torch.device(device)
            return self

        def parameters(self, recurse=True):
            return iter([torch.empty(0, device=self.at)])

        def forward(self, x):
            assert x.device == self.at
            return x.new_zeros(len(x), 6)

    seen, mine = [], cls(encoder=Travels(4, 6).double())
    mine.make_features(None, X)
    assert not seen  # it is there already
    for _ in range(2):
        with torch.inference_mode():
            mine.make_features(None, X.to("meta"))  # as samples on a GPU
            mine.make_features(None, X.to("meta"))
        assert seen == [("meta", False)]  # once, and so that it can be trained afterwards
        leave(mine)
        leave(mine)
        assert seen == [("meta", False), ("cpu", False)]
        seen.clear()


@pytest.mark.parametrize("cls", FEATURED)
def test_maps_of_an_encoder_are_averaged_over_positions(cls):
    encoder = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 1).double())
    made = features(cls(encoder=encoder), None)
    torch.testing.assert_close(made, encoder(X).mean((2, 3)).detach())
    sequences = features(cls(encoder=nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Linear(2, 3).double())), None)
    assert sequences.shape == (SIZE, 3)


@pytest.mark.parametrize("cls", FEATURED)
def test_refuses_an_encoder_of_another_shape(cls):
    with pytest.raises(ValueError, match=r"one row for each of the 60 samples, got shape \(1, 60, 4\)"):
        features(cls(encoder=nn.Unflatten(0, (1, SIZE))), None)
    with pytest.raises(ValueError, match="got a tuple"):
        features(cls(encoder=nn.LSTM(4, 3).double()), None)
    with pytest.raises(ValueError, match=r"one row for each of the 60 samples, got shape \(\)"):
        features(cls(encoder=Only()), None)
    with pytest.raises(TypeError, match="`encoder` must be a module or a file of features, got Tensor"):
        cls(encoder=X)
    with pytest.raises(ValueError, match=r"`features='head'`.*give one of them"):
        cls(features="head", encoder=nn.Identity())


class Only(nn.Module):
    def forward(self, x):
        return x.sum()


def test_a_loop_refuses_such_an_encoder_before_anything_trains(tmp_path):
    loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, dirpath=tmp_path / "c")
    with pytest.raises(ValueError, match="got a tuple"):
        loop.run(make_trainer(tmp_path, acquisition=CoreSet(encoder=nn.LSTM(4, 3).double())))
    assert not (tmp_path / "c").exists()


# --------------------------------------------------------------------------------------------------------- a file


@pytest.fixture(params=[".npy", ".pt", ".pth"])
def write(request, tmp_path):
    def write(table):
        path = tmp_path / f"features{request.param}"
        np.save(path, table) if request.param == ".npy" else torch.save(torch.as_tensor(table), path)
        return path

    return write


def is_mapped(path):
    with open("/proc/self/maps") as maps:
        return any(str(path) in line for line in maps)


@pytest.mark.parametrize("cls", FEATURED)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_features_of_a_file_go_by_dataset_index(cls, dtype, write):
    table = X.numpy().astype(dtype)
    path = write(table)
    acquisition = bound(cls(encoder=str(path)))
    assert is_mapped(path)
    assert not acquisition.requires - {"classes"}
    index = torch.tensor([5, 59, 0])
    assert torch.equal(acquisition.features_of({"index": index}), torch.from_numpy(table)[index])
    acquisition.check_pool(SIZE)


def test_a_file_picks_what_its_rows_do(write):
    index = torch.randperm(SIZE, generator=seeded())[:40]
    given = {"index": index, "features": X[index]}
    for cls, options in [(CoreSet, {}), (ProbCover, {"delta": 0.5}), (TypiClust, {}), (BADGE, {})]:
        module = cls(encoder=nn.Identity(), **options)
        want = module.select(given, 9, labelled_rows={}, generator=seeded())
        table = cls(encoder=write(X.numpy()), **options)
        assert torch.equal(table.select({"index": index}, 9, labelled_rows={}, generator=seeded()), want)


def refuses(tmp_path, path, error, message):
    with pytest.raises(error, match=message):
        loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, dirpath=tmp_path / "c")
        loop.run(make_trainer(tmp_path, acquisition=CoreSet(encoder=path)))
    assert not (tmp_path / "c").exists()


def test_refuses_a_file_of_something_else(tmp_path, write):
    numbers = X.numpy()
    refuses(tmp_path, write(numbers[:59]), ValueError, "features of 59 samples and the training dataset has 60")
    refuses(tmp_path, write(numbers.astype("int64")), TypeError, r"must hold floating features.*torch.int64 of shape")
    refuses(tmp_path, write(numbers[:, 0]), TypeError, r"features \(N, d\).*torch.float64 of shape \(60,\)")
    broken = numbers.copy()
    broken[[7, 31], 2] = np.nan, np.inf
    refuses(tmp_path, write(broken), ValueError, r"NaN or infinite features of 2 of 60.*dataset indices \[7, 31\]")


def test_refuses_a_file_that_is_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`encoder='.*none.npy'`: there is no such file"):
        CoreSet(encoder=tmp_path / "none.npy")
    (tmp_path / "features.csv").write_text("1,2")
    with pytest.raises(TypeError, match=r"features.csv.*`.npy` and `.pt` files"):
        CoreSet(encoder=tmp_path / "features.csv")
    torch.save({"features": X}, tmp_path / "features.pt")
    with pytest.raises(TypeError, match="got dict"):
        CoreSet(encoder=tmp_path / "features.pt")
    np.save(tmp_path / "features.npy", X.numpy().astype(">f4"))
    with pytest.raises(TypeError, match=r"features.npy.*byte order"):
        CoreSet(encoder=tmp_path / "features.npy")


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("ran code",))


def test_pickles_are_refused(tmp_path):
    for suffix in (".npy", ".pt"):
        path = tmp_path / f"features{suffix}"
        hostile = np.array([[Hostile()]], dtype=object)
        np.save(path, hostile, allow_pickle=True) if suffix == ".npy" else torch.save(Hostile(), path)
        with pytest.raises(Exception, match=r"(?i)python objects|weights_only|weights only"):
            CoreSet(encoder=path)


def test_many_features_of_a_file_are_not_brought_into_memory(write, tmp_path, monkeypatch):
    acquisition = CoreSet(encoder=write(X.numpy()))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(storage, "BLOCK_BYTES", 100)
    monkeypatch.setattr(storage, "LIMIT", X.nbytes - 1)
    index = torch.randperm(SIZE, generator=seeded())
    got = acquisition.features_of({"index": index})
    assert torch.equal(got, X[index])
    assert is_mapped(tmp_path / "temporary")
    assert torch.equal(acquisition.features_of({"index": index[:0]}), X[:0])


# -------------------------------------------------------------------------------------------------- where rows are


@pytest.mark.slow
@pytest.mark.parametrize("cls", [CoreSet, *(slow(cls) for cls in FEATURED if cls is not CoreSet)])
def test_rows_are_where_they_were_made_or_on_one_process(tmp_path, monkeypatch, cls):
    """Of a file too: each process reads its part, or one reads all."""
    np.save(tmp_path / "features.npy", X.numpy())

    def rows_in(name, **options):
        def noted(project, acquisitions, indices, **how):
            of_each, trainer = rows_of_each(project, acquisitions, indices, **how), project.trainer
            for rows in of_each:
                made = {key: len(rows.get(key, [])) for key in ("index", "features")}
                (tmp_path / f"{name} {len(indices)} {trainer.global_rank}").write_text(json.dumps(made))
            return of_each

        monkeypatch.setattr(pick, "rows_of_each", noted)
        strategy, devices = fork(2)
        loop = ActiveLearningLoop(Frozen(), Data(), initial=9, query_size=5, rounds=1, dirpath=tmp_path / name)
        trainer = make_trainer(
            tmp_path, acquisition=cls(**options), strategy=strategy, devices=devices, max_epochs=1
        )  # fmt: skip
        loop.run(trainer)
        return [json.loads((tmp_path / f"{name} 51 {rank}").read_text()) for rank in (0, 1)]

    of_model, of_file = rows_in("model"), rows_in("file", encoder=tmp_path / "features.npy")
    if cls.gathers:
        assert of_model == [{"index": 51, "features": 51}, {"index": 0, "features": 0}]
    else:
        assert of_model == [{"index": 26, "features": 26}, {"index": 25, "features": 25}]
        assert of_file == [{"index": 26, "features": 0}, {"index": 25, "features": 0}]


# ------------------------------------------------------------------------------------------------- NaN, on every rank


class Broken(Frozen):
    """Scored, its features of two samples are NaN, and its outputs are not."""

    def forward(self, x):
        bad = (x.unsqueeze(1) == X[[11, 41]]).all(2).any(1, keepdim=True) & (not self.training)
        return torch.where(bad, 0.0, self.net[-1](torch.where(bad, torch.nan, self.net[:-1](x))))


@pytest.mark.parametrize(("processes", "cls"), [(2, CoreSet), slow(2, TypiClust), *(slow(1, cls) for cls in FEATURED)])
def test_nan_features_are_refused_by_dataset_index_on_every_rank(tmp_path, monkeypatch, cls, processes):
    def told(trainer, *args, **options):
        try:
            return score_pool(trainer, *args, **options)
        except ValueError as error:
            (tmp_path / f"{trainer.global_rank}").write_text(str(error))
            raise

    monkeypatch.setattr(pool_pass, "score_pool", told)
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    loop = ActiveLearningLoop(Broken(), Data(), initial=9, query_size=5, dirpath=tmp_path / "c")
    trainer = make_trainer(tmp_path, acquisition=cls(), strategy=strategy, devices=devices, max_epochs=1)
    with pytest.raises(Exception, match="gave NaN or infinite features"):
        loop.run(trainer)
    scored = 60 if cls is ProbCover else 51  # its radius is that of all samples
    for rank in range(processes):
        text = (tmp_path / f"{rank}").read_text()
        assert re.search(
            rf"`{cls.__name__}` gave NaN or infinite features for 2 of {scored} samples, .*(11, 41|41, 11)", text
        )
