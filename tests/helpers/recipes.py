"""The recipes: which there are, which go together, and what is in their files."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
PUBLISHED = ["gradient_norms", "lplgrad", "saal"]
"""What the papers report, in recipes/published: data, and no recipes."""
OF_DATA = {
    "saal": {
        **{"low_budget": ["fashion_mnist", "svhn", "cifar10", "cifar100"]},
        **{"high_budget": ["fashion_mnist", "svhn", "cifar10", "cifar100"]},
        **{"long_tailed": ["cifar10"], "": ["imagenet"]},
    },
    "gradient_norms": {"": ["cifar10", "cifar100", "svhn", "caltech101", "imagenet", "cryo_et"]},
    "lplgrad": {
        **{"high_budget": ["cifar10", "cifar100", "svhn", "caltech101", "cdd"]},
        **{"low_budget": ["cifar10", "cifar100", "svhn", "caltech101", "cdd"]},
    },
}
FOR_A_CPU = [
    *("cifar10/small", "fashion_mnist/small", "cryo_et/small", "cifar10/small_warm", "fashion_mnist/small_high_budget"),
    *("cifar10/small_long_tailed", "fashion_mnist/small_long_tailed"),
]
"""Protocols that are nobody's but ours."""
OF_PAPERS = [
    f"{paper}/{data}_{setting}".removesuffix("_")
    for paper, settings in OF_DATA.items()
    for setting, names in settings.items()
    for data in names
]
PROTOCOLS = [*OF_PAPERS, *FOR_A_CPU]
# The methods of the published tables and figures that protocols name, and those of none.
FIGURES = {
    "SAAL, Table 1": {
        *("random", "entropy", "coreset", "learning_loss", "vaal", "badge", "prob_cover", "saal", "saal_kmeans"),
    },
    "SAAL, Table 2": {"saal_kmeans_group10", "saal_kmeans_group100", "saal_kmeans_group200"},
    "SAAL, Table 6": {"entropy_kmeans", "learning_loss_kmeans"},
    "SAAL, Table 10": {"saal_reverse"},
    "SAAL, Fig. 6 to 8": {"saal_rho001", "saal_rho010"},
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
TRAININGS = [
    *("sam", "sam_cifar100", "sam_small"),
    *("sam_loss_prediction", "sam_loss_prediction_cifar100", "sam_loss_prediction_small"),
    *("esam", "gsam", "looksam", "saf", "mesa"),
]
FEATURES = ["simclr_cifar10", "simclr_fashion_mnist_small"]
"""Of encoders, for `lightning-al features`."""
WITHOUT_QUERIES = ["full_data"]
"""Stands in a method's place, and trains on all labels."""
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
OF_REAL_VALUES = ["mc_dropout_variance"]
"""Methods that need a model of real values."""
OF_SINGLE_PIXELS = ["ripu_pixels"]
"""The same, of single pixels, which flags of their heads make protocols ask for."""
OF_IMAGES = [
    *("random", "entropy", "least_confidence", "margin", "entropy_grad_norm", "saal", "saal_kmeans", "badge"),
    *("coreset", "query_by_committee"),
]
"""Methods that the protocols of whole images name."""
OF_PIXELS = ["random", "entropy", "least_confidence", "margin"]
"""Methods for whole images that have a score of each pixel too."""

LEARN_THE_LOSS = {"learning_loss", "learning_loss_kmeans", "lplgrad"}
"""Methods with a model of their own."""


def sam_of(protocol, method):
    """The file of SAM training that goes with a protocol and a method."""
    training = "sam_loss_prediction" if method in LEARN_THE_LOSS else "sam"
    ending = "_small" if protocol in FOR_A_CPU else "_cifar100" if "cifar100" in protocol else ""
    return f"training/{training}{ending}"


def runs_of(protocol):
    """The files of runs that a protocol is for: with every method, and some with SAM."""
    for method in METHODS:
        yield protocol, f"acquisitions/{method}"
    with_sam = METHODS if protocol in ("saal/cifar10_low_budget", "fashion_mnist/small") else ["badge", "learning_loss"]
    for method in with_sam:
        yield protocol, f"acquisitions/{method}", sam_of(protocol, method)


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


def idle(cli):
    """A kind of command line that makes all that it needs, and then runs nothing."""

    class Idle(cli):
        def _run_subcommand(self, subcommand):
            pass

    return Idle


def command_line(*files_and_flags):
    """That of `lightning-al run` with all that it makes, before it runs anything."""
    from lightning_al.cli import ActiveLearningCLI

    return idle(ActiveLearningCLI)(args=["run", *arguments(*files_and_flags)])
