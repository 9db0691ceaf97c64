"""A run that is killed at any moment."""

import subprocess
import sys
from pathlib import Path

from benchmarks.rows import read_rows
from tests.benchmarks.example_suite import Brightness, Editor, measured, run

ROOT = Path(__file__).parents[2]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from benchmarks.harness import Harness
from tests.benchmarks.example_suite import WHAT, Brightness, Editor, FakePrior

torch.set_num_threads(1)
output, rng, killed = Path(sys.argv[1]), random.Random(0), 0

def start(folder):
    child = os.fork()
    if not child:
        Harness(Brightness(24), folder, 3).run(Editor(), WHAT, FakePrior(), 0)
        os._exit(0)
    return child

began = time.perf_counter()
assert os.waitpid(start(output.with_name("timed")), 0)[1] == 0
life = (time.perf_counter() - began) / 20  # so the work takes many lives on any machine
while True:
    child = start(output)
    time.sleep(rng.uniform(0.0, life * (1 + 0.1 * killed)))  # in the end a run comes through
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status), "it ended by itself, badly"
    killed += 1
print(killed)
"""


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "killed too seldom to mean anything"
    run(tmp_path / "whole", Editor(), Brightness(24))
    assert measured(tmp_path / "killed") == measured(tmp_path / "whole")
    rows = list(read_rows(tmp_path / "killed"))
    kept = {row["key"] for row in rows}
    assert len(kept) == 72 and kept == {row["key"] for row in read_rows(tmp_path / "whole")}
    pictures = (tmp_path / "killed" / "pictures").glob("*/[!.]*.png")
    assert {path.stem for path in pictures} == {row["picture"] for row in rows}
