"""Imports point down: benchmarks, editing, samplers; conf holds only YAML."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with this repository's contracts on the packages in `folder`."""
    program = (
        "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--config", str(ROOT / "setup.cfg"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_layers_hold() -> None:
    checked = lint_imports(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("package", "imported", "kept"),
    [
        ("benchmarks", "editing", True),
        ("benchmarks", "samplers", True),
        ("editing", "samplers", True),
        ("samplers", "editing", False),
        ("samplers", "benchmarks", False),
        ("editing", "benchmarks", False),
        ("conf", "editing", False),
    ],
)
def test_an_import_that_points_up_is_noticed(
    tmp_path: Path, package: str, imported: str, kept: bool
) -> None:
    for name in ("benchmarks", "editing", "samplers", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / package / "module.py").write_text(f"import {imported}\n")
    checked = lint_imports(tmp_path)
    assert (checked.returncode == 0) == kept, checked.stdout + checked.stderr


def test_conf_holds_only_yaml() -> None:
    names = {path.name for path in (ROOT / "conf").rglob("*") if path.is_file()}
    others = {name for name in names if not name.endswith((".yaml", ".pyc"))}
    assert others == {"__init__.py"}
    assert (ROOT / "conf" / "__init__.py").read_text() == ""
