"""The player: its steps are those of the engine, and its page computes, shows and says the same, in a real browser."""

import base64
import html
import itertools
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import (
    complaints,
    faint,
    inside,
    nbconvert_page,
    open_notebook,
    open_page,
    overlapping,
    press,
    requested,
    run_notebook,
    texts,
    wait_until,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_random_expressions import compute, smooth
from test_viz import HOSTILE, run_without_renderers

import microgad as mg
from microgad import Tensor, Value, viz
from microgad.cli import main
from microgad.errors import DomainError, GraphSizeError, InputError
from microgad.naming import literal, number
from microgad.primitives import TABLE
from microgad.viz.javascript import Functions
from microgad.viz.passes import shortened

EXPRESSIONS = {
    "the lecture's": ("(x + y) * z", {"x": -2, "y": 5, "z": -4}),
    "one leaf used four times": ("tanh(w*x + b) * x - x**2 / 3 + x", {"w": -1.5, "x": 0.5, "b": 0.1}),
    "used twice by one node": ("x * x", {"x": -3}),
    "constants": ("2 * x - (-3) / x + max(x, -1)", {"x": -2}),
    "powers": ("x ** 2 + 2 ** x + x ** y + (-x) ** 3", {"x": 1.5, "y": -2}),
    "a leaf": ("x", {"x": 7}),
    "nan": ("x * y + y", {"x": math.nan, "y": 2}),
    "infinite": ("x - y", {"x": math.inf, "y": 1}),
    "large and small": ("x * y + x", {"x": 1e-7, "y": 123456789.0}),
}


def parsed(case):
    text, values = EXPRESSIONS[case]
    return mg.parse(text, **values)


def layer():
    x = Tensor(np.arange(6.0).reshape(3, 2), name="X")
    w = Tensor([[1.0, 0.5, -1.0], [2.0, 1.0, 0.25]], requires_grad=True, name="W")
    return mg.nn.cross_entropy(mg.tanh(x @ w), [0, 1, 2])


def infinite_constants():
    x = Value(2.0, "x")
    return mg.minimum(x, math.inf) * x - mg.maximum(x, -math.inf) + x * -math.inf


def module():
    mg.manual_seed(3)
    return (mg.nn.scalar.MLP(2, [2, 1])([1.0, -2.0]) - 1) ** 2


GRAPHS = {
    **{case: (lambda case=case: parsed(case)) for case in EXPRESSIONS},
    "infinite constants": lambda: infinite_constants(),
    "of Tensors": layer,
    "of both": lambda: (mg.stack([Value(2.0, "a"), Value(3.0, "b")]) * Tensor([1.0, -1.0])).sum(),
    "of a module": lambda: module(),
    "of a large array": lambda: (Tensor(np.ones((50, 4)), requires_grad=True, name="A") ** 2).mean(),
    "of an empty array": lambda: Tensor(np.ones((0, 3)), requires_grad=True, name="A").sum(),
}


def page_of(driver, f, path, **options):
    open_page(driver, path.parent / viz.play(f, **options).save(path))


def ask(driver, script, *arguments):
    return driver.execute_script(f"return {script}", *arguments)


def steps_shown(driver):
    """The items of the list, and the number of the current one."""
    return driver.execute_script(
        """const items = [...document.querySelectorAll("#steps li")];
        return [items.map(item => item.textContent), items.findIndex(item => item.ariaCurrent === "step")];"""
    )


def fill(driver, name, text):
    from selenium.webdriver import Keys

    field = driver.find_element("css selector", f'#leaves input[name="{name}"]' if name else "#leaves input")
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys(Keys.BACKSPACE, text)


# ---- the page as text


@pytest.mark.parametrize("case", GRAPHS)
def test_the_steps_are_those_of_the_engine(case):
    f = GRAPHS[case]()
    text = viz.play(f).text
    [*forward], [*backward] = mg.forward_steps(f), mg.backward_steps(f)
    steps = [*map(str, forward), "seed", *map(str, backward)]
    lines = text.split("\n")
    seed = sum(str(step).count("\n") + 1 for step in forward)
    assert re.fullmatch(r"∂(.+)/∂\1 = 1", lines[seed])
    lines[seed] = "seed"
    assert "\n".join(lines) == "\n".join(steps)


@pytest.mark.parametrize("case", GRAPHS)
def test_the_page_is_one_file_that_is_well_formed_and_small(case):
    page = viz.play(GRAPHS[case]()).html
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(?!data:)[\w/]", page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert len(page.encode()) < (50_000 if case == "the lecture's" else 200_000)


def test_the_page_without_its_script_says_everything():
    player = viz.play(parsed("the lecture's"))
    still = re.sub(r"<script>.*</script>", "", player.html, flags=re.DOTALL)
    said = html.unescape(re.sub(r"<[^>]*>", "\n", still))
    for line in player.text.split("\n"):
        assert line in said
    for text in ("data -12", "grad 1", "grad -4", "grad 3", "× -4", "= 3"):
        assert f"\n{text}\n" in said
    assert 'aria-label="Graph of f. Inputs: x, y, z. Operations: +, ×."' in still


@pytest.mark.parametrize("case", GRAPHS)
def test_a_notebook_gets_a_sandboxed_frame_and_the_same_without_script(case):
    player = viz.play(GRAPHS[case]())
    bundle = player._repr_mimebundle_()
    assert bundle["text/plain"] == player.text
    frame, behind = re.fullmatch(
        r"(<iframe .*></iframe>)(<details open>.*</details>)", bundle["text/html"], re.DOTALL
    ).groups()
    assert 'sandbox="allow-scripts"' in frame
    assert html.unescape(re.search('srcdoc="([^"]*)"', frame)[1]) == player.html
    assert "<script" not in behind
    items = [html.unescape(item) for item in re.findall(r"<li[^>]*>(.*?)</li>", behind, re.DOTALL)]
    assert "\n".join(items) == player.text.partition("\nNo backward pass")[0]
    picture = re.search(r'<img src="data:image/svg\+xml;base64,([^"]*)" alt="([^"]+)"', behind)
    assert b"<svg" in base64.b64decode(picture[1])
    assert html.unescape(picture[2]) == player.alt


def test_where_the_derivative_does_not_exist_the_pass_ends_and_says_so():
    f = mg.parse("sqrt(x) * y", x=0, y=3)
    player = viz.play(f)
    with pytest.raises(DomainError):
        list(mg.backward_steps(f))
    *_, line, note = player.text.split("\n")
    assert line == "∂f/∂y = ∂f/∂f · ∂f/∂y = 1 · 0 = 0"
    assert note.startswith("The backward pass ends here: ")
    assert html.escape(note) in player.html
    assert "cannot be edited" not in player.html
    assert 'id="leaves"' not in player.html


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (
            lambda: Tensor([1.0, 2.0], requires_grad=True, name="t") * 2,
            "No backward pass: f is (2,), and not one number.",
        ),
        (lambda: Tensor([1.0, 2.0], name="t").sum(), "No backward pass: f needs no gradient."),
        (layer, "Leaves cannot be edited here: X is a Tensor."),
    ],
)
def test_what_a_page_cannot_do_it_says(f, said):
    assert html.escape(said) in viz.play(f()).html


