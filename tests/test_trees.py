"""Trees: flattened, made again, mapped; what is a container, in which order, and what is said where trees differ."""

import gc
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import InputError

Point = namedtuple("Point", "x y")
Pair = namedtuple("Pair", "left right")
ARRAY, NODE, TENSOR, SET = np.array([1.0, 2.0]), Value(3.0), Tensor([4.0]), {1.0}

# A tree, its leaves in order, and its structure as it is shown.
TREES = {
    "leaf": (1.0, [1.0], "*"),
    "text": ("ab", ["ab"], "*"),
    "array": (ARRAY, [ARRAY], "*"),
    "node": (NODE, [NODE], "*"),
    "tensor": (TENSOR, [TENSOR], "*"),
    "set": (SET, [SET], "*"),
    "none": (None, [], "None"),
    "list": ([1.0, 2.0], [1.0, 2.0], "[*, *]"),
    "list of one": ([1.0], [1.0], "[*]"),
    "tuple": ((1.0, 2.0), [1.0, 2.0], "(*, *)"),
    "tuple of one": ((1.0,), [1.0], "(*,)"),
    "empty": ([[], (), {}], [], "[[], (), {}]"),
    "dict": ({"w": 1.0, "b": 2.0}, [1.0, 2.0], "{'w': *, 'b': *}"),
    "keys of every kind": ({"a": 1.0, 2: 2.0, (3, "c"): 3.0}, [1.0, 2.0, 3.0], "{'a': *, 2: *, (3, 'c'): *}"),
    "ordered dict": (OrderedDict(z=1.0, a=2.0), [1.0, 2.0], "{'z': *, 'a': *}"),
    "named tuple": (Point(1.0, [2.0]), [1.0, 2.0], "Point(*, [*])"),
    "none within": ([None, 1.0, {"a": None}], [1.0], "[None, *, {'a': None}]"),
    "mixed": (
        {"w": [ARRAY, (NODE, 1.0)], "b": Point(None, {"c": TENSOR})},
        [ARRAY, NODE, 1.0, TENSOR],
        "{'w': [*, (*, *)], 'b': Point(None, {'c': *})}",
    ),
    "the same thing twice": ([ARRAY, ARRAY], [ARRAY, ARRAY], "[*, *]"),
}


def identical(tree, other):
    """The same containers around the very same leaves."""
    if type(tree) in (list, tuple, Point):
        return type(tree) is type(other) and len(tree) == len(other) and all(map(identical, tree, other))
    if type(tree) in (dict, OrderedDict):
        parts = list(tree) == list(other) and all(identical(tree[key], other[key]) for key in tree)
        return type(tree) is type(other) and parts
    return tree is other


@pytest.mark.parametrize(("tree", "leaves", "shown"), TREES.values(), ids=TREES)
def test_a_tree_is_its_leaves_and_its_structure(tree, leaves, shown):
    found, structure = mg.tree_flatten(tree)
    assert identical(found, leaves)
    assert identical(mg.tree_leaves(tree), leaves)
    assert (str(structure), repr(structure)) == (shown, shown)
    assert structure == mg.tree_structure(tree)
    assert identical(mg.tree_unflatten(structure, found), tree)
    assert identical(mg.tree_unflatten(structure, iter(found)), tree)
    assert identical(mg.tree_map(lambda x: x, tree), tree)
    seen = []
    mg.tree_map(lambda x, y: seen.append((x, y)), tree, tree)
    assert identical([x for x, _ in seen], leaves)
    assert identical([y for _, y in seen], leaves)


@pytest.mark.parametrize("name", [name for name in TREES if TREES[name][1]])
def test_other_leaves_in_the_same_structure(name):
    tree, leaves, _ = TREES[name]
    other = mg.tree_unflatten(mg.tree_structure(tree), range(len(leaves)))
    assert mg.tree_leaves(other) == list(range(len(leaves)))
    assert mg.tree_structure(other) == mg.tree_structure(tree)


def test_structures_are_equal_where_containers_and_keys_are():
    structures = [mg.tree_structure(tree) for tree, _, shown in TREES.values() if shown != "*" and shown != "[*, *]"]
    assert len(set(structures)) == len(structures)
    for i, a in enumerate(structures):
        assert [a == b for b in structures] == [i == k for k in range(len(structures))]
    assert mg.tree_structure([1.0, ("a",)]) == mg.tree_structure([2, (ARRAY,)])
    assert mg.tree_structure(Point(1, 2)) != mg.tree_structure(Pair(1, 2))
    assert mg.tree_structure(Point(1, 2)) != mg.tree_structure((1, 2))
    assert mg.tree_structure({"a": 1}) != mg.tree_structure(OrderedDict(a=1))
    assert hash(mg.tree_structure({"a": [1.0]})) == hash(mg.tree_structure({"a": [2.0]}))


