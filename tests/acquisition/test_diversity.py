import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import CoreSet, ProbCover, TypiClust
from lightning_al.functional import cluster_labels, coverage_delta, prob_cover
from tests.helpers.bound import seeded
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

X = make_data()[0]
ROWS = {"index": torch.arange(50), "features": X[:50]}
KNOWN = {"index": torch.arange(50, 60), "features": X[50:]}


@pytest.mark.parametrize("known", [{}, KNOWN])
@pytest.mark.parametrize(("purity", "clusters"), [(0.95, 3), (0.5, 6)])
def test_the_delta_of_prob_cover_is_made_of_its_parts(known, purity, clusters):
    everyone = X if known else X[:50]
    delta = coverage_delta(everyone, cluster_labels(everyone, clusters), purity=purity)
    want = prob_cover(X[:50], 9, delta=delta, labelled=X[50:] if known else None)
    got = ProbCover(purity=purity, clusters=clusters).select(ROWS, 9, labelled_rows=known, generator=None)
    assert torch.equal(got, want)


def test_the_delta_is_said(monkeypatch):
    said = []
    monkeypatch.setattr("lightning_al.acquisition.diversity.rank_zero_info", said.append)
    ProbCover(clusters=3).select(ROWS, 2, labelled_rows={}, generator=seeded())
    ProbCover(delta=0.3).select(ROWS, 2, labelled_rows={}, generator=None)
    assert len(said) == 1
    assert "from purity 0.95" in said[0]


@pytest.mark.parametrize("known", [{}, KNOWN])
@pytest.mark.parametrize("cls", [CoreSet, lambda: ProbCover(clusters=3), TypiClust])
def test_what_is_labelled_counts(cls, known):
    got = cls().select(ROWS, 5, labelled_rows=known, generator=seeded()).tolist()
    other = cls().select(ROWS, 5, labelled_rows={} if known else KNOWN, generator=seeded()).tolist()
    assert got != other


def said_of_delta(monkeypatch):
    said = []
    monkeypatch.setattr("lightning_al.acquisition.diversity.rank_zero_info", said.append)
    return said


@pytest.mark.few(1)
@pytest.mark.parametrize("subpool", [None, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_delta_is_that_of_the_whole_dataset_and_found_once(tmp_path, monkeypatch, subpool, seed):
    """For features that stay as they are: of 60 samples, not of 12, in every round and after a resume."""
    said, used = said_of_delta(monkeypatch), []
    monkeypatch.setattr(
        "lightning_al.functional.prob_cover",
        lambda *a, delta, **o: used.append(delta) or prob_cover(*a, delta=delta, **o),
    )

    def run(rounds, resume=False):
        options = {"initial": 6, "query_size": 4, "subpool_size": subpool, "seed": seed}
        loop = ActiveLearningLoop(Net(), Data(), rounds=rounds, dirpath=tmp_path / "c", **options)
        loop.run(make_trainer(tmp_path, acquisition=ProbCover(clusters=3, encoder=nn.Identity())), resume=resume)

    run(2)
    assert len(said) == 1
    run(3, resume=True)
    assert used == [(1 - 1e-5) * coverage_delta(X, cluster_labels(X, 3))] * 3  # off the edge


def test_delta_of_the_models_own_features_is_found_anew_on_the_whole_dataset(tmp_path, monkeypatch):
    said = said_of_delta(monkeypatch)
    loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, rounds=2, subpool_size=9, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, acquisition=ProbCover()))
    assert [text.split(" on ")[1] for text in said] == ["60 samples."] * 2


def test_delta_of_a_large_dataset_is_that_of_a_fixed_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_al.acquisition.diversity.MOST_FOR_DELTA", 25)
    said = said_of_delta(monkeypatch)
    for seed in (0, 1):
        loop = ActiveLearningLoop(
            Net(), Data(), initial=6, query_size=4, rounds=1, seed=seed, dirpath=tmp_path / f"{seed}"
        )
        loop.run(make_trainer(tmp_path, acquisition=ProbCover(clusters=3, encoder=nn.Identity())))
    assert len(set(said)) == 1
    assert said[0].endswith("on 25 samples.")


def test_clusters_start_from_the_generator():
    with pytest.raises(ValueError, match="needs a `generator`"):
        TypiClust().select(ROWS, 2, labelled_rows={}, generator=None)
    assert (
        len({tuple(TypiClust().select(ROWS, 5, labelled_rows={}, generator=seeded(s)).tolist()) for s in range(6)}) > 1
    )


# ----------------------------------------------------------------------------------------------- the number of classes


class NoClasses(ClassificationTask):
    num_classes = None


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"encoder": nn.Identity()}, {"encoder": "features.pt"}])
def test_the_number_of_classes_is_that_of_the_model_also_after_a_resume(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    torch.save(X, "features.pt")

    def run(name, rounds, resume=False, **more):
        loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, rounds=rounds, dirpath=tmp_path / name)
        return picks(loop.run(make_trainer(tmp_path, acquisition=ProbCover(**options, **more)), resume=resume))

    whole = run("whole", 3)
    assert whole == run("same", 3, clusters=3)
    run("part", 1)
    assert run("part", 3, resume=True) == whole


@pytest.mark.few(1)
@pytest.mark.parametrize("options", [{}, {"encoder": nn.Identity()}])
def test_a_task_that_does_not_know_it_is_refused_before_anything_trains(tmp_path, options):
    def loop(name):
        return ActiveLearningLoop(
            Net(), Data(), initial=6, query_size=4, rounds=1, dirpath=tmp_path / name, task=NoClasses()
        )

    with pytest.raises(ValueError, match=r"`ProbCover` needs the number of classes.*`NoClasses.num_classes`.*clusters"):
        loop("a").run(make_trainer(tmp_path, acquisition=ProbCover(**options)))
    assert not (tmp_path / "a").exists()
    for more in ({"clusters": 3}, {"delta": 0.3}):
        assert len(loop(str(more)).run(make_trainer(tmp_path, acquisition=ProbCover(**options, **more)))) == 2
