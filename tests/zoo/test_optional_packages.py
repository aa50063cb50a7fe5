from tests.helpers.anew import imported_anew

# torchmetrics imports some of these itself where they are installed, so only our own imports are refused.
CODE = """
import builtins
real = builtins.__import__
optional = ("torchvision", "sklearn", "matplotlib", "PIL", "jsonargparse", "mrcfile", "tifffile", "scipy")
optional += ("faster_coco_eval",)
def refuse(name, globals=None, *args, **kwargs):
    ours = (globals or {}).get("__name__", "").startswith("lightning_al")
    if ours and name.split(".")[0] in optional:
        raise ImportError(name)
    return real(name, globals, *args, **kwargs)
builtins.__import__ = refuse
asked = []
for name in optional:
    try:
        exec(f"import {name}", {"__name__": "lightning_al.zoo"})
    except ImportError:
        asked.append(name)
import lightning_al.report
from lightning_al.tasks import *
from lightning_al.oracle import *
from lightning_al.zoo import *
DetectionTask(), SegmentationTask(3)
Classifier(SmallCNN(), num_classes=10), CIFAR10DataModule(), DigitsDataModule(), FashionMNISTDataModule()
SVHNDataModule(), CIFAR100DataModule(), ImageNetDataModule(), Caltech101DataModule()
DisasterDataModule(), ResNet50(width=2), VGG16(width=2, hidden=2)
ResNet18(), ViT(), TextClassifier(), SubtomogramDataModule()
CamVidDataModule(), CityscapesDataModule(), SYNTHIADataModule(), Segmenter(SmallUNet(3), 3), DRN22(3, width=2)
VOCDetectionDataModule(), COCODetectionDataModule()
"""


def test_importing_needs_no_optional_package():
    assert len(imported_anew(CODE)["asked"]) == 9  # they are refused
