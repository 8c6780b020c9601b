"""Preparation of volumes in a cache keyed by content, and the patches and crops that are cut from them."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import SUBJECTS, textured, write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrsr_bench.data.pairs import Pair, demand_disjoint, small_volumes
from mrsr_bench.data.preparation import prepare
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.degradation import degrade, zero_fill
from mrsr_bench.errors import BenchError
from mrsr_bench.method import Recipe, intensity_scale
from mrsr_bench.protocol.data_blocks import CutSpec, DegradationSpec
from mrsr_bench.training.sampling import TrainingPairs, validation_crops
from mrsr_bench.training.symmetries import undo_dihedral
from mrsr_bench.volumes import Grid

MODEST = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STORED, EXACT = DegradationSpec(name="bicubic", round="stored"), DegradationSpec(name="bicubic", round="none")
X2 = (1, 2, 2)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MRSR_CACHE", str(folder))
    return folder


def prepared(
    root: Path,
    subjects: Sequence[str],
    crop: Sequence[int] | None = None,
    degradation: DegradationSpec = STORED,
    factors: tuple[int, int, int] = X2,
    plane: str = "axial",
    **cut: Any,
) -> list[Pair]:
    return prepare(Folder(root), subjects, "T1", CutSpec(plane=plane, crop=crop, **cut), degradation, factors)


def pair_of(folder: Path, hr: np.ndarray, factors: tuple[int, int, int] = X2, name: str = "pair") -> Pair:
    """A pair of HR (slices, rows, columns) and its exact LR, without a data set."""
    folder.mkdir(exist_ok=True)
    lr = degrade(hr, "bicubic", factors).astype(np.float32)
    np.save(folder / f"{name}-hr.npy", hr)
    np.save(folder / f"{name}-lr.npy", lr)
    paths = folder / f"{name}-hr.npy", folder / f"{name}-lr.npy"
    shape = hr.shape[0], hr.shape[1], hr.shape[2]
    return Pair(name, "T1", *paths, Grid(False), (1.0, 1.0, 1.0), np.eye(4).tolist(), name, name, shape, shape)


def recipe(batch: int = 4, lr_patch: int = 6, augment: Any = "none") -> Recipe:
    return Recipe(batch=batch, lr_patch=lr_patch, augment=augment)


def random_pairs(folder: Path, *shapes: tuple[int, int, int], factors: tuple[int, int, int] = X2) -> list[Pair]:
    return [
        pair_of(folder, np.random.default_rng(n).uniform(1, 1000, shape).astype(np.float32), factors, f"pair{n}")
        for n, shape in enumerate(shapes)
    ]


# Batches


@MODEST
@given(steps=st.lists(st.integers(0, 10**7), min_size=1, max_size=4), seed=st.integers(0, 2**31 - 1))
def test_a_batch_is_decided_by_seed_and_step_alone(tmp_path: Path, steps: list[int], seed: int) -> None:
    pairs = random_pairs(tmp_path, (2, 24, 36), (1, 30, 26))
    first = TrainingPairs(pairs, X2, recipe(augment="dihedral"), 1, seed)
    forth = {step: first.batch(step) for step in steps}
    again = TrainingPairs(pairs, X2, recipe(augment="dihedral"), 1, seed)
    for step in reversed(steps):
        for one, other in zip(forth[step], again.batch(step), strict=True):
            assert one.tobytes() == other.tobytes()


def test_other_steps_and_seeds_give_other_batches(tmp_path: Path) -> None:
    pairs = random_pairs(tmp_path, (4, 48, 48))
    data = {seed: TrainingPairs(pairs, X2, recipe(), 1, seed) for seed in (0, 1)}
    batches = [data[0].batch(step)[0].tobytes() for step in range(20)]
    batches += [data[1].batch(step)[0].tobytes() for step in range(20)]
    assert len(set(batches)) == 40


def test_a_batch_does_not_disturb_or_depend_on_numpys_global_state(tmp_path: Path) -> None:
    data = TrainingPairs(random_pairs(tmp_path, (2, 24, 24)), X2, recipe(), 1, 0)
    before = data.batch(3)[0]
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tobytes()  # type: ignore[union-attr, index]  # noqa: NPY002
    np.testing.assert_array_equal(data.batch(3)[0], before)
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[union-attr, index]  # noqa: NPY002


@pytest.mark.parametrize("augment", ["none", "dihedral"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_lr_and_hr_patches_are_of_the_same_place(tmp_path: Path, augment: str, factor: int) -> None:
    """On a ramp, bicubic LR is the mean of its block away from borders, so any shift or turn of one alone shows."""
    rows, columns, slices = np.meshgrid(np.arange(96), np.arange(120), np.arange(2), indexing="ij")
    hr = (7.0 * rows + 1.3 * columns + 1000 * slices + 50).transpose(2, 0, 1).astype(np.float32)
    pair = pair_of(tmp_path, hr, (1, factor, factor))
    data = TrainingPairs([pair], (1, factor, factor), recipe(8, 12, augment), 1, 0)
    for step in range(10):
        lr, hr_patch = data.batch(step)
        assert lr.shape == (8, 1, 12, 12)
        assert hr_patch.shape == (8, 1, 12 * factor, 12 * factor)
        assert lr.dtype == hr_patch.dtype == np.float32
        blocks = hr_patch.reshape(8, 1, 12, factor, 12, factor).mean(axis=(3, 5))
        inner = np.s_[:, :, 3:-3, 3:-3]  # LR at the volume's border is bent by the reflection there
        np.testing.assert_allclose(blocks[inner], lr[inner], rtol=1e-3)


def place_of(patch: np.ndarray, whole: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(turn, slice, row, column) of every place where `patch` (p, p), turned back, stands in `whole`."""
    found = []
    p = patch.shape[-1]
    views = np.lib.stride_tricks.sliding_window_view(whole, (p, p), axis=(1, 2))
    for turn in range(8):
        upright = undo_dihedral(patch, turn)
        where = np.argwhere((views == upright).all(axis=(-1, -2)))
        found += [(turn, *map(int, place)) for place in where]
    return found


