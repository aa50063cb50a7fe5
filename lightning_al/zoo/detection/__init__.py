"""Models and datasets of detection that the recipes name; torchvision is imported only where it is used."""

from lightning_al.zoo.detection.by_name import TorchvisionDetector
from lightning_al.zoo.detection.coco import COCODetectionDataModule
from lightning_al.zoo.detection.data_module import DetectionDataModule
from lightning_al.zoo.detection.detector import Detector
from lightning_al.zoo.detection.images import BoxedImage, DetectionFiles
from lightning_al.zoo.detection.loss_prediction_detector import LossPredictionDetector
from lightning_al.zoo.detection.sam_detector import SAMDetector
from lightning_al.zoo.detection.small_ssd import SmallSSD
from lightning_al.zoo.detection.voc import VOCDetectionDataModule

__all__ = [
    "BoxedImage",
    "COCODetectionDataModule",
    "DetectionDataModule",
    "DetectionFiles",
    "Detector",
    "LossPredictionDetector",
    "SAMDetector",
    "SmallSSD",
    "TorchvisionDetector",
    "VOCDetectionDataModule",
]
