"""What the suites share."""

import pytest
import torch

from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import Scene
from benchmarks.suites.cat_to_others import cases
from benchmarks.suites.world import SuiteOptions, drawn, edit_all, make_editor
from samplers.noise import FixedPointNoise, RandomNoise


def test_scenes_are_drawn_in_their_order() -> None:
    cat, pig = Scene(), Scene(species="pig")
    made = drawn([cat, pig, cat], 16)
    assert torch.equal(made.image[1:2], render([pig], 16).image)
    assert torch.equal(made.image[0], made.image[2])
    assert made.animal.shape == (3, 1, 16, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": "ids,ddss"}, "did you mean 'dds'"),
        ({"split": "train"}, "there are test, validation"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_sentence(options: dict[str, str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        SuiteOptions(**options).named_methods()
    assert SuiteOptions(methods="dds,sds").named_methods() == ["dds", "sds"]


def test_editor_has_the_defaults_of_the_command_line() -> None:
    ids = make_editor("ids", SuiteOptions())
    dds = make_editor("dds", SuiteOptions(steps=3, guidance=2.0))
    assert isinstance(ids.distiller.noise, FixedPointNoise)
    assert isinstance(dds.distiller.noise, RandomNoise)
    assert (dds.steps, dds.distiller.guidance) == (3, 2.0)


def test_edits_do_not_depend_on_the_batch_size() -> None:
    todo = cases(1)[:3]
    sources = drawn([case.source for case in todo], 64).image
    editor = make_editor("dds", SuiteOptions(steps=2))
    together, _, evaluations = edit_all(editor, todo, sources, SuiteOptions(batch_size=3))
    apart, _, _ = edit_all(editor, todo, sources, SuiteOptions(batch_size=2))
    assert evaluations == 8
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=0)
