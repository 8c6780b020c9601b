"""Downloads from servers that stall, truncate, lie and come back, and tars that mean harm."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from bad_server import Server, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrsr_bench.data.obtaining import download as downloading
from mrsr_bench.data.obtaining.download import Remote, download, require_space
from mrsr_bench.data.obtaining.unpack import Unpacked, unpack
from mrsr_bench.errors import BenchError, UsageError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloading, "TIMEOUT", (2.0, 0.25))
    monkeypatch.setattr(downloading, "PAUSE", 0.001)
    with serving() as one:
        one.files["/a.tar"] = CONTENT
        yield one


def fetch(server: Server, folder: Path, lines: list[str] | None = None) -> Path:
    target = folder / "a.tar"
    download(f"{server.url}/a.tar", target, len(CONTENT), SHA, (lines if lines is not None else []).append)
    return target


def only(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


mishaps = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, len(CONTENT))),
    st.tuples(st.just("status"), st.sampled_from([500, 502, 503, 429])),
    st.tuples(st.just("redirect"), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(mishaps, max_size=5), st.booleans(), st.sampled_from(['"one"', ""]))
def test_whatever_goes_wrong_on_the_way_the_file_is_the_published_one(
    server: Server, tmp_path: Path, plan: list[tuple[str, int]], ranges: bool, tag: str
) -> None:
    server.plan, server.ranges, server.tag = list(plan), ranges, tag
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    only(tmp_path, "a.tar")
    (tmp_path / "a.tar").unlink()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_stalled_connection_is_taken_up_where_it_was(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.plan = ranges, [("stall", 200_000)]
    lines: list[str] = []
    assert fetch(server, tmp_path, lines).read_bytes() == CONTENT
    assert [byte_range for _, byte_range in server.requests] == ["", "bytes=196608-"]
    assert "trying again" in lines[0]


def test_a_server_that_stays_silent_is_given_up_and_the_next_run_goes_on_from_there(
    server: Server, tmp_path: Path
) -> None:
    server.plan = [("cut", 150_000), *[("status", 503)] * (downloading.TRIES - 1)]
    with pytest.raises(BenchError, match=r"a\.tar cannot be read: the server answers 503.*network"):
        fetch(server, tmp_path)
    only(tmp_path, "a.tar.part", "a.tar.part.json")
    kept = (tmp_path / "a.tar.part").stat().st_size
    assert kept >= 131_072
    server.requests.clear()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.tar", f"bytes={kept}-")]
    only(tmp_path, "a.tar")


@pytest.mark.parametrize(("seconds", "pause"), [(7, "7"), (86_400, "600")])
def test_a_busy_server_is_given_the_time_that_it_asks_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, pause: str
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", pauses.append)
    server.plan, lines = [("busy", seconds)], []
    assert fetch(server, tmp_path, lines).read_bytes() == CONTENT
    assert f"the server answers 429 Too Many Requests; trying again in {pause} s" in lines[0]
    assert float(pause) in pauses


@pytest.mark.parametrize("tag", ['"two"', ""])
def test_a_file_that_changed_on_the_server_is_begun_anew(server: Server, tmp_path: Path, tag: str) -> None:
    old = bytes(len(CONTENT))
    server.files["/a.tar"], server.plan = old, [("cut", 150_000), *[("status", 503)] * (downloading.TRIES - 1)]
    with pytest.raises(BenchError, match="503"):
        fetch(server, tmp_path)
    server.files["/a.tar"], server.tag, lines = CONTENT, tag, []
    assert fetch(server, tmp_path, lines).read_bytes() == CONTENT
    assert "has changed on the server; starting again" in lines[0]


def test_a_part_from_another_address_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:100_000])
    (tmp_path / "a.tar.part.json").write_text('{"url": "http://elsewhere/a.tar", "mark": "x"}')
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.tar", "bytes=100000-")]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more", b""], ids=["whole", "longer", "empty"])
def test_a_part_of_any_length_ends_as_the_whole_file(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "a.tar.part").write_bytes(part)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == (part != CONTENT)


@pytest.mark.parametrize("where", ["server", "part"])
def test_a_wrong_checksum_is_an_error_and_nothing_of_the_file_is_left(
    server: Server, tmp_path: Path, where: str
) -> None:
    wrong = b"x" + CONTENT[1:]
    if where == "server":
        server.files["/a.tar"] = wrong
    else:
        (tmp_path / "a.tar.part").write_bytes(wrong[:100])
    with pytest.raises(BenchError, match=rf"its sha256 is [0-9a-f]{{64}}, published is {SHA}.*--mirror"):
        fetch(server, tmp_path)
    only(tmp_path)


def test_a_file_of_another_size_is_refused_before_it_is_received(server: Server, tmp_path: Path) -> None:
    server.files["/a.tar"] = CONTENT[:-1]
    with pytest.raises(BenchError, match="299,999 bytes where 300,000 are published"):
        fetch(server, tmp_path)


def test_a_missing_file_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(BenchError, match=r"a\.tar: the server answers 404"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1


def test_without_a_network_it_is_said(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(BenchError, match="Is the network up"):
            fetch(server, tmp_path)


@pytest.mark.parametrize("url", ["nowhere", "ftp://a", "http://"])
def test_an_address_that_is_none_is_a_usage_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--mirror"):
        download(f"{url}/a.tar", tmp_path / "a.tar", 1, SHA, print)


@contextmanager
def disk_of(n: int) -> Iterator[None]:
    """Files of this process can take no more than `n` bytes: writing further fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_what_was_received(server: Server, tmp_path: Path) -> None:
    with (
        disk_of(200_000),
        pytest.raises(
            BenchError, match=r"a\.tar\.part: .*File too large.*kept: fix the cause and run the same command again"
        ),
    ):
        fetch(server, tmp_path)
    kept = (tmp_path / "a.tar.part").read_bytes()
    assert len(kept) > 100_000
    assert kept == CONTENT[: len(kept)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_too_little_room_is_said_before_anything_is_received(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 2 * 10**9))
    require_space(tmp_path, 2 * 10**9, "it")
    with pytest.raises(BenchError, match=r"too little room for it: 2\.1 GB are needed and 2 GB are free"):
        require_space(tmp_path, 2_100_000_000, "it")


