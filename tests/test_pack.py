"""Packs and merges of results: whole, bounded, and no figure replaces another."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import write_small_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins import NEAREST, write
from recorded import FIT, MACHINE, Plan, fill, find, remember, write_undone

import mrsr_bench
from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store import pack as packs
from mrsr_bench.store.cell_files import EXHIBIT, RECORD, SCORES, WEIGHTS, read_record, write_record
from mrsr_bench.store.exhibit import SubjectSlices, read_exhibit, write_exhibit
from mrsr_bench.store.locks import HeldFolder, hold
from mrsr_bench.store.method_sources import keep_source
from mrsr_bench.store.pack import MANIFEST, BadPack, open_pack
from mrsr_bench.store.plan import read_plan
from mrsr_bench.store.record import DoneRecord
from mrsr_bench.store.results import Store
from mrsr_bench.system.files import CHECKSUM, DamagedFile, sealed, write_sealed

METHODS = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}
ROW = "runs/small/bicubic/T1-x2"


def bench(*command: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, command)], catch_exceptions=False)


def shown(results: Path, *command: str) -> str:
    done = bench(*(command or ("table",)), "--results", results)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def plan(write_protocol: Callable[..., Path], tmp_path: Path) -> Callable[..., Plan]:
    """A plan over a protocol, its results in a folder of a name of one's own, nothing recorded yet."""

    def make(results: str, methods: list[str] | None = None, **changes: Any) -> Plan:
        path = write_protocol(**{"methods": METHODS, **changes})
        loaded, trainings = plan_request(Request(str(path), methods or []))
        made = Store(tmp_path / results), loaded, trainings
        remember(made, methods or [])
        return made

    return make


def give_weights(folder: Path, content: bytes, *ensembles: Path) -> None:
    """Weights for a recorded training: a file that its records name."""
    (folder / WEIGHTS).write_bytes(content)
    for path in (folder, *ensembles):
        change(path, weights=packs.hashlib.sha256(content).hexdigest())


def change(folder: Path, **checksums: str) -> None:
    record = read_record(folder)
    assert isinstance(record, DoneRecord)
    write_record(
        HeldFolder(folder), record.model_copy(update={"checksums": record.checksums.model_copy(update=checksums)})
    )


def give_images(folder: Path) -> None:
    """An exhibit and its truth for a recorded cell."""
    image = np.arange(64, dtype=np.int16).reshape(1, 8, 8)
    selection = SubjectSlices(
        "one",
        (0,),
        (0,),
        image + 1,
        image,
        image[:, ::2, ::2],
        {"seen": image / 3},
        1.0,
        (1.0, 1.0, 1.0),
        ("S", "A", "R"),
    )
    change(folder, exhibit=write_exhibit(HeldFolder(folder), HeldFolder(folder.parents[1]), [selection]))


def complete(plan: Plan) -> Path:
    """Figures for a network with weights, its self-ensemble and bicubic; a failed cell. Returns the results folder."""
    store, loaded, trainings = plan
    fill(plan, "bicubic", "x2", 30.004, 0.96, fit=None)
    edsr, plus = fill(plan, "edsr", "x2", 33.456, 0.98), fill(plan, "edsr+", "x2", 33.5, 0.981)
    give_weights(edsr, b"learned", plus)
    training, cell = find(trainings, "linear", "x2")
    write_undone(training.folder(store, cell), training, cell, "failed", "out of luck")
    for training in trainings:
        keep_source(store.runs / loaded.folder, training.source.digest, training.source.contents)
    return store.results


@pytest.fixture
def results(plan: Callable[..., Plan]) -> Path:
    return complete(plan("results"))


@pytest.fixture
def packed(results: Path, tmp_path: Path) -> Path:
    done = bench("pack", results, "-o", tmp_path / "p.zip")
    assert (done.exit_code, done.stderr) == (0, "")
    return tmp_path / "p.zip"


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


# --- Packed and looked at -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("table",), ("table", "--format", "latex"), ("table", "--format", "csv"), ("table", "--efficiency"), ("status",)],
)
def test_a_pack_shows_what_its_folder_shows_byte_for_byte(
    results: Path, packed: Path, command: tuple[str, ...]
) -> None:
    text = shown(results, *command)
    assert shown(packed, *command) == text
    assert "33.4" in text or command[0] == "status"
    assert "out of luck" in text or "csv" in command


