"""One cell's test: every subject upscaled once, scored, and the record written, last."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from ..data.pairs import Pair
from ..degradation import DEGRADATIONS
from ..errors import BenchError
from ..method import Method, Task
from ..planning.cells import Cell
from ..protocol.data_blocks import DegradationSpec
from ..scoring.score import Case, radial_errors, score
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, WEIGHTS, write_record, write_scores
from ..store.record import Checksums, Fit, Part
from ..system.environment import environment, peak_memory
from ..system.files import DamagedFile, digest, read_sealed, set_aside, sha256_of
from ..volumes import nifti_bytes, read_prediction
from .events import Recorded, Upscaled
from .exhibits import Exhibits
from .job import HeldJob
from .recording import done_record
from .self_ensemble import self_ensemble


@dataclass(frozen=True)
class Provenance:
    """What makes a cell's predictions, and the checksums of its files; nothing for a method that does not learn."""

    fit: Fit | None = None
    weights: str | None = None
    curve: str | None = None


@dataclass(frozen=True)
class Predictor:
    """A method that is ready to upscale."""

    method: Method
    task: Task
    provenance: Provenance
    macs: int | None
    """Multiply-accumulates for one LR patch of 24×24 (`macs_if_possible`)."""


@dataclass(frozen=True)
class TestResult:
    """What the test of a cell gives, for all subjects."""

    scores: dict[str, dict[str, float]]
    """Subject → metric → value."""
    radial: list[np.ndarray]
    exhibits: Exhibits
    seconds_per_volume: float


class KeptVolumes(Part):
    """What is remembered of a cell's kept volumes."""

    identity: str
    """Digest over what decides the predictions: train key, the method's files, test data, tiles."""
    fit: Fit | None
    weights: str | None
    curve: str | None
    seconds_per_volume: float
    checksums: dict[str, str]
    """Subject → SHA-256 of its file."""


def find_kept_volumes(held: HeldJob, cell: Cell, pairs: Sequence[Pair]) -> KeptVolumes | None:
    """What is remembered of a cell's kept volumes; None unless all are there and belong to this cell and its weights.

    Damaged ones are set aside, so that they count as not kept.
    """
    folder, weights = held.job.folder(cell) / VOLUMES, held.job.folder(held.training.base) / WEIGHTS
    try:
        volumes = KeptVolumes.model_validate(read_sealed(folder / VOLUMES_MANIFEST))
        if volumes.identity != _identity(held, cell, pairs):
            return None
        if weights.exists() and sha256_of(weights) != volumes.weights:
            return None
        for pair in pairs:
            path = folder / _volume_name(pair)
            if sha256_of(path) != volumes.checksums[pair.subject]:
                raise DamagedFile(path, "it is not the file that was kept")
        return volumes
    except (FileNotFoundError, KeyError):
        return None
    except ValidationError:
        problem = DamagedFile(folder / VOLUMES_MANIFEST, "it does not say whose volumes these are")
    except DamagedFile as error:
        problem = error
    held.hold.check()
    for path in {folder / problem.path.name, folder / VOLUMES_MANIFEST}:
        set_aside(path, "damaged")
    held.warn(f"{cell}: {problem}. It is set aside")
    return None


def evaluate(
    held: HeldJob, cell: Cell, predictor: Predictor, pairs: Sequence[Pair], volumes: KeptVolumes | None
) -> None:
    """Upscale and score the test subjects of one cell and write its record, last; with `volumes`, upscale nothing."""
    folder = held.folder(cell)
    (folder.path / VOLUMES if held.settings.keep_volumes else folder.path).mkdir(parents=True, exist_ok=True)
    result = _test(held, cell, predictor, pairs, volumes is not None)
    if volumes is None:
        volumes = _describe_volumes(held, cell, predictor.provenance, pairs, result.seconds_per_volume)
        if held.settings.keep_volumes:
            held.hold.folder(folder.path / VOLUMES).write_sealed(VOLUMES_MANIFEST, volumes.model_dump(mode="json"))
    _write_results(held, cell, predictor, pairs, volumes, result)
    held.send(Recorded(label=cell.label))


def _test(held: HeldJob, cell: Cell, predictor: Predictor, pairs: Sequence[Pair], kept: bool) -> TestResult:
    """Score every test subject's prediction. Raises BenchError that names a subject that cannot be scored."""
    loaded = held.training.loaded
    scoring = loaded.protocol.scoring
    scores: dict[str, dict[str, float]] = {}
    radial: list[np.ndarray] = []
    exhibits = Exhibits(held.training, cell, pairs, held.send)
    durations = []
    for pair, prediction, seconds in _predictions(held, cell, predictor, pairs, kept):
        durations.append(seconds)
        case = case_of(pair, cell.degradation)
        try:
            scores[pair.subject] = score(prediction, case, scoring)
            radial.append(radial_errors(prediction, case, scoring))
        except ValueError as error:
            raise BenchError(f"{cell.label}, subject {pair.subject}: {error}") from None
        exhibits.take(pair, prediction, partial(_maps, held, cell, predictor, pair) if not kept else dict)
    return TestResult(scores, radial, exhibits, round(float(np.mean(durations)), 4))


