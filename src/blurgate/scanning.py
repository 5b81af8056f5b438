"""Photos -> stream of verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from blurgate.errors import PhotoError
from blurgate.images import find_photos
from blurgate.model import BlurModel, Verdict, load_model
from blurgate.threads import run_in_order


def scan(
    paths: Iterable[str | os.PathLike[str]], *, model: BlurModel | None = None, jobs: int | None = None
) -> Iterator[Verdict]:
    """Judge photos, in order, without holding more than a few at a time.

    Parameters
    ----------
    paths : iterable of path
        Files and folders; see `blurgate.images.find_photos`.
    model : BlurModel, optional
        By default the one that ships.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.

    Yields
    ------
    Verdict
        A photo that cannot be read has one too, with its ``error``.

    Raises
    ------
    PhotoError
        If one of the paths does not exist, or there is no photo in them.
    """
    photos = find_photos(paths)
    if not photos:
        raise PhotoError("photos were needed, but the folders given have none in them: check the path")

    judging = model or load_model()

    def judge(path: os.PathLike[str]) -> Verdict:
        try:
            return judging.predict(path)
        except PhotoError as error:
            return Verdict(path=os.fspath(path), error=str(error))

    yield from run_in_order(judge, photos, jobs=jobs)
