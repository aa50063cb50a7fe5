"""A small vision transformer."""

import torch
from torch import Tensor, nn


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al., ICLR 2021), untrained, for small images.

    Patches become tokens by a convolution; a class token goes before them, a learnt position embedding is added, and
    the class token's last state becomes logits. The defaults are ViT-Tiny's with patches for 32x32 images; the encoder
    layers normalise first.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.
        image_size: Height and width of the images.
        patch_size: Height and width of a patch, a divisor of the image's.
        dim: Width of the tokens, a multiple of ``heads``.
        depth: Number of encoder layers.
        heads: Attention heads of a layer.
        mlp_dim: Hidden width of a layer's perceptron; default ``4 * dim``.
        dropout: Probability of dropout in the encoder layers.

    Raises:
        ValueError: If patches do not tile the image.

    Example:
        >>> ViT(dim=16, depth=2, heads=2).eval()(torch.zeros(3, 3, 32, 32)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        patch_size: int = 4,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"Patches of {patch_size} pixels do not tile an image of {image_size}.")
        patches = (image_size // patch_size) ** 2
        self.patch_embedding = nn.Conv2d(in_channels, dim, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.position_embedding = nn.Parameter(torch.empty(1, patches + 1, dim))
        self.reset_parameters()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, mlp_dim or 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def reset_parameters(self) -> None:
        """Draw anew what belongs to no layer: the embedding of positions; the class token is 0."""
        nn.init.zeros_(self.class_token)
        nn.init.trunc_normal_(self.position_embedding, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, image_size, image_size) to logits (B, num_classes)."""
        tokens = self.patch_embedding(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.position_embedding
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits
