import copy
import math
import pickle

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule

from lightning_al.training import AutoSAMMixin, SAMMixin, sam_step
from tests.helpers.sam_reference import (
    AutoFront,
    AutoOwn,
    ManualFront,
    ManualOwn,
    Plain,
    fitted,
    network,
    sgd,
    written_on,
)

MIXINS = [SAMMixin, AutoSAMMixin]
SHARED = [
    ({"rho": 0.0}, "rho.*0.0"),
    ({"rho": math.nan}, "rho"),
    ({"rho": math.inf}, "rho"),
    ({"perturbation": "esam"}, "perturbation.*esam"),
    ({"p": 1.0}, "`p`.*1.0"),
    ({"perturbation": "asam", "p": 3.0}, "asam"),
    ({"eta": -1.0}, "eta"),
    ({"eta": 0.1}, '`eta` is of `perturbation="asam"` alone, got 0.1 with "sam"'),
    ({"scope": "biases"}, "scope.*biases"),
    ({"ascent": "local"}, "ascent.*per_rank.*local"),
    ({"running_stats": "second"}, "running_stats.*second"),
]
OF_VARIANTS = [
    ({"variant": "asam"}, "variant.*esam.*asam"),
    ({"variant": "looksam", "every": 0}, "every.*0"),
    ({"variant": "looksam", "alpha": -0.1}, "alpha.*-0.1"),
    ({"variant": "esam", "beta": 0.0}, "beta.*0.0"),
    ({"variant": "esam", "gamma": 1.1}, "gamma.*1.1"),
    ({"variant": "gsam", "rho_min": 0.1}, "`rho_min` must be at most `rho`, got 0.1 and 0.05"),
    ({"variant": "gsam", "lr_min": 0.1, "lr_max": 0.01}, "`lr_min` must be at most `lr_max`"),
    ({"variant": "gsam", "lr_max": 0.1}, "got 0.0 and 0.1 without `rho_min`"),
    ({"variant": "gsam", "lr_min": 0.01}, "got 0.01 and None without `rho_min`"),
    ({"variant": "gsam", "ascent": "per_rank"}, "gsam.*per_rank.*global"),
    ({"variant": "looksam", "ascent": "per_rank"}, "looksam.*per_rank.*global"),
    ({"variant": "saf", "temperature": 0.0}, "temperature.*0.0"),
    ({"variant": "saf", "lag": 0}, "lag.*0"),
    ({"variant": "saf", "start_epoch": -1}, "start_epoch.*-1"),
    ({"variant": "mesa", "decay": 1.0}, "decay.*1.0"),
    ({"variant": "mesa", "trajectory_weight": -1.0}, "trajectory_weight.*-1.0"),
    ({"every": 5}, '`every` is an option of variant "looksam", not of "sam", got 5'),
    ({"variant": "saf", "rho": 0.1}, '`rho` is an option of variant "sam" or .*, not of "saf"'),
    ({"variant": "mesa", "lag": 2}, '`lag` is an option of variant "saf", not of "mesa"'),
    ({"variant": "gsam", "beta": 0.5}, '`beta` is an option of variant "esam"'),
]
MANUAL_ONLY = [
    ({"accumulate_grad_batches": 0}, "accumulate_grad_batches.*0"),
    ({"gradient_clip_val": -1.0}, "gradient_clip_val.*-1.0"),
    ({"gradient_clip_algorithm": "max"}, "gradient_clip_algorithm.*max"),
]
REFUSED = [(m, o, s) for m in MIXINS for o, s in SHARED + OF_VARIANTS] + [(SAMMixin, o, s) for o, s in MANUAL_ONLY]


@pytest.mark.parametrize(("mixin", "options", "message"), REFUSED)
def test_bad_options_are_refused_at_construction(mixin, options, message):
    class Net(mixin, Plain):
        pass

    with pytest.raises(ValueError, match=message):
        Net(**options)
    with pytest.raises(ValueError, match=message):
        type("Net", (mixin, Plain), dict(options))()
    Net()


NO_TYPE = {"rho": "a", "p": "2", "eta": [0.0], "same_noise": "yes"}
NO_TYPE_MANUAL = {"accumulate_grad_batches": 1.5, "gradient_clip_val": "1"}


@pytest.mark.parametrize(
    ("mixin", "wrong"), [(SAMMixin, NO_TYPE | NO_TYPE_MANUAL), (AutoSAMMixin, NO_TYPE)], ids=["manual", "automatic"]
)
def test_options_of_the_wrong_type_are_one_type_error(mixin, wrong):
    with pytest.raises(TypeError) as caught:
        type("Net", (mixin, Plain), {})(**wrong)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(wrong)} things cannot be as they are:"
    for line, (name, value) in zip(lines, wrong.items(), strict=True):
        assert f"`{name}` must be " in line
        assert line.endswith(f"got {value!r}.")


