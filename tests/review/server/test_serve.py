"""Starting and ending the page: what is refused in a sentence, and what is printed."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agebench.manifest.store import open_manifest
from agebench.review.server.serve import host_names, is_loopback

TOKEN = "0123456789abcdef01"
DECISIONS = "manifests/imdb-wiki.decisions.jsonl"


def told(done: Any, status: int, *words: str) -> None:
    text = " ".join(done.err.split())
    assert done.status == status, text
    assert "Traceback" not in text
    for word in words:
        assert word in text, (word, text)


def test_what_cannot_be_served_is_said_in_a_sentence(office: Path, agebench: Any, tmp_path: Path) -> None:
    def serve(*flags: object, cwd: Path = office) -> Any:
        return agebench("review", "serve", *flags, cwd=cwd)

    told(serve("--host", "0.0.0.0"), 2, "0.0.0.0 can be reached from other machines", "--exposed")
    told(serve("--host", "::"), 2, "--exposed")
    told(serve("--token", "short"), 2, "fewer than 16 characters")
    told(serve("--reviewers", "anna"), 2, "two names")
    told(serve("--overlap", "0.5"), 2, "--reviewers")
    told(serve("--reviewers", "anna,otto", "--reviewer", "karl"), 2, "'karl' is not among --reviewers anna, otto")
    told(serve("--name", "a:1"), 2, "--exposed")
    told(serve("--port", "70000"), 2, "65535")
    told(serve("--reviewer", " "), 2, "not a valid name")
    told(serve("--host", "no.such.host.invalid", "--exposed"), 2, "Cannot listen on no.such.host.invalid")
    told(serve("--host", "192.0.2.1", "--exposed"), 2, "Cannot listen on 192.0.2.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told(serve("--port", taken.getsockname()[1]), 2, "in use", "--port 0")
    (tmp_path / "empty").mkdir()
    told(serve(cwd=tmp_path / "empty"), 3, "agebench curate")
    (office / DECISIONS).write_text("{]\n" + '{"id": 3}\n')
    told(serve(), 1, f"{DECISIONS}, line 1")
    (office / DECISIONS).unlink()
    with open_manifest(office / "manifests/imdb-wiki.duckdb", write=True) as con:
        con.execute("DELETE FROM derivation WHERE name = 'verdicts'")
    told(serve(), 1, "agebench curate")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_what_was_kept_and_prints_the_token_once(serve: Any, how: signal.Signals) -> None:
    server = serve()
    client = server.client()
    assert client.answer(client.queue()[0]).status_code == 200
    client.http.get("/?token=wrong-and-much-longer")
    found = server.end(how)
    assert found in ((130,) if how is signal.SIGINT else (-signal.SIGTERM, 143))
    assert server.output.count(TOKEN) == 1
    assert "wrong-and-much-longer" not in server.output
    if how is signal.SIGINT:
        text = " ".join(server.output.split())
        assert f"All saved answers are in {DECISIONS}" in text
        assert "`agebench curate imdb-wiki " in text
        assert text.endswith("` applies them.")
    assert len(server.lines()) == 1


def test_a_token_of_its_own_is_long_and_new_each_time(serve: Any) -> None:
    tokens = [serve(token=None).entrance.partition("token=")[2] for _ in range(2)]
    assert tokens[0] != tokens[1]
    assert min(map(len, tokens)) >= 32


def test_other_machines_are_warned_of(serve: Any) -> None:
    server = serve("--host", "0.0.0.0", "--exposed", "--name", "faces.example:443")
    assert "without encryption" in " ".join(server.output.split())
    assert "--name" not in server.output
    assert "Other machines are refused unless --name" in serve("--host", "0.0.0.0", "--exposed").output


def test_a_torn_last_line_is_repaired_and_the_page_says_so(office: Path, serve: Any) -> None:
    server = serve()
    client = server.client()
    assert client.answer(client.queue()[0]).status_code == 200
    server.end(signal.SIGKILL)
    whole = (office / DECISIONS).read_bytes()
    (office / DECISIONS).write_bytes(whole + whole[:50])
    again = serve()
    assert any("was cut off" in note for note in again.client().get("/api/queue", by="anna")["notes"])
    assert (office / DECISIONS).read_bytes() == whole


def test_damage_that_comes_while_it_is_served_is_told_and_no_answer_is_lost(office: Path, serve: Any) -> None:
    server = serve()
    client = server.client()
    one, two, *_ = client.queue()
    assert client.answer(one).status_code == 200
    whole = (office / DECISIONS).read_bytes()
    (office / DECISIONS).write_bytes(b"{]\n" + whole)
    for _ in range(60):
        if trouble := client.get("/api/queue", by="anna")["trouble"]:
            break
        signal.sigtimedwait([], 0.1)
    assert "line 1" in trouble
    assert client.answer(two).status_code == 200
    (office / DECISIONS).write_bytes((office / DECISIONS).read_bytes().removeprefix(b"{]\n"))
    for _ in range(60):
        if not client.get("/api/queue", by="anna")["trouble"]:
            break
        signal.sigtimedwait([], 0.1)
    assert not {one, two} & set(client.queue())
    assert len(server.lines()) == 2


def test_a_file_of_answers_that_goes_away_while_it_is_served_is_not_begun_anew(office: Path, serve: Any) -> None:
    client = serve().client()
    one, two, *_ = client.queue()
    assert client.answer(one).status_code == 200
    (office / DECISIONS).rename(office / "elsewhere")
    refused = client.answer(two)
    assert refused.status_code == 409
    assert "is gone, and answers were in it" in refused.json()["error"]["message"]
    for _ in range(60):
        if trouble := client.get("/api/queue", by="anna")["trouble"]:
            break
        signal.sigtimedwait([], 0.1)
    assert "is gone" in trouble
    assert one not in client.queue()
    assert not (office / DECISIONS).exists()
    (office / "elsewhere").rename(office / DECISIONS)
    assert client.answer(two).status_code == 200


def test_which_addresses_are_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "")))
    assert host_names("127.0.0.1", 8765) == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert "faces.example:443" in host_names("0.0.0.0", 8765, ["faces.example:443"])


def test_the_example_of_its_help_runs(agebench: Any, serve: Any) -> None:
    [example] = re.findall(r"Example: agebench review serve (.*)", agebench("review", "serve", "--help").out)
    server = serve(*shlex.split(example))
    assert 'name="reviewer" content="ann"' in server.client().http.get("/").text


def test_the_whole_way_runs_beside_the_page_while_somebody_answers(
    server: Any, client: Any, succeed: Any, office: Path
) -> None:
    waiting = client.queue()
    ages = {record: 20 + record % 12 for record in waiting[:40]}
    kept = [record for record, age in ages.items() if client.answer(record, "age", age=age).status_code == 200]
    assert len(kept) > 25  # the others cannot be read
    later = waiting[40:]
    answered: list[int] = []
    over = threading.Event()

    def go_on() -> None:
        for record in later:
            if over.wait(0.2):
                return
            for _ in range(100):  # a busy manifest is told, and the page asks again
                status = client.http.get(f"/api/record/{record}").status_code
                if status != 409 or over.wait(0.1):
                    break
            assert client.answer(record, "reject").status_code == 200
            answered.append(record)

    with ThreadPoolExecutor(1) as beside:
        somebody = beside.submit(go_on)
        short = ["--set", "train.steps=2", "--set", "train.batch=4", "--set", "train.warmup=1"]
        succeed(office, "curate", "imdb-wiki", "--recipe", "everything")
        succeed(office, "balance", "--per-class", 2)
        succeed(office, "train", "neighborhood-quick", *short)
        succeed(office, "report")
        over.set()
        somebody.result()
    assert answered
    assert len(server.lines()) == len(kept) + len(answered)
    assert not set(client.queue()) & {*kept, *answered}
    [run] = (office / "runs").iterdir()
    assert (run / "COMMITTED").is_file()
