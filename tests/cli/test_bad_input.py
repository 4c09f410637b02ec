"""Whatever is wrong is a sentence with the right exit status, names the nearest names, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

Run = Callable


def told(done: object, status: int, *words: str) -> None:
    assert done.status == status, done.err  # type: ignore[attr-defined]
    text = " ".join(done.err.split())  # type: ignore[attr-defined]
    assert "Traceback" not in text
    assert "failed unexpectedly" not in text
    for word in words:
        assert word in text, (word, text)


# --- releases --------------------------------------------------------------------------------------------------


def test_a_release_that_is_not_there_says_where_to_get_it(tmp_path: Path, agebench: Run) -> None:
    told(agebench("curate", "fg-net", cwd=tmp_path), 3, "data/fg-net", "the folder does not exist", "available from",
         "non-commercial research", "images/001A02.JPG", "--root", "agebench demo")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_root_says_what_was_found(workshop: Path, agebench: Run) -> None:
    done = agebench("curate", "imdb-wiki", "--root", "data/morph", cwd=workshop)
    told(done, 3, "imdb_crop/imdb.mat", "data/morph", "Album2")


def test_a_root_that_is_one_of_the_two_folders_is_understood(workshop: Path, agebench: Run) -> None:
    done = agebench("curate", "imdb-wiki", "--root", "data/imdb-wiki/wiki_crop", "--manifest", "x.duckdb",
                    "--detector", "none", "--json", cwd=workshop)  # fmt: skip
    assert done.status == 0
    assert 0 < json.loads(done.out)["records"] < 60


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "another variable"])
def test_a_mat_that_cannot_be_read_is_a_sentence_and_the_manifest_stays(
    workshop: Path, agebench: Run, damage: str
) -> None:
    file = workshop / "data" / "imdb-wiki" / "wiki_crop" / "wiki.mat"
    content = file.read_bytes()
    if damage == "another variable":
        import scipy.io

        scipy.io.savemat(file, {"other": [1, 2]})
    else:
        file.write_bytes({"cut": content[: len(content) * 2 // 3], "text": b"hello" * 100, "empty": b""}[damage])
    manifest = workshop / "manifests" / "imdb-wiki.duckdb"
    before = manifest.read_bytes()
    told(agebench("curate", "imdb-wiki", cwd=workshop), 1, "wiki.mat")
    assert manifest.read_bytes() == before


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["curate", "imdbwiki"], "'imdb-wiki'"),
     (["curate", "imdb-wiki", "--recipe", "imdb-wiki-papr"], "'imdb-wiki-paper'"),
     (["balance", "--manifest", "imdb-wikii"], "'imdb-wiki'"),
     (["train", "neighbourhood-quick"], "'neighborhood-quick'"),
     (["show", "imdb-wiki-papr"], "'imdb-wiki-paper'"), (["cp", "neighborhod-34", "x"], "'neighborhood-34'"),
     (["train", "neighborhood-quick", "--set", "train.stpes=1"], "'steps'"),
     (["export", "--rows", "plan", "--plan", "per-class-22"], "'per-class-2'"),
     (["train", "neighborhood-quick", "--plan", "per-class-22"], "'per-class-2'")],
)  # fmt: skip
def test_unknown_names_get_the_nearest(workshop: Path, agebench: Run, arguments: list[str], near: str) -> None:
    told(agebench(*arguments, cwd=workshop), 2, near)


@pytest.mark.parametrize(
    "arguments",
    [["curate", "fg-net", "--detector", "foo"], ["curate", "fg-net", "--workers", "0"],
     ["curate", "fg-net", "--workers", "x"], ["balance", "--per-class", "0"], ["balance", "--thin-ages", "60-20"],
     ["balance", "--thin-ages", "20"], ["export"], ["export", "--rows", "foo"], ["report", "--tables", "two"],
     ["report", "--tables", "9"], ["report", "--format", "pdf"],
     ["export", "--rows", "verdicts", "--format", "xlsx"], ["export", "--rows", "verdicts", "--json"],
     ["train", "--set", "steps"], ["curate", "fg-net", "--detector", "none", "--detector-model", "x.onnx"],
     ["curate", "fg-net", "--detector", "mtcnn", "--detector-model", "x.onnx"], ["cp", "fg-net", "A B"],
     ["curate", "fg-net", "--recipe", "morph"], ["curate", "fg-net", "--recipe", "none.toml"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_with_2(workshop: Path, agebench: Run, arguments: list[str]) -> None:
    told(agebench(*arguments, cwd=workshop), 2)


def test_all_mistakes_of_a_recipe_are_told_and_nothing_is_judged(workshop: Path, agebench: Run) -> None:
    (workshop / "mine.toml").write_text(
        'name = "mine"\ndataset = "fg-net"\ntitle = "t"\n'
        '[[check]]\nname = "a"\nreject = "agee < 0"\nreason = "r"\n'
        '[[check]]\nname = "b"\nreject = "age > (SELECT 1)"\nreason = "{nam}"\n'
    )
    manifest = workshop / "manifests" / "fg-net.duckdb"
    before = manifest.read_bytes()
    done = agebench("curate", "fg-net", "--recipe", "mine.toml", cwd=workshop)
    told(done, 2, "mine.toml has 3 mistake(s)", "'agee'", "'age'", "subquery", "'nam'")
    assert manifest.read_bytes() == before


# --- manifests, plans, runs ------------------------------------------------------------------------------------


def test_the_manifest_of_another_dataset_is_refused(workshop: Path, agebench: Run) -> None:
    done = agebench("curate", "morph", "--manifest", "manifests/fg-net.duckdb", cwd=workshop)
    told(done, 1, "the manifest of 'fg-net', not of 'morph'")


def test_a_file_that_is_no_manifest_is_refused(workshop: Path, agebench: Run) -> None:
    (workshop / "x.duckdb").write_text("hello")
    for arguments in (["balance", "--manifest", "x.duckdb"], ["curate", "fg-net", "--manifest", "x.duckdb"],
                      ["export", "--rows", "verdicts", "--manifest", "x.duckdb"]):  # fmt: skip
        told(agebench(*arguments, cwd=workshop), 1, "x.duckdb is not a manifest")
    assert (workshop / "x.duckdb").read_text() == "hello"


def test_a_manifest_in_use_is_a_sentence(workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agebench.manifest.store.WAIT_SECONDS", 0.2)
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, workshop / "manifests" / "imdb-wiki.duckdb"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        told(agebench("balance", cwd=workshop), 1, f"in use by process {holder.pid}")
    finally:
        holder.kill()
        holder.wait()


def test_several_manifests_to_train_on_are_listed(workshop: Path, agebench: Run) -> None:
    shutil.move(workshop / "manifests" / "imdb-wiki.duckdb", workshop / "manifests" / "one.duckdb")
    told(agebench("balance", "--dry-run", "--json", cwd=workshop), 0)
    shutil.copy(workshop / "manifests" / "one.duckdb", workshop / "manifests" / "two.duckdb")
    told(agebench("balance", cwd=workshop), 2, "one.duckdb", "two.duckdb", "--manifest")


def test_a_stale_plan_stops_training_and_names_the_remedy(workshop: Path, agebench: Run) -> None:
    (workshop / "mine.toml").write_text(
        'name = "mine"\ndataset = "imdb-wiki"\ntitle = "t"\n'
        '[[check]]\nname = "young"\nreject = "age < 30 OR file_error IS NOT NULL"\nreason = "r"\n'
    )
    assert agebench("curate", "imdb-wiki", "--recipe", "mine.toml", cwd=workshop).status == 0
    done = agebench("train", "neighborhood-quick", cwd=workshop)
    told(done, 1, "plan 'per-class-2'", "agebench balance", "--per-class 2")
    status = json.loads(agebench("status", "--json", cwd=workshop).out)
    [problems] = [m["problems"] for m in status["manifests"] if m["dataset"] == "imdb-wiki"]
    assert any("older than the curated rows" in p for p in problems)


def test_nothing_curated_is_a_sentence(workshop: Path, agebench: Run) -> None:
    (workshop / "mine.toml").write_text(
        'name = "mine"\ndataset = "imdb-wiki"\ntitle = "t"\n'
        '[[check]]\nname = "all"\nreject = "record_id >= 0"\nreason = "r"\n'
    )
    assert agebench("curate", "imdb-wiki", "--recipe", "mine.toml", cwd=workshop).status == 0
    told(agebench("balance", cwd=workshop), 1, "no curated record")
    con = duckdb.connect(str(workshop / "manifests" / "imdb-wiki.duckdb"))
    con.execute("DELETE FROM plan_made")
    con.close()
    told(agebench("train", "neighborhood-quick", cwd=workshop), 1, "no curated record")


def test_a_run_without_its_marker_is_unfinished(workshop: Path, run_id: str, agebench: Run) -> None:
    (workshop / "runs" / run_id / "COMMITTED").unlink()
    told(agebench("evaluate", run_id, "--on", "fg-net", cwd=workshop), 1, run_id)
    told(agebench("predict", "photo.jpg", cwd=workshop), 3, "no complete run")
    report = json.loads(agebench("report", "--tables", "2", "--json", cwd=workshop).out)
    assert {row["run"] for row in report["tables"][0]["rows"]} == {None}
    status = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert [r["complete"] for r in status["runs"]] == [False]


def test_weights_that_are_no_detector_exit_with_3(workshop: Path, agebench: Run) -> None:
    (workshop / "x.onnx").write_bytes(b"hello")
    done = agebench("curate", "utkface", "--detector-model", "x.onnx", cwd=workshop)
    told(done, 3, "x.onnx")
    told(agebench("curate", "utkface", "--detector-model", "none.onnx", cwd=workshop), 3, "no detector weights")
    assert not (workshop / "manifests" / "utkface.duckdb").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(workshop: Path, agebench: Run) -> None:
    (workshop / "file").touch()
    done = agebench("curate", "utkface", "--manifest", "file/x.duckdb", "--detector", "none", cwd=workshop)
    told(done, 1, "file")
    told(agebench("export", "--rows", "verdicts", "--out", "file/x.csv", cwd=workshop), 1, "file/x.csv")


def test_names_with_brackets_are_printed_as_they_are(workshop: Path, agebench: Run) -> None:
    done = agebench("curate", "utkface", "--manifest", "a[/b]c[red].duckdb", "--detector", "none", cwd=workshop)
    assert done.status == 0, done.err
    assert "a[/b]c[red].duckdb" in "".join(done.out.split())
    shutil.copy(workshop / "photo.jpg", workshop / "p[bold]x.jpg")
    done = agebench("predict", "p[bold]x.jpg", cwd=workshop)
    assert done.status == 0, done.err
    assert "p[bold]x.jpg" in done.out


# --- interruption and bugs -------------------------------------------------------------------------------------


def test_ctrl_c_exits_with_130_and_says_what_was_kept(workshop: Path) -> None:
    shutil.rmtree(workshop / "manifests")
    code = "from agebench.cli import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", code, "train", "neighborhood-quick", "--json"],
        cwd=workshop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run.communicate(timeout=120)
    assert run.returncode == 3
    slow = f"import time, agebench.workflows.catalogue as w; w.list_declarations = lambda: (print('r', flush=True, \
file=__import__('sys').stderr), time.sleep(60)); {code}"
    run = subprocess.Popen(
        [sys.executable, "-c", slow, "ls", "--json"],
        cwd=workshop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stderr is not None
    run.stderr.readline()
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert "Stopped." in err
    assert "Traceback" not in err


def test_a_stop_within_a_query_is_a_stop_and_no_bug(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped() -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        # one thread: DuckDB looks for signals in Python's own, which else may wait for another to finish the query
        with duckdb.connect(config={"threads": 1}) as con:
            con.execute("SELECT count(*) FROM range(100_000_000_000) WHERE hash(range) = 0")  # joins would not stop

    monkeypatch.setattr("agebench.workflows.catalogue.list_declarations", stopped)
    told(agebench("ls", cwd=workshop), 130, "Stopped.", "to continue")


def test_a_bug_is_a_sentence_and_a_traceback_only_on_demand(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("agebench.workflows.catalogue.list_declarations", broken)
    done = agebench("ls", cwd=workshop)
    assert done.status == 1
    assert "ZeroDivisionError: oops" in done.err
    assert "Traceback" not in done.err
    done = agebench("ls", "--debug", cwd=workshop)
    assert done.status == 1
    assert "Traceback" in done.err


def test_no_color_is_honoured(workshop: Path) -> None:
    code = "from agebench.cli import main; main()"
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    plain, coloured = (
        subprocess.run(
            [sys.executable, "-c", code, "balance", "--dry-run"],
            cwd=workshop, capture_output=True, text=True, check=True, env=environment | more,
        ).stdout
        for more in ({"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"},
                     {"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    )  # fmt: skip
    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in plain


def test_a_forecast_of_another_datasets_manifest_is_refused(workshop: Path, agebench: Run) -> None:
    manifest = workshop / "manifests" / "morph.duckdb"
    done = agebench("curate", "fg-net", "--manifest", manifest, "--dry-run", cwd=workshop)
    assert (done.status, "the manifest of 'morph'" in done.err) == (1, True)


def test_the_demo_does_not_rebuild_somebodys_manifests(workshop: Path, agebench: Run) -> None:
    shutil.rmtree(workshop / "data")
    before = (workshop / "manifests" / "imdb-wiki.duckdb").read_bytes()
    done = agebench("demo", "--small", "--out", ".", cwd=workshop)
    assert (done.status, "the demo did not make" in done.err) == (2, True)
    assert (workshop / "manifests" / "imdb-wiki.duckdb").read_bytes() == before


def test_json_and_another_format_do_not_share_standard_output(tmp_path: Path, agebench: Run) -> None:
    done = agebench("report", "--json", "--format", "csv", cwd=tmp_path)
    assert (done.status, "--out" in done.err) == (2, True)


def test_mistakes_of_keys_and_of_sql_are_told_together(workshop: Path, agebench: Run) -> None:
    (workshop / "mine.toml").write_text(
        'name = "mine"\ndataset = "fg-net"\ntitel = "t"\n'
        '[[check]]\nname = "a"\nreject = "agee > 3"\nreason = "r"\n'
        '[[check]]\nname = "b"\nreject = "age > 3"\nreason = "{age:x}"\nvalu = "age"\n'
    )
    done = agebench("curate", "fg-net", "--root", workshop / "data" / "fg-net", "--recipe", "mine.toml", cwd=workshop)
    assert done.status == 2
    for told in ("titel: unknown key", "title: missing", "check 'b'.valu: unknown key", "check 'a'", "agee"):
        assert told in done.err


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD_FILES = {  # what is no regular file → the command that reads it
    "data/morph/morph.csv": ["curate", "morph"],
    "data/imdb-wiki/imdb_crop/imdb.mat": ["curate", "imdb-wiki"],
    "data/cacd/celebrity2000_meta.mat": ["curate", "cacd"],
    "labels.csv": ["add", "mine", "--table", "labels.csv", "--root", "data"],
    "manifests/mine.toml": ["curate", "mine"],
    "pipelines/mine.toml": ["curate", "fg-net", "--recipe", "mine"],
    "mine.toml": ["curate", "fg-net", "--recipe", "./mine.toml"],
    "models/mine.toml": ["train", "mine"],
    "models/published.toml": ["report"],
    "manifests/fg-net.duckdb": ["balance", "--manifest", "fg-net"],
    "answers.jsonl": ["review", "import", "answers.jsonl", "--manifest", "imdb-wiki"],
    "manifests/fg-net.decisions.jsonl": ["curate", "fg-net"],
}


@pytest.mark.parametrize("make", [_pipe, _endless])
@pytest.mark.parametrize("place", ODD_FILES)
def test_a_pipe_or_device_in_place_of_a_file_gets_its_sentence(
    make: Callable[[Path], None], place: str, workshop: Path, agebench: Callable
) -> None:
    def too_long(*_: object) -> None:
        raise AssertionError(f"reading {place} does not end")

    (workshop / place).parent.mkdir(exist_ok=True)
    (workshop / place).unlink(missing_ok=True)
    make(workshop / place)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(20)
    try:
        done = agebench(*ODD_FILES[place], cwd=workshop)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert done.status in (1, 2, 3)
    assert Path(place).name in done.err
    assert "failed unexpectedly" not in done.err
    if place != "manifests/fg-net.duckdb":
        assert "not a regular file" in done.err
