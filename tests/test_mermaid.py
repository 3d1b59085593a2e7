"""Mermaid flowcharts and trees of text: that they say what `draw` says, and that hostile names stay text.

What Mermaid makes of the text was seen in a browser, with Mermaid 10.6 to 11.17; here it is held to the forms that were
seen to work.
"""

import html
import pickle
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

import microgad as mg
from microgad import Value, viz
from microgad.errors import GraphSizeError, InputError
from microgad.naming import given_names, literal
from microgad.order import topological_order
from microgad.primitives import TABLE, add
from microgad.viz.flowchart import CHARACTERS, EDGES, mermaid
from microgad.viz.graph import LIMIT
from microgad.viz.outline import tree
from microgad.viz.text import tree as text_tree

HOSTILE = [
    'a"b<script>alert(1)</script>',
    "end",
    "%%{init: {'theme': 'dark'}}%%",
    "%% comment",
    "#quot;",
    "#35;",
    "&amp; &#92;",
    ";",
    "]]",
    '"]',
    "((x))",
    "{a|b}",
    "-->",
    "line\nbreak",
    r"\n",
    "trailing\\",
    "`code`",
    "**bold**",
    "__init__",
    "1. first",
    "- item",
    "# head",
    "    code",
    "www.example.com",
    "a@b.com",
    "fa:fa-car",
    "$$x^2$$",
    "ﬂ°°35¶ß",
    "¶ß",
    "style x:#fff;",
    "classDef x fill:#f00;",
    ":::constant",
    "@{ shape: circle }",
    "<br>",
    "<img src=x onerror=alert(1)>",
    "\ud800",
    "\u202eright to left",
    "变量 θ é 🙂",
    "a  b ",
]
LABEL = r'"((?:[^"#<>&`*_~\\$ﬂ¶|{}\[\]();:%@!]|#\d+;|<br>|</?div>)*)"'
FORMS = {
    "leaf": rf"(v\d+)\({LABEL}\)",
    "interior": rf"(v\d+)\[{LABEL}\]",
    "result": rf"(v\d+)\[\[{LABEL}\]\]",
    "operation": rf"(v\d+o)\(\({LABEL}\)\)",
    "constant": rf"(v\d+o\d+)\[{LABEL}\]:::constant",
    "edge": rf"(v\w+) -->(?:\|{LABEL}\|)? (v\w+)",
    "class": "classDef constant fill:none,stroke:none",
}


def text_of(label):
    """A label as Mermaid draws it; the joiner is not seen, and the space that stays is a space."""
    inside = re.fullmatch(r"<div>(.*)</div>", label)
    assert bool(inside) == ("#" in label)  # whatever has a meaning is kept from Markdown
    rows = (inside[1] if inside else label).split("<br>")
    shown = [html.unescape(re.sub(r"#(\d+);", r"&#\1;", row)) for row in rows]
    return [row.replace("\u2060", "").replace("\xa0", " ") for row in shown]


def read(source):
    """The chart as `{id: (form, rows)}` and a list of edges; every line has to have one of the forms."""
    first, *lines = source.removeprefix(source[: source.index("flowchart ")]).split("\n")
    assert re.fullmatch(r"flowchart (LR|RL|TB|BT)", first)
    boxes, edges = {}, []
    for line in lines:
        form, found = next((form, m) for form, pattern in FORMS.items() if (m := re.fullmatch(pattern, line)))
        if form == "edge":
            edges.append((found[1], found[3], text_of(found[2]) if found[2] else []))
        elif form != "class":
            assert found[1] not in boxes
            boxes[found[1]] = (form, text_of(found[2]))
    assert line == FORMS["class"]
    assert {end for start, end, _ in edges} | {start for start, _, _ in edges} <= boxes.keys()
    return boxes, edges


def lecture() -> Value:
    x, y, z = (Value(data, name) for data, name in ((-2, "x"), (5, "y"), (-4, "z")))
    f = (x + y) * z
    f.name = "f"
    return f


