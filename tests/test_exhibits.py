"""Exhibits: the few slices that a cell keeps to be looked at. They are right, the same for all, and cost no figure."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SUBJECTS, small_protocol, textured, write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from plugins import NEAREST, NETWORK, write
from pydantic import ValidationError

from mrsr_bench.degradation import degrade
from mrsr_bench.planning.cells import plan_trainings
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.protocol.loading import load
from mrsr_bench.protocol.schema import ReportSpec
from mrsr_bench.running import exhibits
from mrsr_bench.running.events import Event, Warned
from mrsr_bench.running.exhibits import evenly_spaced
from mrsr_bench.running.job import Job
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.running.worker import run_job
from mrsr_bench.store import exhibit as store_exhibit
from mrsr_bench.store import images as images_of_store
from mrsr_bench.store.cell_files import EXHIBIT, RECORD, SCORES, WEIGHTS
from mrsr_bench.store.exhibit import TRUTH, Exhibit, SubjectSlices, read_exhibit, write_exhibit
from mrsr_bench.store.locks import HeldFolder, LeaseLost, hold
from mrsr_bench.store.results import Store
from mrsr_bench.system.files import DamagedFile, sealed, unsealed
from mrsr_bench.system.liveness import machine
from mrsr_bench.volumes import Grid, read_nifti, read_prediction

Write = Callable[..., Path]
RATHER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def work(protocol: Path, methods: list[str], data: Path, **options: Any) -> list[Event]:
    """Run methods in this process, results beside the protocol; what was said."""
    said = list[Event]()
    _, trainings = plan_request(Request(str(protocol), methods))
    for training in trainings:
        job = Job(training, RunSettings(results=protocol.parent / "results", data=data, **options))
        with hold(job.folder(training.base)) as held:
            run_job(job, held, said.append, lambda: False)
    return said


def warnings(said: list[Event]) -> list[str]:
    return [event.message for event in said if isinstance(event, Warned)]


def row(protocol: Path) -> Path:
    return protocol.parent / "results" / "runs" / "small" / "bicubic" / "T1-x2"


def cell(protocol: Path, label: str, seed: int = 0) -> Path:
    return row(protocol) / label / f"seed{seed}"


def record(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def exhibit(folder: Path) -> Exhibit:
    found = read_exhibit(folder)
    assert found is not None
    return found


def state(protocol: Path, methods: list[str]) -> str:
    _, [training] = plan_request(Request(str(protocol), methods))
    return training.look(Store(protocol.parent / "results"), training.base).state


# --- Which slices ----------------------------------------------------------------------------------------------------


@given(number=st.integers(1, 500), wanted=st.integers(0, 40))
def test_the_chosen_ones_are_distinct_in_range_and_evenly_spread(number: int, wanted: int) -> None:
    chosen = evenly_spaced(number, wanted)
    assert len(chosen) == min(wanted, number)
    assert list(chosen) == sorted(set(chosen))
    assert all(0 <= index < number for index in chosen)
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
    if chosen:
        assert abs((chosen[0] + 1) - (number - chosen[-1])) <= 1, "as far from the start as from the end"
    if wanted == 1:
        assert chosen == (number // 2,)


def test_by_default_the_middle_slice_of_four_subjects_is_kept(write_protocol: Write, tmp_path: Path) -> None:
    people = {"train": ("anna",), "val": ("dora",), "test": tuple(f"t{number}" for number in range(9))}
    for number, name in enumerate(name for names in people.values() for name in names):
        write_image(tmp_path / "data" / f"{name}-T1.nii.gz", textured(number, (12, 24, 5)))
    protocol = write_protocol(people)
    assert warnings(work(protocol, ["bicubic"], tmp_path / "data")) == []
    kept = [(one.subject, one.number, one.lr_number) for one in exhibit(cell(protocol, "bicubic")).slices]
    assert kept == [("t1", 2, 2), ("t3", 2, 2), ("t5", 2, 2), ("t7", 2, 2)]


def test_the_protocol_says_how_many_and_all_methods_keep_the_same(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol(report={"subjects": 1, "slices": 2})
    methods = ["bicubic", *write(tmp_path, nearest=NEAREST)]
    work(protocol, methods, images)
    shown = [exhibit(cell(protocol, label)) for label in ("bicubic", "nearest")]
    kept = [[(one.subject, one.number) for one in every.slices] for every in shown]
    assert kept[0] == kept[1] == [("fine", 1), ("fine", 3)]
    assert shown[0].truth == shown[1].truth
    assert (shown[0].slices[0].prediction != shown[1].slices[0].prediction).any()


def test_a_protocol_may_keep_none(write_protocol: Write, images: Path) -> None:
    protocol = write_protocol(report={"subjects": 0})
    assert warnings(work(protocol, ["bicubic"], images)) == []
    assert read_exhibit(cell(protocol, "bicubic")) is None
    assert record(cell(protocol, "bicubic"))["checksums"]["exhibit"] is None
    assert list(row(protocol).glob("truth*")) == []


@pytest.mark.parametrize("report", [{"subjects": -1}, {"subjects": 17}, {"slices": 0}, {"slices": 17}, {"slice": 1}])
def test_a_report_beyond_its_bounds_is_refused(report: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ReportSpec(**report)


def test_a_report_is_in_no_key_and_its_default_in_no_digest(write_protocol: Write) -> None:
    methods: dict[str, Any] = {"bicubic": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}
    plain = load(str(write_protocol(methods=methods)))
    written_out = load(str(write_protocol(methods=methods, report={"subjects": 4, "slices": 1})))
    other = load(str(write_protocol(methods=methods, report={"subjects": 2})))
    assert plain.digest == written_out.digest != other.digest
    assert "report" not in plain.resolved()
    keys = [
        [(c.train_key, c.score_key) for t in plan_trainings(one) for c in t.cells]
        for one in (plain, written_out, other)
    ]
    assert keys[0] == keys[1] == keys[2]


MAPS = """
    def maps(self, scan, task):
        import numpy as np
        return {"twice": 2 * np.asarray(scan.array), "rows": np.asarray(scan.array)[:, ::2], **MORE}