def test_a_row_of_the_user_s_that_only_python_can_compute_is_played_but_not_edited():
    plain = mg.primitive("plays_plain", lambda x: x**3, lambda y, x: 3 * x**2)
    foreign = mg.primitive("plays_foreign", math.cosh, lambda y, x: mg.exp(x) - y)
    bent = mg.primitive(
        "plays_bent", lambda x: x if x > 0 else -x, lambda y, x: mg.where(mg.greater(x, 0.0), 1.0, -1.0)
    )
    assert 'id="leaves"' in viz.play(plain(Value(2.0, "x"))).html
    for row in (foreign, bent):
        page = viz.play(row(Value(2.0, "x"))).html
        assert 'id="leaves"' not in page
        assert (
            f"Leaves cannot be edited here: {row.name} branches on its numbers, or calls what only Python has." in page
        )


@pytest.mark.parametrize(
    ("f", "options", "error", "message"),
    [
        (3.0, {}, InputError, "play shows the graph of a Value, a Tensor or a program, not float 3.0"),
        (None, {}, InputError, "play shows the graph of"),
        (Value(1.0), {"theme": "neon"}, InputError, "no theme 'neon': choose from light, dark, colorblind"),
        (
            sum(Value(1.0) for _ in range(200)),
            {},
            GraphSizeError,
            "a graph of 399 nodes is too large for steps in a page",
        ),
    ],
)
def test_bad_input_is_one_line(f, options, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        viz.play(f, **options)
    assert "\n" not in str(caught.value)


def test_a_program_and_a_jitted_call():
    def g(x, y):
        return (x + y) * x

    x, y = Value(2.0, "x"), Value(3.0, "y")
    expected = viz.play(g(x, y))
    assert viz.play(mg.trace(g, 2.0, 3.0)).text.replace("g", "f") == expected.text
    call = mg.jit(g)(x, y)
    assert "∂f/∂x = its reverse pass = 7" in viz.play(call).text
    opened = viz.play(call, expand=True)
    assert opened.text == expected.text
    assert 'id="leaves"' in opened.html


def test_a_page_stays_of_one_computation_whatever_is_set_later():
    x = Value(2.0, "x")
    f = x * 3
    player, before = viz.play(f), viz.play(f).html
    x.data = 5.0
    assert player.html == before
    w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    player, before = viz.play((w * w).sum()), viz.play((w * w).sum()).html
    w.data[0] = 9.0
    assert player.html == before


def test_data_that_was_set_later_is_an_error():
    x = Value(1.0, "x")
    f = x * 2
    x.data = 3.0
    with pytest.raises(InputError, match="data was set after it was computed"):
        viz.play(f)


def test_playing_changes_no_gradient_and_no_name():
    x = Value(3.0, "x")
    f = x * x
    viz.play(f).html  # noqa: B018
    assert x.grad is None
    assert f.grad is None
    assert f.name is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("f.svg", "f.svg: unknown suffix '.svg': use .html, .htm"),
        ("f", "f: unknown suffix '': use .html, .htm"),
        (3, "a path is text or a Path, not int 3"),
        ("no/folder/f.html", "cannot write no/folder/f.html: No such file or directory"),
        ("/proc/f.html", "cannot write /proc/f.html: "),
    ],
)
def test_a_page_that_cannot_be_saved(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        viz.play(Value(1.0, "x")).save(path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_renderer_a_notebook_shows_all_steps_and_a_file_is_an_error(tmp_path):
    done = run_without_renderers(
        "player = mg.viz.play(mg.parse('(x + y) * z', x=-2, y=5, z=-4))\n"
        "bundle = player._repr_mimebundle_()\n"
        "assert '<iframe' not in bundle['text/html'] and bundle['text/html'].startswith('<details open>')\n"
        "print(bundle['text/html'])\n"
        "try:\n    player.save('f.html')\nexcept mg.errors.RenderError as error:\n    print(error)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count('pip install "microgad[render]"') + done.stdout.count("pip install &quot;microgad[render]")
        == 2
    )
    assert html.escape("f = v1 * z = 3 * (-4) = -12") in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["play", "(x + y) * z", "x=-2", "y=5", "z=-4", "-o", "f.html"]) == 0
    assert capsys.readouterr().out == "wrote f.html\n"
    f = parsed("the lecture's")
    f.name = "f"
    assert (tmp_path / "f.html").read_text(encoding="utf-8") == viz.play(f).html


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["play", "x", "x=1", "-o", "f.svg"], "f.svg: unknown suffix '.svg': use .html, .htm"),
        (["play", "log(x)", "x=-1", "-o", "f.html"], "log needs a number > 0"),
        (["play", "x", "x=1", "-o", "no/f.html"], "cannot write no/f.html: No such file or directory"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# ---- in the browser: what it computes

NUMBERS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -2.0, 3.0, -3.0, 7.25, 30.0, -40.0, 800.0, -800.0, 1e-9, 1e300]
NUMBERS += [math.inf, -math.inf, math.nan]
ROWS = list(TABLE)  # as microgad has it: other tests add rows


