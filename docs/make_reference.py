"""Writes the tables of results/reference/*.md, each between two marks. The first mark holds the command that prints it.

python docs/make_reference.py
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from mrsr_bench.cli import main
from mrsr_bench.system.files import write_text

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "results" / "reference").glob("*.md"))
BLOCK = re.compile(r"<!-- made by docs/make_reference\.py: bench (.*?) -->\n.*?<!-- end of the table -->", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with the table of every command in it made again."""
    return BLOCK.sub(_block, page)


def _block(match: re.Match[str]) -> str:
    """A command's block, with what it prints from the packs of the checkout, whatever the working directory."""
    arguments = shlex.split(match[1])
    paths = [str(ROOT / argument) if argument.endswith(".zip") else argument for argument in arguments]
    printed = CliRunner().invoke(main, paths, catch_exceptions=False)
    assert printed.exit_code == 0, printed.output
    return f"<!-- made by docs/make_reference.py: bench {match[1]} -->\n\n{printed.stdout}\n<!-- end of the table -->"


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, with_tables(path.read_text(encoding="utf-8")))