def test_all_eight_turns_occur_about_equally_and_both_patches_are_turned_alike(tmp_path: Path) -> None:
    [pair] = random_pairs(tmp_path, (1, 24, 32))
    data = TrainingPairs([pair], X2, recipe(16, 5, "dihedral"), 1, 0)
    whole_lr, whole_hr = next(data.volumes())
    turns: Counter[int] = Counter()
    for step in range(20):
        for lr, hr in zip(*data.batch(step), strict=True):
            [(turn, depth, row, column)] = place_of(lr[0], whole_lr)
            turns[turn] += 1
            expected = whole_hr[depth, 2 * row : 2 * row + 10, 2 * column : 2 * column + 10]
            np.testing.assert_array_equal(undo_dihedral(hr[0], turn), expected)
    assert sorted(turns) == list(range(8))
    assert min(turns.values()) > 320 / 8 / 2, turns


def test_without_augmentation_nothing_is_turned_and_every_place_occurs(tmp_path: Path) -> None:
    pairs = random_pairs(tmp_path, (1, 12, 14), (3, 12, 14))
    data = TrainingPairs(pairs, X2, recipe(16, 5), 1, 0)
    wholes = [lr for lr, _ in data.volumes()]
    seen: Counter[tuple[int, ...]] = Counter()
    for step in range(60):
        for lr in data.batch(step)[0]:
            places = [(n, *place) for n, whole in enumerate(wholes) for place in place_of(lr[0], whole)]
            assert len(places) == 1
            assert places[0][1] == 0
            seen[(places[0][0], *places[0][2:])] += 1
    assert len(seen) == 4 * 2 * 3, "four slices, two rows and three columns to begin at"
    slices = Counter(key[:2] for key, n in seen.items() for _ in range(n))
    assert min(slices.values()) > 960 / 4 * 0.75, f"every slice is equally likely, whatever its volume: {slices}"


