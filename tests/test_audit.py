"""The audit: a true row for every file, none dropped, none read twice; and its summary."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import textured, write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ixi_tree import make_tree, volume
from test_volumes import broken_files

from mrsr_bench.data.obtaining import audit as auditing
from mrsr_bench.data.obtaining import inventory
from mrsr_bench.data.obtaining.audit import Entry, audit, read
from mrsr_bench.dataset import Dataset
from mrsr_bench.datasets.folder import Folder
from mrsr_bench.datasets.ixi import Ixi
from mrsr_bench.volumes import VolumeError, read_nifti

SUBJECTS = ["IXI002-Guys-0828", "IXI012-HH-1211", "IXI014-HH-1236", "IXI035-IOP-0873"]


class Small(Ixi):
    """IXI with small volumes, whose shapes are nothing unusual."""

    @classmethod
    def unusual(cls, *_: Any) -> str:
        return ""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "ixi", SUBJECTS, shrink=16)


def run(root: Path, cls: type[Dataset] = Small) -> dict[str, Entry]:
    return {Path(entry.path).name: entry for entry in audit(cls(root), root / "audit.csv", print)}


def test_a_file_of_full_size_has_a_clean_row_that_is_true(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ["IXI012-HH-1211"], contrasts=["T1"])
    data = np.asarray(nib.load(root / "T1" / "IXI012-HH-1211-T1.nii.gz").dataobj)
    [entry] = run(root, Ixi).values()
    status = (root / entry.path).stat()
    assert entry.path == "T1/IXI012-HH-1211-T1.nii.gz"
    assert (entry.bytes, entry.modified) == (str(status.st_size), str(status.st_mtime_ns))
    assert (entry.subject, entry.site, entry.contrast) == ("IXI012-HH-1211", "HH", "T1")
    assert (entry.shape, entry.zooms, entry.axes) == ("256x256x150", "0.9375x0.9375x1.2", "PSR")
    assert (entry.dtype, entry.slope, entry.intercept) == ("int16", "1", "0")
    assert (entry.min, entry.max, entry.nan) == (str(data.min()), str(data.max()), "0")
    assert (entry.zero_slices, entry.unreadable, entry.known, entry.problem) == ("0", "", "", "")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axis=st.integers(0, 2),
    blank=st.sets(st.integers(0, 5), max_size=4),
    said=st.booleans(),
    slope=st.sampled_from([1.0, 0.5]),
    dtype=st.sampled_from([np.int16, np.float32, ">i2", np.uint8]),
    nans=st.integers(0, 3),
)
def test_what_is_measured_is_what_was_written(
    tmp_path: Path, axis: int, blank: set[int], said: bool, slope: float, dtype: Any, nans: int
) -> None:
    """Slices are along the header's slice axis where it names one, else along the coarsest."""
    data = np.random.default_rng(len(blank)).integers(1, 200, (6, 6, 6)).astype(dtype)
    np.moveaxis(data, axis, 0)[sorted(blank)] = 0
    nans = nans if data.dtype.kind == "f" and not blank else 0
    data.reshape(-1)[:nans] = np.nan if data.dtype.kind == "f" else 0
    affine = np.diag([1.0 + (i == axis and not said) for i in range(3)] + [1])
    header = nib.Nifti1Header(endianness=">" if dtype == ">i2" else "<")
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(data, affine, header)
    image.header.set_slope_inter(slope, 0)
    if said:
        image.header.set_dim_info(slice=axis)
    nib.save(image, tmp_path / "zoe-T1.nii.gz")
    [entry] = audit(Folder(tmp_path), tmp_path / "audit.csv", print)
    values = np.asarray(data, np.float64)[np.isfinite(np.asarray(data, np.float64))] * slope
    assert (float(entry.min), float(entry.max)) == (values.min(), values.max())
    assert (entry.nan, entry.zero_slices, float(entry.slope)) == (str(nans), str(len(blank)), slope)
    assert np.dtype(entry.dtype) == np.dtype(dtype)
    assert bool(entry.problem) == bool(nans)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    files = broken_files(tmp_path_factory.mktemp("broken"))
    files.pop("missing")
    return files


def test_every_file_that_cannot_be_read_is_a_row_that_says_why(broken: dict[str, tuple[Path, str]]) -> None:
    root = broken["nan"][0].parent
    entries = run(root, Folder)
    for path, why in broken.values():
        with pytest.raises(VolumeError, match=why):
            read_nifti(path)
        flaws = list(auditing.flaws(entries[path.name]))
        assert flaws, path
    assert set(entries) == {path.name for path in root.glob("*.nii*")}
    assert [list(auditing.flaws(entries[name])) for name in ("good.nii", "good.nii.gz")] == [[], []]


