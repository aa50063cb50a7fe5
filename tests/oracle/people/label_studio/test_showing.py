"""What people are shown of samples."""

import base64
import io

import numpy as np
import pytest
import torch
from torch.utils.data import StackDataset, Subset

from lightning_al import RegressionTask
from lightning_al.campaign.regions import region_blob
from lightning_al.oracle.people.label_studio.showing import PICTURES, Showing
from lightning_al.oracle.regions import Region

Image = pytest.importorskip("PIL.Image")


class Files:
    def __init__(self, root, names):
        self.root, self.samples = str(root), [(str(root / name), 0) for name in names]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return torch.zeros(3, 4, 4), 0


@pytest.fixture
def folder(tmp_path):
    for name in ("pool/cat/1 a.png", "pool/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 3), (10, 20, 30)).save(tmp_path / name)
    return tmp_path


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_a_listed_file_goes_into_the_task(folder):
    files = Files(folder / "pool", ["cat/1 a.png", "2.png"])
    for dataset in (Subset(files, [1]), Subset(StackDataset(files, files), [1])):
        shown = Showing(None, None, with_size=True)(dataset, 0)
        assert (shown.kind, shown.size, shown.folder) == ("image", (5, 3), None)
        assert pixels(shown.value).tolist() == pixels_of(folder / "pool/2.png")


def pixels_of(path):
    return np.asarray(Image.open(path)).tolist()


def test_a_listed_file_that_the_server_reads(folder):
    files = Files(folder / "pool", ["cat/1 a.png", "2.png"])
    shown = Showing(None, str(folder), with_size=False)(files, 0)
    assert shown.value == "/data/local-files/?d=pool/cat/1%20a.png"
    assert (shown.folder, shown.size) == (str(folder / "pool"), None)
    with pytest.raises(ValueError, match="not in a subfolder of `files="):
        Showing(None, str(folder / "pool"), with_size=False)(files, 1)


def test_a_file_too_large_for_a_task(folder, monkeypatch):
    monkeypatch.setattr("lightning_al.oracle.people.label_studio.showing._MOST_BYTES", 10)
    with pytest.raises(ValueError, match="Let the server read files"):
        Showing(None, None, with_size=False)(Files(folder / "pool", ["2.png"]), 0)


@pytest.mark.parametrize("layout", ["CHW", "HWC", "HW", "numpy", "PIL", "floats"])
def test_images_in_samples(layout):
    image = torch.arange(24, dtype=torch.uint8).reshape(2, 4, 3) * 10
    given = {
        "CHW": image.permute(2, 0, 1),
        "HWC": image,
        "HW": image[..., 0],
        "numpy": image.numpy(),
        "PIL": Image.fromarray(image.numpy()),
        "floats": image.permute(2, 0, 1) / 255,
    }[layout]
    shown = Showing(None, None, with_size=True)([{"number": 3, "image": given}], 0)
    assert shown.size == (4, 2)
    assert pixels(shown.value).tolist() == (image[..., 0] if layout == "HW" else image).tolist()


def test_a_signal_with_a_leading_one_is_drawn():
    shown = Showing(None, None, with_size=False)([(torch.rand(1, 2, 64), 0)], 0)
    assert pixels(shown.value).shape == (144, 256, 3)


def test_normalised_images_are_made_visible():
    shown = Showing(None, None, with_size=False)([(torch.tensor([[-1.0, 1.0], [0.0, -1.0]]), 0)], 0)
    assert pixels(shown.value).tolist() == [[0, 255], [128, 0]]


def test_large_images_are_packed_as_photographs():
    noise = torch.randint(256, (300, 400, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    value = Showing(None, None, with_size=False)([(noise, 0)], 0).value
    assert value.startswith("data:image/jpeg")
    assert len(value) < 300 * 400 * 3


@pytest.mark.parametrize(
    ("show", "sample", "value"),
    [
        (None, ("a text", 1), "a text"),
        (None, "just a text", "just a text"),
        ("body", {"title": "t", "body": "b"}, "b"),
        (1, ("a", "b"), "b"),
        (lambda dataset, index: f"number {index} of {len(dataset)}", None, "number 0 of 1"),
        (None, ("no/such/file.png", 1), "no/such/file.png"),
    ],
)
def test_texts(show, sample, value):
    shown = Showing(show, None, with_size=False)([sample], 0)
    assert (shown.kind, shown.value) == ("text", value)


def test_paths_in_samples(folder):
    sample = {"path": str(folder / "pool/2.png"), "label": 0}
    assert Showing(None, None, with_size=False)([sample], 0).value.startswith("data:image/png")


@pytest.mark.parametrize(
    ("show", "sample", "message"),
    [
        (None, (torch.zeros(7), 1), "neither a text nor an image.*`show=`"),
        (None, (torch.zeros(3, 2, 64), 1), "neither a text nor an image.*`show=`"),
        ("body", {"title": "t"}, "`show='body'` is no entry"),
        (0, (torch.zeros(7), 1), "a text, a path or an image, got"),
    ],
)
def test_what_nobody_could_see(show, sample, message):
    with pytest.raises(ValueError, match=message):
        Showing(show, None, with_size=False)([sample], 0)


def test_what_the_dataset_says_is_the_text():
    class Tokens:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return torch.ones(3), 0

        def sample_text(self, index):
            return f"text {index}"

    shown = Showing(None, None, with_size=True)(Subset(Tokens(), [1]), 0)
    assert (shown.kind, shown.value) == ("text", "text 1")


def test_pictures_of_parts_are_files_where_the_server_reads_files(tmp_path):
    """Called by what is in them: one that is there is not written again."""
    asked = np.zeros((6, 8), dtype=bool)
    asked[1:3, 2:4] = True
    part, image = Region(region_blob(asked)), torch.linspace(0, 1, 48).reshape(1, 6, 8)
    in_task = Showing(None, None, with_size=True)([image], 0, part)
    shown = Showing(None, str(tmp_path), with_size=True)([image], 0, part)
    [path] = (tmp_path / PICTURES).iterdir()
    assert shown == ("image", f"/data/local-files/?d={PICTURES}/{path.name}", (8, 6), str(tmp_path / PICTURES))
    assert in_task.value == "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    written = path.stat().st_mtime_ns
    assert Showing(None, str(tmp_path), with_size=True)([image], 0, part) == shown
    assert [each.stat().st_mtime_ns for each in (tmp_path / PICTURES).iterdir()] == [written]


def test_what_the_model_sees_is_shown_before_other_entries():
    sample = {"unit": "bearing-6", "signal": torch.rand(2, 64), "rul": 1.0}
    assert Showing(None, None, with_size=False)([sample], 0).value == "bearing-6"
    task = RegressionTask(inputs="signal", target="rul")
    shown = Showing(None, None, with_size=False, task=task)([sample], 0)
    assert shown.kind == "image"
    assert pixels(shown.value).shape == (144, 256, 3)  # its lines
    assert Showing(None, None, with_size=True, task=task)([sample], 0).size == (
        64,
        2,
    )  # what is drawn in has its pixels
