"""Protocol files: every mistake is named with file, line, key and the nearest word; digests; keys of cells."""

from __future__ import annotations

import copy
import csv
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SUBJECTS, small_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins import classical
from plugins import write as write_plugins
from ruamel.yaml import YAML

from mrsr_bench.errors import UsageError
from mrsr_bench.planning.cells import Cell, plan_trainings
from mrsr_bench.protocol.loading import FOLDS, Loaded, builtin, load

Write = Callable[..., Path]
MODEST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = """\
# A protocol with one key a line.
schema: 1
name: small
version: 1
description: a small protocol
data:
  dataset: folder
  contrasts: [T1, PD]
  split: split.csv
  crop: [1, 36, 48]
  plane: {T1: axial, PD: sagittal}
degradation:
- name: bicubic
  round: stored
scales: [2, 3]
methods:
  bicubic:
  edsr:
    preset: tiny
    options:
      blocks: 3
training:
  track: equal
  steps: 30
  batch: 2
  lr_patch: 8
  augment: dihedral
  lr: 1e-4
validation:
  every: 10
  patches: 2
seeds: [0]
scoring:
  border: 0
  round: stored
  metrics:
    psnr:
      range: volume_minmax
    ssim:
      range: volume_minmax
      window: gaussian11
      map: whole
"""
SPLIT = "subject,fold\n" + "".join(f"{name},{fold}\n" for fold, names in SUBJECTS.items() for name in names)


@pytest.fixture
def protocol(tmp_path: Path) -> Callable[..., Path]:
    """Write TEXT with changes old → new, and its split."""

    def write(*changes: tuple[str, str], text: str = TEXT, split: str | bytes = SPLIT) -> Path:
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} must stand once in the protocol"
            text = text.replace(old, new)
        (tmp_path / "split.csv").write_bytes(split if isinstance(split, bytes) else split.encode())
        path = tmp_path / "small.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path) -> list[tuple[str, str, str]]:
    """What loading and planning a file complains of: (the text of the line named, the key, the message)."""
    with pytest.raises(UsageError) as caught:
        plan_trainings(load(str(path)))
    found = []
    for message in str(caught.value).splitlines():
        matched = re.fullmatch(rf"{re.escape(str(path))}:(\d+): (?:([^ ]+): )?(.*)", message)
        assert matched, f"no file and line in {message!r}"
        line = path.read_text(encoding="utf-8").splitlines()[int(matched[1]) - 1]
        found.append((line.strip(), matched[2] or "", matched[3]))
    return found


def test_the_protocol_of_these_tests_is_right(protocol: Callable[..., Path]) -> None:
    loaded = load(str(protocol()))
    assert len(plan_trainings(loaded)) == 8
    assert loaded.split == SUBJECTS


# Mistakes in the file: (text, its replacement, the line named, the key named, words of the message)


