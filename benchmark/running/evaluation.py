"""One cell's test: every subject upscaled once, scored, and the record written, last."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from ..data.pairs import Pair
from ..degradation import degrade
from ..errors import BenchError
from ..method import Method, Task, TorchMethod
from ..planning.cells import Cell
from ..scoring.score import Case, radial_errors, score
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, WEIGHTS, write_record, write_scores
from ..store.locks import Hold
from ..store.record import Checksums, Fit, Part
from ..system.environment import environment, peak_memory
from ..system.files import DamagedFile, digest, read_sealed, set_aside, sha256_of
from ..training.complexity import count_macs
from ..volumes import nifti_bytes, read_prediction
from .events import Event, Recorded, Upscaled, Warned
from .exhibits import Exhibits
from .job import Job
from .recording import done_record
from .self_ensemble import self_ensemble


@dataclass(frozen=True)
class Made:
    """What makes a cell's predictions, and the checksums of its files; nothing for a method that does not learn."""

    fit: Fit | None = None
    weights: str | None = None
    curve: str | None = None


@dataclass(frozen=True)
class Predictor:
    """A method that is ready to upscale."""

    method: Method
    task: Task
    made: Made
    macs: int | None
    """Multiply-accumulates for one LR patch of 24×24 (`macs_if_possible`)."""


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


def kept_volumes(
    job: Job, held: Hold, cell: Cell, pairs: Sequence[Pair], send: Callable[[Event], None]
) -> KeptVolumes | None:
    """What is remembered of a cell's kept volumes; None where they are not those of this cell and its weights, all.

    Damaged ones are set aside, so that they count as not kept.
    """
    folder, weights = job.folder(cell) / VOLUMES, job.folder(job.training.base) / WEIGHTS
    try:
        kept = KeptVolumes.model_validate(read_sealed(folder / VOLUMES_MANIFEST))
        if kept.identity != _identity(job, cell, pairs) or (weights.exists() and sha256_of(weights) != kept.weights):
            return None
        for pair in pairs:
            path = folder / _volume_name(pair)
            if sha256_of(path) != kept.checksums[pair.subject]:
                raise DamagedFile(path, "it is not the file that was kept")
        return kept
    except (FileNotFoundError, KeyError):
        return None
    except ValidationError:
        problem = DamagedFile(folder / VOLUMES_MANIFEST, "it does not say whose volumes these are")
    except DamagedFile as error:
        problem = error
    held.check()
    for path in {folder / problem.path.name, folder / VOLUMES_MANIFEST}:
        set_aside(path, "damaged")
    send(Warned(message=f"{cell}: {problem}. It is set aside"))
    return None


