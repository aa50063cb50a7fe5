"""A small folder of recipes with published results, and campaigns of them that cost nothing."""

import textwrap

from lightning_al.reproduction.choosing import choice_of
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from lightning_al.reproduction.runs import runs_of
from tests.helpers.curves import write_campaign
from tests.sweep.test_campaigns import finish

PAPER = """
paper: "Paper: a title.
  2024"
repeats: 2
results:
  table-1:
    title: Accuracy
    where: Table 1
    shows: accuracy
    unit: "%"
    statistic: maximum
    note: Read this.
    cases:
      cubes-adam:
        protocol: [cubes.yaml]
        small: [small.yaml]
        published: {random: [80.0, 0.5], badge: [82.5, 1.0]}
      cubes-sam:
        protocol: [cubes.yaml]
        training: training/sam.yaml
        small: [small.yaml]
        small_training: training/sam_small.yaml
        arguments: [--data.snr=0.05]
        options: {badge: [--trainer.callbacks.rho=0.04]}
        published: {random: [81, 0.25], badge: [83]}
      balls-adam:
        protocol: [balls.yaml]
        published: {random: [70.0], badge: [72.0]}
  table-2:
    title: At sizes
    where: Table 2
    shows: accuracy
    unit: "%"
    statistic: at_labels
    full_data: true
    cases:
      cubes:
        protocol: [cubes.yaml]
        small: [small.yaml]
        at_labels: [30, 50]
        published: {random: [[50.0, 1.0], [60.0]], badge: [[51.0, 1.0], [61.0]]}
        published_full_data: 90.0
  table-3:
    title: Gap
    where: Table 3
    shows: train_test_gap
    unit: "%"
    cases:
      cubes: {protocol: [cubes.yaml], at_percent: [30, 50], published: {random: [9.5, 8.5], badge: [7.0, 6.0]}}
  table-4:
    title: Seconds
    where: Table 4
    shows: seconds
    cases:
      cubes: {protocol: [cubes.yaml], published: {random: {fit: 3.0, score: 2.5}}}
  figure-1:
    title: Curves
    where: Fig. 1
    shows: accuracy
    unit: "%"
    statistic: curve
    same_runs_as: table-1
  figure-2:
    title: Pairs
    where: Fig. 2
    shows: pairwise
    same_runs_as: table-1
  figure-3:
    title: Settings
    where: Fig. 3
    shows: settings
    cases: {cubes: {protocol: [cubes.yaml]}}
trainings_of:
  badge: {training/sam.yaml: training/sam_of_badge.yaml, training/sam_small.yaml: training/sam_of_badge_small.yaml}
"""
DATA = """
CubesDataModule:
  title: Cubes
  holds: [[cubes/*], {train/*/: 2}]
  get: example.org/cubes
  samples: 100
BallsDataModule: {title: Balls, holds: [[balls]], get: "example.org/balls,
  after registration", packages: [no_such_package]}
"""
PROTOCOL = """
trainer: {max_epochs: 5}
model: {class_path: Classifier, init_args: {net: {class_path: PlainCNN, init_args: {num_classes: 2, in_channels: 3,
  size: 8}}, num_classes: 2, optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.5}}}}
data: {class_path: NAMEDataModule, init_args: {batch_size: 4, root: data}}
loop: {initial: 20, query_size: 10, rounds: 3}
"""
METHODS = ("random", "badge", "badge_small", "full_data")
TRAININGS = ("sam", "sam_small", "sam_of_badge", "sam_of_badge_small")


def write_recipes(folder):
    """The folder, in which the data of `cubes.yaml` are not there."""
    for name in ("published", "acquisitions", "training"):
        (folder / name).mkdir(parents=True)
    (folder / "published" / "toy.yaml").write_text(textwrap.dedent(PAPER))
    (folder / "published" / "data.yaml").write_text(DATA)
    for name, data in (("cubes", "Cubes"), ("small", "Cubes"), ("balls", "Balls")):
        (folder / f"{name}.yaml").write_text(PROTOCOL.replace("NAME", data))
    for method in METHODS:
        (folder / "acquisitions" / f"{method}.yaml").write_text("trainer: {callbacks: [{class_path: Random}]}")
    for training in TRAININGS:
        (folder / "training" / f"{training}.yaml").write_text("model: {class_path: SAMClassifier}")
    return folder


def write_data(root):
    (root / "cubes").mkdir(parents=True)
    (root / "cubes" / "one").touch()
    return root


def chosen(tmp_path, name, **options):
    """A choice of a result, its runs, and what knows the recipes."""
    recipes = tmp_path / "recipes"
    if not recipes.exists():
        write_recipes(recipes)
        write_data(tmp_path / "given")
    needs = Needs(recipes, str(tmp_path / "given"))
    findings = []
    choice, _ = choice_of(read_results(recipes)[name], needs, root=str(tmp_path / "out"), findings=findings, **options)
    assert findings == []
    return choice, runs_of(choice, needs, ("true",)), needs


def write_runs(runs, values, **fields):
    """Finished campaigns, by case and method one list of accuracies a seed."""
    for run in runs:
        of_seeds = values.get((run.case, run.method), values.get(run.method))
        if of_seeds is not None and not run.folder.exists():
            of_seed = of_seeds[run.seed]
            write_campaign(run.folder, of_seed, options={"seed": run.seed}, **fields)
            finish(run.folder, len(of_seed) - 1)
