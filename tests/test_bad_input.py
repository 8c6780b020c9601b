"""What users' disks hold: files of every kind of wrongness through the reader, and through a whole run."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SUBJECTS, textured, write_image

from mrsr_bench.volumes import VolumeError, open_nifti, read_nifti

pytestmark = pytest.mark.long

Write = Callable[..., Path]
EVERYONE = [name for names in SUBJECTS.values() for name in names]


@pytest.mark.parametrize("value", [0, 5, -3])
def test_an_image_of_one_value_is_refused(tmp_path: Path, value: int) -> None:
    path = write_image(tmp_path / "flat.nii.gz", np.full((4, 5, 6), value, np.int16))
    with pytest.raises(VolumeError, match=rf"flat\.nii\.gz: is constant: every value is {value}"):
        read_nifti(path)


def test_negative_values_are_data_and_are_not_clipped(tmp_path: Path) -> None:
    data = textured(0) - np.int16(500)
    volume = read_nifti(write_image(tmp_path / "dark.nii", data))
    np.testing.assert_array_equal(volume.data, data)
    assert not volume.grid.nonnegative


@pytest.mark.parametrize("magic", [b"abc\0", b"\0\0\0\0", b"n+9\0"])
def test_a_file_with_a_wrong_magic_is_refused(tmp_path: Path, magic: bytes) -> None:
    """Without the right word it might be an older format, whose header says nothing of orientation."""
    raw = bytearray(write_image(tmp_path / "good.nii", textured(0)).read_bytes())
    raw[344:348] = magic
    for name, content in (("odd.nii", bytes(raw)), ("odd.nii.gz", gzip.compress(raw))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match=rf"{name}: cannot be read as NIfTI"):
            read_nifti(tmp_path / name)


def test_a_compressed_file_is_whole_or_refused(tmp_path: Path) -> None:
    """A large one, cut or changed behind its last voxel, where reading the voxels alone would not notice."""
    data = np.random.default_rng(0).integers(0, 2000, (128, 128, 32)).astype(np.int16)
    path = write_image(tmp_path / "zoe.nii.gz", data)
    raw = path.read_bytes()
    np.testing.assert_array_equal(read_nifti(path).data, data)
    for damaged in (raw[:-1], raw[:-8], raw[:-8] + bytes(8), raw[:-4] + b"\1\2\3\4", raw[: len(raw) // 3]):
        path.write_bytes(damaged)
        with pytest.raises(VolumeError, match=r"zoe\.nii\.gz: cannot be read as NIfTI; it is truncated or damaged"):
            read_nifti(path)


@pytest.mark.usefixtures("_permissions_hold")
@pytest.mark.parametrize("name", ["secret.nii", "secret.nii.gz"])
def test_a_file_that_may_not_be_read_is_named_as_such(tmp_path: Path, name: str) -> None:
    path = write_image(tmp_path / name, textured(0))
    path.chmod(0)
    with pytest.raises(VolumeError, match=rf"{name}: cannot be read: permission denied"):
        open_nifti(path)


def test_bad_files_and_a_full_disk_cost_their_own_cells_and_leave_cache_and_records_whole(
    write_protocol: Write, tmp_path: Path
) -> None:
    """T1 has four bad files. Of T2 the disk has no room: no file of the run may be larger than 60,000 bytes."""
    root, cache, results = tmp_path / "data", tmp_path / "cache", tmp_path / "results"
    for number, subject in enumerate(EVERYONE):
        for contrast, factor in (("PD", 1), ("T1", 1), ("T2", 4)):
            image = textured(number + 50 * factor, (36 * factor, 48 * factor, 4))
            write_image(root / f"{subject}-{contrast}.nii.gz", image)
    bert, carl, emil, fine = (root / f"{name}-T1.nii.gz" for name in ("bert", "carl", "emil", "fine"))
    bert.write_bytes(bert.read_bytes()[:500])
    (root / "copy").mkdir()
    shutil.copy(carl, root / "copy" / carl.name)
    emil.unlink()
    emil.mkdir()
    fine.unlink()

    people = {"train": ("anna",), "val": ("dora",), "test": ("bert", "carl", "emil", "fine")}
    data = {"dataset": "folder", "contrasts": ["PD", "T1", "T2"], "split": "split.csv", "plane": "axial"}
    protocol = write_protocol(people, data=data)
    command = [sys.executable, "-m", "mrsr_bench", "run", "--protocol", str(protocol), "--data", str(root)]
    done = subprocess.run(
        [*command, "--results", str(results), "--tracking-uri", "none"],
        env={**os.environ, "MRSR_CACHE": str(cache)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "1 of 3 cells done." in done.stdout
    records = {path.parts[-4]: json.loads(path.read_text()) for path in results.rglob("record.json")}
    states = {contrast: record["state"] for contrast, record in records.items()}
    assert states == {"PD-x2": "done", "T1-x2": "failed", "T2-x2": "failed"}
    for words in (
        "4 of 4 volumes cannot be used",
        f"{bert}: cannot be read as NIfTI; it is truncated",
        f"{carl}: has the same subject and contrast as",
        f"{emil}: Is a directory",
        f"{fine}: does not exist, nor in a subfolder; the subject has ['PD', 'T2']",
    ):
        assert words in records["T1-x2"]["error"], records["T1-x2"]["error"]
    assert f"emil-T2.nii.gz: cannot be prepared in {cache}: " in records["T2-x2"]["error"]
    assert "is the disk full?" in records["T2-x2"]["error"]
    arrays = list(cache.rglob("*.npy"))
    assert arrays
    assert all("PD" in str(path) and np.load(path).any() for path in arrays)
    assert [path for path in cache.rglob(".*") if path.is_file()] == []
