"""The command line as a user meets it: a real process, its two streams and its exit code."""

import html
import os
import subprocess
import sys
from pathlib import Path

import pytest

import microgad as mg
from microgad.cli import main


def microgad(*args: str, cwd=None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "microgad", *args],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_the_first_picture(tmp_path):
    done = microgad("graph", "(x + y) * z", "x=-2", "y=5", "z=-4", "-o", "graph.svg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "f = (x + y) * z = -12",
        "",
        "name  data  grad",
        "x       -2    -4",
        "y        5    -4",
        "z       -4     3",
        "",
        "wrote graph.svg",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["graph.svg"]
    assert "data -12" in html.unescape((tmp_path / "graph.svg").read_text(encoding="utf-8"))


def test_the_installed_command():
    command = Path(sys.executable).with_name("microgad")
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert done.stdout == f"microgad {mg.__version__}\n"


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("svg", b"<?xml"),
        ("png", b"\x89PNG"),
        ("pdf", b"%PDF-"),
        ("dot", b"digraph"),
        ("SVG", b"<?xml"),
        ("mmd", b"flowchart TB"),
        ("json", b"{"),
    ],
)
def test_suffixes(tmp_path, suffix, start, capsys):
    target = tmp_path / f"g.{suffix}"
    assert main(["graph", "x*y", "x=1", "y=2", "-o", str(target), "--rankdir", "TB", "--theme", "dark"]) == 0
    assert target.read_bytes().startswith(start)
    assert os.stat(target).st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_an_output_it_prints_the_tree(capsys):
    assert main(["graph", "x * 2", "x=3"]) == 0
    assert capsys.readouterr().out.endswith("f (×) = 6, grad 1\n├── x = 3, grad 2\n└── 2\n")


def test_expressions_that_begin_with_a_minus(capsys):
    assert main(["graph", "-x * y", "x=3", "y=-1e-3"]) == 0
    assert capsys.readouterr().out.startswith("f = -x * y = 0.003\n")
    assert main(["graph", "--x", "x=3"]) == 0
    assert main(["graph", "-4"]) == 0


