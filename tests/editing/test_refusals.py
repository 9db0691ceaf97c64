"""Bad input on the command line: one clear sentence, exit code 2, nothing written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "missing file": (("src=dog.png",), "'dog.png'"),
    "empty src": (("src=",), "src is empty"),
    "blank target": (("target= ",), "target is empty"),
    "not an image": (("src=notes.txt",), "not a picture"),
    "empty file": (("src=zero.png",), "0 bytes"),
    "folder without pictures": (("src=empty",), "holds no pictures"),
    "one bad among good": (("src=mixed",), "broken.png"),
    "1x1": (("src=dot.png",), "too small"),
    "method": (("method=idss",), "did you mean 'ids'"),
    "noise": (("noise=fprr",), "did you mean 'fpr'"),
    "prior": (("prior=sd155",), "did you mean 'sd15'"),
    "option": (("stpes=3",), "did you mean 'steps'"),
    "added option": (("+stpes=3",), "did you mean 'steps'"),
    "nested option": (("method.gidance=3",), "did you mean 'method.guidance'"),
    "added nested option": (("+method.colour=3",), "colour"),
    "bare word": (("dog.png",), "key=value"),
    "flag": (("--steps=3",), "no flag --steps"),
    "grammar": (("device=[",), "cannot be parsed"),
    "steps=0": (("steps=0",), "steps=0"),
    "steps=-1": (("steps=-1",), "steps=-1"),
    "steps=abc": (("steps=abc",), "steps=abc"),
    "steps=1.5": (("steps=1.5",), "steps=1.5"),
    "steps=true": (("steps=true",), "steps=True"),
    "guidance=-1": (("guidance=-1",), "guidance=-1"),
    "guidance=nan": (("guidance=nan",), "guidance=nan"),
    "guidance=high": (("guidance=high",), "guidance=high"),
    "method.guidance=-1": (("method.guidance=-1",), "guidance=-1"),
    "step_size=0": (("method.step_size=0",), "step_size=0"),
    "size=0": (("size=0",), "size=0"),
    "size=33": (("size=33",), "size=32"),
    "size=1e9": (("size=1000000000",), "to 4096"),
    "batch_size=0": (("batch_size=0",), "batch_size=0"),
    "seed=-1": (("seed=-1",), "seed=-1"),
    "overwrite": (("overwrite=perhaps",), "true or false"),
    "dtype": (("dtype=fp8",), "fp8"),
    "device": (("device=tpu0",), "tpu0"),
    "method field": (("method=sds", "method.weight=two"), "two"),
    "noise field": (("noise.distance=l7",), "l7"),
    "noise iterations": (("noise=fpr", "noise.iterations=2.5"), "2.5"),
    "momentum": (("optimizer.momentum=-1",), "momentum"),
    "hump": (("schedule=hump", "schedule.rise=0"), "rise and fall must be positive"),
    "schedule field": (("schedule=linear", "schedule.final=abc"), "abc"),
    "rising schedule": (("schedule=linear", "schedule.final=-1"), "-1"),
    "negative prompt": (("method=nfsd", "method.negative=null"), "negative"),
    "paste without a mask": (("mask.paste=true",), "does nothing without mask="),
    "scale without a LoRA": (("lora_scale=0.3",), "does nothing without lora="),
    "gain without patience": (
        ("early_stop.gain=0.1",),
        "does nothing without early_stop.patience=",
    ),
    "noise of a sampler": (("method=ddib", "noise=fpr"), "leave noise= out"),
    "optimizer of a sampler": (("method=ddib", "optimizer.momentum=0.5"), "leave optimizer= out"),
    "way back of a sampler": (("method=ddib", "reverse=true"), "leave reverse= out"),
    "scene of a sampler": (("method=ddib", "parameters=nerf"), "leave parameters= out"),
    "lambda of picard": (("noise.gradient=picard", "noise.step_size=0.3"), "step_size=0.3"),
    "steps of a sampler": (("method=ddib", "steps=1000"), "steps=1000"),
    "no patches": (("method=cds", "method.patches=0"), "patches"),
    "bare tuning": (("tuning=cpu_offload",), "cpu_offload"),
    "unknown home": (("src=~nobody-here/cat.png",), "~nobody-here"),
    "lora of nobody": (("lora=~nobody-here/x.safetensors",), "~nobody-here"),
    "a long mask": (("mask=" + "very " * 80 + "long cat",), "segmenter"),
    "output is a file": (("output=cat.png",), "is a file"),
    "output below a file": (("output=cat.png/run",), "Cannot write"),
    "unwritable output": (("output=/proc/nowhere/run",), "Cannot write"),
    "missing model folder": (("prior=/no/such/model",), "/no/such/model"),
    "folder without a model": (("prior=empty",), "model_index.json"),
    "model not downloadable": (("prior=nobody/nothing",), "nobody/nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for folder in ("empty", "mixed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes.txt").write_text("I am not a picture.")
    (tmp_path / "zero.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save("dot.png")
    Image.effect_noise((32, 32), 64).save("mixed/a.png")
    (tmp_path / "mixed" / "broken.png").write_bytes((tmp_path / "mixed/a.png").read_bytes()[:300])
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    words, expected = BAD[name]
    outcome = edit(*words)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


UNCHECKED = """
import sys
from editing.run import main
for words in {words}:
    print(main([*words, *sys.argv[1:]]), flush=True)
