"""What a cell shows, in a real kernel."""

import html
import re

import nbformat
from nbclient import NotebookClient

CELLS = [
    "from microgad import Value, viz\nx, y = Value(-2), Value(5)\nweights = [Value(-4)]\nf = (x + y) * weights[0]\nf",
    "f.backward()\nviz.draw(f, theme='dark')",
    "f if f.grad == 2 else None",
]


def test_a_value_alone_in_a_cell_draws_itself_with_the_names_of_variables():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    alone, drawn, nothing = (cell.outputs for cell in notebook.cells)
    for outputs, grad in ((alone, "–"), (drawn, "-4")):
        page = outputs[0]["data"]["text/html"]
        assert page.startswith('<img src="data:image/svg+xml;base64,')
        alt = html.unescape(re.search('alt="([^"]*)"', page)[1])
        assert f"Inputs: x = -2 (grad {grad}), y = 5 (grad {grad}), weights[0] = -4" in alt
        assert "Operations: +, ×. Result: f = -12" in alt
    assert alone[0]["data"]["text/plain"] == "Value(data=-12.0, grad=None)"
    assert drawn[0]["data"]["text/plain"].startswith("f (×) = -12, grad 1\n├── (+) = 3, grad -4")
    assert nothing == []


def test_the_loop_of_the_readme_leaves_the_names_alone():
    """Steps are tuples with nodes inside, and in a notebook the loop's variable holds one while they are printed."""
    source = (
        "import microgad as mg\n"
        "f = mg.parse('exp(x*y + max(z, w))', x=0.5, y=2, z=-1, w=1)\n"
        "for step in mg.backward_steps(f):\n    print(step)\n"
        "edge = step.edges[0]\nprint(mg.derive(f, 'x'))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    printed = "".join(output["text"] for output in notebook.cells[0].outputs)
    assert printed.startswith("∂f/∂v3 = ∂f/∂f · ∂f/∂v3 = 1 · 7.38906 = 7.38906\n")
    assert "step" not in printed
    assert "edge" not in printed
