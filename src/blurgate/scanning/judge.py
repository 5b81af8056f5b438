"""What judges the photos of a scan: threads share one, and processes and machines get a copy each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from blurgate.errors import MachineError, NetError, PhotoError, find_machine_error, raise_machine_error
from blurgate.judging.cards import Card
from blurgate.judging.explainers import Explainer
from blurgate.judging.model import BlurModel, Measurement, Review, find_bounds, load_model
from blurgate.judging.nets import Net
from blurgate.judging.verdicts import Evidence, Verdict, decide
from blurgate.measuring.engines import MANY, Engine, check_engine
from blurgate.photos.finding import AnyPath
from blurgate.photos.images import path_of
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At, check_at
from blurgate.scanning.items import Item
from blurgate.version import __version__

BATCH = 16  # photos per evaluation of the trees
_UNNAMED = "the picture "  # how messages name a photo that has no path
_IN_A_ROW = 5  # photos in a row that cannot be read for lack of memory or by an error of the disk: it is not they
MOST_HELD = 2**26  # bytes of planes in a batch: at full size, one may have 200 MB


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured photo; its item no longer holds the photo itself, which may be large.

    Parameters
    ----------
    item : Item
    measurement : Measurement
    engine : Engine or None
        What measured it; None if the evidence was known.
    problem : MachineError or None
        Set if the machine, and not the photo, is why it could not be read.
    """

    item: Item
    measurement: Measurement
    engine: Engine | None = None
    problem: MachineError | None = None

    @property
    def held(self) -> int:
        """Bytes of its plane."""
        return 0 if self.measurement.gray is None else self.measurement.gray.size


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged photo.

    Parameters
    ----------
    item : Item
        Without its photo.
    evidence : Evidence
    problem : MachineError or None
        As of a `Measured`.
    """

    item: Item
    evidence: Evidence
    problem: MachineError | None = None


@dataclass(frozen=True)
class Judge:
    """A model with the options of a scan.

    It can be pickled, for another process or machine: a copy has the content of the model and loads what runs it.

    Parameters
    ----------
    model : BlurModel
        With the lower bound as its threshold, so that nothing is called blurred by trees alone.
    bounds : (float, float)
        Photos are sharp below the first probability, blurred from the second on.
    at : int or 'full', optional
        See `blurgate.scanning.stream.scan`.
    engine : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}
    max_megapixels : float
        See `blurgate.photos.images.read_gray`.
    """

    model: BlurModel = field(repr=False)
    bounds: tuple[float, float]
    at: At = None
    engine: str = "auto"
    device: str = "cpu"
    max_megapixels: float = MAX_MEGAPIXELS

    def __reduce__(self) -> tuple[Any, ...]:
        model, options = self.model, (self.bounds, self.at, self.engine, self.device, self.max_megapixels)
        nets = [each and each.onnx for each in (model.net, model.explainer)]
        return _rebuild, (model.card, dict(model.boosters), *nets, options)

    @cached_property
    def name(self) -> str:
        """What evidence depends on besides the photo: version, model, and the size at which it is judged."""
        return f"{__version__} {self.model.fingerprint}{'' if self.at is None else f' at {self.at}'}"

    def prepare(self) -> None:
        """Load what the first photo needs; else it does so itself.

        Raises
        ------
        MissingExtraError
            If the engine or the device needs a library that is not installed.
        BlurgateError
            If the engine ``compiled`` is requested but cannot be compiled.
        """
        self._engine.prepare()

    def judge(self, items: Iterable[Item]) -> list[Judged]:
        """Judge photos, one after the other.

        Parameters
        ----------
        items : iterable of Item

        Returns
        -------
        list of Judged
            One for each, in order. A photo that cannot be read has evidence with its error.

        Raises
        ------
        MissingExtraError
            If the engine or the device needs a library that is not installed.
        NetError
            If the net of the model is asked and cannot answer.
        MachineError
            If too many files are open.
        """
        found: list[Judged] = []
        for batch in cut_batches(self.look_up(item) or self.measure(item, self._engine) for item in items):
            found += self.finish(batch)
        return found

    def decide(self, evidence: Evidence) -> Verdict:
        """Decide on a photo."""
        return decide(evidence, self.bounds[1], self.bounds)

    def look_up(self, item: Item) -> Measured | None:
        """Take evidence that is already known; None if the photo has to be measured."""
        return Measured(item, Measurement(item.evidence), problem=item.problem) if item.evidence else None

    def measure(self, item: Item, engine: Engine) -> Measured:
        """Read and measure a photo: the part of the work that can run on several threads.

        Parameters
        ----------
        item : Item
        engine : Engine

        Returns
        -------
        Measured

        Raises
        ------
        NetError
            If the net of the model is asked and cannot answer.
        MachineError
            If too many files are open.
        """
        path, left = item.path or path_of(item.photo), replace(item, photo=None)
        options: dict[str, Any] = {"max_megapixels": self.max_megapixels, "at": self.at}
        try:
            measurement = self.model.measure(item.photo, extract=engine.begin, **options)
        except (PhotoError, TypeError) as error:  # a row of a table may hold anything
            raise_machine_error(error)
            text = str(error)
            if path and text.startswith(_UNNAMED):  # its content came without its name
                text = f"{path} {text.removeprefix(_UNNAMED)}"
            unread = Measurement(Evidence(path, error=text))
            return Measured(left, unread, engine, find_machine_error(error))
        except NetError as error:
            raise_machine_error(error)
            raise
        return Measured(left, replace(measurement, evidence=replace(measurement.evidence, path=path)), engine)

    def finish(self, batch: Sequence[Measured], ask: Any = map) -> list[Judged]:
        """Judge measured photos all at once; on a GPU, this is where they are measured.

        Parameters
        ----------
        batch : sequence of Measured
        ask : callable
            As `map`: how to ask the net about photos whose features an engine has finished only now.

        Returns
        -------
        list of Judged

        Raises
        ------
        NetError
            If the net of the model is asked and cannot answer.
        """
        finished = self._finish_features(batch)
        if any(measurement.gray is not None for measurement in finished):
            finished = list(ask(self.model.ask, finished))
        found = self.model.judge(finished)
        return [Judged(each.item, evidence, each.problem) for each, evidence in zip(batch, found, strict=True)]

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.engine, self.device, count=MANY)

    def _finish_features(self, measured: Sequence[Measured]) -> list[Measurement]:
        batch = [each.measurement for each in measured]
        begun = [place for place, each in enumerate(measured) if each.engine and batch[place].features is not None]
        if not begun:
            return batch
        engine = measured[begun[0]].engine or self._engine  # the last step of all engines of a scan is the same
        finished = engine.finish([batch[place].features for place in begun], self.model.inputs.feature_set)
        for place, features in zip(begun, finished, strict=True):
            if features is not batch[place].features:
                batch[place] = replace(batch[place], features=features)
        return batch


class MachineWatch:
    """Ends a scan after five photos in a row that the machine, and not the photo, kept from being read."""

    def __init__(self) -> None:
        self._row = 0

    def check(self, problem: MachineError | None) -> None:
        """Look at the next photo, in the order of the photos.

        Parameters
        ----------
        problem : MachineError or None
            As of a `Judged`.

        Raises
        ------
        MachineError
            The problem of the fifth photo in a row that has one.
        """
        self._row = self._row + 1 if problem else 0
        if problem and self._row == _IN_A_ROW:
            raise problem


def make_judge(
    model: BlurModel | AnyPath | None = None,
    *,
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Judge:
    """Load the model and check the options of a scan.

    Parameters
    ----------
    model, threshold, review, at, engine, device, max_megapixels
        See `blurgate.scanning.stream.scan`.

    Returns
    -------
    Judge

    Raises
    ------
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the model has a net and ONNX Runtime is not installed.
    ValueError
        If an option is out of its range, unknown, or does not go with another.
    """
    if not max_megapixels > 0:
        raise ValueError(f"max_megapixels must be above 0, got {max_megapixels}")
    loaded = model if isinstance(model, BlurModel) else load_model("default" if model is None else model)
    low, high = find_bounds(loaded, threshold, review)
    check_at(at)
    check_engine(engine, device)
    return Judge(loaded.with_threshold(low), (low, high), at, engine, device, float(max_megapixels))


def cut_batches(measured: Iterable[Measured], *, pause: object = None) -> Iterator[list[Measured]]:
    """Cut photos into batches; where there are none for now, or they are large, a batch ends early.

    Parameters
    ----------
    measured : iterable of Measured
    pause : object
        Among the photos: there are none for now.

    Yields
    ------
    list of Measured
    """
    batch: list[Measured] = []
    held = 0
    for each in measured:
        if each is not pause:
            batch.append(each)
            held += each.held
        if batch and (each is pause or len(batch) == BATCH or held > MOST_HELD):
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _rebuild(
    card: Card, boosters: dict[str, bytes], net: bytes | None, explainer: bytes | None, options: tuple[Any, ...]
) -> Judge:
    nets = (None if net is None else Net(net), None if explainer is None else Explainer(explainer))
    return Judge(BlurModel(card, boosters, *nets), *options)
