"""Data are the same where their values are, whatever their files; and a damaged cache is never trusted."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import textured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrsr_bench.data import cached_arrays, preparation
from mrsr_bench.data.pairs import Pair, demand_disjoint, values_digest
from mrsr_bench.data.preparation import prepare
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.errors import BenchError
from mrsr_bench.protocol.data_blocks import CutSpec, DegradationSpec
from mrsr_bench.system import cache as caches
from mrsr_bench.system import files
from mrsr_bench.system.cache import content_digest
from mrsr_bench.system.liveness import machine

MODEST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STORED, EXACT = DegradationSpec(name="bicubic", round="stored"), DegradationSpec(name="bicubic", round="none")
VOXELS = textured(5, (24, 36, 2))
"""Whole numbers from 0 to 1000."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MRSR_CACHE", str(folder))
    return folder


def prepared(root: Path, subject: str = "anna", degradation: DegradationSpec = STORED, **changes: Any) -> Pair:
    dataset = changes.get("dataset", Folder)(root)
    [pair] = prepare(dataset, [subject], "T1", CutSpec(plane="axial"), degradation, changes.get("factors", (1, 2, 2)))
    return pair


def save(
    path: Path, values: np.ndarray = VOXELS, dtype: str = "<i2", slope: float = 1, intercept: float = 0, mm: float = 1
) -> Path:
    """Write a NIfTI file that stands for `values`, stored as `dtype` on a grid of `slope` and `intercept`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = ((values - intercept) / slope).astype(dtype)
    header = nib.Nifti1Header(endianness=np.dtype(dtype).byteorder.replace("=", "<").replace("|", "<"))
    image = nib.Nifti1Image(stored, np.diag([mm, mm, mm, 1]), header, dtype=np.dtype(dtype))
    if (slope, intercept) != (1, 0):
        image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return path


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


# The digest of values


def plain(array: np.ndarray) -> str:
    values = np.ascontiguousarray(array, "<f8") + 0.0
    return hashlib.sha256(str(tuple(array.shape)).encode() + values.tobytes()).hexdigest()


NUMBERS = arrays(
    st.sampled_from(["u1", "<i2", ">i2", ">u4", "<i8", "<f4", ">f4", "f8"]), array_shapes(min_dims=0, min_side=0)
)


@MODEST
@given(NUMBERS, st.sampled_from("CF"), st.booleans())
def test_the_values_digest_depends_on_values_and_shape_alone(array: np.ndarray, order: Any, turned: bool) -> None:
    array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=-1.0) if array.dtype.kind == "f" else array
    view = np.flip(np.array(array, order=order)) if turned else np.array(array, order=order)
    assert values_digest(view) == plain(view)
    assert values_digest(view.astype(np.float64)) == values_digest(view)


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 5])
@pytest.mark.parametrize("dtype", ["<i2", "<f8"])
def test_the_values_digest_takes_every_value_in_its_order(size: int, dtype: str) -> None:
    values = np.arange(size).astype(dtype)
    assert values_digest(values) == plain(values)
    assert values_digest(values[::-1]) == plain(values[::-1])


def test_minus_zero_is_zero() -> None:
    assert values_digest(np.array([-0.0, 1.0])) == values_digest(np.array([0, 1], np.int8))


@MODEST
@given(st.integers(0, VOXELS.size - 1), st.sampled_from([-1, 1, 256]))
def test_another_value_is_another_digest(place: int, step: int) -> None:
    other = VOXELS.copy()
    other.flat[place] += step
    assert values_digest(other) != values_digest(VOXELS)


def test_another_shape_with_the_same_bytes_is_another_digest() -> None:
    flat = np.arange(24, dtype=np.float64)
    shapes = [(24,), (1, 24), (24, 1), (2, 12), (12, 2), (2, 3, 4), (4, 3, 2)]
    assert len({values_digest(flat.reshape(shape)) for shape in shapes}) == len(shapes)


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TypeError):
        values_digest(np.array([1j]))


def test_the_values_digest_of_a_volume_takes_little_memory_besides_it() -> None:
    volume = np.ones((96, 240, 240), np.int16)
    tracemalloc.start()
    try:
        values_digest(volume)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4e6, "as float64 the whole has 44 MB"


# Equal images under whatever file

WAYS: dict[str, Callable[[Path], Path]] = {
    "int32": lambda root: save(root / "zoe-T1.nii", dtype="<i4"),
    "uint16": lambda root: save(root / "zoe-T1.nii", dtype="<u2"),
    "float32": lambda root: save(root / "zoe-T1.nii", dtype="<f4"),
    "float64": lambda root: save(root / "zoe-T1.nii", dtype="<f8"),
    "big-endian int16": lambda root: save(root / "zoe-T1.nii", dtype=">i2"),
    "big-endian float32": lambda root: save(root / "zoe-T1.nii", dtype=">f4"),
    "slope": lambda root: save(root / "zoe-T1.nii", slope=0.5),
    "intercept": lambda root: save(root / "zoe-T1.nii", intercept=-300),
    "slope and intercept": lambda root: save(root / "zoe-T1.nii", slope=0.25, intercept=500, dtype=">i4"),
    "compressed": lambda root: save(root / "zoe-T1.nii.gz"),
    "spacing": lambda root: save(root / "zoe-T1.nii", mm=1.5),
}


@pytest.mark.parametrize("way", WAYS)
def test_folds_that_share_an_image_are_refused_however_it_was_saved(tmp_path: Path, way: str) -> None:
    data = tmp_path / "data"
    save(data / "anna-T1.nii")
    path = WAYS[way](data)
    save(data / "bert-T1.nii", VOXELS[::-1])
    anna, zoe, bert = (prepared(data, subject) for subject in ("anna", "zoe", "bert"))
    assert path.read_bytes() != (data / "anna-T1.nii").read_bytes()
    np.testing.assert_array_equal(anna.hr, zoe.hr)
    assert anna.content == zoe.content != bert.content
    demand_disjoint({"train": [anna, zoe], "test": [bert]})
    with pytest.raises(BenchError, match=r"the folds train and test share an image: anna and zoe .*in one fold only"):
        demand_disjoint({"train": [anna], "val": [bert], "test": [zoe]})


def test_the_files_of_these_tests_are_stored_as_they_say(tmp_path: Path) -> None:
    image = nib.load(save(tmp_path / "a.nii", dtype=">i4", slope=0.25, intercept=500))
    assert image.get_data_dtype() == np.dtype(">i4")
    assert (image.dataobj.slope, image.dataobj.inter) == (0.25, 500)
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOXELS)


def test_an_image_keeps_its_content_whatever_lr_is_made_of_it(tmp_path: Path) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    degradations = [STORED, EXACT, DegradationSpec(name="kspace", round="none", noise=0.05)]
    assert len({prepared(tmp_path / "data", degradation=degradation).content for degradation in degradations}) == 1


def test_one_other_voxel_is_another_image(tmp_path: Path) -> None:
    other = VOXELS.copy()
    other[7, 8, 1] += 1
    save(tmp_path / "data" / "anna-T1.nii")
    save(tmp_path / "data" / "zoe-T1.nii", other)
    anna, zoe = prepared(tmp_path / "data", "anna"), prepared(tmp_path / "data", "zoe")
    assert anna.content != zoe.content
    demand_disjoint({"train": [anna], "test": [zoe]})


# The digest that records keep


class Elsewhere(Folder):
    """The same files as another data set."""


@pytest.mark.parametrize("dtype", ["<i2", "<i4", ">i2", "<u2"])
def test_the_records_digest_knows_no_names_and_no_integer_type(tmp_path: Path, dtype: str) -> None:
    save(tmp_path / "one" / "anna-T1.nii.gz")
    save(tmp_path / "two" / "deep" / "zoe-T1.nii", dtype=dtype)
    anna = prepared(tmp_path / "one")
    assert prepared(tmp_path / "two", "zoe").digest == anna.digest
    Elsewhere.__module__ = "somebodys.elsewhere"
    assert prepared(tmp_path / "two", "zoe", dataset=Elsewhere).digest == anna.digest


def test_the_records_digest_outlives_a_new_version_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    pair = prepared(tmp_path / "data")
    monkeypatch.setattr(preparation, "_VERSION", 99)
    later = prepared(tmp_path / "data")
    assert later.hr_path != pair.hr_path
    assert (later.digest, later.content) == (pair.digest, pair.content)


def test_the_records_digest_tells_lr_and_spacing_apart(tmp_path: Path) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    save(tmp_path / "far" / "anna-T1.nii", mm=1.001)
    save(tmp_path / "near" / "anna-T1.nii", mm=1.00001)
    anna = prepared(tmp_path / "data")
    assert prepared(tmp_path / "near").digest == anna.digest
    others = [
        prepared(tmp_path / "far"),
        prepared(tmp_path / "data", degradation=EXACT),
        prepared(tmp_path / "data", degradation=DegradationSpec(name="kspace", round="stored")),
        prepared(tmp_path / "data", degradation=DegradationSpec(name="bicubic", round="stored", noise=0.02)),
        prepared(tmp_path / "data", degradation=DegradationSpec(name="bicubic", round="stored", noise=0.03)),
        prepared(tmp_path / "data", factors=(1, 3, 3)),
        prepared(tmp_path / "data", factors=(1, 2, 1)),
    ]
    assert len({anna.digest, *(pair.digest for pair in others)}) == 1 + len(others)
    assert {pair.content for pair in others} == {anna.content}


def test_digests_are_over_what_the_arrays_hold(tmp_path: Path) -> None:
    save(tmp_path / "data" / "anna-T1.nii", mm=1.2)
    pair = prepared(tmp_path / "data", degradation=EXACT)
    assert pair.content == plain(np.asarray(pair.hr))
    assert pair.digest == files.digest([pair.content, plain(np.asarray(pair.lr)), [1.2, 1.2, 1.2]])


def test_a_second_opening_hashes_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    pair = prepared(tmp_path / "data")
    monkeypatch.setattr(cached_arrays, "values_digest", lambda _: pytest.fail("hashed again"))
    assert prepared(tmp_path / "data") == pair


# A damaged cache


def entry(root: Path) -> tuple[Pair, dict[Path, bytes]]:
    """A prepared image on a scaled grid, and the files of its cache entry."""
    save(root / "anna-T1.nii", VOXELS * 0.5, slope=0.5)
    pair = prepared(root)
    return pair, {path: path.read_bytes() for path in pair.hr_path.parent.iterdir()}


def demand_whole(root: Path, pair: Pair, content: dict[Path, bytes]) -> None:
    """The entry is opened as it was before it was damaged, and its arrays are what they were."""
    again = prepared(root)
    assert again == pair
    assert again.grid == pair.grid
    assert {path: path.read_bytes() for path in pair.hr_path.parent.iterdir()} == content


@pytest.mark.parametrize("name", ["hr.json", "lr-bicubic-1x2x2-stored.json"])
def test_one_flipped_bit_of_a_note_changes_no_figure(tmp_path: Path, name: str) -> None:
    pair, content = entry(tmp_path / "data")
    path = pair.hr_path.parent / name

    @MODEST
    @given(st.integers(0, 8 * len(content[path]) - 1))
    def check(bit: int) -> None:
        flip(path, bit)
        again = prepared(tmp_path / "data")
        assert again == pair
        np.testing.assert_array_equal(again.hr, pair.hr)
        np.testing.assert_array_equal(again.lr, pair.lr)
        path.write_bytes(content[path])

    check()


@pytest.mark.parametrize("key", ["slope", "intercept", "integer", "nonnegative", "spacing", "full_shape", "values"])
def test_a_note_with_a_wrong_entry_is_not_believed(tmp_path: Path, key: str) -> None:
    pair, content = entry(tmp_path / "data")
    path = pair.hr_path.with_suffix(".json")
    note = json.loads(content[path])
    place = note["grid"] if key in note["grid"] else note
    place[key] = {"spacing": [9.0, 9.0, 9.0], "full_shape": [1, 2, 3], "values": "0" * 64}.get(key, 7)
    path.write_text(json.dumps(note), encoding="utf-8")
    demand_whole(tmp_path / "data", pair, content)


@pytest.mark.parametrize("which", ["hr_path", "lr_path"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "7", '{"checksum": null}', "[" * 100_000, "\xff", "half"])
def test_a_note_that_is_no_note_is_made_anew(tmp_path: Path, which: str, text: str) -> None:
    pair, content = entry(tmp_path / "data")
    path = getattr(pair, which).with_suffix(".json")
    half = content[path][: len(content[path]) // 2]
    path.write_bytes(half if text == "half" else text.encode("latin-1"))
    demand_whole(tmp_path / "data", pair, content)


@pytest.mark.parametrize("which", ["hr_path", "lr_path"])
def test_one_flipped_bit_of_an_array_is_noticed(tmp_path: Path, which: str) -> None:
    pair, content = entry(tmp_path / "data")
    path = getattr(pair, which)

    @settings(MODEST, max_examples=20)
    @given(st.integers(0, 8 * len(content[path]) - 1))
    def check(bit: int) -> None:
        flip(path, bit)
        demand_whole(tmp_path / "data", pair, content)

    check()


@pytest.mark.parametrize("which", ["hr_path", "lr_path"])
def test_the_whole_note_of_another_image_is_not_believed(tmp_path: Path, which: str) -> None:
    pair, content = entry(tmp_path / "data")
    save(tmp_path / "data" / "zoe-T1.nii", VOXELS[::-1])
    other = prepared(tmp_path / "data", "zoe")
    path = getattr(pair, which).with_suffix(".json")
    path.write_bytes(getattr(other, which).with_suffix(".json").read_bytes())
    demand_whole(tmp_path / "data", pair, content)


def test_a_source_that_cannot_be_read_is_named_with_its_reason(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "anna-T1.nii").symlink_to("anna-T1.nii")
    (data / "bert-T1.nii").symlink_to("nowhere.nii")
    (data / "carl-T1.nii").mkdir()
    with pytest.raises(BenchError, match=r"anna-T1\.nii: Too many levels of symbolic links"):
        prepared(data)
    with pytest.raises(BenchError, match=r"bert-T1\.nii: No such file or directory"):
        prepared(data, "bert")
    with pytest.raises(BenchError, match=r"carl-T1\.nii: Is a directory"):
        prepared(data, "carl")


# What killed processes leave


def left(folder: Path, pid: int, made_on: str | None = None, days: float = 0) -> Path:
    """A temporary file as `atomic_file` names it, last written so many days ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".hr.npy~{made_on or machine()}-{pid}-0123abcd"
    path.write_bytes(b"half of an array")
    os.utime(path, (time.time() - 86_400 * days,) * 2)
    return path


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def test_what_a_gone_process_left_goes_and_a_live_ones_stays(tmp_path: Path) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    pair = prepared(tmp_path / "data")
    folder, elsewhere = pair.hr_path.parent, "0" * 12
    leftovers = [left(folder, gone()), left(folder, os.getpid(), elsewhere, 1.1), left(folder, os.getppid(), days=2)]
    kept = [left(folder, os.getpid()), left(folder, gone(), elsewhere), left(folder, 1, elsewhere, 0.9)]
    assert prepared(tmp_path / "data") == pair
    assert all(path.exists() for path in leftovers), "nothing was written, nothing is cleared"
    pair.lr_path.unlink()
    assert prepared(tmp_path / "data") == pair
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in kept)
    assert pair.hr_path.exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from mrsr_bench.system.files import atomic_file

