"""Mixins beside the user's own module: options, bases, and a step that is put past them."""

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.sam_reference import (
    AutoFront,
    ManualFront,
    Plain,
    distance,
    expected,
    fitted,
    sam_epsilon,
)

MIXINS = [SAMMixin, AutoSAMMixin]


def options_of(model):
    return model._sam.options


def test_keywords_win_over_attributes_and_subclasses_over_parents():
    class A(ManualFront):
        rho, scope = 0.1, "weights"

    class B(A):
        rho = 0.2

    assert (options_of(A()).rho, options_of(B()).rho, options_of(B(rho=0.3)).rho) == (0.1, 0.2, 0.3)
    assert options_of(B()).scope == "weights"
    assert options_of(ManualFront()).rho == 0.05

    class Mine(SAMMixin):
        rho = 0.7

    class C(Mine, Plain):
        pass

    assert options_of(C()).rho == 0.7
    assert distance(fitted(C()).net, expected(epsilon=lambda *a: sam_epsilon(*a, rho=0.7))) < 1e-10


@pytest.mark.parametrize("mixin", MIXINS)
def test_the_modules_own_attributes_and_options_do_not_mix(mixin):
    class Dropped(Plain):
        scope = "mine"  # a class attribute of the user's module

        def __init__(self, p: float = 0.0, **kwargs):
            super().__init__(**kwargs)
            self.p, self.rho, self.eta = p, "a string", -1

    class Net(mixin, Dropped):
        pass

    model = Net(p=0.4)
    assert (model.p, model.scope, model.rho) == (0.4, "mine", "a string")
    assert (options_of(model).p, options_of(model).scope, options_of(model).rho) == (2.0, "all", 0.05)
    assert distance(fitted(model).net, expected()) < 1e-10
    assert options_of(type("Sub", (Net,), {"p": 3.0})(p=0.4)).p == 3.0


@pytest.mark.parametrize("mixin", MIXINS)
def test_a_parent_called_by_name_leaves_the_class_attributes(mixin):
    class Net(mixin, Plain):
        rho = 0.5

        def __init__(self):
            Plain.__init__(self)

    # Plain's own super().__init__ goes to LightningModule, past the mixin
    assert distance(fitted(Net()).net, expected(epsilon=lambda *a: sam_epsilon(*a, rho=0.5))) < 1e-10


@pytest.mark.parametrize("mixin", MIXINS)
def test_the_order_of_bases(mixin):
    class Theirs(Plain):
        pass

    with pytest.raises(TypeError, match=rf"class Net\({mixin.__name__}, Theirs\)"):

        class Net(Theirs, mixin):
            pass

    with pytest.raises(TypeError, match="both SAMMixin and AutoSAMMixin"):

        class Both(SAMMixin, AutoSAMMixin, Plain):
            pass

    class Alone(mixin):
        pass

    for alone in (Alone, mixin):
        with pytest.raises(TypeError, match=r"pytorch_lightning is another package"):
            alone()


@pytest.mark.parametrize("mixin", MIXINS)
def test_a_training_step_put_past_the_mixin_is_refused(mixin):
    class Net(mixin, Plain):
        pass

    model = Net()
    model.training_step = lambda batch, batch_idx: None
    with pytest.raises(MisconfigurationException, match="`training_step` was replaced"):
        fitted(model)
    Net.training_step = Plain.training_step
    with pytest.raises(MisconfigurationException, match="`training_step` was replaced"):
        fitted(Net())


def test_unknown_keywords_are_refused():
    for form in (ManualFront, AutoFront):
        with pytest.raises(TypeError, match="rhoo"):
            form(rhoo=0.1)
