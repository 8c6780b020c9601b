"""Recovery of a split from an archive: generated archives of known people, with all that can be wrong in them."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from mrsr_bench.datasets.folder import Folder
from mrsr_bench.degradation import degrade
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.replication.matching import match_archive
from mrsr_bench.replication.matching.archive import factors_of, fold_of, read
from mrsr_bench.replication.matching.fingerprint import NOWHERE, CropPosition, as_integers, fingerprint, locate
from mrsr_bench.replication.matching.search import rule
from mrsr_bench.volumes import Grid, VolumeError

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
orientations = st.sampled_from(ORIENTATIONS)


def head(seed: int, shape: tuple[int, int, int] = (38, 44, 34)) -> np.ndarray:
    """An int16 image with structure, noise, an empty background and a few negatives."""
    random = np.random.default_rng(seed)
    image = 3000 * gaussian_filter(random.normal(size=shape), 3) + 300 + random.normal(0, 15, shape)
    inside = np.linalg.norm(np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")), axis=0) < 1
    image = np.where(inside, image, random.normal(0, 0.6, shape))
    image[0, 0, 0] = 9999  # the volume's maximum is not the crop's
    return np.round(image).astype(np.int16)


def turned(array: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    return array.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]


# --- integers ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 30_000), st.floats(1e-4, 1e4), st.booleans())
def test_integers_are_found_again_under_any_scale(seed: int, top: int, scale: float, shifted: bool) -> None:
    counts = np.random.default_rng(seed).integers(0, top, (6, 7, 8))
    counts.flat[:3] = 0, 1, top  # neighbours, so the step is 1
    stored = (counts * scale + (5 * scale if shifted else 0)).astype(np.float32)
    found = as_integers(stored)
    assert found is not None
    assert np.array_equal(found.values, counts)
    assert found.step == pytest.approx(scale, rel=1e-4)
    assert found.offset == pytest.approx(5 * scale if shifted else 0)


@pytest.mark.parametrize(("values", "step"), [([0, 4, 6, 10], 2), ([0, 6, 9], 3), ([-5, -2, 10], 3), ([7, 8], 1)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_step_may_be_smaller_than_every_gap(values: list[int], step: int, dtype: Any) -> None:
    found = as_integers(np.array(values, dtype).reshape(1, 1, -1))
    assert found is not None
    assert (found.values * found.step + found.offset).ravel().tolist() == values
    assert found.step == step


def test_values_on_no_grid_and_constants_are_refused() -> None:
    assert as_integers(np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32)) is None
    assert as_integers(np.ones((3, 3, 3), np.int16)) is None
    assert as_integers(np.ones((3, 3, 3), np.float32)) is None


# --- hashes and places ---------------------------------------------------------------------------------------------


@given(orientations, st.integers(0, 2**32 - 1), st.integers(-50, 50))
@settings(max_examples=30)
def test_a_turned_and_shifted_crop_has_the_hashes_of_its_source(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], seed: int, added: int
) -> None:
    source = np.random.default_rng(seed).integers(0, 500, (14, 15, 16)).astype(np.int32)
    whole, part = (fingerprint(array, 5) for array in (source, turned(source[2:12, 3:14, 1:13], *orientation) + added))
    assert len(part.hashes) > 50
    assert set(part.hashes.tolist()) <= set(whole.hashes.tolist())


def test_other_volumes_share_no_hash() -> None:
    one, other = (fingerprint(head(seed).astype(np.int32), 3) for seed in (1, 2))
    assert len(one.hashes) > 3000
    assert len(np.intersect1d(one.hashes, other.hashes)) <= 1


def test_what_is_flat_or_stands_often_is_no_feature() -> None:
    flat = np.zeros((9, 9, 9), np.int32)
    flat[2, 2, 2] = flat[6, 6, 6] = 1
    assert len(fingerprint(flat, 1).hashes) == 0
    assert len(fingerprint(np.zeros((2, 9, 9), np.int32), 1).hashes) == 0


@given(orientations, st.tuples(*[st.integers(-9, 40)] * 3), st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_the_place_is_what_most_pairs_agree_on(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], origin: tuple[int, int, int], seed: int, wrong: int
) -> None:
    (axes, signs), random = orientation, np.random.default_rng(seed)
    crop = random.integers(0, 30, (70, 3))
    source = np.empty_like(crop)
    source[:, axes] = crop * signs + origin
    source[:wrong] = random.integers(0, 99, (wrong, 3))
    place, agree = locate(crop, source)
    assert (place.axes, place.signs, place.origin) == (axes, signs, origin)
    assert agree[wrong:].all()


@given(orientations, st.tuples(*[st.integers(-3, 4)] * 3))
def test_a_place_cuts_what_it_was_found_for(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], start: tuple[int, int, int]
) -> None:
    """Also where the crop reaches beyond its source."""
    source, (axes, signs) = np.arange(5 * 6 * 7).reshape(5, 6, 7), orientation
    padded = np.pad(source, 9, constant_values=NOWHERE)
    crop = turned(padded[tuple(slice(9 + s, 9 + s + n) for s, n in zip(start, (3, 4, 5), strict=True))], axes, signs)
    origin = tuple(start[a] if sign > 0 else start[a] + (3, 4, 5)[a] - 1 for a, sign in zip(axes, signs, strict=True))
    place = CropPosition(axes, signs, origin)  # type: ignore[arg-type]
    assert place.start(crop.shape) == start
    assert np.array_equal(place.cut(source, crop.shape), crop)


def test_axis_codes_say_where_an_axis_grows_towards() -> None:
    assert CropPosition((0, 1, 2), (1, 1, 1), (0, 0, 0)).codes == "RAS"
    assert CropPosition((1, 2, 0), (-1, 1, -1), (0, 0, 0)).codes == "PSL"


@pytest.mark.parametrize(
    ("scale", "offset", "words"),
    [
        (1, 0, "as in the file"),
        (1 / 900, 0, "divided by the volume's maximum"),
        (1 / 700, 0, "divided by the crop's maximum"),
        (1 / 4095, 0, "divided by 4095"),
        (1 / 910, 10 / 910, "less the volume's minimum, divided by its range"),
        (1 / 50, -4, "plus -200, divided by 50"),
    ],
)
def test_an_intensity_rule_is_said_in_words(scale: float, offset: float, words: str) -> None:
    assert rule(scale, offset, {"the volume's": (-10, 900), "the crop's": (0, 700)}) == words


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("train/a.npy", "train"),
        ("T1/HR_Training/a.npy", "train"),
        ("trainHR/a.npy", "train"),
        ("IXI_test70/x2/a.npy", "test"),
        ("test/quick/a.npy", "val"),
        ("test/T2_latest.npy", "test"),
        ("validation_data/a.npy", "val"),
        ("train_val/a.npy", None),
        ("train/test_train/a.npy", None),
        ("data/contest/interval.npy", None),
        ("a.npy", None),
    ],
)
def test_folds_are_words_in_the_innermost_name_that_has_one(name: str, fold: str | None) -> None:
    assert fold_of(name) == fold


@pytest.mark.parametrize(
    ("lr", "hr", "factors"),
    [
        ((12, 12, 9), (24, 24, 9), (1, 2, 2)),
        ((9, 8, 8), (9, 24, 24), (1, 3, 3)),
        ((6, 6, 9), (24, 24, 9), (1, 4, 4)),
        ((12, 12, 3), (24, 24, 9), None),
        ((24, 24, 9), (24, 24, 9), None),
        ((5, 12, 9), (24, 24, 9), None),
        ((12, 24, 9), (24, 24, 9), None),
    ],
)
def test_lr_has_two_axes_divided_alike(lr: tuple[int, ...], hr: tuple[int, ...], factors: Any) -> None:
    found = factors_of(lr, hr)
    assert (tuple(sorted(found)) if found else None) == factors


def test_every_format_gives_the_same_array(tmp_path: Path) -> None:
    array = head(0)
    np.save(tmp_path / "a.npy", array[None])
    savemat(tmp_path / "a.mat", {"volume": array, "name": "text", "factor": 2})
    write_image(tmp_path / "a.nii.gz", array)
    for name, variable in (("a.npy", ""), ("a.mat", "volume"), ("a.nii.gz", "")):
        found = read(tmp_path / name)
        assert list(found) == [variable]
        assert np.array_equal(found[variable], array)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"\x93NUMPY\x01\x00broken", "truncated or damaged"),
        ("a.nii.gz", b"\x1f\x8b\x08\x00broken", "truncated or damaged"),
        ("a.nii", b"", "truncated or damaged"),
        ("a.mat", b"nothing", "truncated or damaged"),
        ("a.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "save it with '-v7'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeError, match=message) as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_nothing_is_unpickled_and_only_finite_volumes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(VolumeError, match="truncated or damaged"):
        read(path)
    np.save(path, np.full((3, 3, 3), np.nan))
    with pytest.raises(VolumeError, match="NaN or infinite"):
        read(path)
    np.save(path, np.zeros((3, 3)))
    with pytest.raises(VolumeError, match=r"no 3-D array of real numbers \(arrays: \(3, 3\)\)"):
        read(path)


# --- whole archives ------------------------------------------------------------------------------------------------

CROP = (24, 36, 24)
"""(R, A, S); LR along A and S."""
SIDES = {"train": ("IXI002-Guys-0828", "IXI012-HH-1211"), "val": ("IXI013-HH-1212",), "test": ("IXI016-Guys-0697",)}
CONTRASTS = ("T1", "T2")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Four people of the archive, two others, one of them the twin of another but for a voxel, and a broken file."""
    root = tmp_path_factory.mktemp("people")
    for number, subject in enumerate([*(name for names in SIDES.values() for name in names), "IXI999-IOP-0001"]):
        for contrast in CONTRASTS:
            write_image(root / f"{subject}-{contrast}.nii.gz", head(2 * number + (contrast == "T2")))
    twin = head(0)
    twin[20, 20, 20] += 1
    write_image(root / "IXI998-IOP-0002-T1.nii.gz", twin)
    (root / "IXI997-IOP-0003-T1.nii.gz").write_bytes(b"broken")
    return Folder(root)


