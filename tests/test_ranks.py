"""The house has floors: an import only ever goes down, lazy ones included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fastnn

ROOT = Path(fastnn.__file__).parent

# From the ground up; files on one line are of one rank and may import each other.
RANKS = [
    {"_version", "_config", "_check"},
    {"program", "archive"},
    {"kernels"},
    {"graph"},
    {"backends"},
    {"ops"},
    {"initializers", "schedules", "metrics", "_monitor", "_progress", "datasets"},
    {"layers"},
    {"losses", "optimizers", "callbacks"},
    {"feed", "reporting", "parameters", "summary", "profiling"},
    {"step", "inference"},
    {"objective"},
    {"stepper", "saving"},
    {"epochs", "repeated"},
    {"trainer"},
    {"network"},
    {"sequential"},
    {"runtime", "plots", "_canvas"},
    {"report"},
    {"cli", "__main__"},
]
RANK = {name: number for number, names in enumerate(RANKS) for name in names}


def room(path: Path) -> str:
    """The file's or folder's name directly under fastnn/."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, at any depth of its code."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):  # imports for the type checker alone never run
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
            continue
        found.update(name.split(".")[1] for name in modules if name.startswith("fastnn."))
    return found & set(RANK)


FILES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    here = room(path)
    assert here in RANK, f"{here} has no rank: give it one"
    upward = {name for name in imports(path) if RANK[name] > RANK[here]}
    assert not upward, f"{here} imports {sorted(upward)}, which stand above it"


def test_graph_and_backends_import_no_operations() -> None:
    for folder in ("graph", "backends"):
        for path in (ROOT / folder).glob("*.py"):
            assert "ops" not in imports(path), path


def test_every_room_exists() -> None:
    there = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(RANK) <= there
