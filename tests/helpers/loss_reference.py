"""Learning to predict the loss as a loop written by hand, and the modules that it is compared with."""

import copy
import math

import torch
from lightning.pytorch import LightningModule
from torch.nn import functional as F

from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from tests.helpers.sam_reference import distance, loader, network, sam_epsilon, sgd, trainer

EPOCHS, WIDTH = 5, 4  # the features are detached in epoch 4, the only one above 0.6 * 5


def written_on(*bases):
    """A user's module with hooks of its own, on any bases."""

    class Net(*bases):
        def __init__(self, optimizer=sgd, net=None, **kwargs):
            super().__init__(**kwargs)
            self.net = network() if net is None else net
            self.optimizer = optimizer

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return self.optimizer(self.parameters())

    return Net


Plain = written_on(LightningModule)


class Front(LossPredictionMixin, Plain):
    pass


Own = written_on(LossPredictionMixin, LightningModule)


class Super(Own):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        return super().configure_optimizers()


class Dict(LossPredictionMixin, LightningModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.net = network()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return {"loss": F.cross_entropy(self(batch[0]), batch[1]), "more": 1}

    def configure_optimizers(self):
        return sgd(self.parameters())


FORMS = [Front, Own, Super, Dict]


def sam_forms(sam):
    """SAM and loss prediction on one module, in every order."""

    class SAMFirst(sam, LossPredictionMixin, Plain):
        pass

    class SAMSecond(LossPredictionMixin, sam, Plain):
        pass

    class SAMLater(sam, Front):
        pass

    class SAMBefore(LossPredictionMixin, type("Sharp", (sam, Plain), {})):
        pass

    class SAMOwn(written_on(sam, LossPredictionMixin, LightningModule)):
        pass

    class LossOwn(written_on(LossPredictionMixin, sam, LightningModule)):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

    return [SAMFirst, SAMSecond, SAMLater, SAMBefore, SAMOwn, LossOwn]


SAM_FORMS = [*sam_forms(SAMMixin), *sam_forms(AutoSAMMixin)]


def made(model, x=None):
    """The model with its module, made before the fit so that a copy of it can be taken."""
    model.predict_losses(torch.zeros(2, 5, dtype=torch.float64) if x is None else x)
    return model


def copies(model):
    return copy.deepcopy(model.net), copy.deepcopy(model.loss_prediction)


def pair_loss(predicted, losses, margin=1.0):
    total, half = 0.0, len(losses) // 2
    for i in range(half):
        j = len(losses) - 1 - i
        d = 1 if losses[i] > losses[j] else -1
        total = total + (margin - d * (predicted[i] - predicted[j])).clamp(min=0)
    return total / half


def hand(net, module, batches, *, epochs=EPOCHS, after=0.6, weight=1.0, margin=1.0, groups=(), rho=None, clip=None):
    """Train both in place, by SGD, or by SAM with ``rho``; ``groups``: what the module's group has of its own."""
    optimizer = torch.optim.SGD(
        [{"params": net.parameters()}, {"params": module.parameters(), **dict(groups)}], lr=0.3, momentum=0.9
    )
    params = [p for group in optimizer.param_groups for p in group["params"]]

    def gradients(x, y, epoch):
        hidden = net[:2](x)
        logits = net[2](hidden)
        losses = F.cross_entropy(logits, y, reduction="none")
        seen = hidden.detach() if epoch > math.floor(after * epochs) else hidden
        branch = module.maps["/net/1"]
        predicted = module.head((seen @ branch.weight.T + branch.bias).relu())[:, 0]
        loss = losses.mean() + weight * pair_loss(predicted, losses.detach(), margin)
        return torch.autograd.grad(loss, params)

    for epoch in range(epochs):
        for x, y in batches:
            theta = [p.detach().clone() for p in params]
            grads = gradients(x, y, epoch)
            if rho is not None:
                with torch.no_grad():
                    for p, e in zip(params, sam_epsilon(theta, grads, None, rho=rho)):
                        p += e
                grads = gradients(x, y, epoch)
            if clip is not None:
                grads = clip(grads)
            with torch.no_grad():
                for p, t, g in zip(params, theta, grads):
                    p.data, p.grad = t, g
            optimizer.step()


def fitted(model, data=None, **kwargs):
    fit = trainer(**{"max_epochs": EPOCHS, **kwargs})
    fit.fit(model, data or loader())
    return fit


__all__ = ["loader", "network", "sgd", "trainer"]


EXACT = 1e-10  # SAM divides by a norm plus 1e-12


def compare(model, by_hand):
    net, module = by_hand
    assert distance(model.net, net) < EXACT
    assert distance(model.loss_prediction, module) < EXACT


def trained(form, fit=(), by_hand=(), **options):
    """A form fitted by Lightning, beside the loop written by hand."""
    model = made(form(loss_width=WIDTH, **options))
    net, module = copies(model)
    fitted(model, **dict(fit))
    hand(net, module, list(loader()), **dict(by_hand))
    compare(model, (net, module))
    return model, net
