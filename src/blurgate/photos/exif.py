"""Metadata of an opened picture -> how to turn it upright, and how it was taken."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from blurgate.photos.directories import ORIENTATION, first_directory

TURNS = {  # EXIF orientation -> transpose
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = tuple(turn for orientation, turn in TURNS.items() if orientation > 4)

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXPOSURE_TIME, _APERTURE = ExifTags.Base.ExposureTime, ExifTags.Base.FNumber


def find_turn(picture: Any) -> Image.Transpose | None:
    """Look up the transpose that turns a picture upright; None if it is, or if its metadata is unreadable.

    As Pillow looks it up, but without the rest of the metadata: a stranger's may claim any amount of memory.

    Parameters
    ----------
    picture : PIL.Image.Image, or another object with its `info`
        Opened from a file.

    Returns
    -------
    PIL.Image.Transpose or None
    """
    try:
        found = _find_orientation(picture)
    except Exception:  # damaged metadata can raise anything
        return None
    return TURNS.get(found)


def describe_shot(picture: Image.Image) -> dict[str, str]:
    """Say how a photo was taken; never where.

    Parameters
    ----------
    picture : PIL.Image.Image
        Opened from a file.

    Returns
    -------
    dict of str to str
        ``taken`` (local time), ``camera`` and ``exposure`` (time, aperture and ISO), each only if the file has it.

    Raises
    ------
    Exception
        Any, if the metadata is damaged.
    """
    exif = picture.getexif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    shot = {
        "taken": _say_time(details.get(ExifTags.Base.DateTimeOriginal)),
        "camera": _say_camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)),
        "exposure": _say_exposure(details),
    }
    return {name: text for name, text in shot.items() if text}


def _find_orientation(picture: Any) -> int:
    exif = picture.info.get("exif")
    if exif is None and "Raw profile type exif" in picture.info:
        exif = bytes.fromhex("".join(picture.info["Raw profile type exif"].split("\n")[3:]))
    if exif is None and hasattr(picture, "tag_v2"):
        found = picture.tag_v2.get(ORIENTATION)
    else:
        directory = first_directory(io.BytesIO((exif or b"").removeprefix(b"Exif\0\0")))
        found = directory.integer(ORIENTATION) if directory and ORIENTATION in directory.entries else None
    if found is not None:
        return int(found)
    xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or b""
    match = _XMP_ORIENTATION.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(match[1]) if match else 1


def _say_time(value: Any) -> str:
    found = re.match(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", value) if isinstance(value, str) else None
    return "{}-{}-{} {}".format(*found.groups()) if found else ""


def _say_camera(make: Any, model: Any) -> str:
    make, model = (text.strip(" \0")[:60] if isinstance(text, str) else "" for text in (make, model))
    repeated = model.casefold().startswith(make.partition(" ")[0].casefold())
    return model if repeated else f"{make} {model}".strip()


def _say_exposure(details: Mapping[int, Any]) -> str:
    seconds, aperture = (_to_number(details.get(tag)) for tag in (_EXPOSURE_TIME, _APERTURE))
    iso = details.get(ExifTags.Base.ISOSpeedRatings)
    iso = _to_number(iso[0] if isinstance(iso, tuple) and iso else iso)
    return ", ".join(
        text
        for number, text in (
            (seconds, f"1/{1 / seconds:.0f} s" if 0 < seconds < 0.3 else f"{seconds:.3g} s"),
            (aperture, f"f/{aperture:.3g}"),
            (iso, f"ISO {iso:.0f}"),
        )
        if number
    )


def _to_number(value: Any) -> float:
    """Read a number of a camera's settings; 0 if it is none, or none that a camera has."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return number if 1e-6 < number < 1e8 else 0.0
