"""Finding methods and data sets without importing them, and plugins that are broken in every way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins import NEAREST, NETWORK, classical, write

from mrsr_bench import registry
from mrsr_bench.cli import listing
from mrsr_bench.errors import UsageError
from mrsr_bench.method import Method, TorchMethod
from mrsr_bench.planning.cells import plan_trainings
from mrsr_bench.protocol.loading import load
from mrsr_bench.registry import BrokenPlugin, Source, find_source, load_dataset, load_method

HEAVY = ("torch", "timm", "numba", "mlflow", "pandas", "lightning_fabric")


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def source(folder: Path, text: str, name: str = "mine") -> Source:
    [file] = write(folder, **{name: text})
    return registry.methods([file])[name]


# Finding


def test_built_ins_are_found_and_described_without_importing_them() -> None:
    out = python(
        "import sys, json\n"
        "from mrsr_bench import registry\n"
        "from mrsr_bench.cli import listing\n"
        "found = sorted(registry.methods()), sorted(registry.datasets())\n"
        "lines = [listing.summaries(what) for what in ('methods', 'datasets', 'protocols')]\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "ours = [n for n in sys.modules if n.startswith(('mrsr_bench.methods.', 'mrsr_bench.datasets.'))]\n"
        "print(json.dumps([found, lines, heavy, ours]))\n"
    )
    (methods, datasets), lines, heavy, ours = json.loads(out)
    assert heavy == []
    assert ours == []
    assert {"bicubic", "edsr"} <= set(methods)
    assert {"folder", "mni152"} <= set(datasets)
    assert not [name for name in (*methods, *datasets) if name.startswith("_")]
    for summaries in lines:
        for name, line in summaries.items():
            assert line, f"{name} has no docstring"
            assert "broken" not in line


@pytest.mark.parametrize("name", sorted(registry.methods()))
def test_every_built_in_method_loads(name: str) -> None:
    found = registry.methods()[name]
    assert found.kind == "built-in"
    cls = load_method(found)
    assert issubclass(cls, Method)
    assert cls().options == cls.Options()
    for preset in cls.presets:
        cls(preset)
    assert cls.paper or name not in ("bicubic", "edsr", "poan", "srcnn")


@pytest.mark.parametrize("name", sorted(registry.datasets()))
def test_every_built_in_data_set_loads(name: str) -> None:
    assert load_dataset(registry.datasets()[name]).__module__ == f"mrsr_bench.datasets.{name}"


def test_a_loose_file_is_a_method_named_as_the_file(tmp_path: Path) -> None:
    found = source(tmp_path, NETWORK, "my_net")
    assert (found.name, found.kind) == ("my_net", "file")
    assert found.summary == "A network of two layers (no paper)."
    cls = load_method(found)
    assert issubclass(cls, TorchMethod)
    assert load_method(found) is cls, "loaded once"
    assert set(registry.methods()) == set(registry.methods([found.path])) - {"my_net"}


def test_a_loose_file_that_was_edited_is_loaded_anew(tmp_path: Path) -> None:
    before = source(tmp_path, NEAREST)
    assert load_method(before).version == "1"
    after = source(tmp_path, NEAREST.replace("class Plugin(Method):", "class Plugin(Method):\n    version = '2'"))
    assert load_method(after).version == "2"
    assert before.digest != after.digest


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such method file: .*none\.py"):
        registry.methods([tmp_path / "none.py"])


def test_a_name_offered_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    [clash] = write(tmp_path, bicubic=NEAREST)
    with pytest.raises(UsageError) as caught:
        registry.methods([clash])
    assert clash in str(caught.value)
    assert str(registry.methods()["bicubic"].path) in str(caught.value)
    assert "offered twice" in str(caught.value)
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="'mine' is offered twice"):
        registry.methods([*write(tmp_path, mine=NEAREST), *write(tmp_path / "a", mine=NEAREST)])


def test_the_same_file_under_two_spellings_is_offered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [file] = write(tmp_path, mine=NEAREST)
    monkeypatch.chdir(tmp_path)
    assert "mine" in registry.methods([file, "mine.py", "./mine.py"])


def test_an_unknown_name_is_an_error_with_the_nearest_and_all() -> None:
    with pytest.raises(
        UsageError, match=r"unknown method 'bicubik'\. Did you mean 'bicubic'\? Valid: backprojection, bicubic"
    ):
        find_source("bicubik", registry.methods(), "method")
    with pytest.raises(UsageError) as caught:
        find_source("zzz", registry.methods(), "method")
    assert "Did you mean" not in str(caught.value)


# Installed packages


def install(folder: Path, entry: str, **files: str) -> str:
    """A folder that looks like site-packages with one distribution that offers `entry`."""
    about = folder / "someones_methods-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-methods\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[mrsr_bench.methods]\n{entry}\n", encoding="utf-8")
    (folder / "someones").mkdir()
    for name, text in files.items():
        (folder / "someones" / f"{name}.py").write_text(text, encoding="utf-8")
    return str(folder)


SHOW = (
    "import json, sys\n"
    "from mrsr_bench import registry\n"
    "methods = registry.methods()\n"
    "found = methods.get('theirs')\n"
    "loaded = [name for name in sys.modules if name.startswith('someones')]\n"
    "try: name = registry.load_method(found).__name__ if found else None\n"
    "except registry.BrokenPlugin as error: name = 'broken: ' + str(error)\n"
    "print(json.dumps([found and [found.kind, found.path.name, found.summary], loaded, name, 'bicubic' in methods]))\n"
)


def test_an_installed_package_offers_methods_and_is_not_imported_to_list_them(tmp_path: Path) -> None:
    init = "raise RuntimeError('imported')"
    path = install(tmp_path, "theirs = someones.theirs:Plugin", __init__=init, theirs=NEAREST)
    about, loaded, name, others = json.loads(python(SHOW, PYTHONPATH=path))
    assert about == ["package", "theirs.py", "A plugin for tests."]
    assert loaded == []
    assert name.startswith("broken: ")
    assert "does not import: RuntimeError: imported" in name
    assert others is True


TWO = (
    classical(top="from . import helper\nimport someones.helper as other\nassert helper is other")
    + "class Other(Method):\n    def upscale(self, scan, task): ...\n"
)


@pytest.mark.parametrize(
    ("entry", "loads"),
    [
        ("theirs = someones.theirs:Plugin", "Plugin"),
        ("theirs = someones.theirs:Other", "Other"),
        ("theirs = someones.theirs", "broken: .*must define exactly one subclass of Method; it defines Plugin, Other"),
        ("theirs = someones.theirs:helper", "broken: .*must define as helper a subclass of Method; it defines none"),
    ],
)
def test_an_entry_point_names_a_module_and_a_class_of_a_package(tmp_path: Path, entry: str, loads: str) -> None:
    path = install(tmp_path, entry, __init__="", theirs=TWO, helper="")
    _, _, name, _ = json.loads(python(SHOW, PYTHONPATH=path))
    assert re.fullmatch(loads, name)


def test_an_edit_anywhere_in_a_package_changes_its_digest(tmp_path: Path) -> None:
    install(tmp_path, "", __init__="", theirs=NEAREST, helper="")
    folder = tmp_path / "someones"

    def digest() -> str:
        return Source("theirs", folder / "theirs.py", "package", "someones.theirs").digest

    before = digest()
    assert before == digest()
    (folder / "helper.py").write_text("x = 1\n", encoding="utf-8")
    assert before != digest()


@pytest.mark.parametrize(
    "entry", ["theirs = someones.gone:Plugin", "theirs = gone.theirs:Plugin", "theirs = someones.gone.deep:Plugin"]
)
def test_an_entry_point_that_leads_nowhere_costs_no_other_method(tmp_path: Path, entry: str) -> None:
    path = install(tmp_path, entry, __init__="")
    about, _, _, others = json.loads(python(SHOW, PYTHONPATH=path))
    assert about is None
    assert others is True


# Broken plugins


BROKEN = {
    "syntax": ("def (:\n", r"does not import: SyntaxError"),
    "indentation": ("x = 1\n  y = 2\n", r"does not import: IndentationError"),
    "nul": ("x = 1\0\n", r"does not import: SyntaxError"),
    "raises": ("raise ValueError('no such luck')\n", r"does not import: ValueError: no such luck"),
    "missing": ("import a_module_that_is_not_there\n", r"ModuleNotFoundError: .*a_module_that_is_not_there"),
    "exits": ("import sys\nsys.exit('bye')\n", r"does not import: SystemExit: bye"),
    "exits_hard": ("import os\nos._exit(0)\n", r"the import ends its process: exit status 0"),
    "exits_hard_1": ("import os\nos._exit(1)\n", r"the import ends its process: exit status 1"),
    "segfault": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", r"the import ends its process: SIGSEGV"),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", r"the import ends its process: SIGKILL"),
    "empty": ("", r"exactly one subclass of Method; it defines none"),
    "imported": ("from mrsr_bench.methods.bicubic import Bicubic\n", r"it defines none"),
    "two": (NEAREST + NEAREST.replace("class Plugin", "class Other"), r"it defines Plugin, Other"),
    "abstract": ("from mrsr_bench.method import Method\nclass Plugin(Method):\n    pass\n", r"Plugin.*upscale"),
    "abstract_network": (
        "from mrsr_bench.method import TorchMethod\nclass Plugin(TorchMethod):\n    pass\n",
        r"Plugin.*build",
    ),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_a_broken_plugin_is_an_error_with_the_file_and_the_reason(tmp_path: Path, what: str) -> None:
    text, reason = BROKEN[what]
    found = source(tmp_path, text, what)
    with pytest.raises(BrokenPlugin, match=reason) as caught:
        load_method(found)
    assert str(found.path) in str(caught.value)


def test_a_plugin_that_hangs_at_import_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_IMPORT_SECONDS", 1)
    with pytest.raises(BrokenPlugin, match="takes over 1 s"):
        load_method(source(tmp_path, "import time\ntime.sleep(3600)\n", "hangs"))


def test_what_a_plugin_prints_at_import_is_printed_once(tmp_path: Path) -> None:
    [file] = write(tmp_path, chatty=NEAREST + "print('hello from the plugin', flush=True)\n")
    out = python(f"from mrsr_bench import registry as r\nr.load_method(r.methods([{file!r}])['chatty'])")
    assert out.count("hello from the plugin") == 1


def test_an_unreadable_file_is_listed_as_broken(tmp_path: Path) -> None:
    assert source(tmp_path, "def (:\n").summary.startswith("(broken: ")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    assert Source("bytes", tmp_path / "bytes.py", "file").summary.startswith("(broken: ")
    assert source(tmp_path, "x = 1\n", "bare").summary == ""


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("raises", BROKEN["raises"][0]),
        ("abstract", BROKEN["abstract"][0]),
        (
            "init",
            classical(more="    def __init__(self, preset=None, **options):\n        raise KeyError('at birth')\n"),
        ),
        ("no_options", classical(more="    def __init__(self, preset=None, **options):\n        pass\n")),
        ("unsure", classical(more="    def unsupported(self, task):\n        return 1 / 0\n")),
    ],
)
def test_a_broken_plugin_is_planned_as_broken_beside_whole_ones(
    write_protocol: Callable[..., Path], tmp_path: Path, what: str, text: str
) -> None:
    [file] = write(tmp_path, **{what: text})
    broken, whole = plan_trainings(load(str(write_protocol())), [file, "bicubic"])
    assert broken.broken
    assert whole.broken is None
    assert broken.base.label == what


def test_details_show_a_broken_method_and_all_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = {name: source for name, source in registry.methods().items() if name in ("bicubic", "srcnn")}
    sources |= {"raises": source(tmp_path, BROKEN["raises"][0], "raises")}
    monkeypatch.setattr(registry, "methods", lambda: sources)
    details = listing.details("methods")
    assert "no such luck" in details["raises"]["broken"]
    assert details["bicubic"]["version"]
    assert [name for name, about in details.items() if "broken" in about] == ["raises"]