def test_the_lecture_s_graph():
    f = lecture()
    f.backward()
    boxes, edges = read(mermaid(f))
    assert boxes == {
        "v0": ("leaf", ["x", "data -2", "grad -4"]),
        "v1": ("leaf", ["y", "data 5", "grad -4"]),
        "v2": ("interior", ["data 3", "grad -4"]),
        "v2o": ("operation", ["+"]),
        "v3": ("leaf", ["z", "data -4", "grad 3"]),
        "v4": ("result", ["f", "data -12", "grad 1"]),
        "v4o": ("operation", ["×"]),
    }
    assert edges == [
        ("v2o", "v2", []),
        ("v0", "v2o", ["local 1"]),
        ("v1", "v2o", ["local 1"]),
        ("v4o", "v4", []),
        ("v2", "v4o", ["local -4"]),
        ("v3", "v4o", ["local 3"]),
    ]


def test_gradients_follow_the_rule_of_draw():
    f = lecture()
    assert mermaid(f).count("grad –") == 5
    assert mermaid(f, grads=True).count("grad -4") == 3
    assert "grad" not in mermaid(f, grads=False)
    assert f.grad is None
    x = Value(3.0, "x")
    first, second = x * x, x * 10.0
    second.backward()
    assert "<br>grad 10<br>of this result 6" in mermaid(first, grads=True)


def test_operands_carry_their_order_where_it_matters():
    x = Value(3.0, "x")
    _, edges = read(mermaid(2 - x))
    assert edges == [("v1o", "v1", []), ("v1o0", "v1o", ["operand 1"]), ("v0", "v1o", ["operand 2", "local -1"])]
    _, edges = read(mermaid(mg.where(x, 2.0, x)))
    assert [label for _, _, label in edges[1:]] == [
        ["operand 1", "local 0"],
        ["operand 2"],
        ["operand 3", "local 0"],
    ]
    _, edges = read(mermaid(2 * x))
    assert edges[1:] == [("v1o0", "v1o", []), ("v0", "v1o", ["local 2"])]
    _, edges = read(mermaid(-x))
    assert edges[1:] == [("v0", "v1o", ["local -1"])]


def test_a_node_used_twice_has_two_edges():
    x = Value(3.0, "x")
    assert read(mermaid(x * x))[1].count(("v0", "v1o", ["local 3"])) == 2


def test_a_leaf_alone_is_the_result():
    assert read(mermaid(Value(3.0)))[0] == {"v0": ("result", ["data 3", "grad –"])}


def test_a_derivative_that_does_not_exist_says_so():
    assert '"operand 1<br>local undefined"' in mermaid(Value(0.0) ** 0.5, grads=True)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_every_operation(row):
    boxes, edges = read(mermaid(row(*(Value(0.5) for _ in row.partials))))
    assert ("operation", [row.label]) in boxes.values()
    assert len(edges) == 1 + len(row.partials)


@pytest.mark.parametrize("number", [1e300, -1e-300, float("inf"), float("-inf"), float("nan"), -0.0, 1e6, 123456789.0])
def test_every_kind_of_number(number):
    boxes, _ = read(mermaid(Value(number) * number, grads=True))
    assert boxes["v1o1"] == ("constant", [f"{number:.6g}"])


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_are_drawn_literally(name):
    x = Value(1.0, name)
    f = x * x
    f.name = name
    boxes, _ = read(mermaid(f, grads=False))
    assert boxes["v0"] == ("leaf", [literal(name), "data 1"])
    assert boxes["v1"] == ("result", [literal(name), "data 1"])


special = st.sampled_from("\"'`#;:&<>[](){}|\\/%$*_-+=~!@^?., \n\0ﬂ°¶ßaZ0é🙂\u2028\ud800")


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=special | st.characters()))
def test_any_name_is_drawn_literally(name):
    x = Value(1.0, name)
    boxes, _ = read(mermaid(x, grads=False))
    assert boxes["v0"] == ("result", [literal(name), "data 1"] if name else ["data 1"])


@pytest.mark.parametrize(("label", "shown"), [("- x\n", r"- x\n"), ("", " "), ("`f`", "`f`")])
def test_labels_of_operations_are_drawn_literally(label, shown):
    f = replace(add, label=label)(Value(1.0), 2.0)
    assert read(mermaid(f))[0]["v1o"] == ("operation", [shown])


def test_no_space_of_a_name_is_lost():
    assert "#160;a#160;#160;b#160;<br>" in mermaid(Value(1.0, " a  b "))


