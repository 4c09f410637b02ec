"""Opening manifests: whose file it is, who holds it, what it may reach, and what a full disk leaves."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from agebench.curation.observing import parts as observations_module
from agebench.curation.observing.parts import PART_SCHEMA, fold_parts, write_part
from agebench.errors import AgebenchError, ManifestBusy, ManifestError, ManifestNotFound, StorageError, UsageError
from agebench.manifest import store as store_module
from agebench.manifest.places import find_manifest
from agebench.manifest.store import SCHEMA_VERSION, create, get_meta, must_be_of, open_manifest, peek, set_meta

Build = Callable[..., Path]


def test_a_new_manifest_knows_its_dataset_and_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.duckdb"
    create(path, "fg-net")
    assert peek(path) == {"schema_version": str(SCHEMA_VERSION), "dataset": "fg-net"}
    assert [p.name for p in path.parent.iterdir()] == ["a.duckdb"]


def test_the_manifest_of_another_dataset_is_refused(build: Build) -> None:
    path = build()
    with pytest.raises(ManifestError, match="manifest of 'fg-net', not of 'morph'"):
        must_be_of(path, peek(path)["dataset"], "morph")


def test_a_missing_manifest_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ManifestNotFound, match="agebench curate") as error, open_manifest(tmp_path / "no.duckdb"):
        pass
    assert error.value.exit_status == 3


def test_a_manifest_is_found_by_its_name_without_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create(Path("manifests/held-out.duckdb"), "fg-net")
    assert find_manifest("held-out") == Path("manifests/held-out.duckdb")
    with pytest.raises(UsageError, match=r"Unknown manifest or dataset 'heldout'\. Did you mean 'held-out'\?"):
        find_manifest("heldout")
    with pytest.raises(ManifestNotFound, match="agebench curate morph"):
        find_manifest("morph")


def test_a_newer_schema_is_refused_and_an_older_one_is_told(build: Build) -> None:
    path = build()
    for version, told in (
        ("99", f"up to {SCHEMA_VERSION}.* Upgrade"),
        ("4", "schema version 4.*agebench curate"),
        ("x", "Upgrade"),
    ):
        con = duckdb.connect(str(path))
        con.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [version])
        con.close()
        with pytest.raises(ManifestError, match=told), open_manifest(path):
            pass


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE t (x INT)", "CREATE TABLE meta (a INT); CREATE TABLE record (b INT)",
     "CREATE TABLE meta (key VARCHAR, value VARCHAR)"],
)  # fmt: skip
def test_a_foreign_duckdb_file_is_refused_and_left_alone(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "foreign.duckdb"
    con = duckdb.connect(str(path))
    con.execute(sql)
    con.close()
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="not a manifest"):
        peek(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"", b"\0" * 20_000, b"SQLite format 3\0" + b"\0" * 9000])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.duckdb"
    path.write_bytes(content)
    with pytest.raises(ManifestError):
        peek(path)
    assert path.read_bytes() == content


def read_all(path: Path) -> None:
    with open_manifest(path) as con:
        con.execute("SELECT count(path), count(age) FROM record").fetchall()
        con.execute("SELECT * FROM evidence").fetchall()


def test_a_manifest_cut_off_or_damaged_is_a_sentence(build: Build, tmp_path: Path) -> None:
    path = build(3000)
    content = path.read_bytes()
    for keep in (5_000, 13_000, len(content) // 2):
        cut = tmp_path / f"cut{keep}.duckdb"
        cut.write_bytes(content[:keep])
        with pytest.raises(AgebenchError) as error:
            read_all(cut)
        assert error.value.next_step


def touch(path: Path, write: bool) -> None:
    with open_manifest(path, write=write):
        pass


HOLD = """
import sys, time, duckdb
con = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_a_manifest_in_use_names_the_process_that_holds_it(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build()
    monkeypatch.setattr(store_module, "WAIT_SECONDS", 0.3)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for write in (False, True):
            with pytest.raises(ManifestBusy, match=rf"in use by process {holder.pid} \(python") as error:
                touch(path, write)
            assert error.value.exit_status == 1
            assert "with duckdb.connect(" in error.value.next_step
    finally:
        holder.kill()
        holder.wait()
    with open_manifest(path) as con:
        assert get_meta(con, "dataset") == "fg-net"


def test_whoever_finds_it_in_use_for_a_moment_waits(build: Build) -> None:
    path = build()
    con = duckdb.connect(str(path))
    threading.Timer(0.4, con.close).start()
    began = time.monotonic()
    with open_manifest(path) as other:
        assert get_meta(other, "dataset") == "fg-net"
    assert time.monotonic() - began > 0.2


def test_readers_share(build: Build) -> None:
    path = build()
    with open_manifest(path) as one, open_manifest(path) as two:
        assert get_meta(one, "dataset") == get_meta(two, "dataset") == "fg-net"


def fail_midway(path: Path) -> None:
    with open_manifest(path, write=True) as con:
        set_meta(con, mark="x")
        raise RuntimeError


def test_a_transaction_that_fails_leaves_nothing(build: Build) -> None:
    path = build()
    with pytest.raises(RuntimeError):
        fail_midway(path)
    assert "mark" not in peek(path)


# --- access to other files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_text('{0}')", "SELECT * FROM read_csv('{0}')", "SELECT * FROM '{0}'", "COPY meta TO '{0}.csv'",
     "ATTACH '{0}.db'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
     "RESET enable_external_access"],
)  # fmt: skip
def test_nothing_outside_the_manifest_can_be_reached(build: Build, tmp_path: Path, sql: str, write: bool) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises((duckdb.Error, AgebenchError)), open_manifest(build(), write=write) as con:
        con.execute(sql.format(secret)).fetchall()
    assert not (tmp_path / "secret.csv.csv").exists()


