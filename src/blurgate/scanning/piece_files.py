"""The verdicts on one piece of a scan <-> its piece file, in Parquet; piece files lie in a folder with a mark of ours.

They may be damaged or a stranger's: one whose name, columns, paths or values are not those of the piece that it is
named after counts as missing, and the piece is judged again.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import posixpath
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

from blurgate.errors import BlurgateError, OutputError, needs_extra
from blurgate.judging.verdicts import DECISIONS, KINDS, MIXED, Verdict
from blurgate.photos.addresses import hide
from blurgate.scanning.formats import write_parquet
from blurgate.version import __version__

MARK = "_blurgate-pieces.json"  # readers of a folder of Parquet files skip what begins with _

_NAME = re.compile(r"piece-([0-9a-f]{32})\.parquet")
_PARTIAL = re.compile(r"\.piece-[0-9a-f]{32}\.[0-9a-f]{8}\.partial")
_META = b"blurgate"  # entry of a file's schema
_MARK_BYTES, _FILE_BYTES = 2**16, 2**26  # that are read at most
_TEXTS = {each.name for each in fields(Verdict) if each.type == "str"}
_WHOLE = {each.name for each in fields(Verdict) if each.type == "int | None"}
_REAL = {each.name for each in fields(Verdict) if each.type == "float | None"}


@dataclass(frozen=True)
class PieceFolder:
    """A folder of piece files, on a disk that several machines share or behind an address.

    Parameters
    ----------
    place : str
        Absolute path, or an address such as ``s3://bucket/verdicts``.
    anew : bool
        True if what is there is not used: every piece is judged again, and its file replaced.
    """

    place: str
    anew: bool = False

    def prepare(self) -> str:
        """Make the folder, unless it is there, and mark it.

        Returns
        -------
        str
            What the mark says: another machine that reads the same sees the same folder.

        Raises
        ------
        OutputError
            If something else lies there, or the folder cannot be made.
        """
        if token := self.read_token():
            return token
        with self._name_errors():
            names = self._list()
            if [name for name in names if not name.startswith(".")]:
                raise OutputError(
                    f"{hide(self.place)} exists and is not a folder of verdicts that blurgate wrote: choose another "
                    "name, or delete it first"
                )
            token = secrets.token_hex(8)
            self._write(MARK, json.dumps({"pieces by": f"blurgate {__version__}", "token": token}).encode())
        return token

    def read_token(self) -> str:
        """Read what the mark says; empty if there is no mark of ours."""
        try:
            found = json.loads(self._read(MARK, _MARK_BYTES))
        except (OSError, ValueError, RecursionError):
            return ""
        ours = isinstance(found, dict) and isinstance(found.get("token"), str) and "pieces by" in found
        return str(found["token"]) if ours else ""

    def find(self, name: str, paths: Sequence[str]) -> list[Verdict] | None:
        """Read the file of a piece.

        Parameters
        ----------
        name : str
            Of the piece.
        paths : sequence of str
            Of its photos.

        Returns
        -------
        list of Verdict or None
            None if there is none, it is damaged, or it is not used.
        """
        if self.anew:
            return None
        try:
            content = self._read(_name_file(name), _FILE_BYTES)
        except OSError:
            return None
        verdicts = parse_piece(content, name)
        return verdicts if verdicts is not None and [verdict.path for verdict in verdicts] == list(paths) else None

    def save(self, name: str, content: bytes) -> None:
        """Write the file of a piece, whole or not at all; one of the same name is replaced.

        Parameters
        ----------
        name : str
            Of the piece.
        content : bytes
            What `write_piece` gives.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with self._name_errors():
            self._write(_name_file(name), content)

    def count(self) -> int:
        """Count the piece files."""
        with suppress(OSError):
            return sum(1 for name in self._list() if _NAME.fullmatch(name))
        return 0

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove piece files of ours, and what writers that were killed have left.

        Parameters
        ----------
        keep : collection of str
            Names of pieces whose files stay.
        """
        if not self.read_token():
            return
        for name in self._list():
            match = _NAME.fullmatch(name)
            if _PARTIAL.fullmatch(name) or (match and match[1] not in keep and self._is_ours(name, match[1])):
                with suppress(FileNotFoundError):
                    self._remove(name)

    def delete(self) -> None:
        """Remove all that is ours, and the folder if nothing else is in it."""
        if not self.read_token():
            return
        self.clear()
        if [name for name in self._list() if name != MARK]:
            return
        self._remove(MARK)
        if not _is_address(self.place):
            with suppress(OSError):
                os.rmdir(self.place)  # noqa: PTH106 a place is text: it may be an address

    def _is_ours(self, file: str, name: str) -> bool:
        try:
            return _read_name(self._read(file, _FILE_BYTES)) == name
        except OSError:
            return False

    def _list(self) -> list[str]:
        """List the names in the folder; none if it does not exist."""
        try:
            if _is_address(self.place):
                with _open_address(self.place) as (system, root):
                    system.invalidate_cache(root)
                    return [posixpath.basename(str(name).rstrip("/")) for name in system.ls(root, detail=False)]
            return sorted(os.listdir(self.place))  # noqa: PTH208
        except FileNotFoundError:
            return []

    def _read(self, file: str, most: int) -> bytes:
        if _is_address(self.place):
            with _open_address(self.place) as (system, root), system.open(f"{root}/{file}", "rb") as handle:
                content: bytes = handle.read(most + 1)
        else:
            flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
            with os.fdopen(os.open(f"{self.place}{os.sep}{file}", flags), "rb") as handle:
                content = handle.read(most + 1)
        if len(content) > most:
            raise OSError(f"{file} is larger than any that blurgate writes")
        return content

    def _write(self, file: str, content: bytes) -> None:
        if _is_address(self.place):
            with _open_address(self.place) as (system, root):
                system.pipe_file(f"{root}/{file}", content)  # a single put: whole or not at all
            return
        with suppress(FileExistsError):
            os.mkdir(self.place)  # noqa: PTH102 not its parents: a machine that lacks them does not share the folder
        partial = f"{self.place}{os.sep}.{file.removesuffix('.parquet')}.{secrets.token_hex(4)}.partial"
        try:
            with open(partial, "xb") as handle:  # noqa: PTH123
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, f"{self.place}{os.sep}{file}")  # noqa: PTH105
        finally:
            with suppress(OSError):
                os.unlink(partial)  # noqa: PTH108

    def _remove(self, file: str) -> None:
        if _is_address(self.place):
            with _open_address(self.place) as (system, root):
                system.rm_file(f"{root}/{file}")
        else:
            os.unlink(f"{self.place}{os.sep}{file}")  # noqa: PTH108

    @contextmanager
    def _name_errors(self) -> Iterator[None]:
        """Turn errors of the system into ours."""
        try:
            yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise OutputError(
                f"cannot write verdicts into {hide(self.place)} ({why}): check that every machine of the cluster sees "
                "that place and may write there, or choose another output"
            ) from error


def write_piece(verdicts: Iterable[Verdict], name: str) -> bytes:
    """Write verdicts as Parquet, with the columns of a scan's own file.

    Parameters
    ----------
    verdicts : iterable of Verdict
    name : str
        Of their piece.

    Returns
    -------
    bytes
    """
    rows = list(verdicts)
    odd = {  # texts that Parquet cannot hold as they are: names of files may be any bytes
        str(place): [text.encode(errors="surrogatepass").hex() for text in (verdict.path, verdict.error)]
        for place, verdict in enumerate(rows)
        if not (_is_unicode(verdict.path) and _is_unicode(verdict.error))
    }
    stream = io.BytesIO()
    write_parquet(rows, stream, about={_META: json.dumps({"piece": name, "rows": len(rows), "odd": odd}).encode()})
    return stream.getvalue()


def parse_piece(content: bytes, name: str) -> list[Verdict] | None:
    """Read what `write_piece` wrote.

    Parameters
    ----------
    content : bytes
    name : str
        Of the piece.

    Returns
    -------
    list of Verdict or None
        None if it is damaged, or the file of another piece.
    """
    with needs_extra("parquet", "Reading Parquet"):
        import pyarrow
        from pyarrow import parquet
    try:
        file = parquet.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        about = _read_about(file)
        if about["piece"] != name or about["rows"] != file.metadata.num_rows:
            return None
        rows = file.read().to_pylist()
        for place, texts in about["odd"].items():
            path, error = (bytes.fromhex(each).decode(errors="surrogatepass") for each in texts)
            rows[int(place)] |= {"path": path, "error": error}
        verdicts = [_to_verdict(row) for row in rows]
    except (
        pyarrow.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
    ):
        return None
    return verdicts if all(map(_is_sound, verdicts)) else None


def _read_name(content: bytes) -> str:
    """Read the name of a file's piece; empty if it is none of ours."""
    import pyarrow
    from pyarrow import parquet

    try:
        return str(_read_about(parquet.ParquetFile(io.BytesIO(content)))["piece"])
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _read_about(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((file.schema_arrow.metadata or {})[_META])
    return found


def _to_verdict(row: dict[str, Any]) -> Verdict:
    part = row.pop("part")
    left, top, right, bottom = map(int, part.split(",")) if part else (0, 0, 0, 0)
    return Verdict(**row, part=(left, top, right, bottom) if part else None)


def _is_sound(verdict: Verdict) -> bool:
    """Check that all values are ones that a scan could have found."""
    decided = verdict.decision in ("sharp", "blurred")
    chances = (verdict.probability, verdict.p_defocus, verdict.p_motion, verdict.p_gaussian)
    return (
        all(isinstance(getattr(verdict, name), str) for name in _TEXTS)
        and all(_is_none_or(int, getattr(verdict, name)) for name in _WHOLE)
        and all(_is_none_or(float, getattr(verdict, name)) for name in _REAL)
        and (verdict.decision in DECISIONS or verdict.decision == "error")
        and (verdict.decision == "error") == bool(verdict.error)
        and (not decided or verdict.probability is not None)
        and all(chance is None or chance <= 1 for chance in chances)
        and verdict.kind in ("", MIXED, *KINDS)
    )


def _is_none_or(kind: type, value: Any) -> bool:
    return value is None or (isinstance(value, kind) and bool(0 <= value < math.inf))  # type: ignore[operator]


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _name_file(name: str) -> str:
    return f"piece-{name}.parquet"


def _is_address(place: str) -> bool:
    return "://" in place


@contextmanager
def _open_address(place: str) -> Iterator[tuple[Any, str]]:
    """Open a store; whatever it raises becomes an error of the system, without a text that may hold a secret."""
    with needs_extra("remote", "Writing verdicts to an address"):
        import fsspec
    try:
        system, root = fsspec.core.url_to_fs(place)
        yield system, str(root).rstrip("/")
    except (OSError, BlurgateError):
        raise
    except Exception as error:
        raise OSError(errno.EIO, type(error).__name__) from error