def evaluate(
    job: Job,
    held: Hold,
    cell: Cell,
    predictor: Predictor,
    pairs: Sequence[Pair],
    kept: KeptVolumes | None,
    send: Callable[[Event], None],
) -> None:
    """Upscale and score the test subjects of one cell and write its record, last; with `kept`, upscale nothing."""
    scoring, folder = job.training.loaded.protocol.scoring, held.folder(job.folder(cell))
    (folder.path / VOLUMES if job.wish.keep_volumes else folder.path).mkdir(parents=True, exist_ok=True)
    down = functools.partial(degrade, name=cell.degradation.name, factors=cell.factors, **cell.degradation.options)
    scores: dict[str, dict[str, float]] = {}
    radial: list[np.ndarray] = []
    exhibits = Exhibits(job.training.loaded, cell, pairs, send)
    seconds = []
    for pair, output, taken in _predictions(job, held, cell, predictor, pairs, kept is not None, send):
        seconds.append(taken)
        case = Case(pair.hr, pair.lr, pair.grid, cell.factors, down)
        try:
            scores[pair.subject] = score(output, case, scoring)
            radial.append(radial_errors(output, case, scoring))
        except ValueError as error:
            raise BenchError(f"{cell.label}, subject {pair.subject}: {error}") from None
        exhibits.take(pair, output)
    if kept is None:
        made = predictor.made
        mean = round(float(np.mean(seconds)), 4)
        kept = KeptVolumes(
            identity=_identity(job, cell, pairs),
            fit=made.fit,
            weights=made.weights,
            curve=made.curve,
            seconds_per_volume=mean,
            checksums=_volume_checksums(folder.path / VOLUMES, pairs) if job.wish.keep_volumes else {},
        )
        if job.wish.keep_volumes:
            held.folder(folder.path / VOLUMES).write_sealed(VOLUMES_MANIFEST, kept.model_dump(mode="json"))
    samples = {pair.subject: (pair.full_shape[1:], pair.file_shape[1:]) for pair in pairs}
    figures = {
        "metrics": {name: float(np.mean([of[name] for of in scores.values()])) for name in scoring.metrics},
        "n": len(scores),
        "fit": kept.fit,
        "macs_lr24": predictor.macs,
        "seconds_per_volume": kept.seconds_per_volume,
        "peak_memory_bytes": peak_memory(predictor.task.device),
        "environment": environment(predictor.task.device),
        "test_data_digest": digest([pair.digest for pair in pairs]),
        "intensity_scales": {pair.subject: pair.scale for pair in pairs},
        "acquired_samples": samples if job.training.resolved.get("grid") == "native" else None,
    }
    scores_sum, radial_sum = write_scores(folder, scores, radial)
    own_curve = kept.curve if cell == job.training.base else None
    exhibit_sum = exhibits.write(folder, held.folder(folder.path.parent.parent))
    checksums = Checksums(
        scores=scores_sum, radial=radial_sum, exhibit=exhibit_sum, curve=own_curve, weights=kept.weights
    )
    write_record(folder, done_record(job.training, cell, **figures, checksums=checksums))
    send(Recorded(label=cell.label))


def macs_if_possible(method: TorchMethod, task: Task) -> int | None:
    """`count_macs`; where the network needs values, with real zeros; None where it cannot take such a sample at all.

    No score depends on this figure, so nothing that a network does here may end its run.
    """
    for device in ("meta", "cpu"):
        with contextlib.suppress(Exception):
            return count_macs(method, task, device=device)
    return None


def _identity(job: Job, cell: Cell, pairs: Sequence[Pair]) -> str:
    training = job.training
    return digest([cell.train_key, training.source.digest, [pair.digest for pair in pairs], training.inference])


def _volume_name(pair: Pair) -> str:
    return f"{pair.subject}.nii.gz"


def _volume_checksums(folder: Path, pairs: Sequence[Pair]) -> dict[str, str]:
    return {pair.subject: sha256_of(folder / _volume_name(pair)) for pair in pairs}


def _predictions(
    job: Job,
    held: Hold,
    cell: Cell,
    predictor: Predictor,
    pairs: Sequence[Pair],
    kept: bool,
    send: Callable[[Event], None],
) -> Iterator[tuple[Pair, np.ndarray, float]]:
    """Each test volume, its prediction before it is rounded, and the seconds that took; from kept volumes if `kept`."""
    method, task, folder = predictor.method, predictor.task, held.folder(job.folder(cell) / VOLUMES)
    for number, pair in enumerate(pairs, start=1):
        send(Upscaled(label=cell.label, subject=number, subjects=len(pairs)))
        if kept:
            yield pair, read_prediction(folder.path / _volume_name(pair)), 0.0
            continue
        scan, started = pair.scan(cell.factors), time.monotonic()
        torch.manual_seed(task.seed)
        output = self_ensemble(method, scan, task) if cell == job.training.plus else method.upscale(scan, task)
        seconds = time.monotonic() - started
        if job.wish.keep_volumes:
            with folder.file(_volume_name(pair)) as file:
                file.write(nifti_bytes(output, np.array(pair.affine)))
        yield pair, output, seconds
