"""Grays -> hashes of what they show, and which of them are copies of one photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurgate.photos.images import Gray

_SIDE = 16  # the hash holds the signs of the 16 x 16 lowest frequencies
DIGITS = _SIDE**2 // 4  # hexadecimal
MAX_DISTANCE = 16  # bits of 256: 99 of 100 copies of photos differ by at most 12, different photos by 88 and more
MIN_SET = 100  # bits of 256: about half are set, but few in a picture whose frequencies are nearly all zero
_ROWS = 256  # compared at a time, to save memory


def hash_picture(gray: Gray) -> str:
    """Hash what a picture shows: nearly the same for its copies in other sizes and JPEG qualities.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8

    Returns
    -------
    str
        64 hexadecimal digits, imagehash's ``phash`` of 256 bits; empty if the extra ``train`` is not installed.
    """
    phash = _find_phash()
    return str(phash(Image.fromarray(gray), hash_size=_SIDE)) if phash else ""


def find_copies(hashes: Sequence[str]) -> NDArray[np.intp]:
    """Find the pairs of pictures that are copies of one photo.

    A picture without a hash is no copy, nor is one that is flat or a plain gradient: its hash says nothing.

    Parameters
    ----------
    hashes : sequence of str
        As `hash_picture` returns them.

    Returns
    -------
    ndarray of shape (n_pairs, 2), intp
        Positions in `hashes`, enough of them to link all copies of a photo: not every pair of those with equal hashes.

    Examples
    --------
    >>> find_copies(["0f" * 32, "", "f0" * 32, "0f" * 31 + "0e", ""]).tolist()
    [[3, 0]]
    """
    distinct, first, which = np.unique(np.asarray(hashes, dtype=str), return_index=True, return_inverse=True)
    known = [number for number, text in enumerate(distinct) if _is_telling(text)]
    bits = np.unpackbits(np.frombuffer(bytes.fromhex("".join(distinct[known])), np.uint8)).reshape(-1, _SIDE**2)
    signs = bits * np.float32(2) - 1
    near = [_find_near(signs, start) for start in range(0, len(known), _ROWS)]
    linked = first[np.asarray(known, np.intp)[np.concatenate([np.empty((0, 2), np.intp), *near])]]
    equal = np.flatnonzero(np.isin(which, known) & (first[which] != np.arange(len(which))))
    return np.concatenate([linked, np.stack([equal, first[which[equal]]], axis=1)])


def _find_near(signs: NDArray[np.float32], start: int) -> NDArray[np.intp]:
    """Compare `_ROWS` hashes from `start` on with those that follow each of them: -> pairs of positions."""
    agreement = signs[start : start + _ROWS] @ signs[start:].T  # bits that are equal, less those that differ
    return start + np.argwhere(np.triu(agreement >= _SIDE**2 - 2 * MAX_DISTANCE, 1))


def _is_telling(text: str) -> bool:
    return bool(text) and int(text, 16).bit_count() >= MIN_SET


@cache
def _find_phash() -> Callable[..., Any] | None:
    try:
        from imagehash import phash
    except ImportError:
        return None
    return phash  # type: ignore[no-any-return]
