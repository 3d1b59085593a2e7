"""Saved graphs: what comes back is what was there to the last bit, and any other text is a FormatError."""

import contextlib
import gc
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Value, primitives, serial
from microgad.errors import AnomalyError, DomainError, FormatError, InputError
from microgad.order import topological_order
from microgad.primitive import elementwise
from microgad.primitives import TABLE, add
from microgad.serial import from_json, to_json

ROWS = sorted(name for name, row in TABLE.items() if vars(primitives).get(name) is row)  # without those of other tests
many = settings(deadline=None, max_examples=100)


def bits(x):
    """A number as text that differs where a bit does; no gradient is none."""
    return x if x is None else float(x).hex()


def picture(f):
    """All that is kept of a graph, node by node."""
    order = topological_order(f)
    index = {node: i for i, node in enumerate(order)}
    return [
        (
            node.prim,
            [bits(x) if type(x) is float else index[x] for x in node.operands],
            bits(node.data),
            node.name,
            bits(node.grad),
        )
        for node in order
    ]


def squared(**options):
    """The text of x * x, of which the tests below change a part."""
    x = Value(3.0, "x")
    return to_json(x * x, **options)


# ---- there and back


numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 5e-324]) | st.floats()
operand = st.integers(0, 5) | numbers
steps = st.tuples(st.sampled_from(ROWS), operand, operand, operand, st.none() | st.text(max_size=3))


@st.composite
def graphs(draw):
    """A random program on random numbers, whose nodes are used again and again; after a backward pass or none."""
    nodes = [Value(x, draw(st.none() | st.text(max_size=3))) for x in draw(st.lists(numbers, min_size=1, max_size=3))]
    for name, *back, label in draw(st.lists(steps, max_size=8)):
        row = TABLE[name]
        operands = [nodes[-1 - x % len(nodes)] if type(x) is int else x for x in back[: len(row.partials)]]
        try:
            node = row(*operands)
        except DomainError:
            continue
        if isinstance(node, Value):
            node.name = label
            nodes.append(node)
    if draw(st.booleans()):
        with contextlib.suppress(DomainError):
            nodes[-1].backward()
    return nodes[-1]


@many
@given(graphs(), st.sampled_from([None, 0, 2]))
def test_a_graph_comes_back_as_it_was(f, indent):
    text = to_json(f, indent=indent)
    g = from_json(text)
    assert picture(g) == picture(f)
    assert to_json(g, indent=indent) == text
    assert picture(from_json(text.encode())) == picture(f)


def test_what_is_loaded_can_go_on():
    x = Value(2.0, "x")
    g = from_json(to_json(mg.exp(x * x)))
    g.backward()
    (leaf,) = (node for node in topological_order(g) if node.prim is None)
    assert leaf.grad == 4.0 * math.exp(4.0)
    assert type(leaf) is Value
    leaf.data = 5.0
    assert (leaf + 1).data == 6.0


def test_sharing_and_the_order_of_operands():
    x = Value(3.0, "x")
    square = x * x
    g = from_json(to_json((2 - square) / square))
    (top, below) = g.inputs
    assert top.operands == (2.0, below)
    assert below.a is below.b


