"""ImageNet (Russakovsky et al., 2015), the classes of the challenge of 2012: 1,281,167 + 50,000 photographs."""

from typing import Any

from lightning_al.zoo.class_folders import ClassFoldersDataModule
from lightning_al.zoo.image_files import Augmentation


class ImageNetDataModule(ClassFoldersDataModule):
    """ImageNet's thousand classes as (3, 224, 224) floats, normalised; the validation images are tested on.

    From https://www.image-net.org, 148 GB, after registration (MD5 1d675b47d978889d74fa0da5fadfb00e of
    ILSVRC2012_img_train.tar, 29b22e2961454d5413ddabcf34fc5622 of ILSVRC2012_img_val.tar). Licence: ImageNet's terms of
    access, for research and teaching that are not commercial.

    .. code-block:: text

        root/train/n01440764/n01440764_10026.JPEG     root/val/n01440764/ILSVRC2012_val_00000293.JPEG

    which is what ``torchvision.datasets.ImageNet(root, split)`` makes of the archives and the development kit. Classes
    are the folders' names, in their order.

    Training images are random parts, mirrored; others the middle of the image, 7/8 of its shorter side, as of 256
    pixels scaled and 224 cropped. The papers do not say how images are brought to size.

    Args:
        root: Folder of the data.
        test: Folder of the images that are tested on.
        margin: As of :class:`ClassFoldersDataModule`.
        augmentation: As there.
        **options: As there.
    """

    def __init__(
        self,
        root: str = "data/imagenet",
        *,
        test: str = "val",
        margin: float = 1 / 16,
        augmentation: Augmentation = "resized_crop",
        **options: Any,
    ) -> None:
        super().__init__(root, test=test, margin=margin, augmentation=augmentation, **options)

    def layout(self) -> str:
        """What the folder must hold."""
        return (
            f"`{self.train}` and `{self.test}`, each with a folder of each class (`n01440764`): "
            "`torchvision.datasets.ImageNet(root, split)` unpacks the archives so."
        )
