"""Photos that ask for as much time and memory as they can: what each takes, and what a signal does meanwhile.

Part of ``benchmarks/robustness.py hostile``. Each photo is scanned in a process of its own at the defaults, on one
core. It may be judged or refused, but must have its row, within ten seconds of the core and 1.5 GiB. Then a scan is
interrupted while it decodes the slowest of them: it must end within a second, with the exit code of the signal, without
a traceback, and leave no output behind.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import memory

oddities: Any = import_module("tests.oddities")

Numbers = dict[str, Any]
Make = Callable[[Path, NDArray[np.uint8]], None]

MOST_S, MOST_MIB = 10.0, 1536
MOST_TO_STOP_S = 1.0
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run_hostile(_: object) -> Numbers:
    """Measure every hostile photo, and interrupt the slowest."""
    photo = oddities.load_photo()
    results: Numbers = {"limits": {"cpu_s": MOST_S, "peak_mib": MOST_MIB, "to_stop_s": MOST_TO_STOP_S}}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        empty = measure(make(work / "empty", save_flat("a.png", "L", 64), photo))
        photos = {}
        for kind, maker in PHOTOS.items():
            path = make(work / kind, maker, photo)
            photos[kind] = measure(path, since=empty)
            print(kind, photos[kind], file=sys.stderr, flush=True)
            path.unlink()
        slow = make(work / "slow", PHOTOS[SLOWEST], photo)
        results |= {
            "photos": photos,
            "slowest_s": max(each["cpu_s"] for each in photos.values()),
            "largest_mib": max(each["peak_mib"] for each in photos.values()),
            "signals": {how.name: interrupt(slow, how, code) for how, code in SIGNALS.items()},
        }
    faults = {kind: each["fault"] for kind, each in {**photos, **results["signals"]}.items() if each["fault"]}
    return {"ok": not faults, "faults": faults, **results}


def make(folder: Path, maker: Make, photo: NDArray[np.uint8]) -> Path:
    """Make a photo in a folder of its own.

    Parameters
    ----------
    folder : Path
    maker : callable
        Takes the empty folder and a photo, and makes the file.
    photo : ndarray of shape (height, width, 3), uint8

    Returns
    -------
    Path
    """
    folder.mkdir()
    maker(folder, photo)
    (path,) = folder.iterdir()
    return path


def measure(path: Path, *, since: Mapping[str, float] | None = None) -> Numbers:
    """Scan a photo.

    Parameters
    ----------
    path : Path
    since : mapping, optional
        What a scan of next to nothing takes; its time is subtracted.

    Returns
    -------
    dict
    """
    with tempfile.TemporaryDirectory() as name:
        output, peak = Path(name) / "v.jsonl", Path(name) / "peak"
        words = [sys.executable, memory.__file__, str(peak), "scan", str(path), "--output", str(output), "--jobs", "1"]
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        rows = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
        peak_mib = round(float(peak.read_text())) if peak.exists() else 0
        process.communicate()
    cpu = usage.ru_utime + usage.ru_stime - (since["cpu_s"] if since else 0)
    return {
        "mb": round(path.stat().st_size / 1e6, 1),
        "cpu_s": round(cpu, 2),
        "seconds": round(seconds, 1),
        "peak_mib": peak_mib,
        "outcome": (rows[0]["decision"] or rows[0]["error"].split(": ", 1)[-1]) if rows else "",
        "fault": find_fault(process.returncode, rows, cpu, peak_mib),
    }


def find_fault(exit_code: int, rows: list[Numbers], cpu: float, peak_mib: float) -> str:
    """Say what is wrong with a scan of one photo.

    Parameters
    ----------
    exit_code : int
    rows : list of dict
        Its verdicts.
    cpu : float
        Seconds.
    peak_mib : float

    Returns
    -------
    str
        Empty if nothing is wrong.
    """
    if exit_code or len(rows) != 1:
        return f"exit code {exit_code}, {len(rows)} rows"
    if cpu > MOST_S:
        return f"it takes {cpu:.1f} s"
    return f"it takes {peak_mib} MiB" if peak_mib > MOST_MIB else ""


START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from blurgate.__main__ import main
main()
"""


