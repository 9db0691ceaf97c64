"""Workers that share a folder."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import CLAIMS, claim


def test_a_claim_is_exclusive_and_ends(tmp_path: Path) -> None:
    first, second, other = (claim(tmp_path, key) for key in ("batch", "batch", "other"))
    with first as a, second as b, other as c:
        assert (a, b, c) == (True, False, True)
    with claim(tmp_path, "batch") as again:
        assert again
    assert list((tmp_path / CLAIMS).iterdir()) == []


def test_a_claim_ends_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claim(tmp_path, "batch"):
        raise RuntimeError
    with claim(tmp_path, "batch") as again:
        assert again


def test_of_many_threads_one_gets_it(tmp_path: Path) -> None:
    got, gate, held = [], threading.Barrier(16), threading.Event()

    def work() -> None:
        gate.wait()
        with claim(tmp_path, "batch") as ours:
            got.append(ours)
            if len(got) == 16:
                held.set()
            held.wait(10)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 1


def test_a_killed_worker_leaves_its_claim_to_others(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib, signal\nfrom benchmarks.claims import claim\n"
        "with claim(pathlib.Path(sys.argv[1]), 'batch') as ours:\n"
        "    assert ours\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert (tmp_path / CLAIMS / "batch.json").exists()
    with claim(tmp_path, "batch") as ours:
        assert ours


def test_a_worker_on_another_machine_is_believed_while_it_touches_its_claim(
    tmp_path: Path,
) -> None:
    path = tmp_path / CLAIMS / "batch.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    with claim(tmp_path, "batch") as ours:
        assert not ours
    long_ago = time.time() - claims.STALE - 5
    os.utime(path, (long_ago, long_ago))
    with claim(tmp_path, "batch") as ours:
        assert ours


def test_a_claim_that_was_cut_off_is_void_once_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / CLAIMS / "batch.json"
    path.parent.mkdir()
    path.write_text("")
    with claim(tmp_path, "batch") as ours:
        assert not ours
    os.utime(path, (1, 1))
    with claim(tmp_path, "batch") as ours:
        assert ours


def test_a_claim_that_is_new_by_now_is_not_voided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker voids the old claim and makes its own between our look and our move."""
    path = tmp_path / CLAIMS / "batch.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    os.utime(path, (1, 1))
    look, others = claims._abandoned, []

    def slow(seen: Path) -> bool:
        found = look(seen)
        if not others:
            others.append(claim(tmp_path, "batch"))
            assert others[0].__enter__()
        return found

    monkeypatch.setattr(claims, "_abandoned", slow)
    with claim(tmp_path, "batch") as ours:
        assert not ours
    assert path.exists(), "it is still the other's"
    others[0].__exit__(None, None, None)
    assert not path.exists()


def test_a_claim_that_was_lost_is_left_to_its_new_owner(tmp_path: Path) -> None:
    path = tmp_path / CLAIMS / "batch.json"
    with claim(tmp_path, "batch"):
        os.utime(path, (1, 1))  # suspended for long
        other = claim(tmp_path, "batch")
        assert other.__enter__()
    assert path.exists()
    with claim(tmp_path, "batch") as third:
        assert not third
    other.__exit__(None, None, None)
    assert not path.exists()


def test_a_claim_is_touched_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.02)
    with claim(tmp_path, "batch"):
        path = tmp_path / CLAIMS / "batch.json"
        os.utime(path, (1, 1))
        end = time.time() + 10
        while path.stat().st_mtime < 2:
            assert time.time() < end
            time.sleep(0.01)
