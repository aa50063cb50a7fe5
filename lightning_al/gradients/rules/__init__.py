"""One file a kind of layer: what it contributes to per-sample gradients."""
