"""A corpus of bad and odd files, each with its expected outcome, and mutations of intact files.

To add an oddity, write one function that makes it in its own folder, and one line in a table at the end.
"""

import errno
import io
import os
import re
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from blurgate.demo import load_photographs

LONGEST_NAME = 250  # bytes; file systems allow 255
SUMMARY = r"\d[\d,]* photos?: .*"
# only slow scans print these
HOW_FAR = r"scanning photos: \d.* \([\d,.]+ photos a second\)|compiling the measuring code; .*"


@dataclass(frozen=True)
class Oddity:
    """One kind of file.

    Parameters
    ----------
    make : callable
        Takes an empty folder and a photo (RGB) and makes the file; raises OSError or ImportError if this system cannot.
    expected : {'as plain', 'judged', 'undecided', 'error', 'handled', 'no row'}
        ``as plain``: the same decision as the plain photo. ``judged``: sharp or blurred. ``handled``: as plain or an
        error. ``no row``: no verdict. All others: exactly one verdict.
    pattern : str
        Regular expression that the reason or the error must match.
    within : float
        Largest difference from the plain photo's probability.
    any_photo : bool
        True if a blurred photo must get the same decision as its plain file, too.
    """

    make: Callable
    expected: str
    pattern: str = ""
    within: float = 0.1
    any_photo: bool = True


def load_photo():
    """A photograph in focus, 384 x 256."""
    return load_photographs()["coffee"][64:320, 108:492]


def make_corpus(folder, photo, oddities):
    """Make ``plain`` and each oddity in its own folder; return name -> reason for those not made."""
    save("plain.png")(_new(folder / "plain"), photo)
    skipped = {}
    for name, oddity in oddities.items():
        try:
            oddity.make(_new(folder / name), photo)
        except (OSError, ImportError) as error:
            skipped[name] = str(error)
    return skipped


def find_fault(oddity, rows, plain):
    """Describe what is wrong with an oddity's verdicts, given as dicts; empty if they are as expected."""
    if oddity.expected == "no row":
        return "" if not rows else f"expected no row, got {_brief(rows)}"
    if len(rows) != 1:
        return f"expected one row, got {len(rows)}: {_brief(rows)}"
    (row,) = rows
    if row["error"]:
        fits = oddity.expected in ("error", "handled") and re.search(oddity.pattern, row["error"], re.I)
        leftover = [key for key in ("probability", "kind", "reason") if row[key]]
        return "" if fits and row["decision"] == "error" and not leftover else _brief(rows)
    if oddity.expected == "undecided":
        return "" if row["decision"] == "undecided" and re.search(oddity.pattern, row["reason"]) else _brief(rows)
    if oddity.expected == "judged":
        return "" if row["decision"] in ("sharp", "blurred") else _brief(rows)
    same = row["decision"] == plain["decision"] and abs(row["probability"] - plain["probability"]) <= oddity.within
    return "" if same and oddity.expected in ("as plain", "handled") else _brief(rows)


def rows_of(name, folder, rows):
    """Select the verdicts of one oddity."""
    return [row for row in rows if row["path"].startswith(f"{folder}{os.sep}{name}{os.sep}")]


def beside_the_summary(stderr):
    """Return the unexpected lines of a scan's stderr, which should hold progress lines and the summary at the end."""
    *before, last = stderr.splitlines() or [""]
    return [line for line in before if not re.fullmatch(HOW_FAR, line)] + [last] * (not re.fullmatch(SUMMARY, last))


def _brief(rows):
    return "; ".join(
        f"{Path(row['path']).name[:40]}: {row['decision']} {row['probability']} "
        f"{row['reason']}{row['error'].rsplit('/', 1)[-1]}"
        for row in rows
    )


def _new(folder):
    folder.mkdir(parents=True)
    return folder


# --- the same photo in every format and mode -----------------------------------------------------------------------


def save(name, format=None, mode=None, **options):
    """Save it with Pillow."""

    def make(folder, photo):
        picture = Image.fromarray(photo)
        (picture.convert(mode) if mode else picture).save(folder / name, format, **options)

    return make


def encode(photo, format="JPEG", **options):
    stream = io.BytesIO()
    (Image.fromarray(photo) if isinstance(photo, np.ndarray) else photo).save(stream, format, **options)
    return stream.getvalue()


def gray_of(photo):
    return np.asarray(Image.fromarray(photo).convert("L"))


def palette(name, **options):
    def make(folder, photo):
        Image.fromarray(photo).quantize(256).save(folder / name, **options)

    return make


def several(name, **options):
    """The photo as first page or frame, followed by two plain ones."""

    def make(folder, photo):
        other = Image.new("RGB", (photo.shape[1], photo.shape[0]), (90, 120, 40))
        Image.fromarray(photo).save(folder / name, save_all=True, append_images=[other, other], **options)

    return make


def rotated(orientation, format="JPEG", name="a.jpg"):
    """Stored rotated, with the EXIF orientation that corrects it."""

    def make(folder, photo):
        turns = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90}
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = Image.fromarray(photo).transpose(turns[orientation])
        turned.save(folder / name, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))

    return make


def cut_out(name, **options):
    """The photo behind an elliptic mask with a hard edge; hidden pixels are bright red."""

    def make(folder, photo):
        height, width = photo.shape[:2]
        y, x = np.ogrid[:height, :width]
        seen = ((x - width / 2) / (0.47 * width)) ** 2 + ((y - height / 2) / (0.47 * height)) ** 2 <= 1
        rgba = np.dstack([np.where(seen[:, :, None], photo, [255, 0, 0]), 255 * seen]).astype(np.uint8)
        Image.fromarray(rgba).save(folder / name, **options)

    return make


def opaque(name, mode="RGBA", **options):
    return save(name, None, mode, **options)


def transparent_colour(folder, photo):
    """A palette with an unused transparent colour."""
    Image.fromarray(photo).quantize(255).save(folder / "a.png", transparency=255)


def png(samples, *, bits, colour, interlaced=False, extra=b"", size=None):
    """Encode samples of shape (height, width, channels) as a PNG of any depth, with chunks `extra` before the data."""
    height, width = size or samples.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for left, top, right, down in passes:
        part = samples[top::down, left::right]
        shifts = np.arange(bits - 1, -1, -1)
        packed = np.packbits(((part[..., None] >> shifts) & 1).reshape(len(part), -1).astype(np.uint8), axis=1)
        data += b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(data, 1)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(kind, content, crc=None):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content) if crc is None else crc)
    )


