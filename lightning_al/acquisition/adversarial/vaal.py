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

    Where we differ from the authors' code:

    - Networks. Their VAE is made for 32x32 pixels: four convolutions of 4x4 with stride 2, of 128, 256, 512 and 1,024
      channels, each with batch normalisation (in training by the statistics of the labelled and of the unlabelled batch
      apart, in scoring by those of the batch too, so that scores depend on it), and four back. Ours follow from the
      shape of the inputs, 3x3, without batch normalisation. Their discriminator has five linear layers, four of them
      512 wide; ours has three. Their weights begin as Kaiming's normal ones with biases of 0, ours as torch's.
    - Loss. Theirs sums the divergence over the batch: ``reduction="batch"``.
    - Data. They train on all that is not labelled, at random flipped, of values from 0 to 1; we on the round's
      candidates, as they are scored, standardised. Their model is trained in the same loop, ours by its own fit.
    - Budget. Theirs is ``steps=39062, batch_size=128`` (100 epochs of CIFAR-10 before every query), as in
      ``recipes/acquisitions/vaal.yaml`` with ``width=128``; the defaults are for a CPU.

    Args:
        steps: Pairs of a labelled and an unlabelled batch to train on; None: until ``seconds`` are over.
        seconds: Time after which training ends, at the latest; picks then depend on how fast the machine is.
        batch_size: Samples per batch of either kind; at most as many as there are.
        latent: Length of the codes.
        width: Channels of the VAE's first layer.
        beta: Weight of the divergence in the VAE's loss.
        adversarial: Weight of the discriminator in the VAE's loss.
        reduction: ``"sample"``: the VAE's loss is a sum over the values of a sample; ``"batch"``, as in the authors'
            code; ``"mean"``, or ``"code"``, as SRAAL's. See :func:`lightning_al.functional.vae_loss`.
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