def test_a_checksum_at_the_end_of_a_large_file_is_compared(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 2000, (64, 64, 64)).astype(np.int16)
    path = write_image(tmp_path / "zoe-T1.nii.gz", data)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    [entry] = audit(Folder(tmp_path), tmp_path / "audit.csv", print)
    assert "CRC" in entry.problem
    with pytest.raises(
        VolumeError, match=r"zoe-T1\.nii\.gz: cannot be read as NIfTI; it is truncated or damaged \(CRC"
    ):
        read_nifti(path)


def test_duplicates_strange_names_negatives_and_constants_are_reported(tree: Path) -> None:
    (tree / "copy").mkdir()
    shutil.copy(tree / "T1" / "IXI002-Guys-0828-T1.nii.gz", tree / "copy" / "IXI002-Guys-0828-T1.nii.gz")
    shutil.copy(tree / "T2" / "IXI012-HH-1211-T2.nii.gz", tree / "T2" / "IXI013-HH-1212-T2.nii.gz")
    write_image(tree / "IXI999-HH-9999-T1.nii.gz", textured(1))
    write_image(tree / "ixi-notes.nii", textured(2) - np.int16(500))
    write_image(tree / "IXI116-Guys-0739-T2.nii", np.full((4, 5, 6), 7, np.int16))
    entries = audit(Small(tree), tree / "audit.csv", print)
    problems = {entry.path: entry.problem for entry in entries if entry.problem}
    first, second = "T1/IXI002-Guys-0828-T1.nii.gz", "copy/IXI002-Guys-0828-T1.nii.gz"
    assert problems == {
        first: f"same subject and contrast as {second}; same content as {second}",
        second: f"same subject and contrast as {first}; same content as {first}",
        "T2/IXI012-HH-1211-T2.nii.gz": "same content as T2/IXI013-HH-1212-T2.nii.gz",
        "T2/IXI013-HH-1212-T2.nii.gz": "same content as T2/IXI012-HH-1211-T2.nii.gz",
        "IXI999-HH-9999-T1.nii.gz": "is not among the published names",
        "ixi-notes.nii": "has negative values, down to -500; its name has no subject and contrast of this data set",
        "IXI116-Guys-0739-T2.nii": "is constant: every value is 7; is not among the published names",
    }
    known = [entry.path for entry in entries if entry.known]
    assert known == ["PD/IXI014-HH-1236-PD.nii.gz", "T2/IXI014-HH-1236-T2.nii.gz"]


def test_an_unusual_shape_is_reported_and_a_known_one_only_named(tree: Path) -> None:
    entries = run(tree, Ixi)
    assert entries["IXI002-Guys-0828-T1.nii.gz"].problem.startswith("9 sagittal slices, slices of 16 × 16 pixels")
    assert entries["IXI014-HH-1236-T2.nii.gz"].problem == ""
    assert entries["IXI014-HH-1236-T1.nii.gz"].problem != ""


def test_a_second_audit_touches_nothing_and_a_changed_file_is_read_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tree)
    before = (tree / "audit.csv").stat().st_mtime_ns
    opened = []
    monkeypatch.setattr(auditing, "open_nifti", lambda path: opened.append(path) or volume("IXI012-HH-1211", "T1", 16))
    assert run(tree) == first
    assert opened == []
    assert (tree / "audit.csv").stat().st_mtime_ns == before

    changed = tree / "T1" / "IXI002-Guys-0828-T1.nii.gz"
    os.utime(changed, ns=(0, 12345))
    (tree / "T2" / "IXI002-Guys-0828-T2.nii.gz").unlink()
    third = run(tree)
    assert opened == [changed]
    assert third["IXI002-Guys-0828-T1.nii.gz"].modified == "12345"
    assert set(first) - set(third) == {"IXI002-Guys-0828-T2.nii.gz"}
    assert read(tree / "audit.csv") == list(third.values())