with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_a_file_of_a_killed_process_is_gone_after_the_next_preparation(tmp_path: Path) -> None:
    save(tmp_path / "data" / "anna-T1.nii")
    pair = prepared(tmp_path / "data")
    content = pair.hr_path.read_bytes()
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(pair.hr_path)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(pair.hr_path.parent.glob(".*"))) == 1
    assert pair.hr_path.read_bytes() == content
    pair.hr_path.unlink()
    assert prepared(tmp_path / "data") == pair
    assert not list(pair.hr_path.parent.glob(".*"))


# The memory of files' digests


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that is large enough to be remembered."""
    path = tmp_path / "large.nii"
    path.write_bytes(bytes(range(256)) * 300)
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are remembered at once."""
    monkeypatch.setattr(caches, "_SETTLED", -1.0)


def memos(cache: Path) -> list[Path]:
    return [path for path in (cache / caches.DIGESTS).rglob("*") if path.is_file()]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("settled")
def test_a_settled_file_is_read_once(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content_digest(source) == sha256(source)
    assert len(memos(cache)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(caches, "sha256_of", lambda _: pytest.fail("read again"))
        assert content_digest(source) == sha256(source)


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.usefixtures("settled")
def test_a_change_that_keeps_size_and_time_of_change_is_noticed(source: Path, replaced: bool) -> None:
    status = source.stat()
    known = content_digest(source)
    time.sleep(0.05)  # the system counts the time of change in hundredths of a second or finer
    content = bytes(reversed(source.read_bytes()))
    if replaced:
        source.with_name("new").write_bytes(content)
        os.utime(source.with_name("new"), ns=(status.st_atime_ns, status.st_mtime_ns))
        source.with_name("new").rename(source)
    else:
        source.write_bytes(content)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (source.stat().st_size, source.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert content_digest(source) == sha256(source) != known


def test_a_file_that_was_changed_a_moment_ago_is_not_remembered(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caches._SETTLED >= 2, "FAT counts in steps of two seconds"
    monkeypatch.setattr(caches, "_SETTLED", 300.0)
    for content in (b"a", b"b"):
        source.write_bytes(content * 2**17)
        os.utime(source, (1, 1))
        assert content_digest(source) == sha256(source)
    assert not memos(cache)


def test_a_small_file_is_read_every_time(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"small")
    assert content_digest(path) == sha256(path)
    assert not memos(cache)


@pytest.mark.usefixtures("settled")
def test_a_damaged_memory_is_not_believed(source: Path, cache: Path) -> None:
    expected = content_digest(source)
    [memo] = memos(cache)
    content = memo.read_bytes()

    @MODEST
    @given(st.integers(0, 8 * len(content) - 1))
    def check(bit: int) -> None:
        flip(memo, bit)
        assert content_digest(source) == expected
        memo.write_bytes(content)

    check()
    for damaged in (b"", b"{}", b"[]", content[:-40], content.replace(expected.encode(), b"0" * 64)):
        memo.write_bytes(damaged)
        assert content_digest(source) == expected
        assert memo.read_bytes() == content


@pytest.mark.usefixtures("settled")
def test_a_file_has_its_own_memory_wherever_it_is_called_from(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = source.with_name("other.nii")
    other.write_bytes(source.read_bytes()[::-1])
    assert content_digest(other) != content_digest(source)
    source.with_name("link.nii").symlink_to(source)
    monkeypatch.chdir(source.parent)
    assert content_digest(Path("link.nii")) == content_digest(Path(source.name)) == sha256(source)
    assert len(memos(cache)) == 2


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_costs_only_a_reading(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "no-folder"))
    assert content_digest(source) == content_digest(source) == sha256(source)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        content_digest(tmp_path / "nowhere.nii")


@pytest.mark.usefixtures("settled")
def test_an_image_changed_under_its_old_size_and_time_is_prepared_anew(tmp_path: Path) -> None:
    """A large uncompressed file: small ones are read every time."""
    path = save(tmp_path / "data" / "anna-T1.nii", np.tile(VOXELS, (5, 5, 1)))
    status = path.stat()
    first = prepared(tmp_path / "data")
    time.sleep(0.05)
    save(path, np.tile(VOXELS[::-1], (5, 5, 1)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    second = prepared(tmp_path / "data")
    assert second.content != first.content
    np.testing.assert_array_equal(second.hr, first.hr[:, ::-1])