@pytest.mark.parametrize("name", ROWS)
def test_rules_and_derivatives_are_those_of_the_table(chromium, name):
    row, functions = TABLE[name], Functions()
    n = len(row.partials)
    points = list(itertools.product(NUMBERS, repeat=n)) if n < 3 else list(itertools.product(NUMBERS[::2], repeat=3))
    functions.row(row(*(Value(0.5) for _ in range(n))))
    open_page(chromium, "about:blank")
    found = chromium.execute_script(
        f"""{functions}
        const read = x => Number(x.replace("inf", "Infinity"));
        const tried = f => {{ try {{ return String(f()); }} catch (error) {{ return error.message; }} }};
        return arguments[0].map(point => {{
          const operands = point.map(read), y = tried(() => ROWS[0].rule(...operands));
          const partials = ROWS[0].partials.map(rule => typeof rule === "number" ? String(rule)
            : tried(() => rule(read(y.replace("Infinity", "inf")), ...operands)));
          return [y, ...partials];
        }});""",
        [[repr(x) for x in point] for point in points],
    )
    compared = 0
    for point, (y, *partials) in zip(points, found, strict=True):
        try:
            out = row.scalar(*point)
        except (ValueError, ArithmeticError):
            assert y == f"outside of the domain: it takes {row.domain}", point
            continue
        assert same(out, y), (point, out, y)
        for rule, got in zip(row.partials, partials, strict=True):
            try:
                slope = rule if isinstance(rule, float) else float(rule(out, *point))
            except (ValueError, ArithmeticError):
                assert got.startswith("outside"), (point, got)
                continue
            assert same(slope, got), (point, slope, got)
            compared += 1
    assert compared > 10


