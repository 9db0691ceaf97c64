"""Edits of scenes from the command line: what they leave behind, and how they go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from editing import scenes
from editing.callbacks import Progress
from editing.editor import Step
from editing.parameters.gaussians import read_ply
from editing.parameters.nerf import Field
from tests.editing.conftest import Outcome, result_of
from tests.editing.parameters.test_readers import write_nerfstudio

FAST = [
    "parameters=nerf",
    "source=a cat",
    "size=32",
    "parameters.fit.steps=3",
    "parameters.fit.rays=32",
    "parameters.fit.resolution=8",
]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    write_nerfstudio(tmp_path / "scene")
    return tmp_path / "scene"


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, so to speak, after some steps."""
    original = Progress.on_step

    def on_step(self: Progress, state: Step) -> None:
        original(self, state)
        if state.step == steps:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_step", on_step)


def test_a_nerf_is_edited(edit: Callable[..., Outcome], scene: Path) -> None:
    done = edit(*FAST, f"src={scene}", "output=out", "method=dds", "steps=3")
    assert done.code == 0, done.err
    folder = Path("out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "depth.png",
        "edited.png",
        "edited.safetensors",
        "normals.png",
        "path.gif",
        "result.json",
        "side_by_side.png",
        "source.safetensors",
        "trace.gif",
    ]
    assert done.out.splitlines()[-1] == "Edited scene: out/edited.safetensors"
    result = result_of(folder)
    (entry,) = result["pictures"]
    assert result["status"] == "finished" and result["network_evaluations"]["forward"] == 12
    assert entry["views"] == ["im_0.png", "im_1.png", "im_2.png", "im_3.png"]
    assert isinstance(entry["reconstruction_psnr"], float)
    assert (entry["source_prompt"], entry["target_prompt"]) == ("a cat", "a pig")
    before, after = (Field.load(folder / f"{name}.safetensors") for name in ("source", "edited"))
    assert not torch.equal(before.feature_grid, after.feature_grid)
    assert not torch.equal(before.density_grid, after.density_grid)
    with Image.open(folder / "edited.png") as picture:
        assert picture.size == (4 * 52, 32) and picture.info["edited"] == "true"
    with Image.open(folder / "path.gif") as film:
        assert film.n_frames == 24


@pytest.mark.parametrize(("strange", "warned"), [(2, False), (3, True)])
def test_a_scene_is_strange_if_most_of_its_views_are(
    edit: Callable[..., Outcome],
    scene: Path,
    monkeypatch: pytest.MonkeyPatch,
    strange: int,
    warned: bool,
) -> None:
    def unfamiliar(images: torch.Tensor, prior: Any) -> list[bool]:
        return [view < strange for view in range(len(images))]

    monkeypatch.setattr(scenes, "unfamiliar", unfamiliar)
    done = edit(*FAST, f"src={scene}", "output=out", "method=dds", "steps=1", "trace=false")
    assert done.code == 0 and ("scene is unlike anything" in done.err) == warned, done.err


def test_the_shape_can_be_kept(edit: Callable[..., Outcome], scene: Path) -> None:
    done = edit(*FAST, f"src={scene}", "output=out", "method=dds", "parameters.density_rate=0")
    assert done.code == 0, done.err
    before, after = (Field.load(Path("out") / f"{n}.safetensors") for n in ("source", "edited"))
    assert torch.equal(before.density_grid, after.density_grid)
    assert not torch.equal(before.feature_grid, after.feature_grid)


def test_a_reconstruction_serves_several_edits(edit: Callable[..., Outcome], scene: Path) -> None:
    words = [*FAST, f"src={scene}", "method=dds"]
    assert edit(*words, "output=first").code == 0
    again = edit(*words, "output=again", "parameters.reconstruction=first/source.safetensors")
    assert again.code == 0, again.err
    for name in ("source.safetensors", "edited.safetensors"):
        assert (Path("again") / name).read_bytes() == (Path("first") / name).read_bytes()


