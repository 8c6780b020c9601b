"""The acquired support: found where a scanner filled k-space with zeros, and nowhere else; HR on its grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SUBJECTS, write_image
from test_runs import bench, record

import mrsr_bench
from mrsr_bench.data.kspace_support import acquired_samples, power_profile, to_native_grid
from mrsr_bench.volumes import Grid, Volume, read_nifti, to_plane

SIDE = 256


def centre(spectrum: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The central rows × columns of a centred spectrum, or it within zeros."""
    out = np.zeros((len(spectrum), rows, columns), complex)
    h, w = min(rows, spectrum.shape[1]), min(columns, spectrum.shape[2])
    inner = (
        slice(None),
        slice(rows // 2 - h // 2, rows // 2 - h // 2 + h),
        slice(columns // 2 - w // 2, columns // 2 - w // 2 + w),
    )
    source = tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in ((spectrum.shape[1], h), (spectrum.shape[2], w))
    )
    out[inner] = spectrum[(slice(None), *source)]
    return out


def scanned(image: np.ndarray, rows: int, columns: int, noise: float = 0.01) -> np.ndarray:
    """What a scanner stores of `image` (slices, rows, columns): noisy samples, zeros around them, magnitude, int16."""
    kspace = centre(np.fft.fftshift(np.fft.fft2(image), axes=(1, 2)), rows, columns)
    random = np.random.default_rng(0)
    sigma = noise * image.max() * np.sqrt(image[0].size)
    kspace += sigma * (random.normal(size=kspace.shape) + 1j * random.normal(size=kspace.shape))
    filled = np.fft.ifftshift(centre(kspace, SIDE, SIDE), axes=(1, 2))
    stored = np.abs(np.fft.ifft2(filled))
    return np.round(stored / stored.max() * 1000).astype(np.int16)


def volume_of(data: np.ndarray) -> Volume:
    affine = np.diag([1.5, 0.9, 0.9, 1.0])
    affine[:3, 3] = [-20, 30, 40]
    return Volume(data, (1.5, 0.9, 0.9), affine, Grid(True, nonnegative=bool(data.min() >= 0)))


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """16 slices of boxes and speckle with content up to the Nyquist frequency."""
    random = np.random.default_rng(1)
    image = np.kron(random.uniform(0.2, 1, (16, 32, 32)), np.ones((1, 8, 8)))
    image *= random.uniform(0.8, 1.2, image.shape)
    grid = np.hypot(*np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE)))
    return image * (grid < 0.8)


@pytest.mark.parametrize("samples", [(160, 240), (188, 192), (200, 176), (140, 224)])
@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_the_samples_that_were_acquired_are_found(sharp: np.ndarray, samples: tuple[int, int], noise: float) -> None:
    stored = scanned(sharp, *samples, noise=noise)
    found = acquired_samples(stored, 1), acquired_samples(stored, 2)
    np.testing.assert_allclose(found, samples, atol=8)


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_an_image_that_was_not_interpolated_keeps_its_grid(sharp: np.ndarray, noise: float) -> None:
    volume = volume_of(scanned(sharp, SIDE, SIDE, noise=noise))
    assert [acquired_samples(volume.data, axis) for axis in (1, 2)] == [SIDE, SIDE]
    assert to_native_grid(volume) is volume


@pytest.mark.parametrize("image", ["chris_t1", "chris_pd", "t1_067mm_studyforrest_crop"])
@pytest.mark.parametrize("samples", [(176, 192), (188, 160)])
def test_on_real_images_the_samples_are_found_within_4_percent(
    shared: Path, image: str, samples: tuple[int, int]
) -> None:
    data = to_plane(read_nifti(shared / "data" / "mr" / f"{image}.nii.gz"), "axial").data.astype(float)
    middle = len(data) // 2
    stored = scanned(data[middle - 6 : middle + 6, :188, :188], *samples)
    found = acquired_samples(stored, 1), acquired_samples(stored, 2)
    np.testing.assert_allclose(found, samples, rtol=0.04)


def test_real_ixi_slices_are_found_to_be_interpolated_front_to_back(shared: Path) -> None:
    """At 0.70 to 0.80 of Nyquist along A–P, as measured on IXI by others, and not along R–L."""
    for name in ("ixi_syndiff_t1_25slices", "ixi_syndiff_t2_25slices"):
        data = to_plane(read_nifti(shared / "data" / "mr" / f"{name}.nii.gz"), "axial").data
        assert acquired_samples(data, 1) == data.shape[1]
        assert 0.69 <= acquired_samples(data, 2) / data.shape[2] <= 0.80


def test_the_native_grid_holds_the_same_field_of_view_with_fewer_larger_pixels(sharp: np.ndarray) -> None:
    volume = volume_of(scanned(sharp, 160, 192))
    native = to_native_grid(volume)
    rows, columns = native.data.shape[1:]
    assert (rows, columns) == (acquired_samples(volume.data, 1), acquired_samples(volume.data, 2))
    assert native.data.dtype == volume.data.dtype
    assert native.data.min() >= 0
    np.testing.assert_allclose(native.spacing, (1.5, 0.9 * SIDE / rows, 0.9 * SIDE / columns))
    for corner in ([-0.5, -0.5, -0.5], [15.5, 1, 1]):  # the outer corners of the first voxel, and of the last
        ours = [corner[0], *(c if c < 0 else n - 0.5 for c, n in zip(corner[1:], (rows, columns), strict=True))]
        theirs = [corner[0], *(c if c < 0 else SIDE - 0.5 for c in corner[1:])]
        np.testing.assert_allclose(native.affine @ [*ours, 1], volume.affine @ [*theirs, 1], atol=1e-9)
    assert native.data.mean() == pytest.approx(volume.data.mean(), rel=0.02)


def test_a_power_profile_has_a_value_for_every_frequency_up_to_nyquist() -> None:
    wave = np.broadcast_to(np.cos(2 * np.pi * 20 * np.arange(64) / 64)[None, :, None], (2, 64, 5))
    profile = power_profile(wave, 1)
    assert profile.shape == (33,)
    assert profile.argmax() == 20
    assert profile[:17].max() < 1e-5 * profile[20]


def test_a_table_on_native_grids_says_what_its_factor_means(
    write_protocol: Callable[..., Path], sharp: np.ndarray, tmp_path: Path
) -> None:
    stored = scanned(sharp, 160, 192)
    for number, subject in enumerate(name for names in SUBJECTS.values() for name in names):
        write_image(tmp_path / "data" / f"{subject}-T1.nii.gz", stored[2 * number : 2 * number + 2].transpose(1, 2, 0))
    data = {"dataset": "folder", "contrasts": ["T1"], "split": "split.csv", "plane": "axial"}
    protocol = write_protocol(data={**data, "crop": [2, 168, 168], "pad": "zero", "grid": "native"})
    assert bench(protocol, ["bicubic"], tmp_path / "data")["bicubic"].state == "done"
    samples = np.array(list(record(protocol, "bicubic")["acquired_samples"].values()))
    assert samples.shape == (2, 2, 2)
    np.testing.assert_allclose(samples, [[[160, 192], [256, 256]]] * 2, atol=8)
    caption = mrsr_bench.table("small", results=tmp_path / "results").attrs["caption"]
    (rows, columns), _ = np.median(samples, axis=0)
    expected = (
        f"T1 x2: {rows:.0f}×{columns:.0f} of 256×256 samples, a factor of {512 / rows:.2f}×{512 / columns:.2f} of"
    )
    assert expected in caption
