"""Scores of the small project without a campaign."""

from torch.utils.data import TensorDataset

from lightning_al import score
from lightning_al.acquisition import Entropy
from tests.helpers.projects import Net, make_data, make_trainer

X, Y = make_data()
SAMPLES = TensorDataset(X, Y)
BARE = TensorDataset(X)


def scored(folder, acquisition, k=4, *, model=None, dataset=BARE, **options):
    trainer = options.pop("trainer", None) or make_trainer(folder)
    return score(model or Net(), dataset, acquisition, k, trainer=trainer, **{"batch_size": 4, **options})


class Never(Entropy):
    """For what is refused before anything is scored."""

    def rows(self, model, batch):
        raise AssertionError("scored before the error")
