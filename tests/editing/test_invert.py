"""Inversions that are kept: the same edits as without, going on after Ctrl-C, and refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from editing import stored
from editing.inversions import read_header
from samplers.ddib import DDIB
from samplers.null_text import NullText
from samplers.trajectory import Inversion
from tests.editing.conftest import INVERTED, NO_TARGET, noise_picture, result_of

METHODS = (
    "cyclediffusion ddib ddpm_inversion direct_inversion edict flowedit latent_top negative_prompt "
    "null_text p2p pnp rf_inversion sdedit"
).split()
QUICK = {  # what would take long, and shows nothing here
    "latent_top": ("method.iterations=2", "method.starts=2", "method.hops=1"),
    "null_text": ("method.iterations=2",),
}


@pytest.mark.parametrize("method", METHODS)
def test_an_edit_that_begins_with_an_inversion_is_the_same(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    quick = QUICK.get(method, ())
    made = inverted(f"method={method}", "steps=3", *quick)
    assert made.code == 0, made.err
    assert "comes back with" in made.out and "Inversion: inv/inversion.safetensors" in made.out
    record = result_of(tmp_path / "inv")
    (picture,) = record["pictures"]
    assert picture["psnr"] > 0 and -1 <= picture["autoencoder_ssim"] <= 1
    assert Image.open(tmp_path / "inv/reconstructed.png").size == (48, 32)
    steps = ["steps=3"] if method == "flowedit" else []  # any number can begin with its latents
    words = (f"method={method}", "trace=false")
    begun = edit(*words, "inversion=inv", "output=begun", *steps, without=INVERTED)
    assert begun.code == 0, begun.err
    whole = edit(*words, *quick, "steps=3", "output=whole")
    assert whole.code == 0, whole.err
    a, b = (Image.open(tmp_path / name / "edited.png") for name in ("begun", "whole"))
    assert a.tobytes() == b.tobytes()
    spent, all_of_it = (
        result_of(tmp_path / name)["network_evaluations"]["forward"] for name in ("begun", "whole")
    )
    assert spent < all_of_it or method in ("sdedit", "flowedit")  # whose inversion asks nothing
    assert result_of(tmp_path / "begun")["steps"] == 3, "those of the inversion"


@pytest.mark.parametrize("inverter", ["direct", "null_text"])
def test_p2p_begins_with_the_inversion_of_its_inverter(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path, inverter: str
) -> None:
    words = ("method=p2p", f"method.inverter={inverter}")
    assert inverted(*words).code == 0
    assert edit(*words, "inversion=inv", "output=begun", without=INVERTED).code == 0
    assert edit(*words, "output=whole").code == 0
    a, b = (Image.open(tmp_path / name / "edited.png") for name in ("begun", "whole"))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("method", "spent"),
    [
        ("null_text", (3 * (2 + 3) + 6, 3 * 2)),  # the inversion, and the reconstruction
        ("latent_top", (3 + 2 * 26 + 3 * 2 + 2 + 2 * (2 + 2) + 6, 3 * 2 + 2)),
    ],
)
def test_an_inversion_counts_what_it_spends(
    inverted: Callable[..., Any], tmp_path: Path, method: str, spent: tuple[int, int]
) -> None:
    words = ("method.iterations=2", *(["method.tolerance=0"] if method == "null_text" else []))
    assert inverted(f"method={method}", "steps=3", *words).code == 0
    counted = result_of(tmp_path / "inv")["network_evaluations"]
    assert (counted["forward"], counted["backward"]) == spent


def test_another_seed_draws_other_noises(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=sdedit", "steps=4").code == 0  # of which 2 are run
    for seed in (0, 1):
        words = ("method=sdedit", "inversion=inv", f"seed={seed}", f"output=seed-{seed}")
        assert edit(*words, without=INVERTED).code == 0
    a, b = (Image.open(tmp_path / f"seed-{seed}/edited.png") for seed in (0, 1))
    assert a.tobytes() != b.tobytes()


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path), dtype=int)


def test_several_pictures_with_several_targets(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        noise_picture(32, 32, seed).save(tmp_path / f"in/{seed}.png")
    assert inverted("method=ddib", "src=in").code == 0
    files = sorted((tmp_path / "inv/inversion").iterdir())
    assert [path.name for path in files] == ["1.safetensors", "2.safetensors"]
    header = read_header(files[0])
    assert (header.method, header.prompt, header.size) == ("ddib", "a cat", (32, 32))
    assert header.options == {"steps": 2, "source_guidance": 1.0, "iterations": 1}
    words = ("method=ddib", "inversion=inv", "target=[a pig, a cow]", "output=out")
    assert edit(*words, without=INVERTED).code == 0
    pictures = result_of(tmp_path / "out")["pictures"]
    assert [picture["target_prompt"] for picture in pictures] == ["a pig", "a cow"] * 2
    assert pictures[0]["from_inversion"] == "inv/inversion/1.safetensors"
    one = ("method=ddib", "inversion=inv/inversion/2.safetensors", "target=a pig", "output=one")
    assert edit(*one, without=INVERTED).code == 0
    anew = ("method=ddib", "src=in", "target=[a pig, a cow]", "output=anew")
    assert edit(*anew).code == 0
    names = [f"edited/{name}.png" for name in ("1-a_pig", "1-a_cow", "2-a_pig", "2-a_cow")]
    pairs = [(f"out/{name}", f"anew/{name}") for name in names]
    for several, other in [*pairs, ("out/edited/2-a_pig.png", "one/edited.png")]:
        # in another batch an edit rounds otherwise on some processors, and no more than that
        assert abs(pixels(tmp_path / several) - pixels(tmp_path / other)).max() <= 1, other


@pytest.mark.parametrize("method", ["null_text", "latent_top"])
def test_what_was_interrupted_goes_on_to_the_same_result(
    inverted: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setattr(stored, "SECONDS", 0.0)
    words = (f"method={method}", "steps=4", "batch_size=1", "src=in")
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        noise_picture(32, 32, seed).save(tmp_path / f"in/{seed}.png")
    assert inverted(*words).code == 0
    spent = result_of(tmp_path / "inv")["network_evaluations"]
    expected = {path.name: load_file(path) for path in (tmp_path / "inv/inversion").iterdir()}
    calls, fit = [0], NullText.fit

    def breaks_off(self: NullText, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:  # in the second picture
            raise KeyboardInterrupt
        return fit(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(NullText, "fit", breaks_off)
        stopped = inverted(*words, "output=again")
    assert stopped.code == 130 and "1 of 2 are inverted" in stopped.err, stopped.err
    assert result_of(tmp_path / "again")["status"] == "interrupted"
    first = (tmp_path / "again/inversion/1.safetensors").stat().st_mtime_ns
    refused = inverted(*words, "output=again")
    assert refused.code == 2 and "already holds a result" in refused.err
    other = inverted(*words, "output=again", "resume=true", "seed=7")
    assert other.code == 2 and "or with other settings" in other.err
    calls[0] = -100
    assert inverted(*words, "output=again", "resume=true").code == 0
    assert not (tmp_path / "again/checkpoint.pt").exists()
    result = result_of(tmp_path / "again")
    assert result["status"] == "finished"
    counted = result["network_evaluations"]
    assert counted["backward"] == spent["backward"] > 0
    # the first picture is sampled once more, and one evaluation was lost
    assert spent["forward"] < counted["forward"] < spent["forward"] + 12
    assert (tmp_path / "again/inversion/1.safetensors").stat().st_mtime_ns == first
    for name, tensors in expected.items():
        found = load_file(tmp_path / "again/inversion" / name)
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items()), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=ids", "inversion=inv"), "method=ids does not: give method=null_text"),
        (("method=null_text", "inversion=inv"), "made with method=ddib"),
        (("method=ddib", "inversion=none"), "inversion=none does not exist"),
        (("method=ddib", "inversion=."), "inversion=. holds none"),
        (("method=ddib", "inversion=cat.png"), "is no inversion"),
        (("method=ddib", "inversion=inv", "src=cat.png"), "leave src= out"),
        (("method=ddib", "inversion=inv", "size=16"), "leave size= out"),
        (("method=ddib", "inversion=inv", "steps=5"), "made with steps=2: leave steps=5 out"),
        (("method=ddib", "inversion=inv", "method.iterations=2"), "leave method.iterations=2 out"),
        (("method=ddib", "inversion=inv", "task=invert"), "leave inversion= out"),
        (("method=ddib", "inversion=inv", "resume=true"), "for scenes and task=invert"),
    ],
)
def test_an_inversion_that_does_not_fit_is_refused(
    edit: Callable[..., Any], inverted: Callable[..., Any], words: tuple[str, ...], said: str
) -> None:
    assert inverted("method=ddib").code == 0
    found = edit(*words, "output=out", without=INVERTED)
    assert found.code == 2 and said in found.err and found.err.count("Error") == 1, found.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=dds",), "task=invert is for methods that run a sampler"),
        (("method=ddib", "target=a pig"), "leave target= out"),
        (("method=ddib", "mask=a cat"), "leave mask= out"),
        (("method=ddib", "task=find"), "task=find is not one of edit, invert"),
    ],
)
def test_a_task_that_cannot_be_done_is_refused(
    inverted: Callable[..., Any], edit: Callable[..., Any], words: tuple[str, ...], said: str
) -> None:
    task = () if any(word.startswith("task") for word in words) else ("task=invert",)
    without = () if "target=a pig" in words else NO_TARGET
    found = edit(*task, *words, "output=out", without=without)
    assert found.code == 2 and said in found.err, found.err


def test_what_is_finished_is_never_gone_on_with(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=ddib").code == 0
    assert edit("method=ddib", "output=whole").code == 0
    noise_picture(48, 32).save(tmp_path / "dog.png")
    for output, src in (("inv", "dog.png"), ("inv", "cat.png"), ("whole", "cat.png")):
        before = {path: path.read_bytes() for path in (tmp_path / output).iterdir()}
        found = inverted("method=ddib", f"output={output}", f"src={src}", "resume=true")
        assert found.code == 2 and "that is finished, or no inversion" in found.err
        assert {path: path.read_bytes() for path in (tmp_path / output).iterdir()} == before
    (tmp_path / "inv/result.json").unlink()  # as after kill -9
    found = inverted("method=ddib", "src=dog.png", "resume=true")
    assert found.code == 2 and "of another picture, or with other settings" in found.err
    assert inverted("method=ddib", "src=dog.png", "resume=true", "overwrite=true").code == 0
    assert read_header(tmp_path / "inv/inversion.safetensors").source.endswith("dog.png")
    found = edit("task=invert", "method=ddib", "resume=true", without=NO_TARGET)
    assert found.code == 2 and "give output=" in found.err


def test_an_edit_does_not_go_where_its_inversion_is(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=ddib", "size=16").code == 0
    words = ("method=ddib", "inversion=inv", "overwrite=true", "batch_size=1")
    found = edit(*words, "output=inv", "target=[a pig, a cow]", without=INVERTED)
    assert found.code == 2 and "holds the inversion" in found.err
    assert (tmp_path / "inv/inversion.safetensors").exists()
    assert edit(*words, "output=inv/pig", without=INVERTED).code == 0
    assert "\nsize: 16\n" in (tmp_path / "inv/pig/config.yaml").read_text()


def test_what_is_said_of_the_target_is_not_asked_of_the_source(
    inverted: Callable[..., Any], edit: Callable[..., Any], tmp_path: Path
) -> None:
    """Words of the target, which the reconstruction's prompt does not have."""
    said = "method.reweight={pig: 2}", "method.blend=[cat,pig]"
    assert inverted("method=p2p", "output=inv", *said).code == 0
    assert "psnr" in result_of(tmp_path / "inv")["pictures"][0]
    assert edit("method=p2p", "inversion=inv", *said, without=INVERTED).code == 0


