"""Forward passes that are shared give what each gives alone, and only looks at the model as it is share them."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.calling import tensors_of
from lightning_al.inference.layers import outputs_and_features_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.shared_forward import SharedForward, shared_outputs, sharing
from lightning_al.tasks import ClassificationTask
from tests.helpers.inference import Seen
from tests.helpers.projects import Net, make_data

X = make_data(10)[0]


def features(layer=None):
    return lambda model, x: ClassificationTask().outputs_and_features(model, x, layer)


@pytest.fixture
def model():
    made = Seen(dropout=0.3).eval()
    made.seen.clear()
    return made


def test_each_pass_is_made_once(model):
    of_first = plain_outputs(model, X, features("net.0"))[1]
    wanted = *plain_outputs(model, X, features()), of_first
    model.seen.clear()
    with sharing(SharedForward(model)) as shared:
        outputs, hidden = shared_outputs(model, X.clone(), features())
        again = shared_outputs(model, X.clone())
        once_more = shared_outputs(model, X.clone(), features())
        assert model.seen == [10]
        first = shared_outputs(model, X.clone(), features("net.0"))[1]  # another layer is another look
        assert model.seen == [10, 10]
        shared.begin_batch()
        shared_outputs(model, X.clone())
        assert model.seen == [10, 10, 10]
    assert all(map(torch.equal, (outputs, hidden, first), wanted))
    assert all(map(torch.equal, (again, once_more[1]), wanted))


def test_outputs_first_and_features_later_take_two(model):
    with sharing(SharedForward(model)):
        outputs = shared_outputs(model, X)
        with_features = shared_outputs(model, X, features())
    assert model.seen == [10, 10]
    assert torch.equal(outputs, with_features[0])
    assert torch.equal(with_features[1], plain_outputs(model, X, features())[1])


def test_who_changes_what_it_gets_changes_nothing_for_others(model):
    with sharing(SharedForward(model)):
        for _ in range(3):
            outputs, hidden = shared_outputs(model, X, features())
            assert torch.equal(outputs, plain_outputs(model, X))
            outputs.zero_(), hidden.zero_()


OTHERS = {
    "other inputs": lambda model: shared_outputs(model, X + 1e-9),
    "other weights": lambda model: plain_outputs(model, X, tensors=tensors_of(Net(dropout=0.3))),
    "gradients": lambda model: F_al.gradient_norm(model, X),
    "dropout": lambda model: F_al.mc_dropout(model, X, passes=2, seed=0),
    "another model": lambda model: shared_outputs(Net(), X),
    "a plain look": lambda model: plain_outputs(model, X),
}


@pytest.mark.parametrize("look", OTHERS.values(), ids=OTHERS)
def test_others_are_not_served(model, look):
    wanted = look(model)
    with sharing(SharedForward(model)):
        shared_outputs(model, X)
        assert torch.equal(look(model), wanted)


def test_hooks_of_the_users_see_their_layers(model):
    def with_hook(model, x):
        seen = []
        hook = model.net[0].register_forward_hook(lambda _, __, out: seen.append(out))
        try:
            model(x)
        finally:
            hook.remove()
        return seen[0]

    with sharing(SharedForward(model)):
        shared_outputs(model, X)
        assert torch.equal(shared_outputs(model, X, with_hook), model.net[0](X))


class Remembering(Seen):
    """Leaves what its layers gave where others read it."""

    def forward(self, x):
        self.hidden = self.net[0](x)
        return super().forward(x)


def by_attribute(model, x):
    model(x)
    return model.hidden


def test_what_a_forward_pass_leaves_in_the_model_is_of_that_pass():
    model = Remembering().eval()
    wanted = [plain_outputs(model, x, by_attribute) for x in (X, X + 1)]
    with sharing(SharedForward(model)) as shared:
        for _ in range(2):
            for x, hidden in zip((X, X + 1), wanted, strict=True):
                shared.begin_batch()
                shared_outputs(model, x)
                assert torch.equal(shared_outputs(model, x, by_attribute), hidden)
                assert torch.equal(shared_outputs(model, x, features())[0], plain_outputs(model, x))


def test_hooks_that_stay_see_each_pass():
    model, caught = Seen().eval(), []
    model.net[0].register_forward_hook(lambda _, __, out: caught.append(out))
    with sharing(SharedForward(model)):
        for _ in range(2):
            shared_outputs(model, X)
    assert len(caught) == 2


def test_a_model_that_works_in_place_gets_its_own_inputs():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    model = InPlace()
    with sharing(SharedForward(model)):
        assert torch.equal(shared_outputs(model, X), 2 * X)
        assert torch.equal(shared_outputs(model, X), 2 * X)


def test_a_look_outside_of_a_shared_pass_is_made_once(model):
    with sharing(SharedForward(model)):
        outputs, hidden = outputs_and_features_of(model, lambda: model(X), None)
    assert model.seen == [10]
    assert hidden.shape == (10, 8)
    assert torch.equal(outputs, model(X))