"""


def with_maps(more: str = "{}") -> str:
    """A method that shows its LR, twice as bright, and every second row of it."""
    return f"MORE = {more}\n{NEAREST.rstrip()}\n{MAPS}"


def test_what_a_method_shows_of_its_slices_is_kept_with_them(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol(report={"subjects": 1, "slices": 2}, methods={"nearest": {}, "nearest+": {}})
    assert warnings(work(protocol, write(tmp_path, nearest=with_maps()), images)) == []
    for one in exhibit(cell(protocol, "nearest")).slices:
        assert list(one.maps) == ["twice", "rows"], "in the order of the method"
        np.testing.assert_allclose(one.maps["twice"], 2 * one.lr, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(one.maps["rows"], one.lr[::2], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("{'flat': [[1.0, 2.0]]}", "map 'flat' must be (slices, rows, columns) with 4 slices, not (1, 2)"),
        ("{'wild': [[[float('nan')]]] * 4}", "map 'wild' has values that are not finite"),
        ("{'line\\n': [[[1.0]]] * 4}", "must be text of 1 to 60 letters"),
        ("{str(n): [[[1.0]]] * 4 for n in range(15)}", "17 maps; at most 16 are kept"),
        ("{1 / 0: 2}", "division by zero"),
    ],
)
def test_maps_that_cannot_be_kept_cost_nothing_but_themselves(
    write_protocol: Write, images: Path, tmp_path: Path, more: str, words: str
) -> None:
    protocol = write_protocol()
    method = with_maps().replace("**MORE", f"**{more}")
    [warning] = set(warnings(work(protocol, write(tmp_path, nearest=method), images)))
    assert words in warning
    assert exhibit(cell(protocol, "nearest")).slices[0].maps == {}


def test_the_first_seed_alone_keeps_them(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    protocol = write_protocol(seeds=[3, 0])
    work(protocol, write(tmp_path, network=NETWORK), images)
    assert exhibit(cell(protocol, "network", 3)).slices
    assert read_exhibit(cell(protocol, "network", 0)) is None
    assert record(cell(protocol, "network", 0))["checksums"]["exhibit"] is None


# --- What is in them -------------------------------------------------------------------------------------------------


def slices_of(prediction: np.ndarray, **changes: Any) -> SubjectSlices:
    """One subject whose truth is made of its prediction's shape."""
    hr = textured(1, (prediction.shape[1], prediction.shape[2], len(prediction))).transpose(2, 0, 1)
    about: dict[str, Any] = {
        "subject": "emil",
        "slices": tuple(range(len(prediction))),
        "lr_slices": tuple(range(len(prediction))),
        "prediction": prediction,
        "hr": hr,
        "lr": hr[:, ::2, ::2],
        "step": None,
        "maps": {},
        "spacing": (1.0, 1.0, 1.0),
        "axes": ("S", "R", "A"),
    }
    return SubjectSlices(**{**about, **changes})