def test_all_that_is_wrong_is_said_at_once_and_before_anything_is_made():
    with pytest.raises(ValueError, match="4 things") as caught:
        ManualFront(variant="looksam", every=0, beta=0.5, lag=3, rho=-1.0)
    for name in ("every", "beta", "lag", "rho"):
        assert f"`{name}`" in str(caught.value)
    w = torch.nn.Parameter(torch.ones(1))
    calls = []
    for options, message in [
        ({"variant": "saf"}, r"SAMMixin\(variant=\"saf\"\)"),
        ({"variant": "mesa"}, "SAMMixin"),
        ({"variant": "lookspam"}, "lookspam"),
        ({"variant": "sam", "every": 5}, "looksam"),
    ]:
        with pytest.raises(ValueError, match=message):
            sam_step([w], sgd([w]), lambda: calls.append(0), **options)
    with pytest.raises(TypeError, match=r"'lag'.*every"):
        sam_step([w], sgd([w]), lambda: calls.append(0), lag=3)
    assert not calls


def test_options_that_are_not_given_are_the_papers():
    assert options_of(ManualFront(variant="looksam")).every == 5
    assert options_of(ManualFront(variant="looksam")).alpha == 0.7
    assert options_of(ManualFront(variant="saf")).trajectory_weight == 0.3
    assert options_of(ManualFront(variant="mesa")).trajectory_weight == 0.8
    assert options_of(ManualFront(variant="esam")).rho == 0.05
    assert options_of(ManualFront(variant="saf")).rho is None
    assert options_of(type("Net", (AutoFront,), {"variant": "esam", "gamma": 0.25})()).gamma == 0.25


def options_of(model):
    return model._sam.options


@pytest.mark.parametrize("form", [ManualFront, AutoFront, ManualOwn, AutoOwn])
def test_copies_and_pickles_keep_their_options(form):
    model = form(rho=0.5)
    assert options_of(copy.deepcopy(model)).rho == 0.5
    if form in (ManualFront, AutoFront):
        assert options_of(pickle.loads(pickle.dumps(model))).rho == 0.5


@pytest.mark.parametrize("mixin", MIXINS)
def test_modules_that_drive_their_optimizer_are_refused(mixin):
    class InInit(Plain):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    class InBody(Plain):
        automatic_optimization = False

    class Net(mixin, InInit):
        pass

    with pytest.raises(TypeError, match="sam_step"):
        Net()
    with pytest.raises(TypeError, match="InBody sets `automatic_optimization`"):

        class Other(mixin, InBody):
            pass

    with pytest.raises(TypeError, match="sam_step"):

        class Own(mixin, Plain):
            automatic_optimization = False

    with pytest.raises(TypeError, match="dataloader_iter"):

        class Iterates(mixin, Plain):
            def training_step(self, dataloader_iter):
                pass

    class True_(Plain):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = True

    class Fine(mixin, True_):
        pass

    assert Fine().automatic_optimization is (mixin is AutoSAMMixin)


def test_more_than_one_optimizer():
    for form in (ManualFront, AutoFront):

        class Two(form):
            def configure_optimizers(self):
                return [sgd(self.net[0].parameters()), sgd(self.net[2].parameters())]

        with pytest.raises((MisconfigurationException, RuntimeError), match=r"one optimizer|multiple optimizers"):
            fitted(Two())

    model = ManualFront()
    model.configure_optimizers = lambda: [sgd(model.net[0].parameters()), sgd(model.net[2].parameters())]
    with pytest.raises(MisconfigurationException, match="exactly one optimizer, got 2"):
        fitted(model)


@pytest.mark.parametrize(("option", "value"), [("gradient_clip_val", 0.5), ("accumulate_grad_batches", 2)])
def test_trainer_options_that_manual_optimization_lacks_name_ours(option, value):
    with pytest.raises(MisconfigurationException, match=rf"ManualFront\({option}={value}\).*AutoSAMMixin"):
        fitted(ManualFront(), **{option: value})
    fitted(ManualFront(**{option: value}))  # what it suggests works


@pytest.mark.parametrize("option", ["gradient_clip_val", "accumulate_grad_batches", "gradient_clip_algorithm"])
def test_automatic_leaves_some_options_to_the_trainer(option):
    with pytest.raises(TypeError, match=rf"Trainer\({option}=2\)"):
        type("Net", (AutoFront,), {option: 2})()
    with pytest.raises(TypeError, match=option):
        AutoFront(**{option: 2})


def test_jsonargparse_sees_the_options_and_the_modules_own():
    jsonargparse = pytest.importorskip("jsonargparse")

    class Module(LightningModule):
        def __init__(self, width: int = 7, p: float = 0.1):
            super().__init__()
            self.width, self.p = width, p

    for mixin in MIXINS:

        class Net(mixin, Module):
            pass

        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(Net, "model")
        config = parser.parse_object({"model": {"rho": 0.3, "perturbation": "asam", "same_noise": True, "width": 9}})
        model = parser.instantiate(config).model
        assert (options_of(model).rho, options_of(model).perturbation, options_of(model).same_noise) == (
            0.3,
            "asam",
            True,
        )
        assert model.width == 9
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_object({"model": {"perturbation": "esam"}})


def test_the_mixin_adds_nothing_to_the_state_dict():
    model = written_on(SAMMixin, LightningModule)()
    assert list(model.state_dict()) == [f"net.{k}" for k in network().state_dict()]
    assert all(isinstance(v, torch.Tensor) for v in model.state_dict().values())