def test_a_pack_is_unpacked_to_the_same_table_and_packs_to_the_same_bytes(
    results: Path, packed: Path, tmp_path: Path
) -> None:
    done = bench("unpack", packed, tmp_path / "fresh")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "4 taken, 0 already there, 0 refused, 0 damaged; plans: 1 new" in done.stdout
    assert shown(tmp_path / "fresh") == shown(results)
    bench("pack", tmp_path / "fresh", "-o", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    again = bench("unpack", packed, tmp_path / "fresh")
    assert (again.exit_code, "0 taken, 4 already there" in again.stdout) == (0, True)


def test_a_figure_is_drawn_from_a_pack(results: Path, packed: Path, tmp_path: Path) -> None:
    for source, target in ((results, "a.svg"), (packed, "b.svg")):
        shown(source, "figure", "quality", "-o", str(tmp_path / target))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_frame_is_made_from_a_pack(results: Path, packed: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = [mrsr_bench.table(results=source) for source in (results, str(packed))]
    assert frames[0].equals(frames[1])
    assert frames[0].attrs == frames[1].attrs


def test_the_same_results_give_the_same_bytes_whatever_their_times_and_order(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "elsewhere" / "copy")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    for source, target in ((results, "a.zip"), (tmp_path / "elsewhere" / "copy", "b.zip")):
        assert bench("pack", source, "-o", tmp_path / target).exit_code == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        infos = archive.infolist()
    assert {(info.date_time, info.external_attr >> 16) for info in infos} == {((1980, 1, 1, 0, 0, 0), 0o100644)}
    assert [info.filename for info in infos] == [*sorted(info.filename for info in infos[:-1]), MANIFEST]


def test_a_pack_has_plans_records_figures_and_sources_and_nothing_else(results: Path, tmp_path: Path) -> None:
    cell = results / ROW / "edsr" / "seed0"
    for name in ("log.txt", "state-00000001-0123456789abcdef.pt", ".lock", ".lease", f"{SCORES}~old-1", "mirrored-1",
                 ".record.json~0123456789ab-1-01234567", "mine.py"):  # fmt: skip
        (cell / name).write_text("x", encoding="utf-8")
    (cell / "volumes").mkdir()
    (cell / "volumes" / "volumes.json").write_text("{}", encoding="utf-8")
    shutil.copytree(cell, cell.with_name("seed0~stale-20260101T000000"))
    (results / "mlflow.db").write_text("x", encoding="utf-8")
    bench("pack", results, "-o", tmp_path / "p.zip")
    kinds = {name.rpartition("/")[2] for name in names(tmp_path / "p.zip") if name.startswith(ROW)}
    assert kinds == {RECORD, SCORES, "radial.csv"}
    folders = {name.split("/")[2] for name in names(tmp_path / "p.zip") if name != MANIFEST}
    assert folders == {"plans", "sources", "bicubic"}
    bench("pack", results, "-o", tmp_path / "w.zip", "--weights")
    assert set(names(tmp_path / "w.zip")) - set(names(tmp_path / "p.zip")) == {f"{ROW}/edsr/seed0/{WEIGHTS}"}
    assert shown(tmp_path / "w.zip") == shown(results)


def test_a_damaged_cell_is_left_out_with_a_message(results: Path, tmp_path: Path) -> None:
    (results / ROW / "edsr" / "seed0" / SCORES).write_text("no scores", encoding="utf-8")
    done = bench("pack", results, "-o", tmp_path / "p.zip")
    assert done.exit_code == 0
    assert f"left out: small/bicubic/T1-x2/edsr/seed0: {results / ROW / 'edsr' / 'seed0' / SCORES} is damaged" in (
        done.stderr
    )
    assert "3 cells, 1 left out" in done.stdout
    assert "Missing: edsr T1 x2" in shown(tmp_path / "p.zip")


def test_only_the_protocols_asked_for_are_packed(plan: Callable[..., Plan], tmp_path: Path) -> None:
    complete(plan("results"))
    results = complete(plan("results", name="other"))
    bench("pack", results, "-o", tmp_path / "one.zip", "--protocol", "other")
    assert {name.split("/")[1] for name in names(tmp_path / "one.zip") if name != MANIFEST} == {"other"}
    bench("pack", results, "-o", tmp_path / "all.zip")
    assert {*open_pack(tmp_path / "all.zip").pack.manifest.protocols} == {"other", "small"}
    assert bench("pack", results, "-o", tmp_path / "none.zip", "--protocol", "nothing").exit_code == 1
    assert not (tmp_path / "none.zip").exists()


@pytest.mark.parametrize(
    ("dataset", "licence"),
    [
        ({"dataset": "folder"}, ""),
        ({"dataset": "folder", "licence": "CC BY 4.0, My Lab"}, "My Lab"),
        ({"dataset": "mni152"}, "Louis Collins"),
        ({"dataset": "ixi"}, "CC BY-SA 3.0"),
    ],
)
def test_images_go_along_where_a_licence_says_so_or_when_asked(
    plan: Callable[..., Plan], tmp_path: Path, dataset: dict[str, str], licence: str
) -> None:
    data = {**dataset, "contrasts": ["T1"], "split": "split.csv", "plane": "axial"}
    results = complete(plan("results", data=data))
    give_images(results / ROW / "bicubic" / "seed0")
    done = bench("pack", results, "-o", tmp_path / "p.zip")
    kinds = {name.rpartition("/")[2][:5] for name in names(tmp_path / "p.zip") if name.endswith(".npz")}
    assert kinds == ({"truth", "exhib"} if licence else set())
    assert ("It holds slices" if licence else "Slices of these are left out") in done.stdout
    assert licence in open_pack(tmp_path / "p.zip").pack.manifest.protocols["small"].images
    bench("pack", results, "-o", tmp_path / "i.zip", "--images")
    inside = read_exhibit(open_pack(tmp_path / "i.zip") / ROW / "bicubic" / "seed0")
    assert inside is not None
    assert np.array_equal(inside.slices[0].hr, np.arange(64).reshape(8, 8))
    bench("unpack", tmp_path / "i.zip", tmp_path / "fresh")
    assert read_exhibit(tmp_path / "fresh" / ROW / "bicubic" / "seed0") is not None


@pytest.mark.parametrize("command", [("run", "--protocol", "demo"), ("run", "--dry-run"), ("score",)])
def test_a_pack_is_not_written_to(packed: Path, command: tuple[str, ...]) -> None:
    before = packed.read_bytes()
    done = bench(*command, "--results", packed)
    assert (done.exit_code, "a pack can be read, but not written to" in done.stderr) == (2, True)
    assert bench("unpack", packed, packed).exit_code == 2
    with pytest.raises(UsageError, match="not written to"):
        mrsr_bench.run("demo", ["bicubic"], results=packed, tracking_uri="none")
    assert packed.read_bytes() == before


BLIND = """
import sys
sys.modules.update(dict.fromkeys(("torch", "timm", "mlflow", "lightning_fabric", "numba"), None))
from mrsr_bench.cli import main
main()
"""


@pytest.mark.long
def test_neither_torch_nor_a_method_is_needed_and_no_file_beside_the_results_is_run(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    marker = tmp_path / "was run"
    [loose] = write(tmp_path, loose=NEAREST)
    made = plan("results", ["bicubic", loose])
    fill(made, "bicubic", "x2", 30.0, 0.9, fit=None)
    fill(made, "loose", "x2", 31.0, 0.9, fit=None)
    results = made[0].results
    bench("pack", results, "-o", results.parent / "p.zip")
    before = shown(results)
    evil = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    Path(loose).write_text(evil, encoding="utf-8")
    cell = results / ROW / "loose" / "seed0"
    for place in (cell, results, results / "runs", tmp_path):
        for name in ("loose.py", "sitecustomize.py", "conftest.py", "small.py", "json.py"):
            (place / name).write_text(evil, encoding="utf-8")
    for source in (results, results.parent / "p.zip"):
        for command in ("table", "status"):
            done = subprocess.run(
                [sys.executable, "-P", "-c", BLIND, command, "--results", str(source)],
                capture_output=True, text=True, timeout=120, cwd=tmp_path,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
            assert command == "status" or done.stdout == before
    bench("unpack", results, tmp_path / "merged")
    assert not [*(tmp_path / "merged").rglob("*.py")]
    Path(loose).unlink()
    assert shown(tmp_path / "merged") == before
    assert not marker.exists()


# --- Packs that are damaged, or made to harm ----------------------------------------------------------------------


def rewrite(path: Path, add: Callable[[zipfile.ZipFile], None], drop: str = "", **members: bytes) -> None:
    """The pack with other members: `add` may write more."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if name != drop}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, content in (contents | members).items():
            archive.writestr(name, content)
        add(archive)


def declared(path: Path, name: str, content: bytes) -> None:
    """Add a member that the manifest names, as whoever makes a harmful pack would."""
    manifest = json.loads(zipfile.ZipFile(path).read(MANIFEST))
    del manifest[CHECKSUM]
    manifest["members"][name] = {"sha256": packs.hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite(path, lambda archive: archive.writestr(name, content), **{MANIFEST: sealed(manifest).encode()})


def refused(path: Path, message: str) -> None:
    for command in (("table",), ("status",)):
        done = bench(*command, "--results", path)
        assert (done.exit_code, message in done.stderr) == (1, True), done.stderr
        assert done.stdout == ""
    done = bench("unpack", path, path.parent / "fresh")
    assert (done.exit_code, (path.parent / "fresh").exists()) == (1, False), done.output


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../evil.py", "runs/../../evil.py", "runs/small/../x/plans/" + "0" * 32 + ".json",
        "runs\\small\\plans\\" + "0" * 32 + ".json", f"{ROW}/edsr/seed0/mine.py", f"{ROW}/edsr/seed0/../seed1/{RECORD}",
        "runs/small/bicubic/", f"{ROW}/./seed0/{RECORD}", "sitecustomize.py", "runs/small/.ssh/a/b/seed0/record.json",
        f"{ROW}/edsr/seed0/.lock", f"runs//bicubic/T1-x2/edsr/seed0/{RECORD}", f"{ROW}/edsr/seed0/{RECORD}\0.py",
        f"{ROW}/a\nb/seed0/{RECORD}", f"{ROW}/{'a' * 300}/seed0/{RECORD}", f"{ROW}/edsr/seed0~stale-1/{RECORD}",
    ],
)  # fmt: skip
def test_a_name_that_no_results_folder_has_refuses_the_pack(packed: Path, name: str) -> None:
    declared(packed, name, b"evil")
    refused(packed, "cannot be used as a pack")
    assert not (packed.parent / "evil.py").exists()


def test_a_name_that_appears_twice_refuses_the_pack(packed: Path) -> None:
    name = f"{ROW}/edsr/seed0/{RECORD}"
    rewrite(packed, lambda archive: archive.writestr(name, b"another"))
    refused(packed, "appears twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR])
def test_a_link_or_another_special_file_refuses_the_pack(packed: Path, kind: int) -> None:
    info = zipfile.ZipInfo(f"{ROW}/other/seed0/{RECORD}")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    rewrite(packed, lambda archive: archive.writestr(info, "/etc/passwd"))
    refused(packed, "is a link or another special file")


def test_a_member_that_the_manifest_does_not_name_refuses_the_pack(packed: Path) -> None:
    rewrite(packed, lambda archive: archive.writestr(f"{ROW}/other/seed0/{RECORD}", b"{}"))
    refused(packed, f"its {MANIFEST} does not name its member")


def test_a_file_that_is_not_a_pack_is_an_error(tmp_path: Path) -> None:
    for name, content in {"a.zip": b"", "b.zip": b"no zip" * 100, "c.zip": b"PK\5\6" + bytes(18)}.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "cannot be used as a pack")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr(f"{ROW}/edsr/seed0/{RECORD}", "{}")
    refused(tmp_path / "d.zip", f"it has no {MANIFEST}; packs are made by: bench pack")


def test_a_pack_of_a_later_format_is_an_error(packed: Path) -> None:
    rewrite(packed, lambda archive: None, **{MANIFEST: sealed({"format": 2}).encode()})
    refused(packed, "it has format 2; this version of the suite reads 1")


@pytest.mark.parametrize(
    ("bound", "value", "words"),
    [
        ("MAX_MEMBERS", 5, "members, more than 5"),
        ("MAX_TOTAL", 1000, "bytes, more than 1000"),
        ("_MAX_DIRECTORY", 100, "its list of contents has"),
    ],
)
def test_bounds_refuse_the_pack(
    packed: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, words: str
) -> None:
    monkeypatch.setattr(packs, bound, value)
    refused(packed, words)


def test_a_member_that_grows_a_thousandfold_refuses_the_pack(packed: Path) -> None:
    declared(packed, f"{ROW}/edsr/seed0/{WEIGHTS}", bytes(2**22))
    refused(packed, "expands from")


def test_a_member_that_is_larger_than_it_may_be_refuses_the_pack(packed: Path) -> None:
    declared(packed, f"{ROW}/other/seed0/{RECORD}", os.urandom(2**24 + 1))
    refused(packed, "more than 16777216")


def test_no_more_is_read_of_a_member_than_the_manifest_says(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that states a small size for what unpacks to more."""
    name = f"{ROW}/edsr/seed0/{SCORES}"
    content = zipfile.ZipFile(packed).read(name)
    rewrite(packed, lambda archive: archive.writestr(name, content + bytes(2**19)), drop=name)
    read: list[int] = []
    real = zipfile.ZipExtFile.read

    def watched(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        part = real(self, n)
        read.append(len(part)) if self.name == name else None
        return part

    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched)
    text = shown(packed)
    assert f"Damaged: edsr T1 x2 bicubic seed 0 ({packed}/{name} is damaged: it is not what" in text
    assert 0 < sum(read) <= 4 * (len(content) + 1), "looked at twice, and by the exhibit's and the record's checks"


def test_a_lie_about_a_size_is_damage(packed: Path) -> None:
    """Sizes in the archive's own list are changed, the manifest's are not: where that hides nothing, all is there."""
    name = f"{ROW}/edsr/seed0/{SCORES}".encode()
    content = bytearray(packed.read_bytes())
    entry = content.rindex(b"PK\1\2", 0, content.rindex(name))
    size = struct.unpack_from("<I", content, entry + 24)[0]
    for lie in (0, 1, size - 1, size + 1, 2**20):
        struct.pack_into("<I", content, entry + 24, lie)
        packed.write_bytes(content)
        assert ("Damaged: edsr T1 x2" in shown(packed)) == (lie < size)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_pack_that_was_cut_short_is_refused(packed: Path, share: float) -> None:
    content = packed.read_bytes()
    packed.write_bytes(content[: int(share * len(content))])
    refused(packed, "cannot be used as a pack")


@pytest.mark.parametrize("drop", [SCORES, RECORD])
def test_a_member_that_is_missing_or_another_is_its_cells_damage_alone(packed: Path, drop: str) -> None:
    name = f"{ROW}/edsr/seed0/{drop}"
    rewrite(packed, lambda archive: None, drop=name)
    text = shown(packed)
    assert f"Damaged: edsr T1 x2 bicubic seed 0 ({packed}/{name} is damaged: it is missing" in text
    assert "33.50" in text
    done = bench("unpack", packed, packed.parent / "fresh")
    assert (done.exit_code, f"{packed}/{name} is damaged" in done.stderr) == (0, True)
    assert "3 taken, 0 already there, 0 refused, 1 damaged" in done.stdout


def test_where_the_only_plan_is_damaged_the_error_names_it(results: Path, packed: Path) -> None:
    [plan] = (results / "runs" / "small" / "plans").iterdir()
    plan.write_bytes(plan.read_bytes()[:-9])
    name = f"runs/small/plans/{plan.name}"
    rewrite(packed, lambda archive: None, drop=name)
    for source in (results, packed):
        done = bench("table", "--results", source)
        assert (done.exit_code, f"Error: no plan can be read: {source}/{name} is damaged" in done.stderr) == (1, True)


def test_a_changed_figure_makes_no_table_even_where_the_manifest_was_changed_with_it(packed: Path) -> None:
    name = f"{ROW}/edsr/seed0/{SCORES}"
    content = zipfile.ZipFile(packed).read(name).replace(b"33.456", b"39.456")
    declared(packed, name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rewrite(packed, lambda archive: None)
    text = shown(packed)
    assert "39.46" not in text
    assert f"{packed}/{name} is damaged: it is not the file that the record names" in text


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    """A pack, its bytes and its table."""
    folder = tmp_path_factory.mktemp("reference")
    protocol = write_small_protocol(folder, methods=METHODS)
    made = (Store(folder / "results"), *plan_request(Request(str(protocol))))
    remember(made, [])
    complete(made)
    bench("pack", folder / "results", "-o", folder / "p.zip", "--weights")
    return folder / "p.zip", (folder / "p.zip").read_bytes(), shown(folder / "p.zip")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_bit_makes_a_traceback_or_another_figure(
    reference: tuple[Path, bytes, str], place: float, bit: int, cut: bool
) -> None:
    path, content, table = reference
    changed = bytearray(content)
    position = int(place * len(content))
    if cut:
        del changed[position : position + 1 + bit]
    else:
        changed[position] ^= 1 << bit
    path.write_bytes(changed)
    figures = set(table.split("\n\n")[0].replace("*", "").replace("<u>", "").replace("</u>", "").split())
    try:
        done = bench("table", "--results", path)  # raises what is no BenchError
        if done.exit_code == 0:
            main_table = done.stdout.split("\n\n")[0].replace("*", "").replace("<u>", "").replace("</u>", "")
            assert {word for word in main_table.split() if "." in word} <= figures
        else:
            assert done.stderr.startswith("Error: ")
    finally:
        path.write_bytes(content)


# --- Merged -------------------------------------------------------------------------------------------------------


def test_folders_of_two_plans_show_the_union(plan: Callable[..., Plan], tmp_path: Path) -> None:
    first, second = plan("a", ["bicubic", "edsr"]), plan("b", ["linear", "edsr"])
    fill(first, "bicubic", "x2", 30.0, 0.9, fit=None)
    fill(first, "edsr", "x2", 33.0, 0.9)
    fill(second, "linear", "x2", 31.0, 0.9, fit=None)
    done = bench("unpack", tmp_path / "a", tmp_path / "b", tmp_path / "all")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "3 taken, 0 already there, 0 refused, 0 damaged; plans: 2 new" in done.stdout
    text = shown(tmp_path / "all")
    for word in ("bicubic", "linear", "edsr", "30.00", "31.00", "33.00"):
        assert word in text
    shutil.copytree(tmp_path / "a", tmp_path / "copied")
    subprocess.run(["cp", "-r", f"{tmp_path / 'b'}/.", str(tmp_path / "copied")], check=True)
    assert shown(tmp_path / "copied") == text


def test_the_same_plan_keeps_the_later_time(plan: Callable[..., Plan], tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(plan(name), "bicubic", "x2", 30.0, 0.9, fit=None)
    [early] = (tmp_path / "a" / "runs" / "small" / "plans").iterdir()
    late = tmp_path / "b" / "runs" / "small" / "plans" / early.name
    times = read_plan(early)[0], read_plan(late)[0]
    assert times[0] < times[1]
    assert "plans: 0 new" in bench("unpack", tmp_path / "b", tmp_path / "a").stdout
    assert (read_plan(early)[0], read_plan(late)[0]) == (times[1], times[1])
    late.write_text("{}", encoding="utf-8")
    bench("unpack", tmp_path / "a", tmp_path / "b")
    assert read_plan(late)[0] == times[1]
    assert [path.name for path in late.parent.glob("*~damaged*")] != []


CONFLICTS: dict[str, tuple[dict[str, Any], str]] = {
    "figures": ({"psnr": 35.0}, "other figures under the same keys"),
    "train key": ({"train_key": "f" * 64}, "other keys"),
    "score key": ({"score_key": "f" * 64}, "other keys"),
    "source": ({"fit": {**FIT, "source_digest": "e" * 64}}, "another source digest"),
}


@pytest.mark.parametrize("kind", CONFLICTS)
@pytest.mark.parametrize("as_pack", [True, False])
def test_a_conflict_is_refused_by_name_and_all_else_comes_over(
    plan: Callable[..., Plan], tmp_path: Path, kind: str, as_pack: bool
) -> None:
    changes, words = CONFLICTS[kind]
    changes = {"psnr": 33.456, **changes}
    mine, theirs = plan("mine"), plan("theirs")
    folder = fill(mine, "edsr", "x2", 33.456, 0.98)
    machine = MACHINE.model_copy(update={"git": "fedcba9876543210"})
    fill(theirs, "edsr", "x2", changes.pop("psnr"), 0.98, environment=machine, **changes)
    fill(theirs, "bicubic", "x2", 30.0, 0.9, fit=None)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    source = tmp_path / "theirs"
    if as_pack:
        bench("pack", source, "-o", tmp_path / "theirs.zip")
        source = tmp_path / "theirs.zip"
    done = bench("unpack", source, tmp_path / "mine")
    assert done.exit_code == 3
    assert f"refused: small/bicubic/T1-x2/edsr/seed0: the cell in {tmp_path / 'mine'} has {words}" in done.stderr
    for text in ("commit fedcba9876543210", "commit 0123456789abcdef", "trained by commit unknown"):
        assert text in done.stderr
    ours, others = read_record(folder), read_record(theirs[0].runs / "small/bicubic/T1-x2/edsr/seed0")
    for record in (ours, others):
        assert isinstance(record, DoneRecord)
        for digest in (record.train_key, record.score_key, record.source_digest, record.checksums.scores):
            assert digest[:12] in done.stderr
    assert "1 taken, 0 already there, 1 refused, 0 damaged" in done.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_record_without_figures_replaces_nothing_and_is_replaced(plan: Callable[..., Plan], tmp_path: Path) -> None:
    mine, theirs = plan("mine"), plan("theirs")
    for made, state, label in ((theirs, "failed", "edsr"), (mine, "timeout", "linear"), (theirs, "skipped", "bicubic")):
        training, cell = find(made[2], label, "x2")
        write_undone(training.folder(made[0], cell), training, cell, state, f"{state}, really")
    fill(mine, "edsr", "x2", 33.0, 0.9)
    fill(theirs, "linear", "x2", 31.0, 0.9, fit=None)
    done = bench("unpack", tmp_path / "theirs", tmp_path / "mine")
    assert (done.exit_code, "2 taken, 1 already there, 0 refused, 0 damaged" in done.stdout) == (0, True)
    text = shown(tmp_path / "mine", "status")
    for line in ("done     edsr", "done     linear", "skipped  bicubic"):
        assert line in text
    aside = list((tmp_path / "mine" / ROW / "linear" / "seed0").glob(f"{RECORD}~*"))
    assert len(aside) == 1, "set aside, not deleted"


@pytest.mark.parametrize("name", [RECORD, SCORES, "radial.csv", WEIGHTS])
def test_a_damaged_cell_is_mended_by_a_whole_one_and_never_taken(
    plan: Callable[..., Plan], tmp_path: Path, name: str
) -> None:
    mine, theirs = complete(plan("mine")), complete(plan("theirs"))
    damaged = mine / ROW / "edsr" / "seed0" / name
    damaged.write_bytes(b"nonsense")
    done = bench("unpack", mine, theirs)
    assert done.exit_code == 0
    assert f"damaged: small/bicubic/T1-x2/edsr/seed0: {damaged} is damaged" in done.stderr
    assert shown(theirs) == shown(complete(plan("fresh")))
    assert bench("unpack", theirs, mine).exit_code == 0
    assert shown(mine) == shown(theirs)
    assert [path.read_bytes() for path in damaged.parent.glob(f"{name}~damaged*")] == [b"nonsense"]


def test_files_of_a_training_that_was_killed_make_room_for_a_whole_cell(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    theirs = complete(plan("theirs"))
    plan("mine")
    cell = tmp_path / "mine" / ROW / "edsr" / "seed0"
    cell.mkdir(parents=True)
    for name in (WEIGHTS, "train.csv", EXHIBIT, SCORES):
        (cell / name).write_bytes(b"of another training")
    bench("pack", theirs, "-o", tmp_path / "p.zip")
    assert bench("unpack", tmp_path / "p.zip", tmp_path / "mine").exit_code == 0
    assert shown(tmp_path / "mine") == shown(theirs)
    assert {path.name.partition("~")[0] for path in cell.glob("*~old*")} == {WEIGHTS, "train.csv", EXHIBIT, SCORES}


def test_a_self_ensemble_of_other_weights_is_refused(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """The plain cells agree in every figure of theirs that is in no key, but were trained twice."""
    mine, theirs = plan("mine"), plan("theirs")
    for made, content in ((mine, b"one"), (theirs, b"two")):
        edsr, plus = fill(made, "edsr", "x2", 33.0, 0.9), fill(made, "edsr+", "x2", 33.5, 0.9)
        give_weights(edsr, content, plus)
    shutil.rmtree(tmp_path / "mine" / ROW / "edsr+")
    done = bench("unpack", tmp_path / "theirs", tmp_path / "mine")
    assert done.exit_code == 3
    assert "refused: small/bicubic/T1-x2/edsr+/seed0: bicubic/T1-x2/edsr/seed0 in" in done.stderr
    assert "has the weights of another training" in done.stderr
    assert not (tmp_path / "mine" / ROW / "edsr+" / "seed0" / RECORD).exists()


def test_weights_come_with_their_cell(results: Path, tmp_path: Path) -> None:
    bench("pack", results, "-o", tmp_path / "w.zip", "--weights")
    bench("unpack", tmp_path / "w.zip", tmp_path / "fresh")
    assert (tmp_path / "fresh" / ROW / "edsr" / "seed0" / WEIGHTS).read_bytes() == b"learned"
    assert not (tmp_path / "fresh" / ROW / "edsr+" / "seed0" / WEIGHTS).exists()


def test_marks_and_databases_of_a_tracker_never_come_along(results: Path, tmp_path: Path) -> None:
    (results / "mlflow.db").write_text("x", encoding="utf-8")
    (results / ROW / "edsr" / "seed0" / "mirrored-0123").write_text("x", encoding="utf-8")
    bench("unpack", results, tmp_path / "fresh")
    found = {path.name for path in (tmp_path / "fresh").rglob("*") if path.is_file()}
    assert not [name for name in found if name.startswith(("mirrored", "mlflow"))]


def test_a_cell_that_a_run_holds_is_not_taken_and_is_named(results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from mrsr_bench.store.locks import hold\n"
        "with hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    cell = tmp_path / "mine" / ROW / "edsr" / "seed0"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(cell)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        done = bench("unpack", results, tmp_path / "mine")
        holder.stdin.close()
    assert "2 taken, 0 already there, 0 refused, 0 damaged, 2 held by a run" in done.stdout
    assert "held: small/bicubic/T1-x2/edsr/seed0: " in done.stderr
    assert f"process {holder.pid}" in done.stderr or str(holder.pid) in done.stderr
    assert not (cell / RECORD).exists()
    assert "2 taken, 2 already there" in bench("unpack", results, tmp_path / "mine").stdout
    assert shown(tmp_path / "mine") == shown(results)


def test_what_became_done_meanwhile_is_not_written_over(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run is quicker, between the look and the hold."""
    from mrsr_bench.store import merging

    theirs, mine = plan("theirs"), plan("mine")
    fill(theirs, "edsr", "x2", 33.0, 0.9)

    def late(folder: Path, *args: Any, **options: Any) -> Any:
        fill(mine, "edsr", "x2", 34.0, 0.9)
        return hold(folder, *args, **options)

    monkeypatch.setattr(merging, "hold", late)
    done = bench("unpack", tmp_path / "theirs", tmp_path / "mine")
    assert (done.exit_code, "other figures" in done.stderr) == (3, True)
    assert "34.00" in shown(tmp_path / "mine")


def test_a_source_that_holds_no_results_is_wrong_usage_and_nothing_is_written(results: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = bench("unpack", results, tmp_path / "empty", tmp_path / "new")
    assert (done.exit_code, "is neither a pack nor a folder of results" in done.stderr) == (2, True)
    assert bench("unpack", results, results).exit_code == 2
    assert not (tmp_path / "new").exists()
    assert bench("pack", tmp_path / "empty", "-o", tmp_path / "e.zip").exit_code == 1


def test_a_record_in_anothers_place_is_not_handed_on(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / ROW / "bicubic", results / ROW / "better")
    done = bench("pack", results, "-o", tmp_path / "p.zip")
    assert "is damaged: it is the record of bicubic seed 0" in done.stderr
    assert not [name for name in names(tmp_path / "p.zip") if "better" in name]


def test_kept_sources_that_are_not_what_their_names_say_stay_behind(results: Path, tmp_path: Path) -> None:
    [first, *_] = sorted((results / "runs" / "small" / "sources").iterdir())
    with zipfile.ZipFile(first, "w") as archive:
        archive.writestr("evil.py", "print('evil')")
    (first.with_name(f"{'0' * 64}.zip")).write_bytes(b"")
    for done in (bench("pack", results, "-o", tmp_path / "p.zip"), bench("unpack", results, tmp_path / "fresh")):
        assert done.exit_code == 0
        assert f"{first} is damaged: it does not hold the files" in done.stderr
    assert first.name not in [path.name for path in (tmp_path / "fresh").rglob("*.zip")]


def test_paths_in_a_pack_look_like_paths(packed: Path) -> None:
    root = open_pack(packed)
    record = root / "runs" / "small" / "bicubic/T1-x2" / "edsr" / "seed0" / RECORD
    assert (record.name, record.parent.name, str(record)) == (RECORD, "seed0", f"{packed}/{ROW}/edsr/seed0/{RECORD}")
    assert (record.exists(), record.parent.exists(), record.parent.is_file()) == (True, True, False)
    assert record.stat().st_size == len(record.read_bytes())
    for name in ("../../etc/passwd", "/etc/passwd", "nothing"):
        assert not (root / name).exists()
        with pytest.raises(FileNotFoundError):
            (root / name).read_bytes()
    assert [str(path) for path in (root / "runs").glob("*/*/*/edsr")] == [f"{packed}/{ROW}/edsr"]
    assert {type(error) for error in (BadPack(packed, ""), DamagedFile(record, ""))} <= {BadPack, DamagedFile}
    assert issubclass(BadPack, BenchError)
    write_sealed(packed.parent / "x.json", {"a": 1})


def test_help_teaches() -> None:
    for command, words in {"pack": "bench table --results mine.zip", "unpack": "merges the results"}.items():
        done = bench(command, "--help")
        assert (done.exit_code, words in done.stdout) == (0, True)
    assert "Folder of records, or a pack of them" in bench("table", "--help").stdout
