"""curate observes each picture once, with any number of workers, through kills and changes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from agebench.curation.observing import engine
from agebench.curation.observing.engine import observe
from agebench.curation.observing.observers import File, Observers, PictureObserver
from agebench.curation.observing.parts import names_in_parts, parts_folder
from agebench.errors import Interrupted, Missing
from agebench.faces.detectors import choose_detector
from agebench.manifest.store import open_manifest, peek, query
from agebench.workflows.curate import CurateReport, curate, forecast

from .conftest import judged, same

Release = Callable[[int], Path]


def rows(path: Path) -> dict[str, pl.DataFrame]:
    """Everything of a manifest that must not depend on how it was made."""
    return judged(path, evidence="* EXCLUDE (detector)")


def test_one_and_two_workers_give_the_same_rows(release: Release, tmp_path: Path, detector: str) -> None:
    folder = release(70)
    (folder / "3_0_0_20170101000000000.jpg").write_bytes(b"no picture")
    found = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.duckdb"
        report = curate("utkface", root=folder, manifest=path, detector=detector, workers=workers)
        assert (report.records, report.observed, report.reused, report.unreadable) == (71, 71, 0, 1)
        found.append(rows(path))
    assert same(*found)
    assert len(found[0]["curated"]) > 60


def test_a_second_curate_observes_nothing(
    release: Release, tmp_path: Path, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = release(20), tmp_path / "a.duckdb"
    curate("utkface", root=folder, manifest=path, detector=detector, workers=1)
    before = rows(path)

    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("a picture was looked at again")

    monkeypatch.setattr("agebench.workflows.curate.observe", nothing)
    report = curate("utkface", root=folder, manifest=path)
    assert (report.observed, report.reused) == (0, 20)
    assert same(before, rows(path))


def test_a_changed_a_new_and_a_vanished_file_are_looked_at_and_no_other(
    release: Release, tmp_path: Path, detector: str, chips: list[Path]
) -> None:
    folder, path = release(20), tmp_path / "a.duckdb"
    names = sorted(p.name for p in folder.iterdir())
    (folder / names[3]).write_bytes(b"")
    curate("utkface", root=folder, manifest=path, detector=detector, workers=1)
    (folder / names[0]).write_bytes(chips[100].read_bytes())  # another picture
    (folder / names[3]).write_bytes(chips[3].read_bytes())  # no longer empty
    os.utime(folder / names[1], ns=(1, 1))  # only another time
    (folder / chips[150].name).write_bytes(chips[150].read_bytes())  # new
    report = curate("utkface", root=folder, manifest=path, workers=1)
    assert (report.records, report.observed, report.reused) == (21, 4, 17)
    fresh = tmp_path / "fresh.duckdb"
    curate("utkface", root=folder, manifest=fresh, detector=detector, workers=1)
    assert same(rows(path), rows(fresh))


def test_the_same_content_elsewhere_is_one_observation(release: Release, tmp_path: Path, detector: str) -> None:
    folder, path = release(3), tmp_path / "a.duckdb"
    [first, *_] = sorted(folder.iterdir())
    (folder / "99_0_0_20170101000000000.jpg").write_bytes(first.read_bytes())
    report = curate("utkface", root=folder, manifest=path, detector=detector, workers=1)
    with open_manifest(path) as con:
        assert con.execute("SELECT count(*) FROM image").fetchall() == [(3,)]
    assert report.reasons["exact_duplicates"] == 1


def test_a_dry_run_writes_nothing_and_says_how_long(
    release: Release, here: Path, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = release(20)
    found = forecast("utkface", root=folder, detector=detector)
    assert (found.records, found.pending) == (20, 20)
    assert found.seconds is not None
    assert found.seconds > 0
    assert list(here.iterdir()) == []
    curate("utkface", root=folder, detector=detector, workers=1)
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    assert forecast("utkface", root=folder).pending == 0
    assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before


# --- interruptions ---------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-c", "from agebench.cli import main; main()"]


def start(folder: Path, path: Path, detector: str) -> subprocess.Popen[str]:
    arguments = ["curate", "utkface", "--root", folder, "--manifest", path, "--detector", detector, "--workers", "2"]
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def undisturbed(
    chips: list[Path], detector: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, pl.DataFrame], float]:
    """A release of 200 chips, the rows of a run that nobody disturbs, and the seconds it took."""
    folder = tmp_path_factory.mktemp("release")
    for chip in chips:
        (folder / chip.name).write_bytes(chip.read_bytes())
    path = tmp_path_factory.mktemp("whole") / "a.duckdb"
    began = time.monotonic()
    run = start(folder, path, detector)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert json.loads(out)["observed"] == len(chips)
    return folder, rows(path), time.monotonic() - began


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("part", [(0.3, 0.7), (0.7, 1.0)])
def test_a_run_that_is_stopped_at_any_moment_ends_in_the_same_rows(
    undisturbed: tuple[Path, dict[str, pl.DataFrame], float],
    tmp_path: Path,
    detector: str,
    blow: signal.Signals,
    part: tuple[float, float],
) -> None:
    folder, expected, seconds = undisturbed
    path = tmp_path / "a.duckdb"
    run = start(folder, path, detector)
    moment = random.uniform(*part) * seconds
    try:
        out, err = run.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        run.send_signal(blow)
        out, err = run.communicate(timeout=120)
        assert "Traceback" not in err or blow == signal.SIGTERM, err
        if blow == signal.SIGINT and run.returncode == 130:
            error = json.loads(out)["error"]
            assert error["kind"] == "Interrupted"
            assert "kept" in error["message"] or error["message"] == "Stopped."
    report = curate("utkface", root=folder, manifest=path, detector=detector, workers=2)
    assert report.records == report.observed + report.reused
    assert same(expected, rows(path)), f"stopped after {moment:.2f} s"
    assert not parts_folder(path).exists()


# Runs first in every process of the run: each look is written down, and takes long enough to be struck in its midst.
WRITE_LOOKS_DOWN = """
import os, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "agebench.curation.observing.worker":
            sys.meta_path.remove(self)
            from agebench.curation.observing.observers import PictureObserver
            look = PictureObserver.observe
            def written_down(self, files):
                def one_by_one():
                    for file in files:
                        with open(os.environ["LOOKS"], "a") as handle:
                            handle.write(file.path + "\\n")
                        time.sleep(0.02)
                        yield file
                return look(self, one_by_one())
            PictureObserver.observe = written_down
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
def test_killed_twenty_times_the_rows_are_the_same_and_a_batch_a_worker_is_all_that_is_lost(
    undisturbed: tuple[Path, dict[str, pl.DataFrame], float],
    tmp_path: Path,
    detector: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, expected, _ = undisturbed
    (tmp_path / "sitecustomize.py").write_text(WRITE_LOOKS_DOWN)
    looks, path = tmp_path / "looks", tmp_path / "a.duckdb"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("LOOKS", str(looks))
    moments = random.Random(0)
    looks.touch()

    def looked() -> int:
        return len(looks.read_text().splitlines())

    def kept() -> int:
        """Pictures whose observations are on disk."""
        if not path.exists():
            return 0
        with open_manifest(path) as con:
            folded = query(con, "SELECT part, path FROM content WHERE sha256 IS NOT NULL")
        return len(pl.concat([folded, names_in_parts(path)]).unique())

    killed, finished = 0, 0
    while killed < 20 or not finished:
        before, had, more = looked(), kept(), moments.randrange(1, 60)
        run = start(folder, path, detector)
        while killed < 20 and run.poll() is None and looked() < before + more:
            time.sleep(0.005)
        if killed < 20 and run.poll() is None:
            time.sleep(moments.uniform(0, 0.1))
            run.kill()
            killed += 1
        _, err = run.communicate()
        time.sleep(0.5)  # until its workers have seen that it is gone
        if run.returncode == 0:  # finished: once more from nothing, so that all moments are struck
            finished += 1
            assert same(expected, rows(path))
            path.unlink()
        else:
            assert run.returncode == -signal.SIGKILL, err
            assert looked() - before - (kept() - had) <= 2 * engine.BATCH  # of each of the two workers one batch


def test_ctrl_c_keeps_what_was_observed_and_the_next_run_goes_on(
    release: Release, tmp_path: Path, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = release(30), tmp_path / "a.duckdb"
    monkeypatch.setattr(engine, "BATCH", 5)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"Stopped after \d+ of 30 pictures; what was observed is kept"):
        curate("utkface", root=folder, manifest=path, detector=detector, workers=1, on_progress=stop)
    report = curate("utkface", root=folder, manifest=path, workers=1)
    assert report.reused >= 5
    assert report.observed + report.reused == 30


def test_a_killed_change_of_detector_leaves_nothing_curated(release: Release, tmp_path: Path, detector: str) -> None:
    """Its old verdicts speak of faces that are no longer in force."""
    folder, path = release(10), tmp_path / "a.duckdb"
    curate("utkface", root=folder, manifest=path, detector="none", workers=1)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        curate("utkface", root=folder, manifest=path, detector=detector, workers=1, on_progress=stop)
    assert len(rows(path)["curated"]) == 0
    assert curate("utkface", root=folder, manifest=path, workers=1).kept > 5


# --- detectors -------------------------------------------------------------------------------------------------


def test_the_detector_of_the_first_run_is_remembered_and_only_the_flag_changes_it(
    release: Release, tmp_path: Path, detector: str, scrfd: Path
) -> None:
    folder, path = release(6), tmp_path / "a.duckdb"
    weights = tmp_path / "mine.onnx"
    weights.write_bytes(scrfd.read_bytes())
    first = curate("utkface", root=folder, manifest=path, detector_model=weights, workers=1)
    assert first.detector is not None
    assert first.detector.startswith("mine-")
    again = curate("utkface", root=folder, manifest=path, workers=1)
    assert (again.detector, again.observed) == (first.detector, 0)
    weights.unlink()
    with pytest.raises(Missing, match=r"was observed with mine-.*does not work here.*--detector") as error:
        curate("utkface", root=folder, manifest=path, workers=1)
    assert error.value.exit_status == 3
    assert peek(path)["detector"] == first.detector
    other = curate("utkface", root=folder, manifest=path, detector=detector, workers=1)
    assert (other.observed, other.kept) == (6, first.kept)
    assert other.detector != first.detector
    assert curate("utkface", root=folder, manifest=path, workers=1).detector == other.detector


def test_another_version_of_the_remembered_detector_is_told(
    release: Release, tmp_path: Path, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = release(3), tmp_path / "a.duckdb"
    curate("utkface", root=folder, manifest=path, detector=detector, workers=1)
    monkeypatch.setattr("agebench.faces.detectors.yuface.POLICY", 99)
    with pytest.raises(Missing, match=r"was observed with .* here is .*-p99"):
        curate("utkface", root=folder, manifest=path, workers=1)


def test_no_detector_is_remembered_too_and_its_checks_are_not_run(release: Release, tmp_path: Path) -> None:
    folder, path = release(4), tmp_path / "a.duckdb"
    first = curate("utkface", root=folder, manifest=path, detector="none", workers=1)
    assert first.not_run == ["no_face"]
    assert first.detector is None
    again = curate("utkface", root=folder, manifest=path, workers=1)
    assert (again.observed, again.detector, again.not_run) == (0, None, ["no_face"])


def test_a_picture_that_the_detector_fails_on_is_that_records_fault(tmp_path: Path, scrfd: Path) -> None:
    """SCRFD raises on 5 by 4000 pixels."""
    folder = tmp_path / "release"
    folder.mkdir()
    Image.new("RGB", (5, 4000), "gray").save(folder / "30_0_0_20170101000000000.jpg")
    Image.fromarray(np.full((200, 200, 3), 99, np.uint8)).save(folder / "31_0_0_20170101000000001.jpg")
    watch = PictureObserver({"utkface": folder}, Observers(choose_detector("auto", scrfd)))
    odd, plain = watch.observe([File("utkface", p.name, 1, 1) for p in sorted(folder.iterdir())])
    assert (odd["image"]["width"], odd["image"]["height"]) == (5, 4000)
    assert odd["error"] is None
    assert odd["observed"][1]["error"] or odd["faces"] == []
    assert plain["faces"] == []
    path = tmp_path / "a.duckdb"
    report = curate("utkface", root=folder, manifest=path, detector_model=scrfd, workers=1)
    assert (report.records, report.unreadable) == (2, 0)


def test_hostile_files_are_rows_with_a_reason(tmp_path: Path, detector: str, chips: list[Path]) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    names = [f"{30 + i}_0_0_2017010100000000{i}.jpg" for i in range(7)]
    good = chips[0].read_bytes()
    for name, content in zip(names, [good, b"", b"text", good[: len(good) // 2], b"\x89PNG\r\n\x1a\n"], strict=False):
        (folder / name).write_bytes(content)
    os.mkfifo(folder / names[5])
    (tmp_path / "secret.jpg").write_bytes(good)
    choice = choose_detector(detector)
    files = [File("utkface", n, 1, 1, "empty" if i == 1 else None) for i, n in enumerate(names)]
    files.append(File("utkface", "../secret.jpg", 1, 1))
    schema = {"bytes": pl.Int64, "mtime": pl.Int64, "fault": pl.Utf8, "sha256": pl.Utf8, "todo": pl.List(pl.Utf8)}
    frame = pl.DataFrame(files, schema_overrides=schema, orient="row", schema=File._fields)
    observe(frame, {"utkface": folder}, tmp_path / "a.duckdb", observers=Observers(choice), workers=1)
    import pyarrow as pa

    [file] = parts_folder(tmp_path / "a.duckdb").glob("*.arrows")
    found = pl.from_arrow(pa.ipc.open_stream(file).read_all())
    errors = dict(found.select("path", "error").iter_rows())  # type: ignore[union-attr]
    assert [errors[n] for n in names] == [
        None,
        "empty",
        "not_a_picture",
        "truncated",
        "not_a_picture",
        "empty",
        "missing",
    ]
    assert errors["../secret.jpg"] == "outside_release"


# --- the published sets ----------------------------------------------------------------------------------------


def test_fg_net_itself_is_curated_whole(fg_net: CurateReport) -> None:
    assert (fg_net.records, fg_net.kept, fg_net.rejected, fg_net.unreadable) == (1002, 1002, 0, 0)
    with open_manifest(fg_net.manifest) as con:
        [facts] = con.execute("SELECT count(DISTINCT subject_id), min(age), max(age) FROM record").fetchall()
    assert facts == (82, 0, 69)
    from agebench.recipes import load_card

    assert peek(fg_net.manifest)["label_fingerprint"] == load_card("fg-net").expected.labels


def test_fg_nets_faces_are_found_where_people_put_the_eyes(fg_net: CurateReport, shared: Path, detector: str) -> None:
    if detector != "yuface":
        pytest.skip("the bounds are yuface's")
    with open_manifest(fg_net.manifest) as con:
        found = query(con, "SELECT path, faces, landmarks FROM curated JOIN evidence USING (record_id, path)")
    assert (found["faces"] > 0).sum() >= 998
    errors = []
    for path, landmarks in found.filter(pl.col("faces") > 0).select("path", "landmarks").iter_rows():
        lines = (
            (shared / "fg-net" / "points" / f"{Path(path).stem.lower()}.pts").read_text().split("{")[1].split("}")[0]
        )
        points = np.array(lines.split(), dtype=float).reshape(68, 2)
        eyes = points[[31, 36]]
        eyes = eyes[np.argsort(eyes[:, 0])]
        ours = np.array(landmarks[:4]).reshape(2, 2)
        errors.append(np.hypot(*(ours - eyes).T).max() / np.hypot(*(eyes[1] - eyes[0])))
    assert np.mean(np.array(errors) <= 0.15) >= 0.94
    assert np.mean(np.array(errors) <= 0.25) >= 0.985


def test_the_whole_metadata_of_cacd_is_curated(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    root = shared / "real-metadata" / "cacd"
    report = curate("cacd", root=root, manifest=path, detector="none")
    assert (report.records, report.unreadable, report.rejected) == (163_446, 163_446, 163_446)
    assert report.reasons["missing_file"] == 163_446
    assert "No picture could be read" in report.notes[-1]
    again = curate("cacd", root=root, manifest=path)
    assert (again.observed, again.reused) == (0, 163_446)
