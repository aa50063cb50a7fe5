from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al import ClassificationTask, DatasetOracle
from lightning_al.acquisition import Acquisition

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@dataclass
class Bound:
    model: nn.Module
    batch: list[Tensor]
    dataset: Dataset

    def bind(self, acquisition: Acquisition, outputs: str = "logits") -> Acquisition:
        task = ClassificationTask(outputs)
        acquisition.bind(task, DatasetOracle(self.dataset, task))
        return acquisition

    def scores(self, acquisition: Acquisition) -> Tensor:
        """What the callback gives for the batch, the way the pool pass calls it."""
        self.bind(acquisition)
        self.model.eval()
        rows = acquisition.rows(self.model, self.batch)
        assert list(rows) == ["score"]
        assert not rows["score"].requires_grad
        with torch.inference_mode():
            predicted = acquisition.rows(self.model, [t.clone() for t in self.batch])["score"]
        assert torch.equal(predicted, rows["score"])
        return rows["score"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pick(acquisition: Acquisition, scores: list[float] | Tensor, k: int, seed: int = 0) -> list[int]:
    rows = {"score": torch.as_tensor(scores), "index": torch.arange(len(scores)) + 100}
    picks = acquisition.select(rows, k, labelled_rows={}, generator=seeded(seed))
    assert len(picks) == len(set(picks.tolist())) == k
    return picks.tolist()
