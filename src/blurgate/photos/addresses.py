"""Addresses of photos, such as s3://bucket/cat.jpg or zip://cat.jpg::a.zip: what is one, and what may be said of it.

A scan of a disk imports this alone of all that stores and archives need.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from typing import NamedTuple

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".parquet")
COLUMNS = ("path", "file", "image", "photo", "bytes")  # names of a table's photo column, by priority

_SECRETS = 10_000  # addresses with secrets that are remembered, by how they are printed
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_ANYWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://[^\s'\"]+")  # an address in a text
_ROW = re.compile(r"(?i)(.*\.parquet(?:\?[^#]*)?)#([0-9]+)", re.DOTALL)
_USER = re.compile(r"(://)[^/?#:@]*(?::[^/?#]*)?@")
_HARMLESS = frozenset(  # parameters of a query that name a photo, and are no secret
    [
        "id",
        "v",
        "version",
        "versionid",
        "w",
        "h",
        "width",
        "height",
        "size",
        "format",
        "fm",
        "q",
        "quality",
        "page",
        "file",
        "name",
        "path",
        "photo",
        "image",
        "dpr",
        "fit",
        "crop",
        "auto",
    ]
)
_SECRET = re.compile(r"(?i)sig|token|key|secret|pass|cred|auth")  # in the name of a parameter
FLAT = ("http", "https")  # stores without folders
CHAINED = ("zip", "tar")  # kinds of archives, which an address names before their own
_CONTAINERS = ("abfs", "abfss", "az", "adl", "wasb", "wasbs")  # whose addresses have a name before an @, and no user

_LOCK = threading.Lock()
_HIDDEN: OrderedDict[str, str] = OrderedDict()


class Status(NamedTuple):
    """What tells whether a photo in a store has changed, named as `os.stat_result` names it.

    Parameters
    ----------
    st_size : int
        Bytes.
    st_mtime_ns : int
        Stands for all that the store says of its version: a photo with another one has changed.
    """

    st_size: int
    st_mtime_ns: int


class Place(NamedTuple):
    """What a path or an address names: an archive, and a part of it.

    Parameters
    ----------
    kind : str
        ``zip``, ``tar`` or ``parquet``.
    archive : str
        Path or address of the archive.
    inner : str
        A member, a folder in the archive that ends with a slash, or a pattern; empty for all of it.
    """

    kind: str
    archive: str
    inner: str = ""


def is_address(path: str) -> bool:
    """Tell an address from a path on the disk; a file on the disk that is named like one is a file.

    Parameters
    ----------
    path : str

    Returns
    -------
    bool

    Examples
    --------
    >>> is_address("s3://bucket/cat.jpg"), is_address("table.parquet#17"), is_address("photos/cat.jpg")
    (True, True, False)
    """
    if "://" not in path and ".parquet#" not in path.lower():
        return False
    return bool(_SCHEME.match(path) or _ROW.fullmatch(path)) and not os.path.lexists(path)


def split_scheme(address: str) -> str:
    """Return the scheme of an address, in lower case; empty if it has none."""
    found = _SCHEME.match(address)
    return found[1].lower() if found else ""


def split_row(address: str) -> tuple[str, int] | None:
    """Split the address of a row into its Parquet file and its number; None if it is no row."""
    found = _ROW.fullmatch(address)
    return (found[1], int(found[2])) if found else None


def hide(address: str) -> str:
    """Take out of an address what may be a secret: a user with a password, and the parameters of a signed query.

    Parameters
    ----------
    address : str

    Returns
    -------
    str
        What may be printed. Reading it later in the same process reads what `address` names.

    Examples
    --------
    >>> hide("https://me:pass@shop.example/cat.jpg?id=7&X-Amz-Signature=1a2b")
    'https://shop.example/cat.jpg?id=7'
    >>> hide("s3://bucket/what?.jpg")
    's3://bucket/what?.jpg'
    >>> hide("zip://me@home.jpg::https://shop.example/a.zip?sig=1a2b")
    'zip://me@home.jpg::https://shop.example/a.zip'
    """
    if "://" not in address or ("@" not in address and "?" not in address):
        return address
    scheme = split_scheme(address)
    if scheme in CHAINED:
        inner, mark, archive = address.rpartition("::")
        return inner + mark + hide(archive) if mark else address
    hidden = address if scheme in _CONTAINERS else _USER.sub(r"\1", address, count=1)
    if scheme in FLAT:
        head, _, query = hidden.partition("?")
        query, row, number = query.partition("#")
        kept = "&".join(part for part in query.split("&") if part.split("=")[0].lower() in _HARMLESS)
        hidden = head + (f"?{kept}" if kept else "") + row + number
    else:  # elsewhere a ? may be part of a name
        head, _, query = hidden.partition("?")
        if any(_SECRET.search(name) for name, mark, _ in (part.partition("=") for part in query.split("&")) if mark):
            hidden = head
    if hidden != address:
        with _LOCK:
            _HIDDEN[hidden] = address
            if len(_HIDDEN) > _SECRETS:
                _HIDDEN.popitem(last=False)
    return hidden


def hide_all(text: str) -> str:
    """Hide what may be secret in each address of a text, such as a message of a library.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> hide_all("cannot open 's3://key:word@bucket/a.jpg'")
    "cannot open 's3://bucket/a.jpg'"
    """
    return _ANYWHERE.sub(lambda found: hide(found[0]), text)


def reveal(address: str) -> str:
    """Return the address that `hide` has made this one of, if it has, else the same."""
    return _HIDDEN.get(address, address)


def join(folder: str, name: str) -> str:
    """Write the address of what lies in a folder.

    Parameters
    ----------
    folder, name : str

    Returns
    -------
    str

    Examples
    --------
    >>> join("s3://bucket", "cat.jpg"), join("https://host/photos/?page=2", "cat.jpg")
    ('s3://bucket/cat.jpg', 'https://host/photos/cat.jpg?page=2')
    """
    if is_flat(folder) and "?" in folder:
        folder, _, query = folder.partition("?")
        return f"{join(folder, name)}{'&' if '?' in name else '?'}{query}"
    return f"{folder.rstrip('/') if not folder.endswith('://') else folder}/{name}"


def is_flat(address: str) -> bool:
    """Tell whether an address is of a store without folders: there, only one that ends with a slash may be listed."""
    return split_scheme(address) in FLAT


def find_archive(path: str) -> Place | None:
    """Tell whether a path or an address names an archive, or a part of one.

    Parameters
    ----------
    path : str

    Returns
    -------
    Place or None

    Examples
    --------
    >>> find_archive("zip://cats/::s3://bucket/photos.zip")
    Place(kind='zip', archive='s3://bucket/photos.zip', inner='cats/')
    >>> find_archive("https://host/shard-000.tar?id=1").kind, find_archive("cat.jpg")
    ('tar', None)
    """
    scheme = split_scheme(path)
    if scheme in ("zip", "tar") and is_address(path):
        inner, mark, archive = path[len(scheme) + 3 :].rpartition("::")
        if not mark:
            return Place(scheme, inner or archive)
        return Place(scheme, archive, inner.lstrip("/"))
    if (row := split_row(path)) and is_address(path):
        return Place("parquet", row[0], str(row[1]))
    name = path.split("?", maxsplit=1)[0] if scheme in ("http", "https") else path
    suffix = next((each for each in ARCHIVES if name.lower().endswith(each)), "")
    if not suffix:
        return None
    return Place({".zip": "zip", ".parquet": "parquet"}.get(suffix, "tar"), path)


def stamp(size: int, *marks: object) -> Status:
    """Make the status of a photo from its size and all that tells one version from another.

    Parameters
    ----------
    size : int
    *marks : object
        Such as the time and the tag of an object.

    Returns
    -------
    Status
    """
    digest = hashlib.blake2b(repr(marks).encode(errors="surrogatepass"), digest_size=8).digest()
    return Status(size, int.from_bytes(digest, "little") >> 1)