def test_the_table_is_a_csv_with_a_column_for_each_field(tree: Path) -> None:
    entries = run(tree)
    with (tree / "audit.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [field.name for field in fields(Entry)]
    assert [row["path"] for row in rows] == sorted(entry.path for entry in entries.values())


@pytest.mark.parametrize("content", [b"", b"path,other\nx,y\n", b"\xff\xfe\x00", b'"never closed'])
def test_a_table_of_another_kind_is_made_anew(tree: Path, content: bytes) -> None:
    entries = run(tree)
    (tree / "audit.csv").write_bytes(content)
    assert run(tree) == entries
    assert read(tree / "audit.csv") == list(entries.values())


def test_a_killed_audit_goes_on_where_it_was(tree: Path) -> None:
    code = (
        "import time; from pathlib import Path\n"
        "from mrsr_bench.data.obtaining import audit as auditing; from test_audit import Small\n"
        "auditing._SAVE_SECONDS = 0; slow = auditing.open_nifti; count = []\n"
        "def opened(path):\n    count.append(path)\n"
        "    time.sleep(60 if len(count) > 5 else 0)\n    return slow(path)\n"
        "auditing.open_nifti = opened\n"
        f"auditing.audit(Small(Path({str(tree)!r})), Path({str(tree / 'audit.csv')!r}), print)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    while len(read(tree / "audit.csv")) < 3:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {entry.path for entry in read(tree / "audit.csv")}
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = auditing.open_nifti
        patch.setattr(auditing, "open_nifti", lambda path: opened.append(str(path.relative_to(tree))) or whole(path))
        assert len(run(tree)) == 12
    assert kept
    assert {*opened} == {entry.path for entry in read(tree / "audit.csv")} - kept


def test_names_in_any_encoding_and_dangling_links_are_rows_too(tmp_path: Path) -> None:
    (tmp_path / "gone-T1.nii.gz").symlink_to(tmp_path / "nowhere")
    good = write_image(tmp_path / "zoe-T1.nii.gz", textured(1))
    shutil.copy(good, os.fsdecode(bytes(tmp_path) + b"/caf\xe9-T1.nii.gz"))
    entries = audit(Folder(tmp_path), tmp_path / "audit.csv", print)
    assert [entry.path for entry in entries] == ["caf\\xe9-T1.nii.gz", "gone-T1.nii.gz", "zoe-T1.nii.gz"]
    assert entries[1].problem.startswith("does not exist")
    assert audit(Folder(tmp_path), tmp_path / "audit.csv", print) == entries


def test_where_nothing_can_be_written_beside_the_files_the_table_lies_in_the_cache(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tree)
    said: list[str] = []
    inventory.obtain_and_audit("ixi", tree, said.append, fetch=False)
    table = Path(said[-1].removeprefix("A row for every file: "))
    assert table.is_relative_to(os.environ["MRSR_CACHE"])
    assert len(read(table)) == 12
    assert not list(tree.glob("audit*"))


# In words


def test_the_summary_says_how_many_of_what_and_what_is_wrong(tree: Path) -> None:
    spoilt = tree / "PD" / "IXI035-IOP-0873-PD.nii.gz"
    spoilt.write_bytes(gzip.decompress(spoilt.read_bytes())[:500])
    (tree / "T1" / "IXI012-HH-1211-T1.nii.gz").unlink()
    dataset = Small(tree)
    lines, good = inventory.summary(dataset, list(run(tree).values()))
    text = "\n".join(lines)
    assert not good
    for words in (
        "11 files, ",
        " kB, 4 subjects. Licence: CC BY-SA 3.0",
        "PD       1 × unreadable",
        "T2       1 × 16x16x8  15x15x20 mm  RAS  int16",
        "T1             3 of 581  1 of 322  1 of 185  1 of 74",
        "usable         1 of 576  1 of 319  0 of 184  0 of 73",
        "Missing of the published files (1726):\n  IXI012-HH-1211-T1",
        "Known defects (2 files):\n  PD/IXI014-HH-1236-PD.nii.gz: 28 slices of about 5 mm",
        "Other problems (1 files):\n  PD/IXI035-IOP-0873-PD.nii.gz: cannot be read",
    ):
        assert words in text, text


def test_all_582_subjects_are_counted_as_published(tmp_path: Path) -> None:
    """Every name of IXI, with content made up for the row alone."""
    entries = []
    for subject, contrasts in Ixi.published().items():
        for contrast in contrasts:
            path, known = f"{subject}-{contrast}.nii.gz", Ixi.defects.get((subject, contrast), "")
            one = Entry(path, "1", "1", subject=subject, contrast=contrast, known=known, min="0", max="9", nan="0")
            entries.append(one)
    lines, good = inventory.summary(Small(tmp_path), entries)
    assert good
    assert "Counts: all as published." in lines
    assert "Names: none is missing." in lines
    assert "usable         576 of 576  319 of 319  184 of 184  73 of 73" in lines
    extra = Entry("IXI999-HH-9999-T1.nii.gz", "1", "1", subject="IXI999-HH-9999", contrast="T1")
    lines, good = inventory.summary(Small(tmp_path), [*entries[1:], extra])
    assert not good
    assert "Missing of the published files (1):" in lines
    assert "Not on the list of published names (1):" in lines