@pytest.fixture
def no_collector():
    """Half of the time of a large graph is the garbage collector's."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_chain_of_200_000_nodes():
    f = Value(0.0)
    for _ in range(200_000):
        f = f + 1.0
    g = from_json(to_json(f))
    assert g.data == 200_000.0
    assert len(topological_order(g)) == 200_001  # far more than recursion would reach


def test_the_text_is_what_the_documentation_says():
    f = Value(3.0, "x") * -math.inf + math.nan
    f.backward()
    assert json.loads(to_json(f)) == {
        "format": "microgad.graph",
        "version": 1,
        "root": 2,
        "nodes": [
            {"op": None, "operands": [], "data": 3.0, "name": "x", "grad": "-inf"},
            {"op": "mul", "operands": [0, {"constant": "-inf"}], "data": "-inf", "grad": 1.0},
            {"op": "add", "operands": [1, {"constant": "nan"}], "data": "nan", "grad": 1.0},
        ],
    }
    examples = re.findall(r"^    \{.*?^    \]\}", serial.__doc__, re.DOTALL | re.MULTILINE)
    assert [repr(from_json(example)) for example in examples] == [
        "Value(data=7.0, grad=None)",
        "Tensor(data=[4. 6.], grad=None)",
    ]


def test_the_text_is_ascii_and_strict_json():
    text = to_json(Value(math.nan, "变量 \u2028 \0"), indent=1)
    assert text.isascii()
    assert json.loads(text, parse_constant=pytest.fail)["nodes"][0]["name"] == "变量 \u2028 \0"
    assert text.count("\n") > 5


def test_gradients_in_other_numbers_are_floats():
    x = Value(1.0)
    x.grad = 0  # as micrograd's users write it
    assert bits(from_json(to_json(x)).grad) == bits(0.0)
    x.grad = np.float32(0.5)
    assert from_json(to_json(x)).grad == 0.5


def test_a_row_that_was_added_to_the_table(monkeypatch):
    cube = elementwise("cube", lambda x: x**3, (lambda y, x: 3.0 * x * x,))
    monkeypatch.setitem(TABLE, "cube", cube)
    text = to_json(cube(Value(2.0)))
    assert from_json(text).prim is cube
    with pytest.raises(FormatError, match="cube takes 1 operand, not 2"):
        from_json(text.replace("[0]", "[0, 0]"))
    monkeypatch.setitem(TABLE, "cube", replace(cube, scalar=lambda x: {}[x]))
    with pytest.raises(FormatError, match=r"node 1: cube cannot be computed: 2\.0;"):
        from_json(text)
    monkeypatch.delitem(TABLE, "cube")
    with pytest.raises(FormatError, match=r'no operation "cube" here; one made with mg.primitive has to be defined'):
        from_json(text)


@pytest.mark.parametrize(
    ("x", "row", "steps", "good"),
    [
        (0.3, "tanh", 1, True),  # the C library of another machine
        (0.3, "tanh", -3, True),
        (0.3, "tanh", 10**8, False),
        (-744.0, "exp", 1, True),  # of 9.9e-324, so half of it
        (-744.0, "exp", 1000, False),
        (1.0, "neg", -1, True),
    ],
)
def test_the_stored_bits_are_kept_where_they_agree(x, row, steps, good):
    f = TABLE[row](Value(x))
    data = f.data
    stored = data + steps * math.ulp(data)
    text = to_json(f).replace(json.dumps(data), json.dumps(stored))
    assert stored != data
    if good:
        assert bits(from_json(text).data) == bits(stored)
    else:
        with pytest.raises(FormatError, match=r"node 1: its data is .*, but .* of its operands is"):
            from_json(text)


def test_later_nodes_are_computed_from_the_stored_bits():
    text = to_json(-(Value(1.0) * 1.0)).replace('"data": 1.0}, {"op": "neg"', '"data": 1.0000000005}, {"op": "neg"')
    assert '"data": 1.0000000005' in text
    text = text.replace('"data": -1.0', '"data": -1.0000000012')  # far from -1.0, near to what it is computed from
    assert from_json(text).data == -1.0000000012


# ---- graphs that cannot be saved


@pytest.mark.parametrize("thing", [None, 3.0, "x", [Value(1.0)], b"{}"])
def test_what_is_no_node_is_not_saved(thing):
    with pytest.raises(InputError, match="to_json saves the graph of a Value, not"):
        to_json(thing)


def broken(change):
    x = Value(3.0, "x")
    f = mg.log(x * 1.0)
    change(x, f)
    return f


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, f: setattr(x, "_value", np.ones(2)), r"node 0, x, .*holds ndarray .*, and a Value holds one number"),
        (lambda x, f: setattr(x, "_value", 3), r"node 0, x, .*holds int 3"),
        (lambda x, f: setattr(f, "prim", replace(f.prim)), r"node 2, log\(.*made by log, which is not, or no"),
        (lambda x, f: setattr(f, "prim", replace(f.prim, name="mine")), r"made by mine, which is not, or no longer,"),
        (lambda x, f: setattr(x, "name", 5), r"name has to be text of whole characters, not int 5"),
        (lambda x, f: setattr(x, "name", "\ud800"), r"name has to be text of whole characters"),
        (lambda x, f: setattr(x, "grad", "1"), r"its grad is str '1', and only numbers"),
        (lambda x, f: setattr(x, "grad", Value(1.0)), r"its grad is Value .*, and only numbers"),
        (lambda x, f: setattr(x, "data", 4.0), r"node 1, .* it is 3.0, but its operands as they are now give: 4.0"),
        (lambda x, f: setattr(f.a, "_value", -1.0), r"but its operands as they are now give: 3.0"),
        (lambda x, f: (setattr(x, "data", -1.0), setattr(f.a, "_value", -1.0)), r"give: log\(.*\) is undefined"),
    ],
)
def test_graphs_that_would_not_load_are_not_saved(change, message):
    with pytest.raises(InputError, match=message) as caught:
        to_json(broken(change))
    assert "\n" not in str(caught.value)
    assert "cannot be saved" in str(caught.value)


def test_the_graph_inside_a_derivative_is_not_saved():
    with pytest.raises(InputError, match="made by variable"):
        mg.grad(lambda x: [to_json(x * x), x][1])(3.0)


def test_saving_changes_nothing():
    f = broken(lambda x, f: f.backward())
    before = picture(f)
    assert to_json(f) == to_json(f)
    assert picture(f) == before


# ---- text that is no saved graph


def refused(text, message):
    with pytest.raises(FormatError, match=message) as caught:
        from_json(text)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 400
    assert "; " in said  # what happened; what to do


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"reads text, not NoneType None; read the file first"),
        ({}, r"reads text, not dict"),
        (Path("f.json"), r"reads text, not .*Path"),
        (Value(1.0), r"reads text, not Value"),
        ("", r"the text: it is empty"),
        (" \r\n\t", r"it is empty"),
        (b"", r"it is empty"),
        ("\ufeff", r"it is empty"),
        (b"\xff\xfe{\0}\0", r"byte 0: a saved graph is text in UTF-8"),
        (b'{"format": "\xe9"}', r"byte 12: a saved graph is text in UTF-8"),
        (b'"\xed\xa0\x80"', r"byte 1: a saved graph is text in UTF-8"),
        (squared()[:-1], r"line 1, column 168: the text ends too early, as if it was cut off"),
        (squared(indent=1)[:60], r"line 5, column 2: the text ends too early"),
        (squared()[:20], r"ends too early"),
        (squared() + "}", r"line 1, column 169: this is not JSON: Extra data"),
        ("x = 3", r"line 1, column 1: this is not JSON"),
        ("{'format': 1}", r"line 1, column 2: this is not JSON"),
        ('{"a": "\n"}', r"line 1, column 8: this is not JSON: Invalid control character"),
        ("[" * 100_000, r"nested more deeply than a saved graph"),
        ('{"a":' * 100_000, r"nested more deeply"),
        ('{"a": ' + "[" * 500 + "]" * 500 + "}", r"it has no format"),
        ('{"root": ' + "9" * 5000 + "}", r"an integer of too many digits"),
        ("[]", r"the text: it has to be an object, not a list"),
        ("3", r"it has to be an object, not 3"),
        ('"microgad.graph"', r'it has to be an object, not "microgad.graph"'),
        ("null", r"it has to be an object, not null"),
        ("NaN", r"it has to be an object, not NaN"),
        ("{}", r"it has no format, where a saved graph has"),
        ('{"version": 1, "version": 1}', r'the text: the field "version" stands there twice'),
        ('{"a": 1, "b": 1, "b": 2, "c": 3}', r'the text: the field "b" stands there twice'),
    ],
    ids=lambda x: ascii(x)[:40],
)
def test_text_that_is_no_graph(text, message):
    refused(text, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"microgad.graph"', '"onnx"', r'it has the format "onnx", where a saved graph has "microgad.graph"'),
        ('"microgad.graph"', "[1]", r"it has the format a list"),
        ('"microgad.graph"', '"\\ud800\\u202e"', r'the format "\\ud800\\u202e"'),
        ('"version": 1', '"version": 3', r"version is 3, and this microgad reads versions 1 and 2; a newer microgad"),
        ('"version": 1', '"version": 0', r"version is 0, and this microgad reads versions 1 and 2; save the graph"),
        ('"version": 1', '"version": true', r"version is true, and this"),
        ('"version": 1', '"version": 1.0', r"version is 1.0, and this"),
        ('"version": 1', '"version": 1e999', r"version is Infinity, and this"),
        ('"version": 1', '"version": null', r"version is null, and this"),
        ('"version": 1', '"version": "1"', r'version is "1", and this'),
        ('"version": 1, ', "", r"version is null, and this"),
        ('"version": 1', '"version": 1, "x": 0', r'no field "x"; these are: format, nodes, root, version'),
        ('"version": 1', '"version": 1, "\\u0007": 0', r'no field "\\u0007"'),
        ('"version": 1', '"version": 1, "version": 1', r'the field "version" stands there twice'),
        ('"root": 1, ', "", r'the text: the field "root" is missing'),
        ('"root": 1', '"root": 2', r'"root": it has to be the index of one of 2 nodes, counted from 0, not 2'),
        ('"root": 1', '"root": -1', r"counted from 0, not -1"),
        ('"root": 1', '"root": true', r"counted from 0, not true"),
        ('"root": 1', '"root": 1.0', r"counted from 0, not 1.0"),
        ('"root": 1', '"root": "1"', r'counted from 0, not "1"'),
        ('"root": 1', '"root": ' + "9" * 4000, r"counted from 0, not 999"),
        ('"root": 1', '"root": 0', r"node 1: no other node uses it, and it is not the root, which is node 0"),
        ('"nodes": [', '"nodes": [3, ', r"node 0: it has to be an object, not 3"),
        ('"nodes": [', '"nodes": [[], ', r"node 0: it has to be an object, not a list"),
        ('"nodes": [', '"nodes": [{"op": null, "operands": [], "data": 0}, ', r"node 2: its data is 9.0, but mul of"),
        (', "data": 3.0', "", r'node 0: the field "data" is missing'),
        (', "data": 9.0', "", r'node 1: the field "data" is missing'),
        ('"op": null, ', "", r'node 0: the field "op" is missing'),
        ('"operands": [], ', "", r'node 0: the field "operands" is missing'),
        ('"name": "x"', '"label": "x"', r'node 0: there is no field "label"; these are: data, grad, name, op, oper'),
        ('"name": "x"', '"name": "x", "name": "x"', r'node 0: the field "name" stands there twice'),
        ('"name": "x"', '"name": null', r'node 0: "name" has to be text of whole characters, not null'),
        ('"name": "x"', '"name": 3', r'"name" has to be text of whole characters, not 3'),
        ('"name": "x"', '"name": "\\udc00x"', r'"name" has to be text of whole characters, not "\\udc00x"'),
        ('"name": "x"', '"grad": null', r'node 0: "grad" has to be a number, .*, not null'),
        ('"name": "x"', '"grad": false', r'node 0: "grad" has to be a number, .*, not false'),
        ('"data": 3.0', '"data": true', r'node 0: "data" has to be a number, .*, not true'),
        ('"data": 3.0', '"data": "3.0"', r'node 0: "data" has to be a number, .*, not "3.0"'),
        ('"data": 3.0', '"data": "NaN"', r'node 0: "data" has to be a number, .*, not "NaN"'),
        ('"data": 3.0', '"data": [3.0]', r'node 0: "data" has to be a number, .*, not a list'),
        ('"data": 3.0', '"data": {}', r'node 0: "data" has to be a number, .*, not an object'),
        ('"data": 3.0', '"data": {"a": 1, "a": 1}', r'node 0: "data" has to be a number, .*, not an object'),
        ('"data": 3.0', '"data": NaN', r'node 0: "data" is nan, no JSON number or too large'),
        ('"data": 3.0', '"data": -Infinity', r'node 0: "data" is -inf, no JSON number or too large'),
        ('"data": 9.0', '"data": 1e999', r'node 1: "data" is inf, no JSON number or too large'),
        ('"data": 3.0', '"data": ' + "9" * 400, r'node 0: "data" is an integer too large for a float'),
        ('"data": 9.0', '"data": 9.0001', r"node 1: its data is 9.0001, but mul of its operands is 9.0"),
        ('"data": 9.0', '"data": "nan"', r"node 1: its data is nan, but mul of its operands is 9.0"),
        ('"data": 9.0', '"data": "inf"', r"node 1: its data is inf, but"),
        ('"data": 3.0', '"data": 3.1', r"node 1: its data is 9.0, but mul of its operands is 9.61"),
        ('"data": 3.0', '"data": "inf"', r"node 1: its data is 9.0, but mul of its operands is inf"),
        ('"data": 3.0', '"data": "nan"', r"node 1: its data is 9.0, but mul of its operands is nan"),
        ("[0, 0]", "[0, 1]", r"node 1: an operand .* earlier node, not 1: cyclic or out of order"),
        ("[0, 0]", "[2, 0]", r"node 1: an operand .* earlier node, not 2: cyclic or out of order"),
        ("[0, 0]", "[0, -1]", r"node 1: an operand .* earlier node, not -1"),
        ("[0, 0]", "[0, -0]", r"node 1: an operand has to be .*, not -0.0"),
        ("[0, 0]", "[0, 0.0]", r'node 1: an operand .* earlier node or {"constant": number}, not 0.0'),
        ("[0, 0]", "[0, false]", r"node 1: an operand has to be .*, not false"),
        ("[0, 0]", "[0, null]", r"node 1: an operand has to be .*, not null"),
        ("[0, 0]", '[0, "x"]', r'node 1: an operand has to be .*, not "x"'),
        ("[0, 0]", "[0, [0]]", r"node 1: an operand has to be .*, not a list"),
        ("[0, 0]", "0", r'node 1: "operands" has to be a list, not 0'),
        ("[0, 0]", "{}", r'node 1: "operands" has to be a list, not an object'),
        ("[0, 0]", "[0]", r"node 1: mul takes 2 operands, not 1"),
        ("[0, 0]", "[0, 0, 0]", r"node 1: mul takes 2 operands, not 3"),
        ("[0, 0]", "[]", r"node 1: mul takes 2 operands, not 0"),
        ("[0, 0]", '[{"constant": 3}, {"constant": 3}]', r"node 1: none of the operands of mul is a node"),
        ("[0, 0]", "[0, {}]", r'node 1: the field "constant" is missing'),
        ("[0, 0]", '[0, {"constant": 3, "x": 1}]', r'node 1: there is no field "x"; these are: constant'),
        ("[0, 0]", '[0, {"constant": 3, "constant": 3}]', r'node 1: the field "constant" stands there twice'),
        ("[0, 0]", '[0, {"constant": "3"}]', r'node 1: "constant" has to be a number, .*, not "3"'),
        ("[0, 0]", '[0, {"constant": true}]', r'node 1: "constant" has to be a number, .*, not true'),
        ("[0, 0]", '[0, {"constant": NaN}]', r'node 1: "constant" is nan, no JSON number'),
        ('"mul"', '"mull"', r'no operation "mull" here, did you mean mul\?; one made with mg.primitive has to be de'),
        ('"mul"', '"Mul"', r"did you mean mul\?"),
        ('"mul"', '"__class__"', r'no operation "__class__" here; one made with'),
        ('"mul"', '"' + "mul" * 100_000 + '"', r'no operation "mulmul'),
        ('"mul"', "3", r"no operation 3 here;"),
        ('"mul"', "[]", r"no operation a list here;"),
        ('"mul"', '""', r'no operation "" here;'),
        ('"mul"', "null", r"node 1: a leaf, whose op is null, has no operands, not 2"),
        ('"op": null', '"op": "neg"', r"node 0: neg takes 1 operand, not 0"),
        ('"mul"', '"div"', r"node 1: its data is 9.0, but div of its operands is 1.0"),
        ('"mul", "operands": [0, 0]', '"log", "operands": [0]', r"node 1: its data is 9.0, but log of"),
    ],
    ids=lambda x: ascii(x)[:30],
)
def test_a_changed_part_is_found(old, new, message):
    assert squared().count(old) == 1
    refused(squared().replace(old, new), message)


def test_a_node_that_leads_nowhere():
    leaf = '{"op": null, "operands": [], "data": 3.0}'
    text = squared().replace('"root": 1', '"root": 2').replace("[0, 0]", "[1, 1]")
    refused(text.replace('"nodes": [', f'"nodes": [{leaf}, '), r"node 0: no other node uses it, .* which is node 2")


@pytest.mark.parametrize(("nodes", "message"), [("[]", "it is empty"), ("{}", "a list, not an object"), ("3", "not 3")])
def test_nodes_that_are_no_list_of_nodes(nodes, message):
    refused(f'{{"format": "microgad.graph", "version": 1, "root": 0, "nodes": {nodes}}}', rf'"nodes": .*{message}')


def test_an_operation_without_a_value():
    text = to_json(mg.log(Value(1.0, "a\nb")))
    refused(text.replace("1.0", "-1.0"), r"node 1: log cannot be computed: log\(a\\nb\) is undefined at .*: log needs")


def test_an_anomaly_that_is_looked_for_is_no_fault_of_the_text():
    text = to_json(Value(math.inf) + 1.0)
    with mg.detect_anomaly(), pytest.raises(AnomalyError):
        from_json(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"format"', '\ufeff {"format"'),
        ('"version": 1, "root": 1', '"root": 1, "version": 1'),
        ('"data": 9.0', '"data": 9'),
        ("9.0", "90e-1"),
        ("[0, 0]", '[0, {"constant": 3}]'),
        (" ", "\r\n\t "),
    ],
)
def test_what_other_programs_may_write_is_read(old, new):
    text = squared().replace(old, new)
    assert text != squared()
    assert from_json(text).data == from_json(text.encode()).data == from_json(bytearray(text, "utf-8")).data == 9.0


def test_a_minus_zero_that_other_programs_write_is_one():
    text = to_json(Value(-0.0))
    assert "-0.0" in text
    assert bits(from_json(text.replace("-0.0", "-0")).data) == bits(-0.0)


# ---- random damage: an error, or the graph that the damaged text stands for


def stands_for(text, f):
    """Whether `f` is the graph in the text, found with no code of the library."""

    def number(x):
        return bits(float(x))

    def pairs(of):
        assert len(of) == len(dict(of))
        return dict(of)

    graph = json.loads(text, object_pairs_hook=pairs, parse_int=lambda x: -0.0 if x == "-0" else int(x))
    nodes, of, rest = graph["nodes"], {}, [(graph["root"], f)]
    while rest:
        i, node = rest.pop()
        if i in of:
            assert of[i] is node
            continue
        of[i] = node
        entry = nodes[i]
        assert (node.prim and node.prim.name, number(entry["data"])) == (entry["op"], bits(node.data))
        assert (entry.get("name"), "grad" in entry) == (node.name, node.grad is not None)
        assert node.grad is None or number(entry["grad"]) == bits(node.grad)
        assert len(entry["operands"]) == len(node.operands)
        for x, operand in zip(entry["operands"], node.operands, strict=True):
            if type(x) is int:
                rest.append((x, operand))
            else:
                assert number(x["constant"]) == bits(operand)
    assert len(of) == len(nodes) == len(set(of.values()))
    return True


def saved():
    x, y = Value(-2.0, "x"), Value(0.5, "y")
    f = mg.tanh(x * y + 1.0) / (x - 2) + mg.where(y, x, 3.0) * math.inf
    f.backward()
    return to_json(f)


SAVED = saved()
PARTS = sorted(
    {*re.findall(r'"\w+"|-?[\d.]+|[][{},: ]', SAVED), "NaN", "1e999", "true", "null", "\ud800", "é", "\\", "0"}
)
edits = st.lists(
    st.tuples(
        st.integers(0, len(SAVED)), st.integers(0, 12), st.sampled_from(PARTS) | st.just("") | st.text(max_size=2)
    ),
    min_size=1,
    max_size=3,
)


@settings(many, max_examples=400)
@given(edits)
def test_damaged_text_is_an_error_or_what_it_says(edits):
    text = SAVED
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    try:
        f = from_json(text)
    except FormatError:
        return
    assert stands_for(text, f)


@settings(many, max_examples=300)
@given(st.data())
def test_swapped_parts_are_an_error_or_what_they_say(data):
    parts = re.findall(r'"[^"]*"|-?[\d.e-]+|null|[^"\d]', SAVED)
    values = [i for i, part in enumerate(parts) if part[0] in '"-0123456789n']
    i, j = data.draw(st.sampled_from(values)), data.draw(st.sampled_from(values))
    parts[i], parts[j] = parts[j], parts[i]
    text = "".join(parts)
    try:
        f = from_json(text)
    except FormatError:
        return
    assert stands_for(text, f)


@pytest.mark.parametrize("indent", [None, 1])
def test_every_beginning_of_a_text_is_an_error(indent):
    text = json.dumps(json.loads(SAVED), indent=indent)
    for end in range(len(text)):
        with pytest.raises(FormatError):
            from_json(text[:end])


@settings(many, max_examples=100)
@given(st.binary(max_size=20) | st.text(max_size=20))
def test_any_text_or_bytes_are_an_error(text):
    with pytest.raises(FormatError):
        from_json(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(["add", "nan", "neg", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op", "operands", "data", "name", "grad", "constant", "x"]), inner, max_size=5
        )
    ),
    max_leaves=6,
)


@settings(many, max_examples=150)
@given(st.sampled_from(range(3)), st.sampled_from(["op", "operands", "data", "name", "grad"]), anything)
def test_any_value_in_any_field_is_an_error_or_what_it_says(i, field, value):
    graph = json.loads(to_json(add(Value(1.0) * 2.0, 3.0)))
    graph["nodes"][i][field] = value
    text = json.dumps(graph)
    try:
        f = from_json(text)
    except FormatError:
        return
    assert stands_for(text, f)
