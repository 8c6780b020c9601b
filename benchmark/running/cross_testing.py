"""A cell's tests on LR that it was not trained on: the method and weights of its own figures, and nothing is fitted."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.pairs import Pair
from ..errors import BenchError
from ..planning.cells import Cell, CrossTest
from ..scoring.score import score
from ..store.cell_files import read_record, write_record
from ..store.cross_tests import write_cross_scores
from ..store.record import CrossScores, DoneRecord
from ..system.environment import environment
from ..system.files import digest
from .evaluation import Predictor, case_of, means_of, upscale
from .events import Upscaled
from .job import HeldJob
from .recording import tested_record


def make_test(held: HeldJob, cell: Cell, test: CrossTest, predictor: Predictor, pairs: Sequence[Pair]) -> None:
    """Upscale and score the test subjects, whose LR the test's degradation made, and add the figures to the record."""
    folder = held.folder(cell)
    scores = _scores(held, cell, test, predictor, pairs)
    record = read_record(folder.path)
    assert isinstance(record, DoneRecord)
    figures = CrossScores(
        degradation=test.degradation.model_dump(),
        score_key=test.score_key,
        metrics=means_of(scores, held.training.loaded.protocol.scoring.metrics),
        n=len(scores),
        environment=environment(predictor.task.device),
        test_data_digest=digest([pair.digest for pair in pairs]),
        intensity_scales={pair.subject: pair.scale for pair in pairs},
        checksum=write_cross_scores(folder, test.title, scores),
    )
    write_record(folder, tested_record(record, test.title, figures))


def _scores(
    held: HeldJob, cell: Cell, test: CrossTest, predictor: Predictor, pairs: Sequence[Pair]
) -> dict[str, dict[str, float]]:
    """Subject → metric → value. Raises BenchError that names a subject that cannot be scored."""
    scores = {}
    for number, pair in enumerate(pairs, start=1):
        held.send(Upscaled(label=f"{cell.label} on {test.title}", subject=number, subjects=len(pairs)))
        prediction, _ = upscale(held, cell, predictor, pair)
        case = case_of(pair, test.degradation)
        try:
            scores[pair.subject] = score(prediction, case, held.training.loaded.protocol.scoring)
        except ValueError as error:
            raise BenchError(f"{cell.label} on {test.title}, subject {pair.subject}: {error}") from None
    return scores
