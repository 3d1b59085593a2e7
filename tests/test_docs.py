"""What the documentation shows is what happens: docstrings, README, and the names it promises."""

import contextlib
import doctest
import html
import io
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import microgad as mg

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
MODULES = ["microgad", *(info.name for info in pkgutil.walk_packages(mg.__path__, "microgad."))]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings(name):
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.mark.parametrize("name", sorted(mg.__all__))
def test_public_names_exist_and_are_described(name):
    assert getattr(mg, name).__doc__


def test_public_functions_have_an_example():
    public = [getattr(mg, name) for name in mg.__all__]
    public += [mg.viz.draw, mg.viz.mermaid, mg.viz.network, mg.viz.play, mg.viz.shapes, mg.viz.tree]
    homes = (mg.viz.plot, mg.nn, mg.nn.optim, mg.nn.init, mg.nn.data)
    public += [getattr(home, name) for home in homes for name in home.__all__]
    assert [thing for thing in public if callable(thing) and ">>>" not in thing.__doc__] == []


def test_the_python_of_the_readme():
    scope = {}
    codes = [text for kind, text in BLOCKS if kind == "python"]
    assert len(codes) == 5
    for code in codes:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, scope)
        assert printed.getvalue() in [text for kind, text in BLOCKS if kind == "text"]


def test_the_first_command_of_the_readme_prints_what_it_says(tmp_path):
    command = next(text for kind, text in BLOCKS if kind == "sh").rpartition("bin/microgad ")[2]
    args = re.findall(r'"([^"]*)"|(\S+)', command)
    done = subprocess.run(
        [sys.executable, "-m", "microgad", *(quoted or plain for quoted, plain in args)],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
    )
    assert done.stdout in [text for kind, text in BLOCKS if kind == "text"]


def test_the_picture_of_the_readme_shows_its_numbers():
    path = re.search(r"!\[.*?\]\((.*?)\)", README)[1]
    svg = (ROOT / path).read_text(encoding="utf-8")
    assert all(f">{text}<" in svg for text in ("data &#45;12", "grad &#45;4", "grad 3", "grad 1"))


def test_the_second_picture_is_that_of_the_network_that_it_says():
    path = re.findall(r"!\[.*?\]\((.*?)\)", README)[1]
    svg = (ROOT / path).read_text(encoding="utf-8")
    nn = mg.nn
    model = nn.MLP(2, [2, 2], "sigmoid")
    numbers = {"layers.0.weight": [[0.1, 0.4], [-0.3, 0.2]], "layers.0.bias": [0.05, -0.1]}
    numbers |= {"layers.1.weight": [[0.7, -0.5], [0.6, 0.8]], "layers.1.bias": [0.0, 0.1]}
    model.load_state_dict({name: np.array(x) for name, x in numbers.items()})
    loss = 0.5 * ((model([[1.0, 2.0]]) - np.array([[1.0, 0.0]])) ** 2).sum()
    loss.backward()
    shown = {html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)<", svg)}
    for name, p in model.named_parameters():
        for x, grad in zip(p.data.flat, p.grad.flat, strict=True):
            assert {f"{x:.4g}", f"∂ {grad:.4g}"[:9]} <= {text[:9] for text in shown}, (name, x, grad)
    assert f"{loss.item():.4g}" in shown


def test_files_that_the_readme_names_exist():
    paths = re.findall(r"`([\w./]+\.(?:py|ipynb)|[\w./]+/|\.ci/run)`", README)
    assert len(paths) > 10
    for path in paths:
        assert any((ROOT / folder / path).exists() for folder in ("", "microgad", "microgad/replay", "nn", "viz")), path


def test_the_version_is_in_the_changelog():
    assert f"## {mg.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_says_that_it_has_types():
    assert (Path(mg.__file__).parent / "py.typed").exists()


def test_the_heavy_parts_load_when_used():
    code = (
        "import sys, microgad; print('graphviz' in sys.modules, microgad.viz.draw.__name__, 'graphviz' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False draw True\n"
