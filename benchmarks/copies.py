"""How far apart the hashes of different photos and of copies are; print the results as JSON.

    python benchmarks/copies.py ../shared/data/train/sharp ../shared/data/train/eyes > copies.json

Each photo is copied at other sizes and JPEG qualities. Pairs of files that count as copies are listed, so that a person
can look at them: in a folder of different photos they are false, or the folder holds a photo twice.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurgate.making.dataset import HASHED_PIXELS
from blurgate.photos.copies import MAX_DISTANCE, find_copies, hash_picture
from blurgate.photos.finding import find_photos
from blurgate.photos.images import Gray, read_gray, read_plane

COPIES = [(1.0, 30), (1.0, 75), (0.5, 75), (0.25, 50), (1.7, 90), (0.6, 20)]  # scale of the sides, JPEG quality


def copy_picture(gray: Gray, scale: float, quality: int) -> Gray:
    """Resize a picture and save it as a JPEG.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
    scale : float
        Of both sides.
    quality : int
        libjpeg's quality, 1 to 95.

    Returns
    -------
    ndarray of shape (new height, new width), uint8
    """
    height, width = gray.shape
    stream = io.BytesIO()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    Image.fromarray(gray).resize(size).save(stream, "JPEG", quality=quality)
    return read_gray(stream.getvalue(), min_side=1)


def count_bits(hashes: list[str]) -> NDArray[np.bool_]:
    """Turn hashes into bits, an array of shape (n_hashes, 256)."""
    return np.asarray([np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)) for text in hashes], bool)


def measure(folder: Path) -> dict[str, Any]:
    """Compare the photos of a folder with each other and with copies of every third one."""
    paths = find_photos([folder])
    grays = [read_plane(path, min_side=1, max_pixels=HASHED_PIXELS).gray for path in paths]
    hashes = [hash_picture(gray) for gray in grays]
    bits = count_bits(hashes)
    distances = np.concatenate([(bits[row + 1 :] != bits[row]).sum(axis=1) for row in range(len(bits))])
    copies = {
        f"sides x {scale:g}, quality {quality}": np.asarray(
            [
                (count_bits([hash_picture(copy_picture(gray, scale, quality))])[0] != own).sum()
                for gray, own in list(zip(grays, bits, strict=True))[::3]
            ]
        )
        for scale, quality in COPIES
    }
    return {
        "n": len(paths),
        "taken_for_copies": [[str(paths[one]), str(paths[other])] for one, other in find_copies(hashes)],
        "least_distance_of_others": int(distances[distances > MAX_DISTANCE].min()),
        "copies_found": {name: round(float((found <= MAX_DISTANCE).mean()), 4) for name, found in copies.items()},
        "distance_of_copies_99_percent": {name: float(np.quantile(found, 0.99)) for name, found in copies.items()},
    }


def main() -> None:
    """Print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    print(json.dumps({str(folder): measure(folder) for folder in parser.parse_args().folders}, indent=1))


if __name__ == "__main__":
    main()