UNKNOWN_KEYS = [
    ("seeds: [0]", "seed: [0]", "seed: [0]", "seed", "Did you mean 'seeds'?"),
    ("scoring:\n", "scoring:\n  bordr: 1\n", "bordr: 1", "scoring.bordr", "Did you mean 'border'?"),
    ("  dataset: folder", "  datset: folder", "datset: folder", "data.datset", "Did you mean 'dataset'?"),
    ("  batch: 2", "  btch: 2", "btch: 2", "training.btch", "Did you mean 'batch'?"),
    ("  every: 10", "  evry: 10", "evry: 10", "validation.evry", "Did you mean 'every'?"),
    (
        "  round: stored\nscales",
        "  rond: stored\nscales",
        "rond: stored",
        "degradation.0.rond",
        "Did you mean 'round'?",
    ),
    ("    preset: tiny", "    prset: tiny", "prset: tiny", "methods.edsr.prset", "Did you mean 'preset'?"),
    ("      window: g", "      windw: g", "windw: gaussian11", "scoring.metrics.ssim.windw", "Did you mean 'window'?"),
    ("      blocks: 3", "      blcks: 3", "blcks: 3", "methods.edsr.options.blcks", "Did you mean 'blocks'?"),
    ("schema: 1", "schema: 1\nschema_: 1", "schema_: 1", "schema_", "Did you mean 'schema'?"),
]
UNKNOWN_WORDS = [
    ("dataset: folder", "dataset: foldr", "dataset: foldr", "data.dataset", "Did you mean 'folder'?"),
    ("name: bicubic", "name: bicubc", "- name: bicubc", "degradation.0.name", "Did you mean 'bicubic'?"),
    ("  edsr:", "  edrs:", "edrs:", "methods.edrs.method", "unknown method 'edrs'. Did you mean 'edsr'?"),
    ("    preset: tiny", "    method: edrs", "method: edrs", "methods.edsr.method", "Did you mean 'edsr'?"),
    ("preset: tiny", "preset: tny", "preset: tny", "methods.edsr.preset", "Did you mean 'tiny'?"),
    ("    psnr:", "    pnsr:", "pnsr:", "scoring.metrics.pnsr", "Did you mean 'psnr'?"),
    (
        "window: gaussian11",
        "window: gauss",
        "window: gauss",
        "scoring.metrics.ssim.window",
        "'gaussian11' or 'uniform7'",
    ),
    ("track: equal", "track: eqal", "track: eqal", "training.track", "'published' or 'equal' (got 'eqal')"),
    ("PD: sagittal", "PD: sagital", "plane: {T1: axial, PD: sagital}", "data.plane.PD", "'axial', 'sagittal' or"),
    ("augment: dihedral", "augment: flips", "augment: flips", "training.augment", "'none' or 'dihedral'"),
    ("  round: stored\n  m", "  round: up\n  m", "round: up", "scoring.round", "'clipped' or 'none'"),
    ("schema: 1", "schema: 2", "schema: 2", "schema", "should be 1"),
]
WRONG_TYPES = [
    ("steps: 30", "steps: many", "steps: many", "training.steps", "integer"),
    ("steps: 30", "steps: 0", "steps: 0", "training.steps", "greater than or equal to 1"),
    ("steps: 30", "steps: 1.5", "steps: 1.5", "training.steps", "integer"),
    ("lr: 1e-4", "lr: -1", "lr: -1", "training.lr", "greater than 0"),
    ("lr: 1e-4", "lr: .nan", "lr: .nan", "training.lr", "greater than 0"),
    ("lr: 1e-4", "lr: fast", "lr: fast", "training.lr", "number"),
    ("lr: 1e-4", "lr: !python/object:os.system 3", "lr: !python/object:os.system 3", "training.lr", "number"),
    ("lr_patch: 8", "lr_patch: 3", "lr_patch: 3", "training.lr_patch", "greater than or equal to 4"),
    ("border: 0", "border: -1", "border: -1", "scoring.border", "greater than or equal to 0"),
    ("blocks: 3", "blocks: three", "blocks: three", "methods.edsr.options.blocks", "integer"),
    ("    preset: tiny", "    preset: 3", "preset: 3", "methods.edsr.preset", "string"),
    ("split: split.csv", "split: 3", "split: 3", "data.split", "string"),
    ("contrasts: [T1, PD]", "contrasts: T1", "contrasts: T1", "data.contrasts", "tuple"),
    ("contrasts: [T1, PD]", "contrasts: [T1, ../PD]", "contrasts: [T1, ../PD]", "data.contrasts.1", "pattern"),
    ("contrasts: [T1, PD]", "contrasts: [T1, T1]", "contrasts: [T1, T1]", "data.contrasts", "T1 appears twice"),
    ("crop: [1, 36, 48]", "crop: [36, 48]", "crop: [36, 48]", "data.crop.2", "required"),
    ("crop: [1, 36, 48]", "crop: [1, 0, 48]", "crop: [1, 0, 48]", "data.crop.1", "greater than 0"),
    ("scales: [2, 3]", "scales: 2", "scales: 2", "scales", "tuple"),
    ("scales: [2, 3]", "scales: [two]", "scales: [two]", "scales.0", "tuple"),
    ("scales: [2, 3]", "scales: [1]", "scales: [1]", "scales", "[1, 1, 1] does not upscale; give 2, 3, 4 or"),
    ("scales: [2, 3]", "scales: [2, [1, 2, 2]]", "scales: [2, [1, 2, 2]]", "scales", "(1, 2, 2) appears twice"),
    ("scales: [2, 3]", "scales: []", "scales: []", "scales", "at least 1 item"),
    ("seeds: [0]", "seeds: [-1]", "seeds: [-1]", "seeds.0", "greater than or equal to 0"),
    ("seeds: [0]", "seeds: [5000000000]", "seeds: [5000000000]", "seeds.0", "less than 2147483648"),
    ("seeds: [0]", "seeds: [0, 1, 0]", "seeds: [0, 1, 0]", "seeds", "0 appears twice"),
    ("name: small", "name: ..", "name: ..", "name", "pattern"),
    ("name: small", "name: a/b", "name: a/b", "name", "pattern"),
    ("  bicubic:\n", "  ../bicubic:\n", "../bicubic:", "methods.../bicubic.[key]", "pattern"),
    ("version: 1", "version: one", "version: one", "version", "integer"),
    ("description: a small protocol", "description: 2024-01-01", "description: 2024-01-01", "description", "string"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"), [*UNKNOWN_KEYS, *UNKNOWN_WORDS, *WRONG_TYPES], ids=lambda value: str(value)
)
def test_a_mistake_is_named_with_line_key_and_nearest_word(
    protocol: Callable[..., Path], old: str, new: str, line: str, key: str, words: str
) -> None:
    found = problems(protocol((old, new)))
    about = [(where, message) for where, named, message in found if named == key]
    assert len(about) == 1, found
    assert about[0][0] == line
    assert words in about[0][1]


@pytest.mark.parametrize(("old", "new", "line", "key", "words"), WRONG_TYPES, ids=lambda value: str(value))
def test_one_mistake_gives_one_message(
    protocol: Callable[..., Path], old: str, new: str, line: str, key: str, words: str
) -> None:
    if key == "data.contrasts" and "twice" not in words:
        protocol = _with_one_plane(protocol)
    assert len(problems(protocol((old, new)))) == 1


def _with_one_plane(protocol: Callable[..., Path]) -> Callable[..., Path]:
    return lambda *changes: protocol(*changes, ("plane: {T1: axial, PD: sagittal}", "plane: axial"))


@pytest.mark.parametrize(
    ("gone", "line", "key"),
    [
        ("name: small\n", "# A protocol with one key a line.", "name"),
        ("seeds: [0]\nscoring:\n  border: 0\n  round: stored\n", "scoring:", "scoring.round"),
        ("  dataset: folder\n", "data:", "data.dataset"),
        ("  round: stored\nscales", "- name: bicubic", "degradation.0.round"),
        ("      range: volume_minmax\n    ssim", "psnr: {}", "scoring.metrics.psnr.range"),
        ("      map: whole\n", "ssim:", "scoring.metrics.ssim.map"),
    ],
)
def test_a_missing_key_is_named_at_the_line_it_belongs_under(
    protocol: Callable[..., Path], gone: str, line: str, key: str
) -> None:
    instead = {"data.dataset": "", "name": "", "scoring.metrics.ssim.map": ""}.get(key)
    changes = [(gone, instead)] if instead is not None else []
    if key == "scoring.round":
        changes = [(gone, "scoring:\n  border: 0\n")]
    elif key == "degradation.0.round":
        changes = [(gone, "scales")]
    elif key == "scoring.metrics.psnr.range":
        changes = [("    psnr:\n      range: volume_minmax\n    ssim", "    psnr: {}\n    ssim")]
    [(where, named, message)] = problems(protocol(*changes))
    assert (where, named) == (line, key)
    assert "required" in message


def test_every_mistake_of_a_file_is_named_at_once(protocol: Callable[..., Path]) -> None:
    path = protocol(("steps: 30", "steps: many"), ("border: 0", "bordr: 0"), ("track: equal", "track: eqal"))
    assert {key for _, key, _ in problems(path)} == {"training.steps", "scoring.bordr", "training.track"}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("  lr: 1e-4", "  lr: 1e-4\n  lr: 2e-4", "lr: 2e-4", 'duplicate key "lr"'),
        ("version: 1", "version: 1\nname: other", "name: other", 'duplicate key "name"'),
        ("seeds: [0]", "seeds: [0", "scoring:", "expected ',' or ']'"),
        ("seeds: [0]", "\tseeds: [0]", "seeds: [0]", "cannot start any token"),
        ("lr: 1e-4", "lr: *rate", "lr: *rate", "undefined alias 'rate'"),
        ("version: 1", "version: 1\n---\nversion: 2", "---", "another document"),
    ],
)
def test_bad_yaml_is_named_with_its_line(
    protocol: Callable[..., Path], old: str, new: str, line: str, words: str
) -> None:
    [(where, _, message)] = problems(protocol((old, new)))
    assert where == line
    assert words in message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- list\n", "just words\n", "3\n"])