def test_what_is_derived_from_a_container_is_taken_for_that():
    class Row(list):
        pass

    class Size(tuple):
        pass

    counted = defaultdict(list, a=1.0)
    tree = {"row": Row([1.0]), "size": Size([2.0]), "counted": counted}
    assert mg.tree_leaves(tree) == [1.0, 2.0, 1.0]
    made = mg.tree_map(lambda x: -x, tree)
    assert made == {"row": [-1.0], "size": (-2.0,), "counted": {"a": -1.0}}
    assert [type(x) for x in made.values()] == [list, tuple, dict]


def test_a_named_tuple_stays_one():
    class Layer(namedtuple("Layer", "w b")):
        @property
        def both(self):
            return (self.w, self.b)

    made = mg.tree_map(lambda x: 2 * x, Layer(1.0, Point(2.0, None)))
    assert type(made) is Layer
    assert made.both == (2.0, Point(4.0, None))


def test_the_order_of_keys_is_that_of_the_first_tree():
    first, second = {"b": 1.0, "a": {"y": 2.0, "x": 3.0}}, {"a": {"x": 30.0, "y": 20.0}, "b": 10.0}
    assert mg.tree_leaves(first) == [1.0, 2.0, 3.0]
    both = mg.tree_map(lambda x, y: (x, y), first, second)
    assert both == {"b": (1.0, 10.0), "a": {"y": (2.0, 20.0), "x": (3.0, 30.0)}}
    assert list(both) == ["b", "a"]
    assert list(both["a"]) == ["y", "x"]
    assert mg.tree_map(lambda x, y: y, second, first) == {"a": {"x": 3.0, "y": 2.0}, "b": 1.0}
    ordered = mg.tree_map(lambda x, y: x - y, OrderedDict(b=1.0, a=2.0), OrderedDict(a=1.0, b=1.0))
    assert (type(ordered), list(ordered.items())) == (OrderedDict, [("b", 0.0), ("a", 1.0)])


def test_tree_map_calls_once_for_each_leaf_from_first_to_last():
    calls = []
    made = mg.tree_map(lambda *xs: calls.append(xs) or len(calls), [1, {"a": 2, "b": (3,)}], [4, {"b": (6,), "a": 5}])
    assert calls == [(1, 4), (2, 5), (3, 6)]
    assert made == [1, {"a": 2, "b": (3,)}]


def test_tree_map_may_give_trees():
    assert mg.tree_map(lambda x: [x, None], (1, 2)) == ([1, None], [2, None])


def test_a_step_of_gradient_descent_over_a_tree():
    params = {"w": np.array([1.0, 2.0]), "b": [0.5, None]}
    grads = mg.grad(lambda p: (p["w"] * p["w"]).sum() + 3.0 * p["b"][0])(params)
    stepped = mg.tree_map(lambda p, g: p - 0.1 * g, params, grads)
    assert stepped["w"].tolist() == [0.8, 1.6]
    assert stepped["b"] == [pytest.approx(0.2, rel=1e-15), None]
    assert (params["w"].tolist(), params["b"]) == ([1.0, 2.0], [0.5, None])


def nested(depth, leaf=1.0):
    tree = leaf
    for i in range(depth):
        tree = {"a": tree} if i % 3 == 0 else [tree, 0.0] if i % 3 == 1 else (None, tree)
    return tree