def test_a_view_of_another_file_in_a_strangers_manifest_is_a_sentence(build: Build, tmp_path: Path) -> None:
    path = build()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    con = duckdb.connect(str(path))
    con.execute(f"DROP VIEW judged CASCADE; CREATE VIEW judged AS SELECT content FROM read_text('{secret}')")
    con.close()
    for write in (False, True):
        with pytest.raises(ManifestError, match="another program"), open_manifest(path, write=write) as con:
            con.execute("SELECT * FROM judged").fetchall()


# --- full disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; only root can make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or mount is None or subprocess.run([mount, *options], capture_output=True).returncode != 0:
        pytest.skip("a small file system needs root; the simulated full disk is tested too")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def write_much(path: Path) -> None:
    with open_manifest(path, write=True) as con:
        set_meta(con, mark="x")
        many = "SELECT 'p', md5(i::VARCHAR), md5((i + 1)::VARCHAR), i, i, NULL FROM range(300000) t(i)"
        con.execute(f"INSERT INTO content {many}")


def test_a_really_full_disk_is_a_sentence_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "a.duckdb"
    create(path, "fg-net")
    with pytest.raises(StorageError, match=r"Cannot write .*a\.duckdb") as error:
        write_much(path)
    assert error.value.exit_status == 1
    assert peek(path)["dataset"] == "fg-net"
    assert "mark" not in peek(path)
    rows = pa.Table.from_pylist([{"part": "p", "path": "y" * 1000}] * 8000, schema=PART_SCHEMA)
    with pytest.raises(StorageError):
        write_part(path, rows)
    with open_manifest(path, write=True) as con:  # what was cut off is observed again
        assert len(fold_parts(con, path)) == 1
        assert con.execute("SELECT count(*) FROM content").fetchall() == [(0,)]


def test_a_full_disk_under_a_part_file_is_a_sentence(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(observations_module.pa.ipc, "new_stream", full)
    with pytest.raises(StorageError, match="No space left"):
        write_part(path, pa.Table.from_pylist([], schema=PART_SCHEMA))
