"""Names that are code: in a real JupyterLab every view shows them as they stand, and none of them runs."""

import pytest
from browser import complaints, open_notebook, requested, run_notebook, wait_until

HACK = "window.top.hacked = 1"
NAMES = [
    f"</script><script>{HACK}</script>",
    f"<img src=x onerror='{HACK}'>",
    f'"]; click v0 href "javascript:{HACK}"; v9["',
    f"%%{{init: {{'securityLevel': 'loose'}}}}%% <b onclick='{HACK}'>",
    rf"\href{{javascript:{HACK}}}{{x}}",
    r"\unicode{0} \begin{pmatrix} $$ \def\x{",
    r"$x$ `code` **bold** |",
    r'\N \G "> <TABLE><TR>',
]
CELLS = [
    f"""
import microgad as mg
from microgad import Value, viz
values = [Value(float(k + 1), name) for k, name in enumerate({NAMES!r})]
f = sum(x * x for x in values)
f.name = {NAMES[0]!r}
f.backward()
f
""",
    "viz.mermaid(f)",
    "viz.play(f)",
    "viz.draw(f, fold=True)",
    "viz.shapes(values[0] * values[1])",
    "mg.formula(f)",
    "mg.derive(f, values[4])",
    "mg.evaluation_trace(f)",
    "from IPython.display import Markdown\nMarkdown(mg.evaluation_trace(f).to_markdown())",
]


@pytest.fixture(scope="module")
def notebook():
    return run_notebook(CELLS)


@pytest.mark.parametrize("trusted", [True, False])
def test_nothing_runs_and_nothing_breaks(chromium, jupyterlab, notebook, trusted):
    open_notebook(chromium, jupyterlab, notebook, trusted=trusted)
    wait_until(chromium, "return document.querySelectorAll('mjx-container').length >= 2")
    wait_until(chromium, "return document.querySelector('.jp-RenderedMermaid img, .jp-RenderedMermaid svg')")
    assert chromium.execute_script("return window.hacked === undefined")
    assert chromium.execute_script("return [...document.querySelectorAll('mjx-merror')].map(x => x.textContent)") == []
    assert chromium.find_elements("css selector", ".jp-RenderedMermaid.jp-mod-warning") == []
    assert chromium.find_elements("css selector", ".jp-OutputArea-output a[href^=javascript]") == []
    page = chromium.execute_script("return document.querySelector('.jp-Notebook').textContent")
    assert page.count(NAMES[1]) > 5
    alts = chromium.execute_script("return [...document.images].map(image => image.alt).join(' ')")
    for name in NAMES:
        assert name in alts
    assert requested(chromium) == []
    assert [line for line in complaints(chromium) if "iframe" not in line] == []