def crop_of(people: Folder, subject: str, contrast: str, start: tuple[int, int, int] = (7, 4, 5)) -> np.ndarray:
    data = people.load(subject, contrast).data
    return np.maximum(data[tuple(slice(s, s + n) for s, n in zip(start, CROP, strict=True))], 0)


def fill(archive: Path, people: Folder) -> None:
    """Train, quick and test, in three formats; T1 turned and divided by its maximum, T2 raw, off centre; T1 also LR."""
    for fold, folder in (("train", "train"), ("val", "test/quick"), ("test", "test")):
        for number, subject in enumerate(SIDES[fold]):
            t1, t2 = crop_of(people, subject, "T1"), crop_of(people, subject, "T2", (0, 8, 9))
            top = float(t1.max())
            name = archive / folder / "T1" / f"{number}.npy"
            name.parent.mkdir(parents=True, exist_ok=True)
            np.save(name, (turned(t1, (1, 2, 0), (-1, 1, 1)) / top).astype(np.float32))
            for factor, recipe, rounding in ((2, "bicubic", "stored"), (3, "kspace", "stored_unclipped")):
                low = Grid(True, nonnegative=True).apply(degrade(t1, recipe, (1, factor, factor)), rounding)
                path = archive / folder / f"T1_x{factor}" / f"{number}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, (turned(low, (1, 2, 0), (-1, 1, 1)) / top).astype(np.float32))
            (archive / folder / "T2").mkdir() if number == 0 else None
            if number:
                write_image(archive / folder / "T2" / f"{number}.nii", t2.astype(np.int16))
            else:
                savemat(archive / folder / "T2" / f"{number}.mat", {"im": t2.astype(np.int16)})