def test_after_the_marks_that_are_read_twice_nothing_can_begin():
    r"""Mermaid decodes #92;n, and then takes it for \n; so for icons, formulas, and its own marks for entities."""
    line = mermaid(Value(1.0, r"\n fa:fa-x $$y$$ ﬂ°°35¶ß")).split("\n")[1]
    for mark in "\\:$ﬂ¶":
        assert mark not in line
        assert f"#{ord(mark)};#8288;" in line
        assert not re.search(rf"#{ord(mark)};(?!#8288;)", line)


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_rankdir(rankdir):
    assert mermaid(lecture(), rankdir=rankdir).startswith(f"flowchart {rankdir}\n")


@pytest.mark.parametrize("rankdir", ["XY", [], "LR\nend"])
def test_a_choice_that_does_not_exist(rankdir):
    with pytest.raises(InputError, match="choose from LR, RL, TB, BT"):
        mermaid(lecture(), rankdir=rankdir)


@pytest.mark.parametrize("function", [mermaid, tree])
@pytest.mark.parametrize("thing", [None, 3.0, "x", [Value(1.0)]])
def test_foreign_objects(function, thing):
    with pytest.raises(InputError, match=f"{function.__name__} shows the graph of a Value, a Tensor or a program, not"):
        function(thing)


def chain(n, f=None):
    f = Value(0.0, "x") if f is None else f
    for _ in range(n):
        f = f + 1.0
    return f


def test_large_graphs():
    source = mermaid(chain(LIMIT - 1))
    assert len(read(source)[1]) == 3 * (LIMIT - 1) > EDGES
    assert len(source) > CHARACTERS
    assert source.startswith("%% 2,997 edges in ")
    assert not mermaid(-chain(EDGES // 3)).startswith("%%")  # 500 edges
    assert mermaid(chain(EDGES // 3 + 1)).startswith("%% 501 edges in ")
    assert mermaid(Value(0.0, "n" * CHARACTERS)).startswith("%% 0 edges in 50,")
    with pytest.raises(GraphSizeError, match="1,001 nodes; a picture shows up to 1,000"):
        mermaid(chain(LIMIT))


@pytest.mark.parametrize("show", [mermaid, tree])
def test_a_terminal_and_a_notebook_show_the_text(show):
    shown = show(lecture())
    assert isinstance(shown, str)
    assert type(str(shown)) is str
    assert repr(shown) == str(shown) == shown
    assert "\n" in shown
    assert pickle.loads(pickle.dumps(shown)) == shown
    data, _ = DisplayFormatter().format(shown)
    drawn = {"text/vnd.mermaid": shown} if show is mermaid else {}
    assert data == {"text/plain": shown, **drawn}
    assert {type(x) for x in data.values()} == {str}


# ---- trees


@pytest.mark.parametrize("grads", [None, True, False])
@pytest.mark.parametrize(
    "f",
    [
        Value(1.0),
        lecture(),
        mg.parse("max(x, 2) ** 2 / (x - 1)", x=3),
        Value(0.0, "x") ** 0.5,
        chain(149),
    ],
)
def test_a_tree_says_what_draw_says(f, grads):
    assert tree(f, grads=grads) == viz.draw(f, grads=grads).text


def test_a_tree_of_any_size_is_cut():
    lines = tree(chain(5000)).split("\n")
    assert len(lines) == 201
    assert lines[-1] == "… and more"
    assert len(lines[-2]) < 2000


def wide(n):
    """A sum of products that all have one leaf in common."""
    w = Value(0.5, "w")
    terms = [mg.tanh(w * float(k)) for k in range(n)]
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


@pytest.mark.parametrize("f", [chain(500), wide(256)])
def test_gradients_of_a_cut_tree_are_those_of_the_whole_graph(f):
    names = given_names(topological_order(f))
    assert tree(f, grads=True) == text_tree(f, names, mg.adjoints(f))


def test_a_tree_computes_no_gradient_that_it_does_not_show():
    f = chain(300, mg.sqrt(Value(0.0)))  # has no derivative
    with pytest.raises(mg.errors.DomainError):
        mg.adjoints(f)
    assert tree(f, grads=True).startswith("(+) = 300, grad 1\n")