def test_patches_are_normalised_by_the_lrs_scale_alone(tmp_path: Path) -> None:
    [pair] = random_pairs(tmp_path, (2, 24, 32))
    assert pair.scale == intensity_scale(pair.lr) == pytest.approx(np.percentile(pair.lr, 99.9))
    data = TrainingPairs([pair], X2, recipe(), 1, 0)
    lr, hr = next(data.volumes())
    np.testing.assert_allclose(lr * pair.scale, pair.lr, rtol=1e-6)
    np.testing.assert_allclose(hr * pair.scale, pair.hr, rtol=1e-6)
    assert hr.max() > 1, "HR is not normalised by itself"
    brighter = pair_of(tmp_path, pair.hr * np.float32(64), name="brighter")
    for one, other in zip(data.batch(0), TrainingPairs([brighter], X2, recipe(), 1, 0).batch(0), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)


def test_an_intensity_scale_is_positive_whatever_the_image() -> None:
    dark = np.zeros((1, 100, 100))
    assert intensity_scale(dark) == 1
    dark[0, 0, 0] = 500  # one voxel in 10,000 is above the 99.9th percentile
    assert intensity_scale(dark) == 500
    assert intensity_scale(np.full((1, 4, 4), -3.0)) == 3


def test_a_slice_smaller_than_the_patch_gives_a_patch_of_its_shorter_side(tmp_path: Path) -> None:
    pairs = random_pairs(tmp_path, (2, 40, 48), (1, 14, 60))
    data = TrainingPairs(pairs, X2, recipe(4, 12), 1, 0)
    shapes = {tuple(part.shape for part in data.batch(step)) for step in range(10)}
    assert shapes == {((4, 1, 7, 7), (4, 1, 14, 14))}


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_a_sample_of_several_slices_takes_neighbours(tmp_path: Path, slices: int) -> None:
    hr = np.broadcast_to(np.arange(1.0, 8.0)[:, None, None], (7, 24, 24)).astype(np.float32)
    data = TrainingPairs([pair_of(tmp_path, hr)], X2, recipe(8, 6, "dihedral"), slices, 0)
    starts = set()
    for step in range(20):
        lr, big = data.batch(step)
        assert (lr.shape, big.shape) == ((8, slices, 6, 6), (8, slices, 12, 12))
        levels = lr[:, :, 0, 0] * 7
        np.testing.assert_allclose(np.diff(levels, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(big[:, :, 0, 0] * 7, levels, rtol=1e-5)
        starts |= set(np.rint(levels[:, 0]).astype(int))
    assert starts == set(range(1, 9 - slices))


def test_too_few_slices_for_a_sample_is_an_error(tmp_path: Path) -> None:
    pairs = random_pairs(tmp_path, (3, 24, 24), (2, 24, 24))
    with pytest.raises(ValueError, match="takes 3 slices; the thinnest training volume has fewer"):
        TrainingPairs(pairs, X2, recipe(), 3, 0)


@pytest.mark.parametrize("factors", [(1, 2, 3), (1, 1, 2), (2, 1, 1)])
def test_batches_can_be_drawn_for_factors_that_differ_between_axes(
    tmp_path: Path, factors: tuple[int, int, int]
) -> None:
    pairs = random_pairs(tmp_path, (4, 24, 36), factors=factors)
    data = TrainingPairs(pairs, factors, recipe(16, 6, "dihedral"), 1, 0)
    for step in range(5):
        lr, hr = data.batch(step)
        assert lr.shape == (16, 1, 6, 6)
        assert hr.shape == (16, factors[0], 6 * factors[1], 6 * factors[2])


# Validation crops


@MODEST
@given(
    depths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    patches=st.integers(1, 12),
    lr_patch=st.integers(4, 20),
)
def test_validation_crops_are_fixed_and_at_most_as_many_as_asked_for(
    tmp_path: Path, depths: list[int], patches: int, lr_patch: int
) -> None:
    pairs = random_pairs(tmp_path, *[(depth, 24, 32) for depth in depths])
    crops = validation_crops(pairs, X2, patches, lr_patch, 1)
    assert 1 <= len(crops) <= patches
    assert len(crops) >= min(patches, len(pairs)), "every subject in turn"
    rows, columns = min(12, lr_patch), min(16, lr_patch)
    for lr, hr in crops:
        assert lr.shape == (1, rows, columns)
        assert hr.shape == (1, 2 * rows, 2 * columns)
    again = validation_crops(pairs, X2, patches, lr_patch, 1)
    assert [lr.tobytes() for lr, _ in crops] == [lr.tobytes() for lr, _ in again]
    assert len({lr.tobytes() for lr, _ in crops}) == len(crops), "no crop stands twice"


def test_validation_crops_are_central_and_spread_over_the_slices(tmp_path: Path) -> None:
    hr = np.random.default_rng(0).uniform(1, 1000, (12, 24, 32)).astype(np.float32)
    pair = pair_of(tmp_path, hr)
    crops = validation_crops([pair], X2, 3, 6, 1)
    places = [place for lr, _ in crops for place in place_of(lr[0], pair.lr / np.float32(pair.scale)) if not place[0]]
    assert [(row, column) for _, _, row, column in places] == [(3, 5)] * 3
    assert [depth for _, depth, _, _ in places] == [2, 6, 10]
    for (_, big), depth in zip(crops, (2, 6, 10), strict=True):
        np.testing.assert_allclose(big[0] * pair.scale, hr[depth, 6:18, 10:22], rtol=1e-6)


def test_validation_crops_take_subjects_in_turn(tmp_path: Path) -> None:
    pairs = [
        pair_of(tmp_path, np.full((4, 24, 24), 0, np.float32) + np.arange(24) + 100 * n, name=f"pair{n}")
        for n in range(3)
    ]
    levels = [lr.min() / lr.max() for lr, _ in validation_crops(pairs, X2, 5, 12, 1)]
    one, two, three = (float(pair.lr.min() / pair.lr.max()) for pair in pairs)
    np.testing.assert_allclose(levels, [one, two, three, one, two], rtol=1e-5)


# Preparation


def test_volumes_are_prepared_as_the_protocol_says(images: Path, cache: Path) -> None:
    [pair] = prepared(images, ["anna"], crop=(2, 30, 36))
    whole = np.asarray(nib.load(images / "anna-T1.nii.gz").dataobj).transpose(2, 0, 1)
    hr = whole[1:3, 3:33, 6:42]
    np.testing.assert_array_equal(pair.hr, hr)
    exact = degrade(hr, "bicubic", X2)
    np.testing.assert_array_equal(pair.lr, np.sign(exact) * np.floor(np.abs(exact) + 0.5).clip(0))
    assert pair.hr.dtype == pair.lr.dtype == np.int16
    assert pair.grid == Grid(True, 1.0, 0.0, True)
    # Axes (S, R, A); the crop begins at slice 1, row 3, column 6.
    np.testing.assert_array_equal(np.array(pair.affine) @ [0, 0, 0, 1], [3, 6, 1, 1])
    scan = pair.scan(X2)
    assert (scan.spacing, scan.contrast, scan.array.dtype) == ((1.0, 2.0, 2.0), "T1", np.float32)
    assert not isinstance(scan.array, np.memmap)
    np.testing.assert_array_equal(scan.array, pair.lr)


def test_lr_is_made_from_the_whole_cropped_volume_and_not_rounded_unless_asked(images: Path, cache: Path) -> None:
    [rounded], [exact] = prepared(images, ["anna"]), prepared(images, ["anna"], degradation=EXACT)
    expected = degrade(np.asarray(exact.hr), "bicubic", X2)
    np.testing.assert_array_equal(exact.lr, expected.astype(np.float32))
    assert exact.lr.dtype == np.float32
    assert exact.lr_path != rounded.lr_path
    assert exact.digest != rounded.digest


def memory_mapped(array: np.ndarray) -> bool:
    base: Any = array
    while base is not None:
        if isinstance(base, np.memmap):
            return True
        base = getattr(base, "base", None)
    return False


def test_prepared_volumes_are_mapped_from_the_cache_and_cannot_be_changed(images: Path, cache: Path) -> None:
    [pair] = prepared(images, ["anna"])
    for array, path in ((pair.hr, pair.hr_path), (pair.lr, pair.lr_path)):
        assert memory_mapped(array)
        assert cache in path.parents
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


def test_a_second_preparation_reads_no_image(images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(images, ["anna", "bert"])
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    monkeypatch.setattr(Folder, "load", lambda *_: pytest.fail("read again"))
    assert prepared(images, ["anna", "bert"]) == first
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == files


def test_other_content_crop_plane_factor_or_degradation_is_another_entry(images: Path, cache: Path) -> None:
    [base] = prepared(images, ["anna"])
    others = [
        prepared(images, ["bert"]),
        prepared(images, ["anna"], crop=(2, 24, 24)),
        prepared(images, ["anna"], crop=(12, 24, 4), plane="coronal"),
        prepared(images, ["anna"], degradation=EXACT),
        prepared(images, ["anna"], factors=(1, 3, 3)),
        prepared(images, ["anna"], factors=(2, 1, 1)),
    ]
    assert len({base.digest, *(pair.digest for [pair] in others)}) == 7
    assert len({base.lr_path, *(pair.lr_path for [pair] in others)}) == 7


def test_a_changed_file_is_prepared_anew_and_a_touched_one_is_not(images: Path, cache: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(images, tmp_path / "data"))
    file = data / "anna-T1.nii.gz"
    [before] = prepared(data, ["anna"])
    os.utime(file, ns=(1, 1))
    [touched] = prepared(data, ["anna"])
    assert touched == before
    write_image(file, textured(77))
    [after] = prepared(data, ["anna"])
    assert after.digest != before.digest
    assert after.hr_path != before.hr_path
    np.testing.assert_array_equal(after.hr, textured(77).transpose(2, 0, 1))
    moved = Path(shutil.copytree(images, tmp_path / "moved"))
    assert prepared(moved, ["anna"]) == [before], "where a file lies does not matter"


@pytest.mark.parametrize("which", ["hr_path", "lr_path"])
@pytest.mark.parametrize("damage", ["flipped byte", "truncated", "empty", "no checksum", "wrong memory"])
def test_a_damaged_entry_is_found_when_it_is_opened_and_made_again(
    images: Path, cache: Path, which: str, damage: str
) -> None:
    [before] = prepared(images, ["anna"])
    path = getattr(before, which)
    content = path.read_bytes()
    if damage == "flipped byte":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage in ("truncated", "empty"):
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    else:
        path.with_suffix(".json").write_text("{}" if damage == "no checksum" else "[1")
    [again] = prepared(images, ["anna"])
    assert getattr(again, which).read_bytes() == content
    assert again == before


def test_a_volume_smaller_than_the_crop_is_refused_or_padded_around_its_centre(images: Path, cache: Path) -> None:
    with pytest.raises(BenchError, match=r"anna-T1.*smaller than the crop \(4, 40, 48\)"):
        prepared(images, ["anna"], crop=(4, 40, 48))
    [whole], [pair] = prepared(images, ["anna"]), prepared(images, ["anna"], crop=(5, 40, 46), pad="zero")
    np.testing.assert_array_equal(pair.hr[:4, 2:38], whole.hr[:, :, 1:47])
    assert not pair.hr[4].any()
    assert not pair.hr[:, [0, 1, 38, 39]].any()
    np.testing.assert_allclose(np.array(pair.affine) @ [0, 2, 0, 1], np.array(whole.affine) @ [0, 0, 1, 1])
    small = small_volumes(["anna"], [whole], CutSpec(plane="axial", crop=(5, 40, 46), pad="zero"))
    assert small == "smaller than the crop and padded with zeros: anna"
    assert small_volumes(["anna"], [pair], CutSpec(plane="axial", crop=(4, 36, 48))) == ""
    assert small_volumes(["anna"], [whole], CutSpec(plane="axial")) == ""


def test_a_volume_smaller_than_the_crop_is_left_out_where_the_protocol_says_so(cache: Path, tmp_path: Path) -> None:
    for number, (subject, shape) in enumerate({"anna": (36, 48, 4), "bert": (36, 48, 4), "zoe": (42, 54, 4)}.items()):
        write_image(tmp_path / f"{subject}-T1.nii.gz", textured(number, shape))
    cut = {"crop": (4, 38, 48), "too_small": "leave_out"}
    pairs = prepared(tmp_path, ["anna", "zoe", "bert"], **cut)
    assert [pair.subject for pair in pairs] == ["zoe"]
    message = small_volumes(["anna", "zoe", "bert"], pairs, CutSpec(plane="axial", **cut))
    assert message == "smaller than the crop and left out: anna, bert"
    with pytest.raises(BenchError, match=r"2 of 2 volumes cannot be used"):
        prepared(tmp_path, ["anna", "bert"], **cut)


def test_hr_on_its_native_grid_is_another_entry_that_remembers_the_files_shape(cache: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = np.kron(random.uniform(0.2, 1, (4, 16, 16)), np.ones((1, 4, 4))) * random.uniform(0.8, 1.2, (4, 64, 64))
    few = degrade(np.kron(image, np.ones((1, 3, 3))), "kspace", (1, 4, 4))  # 48 × 48 samples
    filled = np.round(zero_fill(few, (4, 96, 96)) * 1000 + 200).astype(np.int16)
    write_image(tmp_path / "anna-T1.nii.gz", filled.transpose(1, 2, 0))
    [file], [native] = prepared(tmp_path, ["anna"]), prepared(tmp_path, ["anna"], grid="native", crop=(4, 36, 36))
    assert file.hr.shape == file.full_shape == file.file_shape == (4, 96, 96)
    assert native.hr.shape == (4, 36, 36)
    assert native.file_shape == (4, 96, 96)
    np.testing.assert_allclose(native.full_shape, (4, 48, 48), atol=4)
    assert native.digest != file.digest


def test_noise_is_added_once_and_is_the_subjects_own(images: Path, cache: Path) -> None:
    noisy = DegradationSpec(name="bicubic", round="none", noise=0.05)
    [clean, other_clean] = prepared(images, ["anna", "bert"], degradation=EXACT)
    [pair, other] = prepared(images, ["anna", "bert"], degradation=noisy)
    sigma = 0.05 * intensity_scale(clean.lr)
    bright = clean.lr > 5 * sigma
    assert (pair.lr - clean.lr)[bright].std() == pytest.approx(sigma, rel=0.1)
    ours, theirs = (np.asarray(a.lr) - b.lr for a, b in ((pair, clean), (other, other_clean)))
    assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) < 0.1
    before = pair.lr_path.read_bytes()
    shutil.rmtree(cache)
    [again] = prepared(images, ["anna"], degradation=noisy)
    assert again.lr_path.read_bytes() == before


def test_settings_of_a_degradation_are_another_entry(images: Path, cache: Path) -> None:
    wide, narrow = (DegradationSpec(name="gaussian", round="none", options={"fwhm": fwhm}) for fwhm in (2.0, 0.5))
    [a], [b] = prepared(images, ["anna"], degradation=wide), prepared(images, ["anna"], degradation=narrow)
    assert np.std(a.lr) < np.std(b.lr)
    assert a.digest != b.digest
    np.testing.assert_array_equal(a.lr, degrade(a.hr, "gaussian", X2, fwhm=2.0).astype(np.float32))


def test_folds_that_share_a_subject_or_an_image_are_refused(images: Path, cache: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(images, tmp_path / "data"))
    shutil.copy(data / "anna-T1.nii.gz", data / "zoe-T1.nii.gz")
    anna, bert, zoe = prepared(data, ["anna", "bert", "zoe"])
    demand_disjoint({"train": [anna, zoe], "test": [bert]})
    with pytest.raises(BenchError, match="train and test share an image: anna and zoe have the same T1"):
        demand_disjoint({"train": [anna], "val": [bert], "test": [zoe]})
    with pytest.raises(BenchError, match="train and val share an image: bert and bert"):
        demand_disjoint({"train": [anna, bert], "val": [bert], "test": []})


def test_progress_counts_up_to_all_volumes(images: Path, cache: Path) -> None:
    heard: list[tuple[int, int]] = []
    prepare(
        Folder(images), ["anna", "bert", "carl"], "T1", CutSpec(plane="axial"), STORED, X2, lambda *of: heard.append(of)
    )
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_a_full_disk_leaves_no_entry_and_names_the_file(
    images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mrsr_bench.system.files.os.fsync", full)
        with pytest.raises(BenchError, match=r"anna-T1\.nii\.gz: cannot be prepared in .*: No space left on device"):
            prepared(images, ["anna"])
    assert not [path for path in cache.rglob("*") if path.is_file()]
    [pair] = prepared(images, ["anna"])
    assert pair.hr.shape == (4, 36, 48)


def test_an_entry_that_lost_a_file_is_made_again(images: Path, cache: Path) -> None:
    [before] = prepared(images, ["anna"])
    content = before.hr_path.read_bytes(), before.lr_path.read_bytes()
    for path in (before.hr_path, before.lr_path):
        path.unlink()
        [again] = prepared(images, ["anna"])
        assert (again.hr_path.read_bytes(), again.lr_path.read_bytes()) == content


def _prepare_in_child(root: str, barrier: Any, results: Any) -> None:
    barrier.wait()
    pairs = prepared(Path(root), [name for fold in SUBJECTS.values() for name in fold])
    results.put([(pair.digest, float(np.asarray(pair.lr, np.float64).sum())) for pair in pairs])


def test_several_processes_that_prepare_at_once_get_the_same(images: Path, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    children = [context.Process(target=_prepare_in_child, args=(str(images), barrier, results)) for _ in range(3)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert found[0] == found[1] == found[2]
    expected = prepared(images, [name for fold in SUBJECTS.values() for name in fold])
    assert found[0] == [(pair.digest, float(np.asarray(pair.lr, np.float64).sum())) for pair in expected]
    assert not [path for path in cache.rglob(".*") if path.is_file()], "no half-written file is left"


def test_all_files_that_cannot_be_used_are_named_in_one_error(images: Path, cache: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(images, tmp_path / "data"))
    (data / "anna-T1.nii.gz").write_bytes((data / "anna-T1.nii.gz").read_bytes()[:300])
    (data / "carl-T1.nii.gz").unlink()
    write_image(data / "emil-T1.nii.gz", textured(1)[:20])
    write_image(data / "fine-T1.nii.gz", np.stack([textured(1)] * 2, -1))
    with pytest.raises(BenchError) as caught:
        prepared(data, ["anna", "bert", "carl", "dora", "emil", "fine"], crop=(4, 36, 48))
    first, *lines = str(caught.value).splitlines()
    assert first == "4 of 6 volumes cannot be used:"
    expected = {"anna": "truncated", "carl": "does not exist", "emil": "smaller than the crop", "fine": "4 dimensions"}
    for (subject, why), line in zip(expected.items(), lines, strict=True):
        assert f"{subject}-T1.nii.gz: " in line
        assert why in line


def test_a_crop_that_is_no_multiple_of_the_factors_is_named(images: Path, cache: Path) -> None:
    with pytest.raises(BenchError, match=r"anna-T1\.nii\.gz: shape .*not a multiple of the factors.*crop"):
        prepared(images, ["anna"], crop=(4, 35, 48))
    with pytest.raises(BenchError, match=r"not a multiple of the factors \(3, 1, 1\)"):
        prepared(images, ["anna"], factors=(3, 1, 1))


def test_a_crop_without_content_is_named(cache: Path, tmp_path: Path) -> None:
    image = np.zeros((48, 48, 2), np.int16)
    image[0, 0, 0] = 7
    write_image(tmp_path / "data" / "zoe-T1.nii.gz", image)
    with pytest.raises(BenchError, match=r"zoe-T1\.nii\.gz: zoe T1 is constant inside the crop"):
        prepared(tmp_path / "data", ["zoe"], crop=(2, 24, 24))


def test_a_broken_file_leaves_no_entry_behind(cache: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "zoe-T1.nii.gz", np.stack([textured(1)] * 2, -1))
    with pytest.raises(BenchError):
        prepared(tmp_path / "data", ["zoe"])
    assert not list(cache.rglob("*.npy"))
    write_image(tmp_path / "data" / "zoe-T1.nii.gz", textured(1))
    assert len(prepared(tmp_path / "data", ["zoe"])) == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_overshoot_beyond_the_stored_type_is_kept_and_not_wrapped(cache: Path, tmp_path: Path, dtype: str) -> None:
    """Antialiased bicubic overshoots at an edge of the largest value: 255 becomes about 270, never 14."""
    top, low = np.iinfo(dtype).max, max(np.iinfo(dtype).min, 0)
    image = np.full((24, 24, 1), low, dtype)
    image[:, 12:] = top
    image[0, 0] = 1
    write_image(tmp_path / "data" / "zoe-T1.nii.gz", image)
    [pair] = prepared(tmp_path / "data", ["zoe"])
    exact = degrade(image.transpose(2, 0, 1), "bicubic", X2)
    assert exact.max() > top + 1
    np.testing.assert_array_equal(pair.lr, np.floor(exact + 0.5).clip(0).astype(np.float32))
    assert pair.hr.dtype == dtype
    assert (pair.lr >= 0).all()


def test_signed_data_may_undershoot(cache: Path, tmp_path: Path) -> None:
    image = np.full((24, 24, 1), -100, np.int16)
    image[:, 12:] = 100
    write_image(tmp_path / "data" / "zoe-T1.nii.gz", image)
    [pair] = prepared(tmp_path / "data", ["zoe"])
    assert pair.lr.min() < -100
    assert pair.lr.dtype == np.int16


def test_scaled_data_are_prepared_as_float32_on_their_grid(cache: Path, tmp_path: Path) -> None:
    stored = textured(3)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.25, 0)
    (tmp_path / "data").mkdir()
    nib.save(image, tmp_path / "data" / "zoe-T1.nii.gz")
    [pair] = prepared(tmp_path / "data", ["zoe"])
    assert pair.hr.dtype == pair.lr.dtype == np.float32
    np.testing.assert_array_equal(pair.lr * 4, np.round(pair.lr * 4))
    exact = degrade(stored.transpose(2, 0, 1)[:, :36, :48] * 0.25, "bicubic", X2).clip(0)
    np.testing.assert_allclose(pair.lr, exact, atol=0.125 + 1e-6)


@pytest.mark.parametrize("name", ["a b/../c", "α", "x" * 60, "sub-01_ses-2"])
def test_odd_subject_names_stay_inside_the_cache(cache: Path, tmp_path: Path, name: str) -> None:
    class Odd(Folder):
        def source(self, subject: str, contrast: str) -> Path:
            return tmp_path / "odd-T1.nii.gz"

    write_image(tmp_path / "odd-T1.nii.gz", textured(1))
    Odd.__module__ = Folder.__module__
    [pair] = prepare(Odd(tmp_path), [name], "T1", CutSpec(plane="axial"), STORED, X2)
    assert cache.resolve() in pair.hr_path.resolve().parents
    assert pair.subject == name


def test_a_pair_passes_to_another_process_without_its_arrays(images: Path, cache: Path) -> None:
    import pickle

    [pair] = prepared(images, ["anna"])
    content = pickle.dumps(pair)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content).lr, pair.lr)
    assert math.isclose(pickle.loads(content).scale, pair.scale)


_COUNT = """
import sys
from pathlib import Path
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.method import Recipe
from mrsr_bench.data.preparation import prepare
from mrsr_bench.training.sampling import TrainingPairs, validation_crops
from mrsr_bench.protocol.data_blocks import CutSpec, DegradationSpec

def anonymous():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1000

def use(subjects):
    bicubic = DegradationSpec(name="bicubic", round="stored")
    pairs = prepare(dataset, subjects, "T1", CutSpec(plane="axial"), bicubic, (1, 2, 2))
    data = TrainingPairs(pairs, (1, 2, 2), Recipe(batch=8, lr_patch=24), 1, 0)
    for step in range(100):
        data.batch(step)
    for lr, hr in data.volumes():
        hr.sum()
    return pairs, data

dataset = Folder(Path(sys.argv[1]))
names = dataset.subjects()
first = use(names[:20])
before = anonymous()
second = use(names)
print(len(names), anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux tells it")
def test_memory_does_not_grow_with_the_number_of_subjects(cache: Path, tmp_path: Path) -> None:
    """200 volumes of 0.3 MB (0.6 MB as float32): all of them held would be 60 MB or more, four times the bound."""
    data = tmp_path / "data"
    for number in range(200):
        image = np.random.default_rng(number).integers(0, 60, (96, 96, 16), dtype=np.int16)
        write_image(data / f"subject{number:03d}-T1.nii", image)
    done = subprocess.run(
        [sys.executable, "-c", _COUNT, str(data)], capture_output=True, text=True, timeout=120, check=True
    )
    subjects, grown = done.stdout.split()
    assert int(subjects) == 200
    assert float(grown) < 15, "MB"