def interrupt(path: Path, how: signal.Signals, exit_code: int) -> Numbers:
    """Send a signal to a scan while it decodes a photo.

    Parameters
    ----------
    path : Path
        A photo that takes some seconds.
    how : signal
    exit_code : int
        That the scan must end with.

    Returns
    -------
    dict
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [sys.executable, "-c", START, "scan", *[str(path)] * 4, "--output", str(folder / "v.csv")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not any(folder.iterdir()) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(1)  # it has begun to write, and decodes
        began = time.monotonic()
        process.send_signal(how)
        stderr = process.communicate()[1]
        seconds = time.monotonic() - began
        left = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".csv", ".partial"))
    wrong = {
        f"exit code {process.returncode}": process.returncode != exit_code,
        f"{seconds:.1f} s": seconds > MOST_TO_STOP_S,
        "a traceback": "Traceback" in stderr,
        f"left behind: {left}": bool(left),
    }
    return {
        "to_stop_s": round(seconds, 2),
        "exit_code": process.returncode,
        "fault": ", ".join(fault for fault, is_so in wrong.items() if is_so),
    }


def save_flat(name: str, mode: str, side: int, **options: Any) -> Make:
    """Save a square of one colour.

    Parameters
    ----------
    name : str
        Of the file.
    mode : str
        Pillow's.
    side : int
        Pixels.
    **options
        Of Pillow's `save`.

    Returns
    -------
    callable
    """

    def write(folder: Path, _: NDArray[np.uint8]) -> None:
        Image.new(mode, (side, side), 99 if len(mode) == 1 else (99,) * len(mode)).save(folder / name, **options)

    return write


def save_tiled(name: str, side: int, *, mode: str = "RGB", noisy: bool = False, **options: Any) -> Make:
    """Save a square tiled with the photo, or with noise.

    Parameters
    ----------
    name : str
        Of the file.
    side : int
        Pixels.
    mode : str
        Pillow's.
    noisy : bool
        True for noise.
    **options
        Of Pillow's `save`.

    Returns
    -------
    callable
    """

    def write(folder: Path, photo: NDArray[np.uint8]) -> None:
        if name.endswith(".heic"):
            import_module("pillow_heif").register_heif_opener()
        tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8) if noisy else photo
        times = (-(-side // tile.shape[0]), -(-side // tile.shape[1]), 1)
        rgb = np.tile(tile, times)[:side, :side]
        if mode in ("I;16", "F"):
            wide = rgb[:, :, 0].astype(np.uint16) * np.uint16(257)
            picture = Image.fromarray(wide if mode == "I;16" else wide.astype(np.float32))
        else:
            picture = Image.fromarray(rgb).convert(mode)
        picture.save(folder / name, **options)

    return write


def fill(count: int, filler: bytes) -> Make:
    """Write the photo with many times the same bytes before its first segment.

    Parameters
    ----------
    count : int
    filler : bytes

    Returns
    -------
    callable
    """
    written: Make = oddities.write("a.jpg", lambda jpeg: jpeg[:2] + filler * count + jpeg[2:])
    return written


def sparse(name: str, format: str) -> Make:  # noqa: A002 Pillow's name
    """Write a file of 10 GB that begins as a photo of a format.

    Parameters
    ----------
    name : str
        Of the file.
    format : str
        Pillow's name.

    Returns
    -------
    callable
    """

    def write(folder: Path, photo: NDArray[np.uint8]) -> None:
        head = oddities.encode(photo, format)
        oddities.sparse(name, head[:-2] if format == "JPEG" else head, 10**10)(folder, photo)

    return write


SLOWEST = "a jpeg of as many scans as are allowed"
PHOTOS: dict[str, Make] = {
    "a jpeg of 850 scans": oddities.write("a.jpg", oddities.repeated_scans(14_000, 850)),
    "a jpeg of 10,000 scans": oddities.write("a.jpg", oddities.repeated_scans(14_000, 10_000)),
    SLOWEST: oddities.write("a.jpg", oddities.repeated_scans(14_100, 40)),
    "a jpeg of 50 MB of fill": fill(50_000_000, b"\xff"),
    "a jpeg of 50 MB of junk": fill(25_000_000, b"\xff\0"),
    "a jpeg of 5 million segments": fill(5_000_000, b"\xff\xfe\0\2"),
    "a jpeg of 10 GB": sparse("a.jpg", "JPEG"),
    "a png of 10 GB": sparse("a.png", "PNG"),
    "a tiff of 10 GB": sparse("a.tif", "TIFF"),
    "a webp of 10 GB": sparse("a.webp", "WEBP"),
    "a gif of 10 GB": sparse("a.gif", "GIF"),
    "a bmp of 10 GB": sparse("a.bmp", "BMP"),
    "an avif of 10 GB": sparse("a.avif", "AVIF"),
    "a jpeg 2000 of 10 GB": sparse("a.jp2", "JPEG2000"),
    "exif of terabytes in a jpeg": oddities.with_exif_bomb("JPEG", "a.jpg", 60_000_000),
    "exif of terabytes in a png": oddities.with_exif_bomb("PNG", "a.png", 60_000_000),
    "exif of terabytes in a webp": oddities.with_exif_bomb("WEBP", "a.webp", 60_000_000),
    "exif of terabytes in an avif": oddities.exif_bomb_in_avif(30_000_000),
    "tags of terabytes in a tiff": oddities.tiff_bomb(60_000_000, 4_000),
    "tags of terabytes in a tiff, 60,000 of them": oddities.tiff_bomb(60_000_000, 60_000),
    "a tiff of 4 million tiles": oddities.tiff_of_tiles(4_000, 2),
    "a tiff of 250,000 tiles": oddities.tiff_of_tiles(8_000, 16),
    "a png of 2 million chunks before its pixels": oddities.chunky_png(before=2_000_000),
    "a png of 2 million chunks of pixels": oddities.chunky_png(inside=2_000_000),
    "a png of 2 million chunks behind its pixels": oddities.chunky_png(behind=2_000_000),
    "a png of a comment of 100 MB": oddities.text_bomb,
    "a gif of 3 million blocks": oddities.gif_of_blocks(3_000_000),
    "a bmp in runs, as large as is allowed": oddities.bmp_in_runs(4_990),
    "a bmp in runs of 196 megapixels": oddities.bmp_in_runs(14_000),
    "a jpeg 2000 of tiny blocks": oddities.tiny_blocks(1_000),
    # honest, but as large or as dense as is allowed, or a little larger
    "a noisy jpeg of 50 megapixels": save_tiled("a.jpg", 7_000, noisy=True, quality=100, subsampling=0),
    "a progressive jpeg of 190 megapixels": save_tiled("a.jpg", 13_800, quality=85, progressive=True, subsampling=0),
    "a png of 199 megapixels with alpha": save_tiled("a.png", 14_100, mode="RGBA", compress_level=1),
    "a png of 199 megapixels, 16 bits": save_tiled("a.png", 14_100, mode="I;16", compress_level=1),
    "a tiff of 199 megapixels, float": save_tiled("a.tif", 14_100, mode="F"),
    "a tiff of 199 megapixels, cmyk": save_tiled("a.tif", 14_100, mode="CMYK", compression="tiff_lzw"),
    "a tiff of 199 megapixels in one strip": save_tiled(
        "a.tif", 14_100, compression="tiff_adobe_deflate", tiffinfo={278: 14_100}
    ),
    "a gif of 199 megapixels": save_tiled("a.gif", 14_100, mode="P"),
    "a webp of 81 megapixels": save_tiled("a.webp", 9_000, quality=60, method=0),
    "a lossless webp of 81 megapixels": save_tiled("a.webp", 9_000, lossless=True, quality=0, method=0),
    "a noisy webp of 36 megapixels": save_tiled("a.webp", 6_000, noisy=True, quality=60, method=0),
    "an avif of 81 megapixels": save_tiled("a.avif", 9_000, quality=70, speed=10, subsampling="4:4:4"),
    "a noisy avif of 16 megapixels": save_tiled("a.avif", 4_000, noisy=True, quality=90, speed=10),
    "a heic of 49 megapixels": save_tiled("a.heic", 7_000, quality=60),
    "a noisy heic of 16 megapixels": save_tiled("a.heic", 4_000, noisy=True, quality=90),
    "a jpeg 2000 of 49 megapixels": save_tiled("a.jp2", 7_000),
    "a jpeg 2000 of 49 megapixels that cannot be halved": save_tiled("a.jp2", 6_999, num_resolutions=1),
    "a noisy jpeg 2000 of 8 megapixels that cannot be halved": save_tiled(
        "a.jp2", 2_900, noisy=True, num_resolutions=1
    ),
}
