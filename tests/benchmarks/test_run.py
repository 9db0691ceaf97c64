"""The command line of the harness, end to end on a tiny random model."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import run
from benchmarks.report import report
from benchmarks.rows import read_asked
from benchmarks.run import main
from benchmarks.suites.cat_to_others import CatToOthers
from editing.command import base_config, group_choices
from editing.edit import DistillationEditor
from tests.editing.conftest import Outcome

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(
    tmp_path: Path,
    tiny_sd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Outcome]:
    """Run the command line; one cat, one step, 32 pixels."""
    monkeypatch.chdir(tmp_path)
    cats = ["suite.cases=1", "suite.size=32"]

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        short = [
            f"prior={tiny_sd}",
            "steps=1",
            *([] if {"suite=ip2p", "suite=speed", "suite=pie_bench"} & set(words) else cats),
        ]
        given = {word.partition("=")[0] for word in words}
        code = main([*(word for word in short if word.partition("=")[0] not in given), *words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def test_a_run_leaves_rows_and_tables_and_prints_them(
    bench: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = bench("method=dds", "seed=3")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "runs" / "cat_to_others"
    table = (folder / "table.md").read_text()
    assert table in outcome.out and "| dds " in table and "| 4 + 0" in table
    rows = pd.read_parquet(folder / "rows.parquet")
    assert len(rows) == 21 and set(rows.status) == {"done"}
    assert set(rows[rows.method == "dds"].seed) == {3}


def test_what_was_typed_is_kept_and_where(
    bench: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs of a launcher may work in another folder, and have arguments of their own."""
    inside = run.launch

    def elsewhere(words: Any, *rest: Any) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        inside(words, *rest)
        monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(run, "launch", elsewhere)
    outcome = bench("-m", "method=dds", "output=out", "suite.size=32,40", "columns=[iou]")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "out" / "rows").glob("*/*.json"))) == 42
    assert not list((tmp_path / "elsewhere").iterdir())
    small, large = read_asked(tmp_path / "out") or ()
    assert small.launch == large.launch != "" and small.options != large.options
    assert small.command == large.command
    assert small.command.startswith("python -m benchmarks.run prior=")
    assert small.command.endswith("method=dds output=out suite.size=32,40 'columns=[iou]'")
    assert "dog IoU" in (tmp_path / "out" / "pivot.md").read_text()
    assert report([tmp_path / "out"]).count("<section") == 2, "all that was asked for"