def deep_png(bits, colour, *, interlaced=False):
    """A PNG with this many bits per sample; colour is gray (0), RGB (2), gray and alpha (4) or RGBA (6)."""

    def make(folder, photo):
        plane = photo if colour in (2, 6) else gray_of(photo)[:, :, None]
        if colour in (4, 6):
            plane = np.dstack([plane, np.full(plane.shape[:2], 255, np.uint8)])
        samples = np.rint(plane.astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint16)
        (folder / "a.png").write_bytes(png(samples, bits=bits, colour=colour, interlaced=interlaced))

    return make


def adam7(folder, photo):
    (folder / "a.png").write_bytes(png(photo, bits=8, colour=2, interlaced=True))


def wide(name, scale, dtype, offset=0.0, **options):
    """Gray samples, multiplied by `scale` and shifted by `offset`."""

    def make(folder, photo):
        samples = gray_of(photo).astype(np.float64) * scale + offset
        Image.fromarray(samples.astype(dtype)).save(folder / name, **options)

    return make


def by_tifffile(scale=1.0, dtype=np.uint8, *, gray=False, **options):
    """A TIFF of a kind that Pillow does not write."""

    def make(folder, photo):
        import tifffile

        samples = (gray_of(photo) if gray else photo).astype(np.float64) * scale
        if options.get("planarconfig") == "separate":
            samples = samples.transpose(2, 0, 1)
        photometric = "minisblack" if gray else "rgb"
        tifffile.imwrite(folder / "a.tif", samples.astype(dtype), photometric=photometric, **options)

    return make


def heic(name="a.heic", **options):
    def make(folder, photo):
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(photo)).save(folder / name, quality=95, **options)

    return make


# --- odd, but intact -----------------------------------------------------------------------------------------------


def write(name, content):
    """A file of the given bytes, or of those that a function makes from the photo's JPEG."""

    def make(folder, photo):
        made = content(encode(photo, quality=95)) if callable(content) else content
        (folder / name).write_bytes(made)

    return make


def after_soi(segment):
    """A segment right after a JPEG's SOI marker."""
    return write("a.jpg", lambda jpeg: jpeg[:2] + segment + jpeg[2:])


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_thumbnail(photo, **options):
    """A JPEG with a thumbnail, a complete JPEG, in its EXIF."""
    small = encode(Image.fromarray(photo).resize((96, 64)))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 0)
    ifd1 = struct.pack("<H", 2) + struct.pack("<HHII", 0x201, 4, 1, 44) + struct.pack("<HHII", 0x202, 4, 1, len(small))
    exif += struct.pack("<I", 14) + ifd1 + struct.pack("<I", 0)
    jpeg = encode(photo, quality=90, **options)
    return jpeg[:2] + segment(0xE1, exif + small) + jpeg[2:]


def thumbnailed(folder, photo):
    (folder / "a.jpg").write_bytes(with_thumbnail(photo))


def png_with(*chunks):
    def make(folder, photo):
        (folder / "a.png").write_bytes(png(photo, bits=8, colour=2, extra=b"".join(chunks)))

    return make