def test_a_file_that_is_no_mapping_is_an_error(protocol: Callable[..., Path], text: str) -> None:
    with pytest.raises(UsageError, match=r"small\.yaml:1: a protocol is a mapping of keys"):
        load(str(protocol(text=text)))


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UsageError, match=r"odd\.yaml: is not YAML"):
        load(str(tmp_path / "odd.yaml"))
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        load(str(tmp_path / "none.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UsageError, match=r"folder\.yaml: Is a directory"):
        load(str(tmp_path / "folder.yaml"))
    with pytest.raises(UsageError, match=r"unknown protocol 'deom'\. Did you mean 'demo'\?"):
        load("deom")


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.YAMLWarning")
@settings(MODEST, max_examples=60)
@given(st.data())
def test_whatever_is_written_a_file_loads_or_is_a_usage_error(
    protocol: Callable[..., Path], data: st.DataObject
) -> None:
    lines = TEXT.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        piece = data.draw(
            st.sampled_from(["", "- ", "[", "{}", "<<: {a: 1}", "&x", "*x", "? ", "!!set {a}", "null: 1", "true", "~"])
            | st.text(string.printable, max_size=6)
        )
        lines[place] = data.draw(st.sampled_from([piece, lines[place] + piece, piece + lines[place]]))
    path = protocol(text="\n".join(lines))
    try:
        loaded = load(str(path))
        plan_trainings(loaded)
    except UsageError as error:
        message = str(error)
    else:
        assert len(loaded.digest) == 64
        return
    assert str(path) in message or "split.csv" in message


# The split


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("anna,train\nbert,val\ncarl,test\n", r"split\.csv:1: the first line must be 'subject,fold'"),
        ("", r"split\.csv:1: the first line must be"),
        ("subject;fold\n", r"split\.csv:1: the first line must be"),
        (SPLIT + "gina,trian\n", r"split\.csv:8: expected 'subject,fold' with fold one of train, val, test"),
        (SPLIT + "gina\n", r"split\.csv:8: expected"),
        (SPLIT + ",train\n", r"split\.csv:8: expected"),
        (SPLIT + "anna,test\n", r"split\.csv:8: subject 'anna' is already on line 2"),
        (SPLIT + "anna,train\n", r"split\.csv:8: subject 'anna' is already on line 2"),
        (SPLIT.replace("dora,val\n", ""), r"split\.csv: no subject is in val"),
        ("subject,fold\nanna,train\n", r"split\.csv: no subject is in val and test"),
        (b"subject,fold\n\xff\xfe,train\n", r"split\.csv: cannot be read"),
    ],
)
def test_a_bad_split_is_named_with_file_and_line(protocol: Callable[..., Path], split: str | bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(str(protocol(split=split)))


def test_a_split_that_is_not_there_is_named_at_its_key(protocol: Callable[..., Path]) -> None:
    [(line, key, message)] = problems(protocol(("split: split.csv", "split: splt.csv")))
    assert (line, key) == ("split: splt.csv", "data.split")
    assert "no such file" in message


def test_a_split_beside_the_file_goes_before_a_built_in_one(protocol: Callable[..., Path], tmp_path: Path) -> None:
    name = load("demo").protocol.data.split
    path = protocol(("split: split.csv", f"split: {name}"))
    assert load(str(path)).split == load("demo").split
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(SPLIT, encoding="utf-8")
    assert load(str(path)).split == SUBJECTS


# What a right file means


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_a_learning_rate_may_be_written_in_any_way(protocol: Callable[..., Path], text: str) -> None:
    loaded = load(str(protocol(("lr: 1e-4", f"lr: {text}"))))
    assert loaded.protocol.training.lr == 1e-4
    assert loaded.digest == load(str(protocol())).digest


def test_short_forms_mean_what_they_are_short_for(protocol: Callable[..., Path]) -> None:
    short = protocol(
        ("degradation:\n- name: bicubic\n  round: stored", "degradation: {name: bicubic, round: stored}"),
        ("plane: {T1: axial, PD: sagittal}", "plane: axial"),
        ("seeds: [0]\n", ""),
    )
    long = load(str(short)).resolved()
    assert long["scales"] == [[1, 2, 2], [1, 3, 3]]
    assert long["data"]["plane"] == {"T1": "axial", "PD": "axial"}
    assert long["degradation"] == [{"name": "bicubic", "round": "stored"}]
    assert long["seeds"] == [0]
    assert long["methods"]["bicubic"] == {"method": None, "preset": None, "options": {}}
    written = protocol(
        ("scales: [2, 3]", "scales: [[1, 2, 2], [1, 3, 3]]"),
        ("plane: {T1: axial, PD: sagittal}", "plane: {PD: axial, T1: axial}"),
        ("  bicubic:\n", "  bicubic: {}\n"),
    )
    assert load(str(written)).digest == load(str(short)).digest


def test_a_plane_must_be_given_for_every_contrast(protocol: Callable[..., Path]) -> None:
    [(line, key, message)] = problems(protocol(("plane: {T1: axial, PD: sagittal}", "plane: {T1: axial}")))
    assert (line, key) == ("data:", "data")
    assert "['T1']" in message
    assert "['PD', 'T1']" in message


def test_the_equal_track_names_the_budget_that_is_missing(protocol: Callable[..., Path]) -> None:
    [(line, key, message)] = problems(protocol(("  steps: 30\n  batch: 2\n", "")))
    assert (line, key, message) == ("training:", "training", "track 'equal' needs steps, batch")


def test_the_published_track_takes_no_overrides(protocol: Callable[..., Path]) -> None:
    budget = TEXT[TEXT.index("  steps: 30") : TEXT.index("validation:")]
    [(line, _, message)] = problems(protocol(("track: equal", "track: published")))
    assert line == "training:"
    assert "remove augment, batch, lr, lr_patch, steps" in message
    published = load(str(protocol(("track: equal\n" + budget, "track: published\n"))))
    [edsr] = [t for t in plan_trainings(published, ["edsr"]) if t.base.contrast == "T1" and t.base.scale == "x2"]
    method = edsr.make_method()
    assert edsr.recipe == method.recipe  # type: ignore[attr-defined]


def test_the_equal_track_goes_before_the_recipe_and_leaves_the_rest(protocol: Callable[..., Path]) -> None:
    training = plan_trainings(load(str(protocol())), ["edsr"])[0]
    recipe = training.make_method().recipe  # type: ignore[attr-defined]
    given = {"steps": 30, "batch": 2, "lr_patch": 8, "augment": "dihedral", "lr": 1e-4}
    assert training.recipe is not None
    assert training.recipe.model_dump() == {**recipe.model_dump(), **given}


def test_a_self_ensemble_has_no_settings_of_its_own(protocol: Callable[..., Path]) -> None:
    [(line, key, message)] = problems(protocol(("  edsr:\n", "  edsr+:\n")))
    assert (line, key) == ("edsr+:", "methods.edsr+")
    assert "'edsr'" in message
    both = load(str(protocol(("      blocks: 3\n", "      blocks: 3\n  edsr+:\n"))))
    assert plan_trainings(both)[1].cells[1].label == "edsr+"


def test_a_degradation_that_appears_twice_is_named(protocol: Callable[..., Path]) -> None:
    twice = "  round: stored\n- name: bicubic\n  round: none\nscales"
    [(_, key, message)] = problems(protocol(("  round: stored\nscales", twice)))
    assert key == "degradation.1.name"
    assert "appears twice" in message


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("edrs", r"unknown method 'edrs'\. Did you mean 'edsr'\?"),
        ("edsr-smal", r"unknown method 'edsr-smal'\. Did you mean 'edsr-small'\?"),
        ("edsr:tny", r"unknown preset 'tny'\. Did you mean 'tiny'\?"),
        ("./none.py", r"no such method file: none\.py"),
    ],
)
def test_an_unknown_name_on_the_command_line_is_named(protocol: Callable[..., Path], label: str, words: str) -> None:
    small = "      blocks: 3\n  edsr-small:\n    method: edsr\n    preset: tiny\n"
    with pytest.raises(UsageError, match=words):
        plan_trainings(load(str(protocol(("      blocks: 3\n", small)))), [label])


