"""Projects of different make, as people write them, turned active in at most five changed lines, for two rounds.

Each is a script in `projects/`, with the change as a diff beside it. What cannot work is refused with the way out.
"""

import importlib.util
import math

import pytest
import torch
from torch.distributions import Bernoulli

from tests.strangers.trial import changed_lines, patched, run, sources


def batches(samples, size):
    return -(-samples // size)


# Labels of each round, batch size, epochs (None: early stopping decides), steps in each epoch for a number of batches.
KINDS = {
    "image_folder": ([16, 24, 32], 8, 2, lambda b: b),
    "text_transformer": ([16, 24, 32], 8, 3, lambda b: b),
    "tabular": ([12, 18, 24], 8, None, lambda b: b),
    "acgan": ([16, 24, 32], 8, 2, lambda b: 2 * b),
    "multi_label": ([20, 30, 40], 10, 3, lambda b: b),
    "dict_batch": ([24, 36, 48], 12, 4, lambda b: batches(b, 2)),
    "two_val_loaders": ([20, 30, 40], 10, 3, lambda b: b),
    "cli": ([16, 24, 32], 16, 3, lambda b: b),
    "configure_model": ([12, 18, 24], 6, 2, lambda b: b),
    "layers_in_setup": ([10, 15, 20], 5, 4, lambda b: b),
    "ema": ([16, 24, 32], 8, 2, lambda b: b),
    "swa": ([20, 30, 40], 5, 4, lambda b: b),
    "timm_digits": ([24, 32, 40], 16, 2, lambda b: b),
    "weighted_sampler": ([20, 30, 40], 10, 1, lambda b: b),
    "combined_loaders": ([20, 30, 40], 8, 1, lambda b: 10),
}
# Where a longer loader beside has the labelled samples come again: 20 in batches of 8, 8, 4, 8, 8, 4, ...
GONE_THROUGH_AGAIN = {
    ("combined_loaders", 20): 68,
    ("combined_loaders", 30): 76,
    ("combined_loaders", 40): 80,
}
REFUSED = {
    "stream": (TypeError, r"The training set is iterable \(Stream\).*map-style"),
    "mixup": (ValueError, r"collate function \(collate\) sorts or mixes.*in `training_step`"),
}


def same(one, other, **tolerance):
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=lambda text: f"{name}: {text}", **tolerance)


# --------------------------------------------------------------------------- what each of them relies on in every round


def check_image_folder(trial):
    """The backbone is frozen in the first epoch of each round; the best checkpoint of the last round was loaded."""
    for fit in trial.fits:
        convolution, head = "backbone.0.weight", "head.weight"
        assert torch.equal(fit.ends[0][convolution], fit.start[convolution])
        assert not torch.equal(fit.ends[1][convolution], fit.start[convolution])
        assert not torch.equal(fit.ends[0][head], fit.start[head])


def check_text_transformer(trial):
    """The warm-up knows each round's number of steps, which `setup` counted."""
    for fit in trial.fits:
        warm = max(1, int(0.2 * fit.steps))
        expected = [3e-3 * min((step + 1) / warm, (fit.steps - step) / fit.steps) for step in range(fit.steps)]
        assert fit.rates == pytest.approx(expected)


def check_tabular(trial):
    """Early stopping starts afresh: every round stops by itself, on its own best."""
    for fit in trial.fits:
        assert 3 <= len(fit.epochs) < 30


