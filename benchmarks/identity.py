"""What a row is named by: all that determines an edit, and all that determines its measurement."""

import sys
from pathlib import Path
from typing import Any

import benchmarks.metrics
import editing
import samplers
from benchmarks.rows import file_digest, source_digest
from benchmarks.suites.base import Suite
from editing import results
from editing.settings import Settings

LIBRARIES = ("torch", "diffusers", "transformers")  # whose versions may change an edit
JUDGING = ("torch", "transformers")  # or a measurement


def editor_identity(settings: Settings, prior: Any) -> dict[str, Any]:
    """All that determines an edit but its case and seed. JSON."""
    return {
        "method": settings.method,
        "steps": settings.steps,
        "step_size": settings.step_size,
        "distiller": settings.distiller,
        "parameters": settings.parameters,
        "optimizer": settings.optimizer,
        "schedule": settings.schedule,
        "model": prior.model_hash(),
        "files": file_digest(prior.folder, "*/*.json") if prior.folder else "",
        "distilled_guidance": settings.distilled_guidance,
        "lora_scale": settings.lora_scale if settings.lora else 0.0,
        "dtype": str(prior.dtype).removeprefix("torch."),
        "device": prior.device.type,
        "software": results.software(),
        "versions": {name: results.versions()[name] for name in LIBRARIES},
        "sources": source_digest(_folder(editing), _folder(samplers)),
    }


def suite_identity(suite: Suite) -> dict[str, Any]:
    """All that determines a measurement but the pictures: the judges and their code. JSON."""
    modules = {sys.modules[kind.__module__] for kind in type(suite).__mro__}
    files = sorted(Path(file) for module in modules if (file := getattr(module, "__file__", None)))
    return {
        **suite.identity(),
        "sources": source_digest(_folder(benchmarks.metrics), *files),
        "versions": {name: results.versions()[name] for name in JUDGING},
    }


def _folder(package: Any) -> Path:
    return Path(package.__file__).parent