def test_an_interrupted_edit_goes_on_to_the_same_result(
    edit: Callable[..., Outcome], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editing.checkpoint.Checkpoint.due", lambda self, step: step % 2 == 0)
    words = [*FAST, f"src={scene}", "method=ids", "steps=6", "parameters.views=2"]
    assert edit(*words, "output=whole").code == 0
    with monkeypatch.context() as patch:
        interrupt_after(5, patch)
        broken = edit(*words, "output=parts")
    assert broken.code == 130
    assert "the same command with output=parts resume=true goes on from here" in broken.err
    assert not (Path("parts") / "result.json").exists()
    refused = edit(*words, "output=parts")
    assert refused.code == 2 and "add resume=true to go on with it" in refused.err
    refused = edit(*words, "output=parts", "resume=true", "seed=1")
    assert refused.code == 2 and "is of an edit with other settings" in refused.err
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_step", lambda self, state: steps.append(state.step))
        resumed = edit(*words, "output=parts", "resume=true")
    assert resumed.code == 0, resumed.err
    assert steps == [5, 6]
    for name in ("edited.safetensors", "edited.png", "trace.gif", "source.safetensors"):
        assert (Path("parts") / name).read_bytes() == (Path("whole") / name).read_bytes(), name
    first, second = result_of(Path("whole")), result_of(Path("parts"))
    assert first["network_evaluations"] == second["network_evaluations"]
    assert not (Path("parts") / "checkpoint.pt").exists()


def test_an_edit_in_place_of_an_older_result_goes_on_too(
    edit: Callable[..., Outcome], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editing.checkpoint.Checkpoint.due", lambda self, step: True)
    words = [*FAST, f"src={scene}", "method=dds", "steps=3"]
    assert edit(*words, "seed=1", "output=parts", "trace=false").code == 0
    assert edit(*words, "output=whole", "parameters.film=mp4").code == 0
    words += ["parameters.film=mp4", "output=parts"]
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        broken = edit(*words, "overwrite=true")
    assert "resume=true, without overwrite=true, goes on from here" in broken.err
    assert {"result.json", "edited.png", "path.gif"} < {p.name for p in Path("parts").iterdir()}
    resumed = edit(*words, "resume=true")
    assert resumed.code == 0, resumed.err
    whole, parts = ({p.name for p in Path(name).iterdir()} for name in ("whole", "parts"))
    assert whole == parts
    for name in ("edited.safetensors", "edited.png", "source.safetensors"):
        assert (Path("parts") / name).read_bytes() == (Path("whole") / name).read_bytes(), name


@pytest.mark.parametrize("finished", [True, False])
def test_the_reconstruction_of_an_older_run_is_not_taken_for_this_one(
    edit: Callable[..., Outcome], scene: Path, finished: bool
) -> None:
    words = [*FAST, f"src={scene}", "method=dds", "steps=1", "output=out"]
    assert edit(*words).code == 0
    if not finished:
        (Path("out") / "result.json").unlink()
    older = (Path("out") / "source.safetensors").read_bytes()
    again = edit(*words, "seed=1", "overwrite=true", "resume=true")
    assert again.code == 0, again.err
    assert (Path("out") / "source.safetensors").read_bytes() != older


def test_what_is_overwritten_may_be_what_is_begun_with(
    edit: Callable[..., Outcome], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*FAST, f"src={scene}", "method=dds", "steps=2", "output=out"]
    assert edit(*words).code == 0
    words += ["parameters.reconstruction=out/edited.safetensors", "overwrite=true"]
    first = (Path("out") / "edited.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        assert edit(*words).code == 130
    assert (Path("out") / "edited.safetensors").read_bytes() == first
    assert edit(*words).code == 0
    assert (Path("out") / "edited.safetensors").read_bytes() != first


def test_a_broken_checkpoint_is_refused(
    edit: Callable[..., Outcome], scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"broken")
    words = [*FAST, f"src={scene}", "method=dds", "output=out"]
    refused = edit(*words, "resume=true")
    assert refused.code == 2 and "add overwrite=true to start again" in refused.err
    assert edit(*words, "overwrite=true").code == 0


def test_a_checkpoint_holds_no_code(
    edit: Callable[..., Outcome], scene: Path, tmp_path: Path
) -> None:
    """What would run when it is unpickled is refused."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / "out").mkdir()
    torch.save({"key": Evil()}, tmp_path / "out" / "checkpoint.pt")
    refused = edit(*FAST, f"src={scene}", "method=dds", "output=out", "resume=true")
    assert refused.code == 2 and "is broken or no checkpoint" in refused.err
    assert not (tmp_path / "touched").exists()


def test_the_path_can_be_an_mp4(edit: Callable[..., Outcome], scene: Path) -> None:
    av = pytest.importorskip("av")
    done = edit(*FAST, f"src={scene}", "method=dds", "output=out", "parameters.film=mp4")
    assert done.code == 0, done.err
    with av.open(str(Path("out") / "path.mp4")) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == 24 and (frames[0].width, frames[0].height) == (832, 256)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["src=nowhere"], "does not exist: give the folder of a scene, with transforms.json"),
        (["src=cat.png"], "is no folder: give the folder of a scene"),
        (["mask=the cat"], "mask= is for pictures"),
        (["reverse=true"], "reverse= is for pictures"),
        (["early_stop.patience=2"], "early_stop= is for pictures"),
        (["target=[a pig, a cow]"], "A scene takes one target"),
        (["parameters.film=avi"], "written as gif or mp4, not as 'avi'"),
        (["parameters.views=0"], "views=0"),
        (["parameters.reconstruction=none.safetensors"], "none.safetensors does not exist"),
        (["parameters.reconstruction=cat.png"], "holds no radiance field"),
    ],
)
def test_bad_input_gets_one_sentence(
    words: list[str], message: str, edit: Callable[..., Outcome], scene: Path
) -> None:
    given = [*words, *(word for word in FAST if not words[0].startswith(word.split("=")[0] + "="))]
    if not words[0].startswith("src="):
        given.append(f"src={scene}")
    done = edit(*given, "method=dds", "output=out")
    assert done.code == 2 and message in done.err, done.err
    assert done.err.strip().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.err
    assert not Path("out/result.json").exists()


def test_gaussians_are_edited(edit: Callable[..., Outcome], scene: Path) -> None:
    words = ["parameters=gaussians", "size=32", f"src={scene}", "method=dds", "trace=false"]
    done = edit(*words, "output=out", "parameters.count=30", "parameters.steps=3")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "Edited scene: out/edited.ply"
    before, after = (read_ply(Path("out") / f"{name}.ply") for name in ("source", "edited"))
    assert len(before) == len(after) and not torch.equal(before.harmonics, after.harmonics)
    again = edit(*words, "output=again", "parameters.reconstruction=out/source.ply")
    assert again.code == 0, again.err
    assert Path("again/edited.ply").read_bytes() == Path("out/edited.ply").read_bytes()
    refused = edit(*words, "output=bad", "parameters.reconstruction=cat.png")
    assert refused.code == 2 and "cannot be read as a PLY file" in refused.err


SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40">
  <g id="all"><rect width="40" height="40" fill="#204060"/>
  <path d="M5 5 C20 0 30 30 35 35 Z" fill="#e0c030" stroke="red"/></g></svg>"""


def test_a_drawing_is_edited(edit: Callable[..., Outcome]) -> None:
    Path("drawing.svg").write_text(SVG)
    done = edit("parameters=svg", "src=drawing.svg", "output=out", "method=dds", "steps=3")
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "config.yaml",
        "edited.png",
        "edited.svg",
        "result.json",
        "side_by_side.png",
        "source.svg",
        "trace.gif",
    ]
    before, after = (Path("out") / f"{name}.svg" for name in ("source", "edited"))
    assert before.read_text() != after.read_text() and '<g id="all">' in after.read_text()
    (entry,) = result_of(Path("out"))["pictures"]
    assert entry["files"] == ["source.svg", "edited.svg"]
    with Image.open("out/edited.png") as picture:
        assert picture.size == (32, 32)
    refused = edit("parameters=svg", "src=drawing.svg", "output=out", "method=dds")
    assert refused.code == 2 and "already holds a result" in refused.err
    assert edit("parameters=svg", "src=drawing.svg", "output=out", "overwrite=true").code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "svg"),
        ("", "svg"),
        (SVG.replace("<g", "<script>alert(1)</script><g"), "script"),
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"/>', "svg"),
        (SVG.replace("<g", '<image href="http://example.org/a.png"/><g'), "example.org"),
        (SVG.replace("M5 5", "Mnan 5"), "svg"),
    ],
)
def test_bad_drawings_get_one_sentence(
    text: str | None, message: str, edit: Callable[..., Outcome]
) -> None:
    if text is not None:
        Path("drawing.svg").write_text(text)
    done = edit("parameters=svg", "src=drawing.svg", "output=out", "method=dds")
    assert done.code == 2 and message in done.err, done.err
    (line,) = done.err.strip().splitlines()
    assert line.startswith("Error: ") and line.endswith(".")
    assert not Path("out").exists()
