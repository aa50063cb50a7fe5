"""Models and datasets that the recipes name; packages that only some of them need are imported where they are used."""

from lightning_al.zoo.backbone import ImageBackbone
from lightning_al.zoo.caltech101 import Caltech101DataModule
from lightning_al.zoo.cifar import CIFAR10DataModule, CIFAR100DataModule
from lightning_al.zoo.class_folders import ClassFoldersDataModule
from lightning_al.zoo.classifier import Classifier
from lightning_al.zoo.classifier_of_data import DataClassifier
from lightning_al.zoo.cnn import PlainCNN, SmallCNN
from lightning_al.zoo.detection import (
    BoxedImage,
    COCODetectionDataModule,
    DetectionDataModule,
    DetectionFiles,
    Detector,
    LossPredictionDetector,
    SAMDetector,
    SmallSSD,
    TorchvisionDetector,
    VOCDetectionDataModule,
)
from lightning_al.zoo.diabetes import DiabetesDataModule
from lightning_al.zoo.digits import DigitsDataModule
from lightning_al.zoo.disasters import DisasterDataModule
from lightning_al.zoo.encoder import Encoder
from lightning_al.zoo.fashion_mnist import FashionMNISTDataModule
from lightning_al.zoo.image_folders import ImageFolderDataModule
from lightning_al.zoo.imagenet import ImageNetDataModule
from lightning_al.zoo.images import ImageDataModule, ImageDataset
from lightning_al.zoo.loss_prediction_classifier import LossPredictionClassifier
from lightning_al.zoo.published import PublishedImages
from lightning_al.zoo.regressor import Regressor, TableNet
from lightning_al.zoo.resnet import ResNet18, ResNet50
from lightning_al.zoo.sam_classifier import SAMClassifier
from lightning_al.zoo.sam_loss_prediction_classifier import SAMLossPredictionClassifier
from lightning_al.zoo.segmentation import (
    DRN22,
    AdaptiveSegmenter,
    CamVidDataModule,
    CityscapesDataModule,
    DeepLab,
    MeanIoU,
    SegmentationDataModule,
    SegmentationFiles,
    Segmenter,
    SmallUNet,
    SYNTHIADataModule,
    TwoDomainsDataModule,
)
from lightning_al.zoo.simclr import SimCLR
from lightning_al.zoo.svhn import SVHNDataModule
from lightning_al.zoo.text import TextClassifier
from lightning_al.zoo.text_table import TextTableDataModule
from lightning_al.zoo.tomograms import SubtomogramDataModule, Subtomograms
from lightning_al.zoo.two_heads import TwoHeads
from lightning_al.zoo.vgg import VGG16
from lightning_al.zoo.vit import ViT

__all__ = [
    "DRN22",
    "VGG16",
    "AdaptiveSegmenter",
    "BoxedImage",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "COCODetectionDataModule",
    "Caltech101DataModule",
    "CamVidDataModule",
    "CityscapesDataModule",
    "ClassFoldersDataModule",
    "Classifier",
    "DataClassifier",
    "DeepLab",
    "DetectionDataModule",
    "DetectionFiles",
    "Detector",
    "DiabetesDataModule",
    "DigitsDataModule",
    "DisasterDataModule",
    "Encoder",
    "FashionMNISTDataModule",
    "ImageBackbone",
    "ImageDataModule",
    "ImageDataset",
    "ImageFolderDataModule",
    "ImageNetDataModule",
    "LossPredictionClassifier",
    "LossPredictionDetector",
    "MeanIoU",
    "PlainCNN",
    "PublishedImages",
    "Regressor",
    "ResNet18",
    "ResNet50",
    "SAMClassifier",
    "SAMDetector",
    "SAMLossPredictionClassifier",
    "SVHNDataModule",
    "SYNTHIADataModule",
    "SegmentationDataModule",
    "SegmentationFiles",
    "Segmenter",
    "SimCLR",
    "SmallCNN",
    "SmallSSD",
    "SmallUNet",
    "SubtomogramDataModule",
    "Subtomograms",
    "TableNet",
    "TextClassifier",
    "TextTableDataModule",
    "TorchvisionDetector",
    "TwoDomainsDataModule",
    "TwoHeads",
    "VOCDetectionDataModule",
    "ViT",
]