def same(x, text):
    y = float(text.replace("Infinity", "inf"))
    return (x != x and y != y) or x == y or math.isclose(x, y, rel_tol=2e-13, abs_tol=1e-300)


def test_numbers_are_written_as_python_writes_them(chromium, tmp_path):
    page_of(chromium, Value(1.0, "x"), tmp_path / "f.html")
    rng = np.random.default_rng(0)
    some = [
        *rng.normal(size=2000) * 10.0 ** rng.integers(-12, 12, 2000),
        *(k + 0.5 for k in range(-2000000, 2000000, 99991)),
    ]
    some += [0.5 + 2.0**-k for k in range(60)] + [
        1234565.0,
        123455.5,
        1e22,
        5e-324,
        1.7976931348623157e308,
        999999.5,
        9.999995,
    ]
    some += [-x for x in some] + [0.0, -0.0, math.inf, -math.inf, math.nan]
    found = ask(
        chromium, "arguments[0].map(x => written(Number(x)))", [repr(float(x)).replace("inf", "Infinity") for x in some]
    )
    assert found == [number(float(x)) for x in some]


@pytest.mark.parametrize("case", [*(case for case in EXPRESSIONS if case != "a leaf"), "infinite constants"])
def test_the_script_writes_the_steps_as_python_does(chromium, tmp_path, case):
    page_of(chromium, GRAPHS[case](), tmp_path / "f.html")
    assert computed_in(chromium, {}) == viz.play(GRAPHS[case]()).text


def computed_in(driver, values):
    """All steps as the script computes them, with these values of leaves and the others as they are."""
    return "\n".join(
        driver.execute_script(
            """const given = [];
            for (const field of document.querySelectorAll("#leaves input")) {
              const x = arguments[0][field.name];
              const i = field.dataset.leaf;
              given[i] = x ? Number(x.replace("inf", "Infinity")) : PAGE.nodes[i].data;
            }
            const now = computed(given);
            return steps.flatMap(step => step.kind === "seed" ? step.lines : lines(step, now));""",
            {name: repr(x) for name, x in values.items()},
        )
    )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=smooth, factors=st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3))
def test_random_programs_are_computed_anew_as_python_does(chromium, tmp_path, program, factors):
    """Edited in the page or computed in Python with the new numbers: the same steps."""

    def result(numbers):
        return compute(program, [Value(x, f"x{k}") for k, x in enumerate(numbers)], mg)[-1]

    edited = [x * k for x, k in zip(program[0], factors, strict=False)]
    f, other = result(program[0]), result(edited)
    used = {x.name for x in mg.adjoints(f) if x.prim is None and x.name}
    page_of(chromium, f, tmp_path / "f.html")
    got = computed_in(chromium, {f"x{k}": x for k, x in enumerate(edited) if f"x{k}" in used})
    assert rounded(got) == rounded(viz.play(other).text)
    assert complaints(chromium) == []


def rounded(text):
    """Text without the last of six digits, in which two libraries' exp may differ, and without what cancels to 0."""
    return re.sub(
        r"-?\d[\d.]*(e[-+]\d+)?", lambda found: f"{float(found[0]):.4g}" if abs(float(found[0])) > 1e-9 else "0", text
    )


# ---- in the browser: what it shows and says


def shown_in(driver, i):
    """What the box of the i-th node says of data and gradient."""
    return driver.execute_script(
        """const box = document.querySelector(`[data-node="${arguments[0]}"]`);
        return ["data", "grad"].map(name => [...box.querySelectorAll("." + name)].map(text => text.textContent));""",
        i,
    )