def case_of(pair: Pair, degradation: DegradationSpec) -> Case:
    """A test volume to score, whose LR was made by `degradation`."""
    model = DEGRADATIONS[degradation.name](**degradation.options)
    return Case(pair.hr, pair.lr, pair.grid, model, degradation.noise is not None)


def _describe_volumes(
    held: HeldJob, cell: Cell, provenance: Provenance, pairs: Sequence[Pair], seconds_per_volume: float
) -> KeptVolumes:
    """What to remember of the volumes just predicted; their checksums only where they were kept."""
    folder = held.job.folder(cell) / VOLUMES
    return KeptVolumes(
        identity=_identity(held, cell, pairs),
        fit=provenance.fit,
        weights=provenance.weights,
        curve=provenance.curve,
        seconds_per_volume=seconds_per_volume,
        checksums=_volume_checksums(folder, pairs) if held.settings.keep_volumes else {},
    )


def _write_results(
    held: HeldJob,
    cell: Cell,
    predictor: Predictor,
    pairs: Sequence[Pair],
    volumes: KeptVolumes,
    result: TestResult,
) -> None:
    """Write a cell's scores, its exhibit and, last, its record."""
    training, folder, device = held.training, held.folder(cell), predictor.task.device
    metrics = training.loaded.protocol.scoring.metrics
    samples = {pair.subject: (pair.full_shape[1:], pair.file_shape[1:]) for pair in pairs}
    figures = {
        "metrics": means_of(result.scores, metrics),
        "n": len(result.scores),
        "fit": volumes.fit,
        "macs_lr24": predictor.macs,
        "seconds_per_volume": volumes.seconds_per_volume,
        "peak_memory_bytes": peak_memory(device),
        "environment": environment(device),
        "test_data_digest": digest([pair.digest for pair in pairs]),
        "intensity_scales": {pair.subject: pair.scale for pair in pairs},
        "acquired_samples": samples if training.resolved.get("grid") == "native" else None,
    }
    scores_checksum, radial_checksum = write_scores(folder, result.scores, result.radial)
    checksums = Checksums(
        scores=scores_checksum,
        radial=radial_checksum,
        exhibit=result.exhibits.write(folder, held.hold.folder(folder.path.parent.parent)),
        curve=volumes.curve if cell == training.base else None,
        weights=volumes.weights,
    )
    write_record(folder, done_record(training, cell, **figures, checksums=checksums))


def means_of(scores: Mapping[str, Mapping[str, float]], metrics: Iterable[str]) -> dict[str, float]:
    """Metric → its mean over the subjects of subject → metric → value."""
    return {name: float(np.mean([values[name] for values in scores.values()])) for name in metrics}


def _identity(held: HeldJob, cell: Cell, pairs: Sequence[Pair]) -> str:
    training = held.training
    return digest([cell.train_key, training.source.digest, [pair.digest for pair in pairs], training.inference])


def _volume_name(pair: Pair) -> str:
    return f"{pair.subject}.nii.gz"


def _volume_checksums(folder: Path, pairs: Sequence[Pair]) -> dict[str, str]:
    return {pair.subject: sha256_of(folder / _volume_name(pair)) for pair in pairs}


def _predictions(
    held: HeldJob, cell: Cell, predictor: Predictor, pairs: Sequence[Pair], kept: bool
) -> Iterator[tuple[Pair, np.ndarray, float]]:
    """Each test volume, its prediction before it is rounded, and the seconds that took; from kept volumes if `kept`."""
    folder = held.hold.folder(held.job.folder(cell) / VOLUMES)
    for number, pair in enumerate(pairs, start=1):
        held.send(Upscaled(label=cell.label, subject=number, subjects=len(pairs)))
        if kept:
            yield pair, read_prediction(folder.path / _volume_name(pair)), 0.0
            continue
        prediction, seconds = upscale(held, cell, predictor, pair)
        if held.settings.keep_volumes:
            with folder.file(_volume_name(pair)) as file:
                file.write(nifti_bytes(prediction, np.array(pair.affine)))
        yield pair, prediction, seconds


def _maps(held: HeldJob, cell: Cell, predictor: Predictor, pair: Pair) -> Mapping[str, np.ndarray]:
    """What a method shows of a test volume; nothing for a self-ensemble, which is eight of its images."""
    if cell == held.training.plus:
        return {}
    torch.manual_seed(predictor.task.seed)
    return predictor.method.maps(pair.scan(cell.factors), predictor.task)


def upscale(held: HeldJob, cell: Cell, predictor: Predictor, pair: Pair) -> tuple[np.ndarray, float]:
    """The prediction of a test volume before it is rounded, and the seconds that it took."""
    method, task = predictor.method, predictor.task
    scan, started = pair.scan(cell.factors), time.monotonic()
    torch.manual_seed(task.seed)
    is_ensemble = cell == held.training.plus
    prediction = self_ensemble(method, scan, task) if is_ensemble else method.upscale(scan, task)
    return prediction, time.monotonic() - started
