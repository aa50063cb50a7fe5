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
    generator = seeded(4)
    seed = int(torch.randint(2**31, (), generator=generator))
    everyone = X if known else X[:50]
    delta = coverage_delta(everyone, cluster_labels(everyone, clusters, seed=seed), purity=purity)
    want = prob_cover(X[:50], 9, delta=delta, labelled=X[50:] if known else None)
    got = ProbCover(purity=purity, clusters=clusters).select(ROWS, 9, labelled_rows=known, generator=seeded(4))
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


@pytest.mark.parametrize("make", [lambda: ProbCover(clusters=3), TypiClust])
def test_clusters_start_from_the_generator(make):
    with pytest.raises(ValueError, match="needs a `generator`"):
        make().select(ROWS, 2, labelled_rows={}, generator=None)
    assert len({tuple(make().select(ROWS, 5, labelled_rows={}, generator=seeded(s)).tolist()) for s in range(6)}) > 1


# ----------------------------------------------------------------------------------------------- the number of classes


class NoClasses(ClassificationTask):
    num_classes = None


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