@pytest.mark.parametrize("case", ["the lecture's", "one leaf used four times", "used twice by one node", "of a module"])
def test_each_step_shows_the_numbers_that_there_are_until_then(chromium, tmp_path, case):
    f = GRAPHS[case]()
    page_of(chromium, f, tmp_path / "f.html")
    forward, backward = list(mg.forward_steps(f)), list(mg.backward_steps(f))
    order = [step.node for step in forward]
    data, grads, places = {}, {}, {node: i for i, node in enumerate(order)}
    for k, step in enumerate([*forward, None, *backward]):
        lit = set()
        if step is None:
            grads[f], lit = 1.0, {f}
        elif step.upstream is None:
            data[step.node], lit = step.node.data, {step.node, *step.node.inputs}
        else:
            grads |= {edge.input: edge.total for edge in step.edges}
            lit = {step.node, *(edge.input for edge in step.edges)}
            for slot, edge in enumerate(step.edges):
                if len(step.edges) == len(step.node.operands):
                    said = ask(
                        chromium,
                        "[...document.querySelectorAll(`[data-edge='${arguments[0]}'] text:not(.hidden)`)]"
                        ".map(text => text.textContent)",
                        f"{places[step.node]}.{slot}",
                    )
                    assert said == [f"× {number(edge.local)}", f"= {number(edge.contribution)}"]
        for i, node in enumerate(order):
            assert shown_in(chromium, i) == [
                [f"data {number(data.get(node))}"],
                [f"grad {number(grads.get(node))}"],
            ], (k, node)
        bright = ask(chromium, "[...document.querySelectorAll('.lit[data-node]')].map(box => Number(box.dataset.node))")
        assert {order[i] for i in bright} == lit
        title, *lines = ask(chromium, "[...document.querySelector('#said').childNodes].map(part => part.textContent)")
        assert title == ("forward" if k < len(forward) else "backward")
        assert lines == [
            f"∂{mg.steps.all_names(order)[f]}/∂{mg.steps.all_names(order)[f]} = 1" if step is None else str(step)
        ]
        press(chromium, "ARROW_RIGHT")
    assert complaints(chromium) == []


def test_a_sum_comes_together_at_a_node_with_several_consumers(chromium, tmp_path):
    page_of(chromium, mg.parse("x * y + x * 3", x=2, y=5), tmp_path / "f.html")
    press(chromium, "END")
    assert "part 2 of 2: ∂f/∂v1 · ∂v1/∂x = 1 · 5 = 5, in all 8" in ask(
        chromium, "document.querySelector('#said').textContent"
    )
    assert shown_in(chromium, 0)[1] == ["grad 8"]
    press(chromium, "ARROW_LEFT")
    assert shown_in(chromium, 0)[1] == ["grad 3"]


def test_the_mouse(chromium, tmp_path):
    page_of(chromium, parsed("the lecture's"), tmp_path / "f.html")
    click = lambda what: chromium.find_element("css selector", what).click()  # noqa: E731
    shown, at = steps_shown(chromium)
    assert at == 0
    assert len(shown) == 8
    for button, then in (("#next", 1), ("#next", 2), ("#back", 1), ("#last", 7), ("#back", 6), ("#first", 0)):
        click(button)
        assert steps_shown(chromium)[1] == then
    assert ask(chromium, "document.querySelector('#back').ariaDisabled") == "true"
    assert ask(chromium, "document.activeElement.id") == "first"
    click("#steps li:nth-child(7)")
    assert steps_shown(chromium)[1] == 6
    assert ask(chromium, "document.querySelector('#where').textContent") == "7 of 8"
    slider = chromium.find_element("css selector", "#at")
    assert slider.get_attribute("value") == "6"
    slider.click()  # in its middle
    assert steps_shown(chromium)[1] in (3, 4)
    assert slider.get_attribute("aria-valuetext") == steps_shown(chromium)[0][steps_shown(chromium)[1]]
    assert complaints(chromium) == []
    assert requested(chromium) == []


