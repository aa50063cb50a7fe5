"""How right and how sure models are: the gap between training and test, each class, histograms of confidence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.checks import check_count
from lightning_al.functional.scores.uncertainty import least_confidences
from lightning_al.inference.calling import Forward, copies_for_model
from lightning_al.inference.mode import scoring_mode
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.curvature import Batches
from lightning_al.report.diagnostics.diagnosis import Diagnosis, count_of
from lightning_al.report.diagnostics.pictures import Panel, add_point, bars, curves
from lightning_al.report.diagnostics.rounds import spread

_LABELLED = "labelled in the end"


class Predictions(NamedTuple):
    """Of each decision, (N,) each: one a sample, or one for each of its pixels or labels.

    Attributes:
        label: What the model says.
        target: What is right; -1 where nothing is.
        confidence: The probability of the label.
        classes: How many there are.
    """

    label: Tensor
    target: Tensor
    confidence: Tensor
    classes: int

    @property
    def accuracy(self) -> float:
        """The share that is right, of those that have a target."""
        known = self.target >= 0
        return float((self.label == self.target)[known].double().mean())

    def class_accuracies(self) -> Tensor:
        """The share of each class that is right, (C,); NaN of a class that does not occur."""
        right = torch.bincount(self.target[self.label == self.target].clamp(min=0), minlength=self.classes)
        return right[: self.classes].double() / self.class_counts()

    def class_counts(self) -> Tensor:
        """How often each class is the target, (C,)."""
        return torch.bincount(self.target[self.target >= 0], minlength=self.classes)

    def confidence_shares(self, bins: int = 10) -> Tensor:
        """The share of decisions in each of ``bins`` equal bins of confidence, (bins,); 1 is in the last."""
        check_count("bins", bins)
        place = (self.confidence.double() * bins).long().clamp(0, bins - 1)
        return torch.bincount(place, minlength=bins).double() / max(len(place), 1)


def predictions(model: nn.Module, batches: Batches, *, forward: Forward | None = None) -> Predictions:
    """What a model says of samples, beside what is right.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: Pairs of inputs and class indices; None in their place: nothing says what is right. Values that are no
            class stand for no target.
        forward: ``forward(model, inputs) -> class scores``, (B, C, ...). Default: ``model(inputs)``.

    Raises:
        ValueError: If there are no samples.

    Example:
        >>> found = predictions(nn.Identity(), [(torch.eye(3), torch.tensor([0, 1, 1]))])
        >>> round(found.accuracy, 4), found.class_accuracies().tolist()
        (0.6667, [1.0, 0.5, nan])
    """
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    classes = 0
    for inputs, targets in batches:
        with scoring_mode(model), torch.no_grad():
            logits = model(copies_for_model(inputs)) if forward is None else forward(model, copies_for_model(inputs))
        classes = logits.shape[1]
        label = logits.argmax(1)
        target = torch.full_like(label, -1) if targets is None else targets.to(label)
        target = torch.where((target >= 0) & (target < classes), target, -1)
        columns.append((label.flatten(), target.flatten(), 1 - least_confidences(logits).flatten()))
    if not columns:
        raise ValueError("There are no samples to predict.")
    label, target, confidence = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    return Predictions(label, target, confidence, classes)


def gap(campaigns: Sequence[KeptCampaign], *, held_out: int | None = None) -> list[Diagnosis]:
    """The accuracy on what was trained on less that on what was not (Wang et al., AAAI 2022, Table 3), over rounds.

    Args:
        campaigns: Open ones.
        held_out: At most how many test samples. None: all.
    """
    rows: list[list[Any]] = []
    tested: list[int] = []
    panels: dict[str, Panel] = {"training": {}, "test": {}, "gap": {}}
    for campaign in checked(campaigns, "An accuracy", "logits"):
        test = campaign.held_out(held_out)
        for round in campaign.rounds:
            model, train = campaign.at(round), campaign.batches(campaign.trained_on(round), labels=True)
            on_both = [predictions(model, batches, forward=campaign.task.logits) for batches in (train, test)]
            known, others = (found.accuracy for found in on_both)
            tested.append(int(on_both[1].class_counts().sum()))
            values = known, others, known - others
            rows.append([campaign.name, round.number, round.count, *values])
            for panel, value in zip(panels.values(), values, strict=True):
                add_point(panel, campaign.name, round.count, value)
    header = ["campaign", "round", "labels", *panels]
    note = f"Of {count_of(tested, 'predictions')} on test samples; on training samples of as many as there are labels."
    return [Diagnosis("gap", "Accuracy on training and test samples", header, rows, curves(panels, x="labels"), note)]


def classes(campaigns: Sequence[KeptCampaign], *, held_out: int | None = None) -> list[Diagnosis]:
    """The test accuracy of each class beside how often it was labelled, after up to four rounds.

    (Wang et al., AAAI 2022, Tables 7, 8; Gul et al., LPLgrad, 2024, Fig. 8.)

    Args:
        campaigns: Open ones.
        held_out: At most how many test samples. None: all.
    """
    rows: list[list[Any]] = []
    panels: dict[str, dict[str, list[float]]] = {}
    names: list[str] = []
    for campaign in checked(campaigns, "An accuracy", "logits"):
        test, labelled = campaign.held_out(held_out), []
        for round in spread(campaign.rounds):
            model, train = campaign.at(round), campaign.batches(campaign.trained_on(round), labels=True)
            labelled = predictions(model, train, forward=campaign.task.logits).class_counts().tolist()
            found = predictions(model, test, forward=campaign.task.logits)
            accuracies = found.class_accuracies().tolist()
            names = campaign.class_names(found.classes)
            tested = found.class_counts().tolist()
            for name, count, of, value in zip(names, labelled, tested, accuracies, strict=True):
                accuracy = None if value != value else value
                rows.append([campaign.name, round.number, round.count, name, count, accuracy, of])
            panel = panels.setdefault(f"test accuracy, {round.count} labels", {})
            panel[campaign.name] = [0.0 if value != value else value for value in accuracies]
        panels.setdefault(_LABELLED, {})[campaign.name] = labelled
    panels[_LABELLED] = panels.pop(_LABELLED)
    header = ["campaign", "round", "labels", "class", "labelled", "test accuracy", "tested"]
    draw = bars(panels, names, x="class", apart=[_LABELLED])
    return [
        Diagnosis("classes", "Classes one by one", header, rows, draw, note="Tested: on how many samples of the class.")
    ]


def confidence(campaigns: Sequence[KeptCampaign], *, samples: int = 2000, bins: int = 10) -> list[Diagnosis]:
    """How sure the model is of labelled and of unlabelled samples after up to four rounds (LPLgrad, 2024, Fig. 7).

    Args:
        campaigns: Open ones.
        samples: At most how many unlabelled samples.
        bins: Of the histograms.
    """
    check_count("samples", samples)
    rows: list[list[Any]] = []
    panels: dict[str, dict[str, list[float]]] = {}
    counts: list[int] = []
    groups = [f"{(number + 0.5) / bins:.2g}" for number in range(bins)]
    for campaign in checked(campaigns, "A confidence", "logits"):
        for each in spread(campaign.rounds):
            model = campaign.at(each)
            for name, indices in (("labelled", campaign.trained_on(each)), ("unlabelled", each.candidates[:samples])):
                counts += [len(indices)] * (name == "unlabelled")
                if len(indices) == 0:
                    continue
                batches = campaign.batches(indices, labels=False)
                found = predictions(model, batches, forward=campaign.task.logits)
                shares = found.confidence_shares(bins).tolist()
                mean = float(found.confidence.double().mean())
                rows.append([campaign.name, each.number, each.count, name, mean, *shares])
                panels.setdefault(f"{campaign.name}, {each.count} labels", {})[name] = shares
    header = ["campaign", "round", "labels", "samples", "mean", *(f"≤{(n + 1) / bins:.2g}" for n in range(bins))]
    draw = bars(panels, groups, x="confidence")
    note = f"Of all labelled samples, and {count_of(counts, 'unlabelled ones')}."
    return [Diagnosis("confidence", "Confidence of predictions, share of samples", header, rows, draw, note)]
