"""Models and datasets of segmentation that the recipes name; torchvision is imported only where it is used."""

from lightning_al.zoo.segmentation.adaptive_segmenter import AdaptiveSegmenter
from lightning_al.zoo.segmentation.camvid import CamVidDataModule
from lightning_al.zoo.segmentation.cityscapes import CityscapesDataModule
from lightning_al.zoo.segmentation.deeplab import DeepLab
from lightning_al.zoo.segmentation.domains import TwoDomainsDataModule
from lightning_al.zoo.segmentation.drn import DRN22
from lightning_al.zoo.segmentation.images import SegmentationDataModule, SegmentationFiles
from lightning_al.zoo.segmentation.mean_iou import MeanIoU
from lightning_al.zoo.segmentation.segmenter import Segmenter
from lightning_al.zoo.segmentation.synthia import SYNTHIADataModule
from lightning_al.zoo.segmentation.unet import SmallUNet

__all__ = [
    "DRN22",
    "AdaptiveSegmenter",
    "CamVidDataModule",
    "CityscapesDataModule",
    "DeepLab",
    "MeanIoU",
    "SYNTHIADataModule",
    "SegmentationDataModule",
    "SegmentationFiles",
    "Segmenter",
    "SmallUNet",
    "TwoDomainsDataModule",
]
