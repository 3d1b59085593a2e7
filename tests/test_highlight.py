"""`draw(f, highlight=x)`: the paths from x to f, all of them and nothing else, by colour and by width."""

import re

import pytest
from browser import contrast
from hypothesis import given, settings
from test_random_expressions import anything, graph, many
from test_viz import lecture

import microgad as mg
from microgad import Value, viz
from microgad.errors import InputError
from microgad.order import topological_order
from microgad.viz.theme import THEMES


def statements(drawing):
    """The nodes and the edges of a DOT source, each with its attributes; labels, which may say anything, left out."""
    nodes, edges = {}, []
    for line in drawing.source.splitlines():
        found = re.fullmatch(r"\t(\w+)(?: -> (\w+))?(?: \[(.*)\])?", line)
        if not found or found[1] in ("graph", "node", "edge"):
            continue
        tail, head, attributes = found.groups()
        plain = re.sub(r'label=(<.*>|"(\\.|[^"\\])*"|\S+)(?= \w+=|$)', "", attributes or "")
        pairs = dict(re.findall(r'(\w+)="?([^" ]*)"?', plain))
        if head is None:
            nodes[tail] = pairs
        else:
            edges.append((tail, head, pairs))
    return nodes, edges


def is_marked(attributes, theme="light"):
    by_colour = attributes.get("color") == THEMES[theme].path
    by_width = attributes.get("penwidth") == "3"
    assert by_colour == by_width  # never one without the other
    assert by_colour or not {"color", "penwidth"} & set(attributes)
    return by_colour


def marked(drawing, theme="light"):
    nodes, edges = statements(drawing)
    return (
        {name for name, attributes in nodes.items() if is_marked(attributes, theme)},
        [(tail, head) for tail, head, attributes in edges if is_marked(attributes, theme)],
    )


def on_paths(root, source):
    """What of the picture lies on the paths, followed one by one: its nodes, and its edges as often as drawn."""
    ids = {node: f"v{k}" for k, node in enumerate(topological_order(root))}
    nodes, edges = {ids[source]}, set()

    def follow(node, above):
        if node is source:
            for user, i in above:
                nodes.update({ids[user], f"{ids[user]}o"})
                edges.update({(user, i), (user, None)})
            return
        for i, x in enumerate(node.operands):
            if isinstance(x, Value):
                follow(x, [*above, (node, i)])

    follow(root, [])
    return nodes, sorted(
        (f"{ids[user]}o", ids[user]) if i is None else (ids[user.operands[i]], f"{ids[user]}o") for user, i in edges
    )


