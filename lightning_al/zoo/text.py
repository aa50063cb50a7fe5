"""A small text classifier."""

import torch
from torch import Tensor, nn


class TextClassifier(nn.Module):
    """Token and position embeddings, transformer encoder layers, the mean over tokens, one linear layer.

    Args:
        num_classes: Number of logits.
        vocabulary: Number of tokens; 0 is padding, which attention and the mean pass over.
        max_length: Longest sequence.
        dim: Width of the tokens, a multiple of ``heads``.
        depth: Number of encoder layers.
        heads: Attention heads of a layer.
        mlp_dim: Hidden width of a layer's perceptron; default ``4 * dim``.
        dropout: Probability of dropout in the encoder layers.

    Example:
        >>> net = TextClassifier(num_classes=2, vocabulary=100, dim=8, heads=2).eval()
        >>> net(torch.tensor([[5, 17, 3], [9, 0, 0]])).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        num_classes: int = 4,
        vocabulary: int = 30_000,
        max_length: int = 128,
        dim: int = 64,
        depth: int = 1,
        heads: int = 4,
        mlp_dim: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.positions = nn.Embedding(max_length, dim)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, mlp_dim or 4 * dim, dropout, batch_first=True) for _ in range(depth)
        )
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Token indices (B, T), 0 where a text has ended, to logits (B, num_classes)."""
        padding = x == 0
        padding = padding & ~padding.all(1, keepdim=True)  # an empty text attends to its padding, not to nothing
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for layer in self.layers:
            h = layer(h, src_key_padding_mask=padding)
        tokens = (~padding).unsqueeze(2).to(h.dtype)
        logits: Tensor = self.head((h * tokens).sum(1) / tokens.sum(1))
        return logits
