"""Models and datasets of detection that the recipes name; torchvision is imported only where it is used."""

from lightning_al.zoo.detection.data_module import DetectionDataModule
from lightning_al.zoo.detection.detector import Detector
from lightning_al.zoo.detection.images import BoxedImage, DetectionFiles
from lightning_al.zoo.detection.small_ssd import SmallSSD
from lightning_al.zoo.detection.voc import VOCDetectionDataModule

__all__ = [
    "BoxedImage",
    "DetectionDataModule",
    "DetectionFiles",
    "Detector",
    "SmallSSD",
    "VOCDetectionDataModule",
]