def check_acgan(trial):
    """Both optimizers train, their schedules start afresh, and the discriminator's classes are what is asked about."""
    for fit in trial.fits:
        assert fit.rates == pytest.approx([0.005] * (fit.steps // 4) + [0.0025] * (fit.steps // 4))
        for net in ("generator", "discriminator.real", "discriminator.kind"):
            assert any(not torch.equal(fit.end[n], v) for n, v in fit.start.items() if n.startswith(net))
    least = wanted(trial, 1, lambda model, x: 1 - model.discriminator(x)[1].softmax(1).amax(1), 8)
    assert set(trial.loop.history[1].picked) == least


def check_multi_label(trial):
    """What is asked about has the largest mean binary entropy."""
    most = wanted(trial, 1, lambda model, x: Bernoulli(logits=model(x).double()).entropy().mean(1), 10)
    assert set(trial.loop.history[1].picked) == most
    labels = trial.loop.campaign.labels
    assert all(labels[i] == trial.loop.datamodule.train_set.tags[i].int().tolist() for i in labels)


def wanted(trial, number, score, k):
    """Return the ``k`` samples that a round's model, recalled, gives the largest scores among the unlabelled ones."""
    trial.model.load_state_dict(trial.fits[number].end, strict=False)
    dataset = trial.loop.datamodule.train_set
    with torch.no_grad():
        scores = score(trial.model.eval().cpu(), torch.stack([dataset[i][0] for i in range(len(dataset))]))
    scores[trial.loop.pool.labelled[: trial.loop.history[number].labelled]] = -1
    return set(scores.topk(k).indices.tolist())


def check_dict_batch(trial):
    """OneCycle ends, the best checkpoint is there, and the learning rate is logged, in every round."""
    for number, fit in enumerate(trial.fits):
        assert fit.rates[-1] == pytest.approx(0.02 / 25 / 1e4)
        assert max(fit.rates) > 0.01
        names = {path.name for path in (trial.loop.dirpath / f"round_{number}" / "checkpoints").iterdir()}
        assert "last.ckpt" in names
        assert len(names) == 2
    [log] = trial.loop.dirpath.parents[1].glob("logs/digits/version_*/metrics.csv")
    head, *rows = [line.split(",") for line in log.read_text().splitlines()]
    logged = [int(row[head.index("step")]) for row in rows if row[head.index("lr-SGD")]]
    assert logged == sorted(logged)
    assert set(logged) == set(range(sum(fit.steps for fit in trial.fits)))
    assert sum(bool(row[head.index("al/val_acc")]) for row in rows) == 3


def check_two_val_loaders(trial):
    """Each round has the metrics of both."""
    names = {"val_acc/dataloader_idx_0", "val_acc/dataloader_idx_1", "clean_loss", "noisy_loss"}
    assert all(set(result.metrics) == names for result in trial.loop.history)


def check_cli(trial):
    """The schedule of the YAML file starts afresh, and the configuration is kept with the campaign."""
    for fit in trial.fits:
        assert (fit.rates[0], fit.rates[-1]) == pytest.approx((0.02, 0.005))
    assert "hidden: 24" in (trial.loop.dirpath / "config.yaml").read_text()


def check_configure_model(trial):
    """The layers are as wide as the data, and the split is that of the first `setup`."""
    assert trial.model.net[0].in_features == 30
    train, val = trial.loop.datamodule.train_set, trial.loop.datamodule.datamodule.val
    assert not set(train.indices) & set(val.indices)


def check_layers_in_setup(trial):
    """`setup` made other layers for every stage; those that were evaluated are nevertheless those that were fitted."""
    data = trial.loop.datamodule.datamodule.val
    for fit, result in zip(trial.fits, trial.loop.history, strict=True):
        trial.model.load_state_dict(fit.end)
        right = trial.model.cpu()(data.tensors[0]).argmax(1) == data.tensors[1]
        assert result.metrics["val_acc"] == pytest.approx(float(right.float().mean()))
    same(trial.fits[1].start, trial.fits[2].start, rtol=0, atol=0)


def check_ema(trial):
    """Each round ends with the running average of its own weights; 16 bits are bfloat16 on a CPU."""
    for fit in trial.fits:
        average = fit.trail[0]
        for weights in fit.trail[1:]:
            average = {name: 0.8 * average[name] + 0.2 * value for name, value in weights.items()}
        same(fit.end, average)
        assert not torch.equal(fit.end["head.1.weight"], fit.trail[-1]["head.1.weight"])
    on_cpu = trial.trainer.strategy.root_device.type == "cpu"
    assert all(fit.dtypes == {torch.bfloat16 if on_cpu else torch.float16} for fit in trial.fits)
    assert (getattr(trial.trainer.precision_plugin, "scaler", None) is None) == on_cpu


def check_swa(trial):
    """Each round ends with the mean of its own weights at the starts of its last three epochs, at SWA's rate."""
    for fit in trial.fits:
        starts = fit.ends[:3]
        same(fit.end, {name: sum(weights[name] for weights in starts) / 3 for name in starts[0]})
        assert (fit.rates[0], fit.rates[-1]) == pytest.approx((0.1, 0.02))


def check_timm_digits(trial):
    """timm's own scheduler warms up in every round."""
    for fit in trial.fits:
        assert fit.rates[0] == pytest.approx(1e-5)
        assert fit.rates[-1] > 1e-4


# ------------------------------------------------------------------------------------------------------------ the tests


def needs(name):
    if name == "timm_digits" and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")


def check_weighted_sampler(trial):
    """The sampler of each round draws from what is labelled, each sample by its weight."""
    draws = trial.loop.datamodule.train_dataloader().sampler
    assert len(draws) == 40
    assert len({*draws}) < 40


def check_combined_loaders(trial):
    """The other loader goes on as it is: 10 batches of unlabelled samples in each epoch."""
    loaders = trial.loop.datamodule.train_dataloader().iterables
    assert len(loaders["labelled"].dataset) == 40
    assert loaders["unlabelled"].dataset is trial.loop.datamodule.datamodule.unlabelled


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [*KINDS, *REFUSED])
def test_as_it_was(name, tmp_path, monkeypatch):
    """The scripts are real: each trains without us."""
    needs(name)
    trial = run(name, tmp_path, monkeypatch, active=False)
    assert len(trial.fits) == 1
    assert trial.fits[0].moved
    assert all("lightning_al" not in plain for plain, _ in sources(name).values())


@pytest.mark.parametrize("name", [*KINDS, *REFUSED])
def test_at_most_five_lines(name):
    changes = [changed_lines(*versions) for versions in sources(name).values()]
    assert 1 <= sum(changes) <= 5
    for plain, active in sources(name).values():
        added = set(active.splitlines()) - set(plain.splitlines())
        assert all(len(line) <= 120 and ";" not in line for line in added)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", KINDS)
def test_turned_active(name, tmp_path, monkeypatch):
    needs(name)
    labelled, size, epochs, steps = KINDS[name]
    trial = run(name, tmp_path, monkeypatch, active=True)
    history = trial.loop.history
    assert [result.labelled for result in history] == labelled
    assert [len(result.picked) for result in history] == [labelled[1] - labelled[0], labelled[2] - labelled[1], 0]

    everything = trial.loop.pool.labelled.tolist()
    assert len(set(everything)) == len(everything) == labelled[-1]
    assert all(0 <= i < len(trial.loop.datamodule.train_set) for i in everything)
    assert everything[labelled[0] :] == [i for result in history for i in result.picked]

    assert len(trial.fits) == 3
    for fit, count, result in zip(trial.fits, labelled, history, strict=True):
        assert fit.moved
        assert set(fit.epochs) == {GONE_THROUGH_AGAIN.get((name, count), count)}
        if epochs is not None:
            assert len(fit.epochs) == epochs + (name == "swa")  # which has an epoch more, for BatchNorm
            assert fit.steps == epochs * steps(batches(count, size)) + (name == "swa")
        assert result.metrics
        assert all(math.isfinite(value) for value in result.metrics.values())
        same(fit.start, trial.fits[0].start, rtol=0, atol=0)
    globals()[f"check_{name}"](trial)


def test_of_several_loaders_one_must_be_named(tmp_path, monkeypatch):
    def forget(source):
        return source.replace('    pool_loader = "labelled"\n', "")

    with pytest.raises(TypeError, match=r"got CombinedLoader.*say which has the samples to be labelled: `pool_loader"):
        run("combined_loaders", tmp_path, monkeypatch, active=True, edit=forget)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, monkeypatch):
    error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        run(name, tmp_path, monkeypatch, active=True)
    assert not (tmp_path / "active" / "al").exists()