@pytest.fixture
def archive(tmp_path: Path, people: Folder) -> Path:
    fill(tmp_path / "archive", people)
    return tmp_path / "archive"


def run(people: Folder, archive: Path) -> tuple[Path, list[str]]:
    said: list[str] = []
    out = archive.parent / "out"
    match_archive(people, archive, out, said.append)
    return out, said


def test_the_split_crop_intensities_and_lr_recipes_are_recovered(people: Folder, archive: Path) -> None:
    out, said = run(people, archive)
    rows = {row["subject"]: row["fold"] for row in csv.DictReader((out / "ixi_csn.csv").read_text().splitlines())}
    assert rows == {subject: fold for fold, subjects in SIDES.items() for subject in subjects}
    page = (out / "ixi_csn.md").read_text(encoding="utf-8")
    assert "8 of 8 HR volumes match" in page
    assert "| T1 | 36×24×24 | PSR | +0, +0, +0 | divided by the crop's maximum | 4 | 4 |" in page
    assert "| T2 | 24×36×24 | RAS | -7, +4, +4 | as in the file | 4 | 4 |" in page
    assert "| train/T1_x2 | T1 | 2×2×1 | bicubic, rounded, clipped at 0 |" in page
    assert "| test/T1_x3 | T1 | 3×3×1 | kspace, part real, rounded |" in page
    assert "No exact match" not in page
    assert "IXI997-IOP-0003 T1: " in page  # the data set's broken file
    assert said[-1].endswith("ixi_csn.csv: 2 train, 1 val, 1 test")