def test_a_seed_asked_for_twice_is_one_cell(protocol: Callable[..., Path]) -> None:
    trainings = plan_trainings(load(str(protocol())), ["edsr"], [3, 1, 3])
    cells = [(t.base.contrast, t.base.scale, t.base.seed) for t in trainings]
    assert cells == [(c, s, seed) for c in ("T1", "PD") for s in ("x2", "x3") for seed in (3, 1)]


def test_no_two_cells_of_a_plan_share_a_folder(protocol: Callable[..., Path]) -> None:
    small = "      blocks: 3\n  edsr-tiny:\n    method: edsr\n    options: {blocks: 5}\n"
    loaded = load(str(protocol(("      blocks: 3\n", small))))
    with pytest.raises(UsageError, match=r"two methods have the label 'edsr-tiny'"):
        plan_trainings(loaded, ["edsr-tiny", "edsr:tiny"])
    folders = [
        cell.folder for training in plan_trainings(loaded, ["edsr+", "edsr-tiny+", "srcnn"]) for cell in training.cells
    ]
    assert len(folders) == len(set(folders)) == 4 * 5


# Digests


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in nested mappings and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
    return [leaf for key, value in items for leaf in (leaves(value, (*path, key)) or [(*path, key)])]


CONTENT: dict[str, Any] = YAML(typ="safe").load(TEXT)
OTHER: dict[tuple[Any, ...], Any] = {
    ("name",): "other",
    ("version",): 2,
    ("description",): "other words",
    ("data", "dataset"): "mni152",
    ("data", "contrasts", 1): "T2",
    ("data", "crop", 0): 2,
    ("data", "crop", 1): 24,
    ("data", "crop", 2): 24,
    ("data", "plane", "T1"): "coronal",
    ("data", "plane", "PD"): "axial",
    ("degradation", 0, "round"): "none",
    ("scales", 0): 4,
    ("scales", 1): [2, 1, 1],
    ("methods", "bicubic"): {"method": "edsr"},
    ("methods", "edsr", "preset"): "baseline",
    ("methods", "edsr", "options", "blocks"): 4,
    ("training", "steps"): 31,
    ("training", "batch"): 3,
    ("training", "lr_patch"): 9,
    ("training", "augment"): "none",
    ("training", "lr"): 1.0000001e-4,
    ("validation", "every"): 11,
    ("validation", "patches"): 3,
    ("seeds", 0): 1,
    ("scoring", "border"): 1,
    ("scoring", "round"): "none",
    ("scoring", "metrics", "psnr", "range"): "volume_max",
    ("scoring", "metrics", "ssim", "range"): "volume_max",
    ("scoring", "metrics", "ssim", "window"): "uniform7",
    ("scoring", "metrics", "ssim", "map"): "cropped",
}
"""Path of a value → another that is right too."""
FIXED = {("schema",), ("training", "track"), ("degradation", 0, "name"), ("data", "split"), ("data", "contrasts", 0)}