# What is refused when a line of the change is forgotten, and which line the error names.
FORGOTTEN = [
    (
        "multi_label",
        "task=al.MultiLabelTask(), ",
        TypeError,
        r"float32 tensor of shape \(5,\).*multi-hot.*task=MultiLabelTask\(\)",
    ),
    ("text_transformer", "task=task, ", TypeError, r"a dict of 'input_ids', 'attention_mask', 'labels'.*inputs=..."),
    ("dict_batch", "task=task, ", TypeError, r"a dict of 'image', 'label', 'name'.*ClassificationTask\(inputs="),
    (
        "tabular",
        "task=task, ",
        TypeError,
        r"tensor of shape \(4,\).*another entry.*ClassificationTask\(inputs=..., target=",
    ),
    ("acgan", "task=task, ", ValueError, r"missing 1 required positional argument: 'y'.*forward=lambda"),
]


@pytest.mark.parametrize(("name", "forgotten", "error", "words"), FORGOTTEN)
def test_the_way_out_is_said(name, forgotten, error, words, tmp_path, monkeypatch):
    def forget(source):
        assert forgotten in source
        return source.replace(forgotten, "")

    with pytest.raises(error, match=words):
        run(name, tmp_path, monkeypatch, active=True, edit=forget)
    assert not (tmp_path / "active" / "al").exists()


def test_changed_lines_are_counted():
    assert changed_lines("a\nb\nc\n", "a\nB\nc\n") == 1
    assert changed_lines("a\nb\n", "a\nx\n\ny\nb\n") == 2
    assert changed_lines("a\nb\nc\n", "a\n") == 2
    assert changed_lines("a\nb\n", "x\ny\nz\n") == 3


def test_a_diff_must_fit():
    assert patched("a\nb\nc\n", "--- x\n+++ x\n@@ -1,2 +1,2 @@\n a\n-b\n+B\n") == "a\nB\nc\n"
    with pytest.raises(AssertionError, match="does not fit"):
        patched("a\nc\n", "--- x\n+++ x\n@@ -1,2 +1,2 @@\n a\n-b\n+B\n")
