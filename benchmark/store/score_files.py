"""Files of scores: subject, metric, value, each value to its last bit."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence

from ..system.files import DamagedFile, Readable, read_bytes
from .record import CrossScores, DoneRecord

Scores = dict[str, dict[str, float]]
"""Metric → subject → value."""
_HEADER = ["subject", "metric", "value"]


def scores_text(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Subject → metric → value as the text of a file."""
    rows = [[subject, metric, repr(value)] for subject, values in scores.items() for metric, value in values.items()]
    return csv_text([_HEADER, *rows])


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_scores(path: Readable, checksum: str, record: DoneRecord | CrossScores) -> Scores:
    """Metric → subject → value of a file that `scores_text` made and whose means are recorded.

    Raises DamagedFile where it is missing, or its checksum or means differ from the record.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing, although its record exists") from None
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DamagedFile(path, "it is not the file that the record names")
    scores = Scores()
    try:
        header, *rows = csv.reader(content.decode("utf-8").splitlines())
        if header != _HEADER:
            raise ValueError("its first line is not 'subject,metric,value'")
        for subject, metric, value in rows:
            scores.setdefault(metric, {})[subject] = float(value)
    except (ValueError, csv.Error) as error:
        raise DamagedFile(path, str(error)) from None
    for metric, mean in record.metrics.items():
        values = list(scores.get(metric, {}).values())
        if len(values) != record.n or not _equal(sum(values) / record.n, mean):
            raise DamagedFile(path, f"its mean or number of subjects of {metric} differs from the record")
    return scores


def _equal(mean: float, recorded: float) -> bool:
    """To rounding; means that are not numbers are equal."""
    return math.isclose(mean, recorded, rel_tol=1e-9) or (math.isnan(mean) and math.isnan(recorded))
