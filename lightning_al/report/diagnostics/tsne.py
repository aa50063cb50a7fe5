"""Where samples lie in feature space, in two dimensions (Gul et al., LPLgrad, 2024, Fig. 6)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_al.checks import check_count, check_number
from lightning_al.extras import needs
from lightning_al.inference.mode import scoring_mode
from lightning_al.report.diagnostics.campaign import KeptCampaign, checked
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.pictures import groups_of_points
from lightning_al.report.diagnostics.rounds import spread


def tsne(features: Tensor, *, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Put features in two dimensions by t-SNE (van der Maaten & Hinton 2008), from their principal components.

    Args:
        features: (N, d).
        perplexity: About how many neighbours a sample has; at most ``(N - 1) / 3`` are taken.
        seed: Of its draws.

    Returns:
        (N, 2), float64, the same on a repeat.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If there are fewer than 4 samples.
    """
    check_number("perplexity", perplexity, above=0)
    check_count("seed", seed, 0)
    if features.ndim != 2 or len(features) < 4:
        raise ValueError(f"t-SNE needs features (N, d) of at least 4 samples, got {tuple(features.shape)}.")
    with needs("t-SNE", "scikit-learn", "cluster"):
        from sklearn.manifold import TSNE
    near = min(perplexity, max((len(features) - 1) / 3, 1.0))
    init = "pca" if features.shape[1] > 1 else "random"
    found = TSNE(perplexity=near, init=init, random_state=seed, n_jobs=1).fit_transform(features.double().numpy())
    return torch.from_numpy(found).double()


def features_of(campaign: KeptCampaign, model: Any, indices: Tensor, layer: str | None = None) -> Tensor:
    """Return what the last layer gets of samples of a campaign, or what another layer gives, (N, d)."""
    parts = []
    for inputs, _ in campaign.batches(indices, labels=False):
        with scoring_mode(model), torch.no_grad():
            parts.append(campaign.task.features(model, inputs, **({} if layer is None else {"layer": layer})).cpu())
    return torch.cat(parts)


def embedding(
    campaigns: Sequence[KeptCampaign],
    *,
    samples: int = 1000,
    layer: str | None = None,
    perplexity: float = 30.0,
    seed: int = 0,
) -> list[Diagnosis]:
    """Unlabelled samples by what the model says of them, and what was picked, of up to four rounds.

    Each round's features are embedded by themselves, as the model changes; axes mean nothing.

    Args:
        campaigns: Open ones.
        samples: At most how many unlabelled samples of each round; the picks come beside them.
        layer: Whose output is meant. Default: what the last layer gets.
        perplexity: As of :func:`tsne`.
        seed: As of :func:`tsne`.
    """
    check_count("samples", samples)
    rows: list[list[Any]] = []
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    classes: Sequence[str] = []
    for campaign in checked(campaigns, "An embedding", "logits", "features"):
        with_picks = [round for round in campaign.rounds if len(round.picked)] or list(campaign.rounds)
        for round in spread(with_picks):
            model = campaign.at(round)
            some = round.candidates[:samples]
            shown = torch.cat([round.picked, some[~torch.isin(some, round.picked)]])
            where = tsne(features_of(campaign, model, shown, layer), perplexity=perplexity, seed=seed)
            said = []
            for inputs, _ in campaign.batches(shown, labels=False):
                with scoring_mode(model), torch.no_grad():
                    logits = campaign.task.logits(model, inputs)
                said.append(logits.argmax(1).flatten(1)[:, 0] if logits.ndim > 2 else logits.argmax(1))
            label = torch.cat(said).cpu()
            picked = torch.arange(len(shown)) < len(round.picked)
            title = f"{campaign.name}, {round.count} labels"
            names = campaign.class_names(int(label.max()) + 1)
            classes = max(classes, names, key=len)
            groups = {names[c]: where[label == c] for c in label.unique().tolist()} | {"picked": where[picked]}
            panels[title] = {name: (part[:, 0].tolist(), part[:, 1].tolist()) for name, part in groups.items()}
            columns = zip(shown.tolist(), where.tolist(), label.tolist(), picked.tolist(), strict=True)
            rows += [[campaign.name, round.number, i, x, y, c, int(p)] for i, (x, y), c, p in columns]
    header = ["campaign", "round", "index", "x", "y", "predicted", "picked"]
    title = "Features of unlabelled samples (t-SNE), coloured by prediction"
    return [Diagnosis("tsne", title, header, rows, groups_of_points(panels, classes))]
