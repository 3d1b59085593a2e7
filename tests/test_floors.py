"""Imports go downward only: no cycle, and none hidden in a function to dodge one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "microgad.errors": 0,
    "microgad.order": 0,
    "microgad.atomic": 0,
    "microgad.primitive": 1,
    "microgad.special": 1,
    "microgad.randomness": 1,
    "microgad.primitives": 2,
    "microgad.structural": 2,
    "microgad.trees": 2,
    "microgad.functions": 3,
    "microgad.array_functions": 3,
    "microgad.recording": 3,
    "microgad.tensor": 3,
    "microgad.node": 3,
    "microgad.operators": 3,
    "microgad.value": 3,
    "microgad.naming": 3,
    "microgad.scopes": 3,
    "microgad.agreement": 3,
    "microgad.copying": 3,
    "microgad.custom": 3,
    "microgad.hooks": 3,
    "microgad.anomaly": 4,
    "microgad.autodiff": 4,
    "microgad.forward_mode": 4,
    "microgad.transforms": 4,
    "microgad.steps": 4,
    "microgad.symbolic": 4,
    "microgad.algebra": 4,
    "microgad.evaluation": 4,
    "microgad.derivation": 4,
    "microgad.differences": 4,
    "microgad.probes": 4,
    "microgad.checks": 4,
    "microgad.saved_text": 4,
    "microgad.saved_arrays": 4,
    "microgad.serial": 4,
    "microgad.expression": 4,
    "microgad.tracers": 4,
    "microgad.tracing": 4,
    "microgad.tape": 4,
    "microgad.replay": 4,
    "microgad.nn": 5,
    "microgad.viz": 5,
    "microgad.cli": 6,
    "microgad.__main__": 7,
    "microgad": 7,
}
# The package's own __init__ is the top: it may be imported for its version, and by what is on the top floor.
PACKAGES = {
    "microgad": ROOT / "microgad",
    "microgad.replay": ROOT / "microgad/replay",
    "microgad.nn": ROOT / "nn",
    "microgad.viz": ROOT / "viz",
    "microgad.viz.plot": ROOT / "viz/plot",
}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.glob("*.py"):
            found[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return found


MODULES = modules()


def imports(name: str) -> list[tuple[str, ast.stmt, bool]]:
    """Every module of the project that `name` imports: (module, statement, at the top level)."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    top = {id(statement) for statement in tree.body}
    package = name if MODULES[name].stem == "__init__" else name.rpartition(".")[0]
    found = []
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            targets = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - statement.level + 1]) if statement.level else ""
            base = ".".join(part for part in (base, statement.module) if part)
            targets = [f"{base}.{x.name}" if f"{base}.{x.name}" in MODULES else base for x in statement.names]
        else:
            continue
        found += [(t, statement, id(statement) in top) for t in targets if t.split(".")[0] in ("microgad", "nn", "viz")]
    return found


def floor(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_has_a_floor_and_imports_none_above_it(name):
    assert name in FLOORS or name.rpartition(".")[0] in PACKAGES
    for module, statement, _ in imports(name):
        if name == "microgad.cli" and module == "microgad":
            continue  # for __version__
        assert floor(module) <= floor(name), f"{name}:{statement.lineno} imports {module}, which is above it"


def test_no_cycles():
    graph = {name: {m for m, _, top in imports(name) if top and m != name} - {"microgad"} for name in MODULES}
    while graph:
        free = [name for name, below in graph.items() if not below & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_import_of_the_project_hides_in_a_function(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            hidden = {id(statement) for statement in ast.walk(function)}
            assert not [module for module, statement, _ in imports(name) if id(statement) in hidden]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nn_and_viz_are_imported_as_part_of_microgad(name):
    """From the repository's root a bare ``import nn`` would load a second copy."""
    assert not [module for module, _, _ in imports(name) if module.split(".")[0] in ("nn", "viz")]


def test_viz_does_not_know_nn():
    for name in MODULES:
        if name.startswith("microgad.viz"):
            assert not [module for module, _, _ in imports(name) if module.startswith("microgad.nn")]


def test_the_engine_reads_in_one_sitting():
    files = ("primitive", "primitives", "node", "value", "autodiff", "order")
    assert sum(len((ROOT / f"microgad/{name}.py").read_text().splitlines()) for name in files) < 700