def test_the_keys(chromium, tmp_path):
    page_of(chromium, parsed("the lecture's"), tmp_path / "f.html")
    keys = ("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT", "END", "ARROW_RIGHT", "HOME", "ARROW_LEFT")
    for key, then in zip(keys, (1, 2, 1, 7, 7, 0, 0), strict=True):
        press(chromium, key)
        assert steps_shown(chromium)[1] == then
    press(chromium, *["TAB"] * 6)  # behind five buttons is the slider, whose keys are the same
    assert ask(chromium, "document.activeElement.id") == "at"
    press(chromium, "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert steps_shown(chromium)[1] == 1
    press(chromium, "TAB", "ARROW_RIGHT")  # here they would scroll
    assert ask(chromium, "document.activeElement.id") == "picture"
    press(chromium, "TAB")
    assert ask(chromium, "document.activeElement.name") == "x"
    press(chromium, "ARROW_RIGHT", "HOME", "END")  # in a field they move the cursor
    assert steps_shown(chromium)[1] == 1


def test_it_plays_until_it_is_paused_and_to_the_end(chromium, tmp_path):
    page_of(chromium, Value(2.0, "x") * 3, tmp_path / "f.html")
    label = "document.querySelector('#play').ariaLabel"
    assert ask(chromium, label) == "play (space)"
    press(chromium, "SPACE")
    assert ask(chromium, label) == "pause (space)"
    wait_until(chromium, "return document.querySelector('#where').textContent === '2 of 4'")
    chromium.find_element("css selector", "#play").click()
    assert ask(chromium, label) == "play (space)"
    press(chromium, "SPACE")  # the focus is on the button: one press, not two
    assert ask(chromium, label) == "pause (space)"
    wait_until(chromium, "return document.querySelector('#where').textContent === '4 of 4'")
    assert ask(chromium, label) == "play (space)"


def test_editing_a_leaf_computes_both_passes_anew(chromium, tmp_path):
    page_of(chromium, parsed("the lecture's"), tmp_path / "f.html")
    press(chromium, "END")
    fill(chromium, "x", "1.5")
    fill(chromium, "z", "1e-3")
    expected = viz.play(mg.parse("(x + y) * z", x=1.5, y=5, z=1e-3)).text
    assert "\n".join(steps_shown(chromium)[0]) == expected
    assert steps_shown(chromium)[1] == 7
    assert shown_in(chromium, 0) == [["data 1.5"], ["grad 0.001"]]
    last = "\n".join(expected.split("\n")[-2:])
    assert ask(chromium, "document.querySelector('#said').textContent") == f"backward{last}"
    chromium.find_element("css selector", "#leaves button").click()
    wait_until(chromium, "return document.querySelector('[data-node=\"0\"] .data').textContent === 'data -2'")
    assert "\n".join(steps_shown(chromium)[0]) == viz.play(parsed("the lecture's")).text
    assert complaints(chromium) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x has to be a number, such as -0.5 or 1e-3"),
        ("0,5", "x has to be a number, such as -0.5 or 1e-3"),
        ("banana", "x has to be a number, such as -0.5 or 1e-3"),
        ("-1", "v1 = log(x): outside of the domain: it takes a number > 0"),
        ("0", "v1 = log(x): outside of the domain: it takes a number > 0"),
    ],
)
def test_an_edit_that_cannot_be_computed_loses_nothing(chromium, tmp_path, text, said):
    page_of(chromium, mg.parse("log(x) * y", x=2, y=3), tmp_path / "f.html")
    press(chromium, "END")
    before = steps_shown(chromium), shown_in(chromium, 0)
    fill(chromium, "x", text)
    assert (
        ask(chromium, "document.querySelector('#problem').textContent")
        == f"{said}. The numbers are still those from before."
    )
    assert (steps_shown(chromium), shown_in(chromium, 0)) == before
    fill(chromium, "x", "4")
    assert ask(chromium, "document.querySelector('#problem').textContent") == ""
    assert steps_shown(chromium)[0] == viz.play(mg.parse("log(x) * y", x=4, y=3)).text.replace(
        "\n∂f/∂y", "\r∂f/∂y"
    ).replace("\n", "\n\n").replace("\r", "\n").split("\n\n")
    assert complaints(chromium) == []


def test_a_number_that_is_not_edited_keeps_all_its_digits(chromium, tmp_path):
    x, y = Value(1 / 3, "x"), Value(2.0, "y")
    page_of(chromium, (x - 0.333333333) * 1e9 * y, tmp_path / "f.html")
    fill(chromium, "y", "1")
    assert "\n".join(steps_shown(chromium)[0]) == viz.play((x - 0.333333333) * 1e9 * Value(1.0, "y")).text
    assert ask(chromium, "document.querySelector('#leaves input').value") == "0.333333333"


def test_a_derivative_that_does_not_exist_is_said(chromium, tmp_path):
    page_of(chromium, mg.parse("sqrt(x)", x=4), tmp_path / "f.html")
    fill(chromium, "x", "0")
    problem = ask(chromium, "document.querySelector('#problem').textContent")
    assert problem.startswith("the derivative of f = sqrt(x): outside of the domain: it takes a divisor other than 0")


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2.0), ("-.5", -0.5), ("+1E-3", 0.001), (" 7. ", 7.0), ("inf", math.inf), ("-Infinity", -math.inf),
     ("NaN", math.nan), ("0x10", None), ("1/3", None), ("1e", None), ("nano", None), ("--1", None), ("1 2", None)],
)  # fmt: skip
def test_numbers_are_read_as_they_are_meant(chromium, tmp_path, text, number):
    page_of(chromium, Value(1.0, "x") * 2, tmp_path / "f.html")
    found = ask(chromium, "String(read(arguments[0]))", text)
    assert found == "undefined" if number is None else same(number, found)


