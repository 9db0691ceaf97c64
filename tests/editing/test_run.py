"""The command line, end to end on a tiny random model: what it writes and prints."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from editing import run, runs, session
from editing.caption import Caption, Grammar
from editing.command import base_config, group_choices
from editing.images import read_picture, to_tensor
from editing.run import main
from tests.editing.conftest import noise_picture, result_of

ROOT = Path(__file__).parents[2]


# --- what a run writes ---------------------------------------------------------------------------


def test_one_edit(edit: Callable[..., Any], tmp_path: Path, tiny_sd: Path) -> None:
    outcome = edit("method=ids", "seed=3")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "results" / "cat-a_pig-ids"
    names = {"edited.png", "side_by_side.png", "trace.gif", "config.yaml", "result.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "results"]

    assert str(Path("results/cat-a_pig-ids/edited.png")) in outcome.out
    assert "seconds" in outcome.out and "20 forward, 12 backward" in outcome.out
    assert "2/2" in outcome.err  # the progress bar

    with Image.open(folder / "edited.png") as image:
        assert image.size == (48, 32)
        assert image.info["edited"] == "true"
        assert image.info["method"] == "ids"
        assert (image.info["source_prompt"], image.info["target_prompt"]) == ("a cat", "a pig")
    assert Image.open(folder / "side_by_side.png").size == (8 * 48 + 4 + 8 * 48, 8 * 32)
    assert Image.open(folder / "trace.gif").n_frames == 3

    result = result_of(folder)
    assert result["status"] == "finished"
    assert result["network_evaluations"] == {"forward": 2 * 10, "backward": 2 * 6}
    assert len(result["model"]["sha256"]) == 64
    assert result["model"]["name"] == str(tiny_sd)
    assert result["versions"]["torch"] == torch.__version__
    assert "target=a pig" in result["command"]
    assert (result["device"], result["dtype"], result["warnings"]) == ("cpu", "float32", [])
    assert result["seconds"]["total"] >= result["seconds"]["edit"] > 0
    (picture,) = result["pictures"]
    assert result["seed"] == 3
    assert picture["edited_size"] == [48, 32]
    assert picture["caption"] is None

    config = OmegaConf.load(folder / "config.yaml")
    assert (config.steps, config.guidance, config.size) == (2, 7.5, 32)
    assert (config.method.steps, config.noise.iterations) == (2, 3)


def test_the_edit_is_what_the_library_computes(
    edit: Callable[..., Any], tmp_path: Path, tiny_sd: Path
) -> None:
    """The same call in Python gives the same pixels: options reach the loop unchanged."""
    from editing.distillers import SDS
    from editing.edit import DistillationEditor
    from editing.images import to_image
    from editing.priors import load_prior
    from samplers.noise import FixedPointNoise
    from samplers.random import make_generators
    from samplers.timesteps import UniformTimesteps

    words = ["method=sds", "noise=fpr", "noise.iterations=1", "timesteps.low=0.3", "guidance=2"]
    outcome = edit(*words, "method.step_size=0.1", "method.weight=sigma_squared", "seed=5")
    assert outcome.code == 0, outcome.err
    prior = load_prior(tiny_sd)
    distiller = SDS(
        prior,
        weight="sigma_squared",
        noise=FixedPointNoise(iterations=1),
        timesteps=UniformTimesteps(low=0.3, high=0.949),
        guidance=2.0,
    )
    expected = DistillationEditor(distiller, steps=2, step_size=0.1)(
        to_tensor(read_picture(tmp_path / "cat.png"))[None],
        prior.pair(source="a cat", target="a pig"),
        make_generators(5, [0]),
    )
    edited = read_picture(tmp_path / "results" / "cat-a_pig-sds" / "edited.png")
    assert edited.tobytes() == to_image(expected.images[0]).tobytes()
    assert edited.tobytes() != read_picture(tmp_path / "cat.png").tobytes()


def test_seeds_make_edits_repeatable(edit: Callable[..., Any], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert edit(f"output={name}", f"seed={seed}", "guidance=50").code == 0
    a, b, c = (read_picture(tmp_path / name / "edited.png").tobytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    "target",
    [
        "a pig, pink, in the cat's place",
        'say "cheese" = {a: [b]} ${x} $HOME \\ end\\',
        " 猫\nand pig ",
        "null",
    ],
)
def test_prompts_arrive_as_typed(edit: Callable[..., Any], tmp_path: Path, target: str) -> None:
    outcome = edit(f"target={target}", f"source={target} too", "output=out, a=b c", "method=dds")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "out, a=b c"
    (picture,) = result_of(folder)["pictures"]
    assert picture["target_prompt"] == target
    assert picture["source_prompt"] == f"{target} too"
    assert OmegaConf.load(folder / "config.yaml").target == target


def test_a_folder_of_pictures(edit: Callable[..., Any], tmp_path: Path) -> None:
    """Mixed sizes are grouped, order is natural; no picture changes what becomes of another."""
    pictures = tmp_path / "my pictures"
    pictures.mkdir()
    for number, shape in ((10, (48, 32)), (2, (32, 32)), (1, (48, 32))):
        noise_picture(*shape, seed=number).save(pictures / f"cat{number}.png")
    options = ("src=my pictures", "method=dds", "guidance=20")
    assert edit(*options, "output=together").code == 0
    result = result_of(tmp_path / "together")
    assert [Path(p["source"]).name for p in result["pictures"]] == [
        "cat1.png",
        "cat2.png",
        "cat10.png",
    ]
    assert result["network_evaluations"] == {"forward": 3 * 2 * 4, "backward": 0}
    assert edit(*options, "output=one by one", "batch_size=1").code == 0
    for name in ("cat1", "cat2", "cat10"):
        assert edit(f"src=my pictures/{name}.png", *options[1:], f"output={name}").code == 0
        together = read_picture(tmp_path / "together" / "edited" / f"{name}.png")
        assert together.size == Image.open(pictures / f"{name}.png").size
        for other in (f"one by one/edited/{name}.png", f"{name}/edited.png"):
            alone = np.asarray(read_picture(tmp_path / other), dtype=int)
            assert np.abs(np.asarray(together, dtype=int) - alone).max() <= 1


def test_a_second_run_gets_its_own_folder(edit: Callable[..., Any], tmp_path: Path) -> None:
    assert edit("method=dds").code == 0
    assert edit("method=dds", "seed=1").code == 0
    assert result_of(tmp_path / "results" / "cat-a_pig-dds")["seed"] == 0
    assert result_of(tmp_path / "results" / "cat-a_pig-dds-2")["seed"] == 1


def test_a_named_result_is_only_overwritten_when_told(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    assert edit("output=out", "method=dds").code == 0
    refused = edit("output=out", "method=dds", "seed=1")
    assert refused.code == 2
    assert "overwrite=true" in refused.err
    assert result_of(tmp_path / "out")["seed"] == 0
    assert edit("output=out", "method=dds", "seed=1", "overwrite=true").code == 0
    assert result_of(tmp_path / "out")["seed"] == 1


def test_nothing_of_an_overwritten_result_remains(edit: Callable[..., Any], tmp_path: Path) -> None:
    noise_picture(48, 32, seed=1).save("dog.png")
    assert edit("src=*.png", "output=out", "method=dds").code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    failed = edit("output=out", "prior=/no/model", "overwrite=true")
    assert failed.code == 2 and len(result_of(tmp_path / "out")["pictures"]) == 2
    assert edit("output=out", "method=dds", "overwrite=true").code == 0
    names = {"edited.png", "side_by_side.png", "trace.gif", "config.yaml", "result.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, "notes.txt"}


def test_sizes_fit_the_model(edit: Callable[..., Any], tmp_path: Path) -> None:
    noise_picture(30, 101).save("tall.png")
    assert edit("src=tall.png", "size=16", "output=out", "method=dds").code == 0
    (picture,) = result_of(tmp_path / "out")["pictures"]
    assert picture["source_size"] == [30, 101]
    assert picture["edited_size"] == [16, 52]  # 53.9 rounded down to a multiple of 4
    assert Image.open(tmp_path / "out" / "edited.png").size == (16, 52)


def test_defaults_of_the_prior_lie_between_command_line_and_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recommended` of conf/prior beats conf/method and loses to anything typed."""
    seen = []
    monkeypatch.setattr(runs, "edit_pictures", lambda settings, *rest: seen.append(settings))
    conf = tmp_path / "extra" / "prior"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text("folder: x\nrecommended: {ids: {guidance: 3, steps: 7}}\n")
    base = ["--config-dir", str(tmp_path / "extra"), "src=a", "target=b", "prior=mine"]
    for words in ([], ["method.guidance=4", "method.steps=8"], ["guidance=5", "steps=9"]):
        assert main([*base, *words]) == 0
    assert [(s.guidance, s.steps) for s in seen] == [(3, 7), (4, 8), (5, 9)]
    assert all(s.distiller["guidance"] == s.guidance for s in seen)
    assert main([*base, "method=pds"]) == 0
    assert (seen[-1].guidance, seen[-1].steps) == (100, 200), "of another method it says nothing"


