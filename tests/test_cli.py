"""The command line as a user types it: what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from plugins import NO_IMPORT, RAISES, write

from mrsr_bench import registry
from mrsr_bench.cli import main


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Result]:
    """Call `bench` with results in a folder of the test's own."""

    def run(command: str, *arguments: str) -> Result:
        results = ["--results", str(tmp_path / "results")] if command in ("run", "score", "status", "table") else []
        mirror = ["--tracking-uri", "none"] if command in ("run", "score") else []
        return CliRunner().invoke(main, [command, *arguments, *results, *mirror], catch_exceptions=False)

    return run


def test_help_teaches_the_commands() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for command in ("list", "protocol", "run", "status", "data", "table"):
        assert f"\n  {command} " in text
    assert "bench table -o table.tex" in text


def test_list_names_everything_with_a_line_each(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    text = call("list").output
    assert all(f"  {name} " in text for name in ("bicubic", "poan", "demo", "ixi_midslice", "folder", "mni152"))
    chosen = {name: source for name, source in registry.methods().items() if name in ("bicubic", "srcnn", "edsr")}
    monkeypatch.setattr(registry, "methods", lambda: chosen)  # counting them all takes long; test_listing.py does
    methods = json.loads(call("list", "methods", "--json").output)
    assert methods["edsr"]["presets"]["baseline"]["blocks"] == 16
    assert methods["edsr"]["options"]["blocks"] == 32
    assert methods["srcnn"]["recipe"]["loss"] == "mse"
    assert "recipe" not in methods["bicubic"]
    assert methods["edsr"]["costs"]["edsr:baseline"]["x4"]["parameters"] == 1_515_265
    assert methods["bicubic"]["paper"].startswith("Keys")


def test_list_tells_people_the_details(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: source for name, source in registry.methods().items() if name in ("bicubic", "srcnn")}
    monkeypatch.setattr(registry, "methods", lambda: some)
    text = call("list", "--details").output
    assert "paper        Dong et al." in text
    assert "srcnn:9-1-5" in text
    assert "57,281 / 3.30" in text
    assert all(f"\n  {name} " in text for name in ("bicubic", "demo", "folder"))
    assert "digest       " in text


def test_protocol_shows_what_is_resolved_with_its_digest(call: Callable[..., Result]) -> None:
    shown = json.loads(call("protocol", "demo").output)
    assert shown["scales"] == [[1, 2, 2]]
    assert set(shown["split_subjects"]) == {"train", "val", "test"}
    assert len(shown["digest"]) == 64


def test_a_run_its_status_and_its_table(
    call: Callable[..., Result], write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    protocol, [plugin] = write_protocol(methods={"bicubic": {}, "linear": {}}), write(tmp_path, raises=RAISES)
    asked = ["--protocol", str(protocol), "--data", str(images)]

    dry = call("run", *asked, "--dry-run")
    assert (dry.exit_code, dry.output.count("\nrun  ")) == (0, 2)
    assert not (tmp_path / "results").exists()

    first = call("run", *asked)
    assert first.exit_code == 0, first.output
    assert "2 of 2 cells done." in first.output
    assert "linear: done  psnr" in first.output
    assert "2 cells are done and kept" in call("run", *asked).output
    again = call("score", "--data", str(images))
    assert (again.exit_code, "2 of 2 cells done." in again.output) == (0, True), again.output
    failing = call("run", *asked, "--methods", plugin)
    assert failing.exit_code == 3
    assert "no such luck" in failing.output

    cells = json.loads(call("status", "--json").output)["cells"]
    assert {cell["label"]: cell["state"] for cell in cells} == {"bicubic": "done", "linear": "done", "raises": "failed"}
    text = call("status", "--protocol", "small").output
    assert "failed  raises T1 x2 bicubic seed 0: RuntimeError: no such luck" in text
    for arguments in ((), ("--protocol", str(protocol)), ("--protocol", "small"), ("--format", "latex")):
        table = call("table", *arguments)
        assert table.exit_code == 0, table.output
        assert "linear" in table.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--protocol", "dmeo"], ["unknown protocol 'dmeo'", "'demo'"]),
        (["--methods", "bicubik"], ["unknown method 'bicubik'", "'bicubic'"]),
        (["--methods", "edsr:tny"], ["unknown preset 'tny'", "'tiny'"]),
        (["--methods", "./nowhere.py"], ["no such method file", "nowhere.py"]),
        (["--seeds", "0,x"], ["0,1,2"]),
        (["--scales", "5"], ["no scale '5'", "Valid: 2"]),
        (["--limit", "0"], ["--limit"]),
        (["--protocol", "ixi_midslice"], ["--data", "MRSR_DATA"]),
        (["--protocol", "ixi_midslice", "--data", "nowhere"], ["no such folder", "nowhere"]),
    ],
)
def test_a_wrong_request_says_what_to_do_and_ends_with_status_2(
    call: Callable[..., Result], arguments: list[str], words: list[str]
) -> None:
    result = call("run", *arguments)
    assert result.exit_code == 2
    assert all(word in result.output for word in words), result.output


def test_a_broken_plugin_fails_its_own_cells_only(
    call: Callable[..., Result], write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    [plugin] = write(tmp_path, no_import=NO_IMPORT)
    asked = ["--protocol", str(write_protocol()), "--data", str(images), "--methods", f"{plugin},bicubic"]
    result = call("run", *asked)
    assert result.exit_code == 3
    assert "bicubic: done" in result.output
    assert "does not import: ModuleNotFoundError" in result.output


def test_data_shows_places_and_clears_the_cache(
    call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MRSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MRSR_DATA", str(tmp_path / "data"))
    entry = tmp_path / "cache" / "folder" / "x" / "hr.npy"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(3_000_000))
    other = tmp_path / "cache" / "not-ours.txt"
    other.write_text("keep")
    text = call("data", "list").output
    assert f"{tmp_path / 'data' / 'folder'} (missing)" in text
    assert "(3 MB; MRSR_CACHE)" in text
    assert "freed 3 MB" in call("data", "clear-cache").output
    assert not entry.exists()
    assert other.exists()
