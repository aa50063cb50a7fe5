"""The recipes: which there are, which go together, and what is in their files."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
PROTOCOLS = [
    *("saal/cifar10_low_budget", "saal/fashion_mnist_low_budget"),
    *("saal/cifar10_high_budget", "saal/fashion_mnist_high_budget"),
    *("gradient_norms/cifar10", "gradient_norms/cryo_et"),
    *("lplgrad/cifar10_high_budget", "lplgrad/cifar10_low_budget"),
    *("cifar10/small", "fashion_mnist/small", "cryo_et/small"),
]
# The methods of the published tables and figures that protocols name, and those of none.
FIGURES = {
    "SAAL, Table 1": {
        *("random", "entropy", "coreset", "learning_loss", "vaal", "badge", "prob_cover", "saal", "saal_kmeans"),
    },
    "LPLgrad, Table III": {"random", "entropy", "coreset", "learning_loss", "entropy_grad_norm", "lplgrad"},
    "gradient norms, Fig. 1": {
        *("random", "core_gcn", "sraal", "vaal", "learning_loss", "coreset", "query_by_committee", "mc_dropout"),
        *("entropy_grad_norm", "expected_grad_norm"),
    },
    "none of SAAL, LPLgrad, gradient norms": {
        *("least_confidence", "margin", "typiclust", "uncertain_gcn", "bald", "batch_bald", "saal_badge"),
        *("vaal_small", "sraal_small"),
    },
}
METHODS = sorted(set.union(*FIGURES.values()))
ALONE = ["quickstart", "diabetes", "two_heads"]
"""Protocol and method in one file."""
OF_FILES = ["your_images", "your_texts"]
"""Of one's own files, for people who label: nothing is simulated."""
WITHOUT_QUERIES = ["full_data"]
"""Stands in a method's place, and trains on all labels."""
TRAININGS = ["sam", "sam_small"]
SEGMENTATION = {
    "camvid/small": "images",
    "gradient_norms/cityscapes": "images",
    "camvid/small_regions": "regions",
    "ripu/synthia_to_cityscapes": "regions",
}
"""Protocols of segmentation, and what they ask for."""
DETECTION = ["saal/voc", "bccd/small"]
"""Protocols of detection."""
OF_BOXES = [
    *("random", "entropy", "least_confidence", "margin", "entropy_grad_norm", "saal", "saal_kmeans", "badge"),
    *("coreset", "typiclust", "query_by_committee"),
]
"""Methods that the protocols of detection name."""
OF_REGIONS = ["ripu", "risaal"]
"""Methods that choose regions alone."""
OF_SINGLE_PIXELS = ["ripu_pixels"]
"""The same, of single pixels, which flags of their heads make protocols ask for."""
OF_IMAGES = [
    *("random", "entropy", "least_confidence", "margin", "entropy_grad_norm", "saal", "saal_kmeans", "badge"),
    *("coreset", "query_by_committee"),
]
"""Methods that the protocols of whole images name."""
OF_PIXELS = ["random", "entropy", "least_confidence", "margin"]
"""Methods for whole images that have a score of each pixel too."""

# Every protocol goes with every method, and with SAM after each method but these, which bring a model of their own.
LEARN_THE_LOSS = {"learning_loss", "lplgrad"}


def runs_of(protocol):
    """The files of every run that a protocol is for."""
    sam = "training/sam_small" if protocol.endswith("/small") else "training/sam"
    for method in METHODS:
        yield protocol, f"acquisitions/{method}"
        if method not in LEARN_THE_LOSS:
            yield protocol, f"acquisitions/{method}", sam


def text(name):
    return (RECIPES / f"{name}.yaml").read_text()


def load(name):
    return yaml.safe_load(text(name))


def head(name):
    lines = text(name).split("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in lines)
    return [line.lstrip("#") for line in lines]


def arguments(*files_and_flags):
    """Arguments of the command line, in which names of recipes become ``-c recipes/NAME.yaml``."""
    for given in files_and_flags:
        yield from [given] if given.startswith("-") else ["-c", str(RECIPES / f"{given}.yaml")]