def written(folder: Path, *subjects: SubjectSlices) -> Path:
    """A cell's folder with an exhibit of these."""
    place = folder / "row" / "label" / "seed0"
    place.mkdir(parents=True, exist_ok=True)
    write_exhibit(HeldFolder(place), HeldFolder(folder / "row"), subjects)
    return place


@RATHER
@given(
    prediction=arrays.arrays(
        np.float32, (2, 6, 6), elements=st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False)
    )
)
def test_an_intensity_comes_back_within_half_a_step(tmp_path: Path, prediction: np.ndarray) -> None:
    found = exhibit(written(tmp_path, slices_of(prediction)))
    for image, kept in zip(prediction, found.slices, strict=True):
        window = kept.prediction_window
        error = np.abs(np.asarray(kept.prediction, np.float64) - image)
        assert error.max() <= 0.5 * window.step + np.spacing(np.abs(image).max())
        assert kept.prediction.dtype == np.float32
        assert window.step == pytest.approx(float(np.ptp(prediction.astype(float))) / 65535 or 1.0)


@RATHER
@given(
    numbers=arrays.arrays(np.int32, (1, 6, 6), elements=st.integers(0, 65535)),
    slope=st.sampled_from([1.0, -2.0, 0.25, 6.103515625e-05, 13.895223617553711]),
    intercept=st.sampled_from([0.0, -1024.0, 3.5]),
)
def test_what_a_file_can_store_is_kept_exactly(
    tmp_path: Path, numbers: np.ndarray, slope: float, intercept: float
) -> None:
    grid = Grid(True, slope, intercept)
    prediction = grid.apply(numbers * slope + intercept, "stored")
    [kept] = exhibit(written(tmp_path, slices_of(prediction, step=grid.slope))).slices
    np.testing.assert_array_equal(kept.prediction, prediction[0].astype(np.float32))
    assert kept.prediction_window.step == abs(slope)


def test_a_prediction_that_exceeds_the_truth_is_not_clipped(tmp_path: Path) -> None:
    prediction = np.linspace(-5000.0, 90000.0, 36).reshape(1, 6, 6)
    for step in (None, 1.0):
        [kept] = exhibit(written(tmp_path, slices_of(prediction, step=step))).slices
        assert (kept.prediction.min(), kept.prediction.max()) == (-5000, 90000)
        assert kept.display == (kept.hr.min(), kept.hr.max()) == (0, 1000)


