"""Photos -> pieces of even work, of which a cluster judges several at a time.

Where a piece ends depends on the paths of its photos, not on their position: so a new photo changes the piece that it
falls into, and all others keep their names and what is saved of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from blurgate.judging.verdicts import Evidence
from blurgate.photos.addresses import Status, hide, is_address
from blurgate.scanning.items import Item

SECONDS = 1.0  # of work in a piece, on average: long beside what a piece costs a cluster, short beside a scan
MOST_PHOTOS = 2000  # in a piece: that many rows are held in memory
MOST_BYTES = 2**23  # in a piece, of photos that come with their content

_PER_PHOTO, _PER_BYTE = 1.5e-3, 8e-9  # seconds of work, roughly, on one core
_SPREAD = 1.28  # mean length of a piece, in units of the length at which its end becomes likely
_LONGEST = 2.5  # in the same units: one piece in 10,000 would be longer


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo as it was found, or a folder or an archive that could not be searched.

    Parameters
    ----------
    path : str
    size, modified_ns : int
        Of its file; 0 if unknown, since reading it will say why.
    evidence : Evidence or None
        If it is known without reading it: an error.
    broken : bool
        As of an `Item`.
    content : bytes or None
        Of a photo in an archive that had to be read to be listed; None if the worker reads the photo.
    """

    path: str
    size: int = 0
    modified_ns: int = 0
    evidence: Evidence | None = None
    broken: bool = False
    content: bytes | None = field(default=None, repr=False)

    def to_item(self) -> Item:
        """Make what a `Judge` takes."""
        if self.evidence:
            return Item(evidence=self.evidence, broken=self.broken)
        if self.content is not None:
            return Item(self.content, path=self.name)
        if self.modified_ns and is_address(self.path):
            return Item(self.path, status=Status(self.size, self.modified_ns), path=self.name)
        return Item(self.path)

    @property
    def name(self) -> str:
        """Path of the photo or folder, without what an address may hold of credentials."""
        return self.evidence.path if self.evidence else hide(self.path)


def note_files(items: Iterable[Item]) -> Iterator[Entry]:
    """Note size and time of each photo's file before it is read.

    Parameters
    ----------
    items : iterable of Item
        Paths, or errors.

    Yields
    ------
    Entry
    """
    for item in items:
        if item.evidence:
            yield Entry(item.evidence.path, evidence=item.evidence, broken=item.broken)
            continue
        if isinstance(item.photo, bytes):
            known = item.status or Status(len(item.photo), 0)
            yield Entry(item.path, known.st_size, known.st_mtime_ns, content=item.photo)
            continue
        path = item.photo
        try:
            status = item.status or os.stat(path)  # noqa: PTH116 faster than Path, which matters for a million files
        except (OSError, ValueError):  # reading the photo reports it; ValueError: a zero byte in its path
            yield Entry(path)
        else:
            yield Entry(path, status.st_size, status.st_mtime_ns)


def cut_pieces(entries: Iterable[Entry], seconds: float = SECONDS) -> Iterator[tuple[Entry, ...]]:
    """Cut photos into pieces of about as much work each.

    Parameters
    ----------
    entries : iterable of Entry
    seconds : float
        Work of a piece, on average.

    Yields
    ------
    tuple of Entry
        At least one, in order; all of them together are the entries.
    """
    piece: list[Entry] = []
    held, size, scale = 0.0, 0, seconds / _SPREAD
    for entry in entries:
        piece.append(entry)
        cost = _PER_PHOTO + entry.size * _PER_BYTE
        held += cost
        size += len(entry.content or b"")
        chance = cost / scale * (held / scale) ** 3  # rises steeply: so pieces are even, and few are cut at the limit
        most = held > _LONGEST * scale or len(piece) == MOST_PHOTOS or size > MOST_BYTES
        if most or _draw(entry.name) < chance:
            yield tuple(piece)
            piece, held, size = [], 0.0, 0
    if piece:
        yield tuple(piece)


def name_piece(entries: Iterable[Entry], judge: str) -> str:
    """Name a piece by all that its verdicts depend on.

    Parameters
    ----------
    entries : iterable of Entry
    judge : str
        What verdicts depend on beside the photos.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(judge.encode(), digest_size=16)
    for entry in entries:
        fields = (entry.name, entry.size, entry.modified_ns, entry.evidence and entry.evidence.error)
        digest.update(repr(fields).encode(errors="surrogatepass"))
    return digest.hexdigest()


def _draw(path: str) -> float:
    """Draw a number that a path always gets, evenly between 0 and 1."""
    digest = hashlib.blake2b(path.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
