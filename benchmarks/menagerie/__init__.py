"""The Menagerie: a procedural world of animals in which the exact answer to an edit is known."""

from benchmarks.menagerie.captions import caption
from benchmarks.menagerie.render import Rendering, render
from benchmarks.menagerie.scene import Scene, sample_scene

__all__ = ["Rendering", "Scene", "caption", "render", "sample_scene"]
