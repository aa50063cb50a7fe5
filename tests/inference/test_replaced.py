"""Methods and attributes that are others for a while."""

import pytest
from torch import nn

from lightning_al.inference.replaced import kept, replaced, replaced_in_each


class Base:
    def setup(self):
        return "base"


class Model(Base):
    value = 0


class NoLuck(Exception):
    pass


def test_a_method_of_the_class_shows_again():
    model = Model()
    with pytest.raises(NoLuck), replaced(model, "setup", lambda: "other"):
        assert model.setup() == "other"
        raise NoLuck
    assert model.setup() == "base"
    assert vars(model) == {}


def test_what_an_object_had_of_its_own_comes_back():
    model = Model()
    model.setup = users = lambda: "user's"
    with replaced(model, "setup", lambda: "other"), replaced(model, "setup", lambda: "inner"):
        assert model.setup() == "inner"
    assert model.setup is users
    model.value = None
    with replaced(model, "value", 3):
        assert model.value == 3
    assert vars(model)["value"] is None


def test_what_others_put_there_meanwhile_goes_too():
    model = Model()
    with replaced(model, "setup", lambda: "other"):
        model.setup = lambda: "another"
    assert model.setup() == "base"
    with replaced(model, "setup", lambda: "other"):
        del model.setup
    assert model.setup() == "base"


def test_a_method_on_a_class_inherited_or_its_own():
    own = vars(Base)["setup"]
    for owner in (Base, Model):
        with replaced(owner, "setup", lambda self: "other"):
            assert Model().setup() == "other"
    assert vars(Base)["setup"] is own
    assert "setup" not in vars(Model)


def test_it_is_taken_back_on_close_and_once():
    layer = nn.Linear(2, 2)
    replacing = replaced(layer, "forward", lambda x: None)
    assert layer(1) is None
    replacing.close()
    assert "forward" not in vars(layer)
    layer.forward = users = lambda x: x
    replacing.close()
    assert layer.forward is users


class Trainer:
    """Has an attribute, and a property that sets two."""

    def __init__(self):
        self.epoch, self._optimizers, self.wrapped = 1, [1], [(1,)]

    @property
    def optimizers(self):
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers):
        self._optimizers, self.wrapped = optimizers, [(o,) for o in optimizers]


def test_attributes_and_properties_come_back_after_an_error_too():
    trainer = Trainer()
    before = trainer.optimizers
    with pytest.raises(NoLuck), kept(trainer, "epoch", "optimizers"):
        trainer.epoch, trainer.optimizers = 2, [2, 3]
        raise NoLuck
    assert trainer.optimizers is before
    assert vars(trainer) == {"epoch": 1, "_optimizers": [1], "wrapped": [(1,)]}


def test_many_objects_have_theirs_back_whatever_happens_inside():
    models = [Model(), nn.Linear(1, 1), Model()]
    models[2].setup = users = lambda: "user's"
    with pytest.raises(NoLuck), replaced_in_each("setup", {model: index for index, model in enumerate(models)}):
        assert [model.setup for model in models] == [0, 1, 2]
        del models[0].setup
        raise NoLuck
    assert models[0].setup() == "base"
    assert not hasattr(models[1], "setup")
    assert models[2].setup is users


def test_of_none_nothing_is_replaced():
    with replaced_in_each("setup", {}):
        assert Model().setup() == "base"