@pytest.mark.parametrize(("step", "mb"), [(1.0, 0.058), (None, 0.107)])
def test_a_real_slice_takes_little_room(shared: Path, tmp_path: Path, step: float | None, mb: float) -> None:
    """docs/records.md has these figures. A prediction as sharp as the truth, in whole numbers or not, 240 × 240."""
    volume = read_nifti(shared / "data" / "mr" / "ljubljana_p01_t1.nii.gz").data
    hr = np.asarray(volume[None, 40:280, 40:280, volume.shape[2] // 2], np.float64)
    lr = degrade(hr, "bicubic", (1, 2, 2))
    prediction = hr if step else hr + np.random.default_rng(0).normal(0, 0.01 * hr.max(), hr.shape)
    place = written(tmp_path, slices_of(prediction, hr=hr, lr=lr if step is None else np.rint(lr), step=step))
    assert hr.shape == (1, 240, 240)
    [truth] = place.parents[1].glob("truth-*")
    sizes = (place / EXHIBIT).stat().st_size / 1e6, truth.stat().st_size / 1e6
    assert sizes[0] == pytest.approx(mb, rel=0.1)
    assert sizes[1] == pytest.approx(0.074 if step else 0.09, rel=0.1)


def test_images_cannot_be_written_to(tmp_path: Path) -> None:
    [kept] = exhibit(written(tmp_path, slices_of(np.ones((1, 6, 6))))).slices
    with pytest.raises(ValueError, match="read-only"):
        kept.hr[0, 0] = 1


def test_predictions_are_those_that_were_scored_and_truth_is_the_datas(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    """Of the plain cell and of its self-ensemble: the kept volume, rounded."""
    [network] = write(tmp_path, network=NETWORK)
    protocol = write_protocol(report={"slices": 4})
    work(protocol, [network, f"{network}+"], images, keep_volumes=True)
    for label in ("network", "network+"):
        found = exhibit(cell(protocol, label))
        assert [(one.subject, one.number) for one in found.slices] == [
            (s, n) for s in SUBJECTS["test"] for n in range(4)
        ]
        for one in found.slices:
            volume = read_prediction(cell(protocol, label) / "volumes" / f"{one.subject}.nii.gz")
            expected = Grid(True, nonnegative=True).apply(volume[one.number], "stored")
            np.testing.assert_array_equal(one.prediction, expected)
            hr = textured(4 + SUBJECTS["test"].index(one.subject))[:, :, one.number]
            np.testing.assert_array_equal(one.hr, hr)
            assert one.lr.shape == (18, 24)
            assert (one.axes, one.spacing) == (("S", "R", "A"), (1.0, 1.0, 1.0))
    plain, ensemble = (exhibit(cell(protocol, label)) for label in ("network", "network+"))
    assert plain.truth == ensemble.truth
    assert any((a.prediction != b.prediction).any() for a, b in zip(plain.slices, ensemble.slices, strict=True))


def test_spacing_and_orientation_are_kept(write_protocol: Write, tmp_path: Path) -> None:
    """Of a file whose first axis counts to the left, cut sagittally, upscaled along slices too."""
    affine = np.diag([-0.9, 1.2, 2.5, 1.0])
    for number, name in enumerate(name for names in SUBJECTS.values() for name in names):
        write_image(tmp_path / "data" / f"{name}-T1.nii.gz", textured(number, (36, 48, 24)), affine)
    data = {**small_protocol()["data"], "plane": "sagittal"}
    protocol = write_protocol(data=data, scales=[[4, 1, 1]], report={"subjects": 1, "slices": 2})
    work(protocol, ["bicubic"], tmp_path / "data")
    place = row(protocol).with_name("T1-x4x1x1") / "bicubic" / "seed0"
    first, second = exhibit(place).slices
    assert (first.number, first.lr_number, second.number, second.lr_number) == (9, 2, 27, 6)
    assert first.axes == ("R", "A", "S")
    assert first.spacing == pytest.approx((0.9, 1.2, 2.5))
    np.testing.assert_array_equal(first.hr, textured(5, (36, 48, 24))[::-1][9])
    assert first.lr.shape == first.hr.shape == (48, 24)


def test_equal_values_give_equal_bytes_and_truth_is_written_once(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    protocol = write_protocol()
    work(protocol, ["bicubic"], images)
    [truth] = row(protocol).glob("*.npz")
    assert TRUTH.fullmatch(truth.name)
    content, before = (cell(protocol, "bicubic") / EXHIBIT).read_bytes(), truth.stat()
    work(protocol, write(tmp_path, nearest=NEAREST), images)
    work(protocol, ["bicubic"], images, score_only=True)
    assert list(row(protocol).glob("*.npz")) == [truth]
    assert (truth.stat().st_mtime_ns, truth.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert (cell(protocol, "bicubic") / EXHIBIT).read_bytes() == content
    assert record(cell(protocol, "bicubic"))["checksums"]["exhibit"] == hashlib.sha256(content).hexdigest()
    assert set(np.load(cell(protocol, "bicubic") / EXHIBIT, allow_pickle=False)) >= {"prediction-0", "about.json"}


def test_a_damaged_truth_is_made_again_and_a_killed_writers_file_is_removed(
    write_protocol: Write, images: Path
) -> None:
    protocol = write_protocol()
    work(protocol, ["bicubic"], images)
    [truth] = row(protocol).glob("*.npz")
    content = truth.read_bytes()
    for damaged in (content[:-9], b""):
        truth.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=truth.name):
            read_exhibit(cell(protocol, "bicubic"))
        work(protocol, ["bicubic"], images, score_only=True)
        assert truth.read_bytes() == content
    truth.unlink()
    with pytest.raises(DamagedFile, match="it is missing"):
        read_exhibit(cell(protocol, "bicubic"))
    truth.mkdir()
    left = row(protocol) / f".{truth.name}~{machine()}-999999999-00000000"
    left.write_bytes(b"half")
    assert warnings(work(protocol, ["bicubic"], images, score_only=True)) == []
    assert (truth.read_bytes(), left.exists()) == (content, False)


# --- They cost no record ---------------------------------------------------------------------------------------------


def no_space(*_: Any) -> str:
    raise OSError(28, "No space left on device")


def a_bug(*_: Any) -> SubjectSlices:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("where", ["writing", "taking"])
def test_a_failure_is_a_warning_and_the_record_is_there(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    protocol, methods = write_protocol(), write(tmp_path, network=NETWORK)
    with monkeypatch.context() as patch:
        if where == "writing":
            patch.setattr(exhibits, "write_exhibit", no_space)
        else:
            patch.setattr(exhibits.Exhibits, "_slices_of", a_bug)
        [warning] = warnings(work(protocol, methods, images))
    folder = cell(protocol, "network")
    assert ("No space left" if where == "writing" else "ZeroDivisionError: a bug") in warning
    assert "bench score" in warning
    assert record(folder)["metrics"]
    assert record(folder)["checksums"]["exhibit"] is None
    assert read_exhibit(folder) is None
    assert state(protocol, methods) == "done"
    before = (folder / RECORD).read_bytes()
    assert work(protocol, methods, images) == [], "a cell that lacks them is done"
    assert (folder / RECORD).read_bytes() == before
    assert warnings(work(protocol, methods, images, score_only=True)) == []
    assert exhibit(folder).slices


def test_a_full_disk_leaves_no_half_of_them(
    write_protocol: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = write_protocol()
    monkeypatch.setattr(store_exhibit, "archive", no_space)
    [warning] = warnings(work(protocol, ["bicubic"], images))
    assert "No space left" in warning
    assert [path.name for path in row(protocol).rglob("*") if "~" in path.name or path.suffix == ".npz"] == []


def test_a_lease_that_is_lost_is_no_warning(
    write_protocol: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> str:
        raise LeaseLost("taken over")

    protocol = write_protocol()
    monkeypatch.setattr(exhibits, "write_exhibit", lost)
    with pytest.raises(LeaseLost):
        work(protocol, ["bicubic"], images)
    assert not (cell(protocol, "bicubic") / RECORD).exists()


def test_more_than_an_exhibit_may_hold_is_a_warning(
    write_protocol: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = write_protocol()
    monkeypatch.setattr(images_of_store, "MAX_PIXELS", 1000)
    [warning] = warnings(work(protocol, ["bicubic"], images))
    assert "more than the 1000 allowed" in warning
    assert record(cell(protocol, "bicubic"))["metrics"]


@pytest.mark.parametrize("source", ["weights", "kept volumes"])
def test_scoring_again_adds_them(write_protocol: Write, images: Path, tmp_path: Path, source: str) -> None:
    [network] = write(tmp_path, network=NETWORK)
    protocol, methods = write_protocol(), [network, f"{network}+"]
    work(protocol, methods, images, keep_volumes=source == "kept volumes")
    folders = [cell(protocol, label) for label in ("network", "network+")]
    before = [(folder / EXHIBIT).read_bytes() for folder in folders]
    figures = [(record(folder)["metrics"], (folder / SCORES).read_bytes()) for folder in folders]
    for folder in folders:
        (folder / EXHIBIT).unlink()
    if source == "kept volumes":
        (folders[0] / WEIGHTS).unlink()
    assert state(protocol, [network]) == "done"
    assert warnings(work(protocol, methods, images, score_only=True)) == []
    assert [(folder / EXHIBIT).read_bytes() for folder in folders] == before
    assert [(record(folder)["metrics"], (folder / SCORES).read_bytes()) for folder in folders] == figures


@pytest.mark.parametrize("damage", ["a bit", "cut short", "empty", "a folder"])
def test_damage_is_seen_and_made_good_without_training(
    write_protocol: Write, images: Path, tmp_path: Path, damage: str
) -> None:
    protocol, methods = write_protocol(), write(tmp_path, network=NETWORK)
    work(protocol, methods, images)
    path = cell(protocol, "network") / EXHIBIT
    content, weights = path.read_bytes(), (path.parent / WEIGHTS).stat().st_mtime_ns
    figures = record(path.parent)["metrics"]
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        flipped = content[:99] + bytes([content[99] ^ 1]) + content[100:]
        path.write_bytes({"a bit": flipped, "cut short": content[:-50], "empty": b""}[damage])
    assert state(protocol, methods) == "damaged"
    assert [f"{path} is damaged" in warning for warning in warnings(work(protocol, methods, images))] == [True]
    assert (path.read_bytes(), record(path.parent)["metrics"]) == (content, figures)
    assert (path.parent / WEIGHTS).stat().st_mtime_ns == weights
    assert len(list(path.parent.glob(f"{EXHIBIT}~damaged-*"))) == 1
    assert state(protocol, methods) == "done"


def test_a_record_never_stands_beside_older_slices(
    write_protocol: Write, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = write_protocol()
    work(protocol, ["bicubic"], images)
    monkeypatch.setattr(exhibits, "write_exhibit", no_space)
    work(protocol, ["bicubic"], images, score_only=True)
    assert read_exhibit(cell(protocol, "bicubic")) is None
    assert state(protocol, ["bicubic"]) == "done"


# --- Files that others made ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cell with an exhibit of two slices."""
    prediction = textured(2, (24, 24, 2)).transpose(2, 0, 1)
    return written(tmp_path_factory.mktemp("whole"), slices_of(prediction, step=1.0))


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(whole.parents[1], tmp_path / "row")
    return tmp_path / "row" / "label" / "seed0"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, member in content.items():
            archive.writestr(name, member)


def said(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a file says of itself, and seal it anew."""
    content = members(path)
    about = unsealed(path, content["about.json"])
    change(about)
    pack(path, {**content, "about.json": sealed(about).encode()})


def refused(place: Path, match: str = "is damaged") -> None:
    with pytest.raises(DamagedFile, match=match):
        read_exhibit(place)


class _Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_a_pickle_is_refused_and_never_run(place: Path, tmp_path: Path) -> None:
    trap = np.empty((2, 24, 24), object)
    trap[:] = _Trap(tmp_path / "sprung")
    content = members(place / EXHIBIT)
    for evil in (npy(trap), pickle.dumps(trap[0, 0, 0])):
        pack(place / EXHIBIT, {**content, "prediction-0.npy": evil})
        refused(place, EXHIBIT)
    (place / EXHIBIT).write_bytes(pickle.dumps(trap[0, 0, 0]))
    refused(place, EXHIBIT)
    assert not (tmp_path / "sprung").exists()


HUGE = {"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6, 10**6)}


@pytest.mark.parametrize("where", ["header", "about", "about, within the sides", "bomb", "member", "directory"])
def test_sizes_that_are_only_claimed_take_no_memory(place: Path, where: str) -> None:
    path, content = place / EXHIBIT, members(place / EXHIBIT)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, HUGE)

    def claim(about: dict[str, Any]) -> None:
        shape = [16, 4096, 4096] if "within" in where else HUGE["shape"]
        about["subjects"][0]["prediction"]["shape"] = shape

    if where == "header":
        pack(path, {**content, "prediction-0.npy": header.getvalue() + bytes(100)})
    elif where.startswith("about"):
        said(path, claim)
    elif where == "bomb":
        pack(path, {**content, "about.json": b" " * 200_000_000})
    elif where == "member":
        pack(path, {**content, "prediction-0.npy": content["prediction-0.npy"] + bytes(200_000_000)})
    else:
        pack(path, {**content, **{f"{number}.npy": b"" for number in range(20_000)}})
    tracemalloc.start()
    refused(place, EXHIBIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_a_file_that_is_too_large_is_not_read(place: Path) -> None:
    with (place / EXHIBIT).open("r+b") as file:
        file.truncate(2**30)  # holes: it takes no room on the disk
    refused(place, "bytes")


def shape_of(about: dict[str, Any]) -> dict[str, Any]:
    stored = about["subjects"][0]["prediction"]
    assert isinstance(stored, dict)
    return stored


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "another place": lambda about: about.update(truth="../../../truth-0123456789abcdef.npz"),
    "another format": lambda about: about.update(format=2),
    "no subject": lambda about: about.update(subjects=[]),
    "another subject": lambda about: about["subjects"][0].update(subject="fine"),
    "another slice": lambda about: about["subjects"][0].update(slices=[0, 3]),
    "a negative slice": lambda about: about["subjects"][0].update(slices=[-1, 0]),
    "NaN": lambda about: shape_of(about)["window"].update(offset=float("nan")),
    "infinity": lambda about: shape_of(about)["window"].update(step=float("inf")),
    "beyond float32": lambda about: shape_of(about)["window"].update(step=1e300),
    "no step": lambda about: shape_of(about)["window"].update(step=0.0),
    "another shape": lambda about: shape_of(about).update(shape=[2, 48, 12]),
    "another checksum": lambda about: shape_of(about).update(sha256="0" * 64),
    "nothing": lambda about: about.clear() or about.update(a=1),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("what", WRONG)
def test_what_an_exhibit_says_wrongly_is_damage(place: Path, what: str) -> None:
    said(place / EXHIBIT, WRONG[what])
    refused(place)


def test_a_truth_that_says_something_else_is_not_the_one_that_is_named(place: Path) -> None:
    [truth] = place.parents[1].glob("truth-*")
    said(truth, lambda about: about["subjects"][0].update(spacing=[1.0, 1.0, 2.0]))
    refused(place, "its name is not the digest of its content")


@pytest.mark.parametrize("more", [{"more.npy": b"7"}, {"../../escaped": b"7"}])
def test_members_that_nothing_names_are_damage(place: Path, more: dict[str, bytes]) -> None:
    pack(place / EXHIBIT, {**members(place / EXHIBIT), **more})
    refused(place, "other members")


@pytest.mark.parametrize("name", ["about.json", "prediction-0.npy"])
def test_a_member_that_is_missing_is_damage(place: Path, name: str) -> None:
    pack(place / EXHIBIT, {other: member for other, member in members(place / EXHIBIT).items() if other != name})
    refused(place, EXHIBIT)


@RATHER
@given(kept=st.floats(0, 1, exclude_max=True), is_truth=st.booleans())
def test_a_file_that_is_cut_short_is_damage(whole: Path, kept: float, is_truth: bool) -> None:
    [truth] = whole.parents[1].glob("truth-*")
    path = truth if is_truth else whole / EXHIBIT
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    try:
        refused(whole, path.name)
    finally:
        path.write_bytes(content)


@settings(RATHER, max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_truth=st.booleans())
def test_a_bit_that_is_another_is_damage_or_changes_nothing(
    whole: Path, place: float, bit: int, is_truth: bool
) -> None:
    """A zip file has bytes that say nothing, such as a time: the record's checksum sees those."""
    [truth] = whole.parents[1].glob("truth-*")
    path = truth if is_truth else whole / EXHIBIT
    expected = exhibit(whole)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    damaged, found = None, expected
    try:
        found = exhibit(whole)
    except DamagedFile as error:
        damaged = error.path
    finally:
        path.write_bytes(content)
    assert damaged in (None, path)
    for one, other in zip(found.slices, expected.slices, strict=True):
        for name, value in asdict(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))
