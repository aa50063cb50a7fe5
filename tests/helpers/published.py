"""Data modules of published images, with options of each as YAML has them; networks too."""

SMALL = {"augmentation": True, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "imbalance": 50.0}
FOLDERS = {"augmentation": "none", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "num_workers": 2}
DATA = {
    "FashionMNISTDataModule": {"mean": [0.0], "std": [1.0], "imbalance_seed": 1, "download": False},
    "CIFAR10DataModule": SMALL,
    "CIFAR100DataModule": SMALL,
    "SVHNDataModule": SMALL,
    "ClassFoldersDataModule": {**FOLDERS, "train": "learn", "test": "exam", "size": 32, "imbalance": 50.0},
    "ImageNetDataModule": {**FOLDERS, "augmentation": "resized_crop", "test": "val", "size": 64, "margin": 0.0},
    "Caltech101DataModule": {**FOLDERS, "augmentation": "crop_and_flip", "size": [224, 224], "test_share": 0.5},
    "DisasterDataModule": {**FOLDERS, "size": [32, 32], "in_memory": False, "split_seed": 3, "train_per_class": 9},
}
NETS = {"ResNet18": {"stem": "7x7", "width": 2}, "ResNet50": {"width": 2}, "VGG16": {"width": 1, "hidden": 2}}
