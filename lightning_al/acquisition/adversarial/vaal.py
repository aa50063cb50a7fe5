"""VAAL: samples whose latent codes a discriminator can tell from those of labelled ones."""

from lightning_al.acquisition.adversarial.base import AdversarialAcquisition


class VAAL(AdversarialAcquisition):
    r"""Samples whose latent code looks least like that of a labelled one (Sinha et al., ICCV 2019).

    A :class:`~lightning_al.nn.VAE` learns, from inputs alone, codes by which a discriminator :math:`D` cannot tell
    labelled from unlabelled samples, while the discriminator learns to. Both are trained anew before every query, on
    the labelled samples and the candidates, without augmentation. The score is :math:`-\log D(\mu(x))`, so that
    the lowest :math:`D` is wanted most. The model plays no part.

    The networks follow from the shape of the inputs, one tensor a sample: images of any channels and size, features
    (d,), sequences or volumes with their channels first. For other inputs override :meth:`inputs`. Each channel or
    feature is standardised by its mean and deviation over at most 2,048 of the samples.

    They are trained in one process, whatever the number of the Trainer's, while the others wait, and so are the same
    for any number; on its device, in its precision (float64 if the model is in float64), by a Trainer of their own that
    logs and saves nothing. What they are afterwards is kept with the campaign until its next fit.

    Where we differ from the authors' code: no batch normalisation, networks that fit the input, and ``reduction``.
    Their budget is ``steps=39062, batch_size=128`` (100 epochs of CIFAR-10), with ``width=128``.

    Args:
        steps: Pairs of a labelled and an unlabelled batch to train on; None: until ``seconds`` are over.
        seconds: Time after which training ends, at the latest; picks then depend on how fast the machine is.
        batch_size: Samples per batch of either kind; at most as many as there are.
        latent: Length of the codes.
        width: Channels of the VAE's first layer.
        beta: Weight of the divergence in the VAE's loss.
        adversarial: Weight of the discriminator in the VAE's loss.
        reduction: ``"sample"``: the VAE's loss is a sum over the values of a sample; or ``"batch"``, as in the authors'
            code. See :func:`lightning_al.functional.vae_loss`.
        vae_steps: Steps of the VAE, each on batches of its own, for one of the discriminator.
        lr: Learning rate of Adam, for both.
        selection: ``"top"``, as published, ``"kmeans++"`` or ``"badge"``; see :class:`Acquisition`.

    Raises:
        ValueError: If an option is out of range.
        TypeError: In a loop, before anything trains, if the inputs are not one tensor of numbers.
    """

    requires = frozenset({"encoder", "labels"})

    def __init__(
        self,
        steps: int | None = 300,
        seconds: float | None = None,
        batch_size: int = 64,
        latent: int = 32,
        width: int = 32,
        beta: float = 1.0,
        adversarial: float = 1.0,
        reduction: str = "sample",
        vae_steps: int = 2,
        lr: float = 5e-4,
        selection: str = "top",
    ) -> None:
        super().__init__(
            steps=steps,
            seconds=seconds,
            batch_size=batch_size,
            latent=latent,
            width=width,
            beta=beta,
            adversarial=adversarial,
            reduction=reduction,
            vae_steps=vae_steps,
            lr=lr,
            selection=selection,
        )