def test_the_gradient_is_seen_where_it_goes(chromium, tmp_path):
    """Whatever a step is about is scrolled into view, where there is room for it."""
    f = GRAPHS["of a module"]()
    page_of(chromium, f, tmp_path / "f.html")
    for step in range(len(steps_shown(chromium)[0])):
        outside = chromium.execute_script(
            """const around = document.querySelector("#picture").getBoundingClientRect();
            const boxes = [...document.querySelectorAll("[data-node].lit")].map(box => box.getBoundingClientRect());
            return boxes.filter(box => box.right > around.right + 1 || box.left < around.left - 1
              || box.bottom > around.bottom + 1 || box.top < around.top - 1).length"""
        )
        lit = ask(chromium, "document.querySelectorAll('[data-node].lit').length")
        assert outside < lit, step
        press(chromium, "ARROW_RIGHT")


def test_a_backward_step_points_back(chromium, tmp_path):
    page_of(chromium, parsed("the lecture's"), tmp_path / "f.html")
    seen = "[...document.querySelectorAll('.lit .head, .lit .tail')]"
    seen += ".filter(x => x.checkVisibility({visibilityProperty: true}))"
    press(chromium, "ARROW_RIGHT", "ARROW_RIGHT")
    assert ask(chromium, f"{seen}.map(x => x.classList[0])") == ["head"] * 3
    press(chromium, "END")
    assert ask(chromium, f"{seen}.map(x => x.classList[0])") == ["tail"] * 3


def test_a_custom_row_of_several_operands_and_with_a_domain_of_its_own(chromium, tmp_path):
    partials = (lambda y, a, b, c: b / (a - 10), lambda y, a, b, c: mg.log(a - 10), 1.0)
    row = mg.primitive("plays_far", lambda a, b, c: mg.log(a - 10) * b + c, partials, domain="a number > 10")
    page_of(chromium, row(Value(30.0, "a"), 2.0, Value(1.0, "c")), tmp_path / "f.html")
    fill(chromium, "a", "12")
    assert "\n".join(steps_shown(chromium)[0]) == viz.play(row(Value(12.0, "a"), 2.0, Value(1.0, "c"))).text
    fill(chromium, "a", "5")
    problem = ask(chromium, "document.querySelector('#problem').textContent")
    assert problem.startswith("f = plays_far(a, 2, c): outside of the domain: it takes a number > 10")


def test_a_custom_row_is_computed_anew(chromium, tmp_path):
    row = mg.primitive("plays_cube", lambda x: x**3 + abs(x), lambda y, x: 3 * x**2 + mg.sign(x))
    page_of(chromium, row(Value(2.0, "x")), tmp_path / "f.html")
    fill(chromium, "x", "-3")
    assert "\n".join(steps_shown(chromium)[0]) == viz.play(row(Value(-3.0, "x"))).text


@pytest.mark.parametrize("theme", ["light", "dark", "colorblind"])
@pytest.mark.parametrize("case", ["the lecture's", "of a module", "of Tensors"])
def test_contrast_and_room(chromium, tmp_path, theme, case):
    page_of(chromium, GRAPHS[case](), tmp_path / "f.html", theme=theme)
    for key in ("ARROW_RIGHT", "ARROW_RIGHT", "END", "ARROW_LEFT"):
        press(chromium, key)
        assert faint(chromium) == []
        assert overlapping(chromium, "#picture") == []
    if case != "of Tensors":
        fill(chromium, None, "")
        assert ask(chromium, "document.querySelector('#problem').textContent")
        assert faint(chromium) == []
    assert len(texts(chromium, "#picture")) > 10
    assert ask(chromium, "document.querySelector('#picture svg').ariaLabel").startswith("Graph of ")
    assert ask(chromium, "document.documentElement.scrollWidth <= innerWidth")
    assert ask(
        chromium, "[...document.querySelectorAll('button')].every(button => button.ariaLabel || button.textContent)"
    )
    assert ask(chromium, "document.querySelector('#said').getAttribute('aria-live')") == "polite"
    assert complaints(chromium) == []
    assert requested(chromium) == []


