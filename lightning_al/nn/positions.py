"""The average of features over positions: pixels, time steps, tokens."""

from torch import Tensor


def average(features: Tensor, channels: int, padding: Tensor | None = None) -> Tensor:
    """Average over all positions that are not padding, to (B, C).

    Args:
        features: (B, C), or with positions in any dimensions between or after.
        channels: Which dimension the channels are, 1 or -1.
        padding: (B, T) bool, the positions to leave out of features (B, C, T) or (B, T, C). Where it is of other
            positions, none are left out.

    Example:
        >>> import torch
        >>> features = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [9.0, 9.0]]])
        >>> average(features, -1, torch.tensor([[False, False, True]]))
        tensor([[2., 4.]])
    """
    if features.ndim <= 2:
        return features
    tokens = features.movedim(channels, -1)
    if padding is None or padding.shape != tokens.shape[:-1]:
        return tokens.flatten(1, -2).mean(1)
    padding = padding.to(tokens.device)
    count = (~padding).sum(1, keepdim=True).clamp(min=1)
    return tokens.masked_fill(padding.unsqueeze(2), 0.0).sum(1) / count