def test_every_value_of_the_protocol_is_changed_below() -> None:
    assert set(leaves(CONTENT)) == set(OTHER) | FIXED


def changed(path: tuple[Any, ...]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = OTHER[path]
    if path == ("data", "contrasts", 1):
        content["data"]["plane"] = {"T1": "axial", "T2": "sagittal"}
    return content


def dumped(folder: Path, content: dict[str, Any], name: str = "changed.yaml") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    return path


@pytest.mark.parametrize("path", sorted(OTHER, key=str), ids=lambda path: ".".join(map(str, path)))
def test_any_changed_value_changes_the_digest(
    protocol: Callable[..., Path], tmp_path: Path, path: tuple[Any, ...]
) -> None:
    before = load(str(protocol())).digest
    assert load(str(dumped(tmp_path, changed(path)))).digest != before


@pytest.mark.parametrize(
    "split",
    [
        SPLIT + "gina,test\n",
        SPLIT.replace("anna", "anne"),
        SPLIT.replace("fine,test", "fine,val"),
        SPLIT.replace("emil,test\n", ""),
    ],
)
def test_the_digest_changes_with_the_splits_contents(protocol: Callable[..., Path], split: str) -> None:
    assert load(str(protocol(split=split))).digest != load(str(protocol())).digest


def shuffled(node: Any, random: Any) -> Any:
    if isinstance(node, dict):
        keys = list(node)
        random.shuffle(keys)
        return {key: shuffled(node[key], random) for key in keys}
    return [shuffled(value, random) for value in node] if isinstance(node, list) else node


@settings(MODEST, max_examples=12)
@given(st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_keys_or_on_comments(
    protocol: Callable[..., Path], tmp_path: Path, random: Any
) -> None:
    before = load(str(protocol())).digest
    path = dumped(tmp_path, shuffled(CONTENT, random))
    lines = [f"{line}  # remark" for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("# a title\n\n" + "\n".join(lines) + "\n\n", encoding="utf-8")
    assert load(str(path)).digest == before


def test_the_digest_depends_neither_on_the_files_name_nor_on_its_folder(
    protocol: Callable[..., Path], tmp_path: Path
) -> None:
    before = load(str(protocol())).digest
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "split.csv").write_text(SPLIT.replace("\n", "\r\n"), encoding="utf-8")
    (tmp_path / "elsewhere" / "moved.yml").write_text(TEXT, encoding="utf-8")
    assert load(str(tmp_path / "elsewhere" / "moved.yml")).digest == before


def test_overrides_have_a_folder_and_a_digest_of_their_own(protocol: Callable[..., Path]) -> None:
    loaded = load(str(protocol()))
    assert loaded.folder == "small"
    assert loaded.override() == loaded
    folders = {
        "small": loaded,
        "small~limit=1": loaded.override(limit=1),
        "small~steps=10": loaded.override(steps=10),
        "small~limit=1,steps=10": loaded.override(limit=1, steps=10),
    }
    assert [one.folder for one in folders.values()] == list(folders)
    assert len({one.digest for one in folders.values()}) == 4
    assert loaded.override(limit=10**6).folder == "small~limit=1000000"
    assert loaded.override(steps=10).override(limit=1).folder == "small~limit=1,steps=10"
    cut = loaded.override(limit=1, steps=10)
    assert cut.split == {"train": ("anna",), "val": ("dora",), "test": ("emil",)}
    recipe = plan_trainings(cut, ["edsr"])[0].recipe
    assert recipe is not None
    assert recipe.steps == 10


# The built-in protocols


def the_digests() -> dict[str, list[str]]:
    with (builtin()["demo"].parent / "digests.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "version", "digest"]
    return {row[0]: row for row in rows[1:]}


UPDATE = (
    "raise its version and, from the checkout, write the digests anew: "
    'python -c "from mrsr_bench.protocol.loading import *; '
    "p = [load(n) for n in builtin()]; print('name,version,digest', *(f'{x.protocol.name},{x.protocol.version},"
    "{x.digest}' for x in p), sep='\\n')\" > protocols/digests.csv"
)


@pytest.mark.parametrize("name", sorted(builtin()))
def test_a_built_in_protocol_is_the_one_that_was_recorded_under_its_version(name: str) -> None:
    loaded = load(name)
    found = [name, str(loaded.protocol.version), loaded.digest]
    assert the_digests().get(name) == found, f"protocol {name} is not what digests.csv says; {UPDATE}"


def test_digests_are_recorded_of_built_in_protocols_only() -> None:
    assert set(the_digests()) == set(builtin())


@pytest.mark.parametrize("name", sorted(builtin()))
def test_a_built_in_protocol_resolves_and_shares_no_subject_between_folds(name: str) -> None:
    loaded = load(name)
    assert loaded.protocol.name == name
    trainings = plan_trainings(loaded)
    assert [training.broken for training in trainings] == [None] * len(trainings)
    assert not [training.base.label for training in trainings if training.unsupported]
    subjects = [subject for fold in FOLDS for subject in loaded.split[fold]]
    assert len(subjects) == len(set(subjects))
    assert all(loaded.split[fold] for fold in FOLDS)
    counts = "_".join(str(len(loaded.split[fold])) for fold in FOLDS)
    assert Path(loaded.protocol.data.split).stem.endswith(f"_{counts}"), "a split's name says how many are in each fold"


# Keys


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., dict[str, Cell]]:
    """Label → the T1 ×2 cells of the small protocol with changes, under overrides."""
    options: dict[str, Any] = {
        "bicubic": {},
        "edsr": {"preset": "tiny"},
        "edsr+": {},
        "linear": {},
        "linear+": {},
    }

    def make(overrides: dict[str, int] | None = None, split: str = SPLIT, **changes: Any) -> dict[str, Cell]:
        (tmp_path / "split.csv").write_text(split, encoding="utf-8")
        loaded = load(str(dumped(tmp_path, small_protocol(**{"methods": options, **changes}), "keys.yaml")))
        return by_label(loaded.override(**(overrides or {})))

    return make


def by_label(loaded: Loaded) -> dict[str, Cell]:
    found = [cell for training in plan_trainings(loaded) for cell in training.cells]
    return {cell.label: cell for cell in found if (cell.contrast, cell.factors) == ("T1", (1, 2, 2))}


def with_training(**changes: Any) -> dict[str, Any]:
    return {"training": {**small_protocol()["training"], **changes}}


def with_data(**changes: Any) -> dict[str, Any]:
    return {"data": {**small_protocol()["data"], **changes}}


def with_methods(**changes: Any) -> dict[str, Any]:
    return {"methods": {"bicubic": {}, "edsr": {"preset": "tiny"}, "edsr+": {}, "linear": {}, "linear+": {}, **changes}}


def trained_anew(before: dict[str, Cell], after: dict[str, Cell]) -> set[str]:
    return {label for label in before if before[label].train_key != after[label].train_key}


def scored_anew(before: dict[str, Cell], after: dict[str, Cell]) -> set[str]:
    return {label for label in before if before[label].score_key != after[label].score_key}


NETWORKS = {"edsr", "edsr+"}
LEARNERS = {*NETWORKS, "linear", "linear+"}
ALL = {"bicubic", *LEARNERS}
NO_CHANGE: set[str] = set()
KEY_CHANGES = [
    ("steps", with_training(steps=31), NETWORKS),
    ("learning rate", with_training(lr=2e-3), NETWORKS),
    ("batch", with_training(batch=3), NETWORKS),
    ("patch", with_training(lr_patch=10), NETWORKS),
    ("augmentation", with_training(augment="none"), NETWORKS),
    ("precision", with_training(precision="bf16-mixed"), NETWORKS),
    ("precision by the device", with_training(precision="fast"), NETWORKS),
    ("loss", with_training(loss="mse"), NETWORKS),
    ("loss of track equal written out", with_training(loss="l1"), NO_CHANGE),
    ("start", with_training(start="bicubic"), NETWORKS),
    ("start written out", with_training(start="own"), NO_CHANGE),
    ("streams", with_training(streams="row"), LEARNERS),
    ("overridden steps", {"overrides": {"steps": 7}}, NETWORKS),
    ("validation", {"validation": {"every": 11, "patches": 2, "lr_patch": 12}}, LEARNERS),
    ("seed", {"seeds": [1]}, {"edsr", "edsr+"}),
    ("training subjects", {"split": SPLIT + "gina,train\n"}, LEARNERS),
    ("validation subjects", {"split": SPLIT + "gina,val\n"}, LEARNERS),
    ("crop", with_data(crop=[2, 24, 24]), ALL),
    ("plane", with_data(plane="coronal"), ALL),
    ("data set", with_data(dataset="mni152"), ALL),
    ("degradation", {"degradation": {"name": "bicubic", "round": "none"}}, ALL),
    ("option of edsr", with_methods(edsr={"preset": "tiny", "options": {"blocks": 3}}), NETWORKS),
    ("preset of edsr", with_methods(edsr={"preset": "baseline"}), NETWORKS),
    ("option of linear", with_methods(linear={"options": {"ridge": 0.5}}), {"linear", "linear+"}),
    ("nothing", {}, NO_CHANGE),
    ("description", {"description": "other words"}, NO_CHANGE),
    ("name and version", {"name": "other", "version": 7}, NO_CHANGE),
    ("another method", with_methods(srcnn={}), NO_CHANGE),
    ("another scale", {"scales": [3, 2]}, NO_CHANGE),
    ("another contrast", with_data(contrasts=["PD", "T1"]), NO_CHANGE),
    ("another seed beside it", {"seeds": [1, 0]}, NO_CHANGE),
    ("preset written out", with_methods(edsr={"method": "edsr", "preset": "tiny", "options": {}}), NO_CHANGE),
]


@pytest.mark.parametrize(("what", "changes", "expected"), KEY_CHANGES, ids=[change[0] for change in KEY_CHANGES])
def test_a_train_key_changes_with_what_could_change_the_weights_and_with_nothing_else(
    cells: Callable[..., dict[str, Cell]], what: str, changes: dict[str, Any], expected: set[str]
) -> None:
    before, after = cells(), cells(**changes)
    assert trained_anew(before, after) == expected
    assert scored_anew(before, after) == expected, "weights that are others have other scores"


def with_scoring(**changes: Any) -> dict[str, Any]:
    return {"scoring": {**small_protocol()["scoring"], **changes}}


PSNR = {"range": "volume_minmax"}


@pytest.mark.parametrize(
    "changes",
    [
        with_scoring(border=2),
        with_scoring(round="none"),
        with_scoring(metrics={"psnr": PSNR}),
        with_scoring(metrics={**small_protocol()["scoring"]["metrics"], "psnr": {"range": "volume_max"}}),
        {"split": SPLIT + "gina,test\n"},
    ],
    ids=["border", "rounding", "metric gone", "range", "test subjects"],
)
def test_changed_scoring_changes_the_score_keys_only(
    cells: Callable[..., dict[str, Cell]], changes: dict[str, Any]
) -> None:
    before, after = cells(), cells(**changes)
    assert trained_anew(before, after) == set()
    assert scored_anew(before, after) == ALL


def test_a_limit_of_subjects_changes_the_keys_of_all_that_it_cuts(cells: Callable[..., dict[str, Cell]]) -> None:
    before, after = cells(), cells({"limit": 1})
    assert trained_anew(before, after) == LEARNERS
    assert scored_anew(before, after) == ALL
    assert scored_anew(before, cells({"limit": 1000})) == NO_CHANGE


def test_an_ensemble_shares_its_bases_training_and_not_its_scores(cells: Callable[..., dict[str, Cell]]) -> None:
    found = cells()
    for label in ("edsr", "linear"):
        assert found[label].train_key == found[f"{label}+"].train_key
        assert found[label].score_key != found[f"{label}+"].score_key
    assert len({cell.score_key for cell in found.values()}) == len(found)


def test_cells_of_other_contrasts_scales_and_seeds_have_other_keys(protocol: Callable[..., Path]) -> None:
    loaded = load(str(protocol(("plane: {T1: axial, PD: sagittal}", "plane: axial"), ("seeds: [0]", "seeds: [0, 1]"))))
    trainings = plan_trainings(loaded, ["edsr"])
    assert len({training.base.train_key for training in trainings}) == len(trainings) == 8


@pytest.mark.parametrize("chosen", [(), (4,), (6, 7)])
def test_a_method_without_chance_has_one_cell_of_seed_0_whatever_the_seeds(
    protocol: Callable[..., Path], chosen: tuple[int, ...]
) -> None:
    loaded = load(str(protocol(("seeds: [0]", "seeds: [4, 5]"))))
    for label in ("bicubic", "linear"):
        trainings = plan_trainings(loaded, [label], chosen)
        assert [(t.base.contrast, t.base.scale, t.base.seed) for t in trainings] == [
            (contrast, scale, 0) for contrast in ("T1", "PD") for scale in ("x2", "x3")
        ]


def test_a_label_may_have_seeds_of_its_own_and_a_self_ensemble_fewer(write_protocol: Callable[..., Path]) -> None:
    methods = {"srcnn": {"seeds": [7, 8]}, "edsr": {"preset": "tiny"}, "edsr+": {"seeds": [1]}}
    loaded = load(str(write_protocol(methods=methods, seeds=[0, 1, 2])))

    def planned(*chosen: int) -> list[str]:
        return [f"{cell.label} {cell.seed}" for t in plan_trainings(loaded, (), chosen) for cell in t.cells]

    assert planned() == ["srcnn 7", "srcnn 8", "edsr 0", "edsr 1", "edsr+ 1", "edsr 2"]
    assert planned(5) == ["srcnn 5", "edsr 5", "edsr+ 5"], "those of the command line hold for all"
    assert [t.first_seed for t in plan_trainings(loaded)] == [7, 7, 0, 0, 0]


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"edsr": {}, "edsr+": {"seeds": [3]}}, r"methods\.edsr\+\.seeds: 'edsr' has no seed 3"),
        ({"edsr": {"seeds": [0]}, "edsr+": {"seeds": [1]}}, r"methods\.edsr\+\.seeds: 'edsr' has no seed 1"),
        ({"edsr": {"seeds": [2, 2]}}, r"methods\.edsr\.seeds: 2 appears twice"),
        ({"edsr": {}, "edsr+": {"lr": 1e-3}}, r"no settings of its own but seeds"),
    ],
)
def test_wrong_seeds_of_a_label_are_refused_at_their_line(
    write_protocol: Callable[..., Path], methods: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_trainings(load(str(write_protocol(methods=methods, seeds=[0, 1, 2]))))


def test_a_methods_version_is_part_of_its_keys(protocol: Callable[..., Path], tmp_path: Path) -> None:
    keys = []
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        text = classical(more=f"Plugin.version = '{version}'\n")
        [file] = write_plugins(tmp_path / version, mine=text)
        keys.append(plan_trainings(load(str(protocol())), [file])[0].base.train_key)
    assert keys[0] != keys[1]


def test_keys_do_not_depend_on_where_files_lie(protocol: Callable[..., Path], tmp_path: Path) -> None:
    keys = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        [file] = write_plugins(tmp_path / folder, mine=classical())
        (tmp_path / folder / "moved.yaml").write_text(TEXT, encoding="utf-8")
        (tmp_path / folder / "split.csv").write_text(SPLIT, encoding="utf-8")
        keys.append(plan_trainings(load(str(tmp_path / folder / "moved.yaml")), [file])[0].base.score_key)
    assert keys[0] == keys[1]