"""
METHOD_OPTIONS = {
    ("noise=fpr", "noise.step_size=abc"): "step_size=abc cannot be used",
    ("noise=fpr", "noise.step_size=-1"): "step_size=-1 cannot be used",
    ("timesteps.high=abc",): "timesteps.high=abc cannot be used",
    ("noise=fpr", "noise.iterations=2.5"): "iterations=2.5 cannot be used",
    ("noise=fpr", "noise.early_stop=perhaps"): "early_stop=perhaps cannot be used",
    ("noise=fpr", "noise.anderson=2"): "anderson=2 cannot be used without gradient=picard",
    ("method=ism", "method.strides=2.5"): "strides=2.5 cannot be used",
    ("method=ism", "method.stride=2"): "stride=2 cannot be used",
    ("method=pds", "method.levels=500.5"): "levels=500.5 cannot be used",
    ("method=cds", "method.patches=2.5"): "patches=2.5 cannot be used",
    ("method=cds", "method.patch_sizes=[1.5]"): "patch_sizes=1.5 cannot be used",
    ("method=cds", "method.patch_sizes=[]"): "patch_sizes is empty",
    ("method=drfs", "method.growing=perhaps"): "growing=perhaps cannot be used",
    ("method=drfs", "method.shift=-3"): "shift=-3 cannot be used",
    ("method=nfsd", "method.threshold=abc"): "threshold=abc cannot be used",
    ("method=sds", "method.weight=snr"): "weight",
    ("method=dds", "method.source_score=fixed_point"): "source_score=fixed_point takes the noise",
    ("timesteps.low=0.97",): "timesteps need 0 <= low < high <= 1",
}


def test_options_of_methods_are_refused_without_a_type_checker(
    tmp_path: Path, tiny_sd: Path
) -> None:
    """The tests check the types of arguments; a user's process does not."""
    Image.effect_noise((32, 32), 64).convert("RGB").save(tmp_path / "cat.png")
    program = UNCHECKED.format(words=[list(words) for words in METHOD_OPTIONS])
    plain = ["src=cat.png", "target=a pig", "source=a cat", "steps=1", f"prior={tiny_sd}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *plain],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.split() == ["2"] * len(METHOD_OPTIONS), done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    for sentence, said in zip(sentences, METHOD_OPTIONS.values(), strict=True):
        assert said in sentence
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("key", ["src", "target"])
def test_what_is_needed_is_named(edit: Callable[..., Any], key: str) -> None:
    outcome = edit(without=(key,))
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {key} is missing: give ")


def test_debug_shows_the_trace(edit: Callable[..., Any]) -> None:
    outcome = edit("debug=true", "steps=0")
    assert outcome.code == 2
    assert "Traceback" in outcome.err and "in whole" in outcome.err