def test_what_comes_after_an_inversion_may_fail(
    inverted: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inversion is kept and noted; of several pictures, those that are well."""
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        noise_picture(32, 32, seed).save(tmp_path / f"in/{seed}.png")
    sample = DDIB.sample

    def interrupted(self: DDIB, *args: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    def spoilt(self: DDIB, *args: Any) -> torch.Tensor:
        z = sample(self, *args)
        z[1] = torch.nan
        return z

    with monkeypatch.context() as patch:
        patch.setattr(DDIB, "sample", interrupted)
        stopped = inverted("method=ddib", "src=in", "output=a")
    assert stopped.code == 130 and "2 of 2 are inverted" in stopped.err
    assert [set(p) >= {"psnr"} for p in result_of(tmp_path / "a")["pictures"]] == [False] * 2
    assert inverted("method=ddib", "src=in", "output=a", "resume=true").code == 0
    assert all("psnr" in picture for picture in result_of(tmp_path / "a")["pictures"])
    with monkeypatch.context() as patch:
        patch.setattr(DDIB, "sample", spoilt)
        broken = inverted("method=ddib", "src=in", "output=b")
    assert broken.code == 2 and "not finite" in broken.err
    pictures = result_of(tmp_path / "b")["pictures"]
    assert [{"inversion", "psnr"} <= set(picture) for picture in pictures] == [True, False]
    assert (tmp_path / "b/reconstructed/1.png").exists()


def test_an_inversion_that_is_not_finite_is_not_kept(
    inverted: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        noise_picture(32, 32, seed).save(tmp_path / f"in/{seed}.png")
    invert = DDIB.invert

    def spoilt(self: DDIB, *args: Any) -> Inversion:
        found = invert(self, *args)
        found["noise"][0, 0, 0, 0] = torch.inf
        return found

    monkeypatch.setattr(DDIB, "invert", spoilt)
    found = inverted("method=ddib", "src=in")
    assert found.code == 2 and "The inversion of 1.png is not finite" in found.err
    assert [path.name for path in (tmp_path / "inv/inversion").iterdir()] == ["2.safetensors"]


def test_with_a_mask_the_edit_is_the_same_too(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    mask = Image.new("L", (48, 32))
    mask.paste(255, (0, 0, 24, 32))
    mask.save(tmp_path / "mask.png")
    assert inverted("method=cyclediffusion").code == 0
    words = ("method=cyclediffusion", "mask=mask.png")
    assert edit(*words, "inversion=inv", "output=begun", without=INVERTED).code == 0
    assert edit(*words, "output=whole").code == 0
    a, b = (Image.open(tmp_path / name / "edited.png") for name in ("begun", "whole"))
    assert a.tobytes() == b.tobytes()