def test_a_picture_that_cannot_be_read_is_a_failed_case(
    bench: Callable[..., Outcome], tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        Image.effect_noise((64, 64), 64).convert("RGB").save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"")
    lines = [{"src": f"{n}.png", "source": "a cat", "target": "a dog"} for n in "ab"]
    (tmp_path / "edits.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sizes = ["suite.size=32", "suite.multiple=8", "suite.metrics=[psnr]"]
    outcome = bench("suite=ip2p", "suite.src=edits.jsonl", "method=dds", *sizes)
    assert outcome.code == 1
    assert re.search(r"failed: b-a_dog by dds: .*b\.png' is an empty file", outcome.err)
    rows = pd.read_csv(tmp_path / "runs" / "ip2p" / "rows.csv")
    assert rows.groupby(["case", "status"]).size().to_dict() == {
        ("a-a_dog", "done"): 2,
        ("b-a_dog", "failed"): 2,
    }
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    assert bench("suite=ip2p", "suite.src=edits.jsonl", "method=dds", *sizes).code == 0


def test_methods_share_a_folder_and_nothing_is_done_twice(
    bench: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = bench("-m", "method=dds,sds", "seed=0,1", "output=out")
    assert outcome.code == 0, outcome.err
    table = (tmp_path / "out" / "table.md").read_text()
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert rows.groupby("method").size().to_dict() == {
        "dds": 14,
        "exact answer": 7,
        "sds": 14,
        "source": 7,
    }

    def edits(*args: object, **named: object) -> None:
        raise AssertionError("edited again")

    monkeypatch.setattr(DistillationEditor, "__call__", edits)
    assert bench("-m", "method=dds,sds", "seed=0,1", "output=out").code == 0
    assert (tmp_path / "out" / "table.md").read_text() == table


def test_a_case_that_fails_ends_in_1_and_says_which(
    bench: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DistillationEditor.__call__

    def no_pigs(self: DistillationEditor, sources: torch.Tensor, *rest: object) -> object:
        if len(sources) > 1 or float(sources.mean()) == float(pig.mean()):
            raise RuntimeError("no pigs")
        return whole(self, sources, *rest)  # type: ignore[arg-type]

    suite = CatToOthers(cases=2, size=32)
    pig = suite.load([suite.make_cases()[0]]).source
    monkeypatch.setattr(DistillationEditor, "__call__", no_pigs)
    outcome = bench("method=dds", "suite.cases=2")
    assert outcome.code == 1
    assert outcome.err.count("failed: ") == 7, "the seven edits of the first cat"
    assert "failed: 850000-dog by dds: RuntimeError: no pigs" in outcome.err
    assert "| dds          | 7 " in outcome.out


def test_tables_are_of_what_the_newest_run_asked_for(
    bench: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Another split in the same folder: no case in common, and no mixture."""
    assert bench("method=dds").code == 0
    before = (tmp_path / "runs/cat_to_others/table.md").read_text()
    outcome = bench("method=sds", "suite.split=validation", 'suite="cat_to_others"')
    assert outcome.code == 0 and "| sds " in outcome.out and "| dds " not in outcome.out
    assert len(pd.read_csv(tmp_path / "runs/cat_to_others/rows.csv")) == 21
    again = bench("method=dds")
    assert "0 rows made" in again.out and before in again.out
    several = bench("-m", "method=dds", "suite.size=32,64")
    assert "cat_to_others size=32\n" in several.out and "cat_to_others size=64\n" in several.out


def test_an_interrupted_run_keeps_what_it_has_and_says_so(
    bench: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DistillationEditor.__call__
    calls = iter([whole, None])

    def interrupted(*args: object) -> object:
        call = next(calls)
        if call is None:
            raise KeyboardInterrupt
        return call(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(DistillationEditor, "__call__", interrupted)
    outcome = bench("method=dds", "batch_size=4")
    assert outcome.code == 130 and "what was finished is kept" in outcome.err
    assert "| dds          | 4 " in outcome.out
    monkeypatch.setattr(DistillationEditor, "__call__", whole)
    assert "3 rows made, 18 kept" in bench("method=dds", "batch_size=4").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["suite=cats"], "There is no suite 'cats': "),
        (["suite.cat=3"], "There is no option 'suite.cat': did you mean 'suite.cases'?"),
        (["suite.split=train"], "There is no split 'train'"),
        (["method=idd"], "There is no method 'idd': did you mean 'ids'?"),
        (["src=cat.png"], "There is no option 'src'"),
        (["suite=ip2p"], "suite.src is missing"),
        (["suite=ip2p", "suite.src=a, b.jsonl"], "a, b.jsonl cannot be read"),
        (
            ["suite=ip2p", "suite.cases=3"],
            "There is no option 'suite.cases': did you mean 'suite.",
        ),
        (["-m", "launcher=slurm"], "There is no launcher 'slurm'"),
        (["launcher=ray"], "launcher= is for several jobs: add -m"),
        (["suite.cases=0"], "=0 cannot be used: give a whole number from 1 to 50000"),
        (["suite.size=0"], "suite.size=0 cannot be used"),
        (["suite.size=33"], "has 33 x 33 pixels, and prior="),
        (["suite=speed", "suite.repeats=0"], "suite.repeats=0 cannot be used"),
        (["suite=ip2p", "suite.src=x", "suite.lpips=alexnet"], "no backbone 'alexnet'"),
        (["suite=pie_bench", "suite.src=x", "suite.kinds=[0,77]"], "suite.kinds=77 cannot be"),
        (["suite=pie_bench", "suite.src=x", "suite.kinds=['0']"], "suite.kinds=0 cannot be"),
        (["suite=ip2p", "suite.src=x", "suite.metrics=[pie_ssim]"], "needs masks"),
        (["columns=[ioo]"], "There is no metric 'ioo': did you mean 'iou'?"),
        (["threads=0"], "threads=0 cannot be used"),
        (["batch_size=0"], "batch_size=0 cannot be used"),
    ],
)
def test_bad_words_get_one_sentence(
    bench: Callable[..., Outcome], tmp_path: Path, words: list[str], said: str
) -> None:
    outcome = bench(*words)
    assert outcome.code == 2 and said in outcome.err
    assert outcome.err.count("\n") == 1 and "Traceback" not in outcome.err
    assert not (tmp_path / "runs").exists()


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for group in run.GROUPS:
        for name, about in group_choices(group).items():
            assert f"  {name} " in text and about in text and about
    for option in base_config(run.CONFIG):
        assert f"{option}=" in text or option in ("tuning",)


def test_processes_of_one_launch_share_the_cases(tiny_sd: Path, tmp_path: Path) -> None:
    """As with several GPUs: torchrun, which accelerate calls, starts them; the folder is shared."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    words += ["benchmarks.run", f"prior={tiny_sd}", "suite.cases=2", "suite.size=32", "steps=2"]
    words += ["method=dds", "batch_size=2", "threads=1", f"output={tmp_path}"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("All of it is in") == 1, "one of them speaks"
    made = [int(count) for count in re.findall(r"(\d+) rows made", done.stdout)]
    assert len(made) == 2 and sum(made) == 42, "nothing is done twice"
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 42


def test_every_process_of_a_launch_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert run.own_device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert run.own_device("auto") == "cuda:2" and run.own_device("cpu") == "cpu"


@pytest.mark.parametrize("at_once", [True, False])
def test_jobs_that_run_at_once_are_spread_over_the_gpus(
    at_once: bool,
    bench: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five jobs on a machine with two GPUs; one after the other, they have all of them."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asked = []

    def own_device(device: str, number: int | None) -> str:
        asked.append(run_own_device(device, number))
        return "cpu"

    run_own_device = run.own_device
    monkeypatch.setattr(run, "own_device", own_device)
    assert {run.LAUNCHERS[name] for name in ("joblib", "ray")} == set(run.SHARING)
    if at_once:  # this launcher stands in for one that has workers
        monkeypatch.setattr(run, "SHARING", ("basic",))
    assert bench("-m", "method=dds", "worker=0,1,2,3,4").code == 0
    spread = ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert asked == (spread if at_once else ["auto"] * 5)


# How long things took, and how much memory, differs from run to run.
MEASURED = ["seconds", "memory", "batch_size"]


def rows_of(folder: Path) -> bytes:
    return pd.read_csv(folder / "rows.csv", dtype=str).drop(columns=MEASURED).to_csv().encode()


def started(words: list[str], output: Path) -> None:
    # Ray's workers are polite, and would wait for everything else that the machine is doing.
    polite = {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *words, f"output={output}"],
        env=os.environ | polite,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def words(tiny_sd: Path) -> list[str]:
    few = ["suite.cases=2", "suite.size=32", "steps=2", "method=dds", "batch_size=2", "threads=1"]
    return [f"prior={tiny_sd}", *few]


@pytest.fixture(scope="module")
def by_one(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes."""
    folder = tmp_path_factory.mktemp("workers") / "one"
    started(words, folder)
    return folder


@pytest.mark.parametrize(
    "workers",
    [
        ["launcher=local", "worker=0,1,2,3"],
        ["launcher=joblib", "worker=0,1", "hydra.launcher.n_jobs=2"],
        ["launcher=ray", "worker=0,1,2,3"],
    ],
    ids=["local", "joblib", "ray"],
)
def test_several_workers_make_the_tables_of_one(
    workers: list[str], words: list[str], by_one: Path, tmp_path: Path
) -> None:
    started([*words, "-m", *workers], tmp_path)
    for name in ("table", "pivot", "differences"):
        for suffix in (".md", ".tex"):
            file = f"{name}{suffix}"
            assert (tmp_path / file).read_bytes() == (by_one / file).read_bytes()
    assert (tmp_path / "summary.json").read_bytes() == (by_one / "summary.json").read_bytes()
    assert rows_of(tmp_path) == rows_of(by_one)
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 42
    assert list((tmp_path / "claims").iterdir()) == []


def test_jobs_of_submitit_find_their_work_below_the_output(tiny_sd: Path, tmp_path: Path) -> None:
    words = [f"prior={tiny_sd}", "suite.cases=1", "suite.size=32", "steps=1", "method=dds"]
    words += ["-m", "launcher=submitit_local", "worker=0,1", "threads=1", f"output={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 21
    assert not list(tmp_path.glob("**/.submitit")), "cleared away"


def test_the_other_machines_see_the_shared_folder(tmp_path: Path) -> None:
    assert run.shared_folder(["-m", "launcher=ray", f"output={tmp_path}/a"]) is None
    assert run.shared_folder(["-m", "launcher=submitit", f"output={tmp_path}/a"]) == tmp_path / "a"
    assert (tmp_path / "a").is_dir()