@settings(many, max_examples=100)
@given(anything)
def test_exactly_the_paths_are_marked(program):
    _, root = graph(program)
    order = topological_order(root)
    for source in {*order[:2], order[len(order) // 2], root}:
        nodes, edges = marked(viz.draw(root, highlight=source))
        want_nodes, want_edges = on_paths(root, source)
        assert nodes == want_nodes
        assert sorted(edges) == want_edges


def squares():
    x = Value(3.0, "x")
    y = x * x
    y.name = "y"
    return y + x + 2.0 * Value(3.0, "z")


LECTURE = [  # source, the nodes and the edges that are marked
    (lecture, "x", {"v0", "v2o", "v2", "v4o", "v4"}, ["v0 -> v2o", "v2o -> v2", "v2 -> v4o", "v4o -> v4"]),
    (lecture, "z", {"v3", "v4o", "v4"}, ["v3 -> v4o", "v4o -> v4"]),
    (lecture, "f", {"v4"}, []),
    (
        squares,
        "x",  # both places in x * x, and the way past it
        {"v0", "v1o", "v1", "v2o", "v2", "v5o", "v5"},
        ["v0 -> v1o", "v0 -> v1o", "v1o -> v1", "v1 -> v2o", "v0 -> v2o", "v2o -> v2", "v2 -> v5o", "v5o -> v5"],
    ),
    (squares, "y", {"v1", "v2o", "v2", "v5o", "v5"}, ["v1 -> v2o", "v2o -> v2", "v2 -> v5o", "v5o -> v5"]),
    (squares, "z", {"v3", "v4o", "v4", "v5o", "v5"}, ["v3 -> v4o", "v4o -> v4", "v4 -> v5o", "v5o -> v5"]),
]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("make", "source", "nodes", "edges"), LECTURE)
def test_what_is_marked(make, source, nodes, edges, theme):
    found = marked(viz.draw(make(), highlight=source, theme=theme), theme)
    assert found[0] == nodes
    assert sorted(f"{tail} -> {head}" for tail, head in found[1]) == sorted(edges)


def test_nothing_is_marked_unless_asked_for():
    assert marked(viz.draw(lecture())) == (set(), [])
    assert "penwidth" not in viz.draw(lecture()).source


def test_a_name_a_node_and_an_automatic_name():
    f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    by_node = viz.draw(f, highlight=f.inputs[0])
    assert by_node.source == viz.draw(f, highlight="v1").source
    assert marked(by_node)[0] == {"v2", "v4o", "v4"}
    assert viz.draw(f, highlight=f.inputs[0].inputs[0]).source == viz.draw(f, highlight="x").source


def test_marking_adds_attributes_and_changes_none():
    plain, (nodes, edges) = statements(viz.draw(squares())), statements(viz.draw(squares(), highlight="x"))
    for attributes in (*nodes.values(), *(pairs for *_, pairs in edges)):
        for name in ("color", "penwidth"):
            attributes.pop(name, None)
    assert (nodes, edges) == plain


def test_equal_numbers_are_not_equal_nodes():
    x, y = Value(2.0), Value(2.0)
    assert marked(viz.draw(x * y + 2.0 * y, highlight=y))[0] == {"v1", "v2o", "v2", "v3o", "v3", "v4o", "v4"}
    assert marked(viz.draw(x * y + 2.0 * y, highlight=x))[0] == {"v0", "v2o", "v2", "v4o", "v4"}


@pytest.mark.parametrize("name", ['color="#c62828" penwidth=3', "[penwidth=3]", '"', "a\nb", "<b>", "\\", "v0 -> v1"])
def test_names_that_look_like_a_mark(name):
    f = Value(2.0, name) * Value(3.0, "k")
    assert marked(viz.draw(f)) == (set(), [])
    assert marked(viz.draw(f, highlight="k"))[0] == {"v1", "v2o", "v2"}


@pytest.mark.parametrize(
    ("highlight", "message"),
    [
        (Value(5.0, "other"), "other is no node of this graph"),
        (Value(-2.0, "x"), "x is no node of this graph"),  # of that name there is one, but it is another
        (Value(5.0), "5.0 is no node of this graph"),
        ("q", "the graph has no node named 'q': it has x, y, v1, z, f"),
        ("xx", r"no node named 'xx': did you mean x\?"),
        (3.0, "a node or its name is meant, not float 3.0"),
        (["x"], r"a node or its name is meant, not list \['x'\]"),
        (False, "a node or its name is meant, not bool False"),
    ],
)
def test_what_cannot_be_marked(highlight, message):
    with pytest.raises(InputError, match=message):
        viz.draw(lecture(), highlight=highlight)


def test_what_came_after_the_result_is_not_in_its_graph():
    f = lecture()
    with pytest.raises(InputError, match="is no node of this graph"):
        viz.draw(f, highlight=f * 2.0)


@pytest.mark.parametrize(
    ("highlight", "sentence"),
    [("x", "from x to f"), ("f", "from f to f"), ("v1", "from v1 to f")],
)
def test_the_text_for_screen_readers(highlight, sentence):
    f = lecture()
    plain, drawing = viz.draw(f), viz.draw(f, highlight=highlight)
    assert drawing.alt == f"{plain.alt} Marked: every path {sentence}."
    assert drawing.text == plain.text


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_contrast(theme):
    for fill in (theme.background, theme.leaf, theme.interior, theme.result, theme.operation):
        assert contrast(theme.text, fill) >= 4.5
        assert contrast(theme.path, fill) >= 3.0  # lines are what WCAG calls graphical objects
    assert theme.path not in (theme.line, theme.text)


@pytest.mark.parametrize("theme", THEMES)
def test_the_picture_has_the_colour_and_the_width(theme):
    svg = viz.draw(lecture(), highlight="x", theme=theme).pipe("svg", encoding="utf-8")
    thick = re.findall(r'<(?:path|polygon|ellipse)[^>]*stroke="([^"]*)" stroke-width="3"', svg)
    assert set(thick) == {THEMES[theme].path}
    assert len(thick) >= 2 + 4 + 3  # two circles, four edges, three boxes at least