def test_the_twin_but_for_a_voxel_is_told_apart(people: Folder, archive: Path) -> None:
    out, _ = run(people, archive)
    found = json.loads((out / "ixi_csn.json").read_text(encoding="utf-8"))["volumes"]
    [one] = [volume for volume in found if volume["file"] == "train/T1/0.npy"]
    assert [match["subject"] for match in one["candidates"]] == ["IXI002-Guys-0828", "IXI998-IOP-0002"]
    assert one["candidates"][0]["agreement"] == 1
    assert one["candidates"][1]["agreement"] == 1 - 1 / np.prod(CROP)
    assert one["exact"]


def test_what_does_not_match_is_listed_with_its_nearest(people: Folder, archive: Path) -> None:
    changed = crop_of(people, "IXI012-HH-1211", "T1").astype(np.int16)
    changed[:2] += 1
    np.save(archive / "train" / "changed.npy", changed)
    np.save(archive / "train" / "stranger.npy", head(77)[: CROP[0], : CROP[1], : CROP[2]])
    np.save(archive / "train" / "resampled.npy", gaussian_filter(changed.astype(np.float32), 1))
    outside = np.pad(people.load("IXI012-HH-1211", "T2").data, ((4, 0), (0, 0), (0, 0)))[:24, :36, :24]
    np.save(archive / "train" / "padded.npy", outside)
    (archive / "train" / "broken.npy").write_bytes(b"\x93NUMPY")
    (archive / "readme.txt").write_text("by hand")
    out, _ = run(people, archive)
    page = (out / "ixi_csn.md").read_text(encoding="utf-8")
    assert "8 of 12 HR volumes match" in page
    assert "- train/changed.npy: nearest IXI012-HH-1211 T1, 91.667 % of voxels equal" in page
    assert "- train/stranger.npy: shares no neighbourhood with any volume of the data set" in page
    assert "- train/resampled.npy: its values are constant or on no integer grid" in page
    assert "- train/padded.npy: nearest IXI012-HH-1211 T2, 83.333 % of voxels equal" in page
    assert f"- {archive / 'train' / 'broken.npy'}: cannot be read" in page
    assert "- readme.txt" in page
    assert (out / "ixi_csn.csv").is_file()