def test_a_killed_download_goes_on_and_two_at_once_are_refused(server: Server, tmp_path: Path) -> None:
    server.plan = [("stall", 200_000)]
    code = (
        "from mrsr_bench.data.obtaining.download import download; from pathlib import Path;"
        f"download('{server.url}/a.tar', Path({str(tmp_path / 'a.tar')!r}), {len(CONTENT)}, {SHA!r}, print)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "a.tar.part"
    while not (part.is_file() and part.stat().st_size >= 131_072):
        assert child.poll() is None
        time.sleep(0.02)
    with pytest.raises(BenchError, match=r"a\.tar\.part: another process is downloading it"):
        fetch(server, tmp_path)
    child.send_signal(signal.SIGKILL)
    child.wait()
    server.requests.clear()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[0][1] >= "bytes=131072-"


def test_a_remote_file_reads_like_a_local_one(server: Server) -> None:
    server.plan = [("cut", 70_001), ("status", 503), ("cut", 1)]
    remote = Remote(f"{server.url}/a.tar", len(CONTENT), print)
    pieces = []
    while piece := remote.read(12_345):
        pieces.append(piece)
    assert b"".join(pieces) == CONTENT
    assert {len(piece) for piece in pieces[:-1]} == {12_345}


# Tars


FILES = {f"IXI{n:03d}.nii.gz": gzip.compress(np.random.default_rng(n).bytes(5000 + n), mtime=0) for n in range(4)}


def tar_of(members: dict[str, bytes] | list[tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            content = members[member] if isinstance(members, dict) else bytes(info.size)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def known(name: str) -> bool:
    return name.startswith("IXI") and name.endswith(".nii.gz")


def open_and_unpack(content: bytes, target: Path, have: dict[str, Path] | None = None, **more: object) -> Unpacked:
    if more.pop("stream", False):
        return unpack(io.BytesIO(content), "IXI-T1.tar", known, have or {}, target, **more)  # type: ignore[arg-type]
    path = target.parent / f"{target.name}.tar"
    path.write_bytes(content)
    return unpack(path, "IXI-T1.tar", known, have or {}, target, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [True, False])
def test_every_member_is_unpacked_whole(tmp_path: Path, stream: bool) -> None:
    done = open_and_unpack(tar_of({**FILES, "README": b"text"}), tmp_path, stream=stream)
    assert (done.members, done.strange, done.replaced) == (list(FILES), ["README"], [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def harmful(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "member",
    [
        harmful("../IXI000.nii.gz"),
        harmful("a/../../IXI000.nii.gz"),
        harmful("/tmp/IXI000.nii.gz"),
        harmful("IXI000.nii.gz", tarfile.SYMTYPE, "/etc/passwd"),
        harmful("IXI000.nii.gz", tarfile.LNKTYPE, "IXI001.nii.gz"),
        harmful("IXI000.nii.gz", tarfile.CHRTYPE),
        harmful("IXI000.nii.gz", tarfile.BLKTYPE),
        harmful("IXI000.nii.gz", tarfile.FIFOTYPE),
        harmful("README", tarfile.SYMTYPE, ".."),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_a_tar_that_means_harm_is_refused_and_writes_nothing(tmp_path: Path, member: tarfile.TarInfo) -> None:
    target = tmp_path / "inside" / "T1"
    target.mkdir(parents=True)
    with pytest.raises(BenchError, match=rf"IXI-T1\.tar holds the unsafe member '{member.name}'"):
        open_and_unpack(tar_of([member]), target)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [target.parent / "T1.tar"]


def test_subfolders_within_a_tar_are_left_behind(tmp_path: Path) -> None:
    open_and_unpack(tar_of({f"./deep/{name}": content for name, content in FILES.items()}), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("stream", [True, False])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_tar_is_named_and_leaves_whole_files_that_are_not_unpacked_again(
    tmp_path: Path, stream: bool, data: st.DataObject
) -> None:
    content = tar_of(FILES)
    cut = data.draw(st.integers(0, content.rindex(list(FILES.values())[-1]) + 5000))
    with pytest.raises(BenchError, match=r"IXI-T1\.tar: truncated or damaged after \d files"):
        open_and_unpack(content[:cut], tmp_path, stream=stream)
    before = {path.name: path for path in tmp_path.iterdir()}
    times = {name: path.stat().st_mtime_ns for name, path in before.items()}
    assert all(path.read_bytes() == FILES[name] for name, path in before.items())
    open_and_unpack(content, tmp_path, before, stream=stream)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in times} == times
    for path in tmp_path.iterdir():
        path.unlink()


def test_a_file_of_another_size_is_renamed_and_an_uncompressed_one_left_alone(tmp_path: Path) -> None:
    first, second = list(FILES)[:2]
    (tmp_path / first).write_bytes(b"half of it")
    (tmp_path / "IXI001.nii").write_bytes(b"uncompressed")
    have = {first: tmp_path / first, second: tmp_path / "IXI001.nii"}
    done = open_and_unpack(tar_of(FILES), tmp_path, have)
    assert done.replaced == [tmp_path / f"{first}.replaced"]
    assert done.replaced[0].read_bytes() == b"half of it"
    assert (tmp_path / first).read_bytes() == FILES[first]
    assert not (tmp_path / second).exists()


def test_a_full_disk_leaves_whole_files_only(tmp_path: Path) -> None:
    large = {**FILES, "IXI009.nii.gz": gzip.compress(np.random.default_rng(9).bytes(90_000))}
    with (
        disk_of(50_000),
        pytest.raises(BenchError, match="are whole and kept; fix the cause and run the same command again"),
    ):
        open_and_unpack(tar_of(large), tmp_path, stream=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_no_space_left_is_told_with_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match=rf"{tmp_path}: No space left on device"):
        open_and_unpack(tar_of(FILES), tmp_path)
    only(tmp_path)


class Endless(io.BytesIO):
    """Fails the test when it is read beyond `limit`."""

    limit = 0

    def read(self, n: int | None = -1) -> bytes:
        assert self.tell() <= self.limit, "more was read than is needed"
        return super().read(n)


def test_some_names_are_read_from_the_start_of_the_stream_only(tmp_path: Path) -> None:
    stream = Endless(tar_of({**FILES, "IXI009.nii.gz": bytes(1_000_000)}))
    stream.limit = 100_000
    done = unpack(stream, "IXI-T1.tar", known, {}, tmp_path, chosen=["IXI000.nii.gz"])
    assert done.members == ["IXI000.nii.gz"]
    only(tmp_path, "IXI000.nii.gz")


def test_names_that_a_tar_lacks_are_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"IXI-T1\.tar lacks 1 files.*IXI777\.nii\.gz"):
        open_and_unpack(tar_of(FILES), tmp_path, chosen=["IXI001.nii.gz", "IXI777.nii.gz"])
    only(tmp_path, "IXI001.nii.gz")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-8] + bytes(8), lambda raw: raw[:3000], lambda raw: b"no gzip"])
def test_a_wanted_file_that_fails_its_own_checksum_is_not_written(tmp_path: Path, damage: object) -> None:
    content = tar_of({**FILES, "IXI001.nii.gz": damage(FILES["IXI001.nii.gz"])})  # type: ignore[operator]
    with pytest.raises(BenchError, match=r"IXI-T1\.tar: .*IXI001\.nii\.gz (is damaged|ends too early)"):
        open_and_unpack(content, tmp_path, chosen=["IXI000.nii.gz", "IXI001.nii.gz"])
    only(tmp_path, "IXI000.nii.gz")
