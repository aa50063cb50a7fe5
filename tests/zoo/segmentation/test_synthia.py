import json
import math
from collections import Counter

import pytest
import torch

from lightning_al.tasks.keys import name_of
from lightning_al.zoo import SYNTHIADataModule
from lightning_al.zoo.segmentation.cityscapes import class_names
from lightning_al.zoo.segmentation.synthia import NUMBERS as SYNTHIA_NUMBERS
from lightning_al.zoo.segmentation.synthia import balanced_draws
from tests.helpers.street_scenes import fill_synthia

# As RIPU's code has them.
NUMBERS = {
    **{3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 1: 9, 10: 10, 17: 11, 8: 12, 19: 13, 12: 14, 11: 15},
}
WITHOUT_WALLS = {3: 0, 4: 1, 2: 2, 15: 3, 9: 4, 6: 5, 1: 6, 10: 7, 17: 8, 8: 9, 19: 10, 12: 11, 11: 12}


@pytest.mark.parametrize("numbers", [NUMBERS, WITHOUT_WALLS], ids=len)
@pytest.mark.parametrize("folder", ["", "RAND_CITYSCAPES"])
def test_what_is_read(tmp_path, numbers, folder):
    all_masks = fill_synthia(tmp_path / folder)
    data = SYNTHIADataModule(str(tmp_path), num_classes=len(numbers))
    data.setup("fit")
    pool = data.pool_dataset()
    assert [name_of(pool, index) for index in range(len(pool))] == sorted(all_masks)
    assert data.classes == class_names(len(numbers))
    for index, name in enumerate(sorted(all_masks)):
        expected = [[numbers.get(n, 255) for n in row] for row in all_masks[name].tolist()]
        assert pool[index][1].tolist() == expected


def test_balanced(tmp_path):
    fill_synthia(tmp_path / "data")
    kept = tmp_path / "seen.json"
    options = {"num_classes": 13, "balanced": 50, "classes_seen": str(kept)}
    data = SYNTHIADataModule(str(tmp_path / "data"), **options)
    data.prepare_data()
    data.setup("fit")
    pool = data.pool_dataset()
    assert len(pool) == 50
    keys = [name_of(pool, index) for index in range(50)]
    assert len(set(keys)) == 50
    plain = SYNTHIADataModule(str(tmp_path / "data"), num_classes=13)
    plain.setup("fit")
    seen = json.loads(kept.read_text())["images"]
    for index in range(5):
        row = pool.rows[index]
        assert torch.equal(pool[index][0], plain.pool_dataset()[row][0])
        image, mask = plain.pool_dataset()[row]
        there = {plain.classes[c] for c in mask.unique().tolist() if c != 255}
        assert set(seen[keys[index].partition("#")[0]]) & set(plain.classes) == there
    again = SYNTHIADataModule(str(tmp_path / "data"), **options)
    again.setup("fit")
    assert again.pool_dataset().rows == pool.rows


def test_the_file_of_classes_serves_any_number_of_them_and_these_images_alone(tmp_path):
    all_masks = fill_synthia(tmp_path / "data")

    def drawn(num_classes, file):
        options = {"balanced": 60, "classes_seen": str(tmp_path / file)}
        data = SYNTHIADataModule(str(tmp_path / "data"), num_classes=num_classes, **options)
        data.setup("fit")
        return data.pool_dataset().rows

    of_13 = drawn(13, "one")
    assert drawn(16, "one") == drawn(16, "two") != of_13
    said = json.loads((tmp_path / "one").read_text())["images"]
    for name, mask in all_masks.items():
        there = {class_names(16)[index] for number, index in NUMBERS.items() if number in mask}
        assert set(said[name]) & set(class_names(16)) == there
    for number, others in enumerate([{"a.png": ["road"]}, {"classes": list(SYNTHIA_NUMBERS), "images": {}}]):
        file = tmp_path / f"other_{number}"
        file.write_text(json.dumps(others))  # as before, of the classes asked for; and of other images
        assert drawn(16, file.name) == drawn(16, "one")


class TestDraws:
    def test_frequencies(self):
        """Of one image with each class the share of draws of a class settles where all weights are the same."""
        draws = balanced_draws([[0], [1], [2]], 3000, num_classes=3)
        for count in Counter(draws).values():
            assert abs(count / 3000 - 1 / 3) < 0.03

    @pytest.mark.slow
    def test_weights(self):
        """The first draws against the weights written out, over many seeds."""
        classes_of = [[0], [0, 1]]
        pairs = Counter(tuple(balanced_draws(classes_of, 2, num_classes=2, seed=seed)) for seed in range(4000))
        low = 1 / math.log(1.01 + 0.0)
        # First a class at random. Class 1 is image 1; class 0 one of the two in random order.
        first_of_0, first_of_1 = 0.25, 0.75
        # After image 0 the shares are 1 and 0; the next of class 0 is the other image.
        of_class_1 = low / (low + 1 / math.log(2.01))
        expected = {(0, 1): first_of_0, (0, 0): 0.0}
        # After image 1 the shares are equal: class 0 or 1, and which image of class 0 depends on who is left.
        for pair, probability in expected.items():
            assert abs(pairs[pair] / 4000 - probability) < 0.03, pair
        assert of_class_1 > 0.9
        assert abs((pairs[1, 0] + pairs[1, 1]) / 4000 - first_of_1) < 0.03
        # Image 1 by class 1 (half of all): image 0 then by class 0 in a random order, a quarter. Image 1 by class 0 (a
        # quarter of all): by class 0 the other image.
        assert abs(pairs[1, 0] / 4000 - (0.5 * 0.5 * 0.5 + 0.25 * 0.5)) < 0.03

    def test_no_class_no_draw(self):
        assert set(balanced_draws([[0], []], 20, num_classes=5)) == {0}
        with pytest.raises(ValueError, match="none can be drawn"):
            balanced_draws([[], []], 3, num_classes=2)


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`balanced=10` needs to know .*`classes_seen`"):
        SYNTHIADataModule(balanced=10)
    with pytest.raises(FileNotFoundError, match=r"must hold `RGB` and `GT/LABELS`"):
        SYNTHIADataModule(str(tmp_path)).setup("fit")
    fill_synthia(tmp_path)
    (tmp_path / "GT" / "LABELS" / "0000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"LABELS/0000001\.png is missing"):
        SYNTHIADataModule(str(tmp_path)).setup("fit")