def test_a_missing_contrast_a_copy_and_a_missing_fold_are_said(people: Folder, archive: Path) -> None:
    (archive / "train" / "T2" / "1.nii").unlink()
    (archive / "train" / "copy.npy").write_bytes((archive / "train" / "T1" / "0.npy").read_bytes())
    for path in sorted((archive / "test" / "quick").rglob("*.*")):
        path.unlink()
    out, said = run(people, archive)
    page = (out / "ixi_csn.md").read_text(encoding="utf-8")
    assert "- IXI012-HH-1211: no T2" in page
    assert "- IXI002-Guys-0828 T1: train/T1/0.npy, train/copy.npy" in page
    assert any("so the split has no val" in line for line in said)
    assert "val" not in (out / "ixi_csn.csv").read_text(encoding="utf-8")


def test_no_split_is_written_where_a_subject_lies_on_two_sides(people: Folder, archive: Path) -> None:
    (archive / "test" / "again.npy").write_bytes((archive / "train" / "T1" / "0.npy").read_bytes())
    with pytest.raises(BenchError, match=r"1 subjects are in two folds of the archive \(IXI002-Guys-0828\)"):
        run(people, archive)
    out = archive.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == ["ixi_csn.json", "ixi_csn.md"]
    assert "- IXI002-Guys-0828: test and train" in (out / "ixi_csn.md").read_text(encoding="utf-8")


def test_lr_whose_ties_were_rounded_another_way_is_named_as_nearly_rounded_bicubic(
    people: Folder, archive: Path
) -> None:
    for path in sorted(archive.rglob("T1_x2/*.npy")):
        low, high = np.load(path), np.load(path.parents[1] / "T1" / path.name)
        low[:2, 0, 0] += np.diff(np.unique(high)).min()  # a raw unit: a tie that fell the other way, twice
        np.save(path, low)
    out, _ = run(people, archive)
    page = (out / "ixi_csn.md").read_text(encoding="utf-8")
    assert "| train/T1_x2 | T1 | 2×2×1 | none found; nearest: bicubic, rounded, clipped at 0 | 1 | 0.0" in page


def test_an_lr_recipe_that_is_none_of_ours_is_not_claimed(people: Folder, archive: Path) -> None:
    for path in sorted(archive.rglob("T1_x2/*.npy")):
        np.save(path, gaussian_filter(np.load(path), 0.5))
    out, _ = run(people, archive)
    page = (out / "ixi_csn.md").read_text(encoding="utf-8")
    assert "| train/T1_x2 | T1 | 2×2×1 | none found; nearest: " in page
    assert page.count("| 0 of 2 |") == 1


def test_an_archive_of_strangers_is_an_error_after_the_page_is_written(people: Folder, tmp_path: Path) -> None:
    (tmp_path / "archive" / "train").mkdir(parents=True)
    np.save(tmp_path / "archive" / "train" / "a.npy", head(99))
    with pytest.raises(BenchError, match="no volume matches the data set exactly"):
        run(people, tmp_path / "archive")
    assert "0 of 1 HR volumes match" in (tmp_path / "out" / "ixi_csn.md").read_text(encoding="utf-8")


def test_folders_that_name_no_fold_are_asked_about_before_any_work(people: Folder, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "part1").mkdir(parents=True)
    np.save(archive / "part1" / "a.npy", head(0))
    with pytest.raises(UsageError, match=r"do not say whether they are train, val or test:\n.*part1\n.*Rename"):
        run(people, archive)


@pytest.mark.parametrize(
    ("files", "message"),
    [(None, "no such folder"), ({}, "no file below it ends in"), ({"train.npy": b"?"}, "none of its 1 volume files")],
)
def test_a_folder_without_an_archive_is_refused(
    people: Folder, tmp_path: Path, files: dict[str, bytes] | None, message: str
) -> None:
    archive = tmp_path / "archive"
    if files is not None:
        archive.mkdir()
        for name, content in files.items():
            (archive / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        run(people, archive)
