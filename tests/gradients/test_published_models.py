"""Models as their authors publish them, small and with random weights, against the loop written by hand.

Slow, and skipped where timm or transformers is not installed: neither is among the packages that `make test` needs.
"""

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from lightning_al import functional as F_al
from tests.helpers.exact import layers_as_written

RHO = 0.05
WORST = 1e-4
pytestmark = pytest.mark.slow

TIMM = {
    32: (
        *("resnet10t", "resnet18", "resnet26t", "legacy_seresnet18", "skresnet18", "resnest14d", "resnetv2_18"),
        *("seresnext26ts", "eca_resnext26ts", "gcresnext26ts", "nf_resnet26", "lambda_resnet26t"),
        *("efficientnet_b0", "efficientnet_lite0", "mobilenetv2_050", "mobilenetv3_small_050"),
        *("mobilenetv4_conv_small_035", "tinynet_e", "lcnet_050", "ghostnet_050", "mnasnet_small"),
        *("fbnetv3_b", "rexnet_100", "regnetx_002", "regnety_002", "densenet121", "dla46_c", "hrnet_w18_small"),
        *("ese_vovnet19b_dw", "repvgg_a0", "mobileone_s0", "repghostnet_050", "starnet_s1", "hgnetv2_b0"),
        *("convnext_atto", "convnextv2_atto", "mambaout_femto", "poolformer_s12", "poolformerv2_s12", "fasternet_t0"),
        *("edgenext_xx_small", "mobilevit_xxs", "mobilevitv2_050", "pvt_v2_b0", "fastvit_t8", "repvit_m0_9"),
        *("swiftformer_xs", "caformer_s18", "shvit_s1"),
    ),
    64: ("ghostnetv2_100",),
    256: ("halonet26t",),
    224: (
        *("efficientformer_l1", "efficientformerv2_s0", "levit_128s", "tiny_vit_5m_224", "vit_tiny_patch16_224"),
        *("deit_tiny_distilled_patch16_224", "cait_xxs24_224", "xcit_nano_12_p16_224", "convit_tiny", "pit_ti_224"),
        *("visformer_tiny", "mixer_s32_224", "gmlp_ti16_224", "resmlp_12_224", "coat_tiny", "eva02_tiny_patch14_224"),
        *("swin_tiny_patch4_window7_224", "crossvit_tiny_240"),
    ),
}


WORDS = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
LAMA = {**WORDS, "num_key_value_heads": 1, "pad_token_id": 0, "max_position_embeddings": 64}
IMAGES = {**WORDS, "image_size": 32, "patch_size": 8}
TRANSFORMERS = {
    "Bert": WORDS,
    "Roberta": {**WORDS, "max_position_embeddings": 64, "pad_token_id": 1},
    "DistilBert": {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "Albert": {**WORDS, "embedding_size": 8},
    "Electra": {**WORDS, "embedding_size": 8},
    "Deberta": {**WORDS, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "MPNet": {**WORDS, "pad_token_id": 1},
    "ConvBert": {**WORDS, "embedding_size": 8},
    "GPT2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0},
    "OPT": {**WORDS, "ffn_dim": 24, "word_embed_proj_dim": 16, "pad_token_id": 0, "max_position_embeddings": 64},
    "Llama": LAMA,
    "Mistral": LAMA,
    "Qwen2": LAMA,
    "GPTNeoX": {**WORDS, "pad_token_id": 0, "max_position_embeddings": 64},
    "ViT": IMAGES,
    "DeiT": IMAGES,
    "Swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
}


def lived_in(net):
    """Away from zero-initialised layers, and from BatchNorm's 0 and 1, with logits of about 2."""
    for p in net.parameters():
        p.data += 0.02 * torch.randn_like(p)
    for name, b in net.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0, 0.1)
        elif name.endswith("running_var"):
            b.uniform_(0.5, 2.0)
    return net.double().eval()


def one(x, i):
    return pytree.tree_map(lambda t: t[i : i + 1], x)


def plain(net, x, run):
    """Norms of the entropy's gradient and SAAL's losses, a sample at a time, with nothing kept of the one before."""
    params = [p for p in net.parameters() if p.requires_grad]
    norms, losses = [], []
    for i in range(len(next(iter(x.values())) if isinstance(x, dict) else x)):
        net.train().eval()
        logits = run(net, one(x, i))
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum()
        y = logits.argmax(1)
        for value, keep in ((entropy, True), (nn.functional.cross_entropy(logits, y), False)):
            grads = torch.autograd.grad(value, params, retain_graph=keep, allow_unused=True)
            grads = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]
            norm = torch.stack([g.square().sum() for g in grads]).sum().sqrt()
            if keep:
                norms.append(norm)
        before = [p.detach().clone() for p in params]
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p += RHO * g / norm
            net.train().eval()
            losses.append(nn.functional.cross_entropy(run(net, one(x, i)), y))
            for p, old in zip(params, before, strict=True):
                p.copy_(old)
        net.train().eval()
    return torch.stack(norms), torch.stack(losses)


def off(net, x, run):
    """By how much norms and losses are off, relative."""
    scale = float(run(net, x).detach().abs().max()) / 2

    def scaled(model, v):
        return run(model, v) / scale

    with layers_as_written():
        norms, losses = plain(net, x, scaled)
    assert float(norms.min()) > 1e-6, "nothing to compare"
    got = F_al.gradient_norm(net, x, forward=scaled), F_al.saal(net, x, rho=RHO, forward=scaled)
    return [float(((a - b).abs() / b).max()) for a, b in zip(got, (norms, losses), strict=True)]


@pytest.mark.parametrize(("name", "size"), [(name, size) for size, names in TIMM.items() for name in names])
def test_timm(name, size):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    size = 240 if name.endswith("240") else size
    try:
        net = timm.create_model(name, pretrained=False, num_classes=5)
    except RuntimeError as error:
        pytest.skip(f"this timm has no such model: {error}")
    x = torch.randn(3, 3, size, size, dtype=torch.float64)
    x *= torch.tensor([1.0, 0.5, 2.0])[:, None, None, None]
    worst = off(lived_in(net), x, lambda m, v: m(v))
    print(f"\n{name}: norms off by {worst[0]:.1e}, losses by {worst[1]:.1e}")
    assert max(worst) < WORST


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    images = "image_size" in TRANSFORMERS[name] or "hidden_sizes" in TRANSFORMERS[name]
    config = getattr(transformers, f"{name}Config")(num_labels=3, **TRANSFORMERS[name])
    net = getattr(transformers, f"{name}For{'Image' if images else 'Sequence'}Classification")(config)
    if images:
        x = {"pixel_values": torch.randn(3, 3, 32, 32, dtype=torch.float64)}
    else:
        ids = torch.randint(5, 50, (4, 8))
        mask = torch.ones_like(ids)
        for i, length in enumerate((8, 5, 8, 3)):
            ids[i, length:] = config.pad_token_id or 0
            mask[i, length:] = 0
        x = {"input_ids": ids, "attention_mask": mask}
    worst = off(lived_in(net), x, lambda m, v: m(**v).logits)
    print(f"\n{name}: norms off by {worst[0]:.1e}, losses by {worst[1]:.1e}")
    assert max(worst) < WORST