def test_names_of_the_user_s_own(capsys):
    assert main(["graph", "f * é", "f=3", "é=2", "unused=1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("f * é = 6\n")
    assert err == "microgad: note: not in the expression: unused\n"


SECOND = ["exp(x*y + max(z, w))", "x=0.5", "y=2", "z=-1", "w=1"]  # the lecture's second graph


def test_steps(capsys):
    assert main(["steps", *SECOND]) == 0
    forward, backward = capsys.readouterr().out.split("backward\n")
    assert forward.splitlines()[0] == "forward"
    assert forward.splitlines()[-1] == "  f = exp(v3) = exp(2) = 7.38906"
    assert backward.splitlines()[0] == "  ∂f/∂v3 = ∂f/∂f · ∂f/∂v3 = 1 · 7.38906 = 7.38906"
    assert backward.splitlines()[-1] == "  ∂f/∂y = ∂f/∂v1 · ∂v1/∂y = 7.38906 · 0.5 = 3.69453"
    assert main(["steps", "3"]) == 0
    assert capsys.readouterr().out == "forward: nothing is computed\n  f = 3\nbackward: nothing is computed\n"


@pytest.mark.parametrize(("form", "start"), [("table", "node  primal"), ("markdown", "| node |"), ("html", "<table>")])
def test_both_passes_as_a_table(form, start, capsys):
    assert main(["steps", *SECOND, "--format", form]) == 0
    out = capsys.readouterr().out
    assert out.startswith(start)
    assert out.count("14.7781") == 1


def test_derive(capsys):
    assert main(["derive", *SECOND, "--wrt", "x"]) == 0
    assert capsys.readouterr().out.endswith(
        "∂f/∂x = ∂f/∂v3 · ∂v3/∂v1 · ∂v1/∂x\n"
        "      = f · 1 · y\n"
        "      = 7.38906 · 1 · 2\n"
        "      = 14.7781\n\n"
        "simplified: ∂f/∂x = y * exp(x * y + max(z, w))\n"
    )
    assert main(["derive", *SECOND, "--digits=3"]) == 0
    out = capsys.readouterr().out
    assert [f"simplified: ∂f/∂{name}" in out for name in "xyzw"] == [True] * 4
    assert "= 7.39 · 1 · 2\n      = 14.8\n" in out
    assert main(["derive", "-x", "x=1", "--format=latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{aligned} f &= -x \\ \frac{\partial f}{\partial x} &= -1")


def test_the_derivatives_that_there_are_come_before_the_error(capsys):
    assert main(["derive", "x ** y", "x=-2", "y=2"]) == 2
    out, err = capsys.readouterr()
    assert out == "f = x ** y\n\n∂f/∂x = y * x ** (y - 1)\n      = -4\n"
    assert "the derivative of f = x ** y by y does not exist at x = -2.0, y = 2.0: log(-2.0) is undefined" in err


def test_check(capsys):
    assert main(["check", *SECOND]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "gradient", "finite", "difference", "difference", "verdict"]
    assert [line.split()[0] for line in lines] == ["x", "y", "z", "w"]
    assert all(line.endswith("  ok") for line in lines)
    assert lines[0].split()[1:3] == ["14.7781122", "14.7781122"]


def test_a_check_that_fails_is_exit_code_1(capsys):
    assert main(["check", "relu(x) * y", "x=0", "y=2"]) == 1
    x, y = capsys.readouterr().out.splitlines()[1:]
    assert "a kink: the slope is 0 from the left and 2 from the right" in x
    assert y.endswith("  ok")


def test_highlight(tmp_path):
    target = tmp_path / "g.dot"
    assert main(["graph", "x * y", "x=1", "y=2", "--highlight", "x", "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8").count("penwidth=3") == 5  # x, its edge, the operation, one more, f


def test_a_saved_graph_is_read_again(tmp_path):
    target = tmp_path / "g.json"
    assert main(["graph", "x * y", "x=1", "y=2", "-o", str(target)]) == 0
    f = mg.from_json(target.read_text(encoding="utf-8"))
    assert (f.data, f.name, [leaf.grad for leaf in f.inputs]) == (2.0, "f", [2.0, 1.0])


BAD = [
    (["graph", "__import__('os')"], "column 1: no function '__import__'"),
    (["graph", "x.real", "x=1"], "column 1: no attribute here"),
    (["graph", "1 + x[0]", "x=1"], "column 5: no subscript here"),
    (["graph", "lambda: 1"], "column 1: no lambda here"),
    (["graph", "x + q", "x=1"], "column 5: 'q' has no value"),
    (["graph", "x"], "column 1: 'x' has no value: give one, as in x=1"),
    (["graph", "x", "x=abc"], "column 3: 'abc' is not a number, in 'x=abc'"),
    (["graph", "x", "x="], "column 3: '' is not a number"),
    (["graph", "x", "x"], "column 1: 'x' is no name=value"),
    (["graph", "x", "=3"], "column 1: '=3' is no name=value"),
    (["graph", "x", "x=1", "x=2"], "x has a value already"),
    (["graph", ""], "column 1: the expression is empty"),
    (["graph", "   "], "column 1: the expression is empty"),
    (["graph", "(" * 10_000 + "x" + ")" * 9_000, "x=1"], "column 201: too many nested parentheses"),
    (
        ["graph", "(" * 10_000 + "x" + ")" * 10_000, "x=1"],
        "column 20,000: an expression of 20,001 characters is too long",
    ),
    (["graph", "-" * 18_000 + "x", "x=1"], "column 1: the expression is nested too deeply"),
    (["graph", "9**9**9**9"], "column 4: the number is too large"),
    (["graph", "log(x)", "x=0"], "column 1: log(x) is undefined at x = 0.0"),
    (["graph", "x ** 0.5", "x=0"], "the derivative of f = x ** 0.5 by x does not exist at x = 0.0: "),
    (["graph", "x\n+ +* y", "x=1"], "column 3: invalid syntax"),
    (["graph", "x", "x=1", "-o", "g.bmp"], "g.bmp: unknown suffix '.bmp': use .svg, .png, .pdf, .dot"),
    (["graph", "x", "x=1", "-o", "g"], "g: unknown suffix ''"),
    (["graph", "x", "x=1", "-o", "no/such/folder/g.svg"], "cannot write no/such/folder/g.svg: No such file"),
    (["graph", "x", "x=1", "-o", "/dev/null/g.dot"], "cannot write /dev/null/g.dot: Not a directory"),
    (["graph", "x", "x=1", "--theme", "pink"], "invalid choice: 'pink'"),
    (["graph", "x", "x=1", "--colour"], "'--colour' is no such option"),
    (["graph"], "required: expression"),
    (["graph", "x*y", "x=1", "y=2", "--highlight", "yy"], "the graph has no node named 'yy': did you mean y?"),
    (
        ["steps", "log(x - y)", "x=1", "y=3"],
        "column 1: log(x - y) is undefined at x - y = -2.0: log needs a number",
    ),
    (["steps", "x", "x=1", "--format", "pdf"], "invalid choice: 'pdf'"),
    (["derive", "x*y", "x=1", "y=2", "--wrt", "z"], "no variable 'z' in the expression: it has x, y"),
    (["derive", "sqrt(x)", "x=0"], "the derivative of f = sqrt(x) by x does not exist at x = 0.0"),
    (["derive", "2"], "the expression has no variable"),
    (["derive", "x", "x=1", "--digits", "0"], "digits is a number from 1 to 17, not int 0"),
    (["derive", "+".join(["x"] * 1500), "x=1"], "1,500 nodes lie on the paths; a derivation shows up to 1,000"),
    (["check", "2"], "the expression has no variable"),
    (["check", "sqrt(x)", "x=0"], "the derivative of sqrt(x) by x does not exist at x = 0.0: it would divide by 0"),
    (["graph", "x", "1=2"], "column 1: '1' is no name, in '1=2'"),
    (["graph", "x", "x=1e400"], "column 3: the number is too large, in 'x=1e400'"),
    (["graph", "x if x else 1", "x=1"], "column 1: no if … else here"),
    (["check", "x + q", "x=1"], "column 5: 'q' has no value"),
    (["grahp", "x"], "invalid choice: 'grahp'"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=lambda x: ascii(x)[:40])
def test_bad_input_is_one_line_and_exit_code_2(args, message, tmp_path):
    done = microgad(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("microgad: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_name_begins_with_a_minus(tmp_path):
    assert microgad("graph", "x", "x=1", "-o", "-.dot", cwd=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["-.dot"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("args", [["doctor"], ["graph", "x", "x=1"]])
def test_where_nothing_can_be_printed(args):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "microgad", *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "microgad: error: cannot print: No space left on device\n")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "g.svg").mkdir()
    done = microgad("graph", "x", "x=1", "-o", "g.svg", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot write g.svg" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["g.svg"]


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    (tmp_path / "g.svg").write_text("precious")
    assert microgad("graph", "x + q", "x=1", "-o", "g.svg", cwd=tmp_path).returncode == 2
    assert (tmp_path / "g.svg").read_text() == "precious"


def test_a_picture_without_a_renderer(tmp_path):
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pygraphviz' else find(name, *rest)\n"
        "from microgad.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *args]
        env = {**os.environ, "PATH": str(tmp_path / "nothing")}
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    for suffix in ("png", "svg", "pdf"):
        done = run("graph", "x", "x=1", "-o", f"g.{suffix}")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert 'pip install "microgad[render]"' in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert run("graph", "x", "x=1", "-o", "g.dot").returncode == 0
    assert 'pip install "microgad[render]"' in run("doctor").stdout


def test_doctor_names_versions_and_extras(capsys):
    assert main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["microgad"] == mg.__version__
    assert {"Python", "numpy", "graphviz", "renderer", "[render]", "[dev]", "[bench]"} <= lines.keys()
    assert lines["renderer"].split()[0] in ("dot", "pygraphviz")
    assert "pytest" in lines["[dev]"]


def test_no_command_prints_the_help(capsys):
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


def test_a_terminal_without_unicode_still_gets_the_numbers():
    done = microgad("graph", "x*y", "x=1", "y=2", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "x        1     2" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a pipe of a POSIX shell")
def test_a_reader_that_stops_early():
    command = f"'{sys.executable}' -m microgad graph 'x*y' x=1 y=2 | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
