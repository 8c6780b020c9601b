"""Calibration: under which metric convention do our bicubic figures agree with the published ones?

`figures` scores one subject under every convention, `explain` compares sets of subjects with the published figures,
`report` writes the result. docs/calibration.md explains the method.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from ...dataset import Dataset
from ...errors import BenchError, UsageError
from ...system.files import digest, write_text
from ...system.parallel import as_done, process_pool
from ...volumes import VolumeError
from ..published import load
from ..splits import site
from .conventions import CROP, PLANES, subject_figures
from .explain import Agreement, agreements, draws, published_figures
from .report import page

_VERSION = 1
"""Raise it when figures change: a subject's old figures are then no longer found."""


def calibrate(
    dataset: Dataset,
    out: Path,
    say: Callable[[str], None],
    published: pd.DataFrame | None = None,
    crop: tuple[int, int, int] = CROP,
) -> str:
    """Score bicubic on every usable subject under all conventions, and find those that explain the published figures.

    Returns the page that says so.

    `published`: by default those of `published.load`; `crop`: (slices, rows, columns), each at least 11.
    Writes into `out` calibration.md (the text), calibration.csv (all conventions) and subjects/<subject>-<key>.csv,
    the figures of a subject; existing ones are kept, so a second run continues the first.
    Runs on all cores.
    Raises UsageError where no subject has all contrasts, and BenchError where none can be used.
    """
    subjects = [subject for subject in dataset.subjects() if set(PLANES) <= set(dataset.contrasts(subject))]
    if not subjects:
        raise UsageError(f"no subject has all of {', '.join(PLANES)}; calibration needs them")
    for subject in subjects:
        site(subject)  # an odd name is an error before hours of work
    folder = out / "subjects"
    folder.mkdir(parents=True, exist_ok=True)
    problems = dict(_missing_figures(dataset, subjects, crop, folder, say))
    usable = sorted(set(subjects) - set(problems))
    if not usable:
        raise BenchError("no subject can be used:\n" + "\n".join(problems.values()))
    parts = [pd.read_csv(_path(dataset, subject, crop, folder)).assign(subject=subject) for subject in usable]
    figures = pd.concat(parts, ignore_index=True)
    left_out = int(figures["left_out"].sum())
    cells = published_figures(load() if published is None else published)
    ranked = agreements(figures.drop(columns="left_out"), cells, draws(usable))
    text = page(ranked, usable, list(problems.values()), left_out, cells)
    write_text(out / "calibration.md", text)
    write_text(out / "calibration.csv", _csv(ranked))
    return text


def _missing_figures(
    dataset: Dataset, subjects: list[str], crop: tuple[int, int, int], folder: Path, say: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """Score the subjects that have no figures yet; yields those that cannot be used, with the reason."""
    paths: dict[str, Path] = {}
    for subject in subjects:
        try:
            paths[subject] = _path(dataset, subject, crop, folder)
        except VolumeError as error:
            yield subject, f"{subject}: {error}"
    todo = [subject for subject, path in paths.items() if not path.is_file()]
    say(f"{len(subjects)} subjects: {len(subjects) - len(todo)} are scored already, {len(todo)} are left to score")
    if not todo:
        return
    score = functools.partial(_score, dataset, crop)
    jobs = [(subject, paths[subject]) for subject in todo]
    try:
        with process_pool(len(todo), __name__) as pool:
            for number, ((subject, _), problem) in enumerate(as_done(pool, score, jobs), start=1):
                say(f"[{number}/{len(todo)}] {subject}{f': {problem}' if problem else ''}")
                if problem:
                    yield subject, f"{subject}: {problem}"
    except BrokenProcessPool:
        raise BenchError(
            "a process that scores subjects was killed from outside, perhaps because memory ran out (each needs "
            "about 1 GiB). Finished subjects are kept: run the same command again"
        ) from None


def _path(dataset: Dataset, subject: str, crop: tuple[int, int, int], folder: Path) -> Path:
    """The file of a subject's figures, named by what it depends on. Raises VolumeError where a source is missing."""
    sources = [dataset.source(subject, contrast) for contrast in PLANES]
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return folder / f"{subject}-{digest([_VERSION, crop, states])[:12]}.csv"


def _score(dataset: Dataset, crop: tuple[int, int, int], job: tuple[str, Path]) -> str:
    """Write a subject's figures, whole or not at all; why it cannot be used, or ''. Runs in a process of its own."""
    subject, path = job
    try:
        with threadpool_limits(1):  # there are as many processes as cores
            text = subject_figures(dataset, subject, crop).to_csv(index=False)
    except VolumeError as error:
        return str(error)
    write_text(path, text)
    return ""


def _csv(ranked: list[Agreement]) -> str:
    """All conventions with their distances, one a row; those that give the same figures share a rank."""
    rows = [
        {
            "rank": rank,
            **vars(convention),
            "distance": fit.distance,
            "p": fit.p,
            "contrast_distance": fit.contrast_distance,
            "contrast_p": fit.contrast_p,
            "psnr_gap": fit.psnr_gap,
            "ssim_gap": fit.ssim_gap,
        }
        for rank, fit in enumerate(ranked, start=1)
        for convention in fit.names
    ]
    buffer = io.StringIO()
    pd.DataFrame(rows).to_csv(buffer, index=False, float_format="%.6g")
    return buffer.getvalue()
