"""What the zoo's data modules share."""

import inspect

import pytest
from lightning.pytorch import LightningDataModule

from lightning_al import zoo

MODULES = [
    each
    for name in zoo.__all__
    if inspect.isclass(each := getattr(zoo, name))
    and issubclass(each, LightningDataModule)
    and each is not zoo.PublishedImages  # whose subclasses know what it needs
]
NEEDED = {"folder": "a", "file": "a", "source": None, "target": None}


def parameters(kind):
    """Those of its constructor, with those that ``**options`` hands to the one above."""
    found = {}
    for base in kind.__mro__:
        if "__init__" in vars(base):
            own = dict(inspect.signature(base).parameters)
            handed_on = [n for n, p in own.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
            found = {n: p for n, p in own.items() if n not in handed_on} | found
            if not handed_on:
                break
    return found


def made(kind, **options):
    needed = [n for n, p in parameters(kind).items() if p.default is inspect.Parameter.empty]
    return kind(**{name: NEEDED[name] for name in needed}, **options)


def options_of_loaders(kind):
    return {"batch_size", "eval_batch_size", "num_workers"} & parameters(kind).keys()


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_options_of_loaders_are_checked(kind):
    for name in options_of_loaders(kind):
        wrong = {"num_workers": -1}.get(name, 0)
        with pytest.raises(ValueError, match=f"`{name}` must be at least {wrong + 1}, got {wrong}"):
            made(kind, **{name: wrong})
        with pytest.raises(TypeError, match=f"`{name}` must be an int"):
            made(kind, **{name: "8"})


def test_there_are_some():
    assert sum(len(options_of_loaders(kind)) for kind in MODULES) > 30