def profiled(folder, photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(photo).save(folder / "a.jpg", quality=95, icc_profile=profile)


def flat(value, name="a.png"):
    def make(folder, photo):
        Image.new("L", (photo.shape[1], photo.shape[0]), value).save(folder / name)

    return make


def sized(width, height, name="a.png"):
    """The photo at another size, stretched."""

    def make(folder, photo):
        Image.fromarray(photo).resize((width, height)).save(folder / name)

    return make


def strip(width, height, name="a.jpg"):
    """The photo repeated to fill a strip."""

    def make(folder, photo):
        repeats = (-(-height // photo.shape[0]), -(-width // photo.shape[1]), 1)
        Image.fromarray(np.tile(photo, repeats)[:height, :width]).save(folder / name)

    return make


def white(width, height):
    """White, at one bit per pixel: many pixels in few bytes."""

    def make(folder, photo):
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        data = zlib.compress((b"\0" + b"\xff" * -(-width // 8)) * height, 1)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)

    return make


# --- damaged -------------------------------------------------------------------------------------------------------


def cut(format, share, name, **options):
    """Truncated to a fraction of its bytes; if `share` is negative, by that many bytes."""

    def make(folder, photo):
        content = encode(photo, format, **options)
        (folder / name).write_bytes(content[: round(share * len(content)) if share > 0 else int(share)])

    return make


def cut_heic(folder, photo):
    heic("whole")(folder, photo)
    content = (folder / "whole").read_bytes()
    (folder / "whole").unlink()
    (folder / "a.heic").write_bytes(content[: len(content) // 2])


def cut_tiff(folder, photo):
    """A TIFF with its directory at the start: truncated, it still opens."""
    by_tifffile(compression="deflate", rowsperstrip=16)(folder, photo)
    content = (folder / "a.tif").read_bytes()
    (folder / "a.tif").write_bytes(content[: len(content) // 2])


def padded(folder, photo):
    """The second half is zeros, as after an interrupted download that allocated the file first."""
    content = encode(photo, quality=95)
    half = len(content) // 2
    (folder / "a.jpg").write_bytes(content[:half] + bytes(len(content) - half))


def png_promise(width, height):
    """A header that claims far more pixels than the file holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_promise(jpeg):
    offset = jpeg.index(b"\xff\xc0")
    return jpeg[: offset + 5] + struct.pack(">HH", 60_000, 60_000) + jpeg[offset + 9 :]


def tiff_promise(folder, photo):
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "TIFF")
    content = stream.getvalue()
    for tag, size in ((256, photo.shape[1]), (257, photo.shape[0])):
        for kind in (3, 4):
            old = struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", size)
            content = content.replace(old, struct.pack("<HHII", tag, 4, 1, 60_000))
    (folder / "a.tif").write_bytes(content)


def bmp_promise(folder, photo):
    content = bytearray(encode(photo, "BMP"))
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    (folder / "a.bmp").write_bytes(content)


def gif_promise(folder, photo):
    content = bytearray(encode(photo, "GIF"))
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    (folder / "a.gif").write_bytes(content)


def not_a_number(value):
    def make(folder, photo):
        samples = gray_of(photo) / np.float32(255)
        samples[3, 3] = value
        Image.fromarray(samples).save(folder / "a.tif")

    return make


def bad_crc(folder, photo):
    content = encode(photo, "PNG")
    offset = content.index(b"IDAT") + 400
    (folder / "a.png").write_bytes(content[:offset] + bytes([content[offset] ^ 255]) + content[offset + 1 :])


def looping_tiff(folder, photo):
    """A directory that gives itself as the next one."""
    content = bytearray(encode(photo, "TIFF"))
    (offset,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, offset)
    struct.pack_into("<I", content, offset + 2 + 12 * entries, offset)
    (folder / "a.tif").write_bytes(content)


def tiff_of_unknown_compression(folder, photo):
    content = encode(photo, "TIFF")
    old = struct.pack("<HHIHH", TiffImagePlugin.COMPRESSION, 3, 1, 1, 0)
    (folder / "a.tif").write_bytes(content.replace(old, old[:8] + struct.pack("<HH", 34_999, 0)))


def text_bomb(folder, photo):
    """A compressed comment of 100 megabytes."""
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    png_with(comment)(folder, photo)


def zipped(folder, photo):
    with zipfile.ZipFile(folder / "a.jpg", "w") as archive:
        archive.writestr("a.jpg", encode(photo))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><rect width="9" height="9"/></svg>'
MOVIE = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(1000)


# --- hostile: little to read, endless to decode --------------------------------------------------------------------


def repeated_scans(side, passes):
    """A progressive JPEG, gray and black, whose last scan, a refinement of nothing, is repeated."""
    blocks = (-(-side // 8)) ** 2
    runs, left = "", blocks
    while left:  # runs of blocks without a coefficient, as long as they may be
        bits = min(left, 2**15 - 1).bit_length() - 1
        run = min(left, 2 ** (bits + 1) - 1)
        runs += format(bits, "05b") + (format(run - 2**bits, f"0{bits}b") if bits else "")
        left -= run
    tables = b"\0\1" + bytes(15) + b"\0" + b"\x10" + bytes(4) + b"\x0f" + bytes(11) + bytes(16 * n for n in range(15))
    start = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    start += segment(0xC2, struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0)) + segment(0xC4, tables)
    first = segment(0xDA, b"\1\1\0\0\0\1") + bytes(-(-blocks // 8))
    refinement = segment(0xDA, b"\1\1\0\1\x3f\x10") + pack_bits(runs)
    return start + first + refinement * (passes - 1) + b"\xff\xd9"


def pack_bits(bits):
    """Bytes of a scan: filled up with ones, and a zero after each FF."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def sparse(name, head, size):
    """A file that begins like a picture, and has a hole of gigabytes behind that."""

    def make(folder, photo):
        with (folder / name).open("wb") as stream:
            stream.write(head)
            stream.truncate(size)

    return make


def exif_bomb(size, entries=None):
    """EXIF whose entries all claim the same bytes: together thousands of times as many."""
    count = min(entries or size // 24, 65_535)
    header = b"II*\0" + struct.pack("<IH", 8, count)
    start = len(header) + 12 * count + 4
    claims = b"".join(struct.pack("<HHII", 0xD000 + n % 0x2000, 7, size - start, start) for n in range(count))
    return (header + claims + bytes(4)).ljust(size, b"\0")


def with_exif_bomb(format, name, size):
    """A picture with this EXIF, of one block each 65,000 bytes in a JPEG."""

    def make(folder, photo):
        bomb = exif_bomb(size)
        if format == "JPEG":
            jpeg = encode(photo)
            jpeg = jpeg[:2] + jpeg[20:]  # without JFIF, whose resolution would spare Pillow the EXIF
            parts = [bomb[first : first + 65_000] for first in range(0, size, 65_000)]
            content = jpeg[:2] + b"".join(segment(0xE1, b"Exif\0\0" + part) for part in parts) + jpeg[2:]
        else:
            content = encode(photo, format, exif=bomb)
        (folder / name).write_bytes(content)

    return make


def exif_bomb_in_avif(size):
    """As above; Pillow would parse the EXIF while it writes the file, so it is exchanged afterwards."""

    def make(folder, photo):
        exif = Image.Exif()
        exif[0x927C] = bytes(range(256)) * (size // 256)
        held = exif.tobytes()[6:]
        content = encode(photo, "AVIF", exif=exif)
        place = content.index(held)
        (folder / "a.avif").write_bytes(content[:place] + exif_bomb(len(held)) + content[place + len(held) :])

    return make


def tiff_bomb(size, entries):
    """A TIFF whose directory is such a bomb."""

    def make(folder, photo):
        content = encode(photo, "TIFF")
        (offset,) = struct.unpack_from("<I", content, 4)
        (count,) = struct.unpack_from("<H", content, offset)
        own = content[offset + 2 : offset + 2 + 12 * count]
        claims = b"".join(struct.pack("<HHII", 0xD000 + n % 0x2000, 7, size, 8) for n in range(entries))
        content = content.ljust(size + 8, b"\0")
        directory = struct.pack("<H", count + entries) + own + claims + bytes(4)
        (folder / "a.tif").write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:] + directory)

    return make


def tiff_of_tiles(side, tile):
    """A TIFF of very many tiles, all at the same place."""

    def make(folder, photo):
        count = (-(-side // tile)) ** 2
        tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
        tags += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, count, 200), (325, 4, count, 200)]
        directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
        content = (b"II*\0\x08\0\0\0" + directory).ljust(200, b"\0") + struct.pack("<I", 200) * count
        (folder / "a.tif").write_bytes(content)

    return make


def chunky_png(before=0, inside=0, behind=0):
    """A PNG of very many empty chunks: before, in or behind its pixels."""

    def make(folder, photo):
        content = png(photo, bits=8, colour=2, extra=chunk(b"prVt", b"") * before)
        for many, mark in ((inside, chunk(b"IDAT", b"")), (behind, chunk(b"prVt", b""))):
            content = content[:-12] + mark * many + content[-12:]
        (folder / "a.png").write_bytes(content)

    return make


def gif_of_blocks(count):
    """A GIF with a comment in very many blocks of one byte."""

    def make(folder, photo):
        content = encode(Image.fromarray(photo).quantize(256), "GIF")
        start = 13 + 3 * 2 ** ((content[10] & 7) + 1)
        (folder / "a.gif").write_bytes(content[:start] + b"!\xfe" + b"\1x" * count + b"\0" + content[start:])

    return make


def bmp_in_runs(side):
    """A BMP of empty rows in runs, each in two bytes: Pillow fills them pixel by pixel, in Python."""

    def make(folder, photo):
        header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 4 * side + 2, 0, 0, 256, 0)
        data = b"\1\0\0\0" * side + b"\0\1"  # a pixel first, else Pillow takes the row as full
        start = b"BM" + struct.pack("<IHHI", 14 + len(header) + 1024 + len(data), 0, 0, 14 + len(header) + 1024)
        (folder / "a.bmp").write_bytes(start + header + bytes(1024) + data)

    return make


def tiny_blocks(side):
    """A JPEG 2000 whose header asks for blocks of 4 x 4 pixels, each in a precinct of its own."""

    def make(folder, photo):
        options = {"precinct_size": (4, 4), "codeblock_size": (4, 4), "num_resolutions": 2}
        Image.new("L", (side, side), 99).save(folder / "a.jp2", **options)

    return make


# --- not regular files ---------------------------------------------------------------------------------------------


def fifo(folder, photo):
    os.mkfifo(folder / "a.jpg")


def fifo_by_another_name(folder, photo):
    os.mkfifo(folder / "queue")


def unix_socket(folder, photo):
    previous = Path.cwd()
    try:
        os.chdir(folder)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("a.jpg")
    finally:
        os.chdir(previous)


def link(target, name="a.jpg"):
    def make(folder, photo):
        if Path(target).is_absolute() and not Path(target).exists():
            raise FileNotFoundError(errno.ENOENT, f"this system has no {target}")
        (folder / name).symlink_to(target)

    return make


def folder_named_as_a_photo(folder, photo):
    (folder / "a.jpg").mkdir()


def folder_of_photos_named_as_one(folder, photo):
    save("b.png")(_new(folder / "a.jpg"), photo)


def not_permitted(folder, photo):
    if os.geteuid() == 0:
        raise PermissionError(errno.EPERM, "root can read every file")
    save("a.png")(folder, photo)
    (folder / "a.png").chmod(0)


# --- places --------------------------------------------------------------------------------------------------------


def at(*names, format="PNG"):
    """The photo at a path."""

    def make(folder, photo):
        path = folder.joinpath(*names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photo, format))

    return make


def loop(folder, photo):
    save("a.png")(_new(folder / "one" / "two"), photo)
    (folder / "one" / "two" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "one" / "itself").symlink_to(".", target_is_directory=True)


def linked(folder, photo):
    """A photo reached only by a link, because its file is hidden."""
    save(".a.png")(folder, photo)
    (folder / "a.png").symlink_to(".a.png")


def beside_a_link_to_itself(folder, photo):
    save("a.png")(folder, photo)
    (folder / "loop").symlink_to("loop")


def no_unicode(folder, photo):
    (folder / os.fsdecode(b"caf\xe9 \xff.png")).write_bytes(encode(photo, "PNG"))


def deep(folder, photo):
    at(*["folder"] * 60, "a.png")(folder, photo)


def hidden_beside(folder, photo):
    save("a.png")(folder, photo)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "a.xmp", "a.aae", "a.png.json"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1" + bytes(100))


# --- mutations -----------------------------------------------------------------------------------------------------


def make_seeds(photo):
    """Make small intact files to mutate: name -> bytes."""
    tile = np.ascontiguousarray(photo[64:160, 64:176])
    rgba = np.dstack([tile, gray_of(tile)])
    deep_gray = Image.fromarray(gray_of(tile).astype(np.uint16) * 257)
    fraction = Image.fromarray(gray_of(tile) / np.float32(255))
    picture = Image.fromarray(tile)

    def pages(format):
        """Encode copies: a picture that was saved as JPEG keeps state that spoils its TIFF."""
        other = Image.new("RGB", picture.size, (90, 120, 40))
        return encode(picture.copy(), format, save_all=True, append_images=[other])

    return {
        "baseline.jpg": encode(tile, quality=85),
        "progressive.jpg": encode(tile, quality=85, progressive=True),
        "gray.jpg": encode(gray_of(tile), quality=85),
        "cmyk.jpg": encode(picture.convert("CMYK"), quality=85),
        "restarts.jpg": encode(tile, quality=85, restart_marker_rows=2),
        "thumbnail.jpg": with_thumbnail(tile),
        "several.jpg": pages("MPO"),
        "rgb.png": encode(tile, "PNG"),
        "palette.png": encode(picture.quantize(64), "PNG"),
        "alpha.png": encode(rgba, "PNG"),
        "16bit.png": encode(deep_gray, "PNG"),
        "interlaced.png": png(tile, bits=8, colour=2, interlaced=True),
        "animated.png": pages("PNG"),
        "raw.tif": encode(tile, "TIFF"),
        "lzw.tif": encode(tile, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(tile, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encode(tile, "TIFF", compression="jpeg"),
        "fax.tif": encode(picture.convert("1"), "TIFF", compression="group4"),
        "16bit.tif": encode(deep_gray, "TIFF"),
        "float.tif": encode(fraction, "TIFF", compression="tiff_lzw"),
        "pages.tif": pages("TIFF"),
        "lossy.webp": encode(tile, "WEBP", quality=85),
        "lossless.webp": encode(tile, "WEBP", lossless=True),
        "alpha.webp": encode(rgba, "WEBP", quality=85),
        "animated.webp": pages("WEBP"),
    }


def mutate(seeds, number, *, seed=0):
    """Make mutation `number`: -> name, bytes. The same number and seed give the same file."""
    rng = np.random.default_rng([seed, number])
    name = list(seeds)[int(rng.integers(len(seeds)))]
    content = bytearray(seeds[name])
    used = []
    for _ in range(int(rng.integers(1, 4))):
        kind = list(MUTATIONS)[int(rng.integers(len(MUTATIONS)))]
        content = MUTATIONS[kind](content, rng, seeds) if content else content
        used.append(kind)
    return f"{number}-{'-'.join(used)}-{name}", bytes(content)


def flip_bits(content, rng, seeds):
    for offset in rng.integers(len(content), size=int(rng.integers(1, 20))):
        content[offset] ^= 1 << int(rng.integers(8))
    return content


def set_bytes(content, rng, seeds):
    for offset in rng.integers(len(content), size=int(rng.integers(1, 20))):
        content[offset] = int(rng.choice([0, 1, 127, 128, 254, 255, rng.integers(256)]))
    return content


def set_header(content, rng, seeds):
    for offset in rng.integers(min(64, len(content)), size=int(rng.integers(1, 4))):
        content[offset] = int(rng.integers(256))
    return content


def set_number(content, rng, seeds):
    """Overwrite a number, such as a length, an offset or a side, with an extreme value."""
    size = int(rng.choice([2, 4]))
    offset = int(rng.integers(max(1, min(len(content) - size, int(rng.choice([64, 512, len(content)]))))))
    number = int(rng.choice([0, 1, 255, 0x7FFF, 0xFFFF, 60_000, 0x7FFFFFFF, 0xFFFFFFFF, 100_000])) % 256**size
    content[offset : offset + size] = number.to_bytes(size, str(rng.choice(["big", "little"])))
    return content


def set_size(content, rng, seeds):
    """Overwrite width and height where the format stores them."""
    sides = [int(side) for side in rng.choice([0, 1, 7, 64, 96, 113, 1000, 14_000, 60_000], size=2)]
    start = bytes(content[:16])
    if start[:4] == b"\x89PNG":
        content[16:24] = struct.pack(">II", *sides)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif start[:2] == b"\xff\xd8":
        offset = max(content.rfind(b"\xff\xc0"), content.rfind(b"\xff\xc2"))
        content[offset + 5 : offset + 9] = struct.pack(">HH", *sides)
    elif start[:2] == b"II":
        for tag, side in zip((256, 257), sides, strict=True):
            offset = content.find(struct.pack("<H", tag) + b"\x03\0\x01\0\0\0")
            if offset >= 0:
                content[offset + 2 : offset + 12] = struct.pack("<HII", 4, 1, side)
    else:
        content[24:30] = struct.pack("<IH", *sides)
    return content


def cut_off(content, rng, seeds):
    return content[: int(rng.integers(len(content)))]


def splice(content, rng, seeds):
    """Join the start of this file and the end of another."""
    other = list(seeds.values())[int(rng.integers(len(seeds)))]
    return content[: int(rng.integers(len(content)))] + other[int(rng.integers(len(other))) :]


def repeat_part(content, rng, seeds):
    first, last = sorted(int(offset) for offset in rng.integers(len(content), size=2))
    return content[:last] + content[first:last] * int(rng.integers(1, 4)) + content[last:]


def remove_part(content, rng, seeds):
    first = int(rng.integers(len(content)))
    return content[:first] + content[first + int(rng.integers(1, 200)) :]


def fix_crcs(content, rng, seeds):
    """Damage a PNG but correct its checksums, so that decoders reach the damage."""
    set_bytes(content, rng, seeds)
    offset = 8
    while content[:4] == b"\x89PNG" and offset + 12 <= len(content):
        length = int.from_bytes(content[offset : offset + 4], "big")
        if offset + 12 + length > len(content):
            break
        content[offset + 8 + length : offset + 12 + length] = struct.pack(
            ">I", zlib.crc32(content[offset + 4 : offset + 8 + length])
        )
        offset += 12 + length
    return content


MUTATIONS = {
    "bits": flip_bits,
    "bytes": set_bytes,
    "header": set_header,
    "number": set_number,
    "size": set_size,
    "cut": cut_off,
    "splice": splice,
    "repeat": repeat_part,
    "remove": remove_part,
    "crc": fix_crcs,
}

# --- tables --------------------------------------------------------------------------------------------------------

FORMATS = {  # the same photo: JPEG, PNG, TIFF, others
    "jpeg": Oddity(save("a.jpg", quality=95), "as plain"),
    "jpeg-75": Oddity(save("a.jpg", quality=75), "as plain"),
    "jpeg-444": Oddity(save("a.jpg", quality=95, subsampling=0), "as plain"),
    "jpeg-progressive": Oddity(save("a.jpg", quality=95, progressive=True), "as plain"),
    "jpeg-restart-markers": Oddity(save("a.jpg", quality=95, restart_marker_rows=1), "as plain"),
    "jpeg-gray": Oddity(save("a.jpg", mode="L", quality=95), "as plain"),
    "jpeg-cmyk": Oddity(save("a.jpg", mode="CMYK", quality=95), "as plain"),
    "jpeg-rgb": Oddity(save("a.jpg", quality=95, keep_rgb=True), "as plain"),
    "jpeg-mpo": Oddity(several("a.jpg", format="MPO", quality=95), "as plain"),
    "jpeg-turned-3": Oddity(rotated(3), "as plain"),
    "jpeg-turned-5": Oddity(rotated(5), "as plain"),
    "jpeg-turned-6": Oddity(rotated(6), "as plain"),
    "jpeg-thumbnail": Oddity(thumbnailed, "as plain"),
    "png": Oddity(save("a.png"), "as plain", within=1e-6),
    "png-1-bit": Oddity(save("a.png", mode="1"), "judged"),  # dithering makes sharp dots of any photo
    "png-2-bit": Oddity(deep_png(2, 0), "as plain", within=0.3, any_photo=False),  # gray levels in steps of 85
    "png-4-bit": Oddity(deep_png(4, 0), "as plain", any_photo=False),  # in steps of 17
    "png-8-bit-gray": Oddity(save("a.png", mode="L"), "as plain", within=1e-6),
    "png-16-bit-gray": Oddity(wide("a.png", 257, np.uint16), "as plain", within=1e-6),
    "png-16-bit-gray-alpha": Oddity(deep_png(16, 4), "as plain", within=0.02),
    "png-16-bit-rgb": Oddity(deep_png(16, 2), "as plain", within=0.02),
    "png-16-bit-rgba": Oddity(deep_png(16, 6), "as plain", within=0.02),
    "png-16-bit-interlaced": Oddity(deep_png(16, 2, interlaced=True), "as plain", within=0.02),
    "png-interlaced": Oddity(adam7, "as plain", within=1e-6),
    "png-palette": Oddity(palette("a.png"), "as plain"),
    "png-palette-transparent": Oddity(transparent_colour, "as plain"),
    "png-alpha": Oddity(opaque("a.png"), "as plain", within=1e-6),
    "png-gray-alpha": Oddity(opaque("a.png", "LA"), "as plain", within=1e-6),
    "png-cut-out": Oddity(cut_out("a.png"), "as plain", within=0.3),
    "png-animated": Oddity(several("a.png"), "as plain", within=1e-6),
    "png-turned": Oddity(rotated(6, "PNG", "a.png"), "as plain"),
    "tiff": Oddity(save("a.tif"), "as plain", within=1e-6),
    "tiff-lzw": Oddity(save("a.tif", compression="tiff_lzw"), "as plain", within=1e-6),
    "tiff-deflate": Oddity(save("a.tif", compression="tiff_adobe_deflate"), "as plain", within=1e-6),
    "tiff-packbits": Oddity(save("a.tif", compression="packbits"), "as plain", within=1e-6),
    "tiff-jpeg": Oddity(save("a.tif", compression="jpeg", quality=95), "as plain"),
    "tiff-fax": Oddity(save("a.tif", mode="1", compression="group4"), "judged"),
    "tiff-cmyk": Oddity(save("a.tif", mode="CMYK"), "as plain", within=0.02),
    "tiff-palette": Oddity(palette("a.tif"), "as plain"),
    "tiff-alpha": Oddity(opaque("a.tif"), "as plain", within=1e-6),
    "tiff-big": Oddity(save("a.tif", big_tiff=True), "as plain", within=1e-6),
    "tiff-big-endian": Oddity(by_tifffile(byteorder=">"), "as plain", within=1e-6),
    "tiff-tiled": Oddity(by_tifffile(tile=(64, 64)), "as plain", within=1e-6),
    "tiff-planes": Oddity(by_tifffile(planarconfig="separate"), "as plain", within=1e-6),
    "tiff-pages": Oddity(several("a.tif"), "as plain", within=1e-6),
    "tiff-turned": Oddity(rotated(6, "TIFF", "a.tif"), "as plain"),
    "tiff-16-bit": Oddity(wide("a.tif", 257, np.uint16), "as plain", within=1e-6),
    "tiff-16-bit-big-endian": Oddity(by_tifffile(257, np.uint16, gray=True, byteorder=">"), "as plain", within=1e-6),
    "tiff-16-bit-rgb": Oddity(by_tifffile(257, np.uint16), "as plain", within=0.02),
    "tiff-12-bit-in-16": Oddity(wide("a.tif", 4095 / 255, np.uint16), "as plain", within=0.05),
    "tiff-32-bit": Oddity(wide("a.tif", 257, np.int32), "as plain", within=0.02),
    "tiff-float-to-1": Oddity(wide("a.tif", 1 / 255, np.float32), "as plain", within=0.02),
    "tiff-float-to-255": Oddity(wide("a.tif", 1, np.float32), "as plain", within=0.02),
    "tiff-float-to-65535": Oddity(wide("a.tif", 257, np.float32), "as plain", within=0.02),
    "tiff-float-below-0": Oddity(wide("a.tif", 2 / 255, np.float32, -1.0), "as plain", within=0.1),
    "tiff-float-64": Oddity(by_tifffile(1 / 255, np.float64, gray=True), "handled", within=0.02),
    "tiff-float-rgb": Oddity(by_tifffile(1 / 255, np.float32), "handled", within=0.02),
    "webp": Oddity(save("a.webp", quality=95), "as plain"),
    "webp-lossless": Oddity(save("a.webp", lossless=True), "as plain", within=1e-6),
    "webp-alpha": Oddity(cut_out("a.webp", lossless=True), "as plain", within=0.3),
    "webp-animated": Oddity(several("a.webp", lossless=True), "as plain", within=0.02),
    "webp-turned": Oddity(rotated(6, "WEBP", "a.webp"), "as plain", within=0.2),
    "gif": Oddity(palette("a.gif"), "as plain"),
    "gif-animated": Oddity(several("a.gif"), "as plain", within=0.2),
    "gif-cut-out": Oddity(cut_out("a.gif"), "as plain", within=0.3),
    "bmp": Oddity(save("a.bmp"), "as plain", within=1e-6),
    "bmp-gray": Oddity(save("a.bmp", mode="L"), "as plain", within=1e-6),
    "bmp-palette": Oddity(palette("a.bmp"), "as plain"),
    "bmp-alpha": Oddity(opaque("a.bmp"), "as plain", within=1e-6),
    "avif": Oddity(save("a.avif", quality=95), "as plain"),
    "avif-alpha": Oddity(opaque("a.avif", quality=95), "as plain"),
    "jpeg-2000": Oddity(save("a.jp2"), "as plain", within=0.02),
    "jpeg-2000-lossy": Oddity(save("a.jp2", quality_mode="rates", quality_layers=[10]), "as plain"),
    "jpeg-2000-stream": Oddity(save("a.j2k"), "as plain", within=0.02),
    "heic": Oddity(heic(), "as plain"),
}

WHOLE = {
    "exif-of-garbage": Oddity(after_soi(segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 4)), "as plain"),
    "exif-empty": Oddity(after_soi(segment(0xE1, b"Exif\0\0")), "as plain"),
    "exif-cut": Oddity(after_soi(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\x03\0")), "as plain"),
    "exif-turned-99": Oddity(
        after_soi(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0")),
        "as plain",
    ),
    "exif-turned-by-text": Oddity(
        after_soi(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0")), "as plain"
    ),
    "icc-of-garbage": Oddity(after_soi(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"garbage" * 9)), "as plain"),
    "icc-parts-missing": Oddity(after_soi(segment(0xE2, b"ICC_PROFILE\0\x02\x03" + b"garbage" * 9)), "as plain"),
    "icc": Oddity(profiled, "as plain"),
    "xmp-of-garbage": Oddity(
        after_soi(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta" + bytes(99))), "as plain"
    ),
    "mpf-of-garbage": Oddity(after_soi(segment(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f" + bytes(20))), "as plain"),
    "photoshop-of-garbage": Oddity(after_soi(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04" * 9)), "as plain"),
    "jpeg-with-a-film-behind": Oddity(write("a.jpg", lambda jpeg: jpeg + MOVIE), "as plain"),
    "jpeg-twice": Oddity(write("a.jpg", lambda jpeg: jpeg + jpeg), "as plain"),
    "jpeg-filled-up": Oddity(write("a.jpg", lambda jpeg: jpeg + bytes(5000)), "as plain"),
    "png-exif-of-garbage": Oddity(png_with(chunk(b"eXIf", b"garbage" * 9)), "as plain", within=1e-6),
    "png-icc-of-garbage": Oddity(png_with(chunk(b"iCCP", b"icc\0\0garbage")), "handled", within=1e-6),
    "png-chunk-of-a-wrong-crc": Oddity(png_with(chunk(b"tEXt", b"Comment\0hello", crc=1)), "handled", within=1e-6),
    "png-comment-of-100-megabytes": Oddity(text_bomb, "handled", within=1e-6),
    "tiff-pages-in-a-loop": Oddity(looping_tiff, "handled", within=1e-6),
    "black": Oddity(flat(0), "undecided", "too little texture"),
    "white": Oddity(flat(255, "a.jpg"), "undecided", "too little texture"),
    "png-of-100-megapixels": Oddity(white(10_000, 10_000), "undecided", "too little texture"),
    "png-of-199-megapixels": Oddity(white(14_100, 14_100), "undecided", "too little texture"),
    "one-pixel": Oddity(sized(1, 1), "undecided", "too small"),
    "one-pixel-high": Oddity(sized(500, 1), "undecided", "too small"),
    "one-pixel-high-jpeg": Oddity(sized(500, 1, "a.jpg"), "undecided", "too small"),
    "one-pixel-wide-tiff": Oddity(sized(1, 500, "a.tif"), "undecided", "too small"),
    "7-px": Oddity(sized(7, 7), "undecided", "too small"),
    "8-px": Oddity(sized(8, 8, "a.jpg"), "undecided", "too small"),
    "63-px": Oddity(sized(300, 63), "undecided", "too small"),
    "30000-x-40": Oddity(strip(30_000, 40), "undecided", "too small"),
    "30000-x-64": Oddity(strip(30_000, 64), "judged"),
    "64-x-30000": Oddity(strip(64, 30_000, "a.png"), "judged"),
}

BROKEN = "cannot be read"
DAMAGED = {
    "empty": Oddity(write("a.jpg", b""), "error", BROKEN),
    "one-byte": Oddity(write("a.jpg", b"\xff"), "error", BROKEN),
    "soi-only": Oddity(write("a.jpg", b"\xff\xd8"), "error", BROKEN),
    "zeros": Oddity(write("a.jpg", bytes(10_000)), "error", BROKEN),
    "text": Oddity(write("a.jpg", b"This is no photo.\n"), "error", "no picture|cannot be read"),
    "text-named-bmp": Oddity(write("a.bmp", b"BMW is a car maker, and this is no photo.\n"), "error", BROKEN),
    "web-page": Oddity(write("a.jpg", b"<!doctype html><title>404</title>"), "error", BROKEN),
    "drawing-named-png": Oddity(write("a.png", SVG), "error", BROKEN),
    "postscript-named-jpg": Oddity(write("a.jpg", POSTSCRIPT), "error", "not a picture in any known format"),
    "film-named-jpg": Oddity(write("a.jpg", MOVIE), "error", BROKEN),
    "zip-named-jpg": Oddity(zipped, "error", BROKEN),
    "jpeg-cut-at-1": Oddity(cut("JPEG", 0.01, "a.jpg", quality=95), "error", BROKEN),
    "jpeg-cut-at-50": Oddity(cut("JPEG", 0.5, "a.jpg", quality=95), "error", BROKEN),
    "jpeg-cut-at-99": Oddity(cut("JPEG", 0.99, "a.jpg", quality=95), "error", BROKEN),
    "jpeg-without-its-end": Oddity(cut("JPEG", -2, "a.jpg", quality=95), "error", BROKEN),
    "jpeg-progressive-cut": Oddity(cut("JPEG", 0.6, "a.jpg", quality=95, progressive=True), "error", BROKEN),
    "jpeg-second-half-zeros": Oddity(padded, "error", BROKEN),
    "png-cut": Oddity(cut("PNG", 0.7, "a.png"), "error", BROKEN),
    "png-cut-in-its-header": Oddity(cut("PNG", 0.0001, "a.png"), "error", BROKEN),
    "png-of-wrong-bytes": Oddity(bad_crc, "error", BROKEN),
    "tiff-cut": Oddity(cut("TIFF", 0.7, "a.tif"), "error", BROKEN),
    "tiff-cut-behind-its-directory": Oddity(cut_tiff, "error", BROKEN),
    "tiff-lzw-cut": Oddity(cut("TIFF", 0.7, "a.tif", compression="tiff_lzw"), "error", BROKEN),
    "tiff-deflate-cut": Oddity(cut("TIFF", 0.7, "a.tif", compression="tiff_adobe_deflate"), "error", BROKEN),
    "tiff-jpeg-cut": Oddity(cut("TIFF", 0.7, "a.tif", compression="jpeg"), "error", BROKEN),
    "tiff-of-unknown-compression": Oddity(tiff_of_unknown_compression, "error", BROKEN),
    "webp-cut": Oddity(cut("WEBP", 0.7, "a.webp"), "error", BROKEN),
    "webp-lossless-cut": Oddity(cut("WEBP", 0.7, "a.webp", lossless=True), "error", BROKEN),
    "gif-cut": Oddity(cut("GIF", 0.7, "a.gif"), "error", BROKEN),
    "bmp-cut": Oddity(cut("BMP", 0.7, "a.bmp"), "error", BROKEN),
    "avif-cut": Oddity(cut("AVIF", 0.7, "a.avif"), "error", BROKEN),
    "jpeg-2000-cut": Oddity(cut("JPEG2000", 0.5, "a.jp2"), "error", BROKEN),
    "heic-cut": Oddity(cut_heic, "error", BROKEN),
    "nan": Oddity(not_a_number(np.nan), "error", "not numbers"),
    "infinity": Oddity(not_a_number(np.inf), "error", "not numbers"),
    "png-promise": Oddity(write("a.png", png_promise(60_000, 60_000)), "error", "megapixels"),
    "png-of-201-megapixels": Oddity(white(14_200, 14_200), "error", "megapixels"),
    "png-promise-of-a-line": Oddity(write("a.png", png_promise(2**31 - 1, 1)), "error", "megapixels|cannot be read"),
    "png-of-no-width": Oddity(write("a.png", png_promise(0, 100)), "error", BROKEN),
    "jpeg-promise": Oddity(write("a.jpg", jpeg_promise), "error", "megapixels"),
    "tiff-promise": Oddity(tiff_promise, "error", "megapixels"),
    "bmp-promise": Oddity(bmp_promise, "error", "megapixels"),
    "gif-promise": Oddity(gif_promise, "error", "megapixels"),
}

NO_FILES = {
    "fifo": Oddity(fifo, "error", "pipe|device|not a file|no file"),
    "fifo-by-another-name": Oddity(fifo_by_another_name, "no row"),
    "socket": Oddity(unix_socket, "error", "socket|device|not a file|no file"),
    "link-to-a-device": Oddity(link("/dev/zero"), "error", "device|not a file|no file"),
    "link-to-nowhere": Oddity(link("nowhere.jpg"), "error", "does not exist"),
    "link-to-itself": Oddity(link("a.jpg"), "error"),
    "folder-named-as-a-photo": Oddity(folder_named_as_a_photo, "error", "folder"),
    "folder-of-photos-named-as-one": Oddity(folder_of_photos_named_as_one, "as plain", within=1e-6),
    "not-permitted": Oddity(not_permitted, "error", "permission|permitted"),
    "text-named-txt": Oddity(write("notes.txt", b"This is no photo.\n"), "no row"),
    "text-without-suffix": Oddity(write("README", b"This is no photo.\n"), "no row"),
    "empty-without-suffix": Oddity(write("empty", b""), "no row"),
    "film": Oddity(write("a.mp4", MOVIE), "no row"),
}

PLACES = {
    "hidden": Oddity(at(".a.png"), "no row"),
    "hidden-folder": Oddity(at(".thumbnails", "a.png"), "no row"),
    "macosx": Oddity(at("__MACOSX", "sub", "a.png"), "no row"),
    "apple-double": Oddity(write("._a.jpg", b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99)), "no row"),
    "synology": Oddity(at("@eaDir", "a.png", "SYNOPHOTO_THUMB_XL.png"), "no row"),
    "recycle-bin": Oddity(at("$RECYCLE.BIN", "S-1-5-21", "a.png"), "no row"),
    "system-volume": Oddity(at("System Volume Information", "a.png"), "no row"),
    "what-systems-leave-beside": Oddity(hidden_beside, "as plain", within=1e-6),
    "loop": Oddity(loop, "as plain", within=1e-6),
    "link": Oddity(linked, "as plain", within=1e-6),
    "beside-a-link-to-itself": Oddity(beside_a_link_to_itself, "as plain", within=1e-6),
    "no-unicode": Oddity(no_unicode, "as plain", within=1e-6),
    "newline": Oddity(at("a\nb\r\x1b[31m.png"), "as plain", within=1e-6),
    "quotes": Oddity(at("=1+1, \"quoted\" 'a' %s {x} [1].png"), "as plain", within=1e-6),
    "dash": Oddity(at("--help.png"), "as plain", within=1e-6),
    "emoji": Oddity(at("\u202eשלום 📷.png"), "as plain", within=1e-6),
    "longest-name": Oddity(at("n" * (LONGEST_NAME - 4) + ".png"), "as plain", within=1e-6),
    "deep": Oddity(deep, "as plain", within=1e-6),
    "upper-case": Oddity(at("A.PNG"), "as plain", within=1e-6),
    "mixed-case": Oddity(at("A.JpEg", format="JPEG"), "as plain"),
    "no-suffix": Oddity(at("IMG_0001", format="JPEG"), "as plain"),
    "unknown-suffix": Oddity(at("a.jpg_original", format="JPEG"), "as plain"),
    "jpeg-named-png": Oddity(at("a.png", format="JPEG"), "as plain"),
    "png-named-jpg": Oddity(at("a.jpg"), "as plain", within=1e-6),
    "webp-named-gif": Oddity(at("a.gif", format="WEBP"), "as plain", within=0.2),
    "tiff-named-jpg": Oddity(at("a.jpg", format="TIFF"), "as plain", within=1e-6),
    "heic-named-jpg": Oddity(heic("a.jpg"), "as plain"),
}

HUGE, PARTS, METADATA = "too long or too much memory", "far more (parts|segments|fill|blocks)", "metadata is damaged"
HOSTILE = {  # larger ones are in benchmarks/hostile_photos.py
    "jpeg-of-40-scans": Oddity(write("a.jpg", repeated_scans(800, 40)), "undecided", "too little texture"),
    "jpeg-of-41-scans": Oddity(write("a.jpg", repeated_scans(800, 41)), "error", "far more scans"),
    "jpeg-of-10000-scans": Oddity(write("a.jpg", repeated_scans(8000, 10_000)), "error", "far more scans"),
    "jpeg-of-fill": Oddity(write("a.jpg", lambda jpeg: jpeg[:2] + b"\xff" * 10**6 + jpeg[2:]), "error", PARTS),
    "jpeg-of-junk": Oddity(write("a.jpg", lambda jpeg: jpeg[:2] + b"\xff\0" * 10**6 + jpeg[2:]), "error", PARTS),
    "jpeg-of-a-little-fill": Oddity(write("a.jpg", lambda jpeg: jpeg[:2] + b"\xff" * 999 + jpeg[2:]), "as plain"),
    "jpeg-of-segments": Oddity(
        write("a.jpg", lambda jpeg: jpeg[:2] + b"\xff\xfe\0\2" * 10**5 + jpeg[2:]), "error", PARTS
    ),
    "jpeg-of-10-gigabytes": Oddity(sparse("a.jpg", b"\xff\xd8\xff", 10**10), "error", HUGE),
    "webp-of-10-gigabytes": Oddity(sparse("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", 10**10), "error", HUGE),
    "avif-of-10-gigabytes": Oddity(sparse("a.avif", b"\0\0\0\x18ftypavif", 10**10), "error", HUGE),
    "exif-bomb": Oddity(with_exif_bomb("JPEG", "a.jpg", 60_000), "error", METADATA),
    "exif-bomb-of-several-blocks": Oddity(with_exif_bomb("JPEG", "a.jpg", 300_000), "error", METADATA),
    "exif-bomb-in-png": Oddity(with_exif_bomb("PNG", "a.png", 300_000), "as plain", within=1e-6),
    "exif-bomb-in-webp": Oddity(with_exif_bomb("WEBP", "a.webp", 300_000), "as plain", within=0.2),
    "exif-bomb-in-avif": Oddity(exif_bomb_in_avif(300_000), "error", METADATA),
    "tiff-bomb": Oddity(tiff_bomb(10**6, 4000), "handled", PARTS, within=1e-6),
    "tiff-of-60000-tags": Oddity(tiff_bomb(10**6, 60_000), "error", METADATA),
    "tiff-of-tiles": Oddity(tiff_of_tiles(2000, 2), "error", "strips"),
    "png-of-chunks": Oddity(chunky_png(before=50_000), "error", PARTS),
    "png-of-chunks-of-pixels": Oddity(chunky_png(inside=500_000), "error", PARTS),
    "gif-of-blocks": Oddity(gif_of_blocks(50_000), "error", PARTS),
    "bmp-in-runs-of-64-megapixels": Oddity(bmp_in_runs(8000), "error", HUGE),
    "jpeg-2000-of-tiny-blocks": Oddity(tiny_blocks(256), "error", PARTS),
}

ODDITIES = {**FORMATS, **WHOLE, **DAMAGED, **HOSTILE, **NO_FILES, **PLACES}