@pytest.mark.parametrize(
    "name", [*HOSTILE, "</script><script>window.hacked = 1</script>", "${window.hacked = 1}", "`", "\u2028"], ids=ascii
)
def test_hostile_names_are_shown_literally(chromium, tmp_path, name):
    x, y = Value(2.0, name), Value(3.0, "y")
    f = x * y + x
    f.name = f"{name}{name}"
    page_of(chromium, f, tmp_path / "f.html")
    press(chromium, "END")
    assert ask(chromium, "window.hacked === undefined")
    assert shortened(name) in ask(chromium, "document.querySelector('[data-node=\"0\"] .name').textContent")
    assert ask(chromium, "document.querySelector('#leaves input').name") == literal(name)
    fill(chromium, None, "5")
    assert shown_in(chromium, 0)[0] == ["data 5"]
    assert f" = {number(20.0)}" in steps_shown(chromium)[0][3]
    assert complaints(chromium) == []
    assert requested(chromium) == []


def test_names_that_nobody_thought_of(chromium, tmp_path):
    @settings(deadline=None, max_examples=25, database=None)
    @given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
    def check(one, other):
        f = Value(2.0, one) * Value(3.0, other)
        page_of(chromium, f, tmp_path / "f.html")
        shown = ask(chromium, "[...document.querySelectorAll('.leaf .name')].map(text => text.textContent)")
        assert shown[0] == shortened(one)
        assert "window.hacked" not in shown
        assert complaints(chromium) == []
        assert requested(chromium) == []
        viz.play(f)._repr_mimebundle_()

    check()


# ---- in notebooks

CELLS = [
    "import microgad as mg\nfrom microgad import Value, viz\n"
    "x, y, z = Value(-2), Value(5), Value(-4)\nf = (x + y) * z\nviz.play(f)"
]


@pytest.fixture(scope="module")
def notebook():
    return run_notebook(CELLS)


def assert_plays(driver):
    """In the frame: it steps by mouse and by keys, and computes."""
    with inside(driver):
        assert ask(driver, "document.querySelector('[data-node=\"0\"] .name').textContent") == "x"
        driver.find_element("css selector", "#next").click()
        assert steps_shown(driver)[1] == 1
        press(driver, "ARROW_RIGHT", "ARROW_RIGHT")
        assert steps_shown(driver)[1] == 3
        fill(driver, "x", "1")
        assert steps_shown(driver)[0][4] == "f = v1 * z = 6 * (-4) = -24"


def assert_everything_stands_behind(driver):
    """Outside of the frame: a picture and all steps, to be seen without a click."""
    picture = driver.find_element("css selector", "details img")
    assert picture.is_displayed()
    assert picture.size["width"] > 300
    assert "Result: f = -12" in picture.get_attribute("alt")
    shown = [item.text for item in driver.find_elements("css selector", "details li")]
    assert shown[0] == "x = -2"
    assert shown[4] == "f = v1 * z = 3 * (-4) = -12"
    assert shown[-1] == "∂f/∂x = ∂f/∂v1 · ∂v1/∂x = -4 · 1 = -4\n∂f/∂y = ∂f/∂v1 · ∂v1/∂y = -4 · 1 = -4"
    assert all(item.is_displayed() for item in driver.find_elements("css selector", "details li"))


def test_in_a_page_of_nbconvert(chromium, notebook, tmp_path):
    open_page(chromium, nbconvert_page(notebook, tmp_path / "notebook.html"))
    assert_plays(chromium)
    assert_everything_stands_behind(chromium)


def test_in_jupyterlab_trusted(chromium, jupyterlab, notebook):
    open_notebook(chromium, jupyterlab, notebook, trusted=True)
    assert_plays(chromium)
    assert_everything_stands_behind(chromium)
    high = chromium.find_element("css selector", "iframe[sandbox]").size["height"]
    with inside(chromium):
        assert ask(chromium, "document.documentElement.scrollHeight") <= high + 1


def test_in_jupyterlab_untrusted_a_picture_and_every_step_show(chromium, jupyterlab, notebook):
    open_notebook(chromium, jupyterlab, notebook, trusted=False)
    assert chromium.find_elements("css selector", ".jp-OutputArea-output iframe") == []
    assert_everything_stands_behind(chromium)


def test_the_data_of_the_page_is_read_back():
    """What Python computed is in the page to the last bit."""
    f = parsed("one leaf used four times")
    page = json.loads(re.search(r"const PAGE = (.*);\n", viz.play(f).html)[1])
    assert [node["data"] for node in page["nodes"]] == [step.node.data for step in mg.forward_steps(f)]
    edges = [edge for step in mg.backward_steps(f) for edge in step.edges]
    assert [edge["numbers"][1:] for edge in page["edges"]] == [list(edge[1:]) for edge in edges]
