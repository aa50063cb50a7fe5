"""The name of the method that the files of a command line are of."""

from lightning_al.cli.recipe import method_of


def test_the_method_of_a_protocol_of_several_files(tmp_path):
    texts = {
        "cifar10": "trainer: {callbacks: [EarlyStopping]}",  # the first is the protocol's whatever it says
        "low": "loop: {query_size: 5}",
        "gpu": "trainer: {accelerator: gpu}",
        "random": "trainer: {callbacks: [{class_path: Random}]}",
        "adds": "trainer: {callbacks+: [SAAL]}",
        "sam": "model: {class_path: SAMClassifier}",
        "watch": "trainer: {callbacks: [LearningRateMonitor]}",
        "own": "trainer: {callbacks: [{class_path: mine.Own}]}",
        "training/esam": "model: {class_path: SAMClassifier}",
    }
    (tmp_path / "training").mkdir()
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def named(*names):
        return method_of([tmp_path / f"{name}.yaml" for name in names])

    assert named("cifar10", "low", "gpu", "random") == "random"
    assert named("cifar10", "low", "random", "sam") == "random_sam"
    assert named("cifar10", "low", "adds") == "adds"
    assert named("cifar10", "low", "sam") == "low_sam"  # none says where the method's begin
    assert named("cifar10", "random", "low") == "random_low"
    assert named("cifar10", "low", "training/esam", "random") == "esam_random"  # and not that of `random`
    assert named("cifar10", "watch", "random") == "random"
    assert named("cifar10", "low", "own") == "own"
    assert named("cifar10", "low", "own", "random") == "random"
    assert named("cifar10") == "cifar10"
