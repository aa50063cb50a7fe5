"""Small folders in the format of the data sets of street scenes."""

import struct
import zlib

import numpy as np
from PIL import Image


def picture(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def png_of_16_bits(pixels):
    """Bytes of a PNG with channels of 16 bits, which Pillow cannot write: pixels (H, W, 3), or 4 with transparency."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def masks(count, height, width, numbers, seed=0):
    """Random masks (count, H, W) in blocks of 2x2, each with several of the numbers."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice(numbers, (count, -(-height // 2), -(-width // 2)))
    return np.kron(blocks, np.ones((1, 2, 2), int))[:, :height, :width]


def fill_camvid(root, *, day=4, dusk=3, test=3, size=(12, 16)):
    """CamVid: folders of images and of masks 0 to 11; returns the masks by the name of the file."""
    names = {
        "train": [f"0016E5_{n:05d}" for n in range(day)] + [f"0001TP_{n:06d}" for n in range(dusk)],
        "val": [f"0016E5_{n:05d}" for n in range(90, 92)],
        "test": [f"Seq05VD_f{n:05d}" for n in range(test)] + [f"0001TP_{n:06d}" for n in range(90, 90 + test)],
    }
    all_masks = {}
    for part, stems in names.items():
        for seed, (stem, mask) in enumerate(zip(stems, masks(len(stems), *size, range(12)), strict=True)):
            save(picture(seed + 10 * len(part), *size), root / part / f"{stem}.png")
            save(mask.astype(np.uint8), root / f"{part}annot" / f"{stem}.png")
            all_masks[stem] = mask
    return all_masks


def fill_cityscapes(root, *, train=3, val=2, size=(16, 32)):
    """Cityscapes: two cities each; returns the numbers in the masks by the name of the scene."""
    all_masks = {}
    for split, count in {"train": train, "val": val}.items():
        for n, mask in enumerate(masks(count, *size, range(34), seed=len(split))):
            city = ("zurich", "aachen")[n % 2]
            scene = f"{city}_{n + 10 * len(split):06d}_000019"
            save(picture(n, *size), root / "leftImg8bit" / split / city / f"{scene}_leftImg8bit.png")
            save(mask.astype(np.uint8), root / "gtFine" / split / city / f"{scene}_gtFine_labelIds.png")
            all_masks[scene] = mask
    return all_masks


def fill_synthia(root, *, count=4, size=(19, 32)):
    """SYNTHIA-RAND-CITYSCAPES: 16-bit masks, things in the second channel; returns the numbers by the file's name."""
    all_masks = {}
    for n, mask in enumerate(masks(count, *size, range(23), seed=5)):
        name = f"{n:07d}.png"
        save(picture(n, *size), root / "RGB" / name)
        (root / "GT" / "LABELS").mkdir(parents=True, exist_ok=True)
        of_things = np.stack([mask, 300 + 256 * mask, 0 * mask], 2)
        (root / "GT" / "LABELS" / name).write_bytes(png_of_16_bits(of_things))
        all_masks[name] = mask
    return all_masks