def test_trees_deeper_than_the_stack():
    depth = 6_000
    tree, other = nested(depth), nested(depth, 2.0)
    leaves, structure = mg.tree_flatten(tree)
    assert (len(leaves), leaves[0]) == (1 + depth // 3, 1.0)
    assert structure == mg.tree_structure(other)
    assert hash(structure) == hash(mg.tree_structure(other))
    assert mg.tree_leaves(mg.tree_map(lambda x, y: x + y, tree, other))[0] == 3.0
    with pytest.raises(InputError, match="is expected, not"):
        mg.tree_map(max, tree, nested(depth, [2.0]))
    shallow = nested(1_500)
    assert len(str(mg.tree_structure(shallow))) > 1_500
    found = mg.grad(lambda t: sum(mg.tree_leaves(t)))(shallow)
    assert mg.tree_leaves(found) == [1.0] * len(mg.tree_leaves(shallow))


def test_wide_trees():
    wide = [{"a": float(i)} for i in range(10_000)]
    assert sum(mg.tree_leaves(mg.tree_map(lambda x: 2.0 * x, wide))) == 10_000 * 9_999


def holding_itself():
    one, two = [1.0], {"a": 1.0}
    one.append(one)
    two["b"] = [2.0, (two,)]
    wide = [0.0] * 1_000
    wide[0] = wide
    return [one, two, wide, [1.0, one]]


@pytest.mark.parametrize("tree", holding_itself(), ids=["list", "dict", "wide", "within"])
@pytest.mark.parametrize(
    "call",
    [
        mg.tree_flatten,
        mg.tree_leaves,
        mg.tree_structure,
        lambda tree: mg.tree_map(abs, tree),
        lambda tree: mg.grad(lambda t: 1.0)(tree),
        lambda tree: mg.vjp(lambda x: tree, 1.0),
    ],
    ids=["flatten", "leaves", "structure", "map", "argument", "result"],
)
def test_a_tree_that_holds_itself(call, tree):
    with pytest.raises(InputError, match="a tree that holds itself"):
        call(tree)


def test_what_stands_there_twice_does_not_hold_itself():
    part = [1.0, {"a": 2.0}]
    assert mg.tree_leaves([part, (part, part)]) == [1.0, 2.0] * 3


def test_a_second_tree_may_hold_itself():  # nobody walks further than the first one leads
    one = [1.0]
    one.append(one)
    assert mg.tree_map(lambda x, y: y, [3.0, [4.0, 5.0]], [1.0, [2.0, 3.0]]) == [1.0, [2.0, 3.0]]
    with pytest.raises(InputError, match=r"^tree_map at \[1\]\[1\]: a leaf is expected, not list"):
        mg.tree_map(lambda x, y: y, [3.0, [4.0, 5.0]], one)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (1.0, [1.0], r"^tree_map: a leaf is expected, not list \[1.0\]"),
        (1.0, None, r"^tree_map: a leaf is expected, not NoneType None"),
        (None, 1.0, r"^tree_map: None is expected, not float 1.0"),
        (None, [], r"^tree_map: None is expected, not list \[\]"),
        ([], None, r"^tree_map: a list of 0 is expected, not NoneType"),
        ([1.0], (1.0,), r"^tree_map: a list of 1 is expected, not tuple"),
        ((1.0, 2.0), Point(1.0, 2.0), r"^tree_map: a tuple of 2 is expected, not Point"),
        (Point(1.0, 2.0), Pair(1.0, 2.0), r"^tree_map: a Point of 2 is expected, not Pair"),
        ([1.0, 2.0], [1.0], r"^tree_map: a list of 2 is expected, not list \[1.0\]"),
        ([1.0], [1.0, 2.0], r"^tree_map: a list of 1 is expected"),
        ({"a": 1.0}, {"b": 1.0}, r"^tree_map: a dict with the keys \['a'\] is expected, not dict \{'b': 1.0\}"),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, r"^tree_map: a dict with the keys \['a'\] is expected"),
        ({"a": 1.0}, OrderedDict(a=1.0), r"^tree_map: a dict with the keys \['a'\] is expected, not OrderedDict"),
        ({0: 1.0}, [1.0], r"^tree_map: a dict with the keys \[0\] is expected"),
        ([{"a": (1.0, [2.0])}], [{"a": (1.0, 2.0)}], r"^tree_map at \[0\]\['a'\]\[1\]: a list of 1 is expected"),
        ({"b": 1.0, "a": [2.0]}, {"a": [None], "b": 1.0}, r"^tree_map at \['a'\]\[0\]: a leaf is expected"),
        (1.0, TENSOR, None),
        (ARRAY, "text", None),
    ],
)
def test_where_trees_differ(first, second, message):
    if message is None:
        assert mg.tree_map(lambda x, y: y, first, second) is second
        return
    for others in ((second,), (first, second), (second, first)):
        with pytest.raises(InputError, match=message):
            mg.tree_map(lambda *xs: xs, first, *others)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mg.tree_unflatten(mg.tree_structure([1, 2]), [1]), r"a tree \[\*, \*\] has 2 leaves, not 1"),
        (lambda: mg.tree_unflatten(mg.tree_structure([1, 2]), [1, 2, 3]), r"has 2 leaves, not 3"),
        (lambda: mg.tree_unflatten(mg.tree_structure(None), [1]), r"a tree None has 0 leaves, not 1"),
        (lambda: mg.tree_unflatten(mg.tree_structure(1), 1), r"the leaves of a tree are a list, not int 1"),
        (lambda: mg.tree_unflatten([1, 2], [1, 2]), r"a structure is what tree_flatten gives, not list \[1, 2\]"),
        (lambda: mg.tree_unflatten(None, []), r"a structure is what tree_flatten gives, not NoneType"),
        (lambda: mg.tree_map([1.0], [1.0]), r"tree_map applies a function to each leaf, not list \[1.0\]"),
        (lambda: mg.tree_map(None, [1.0]), r"tree_map applies a function to each leaf, not NoneType"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_what_the_function_raises_comes_out_as_it_is():
    with pytest.raises(ZeroDivisionError):
        mg.tree_map(lambda x: 1 / x, [1.0, 0.0])


def test_nothing_is_left_to_the_collector():
    class Leaf:
        alive = 0

        def __init__(self):
            Leaf.alive += 1

        def __del__(self):
            Leaf.alive -= 1

    gc.collect()
    gc.disable()
    try:
        tree = {"a": [Leaf(), (Leaf(), None)]}
        leaves, structure = mg.tree_flatten(tree)
        made = mg.tree_map(lambda x, y: x, tree, mg.tree_unflatten(structure, leaves))
        assert Leaf.alive == 2
        del tree, leaves, made
        assert Leaf.alive == 0
    finally:
        gc.enable()
