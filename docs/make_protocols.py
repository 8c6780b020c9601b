"""Write version, digest and cost of every page in docs/protocols, from the protocols and the dry run.

    .venv/bin/python docs/make_protocols.py        2 minutes

GPU hours are counted, for no machine and with no record: `bench run --protocol NAME --dry-run` on a fresh checkout.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from click.testing import CliRunner

from mrsr_bench.cli import main
from mrsr_bench.protocol.loading import Loaded, load
from mrsr_bench.system.files import write_text

PAGES = sorted((Path(__file__).parent / "protocols").glob("*.md"))
COST = re.compile(r"<!-- cost -->.*?<!-- end of cost -->", re.DOTALL)


def heading(loaded: Loaded) -> str:
    """The first lines of a protocol's page."""
    protocol = loaded.protocol
    return f"# {protocol.name}\n\nVersion {protocol.version}, digest `{loaded.digest[:12]}`.\n"


def cost(name: str) -> str:
    """What the dry run says, as a sentence or two."""
    run = _dry_run("run", name)
    cells, trainings = re.search(r"(\d+) cells of (\d+) trainings", run).groups()  # type: ignore[union-attr]
    volumes = re.search(r"= ([\d,]+) volumes", run)[1]  # type: ignore[index]
    cache = re.search(r"cache: ([\d.]+ [MG]B)", run)[1]  # type: ignore[index]
    search = f", and {_hours(_dry_run('rates', name))} for `bench rates`" if load(name).protocol.rates else ""
    return (
        f"{cells} cells ({trainings} trainings), {volumes} volumes, {cache} of cache, {_hours(run)} GPU hours{search}: "
        f"`bench run --protocol {name} --dry-run`, an estimate at 10 TFLOP/s sustained, half of an A100's float32 "
        "peak, not measured. Validation, reading and scoring are left out."
    )


def _dry_run(command: str, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        arguments = [command, "--protocol", name, "--dry-run", "--results", f"{folder}/none"]
        return CliRunner().invoke(main, arguments, catch_exceptions=False).output


def _hours(text: str) -> str:
    total = next(line for line in text.splitlines() if line.startswith("total")).split()[-1]
    return f"about {total}"


def with_facts(page: str, name: str) -> str:
    """The page with its heading and its cost made again."""
    body = re.sub(r"\A# .*\n\nVersion .*\n", lambda match: heading(load(name)), page)
    return COST.sub(lambda match: f"<!-- cost -->\n{cost(name)}\n<!-- end of cost -->", body)


if __name__ == "__main__":
    for path in PAGES:
        write_text(path, with_facts(path.read_text(encoding="utf-8"), path.stem))
