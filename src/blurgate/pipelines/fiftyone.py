"""Verdicts as fields of FiftyOne's samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import fiftyone as fo
from fiftyone.core.models import Model, SamplesMixin
from fiftyone.core.patches import PatchesView

from blurgate.errors import name_first
from blurgate.judging.model import BlurModel, Review
from blurgate.judging.verdicts import DECISIONS, Verdict
from blurgate.photos.finding import AnyPath
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.pipelines.pictures import Options, judge_each, read_cell
from blurgate.scanning.items import Item

_SAVED = 256  # samples whose fields are written to the database at once
_ATTRIBUTES = ("kind", "strength_px", "reason", "error")  # of a label, where a verdict has them


def judge_samples(
    samples: Any,
    label_field: str = "blur",
    *,
    probability_field: str | None = None,
    model: BlurModel | AnyPath = "default",
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    jobs: int | None = None,
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
    progress: Any = None,
) -> None:
    """Judge the photos of a dataset or view, by their file paths, and add the verdicts as fields.

    The label is a `fiftyone.Classification`: its ``label`` is the decision, its ``confidence`` the probability of that
    decision (none of ``undecided`` and ``error``), and it has ``kind``, ``strength_px``, ``reason`` and ``error`` where
    the verdict has them. What has been judged is saved as it goes on; to continue, judge
    ``dataset.exists("blur", False)``.

    Parameters
    ----------
    samples : fiftyone.core.collections.SampleCollection
        Of images.
    label_field : str
        Field of the labels. Labels of an earlier run are replaced, never somebody else's.
    probability_field : str, optional
        Field of the probability of blur; by default `label_field` with ``_probability``.
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
    threshold : float, optional
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
        See `blurgate.scanning.stream.scan`.
    jobs : int, optional
        Number of threads, at least 1; None for one per core.
    engine : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}
    max_megapixels : float
        See `blurgate.scanning.stream.scan`.
    progress : bool or callable, optional
        As FiftyOne's own functions take it.

    Raises
    ------
    ModelFileError
        If the model cannot be loaded.
    ValueError
        If the samples are no images, a field holds something else, or an option is out of its range.
    TypeError
        If the samples are patches.
    MachineError
        If the machine, and not a photo, is why photos cannot be read.
    """
    probability_field = f"{label_field}_probability" if probability_field is None else probability_field
    _check(samples, label_field, probability_field)
    judge = Options(model, threshold, review, at, engine, device, max_megapixels).judge
    ids, paths = samples.values(["id", "filepath"])
    verdicts = judge_each(judge, paths, Item, jobs=jobs)
    remaining = zip(ids, verdicts, strict=True)
    with fo.ProgressBar(total=len(ids), progress=progress) as bar:
        while chunk := dict(islice(remaining, _SAVED)):
            labels = {key: make_label(verdict) for key, verdict in chunk.items()}
            samples.set_values(label_field, labels, key_field="id", dynamic=True)
            probabilities = {key: verdict.probability for key, verdict in chunk.items()}
            if any(each is not None for each in probabilities.values()) or probability_field in _schema(samples):
                samples.set_values(probability_field, probabilities, key_field="id")
            bar.update(len(chunk))


class Judge(SamplesMixin, Model):  # type: ignore[misc]  # FiftyOne's types are not looked at
    """A model for ``apply_model``: a label for each photo.

    It judges the file of a sample, so that verdicts are those of the file. FiftyOne reads each photo as well, and
    leaves those that it cannot read without a label: `judge_samples` does neither.

    Parameters
    ----------
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
    threshold : float, optional
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
    engine : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}
    max_megapixels : float
        See `blurgate.scanning.stream.scan`.
    """

    def __init__(
        self,
        *,
        model: BlurModel | AnyPath = "default",
        threshold: float | None = None,
        review: Review | None = None,
        at: At = None,
        engine: str = "auto",
        device: str = "cpu",
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        SamplesMixin.__init__(self)
        self.config = None  # FiftyOne looks there for options that it could set
        self._judge = Options(model, threshold, review, at, engine, device, max_megapixels).judge
        self._preprocess = False

    @property
    def media_type(self) -> str:
        """What it judges."""
        return "image"

    @property
    def transforms(self) -> None:
        """None: a photo is judged as it is."""
        return

    @property
    def ragged_batches(self) -> bool:
        """False: photos of a batch may have any sizes."""
        return False

    @property
    def preprocess(self) -> bool:
        """Kept for FiftyOne; it changes nothing."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        self._preprocess = value

    def predict(self, arg: Any, sample: Any = None) -> Any:
        """Judge one photo.

        Parameters
        ----------
        arg : ndarray of shape (height, width, 3), uint8
            Judged where there is no sample of an image.
        sample : fiftyone.core.sample.Sample, optional

        Returns
        -------
        fiftyone.Classification
        """
        return self.predict_all([arg], None if sample is None else [sample])[0]

    def predict_all(self, args: Sequence[Any], samples: Sequence[Any] | None = None) -> list[Any]:
        """Judge several photos.

        Parameters
        ----------
        args : sequence of ndarray
        samples : sequence of fiftyone.core.sample.Sample, optional

        Returns
        -------
        list of fiftyone.Classification
        """
        known = [None] * len(args) if samples is None else list(samples)
        pictures = zip(args, map(_find_file, known), strict=True)
        return [
            make_label(each) for each in judge_each(self._judge, pictures, lambda pair: read_cell(pair[1] or pair[0]))
        ]


def make_label(verdict: Verdict) -> Any:
    """Turn a verdict into a label of FiftyOne's; see `judge_samples`."""
    confidence = {"blurred": verdict.probability, "sharp": _complement(verdict.probability)}.get(verdict.decision)
    found = {name: getattr(verdict, name) for name in _ATTRIBUTES}
    found = {name: value for name, value in found.items() if value not in ("", None)}
    return fo.Classification(label=verdict.decision, confidence=confidence, **found)


def _complement(probability: float | None) -> float | None:
    return None if probability is None else 1 - probability


def _find_file(sample: Any) -> str | None:
    """Find the file of a sample; None of what is only a part of one: a frame of a video, a patch of a photo."""
    if getattr(sample, "media_type", None) != "image" or hasattr(sample, "sample_id"):
        return None
    return str(sample.filepath)


def _check(samples: Any, label_field: str, probability_field: str) -> None:
    if samples.media_type not in ("image", None):  # None: there are no samples yet
        raise ValueError(
            f"samples must be images, got {samples.media_type}: choose them with select_group_slices or to_frames"
        )
    if isinstance(samples, PatchesView):
        raise TypeError("samples must be whole images, got patches: judge the dataset that they are of")
    if label_field == probability_field:
        raise ValueError(f"label_field and probability_field must differ, got {label_field} for both")
    schema = _schema(samples)
    kind = getattr(schema.get(label_field), "document_type", None)
    labels = {*DECISIONS, "error"}
    foreign = sorted(set(samples.distinct(f"{label_field}.label")) - labels) if kind is fo.Classification else []
    if label_field in schema and (kind is not fo.Classification or foreign):
        held = f"labels such as {name_first(foreign)}" if foreign else type(schema[label_field]).__name__
        raise ValueError(f"the field {label_field} holds something else ({held}): name another with label_field=")
    if probability_field in schema and not isinstance(schema[probability_field], fo.FloatField):
        raise ValueError(
            f"the field {probability_field} holds something else ({type(schema[probability_field]).__name__}): name "
            "another with probability_field="
        )


def _schema(samples: Any) -> dict[str, Any]:
    schema: dict[str, Any] = samples.get_field_schema()
    return schema
