"""README.md, CONTRIBUTING.md and docs/: what they show can be typed. Python runs, commands parse, protocols load."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from conftest import write_small_protocol
from ruamel.yaml import YAML

from mrsr_bench.cli import main
from mrsr_bench.protocol.loading import load
from mrsr_bench.registry import methods

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN_ELSEWHERE = "mrsr_bench.run("
"""test_start.py runs the example that has this, and compares its figures with the command's."""
VARIABLE = re.compile(r"\$\w+")
SHELL = ("", "bash", "console")
FILES = (".py", ".zip", ".yaml", ".csv", ".svg")
"""Endings of files in a command; a word without one is a folder of the reader's, or no path."""


@dataclass(frozen=True)
class Block:
    place: str
    language: str
    text: str
    introduction: str
    """The paragraph before it."""

    @property
    def saved_as(self) -> str | None:
        """The file that the paragraph before says to put it into."""
        name = re.search(r"into `([\w.]+\.py)`:$", self.introduction)
        return name[1] if name else None


def blocks_of(page: Path) -> list[Block]:
    text, blocks = page.read_text(encoding="utf-8"), []
    for block in FENCED.finditer(text):
        earlier = text[: block.start()]
        place = f"{page.relative_to(ROOT)}:{earlier.count(chr(10)) + 1}"
        blocks.append(Block(place, block[1], block[2], earlier.rstrip().rpartition("\n\n")[2]))
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def with_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def by_place(blocks: Iterable[Block]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in blocks])


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {block.language for block in BLOCKS} == {"", "bash", "console", "python", "yaml"}


# Python

PYTHON = [block for block in with_language("python") if RUN_ELSEWHERE not in block.text]
RUN_ALL = """
import json, runpy, sys, traceback
errors = {}
for name in sys.argv[1:]:
    try:
        runpy.run_path(name, run_name="docs_block")
    except Exception:
        errors[name] = traceback.format_exc()
print("errors:", json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Place of a block → what running it raised. One child runs them all, in a folder with the docs' own package."""
    folder = tmp_path_factory.mktemp("docs")
    [network] = [block for block in PYTHON if block.saved_as == "mine.py"]
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "mine.py").write_text(network.text, encoding="utf-8")
    names = {f"block{number}.py": block for number, block in enumerate(PYTHON)}
    for name, block in names.items():
        (folder / name).write_text(block.text, encoding="utf-8")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", RUN_ALL, *names],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    _, found, said = done.stdout.rpartition("errors:")
    assert found, done.stdout + done.stderr
    return {names[name].place: error for name, error in json.loads(said).items()}


@pytest.mark.long
@by_place(PYTHON)
def test_a_python_block_runs(block: Block, errors: dict[str, str]) -> None:
    assert errors.get(block.place) is None, errors[block.place]


def test_one_python_block_is_run_by_another_test() -> None:
    assert len(with_language("python")) == len(PYTHON) + 1


@pytest.mark.slow
def test_the_network_of_the_readme_keeps_the_contract(tmp_path: Path) -> None:
    [network] = [block for block in PYTHON if block.saved_as]
    (tmp_path / "mine.py").write_text(network.text, encoding="utf-8")
    command = [sys.executable, "-m", "mrsr_bench", "check", "mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The contract is kept" in done.stdout


# Commands


def commands(block: Block) -> list[list[str]]:
    """The words of each line that a reader types: all lines, or those after a $ where output is shown too.

    A block without a language may show something else; a comment there follows two spaces.
    """
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    if block.language == "":
        lines = [line.partition("  ")[0] for line in lines if line.startswith("bench ")]
    return [words for line in lines if (words := plain(shlex.split(VARIABLE.sub("1", line), comments=True)))]


def plain(words: list[str]) -> list[str]:
    """The command that a line of a script runs, here or on another machine; nothing for a line of the shell's own."""
    if not words or words[0] in ("export", "for", "done", "wait"):
        return []
    if words[0] == "ssh":
        return shlex.split(words[2])
    return words[1:] if words[0] == "srun" else words


def parse(words: list[str], complete: bool = True) -> dict[str, object]:
    """What the commands' own parsers read from the words after `bench`; nothing is invoked.

    ClickException where a command or option does not exist, a value does not fit or, if `complete`, something lacks.
    """
    command: click.Command = main
    context = None
    name, rest, values = "bench", list(words), {}
    while True:
        try:
            context = command.make_context(name, rest, parent=context)
        except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            if complete:
                raise
            return values
        values |= context.params
        if not isinstance(command, click.Group):
            return values
        name, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert subcommand is not None
        command = subcommand


@pytest.fixture
def _files_of_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in the docs need not exist here; which must is a test of its own."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: self.coerce_path_result(value))


@pytest.mark.usefixtures("_files_of_a_reader")
@by_place(with_language(*SHELL))
def test_commands_are_those_of_the_suite(block: Block) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in commands(block):
        if words[0] == "make":
            assert words[1] in targets
        elif words[0] == "bench":
            values = parse(words[1:])
            check_names(values)
        else:
            assert words == [".", ".venv/bin/activate"], f"{block.place}: no test knows this command: {words}"


def check_names(values: dict[str, object]) -> None:
    """Protocols exist, and methods, but for a reader's own file."""
    names = values.get("protocol") or ()
    for name in [names] if isinstance(names, str) else names:
        load(str(name))
    for name in values.get("methods") or ():
        if ".py" not in name:
            assert name.removesuffix("+") in methods()


def test_a_file_in_a_command_exists_or_is_made_on_its_page() -> None:
    for page in PAGES:
        made: set[str] = set()
        for block in blocks_of(page):
            made |= {block.saved_as} if block.saved_as else set()
            for words in commands(block) if block.language in SHELL else ():
                made |= {words[at + 1] for at, word in enumerate(words[:-1]) if word == "-o"}
                files = {name.rstrip("+") for word in words for name in word.split(",")}
                lacking = {name for name in files if name.endswith(FILES) and not (ROOT / name).exists()} - made
                assert not lacking, f"{block.place}: nothing makes {lacking}"


SPANS = sorted(
    {
        (str(page.relative_to(ROOT)), " ".join(span.split()))
        for page in PAGES
        for span in re.findall(r"`(bench [^`]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))
    }
)


@pytest.mark.usefixtures("_files_of_a_reader")
@pytest.mark.parametrize(("page", "span"), SPANS)
def test_a_command_in_a_sentence_is_the_suites(page: str, span: str) -> None:
    """Arguments may be left out there: `bench data` is about the command, and … stands for what does not matter."""
    parse([word for word in shlex.split(span)[1:] if word != "…"], complete=False)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("run --protocl demo", "No such option"),
        ("tabel", "No such command"),
        ("table --format docx", "Invalid value"),
        ("check", "Missing argument"),
        ("status extra", "unexpected extra argument"),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, wrong: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        parse(command.split())
    assert wrong in caught.value.format_message()


# Protocols


@by_place(with_language("yaml"))
def test_a_protocol_or_a_part_of_one_loads(block: Block, tmp_path: Path) -> None:
    content = YAML(typ="safe").load(block.text)
    is_whole = "schema" in content
    path = write_small_protocol(tmp_path, **({} if is_whole else content))
    if is_whole:
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(content, file)
    assert load(str(path)).protocol.name == content.get("name", "small")