# --- captions and warnings -----------------------------------------------------------------------


def test_a_missing_source_is_captioned_and_printed(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = {"species": "cat", "place": "on a beach"}
    grammar = Grammar("a photo of a gray {species} {place}", {k: [v] for k, v in slots.items()})
    caption = Caption("a photo of a gray cat on a beach", grammar, slots)
    monkeypatch.setattr(session, "describe", lambda images, *_: [caption] * len(images))
    outcome = edit("method=dds", without=("source",))
    assert outcome.code == 0, outcome.err
    assert (
        "captioned: a photo of a gray cat (seen: a photo of a gray cat on a beach)" in outcome.out
    )
    (picture,) = result_of(tmp_path / "results" / "cat-a_pig-dds")["pictures"]
    assert picture["source_prompt"] == "a photo of a gray cat"
    assert picture["caption"] == "a photo of a gray cat on a beach"


def test_a_picture_is_captioned_once_for_all_its_targets(
    edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def described(images: Any, *_: Any) -> list[Caption]:
        seen.append(len(images))
        return [Caption("a cat")] * len(images)

    monkeypatch.setattr(session, "describe", described)
    words = ("method=dds", "target=[a pig, a cow, a dog]", "batch_size=2", "output=out")
    outcome = edit(*words, without=("source",))
    assert outcome.code == 0 and seen == [1], outcome.err
    assert outcome.out.count("captioned: a cat") == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("source=A pig ",), "both"),
        (("target=" + "a pig " * 99,), "longer than the model reads"),
        (("source=" + "a cat " * 99,), "source prompt is longer"),
    ],
)
def test_warnings_are_printed_and_kept(
    edit: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    outcome = edit(*words, "output=out", "method=dds")
    assert outcome.code == 0, outcome.err
    assert f"Warning: {result_of(tmp_path / 'out')['warnings'][0]}" in outcome.err
    assert expected in outcome.err


def test_a_picture_unlike_the_models_world_is_warned_about(
    edit: Callable[..., Any], tiny_sd: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "model")
    grammar = {"template": "a {species}", "slots": {"species": ["cat"]}}
    for most, warned in ((0.0, True), (1e6, False)):
        grammar["familiar"] = {"strangeness": most}
        (folder / "grammar.json").write_text(json.dumps(grammar))
        outcome = edit(f"prior={folder}", "method=dds")
        assert outcome.code == 0, outcome.err
        assert ("use prior=sd15 for photographs" in outcome.err) == warned


# --- help and the real process -------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_what_there_is(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "method=ids"]) == 0
    text = capsys.readouterr().out
    for group in run.GROUPS:
        for name, about in group_choices(group).items():
            assert about, f"conf/{group}/{name}.yaml does not begin with a comment"
            assert f"  {name} " in text and about in text
    for option in base_config(run.CONFIG):
        assert f"{option}=" in text
    assert "    .grow=0       pixels of the edit" in text, "below mask="
    assert text.count("python -m editing.run ") == 4  # the usage and three examples


def test_names_that_are_not_utf8(edit: Callable[..., Any], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    noise_picture(32, 32).save(os.fsencode(f"{name}.png").decode(errors="surrogateescape"))
    assert edit(f"src={name}.png", "method=dds", f"output={name}").code == 0
    assert result_of(tmp_path / name)["pictures"][0]["source"] == f"{name}.png"
    for key in ("target", "source"):
        outcome = edit(f"{key}={name}")
        assert outcome.code == 2
        assert outcome.err.startswith(f"Error: {key} is not valid UTF-8")


def test_the_command_as_it_is_typed(tmp_path: Path, tiny_sd: Path) -> None:
    """One true process, in another folder than the repository, with a terminal's environment."""
    noise_picture(40, 32).save(tmp_path / "cat.png")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.replace("python", sys.executable, 1),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    done = shell(
        'python -m editing.run method=ids src=cat.png target="a pig, pink, in the cat\'s place" '
        f"source='a cat' steps=1 prior={tiny_sd}"
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "cat-a_pig_pink_in_the_cat_s_place-ids"
    assert result_of(folder)["pictures"][0]["target_prompt"] == "a pig, pink, in the cat's place"
    assert done.stdout.splitlines()[-1].startswith("Edited picture: ")

    bad = shell('python -m editing.run method=idss src=cat.png target="a pig"')
    assert bad.returncode == 2
    assert bad.stderr == ("Error: There is no method 'idss': did you mean 'ids'?\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "results"]


def test_optimizer_and_schedule_are_options(edit: Callable[..., Any], tmp_path: Path) -> None:
    """And the step size an optimiser brings is recorded, unless the method's is given."""
    pictures = []
    for name, words in {
        "plain": [],
        "adam": ["optimizer=adam", "schedule=linear"],
        "given": ["optimizer=adam", "method.step_size=0.5"],
    }.items():
        assert edit(*words, f"output={name}").code == 0
        config = OmegaConf.load(tmp_path / name / "config.yaml")
        pictures.append(
            (config["method"]["step_size"], (tmp_path / name / "edited.png").read_bytes())
        )
    assert [size for size, _ in pictures] == [0.048828125, 0.01, 0.5]
    assert len({data for _, data in pictures}) == 3
    wrong = edit("schedule=linaer")
    assert wrong.code == 2 and "did you mean 'linear'" in wrong.err
