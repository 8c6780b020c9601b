"""IXI: its names and counts, its files in any layout, and `bench data get ixi` from tars, a mirror or what is there."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bad_server import Server, serving
from click.testing import CliRunner, Result
from conftest import REFERENCE, write_image
from ixi_tree import CONTRASTS, geometry, make_tree

from mrsr_bench.cli import main
from mrsr_bench.data.obtaining import download as downloading
from mrsr_bench.data.obtaining import obtain
from mrsr_bench.dataset import Archive
from mrsr_bench.datasets.ixi import Ixi
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.volumes import VolumeError, read_nifti

SUBJECTS = ["IXI002-Guys-0828", "IXI012-HH-1211", "IXI014-HH-1236", "IXI035-IOP-0873", "IXI116-Guys-0739"]
"""Two ordinary ones, the thin one, one of IOP, and one without T2 and PD."""
FILES = sorted(f"{s}-{c}.nii.gz" for s in SUBJECTS for c in Ixi.published()[s])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"), SUBJECTS, shrink=16)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tars"), SUBJECTS, shrink=16, tars=True)


def archive(path: Path) -> Archive:
    return Archive(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), path.stem[-2:])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tars: Path) -> None:
    """An IXI of five small subjects, as published as the real one."""
    names = {subject: Ixi.published()[subject] for subject in SUBJECTS}
    monkeypatch.setattr(Ixi, "published", classmethod(lambda cls: names))
    monkeypatch.setattr(Ixi, "archives", tuple(archive(tars / f"IXI-{contrast}.tar") for contrast in CONTRASTS))
    monkeypatch.setattr(Ixi, "unusual", classmethod(lambda *_: ""))
    monkeypatch.setattr(
        Ixi,
        "counts",
        {
            "T1": {"": 5, "Guys": 2, "HH": 2, "IOP": 1},
            "T2": {"": 4, "Guys": 1, "HH": 2, "IOP": 1},
            "PD": {"": 4, "Guys": 1, "HH": 2, "IOP": 1},
            "all contrasts": {"": 4, "Guys": 1, "HH": 2, "IOP": 1},
            "usable": {"": 3, "Guys": 1, "HH": 1, "IOP": 1},
        },
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tars: Path) -> Iterator[Server]:
    monkeypatch.setattr(downloading, "TIMEOUT", (2.0, 0.25))
    monkeypatch.setattr(downloading, "PAUSE", 0.001)
    with serving() as one:
        one.files = {f"/{path.name}": path.read_bytes() for path in tars.iterdir()}
        yield one


Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, server: Server) -> Call:
    def run(*arguments: str) -> Result:
        more = ["--data", str(tmp_path / "ixi"), "--mirror", f"{server.url}/"]
        return CliRunner().invoke(main, ["data", "get", "ixi", *more, *arguments], catch_exceptions=False)

    return run


def images(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.nii.gz"))


# What is known of the data set


def test_the_list_of_names_has_the_published_counts() -> None:
    listed = Ixi.published()
    assert len(listed) == 582
    for contrast in CONTRASTS:
        sites = Counter(Ixi.site(subject) for subject, contrasts in listed.items() if contrast in contrasts)
        assert {"": sites.total(), **sites} == Ixi.counts[contrast]
    common = [subject for subject, contrasts in listed.items() if {*CONTRASTS} <= {*contrasts}]
    usable = [subject for subject in common if (subject, "T2") not in Ixi.defects]
    for what, names in {"all contrasts": common, "usable": usable}.items():
        sites = Counter(Ixi.site(subject) for subject in names)
        assert {"": sites.total(), **sites} == Ixi.counts[what]


def test_the_list_of_names_is_the_reference_one() -> None:
    ours = Path(inspect.getfile(Ixi)).with_name("ixi_subjects.csv")
    assert (
        ours.read_text(encoding="utf-8").split() == (REFERENCE / "ixi_subjects.csv").read_text(encoding="utf-8").split()
    )


def test_every_published_name_says_its_subject_contrast_and_site() -> None:
    for subject, contrasts in Ixi.published().items():
        for contrast in contrasts:
            for ending in (".nii.gz", ".nii"):
                assert Ixi.identify(f"{subject}-{contrast}{ending}") == (subject, contrast)
        assert Ixi.site(subject) in ("Guys", "HH", "IOP")


@pytest.mark.parametrize(
    "name",
    [
        *("IXI02-Guys-0828-T1.nii.gz", "IXI0002-Guys-0828-T1.nii.gz", "ixi002-Guys-0828-T1.nii.gz"),
        *("IXI002-guys-0828-T1.nii.gz", "IXI002-Guys-828-T1.nii.gz", "IXI002-Guys-0828-DTI.nii.gz"),
        *("IXI002-Guys-0828.nii.gz", "IXI002-Guys-0828-T1.nii.gz.part", "xIXI002-Guys-0828-T1.nii.gz"),
        *("IXI002-Guys-0828-T1.nii.gz\n", "IXI٠٠٢-Guys-0828-T1.nii.gz", "a.nii"),
    ],
)
def test_other_names_are_not_of_ixi(name: str) -> None:
    assert Ixi.identify(name) is None


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_an_ordinary_geometry_is_not_called_unusual_and_the_thin_one_is(subject: str, contrast: str) -> None:
    shape, zooms, codes = geometry(subject, contrast)
    stored = nib.orientations.axcodes2ornt(codes)
    order = [int(axis) for axis in stored[:, 0]]
    said = Ixi.unusual(contrast, [shape[axis] for axis in order], [zooms[axis] for axis in order], codes)
    assert bool(said) == ((subject, contrast) in Ixi.defects)
    assert not said or said.startswith("28 axial slices")


@pytest.mark.parametrize(
    ("contrast", "shape", "zooms", "codes", "words"),
    [
        ("T1", (256, 256, 150), (0.9375, 0.9375, 1.2), "LPS", ["256 sagittal slices", "256 × 150 pixels"]),
        ("T1", (256, 256, 120), (0.9375, 0.9375, 1.2), "PSR", ["120 sagittal slices"]),
        ("T2", (256, 256, 130), (0.9375, 0.9375, 1.25), "PSR", ["256 axial slices"]),
        ("T2", (512, 512, 130), (0.47, 0.47, 1.25), "LPS", ["512 × 512 pixels", "0.47 × 0.47 mm"]),
        ("PD", (256, 256, 130), (0.9375, 0.9375, 2.5), "LPS", ["slices 2.5 mm apart"]),
        ("PD", (256, 256, 130), (0.9375, 0.9375, 1.25), "???", []),
    ],
)
def test_an_unusual_geometry_is_told(
    contrast: str, shape: tuple[int, ...], zooms: tuple[float, ...], codes: str, words: list[str]
) -> None:
    said = Ixi.unusual(contrast, shape, zooms, codes)
    assert bool(said) == bool(words)
    assert all(word in said for word in words), said


# Files


def test_files_are_found_in_any_layout_compressed_or_not(tree: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "ixi"))
    names = images(root)
    deep = root / "a" / names[0] / "b"  # a folder with an image's name, as some tools make
    deep.mkdir(parents=True)
    [first] = [path for path in root.rglob(names[0]) if path.is_file()]
    first.rename(deep / names[0])
    [second] = root.rglob(names[1])
    image = nib.load(second)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), root / names[1].removesuffix(".gz"))
    second.unlink()
    dataset = Ixi(root)
    assert dataset.subjects() == SUBJECTS
    assert dataset.contrasts("IXI002-Guys-0828") == ["PD", "T1", "T2"]
    assert dataset.contrasts("IXI116-Guys-0739") == ["T1"]
    for subject in SUBJECTS:
        for contrast in dataset.contrasts(subject):
            same = read_nifti(tree / contrast / f"{subject}-{contrast}.nii.gz")
            np.testing.assert_array_equal(dataset.load(subject, contrast).data, same.data)


def test_a_missing_contrast_a_duplicate_and_a_folder_for_a_file_are_named(tree: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "ixi"))
    with pytest.raises(VolumeError, match=r"IXI116-Guys-0739-T2\.nii\.gz: does not exist.*\['T1'\]"):
        Ixi(root).load("IXI116-Guys-0739", "T2")
    again = root / "copy" / FILES[0]
    again.parent.mkdir()
    shutil.copy(next(root.rglob(FILES[0])), again)
    with pytest.raises(VolumeError, match="same subject and contrast") as caught:
        Ixi(root).load(FILES[0][:16], FILES[0][17:19])
    assert str(again) in str(caught.value)
    folder = next(root.rglob(FILES[-1]))
    folder.unlink()
    folder.mkdir()
    with pytest.raises(VolumeError, match="is a folder where a file is expected"):
        Ixi(root).load(FILES[-1][:16], "T1")


@pytest.mark.usefixtures("_permissions_hold")
def test_a_folder_that_may_not_be_listed_is_an_error_and_not_an_empty_one(tree: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "ixi"))
    (root / "T2").chmod(0)
    try:
        with pytest.raises(VolumeError, match=rf"{root}/T2: cannot be listed: Permission denied"):
            Ixi(root).subjects()
    finally:
        (root / "T2").chmod(0o755)


# Having the files


@pytest.mark.usefixtures("small")
def test_everything_is_downloaded_unpacked_and_audited_once(call: Call, server: Server, tmp_path: Path) -> None:
    server.plan = [("cut", 30_000), ("status", 503), ("redirect", 0)]
    first = call()
    assert first.exit_code == 0, first.output
    assert images(tmp_path / "ixi") == FILES
    for words in ("Counts: all as published.", "Names: none is missing.", "usable         3 of 3", "can be deleted"):
        assert words in first.output
    assert "Known defects (2 files):\n  PD/IXI014-HH-1236-PD.nii.gz: 28 slices" in first.output
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ixi").rglob("*")}
    server.requests.clear()
    assert call().exit_code == 0
    for path in (tmp_path / "ixi").glob("*.tar"):
        path.unlink()
    assert call().exit_code == 0
    assert server.requests == []
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "ixi").rglob("*")}
    assert after == {path: time for path, time in before.items() if path.suffix != ".tar"} | {
        tmp_path / "ixi" / "audit-ixi.csv": before[tmp_path / "ixi" / "audit-ixi.csv"]
    }


@pytest.mark.usefixtures("small")
def test_tars_and_files_that_are_there_are_used(call: Call, server: Server, tars: Path, tmp_path: Path) -> None:
    shutil.copytree(tars, tmp_path / "ixi" / "downloads")
    make_tree(tmp_path / "ixi" / "mine", SUBJECTS, 16, ["PD"])
    result = call()
    assert result.exit_code == 0, result.output
    assert images(tmp_path / "ixi") == FILES
    assert server.requests == []


@pytest.mark.usefixtures("small")
def test_a_lost_file_comes_back_from_its_tar(call: Call, server: Server, tmp_path: Path) -> None:
    call()
    [lost] = (tmp_path / "ixi").rglob(FILES[3])
    content = lost.read_bytes()
    lost.unlink()
    server.requests.clear()
    assert call().exit_code == 0
    assert lost.read_bytes() == content
    assert server.requests == []


@pytest.mark.usefixtures("small")
def test_an_unfinished_or_damaged_tar_is_named_and_kept(call: Call, tars: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tars, tmp_path / "ixi"))
    tar = root / "IXI-T2.tar"
    content = tar.read_bytes()
    tar.write_bytes(content[:-700])
    result = call()
    assert result.exit_code == 1
    assert (
        f"{tar} has {len(content) - 700:,} bytes where {len(content):,} are published: an unfinished" in result.output
    )
    tar.write_bytes(content[:9000] + bytes([content[9000] ^ 1]) + content[9001:])
    result = call()
    assert result.exit_code == 1
    assert f"{tar} is damaged: its sha256 is" in result.output
    assert tar.exists()
    assert [name for name in images(root) if "T2" in name] == []


@pytest.mark.usefixtures("small")
def test_some_subjects_are_read_from_the_start_of_each_tar(call: Call, server: Server, tmp_path: Path) -> None:
    server.plan = [("stall", 3000)]
    result = call("--subjects", "2")
    assert result.exit_code == 0, result.output
    wanted = [name for name in FILES if name.startswith(("IXI002", "IXI012"))]
    assert images(tmp_path / "ixi") == wanted
    assert "Names: all 2 requested subjects are there." in result.output
    assert "those of the tars were not" in result.output
    assert "Counts" not in result.output
    assert list((tmp_path / "ixi").rglob("*.tar*")) == []
    server.requests.clear()
    assert call("--subjects", "2").exit_code == 0
    assert server.requests == []
    third = call("--subjects", "3")
    assert third.exit_code == 0, third.output
    assert "IXI035-IOP-0873-T1.nii.gz" in images(tmp_path / "ixi")
    assert not any("IXI014" in name for name in images(tmp_path / "ixi")), "a known defect is not usable"
    assert call().exit_code == 0
    assert images(tmp_path / "ixi") == FILES


def test_only_as_much_of_a_tar_is_read_as_its_subjects_need(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    """The tar has a megabyte behind the first subject, and the connection is cut before its end."""
    tree = make_tree(tmp_path / "tars", SUBJECTS[:1], 16, ["T1"], tars=True)
    tar = tree / "IXI-T1.tar"
    tar.write_bytes(tar.read_bytes().rstrip(b"\0") + bytes(1_000_000))
    monkeypatch.setattr(Ixi, "archives", (archive(tar),))
    server.files["/IXI-T1.tar"] = tar.read_bytes()
    server.plan = [("stall", 100_000)]
    obtain.obtain(Ixi, tmp_path / "ixi", print, server.url, 1)
    assert images(tmp_path / "ixi") == [f"{SUBJECTS[0]}-T1.nii.gz"]
    assert len(server.requests) == 1


@pytest.mark.usefixtures("small")
def test_a_wrong_checksum_a_missing_tar_and_no_room_say_what_to_do(
    call: Call, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = server.files["/IXI-T1.tar"]
    server.files["/IXI-T1.tar"] = bytes(1) + good[1:]
    result = call()
    assert result.exit_code == 1
    assert "IXI-T1.tar is not the published file: its sha256 is" in result.output
    assert f"Give another address with --mirror, or put IXI-T1.tar into {tmp_path / 'ixi'} by hand." in result.output
    del server.files["/IXI-T1.tar"]
    assert "the server answers 404" in call().output
    server.files["/IXI-T1.tar"] = good
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    server.requests.clear()
    assert "Make room, or give another folder with --data" in call().output
    assert server.requests == []
    assert images(tmp_path / "ixi") == []


def test_without_download_what_is_there_is_audited_and_the_rest_reported(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "ixi")
    result = CliRunner().invoke(main, ["data", "audit", "ixi", "--data", str(tmp_path / "ixi")])
    assert result.exit_code == 3
    assert "T1             5 of 581  2 of 322  2 of 185  1 of 74" in result.output
    assert "Counts: 20 differ from the published ones." in result.output
    assert "Missing of the published files (1724):\n  IXI013-HH-1212-PD" in result.output
    assert "… and 1716 more" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["get", "ixi"], ["--data DIR", "MRSR_DATA"]),
        (["get", "ixj"], ["unknown data set 'ixj'", "'ixi'"]),
        (["get"], ["Missing argument 'NAME'"]),
        (["ixi"], ["No such command 'ixi'"]),
        (["get", "ixi", "--data", "x", "--subjects", "577"], ["576"]),
        (["get", "folder", "--data", "x", "--subjects", "1"], ["--subjects 1"]),
        (["audit", "ixi", "--data", "nowhere"], ["no such folder", "nowhere"]),
        (["prepare", "ixi_all", "--data", "nowhere"], ["no such folder", "nowhere"]),
        (["prepare", "ixi_al"], ["unknown protocol 'ixi_al'", "'ixi_all'"]),
        (["match", "ixi", "csn", "--data", "nowhere"], ["no such folder", "nowhere"]),
        (["calibrate", "ixj"], ["unknown data set 'ixj'", "'ixi'"]),
    ],
)
def test_a_wrong_request_for_data_ends_with_status_2(arguments: list[str], words: list[str]) -> None:
    result = CliRunner().invoke(main, ["data", *arguments])
    assert result.exit_code == 2, result.output
    assert all(word in result.output for word in words), result.output
    assert not Path("x").exists()


def test_the_cache_is_filled_for_a_protocol(
    write_protocol: Callable[..., Path], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    plane = {"T1": "sagittal", "T2": "axial"}
    data = {"dataset": "ixi", "contrasts": ["T1", "T2"], "split": "split.csv", "plane": plane}
    folds = {"train": (SUBJECTS[0],), "val": (SUBJECTS[1],), "test": (SUBJECTS[3],)}
    protocol = write_protocol(folds, data=data)
    arguments = ["data", "prepare", str(protocol), "--data", str(tree)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    caches = (tmp_path / "cache" / "ixi").rglob("hr.npy")
    made = {path.parent.name.rpartition("-")[0]: np.load(path).shape for path in caches}
    depths = {"T1": 9, "T2": 8}
    assert made == {f"{s}-{c}": (depths[c], 12, 12) for [s] in folds.values() for c in depths}


def test_matching_and_calibration_get_the_data_set(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Path, Path | None, Path]] = []
    monkeypatch.setattr(
        "mrsr_bench.replication.matching.match_archive",
        lambda dataset, archive, out, say: calls.append(("match", dataset.root, archive, out)),
    )
    monkeypatch.setattr(
        "mrsr_bench.replication.calibration.calibrate",
        lambda dataset, out, say: calls.append(("calibrate", dataset.root, None, out)) or "the verdict",
    )
    match = ["data", "match", "ixi", "csn", "--data", str(tree)]
    assert CliRunner().invoke(main, match, catch_exceptions=False).exit_code == 0
    calibrate = ["data", "calibrate", "ixi", "--data", str(tree), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, calibrate, catch_exceptions=False)
    assert result.output.endswith("the verdict\n")
    assert calls == [("match", tree, Path("csn"), Path("splits")), ("calibrate", tree, None, tmp_path)]


def test_other_data_sets_are_audited_too(tmp_path: Path) -> None:
    write_image(tmp_path / "anna-T1.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    result = CliRunner().invoke(main, ["data", "audit", "folder", "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "1 files, " in result.output
    assert "B, 1 subjects" in result.output
    assert "3x4x5  1x1x1 mm  RAS  int16" in result.output
    assert "12 subjects" in CliRunner().invoke(main, ["data", "get", "mni152"]).output


def test_the_help_of_data_teaches() -> None:
    commands = main.commands["data"].commands  # type: ignore[attr-defined]
    assert set(commands) == {"list", "get", "audit", "prepare", "match", "calibrate", "clear-cache"}
    for name in commands:
        assert f"bench data {name}" in CliRunner().invoke(main, ["data", name, "--help"]).output


# The generated tree


def test_the_generated_tree_is_the_same_every_time_and_another_for_everyone(tree: Path, tmp_path: Path) -> None:
    again = make_tree(tmp_path, SUBJECTS[1:3], 16)
    contents = {path.name: path.read_bytes() for path in again.rglob("*.nii.gz")}
    assert all((tree / name[-9:-7] / name).read_bytes() == content for name, content in contents.items())
    assert len({*contents.values()}) == 6


def test_a_generated_file_of_full_size_has_ixis_shape_and_axes(tmp_path: Path) -> None:
    make_tree(tmp_path, ["IXI014-HH-1236"], contrasts=["T2"])
    image = nib.load(tmp_path / "T2" / "IXI014-HH-1236-T2.nii.gz")
    assert image.shape == (256, 256, 28)
    assert "".join(nib.aff2axcodes(image.affine)) == "LPS"
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == pytest.approx((0.898, 0.898, 4.98))


@pytest.mark.parametrize("number", [0, 577])
def test_no_more_subjects_are_chosen_than_there_are(number: int) -> None:
    if number:
        with pytest.raises(UsageError, match="there are 576"):
            obtain.first_usable(Ixi, number)
    assert obtain.first_usable(Ixi, 4)[-1] == "IXI015-HH-1258"
    assert issubclass(UsageError, BenchError)
