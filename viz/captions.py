"""A network in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from microgad.naming import columns, counted, listed, literal, magnitude, number

from .layers import Chain, Layer, Numbers
from .paths import Paths

MOST, FIRST, LAST = 12, 5, 3  # neurons of a column; of a longer one so many from its beginning and its end
DIGITS = 4  # of a number in a picture


def notes_on(chain: Chain, paths: Paths, problem: str | None) -> list[str]:
    """What has to be said besides the numbers."""
    notes = []
    if chain.numbers and chain.examples > 1:
        sums = f"; δ and ∂{chain.symbol}/∂y are sums over them" if chain.layers[-1].dz is not None else ""
        notes.append(f"z and y are means over {counted(chain.examples, 'example')}{sums}.")
    if chain.more:
        notes.append("Gradients of weights and biases hold more than this result gave them.")
    if paths.sources:
        notes += _product(chain, paths)
    if problem is not None:
        notes.append(f"Not of one computation: {literal(problem)}.")
    return notes


def _product(chain: Chain, paths: Paths) -> list[str]:
    """The paths that are marked, and the products of the chain rule that belong to them."""
    result, layers = chain.result, chain.layers
    ways = f"{magnitude(paths.count)} path{'s' * (paths.count != 1)}"
    said = f"Marked: {ways} from {paths.name} to {'the outputs' if result is None else result.name}."
    if len(paths.sources) > 1 or result is None:
        return [said]
    [(part, level, i, j)] = paths.sources
    layer = layers[level]
    after = layers[level + 1] if level + 1 < len(layers) else None
    skipped = [skip.layer for skips in (result.skips, *(one.skips for one in layers)) for skip in skips]
    factors: list[Any] = []
    if part in ("weight", "bias"):
        rule = f"∂{chain.symbol}/∂w = δ · y" if part == "weight" else f"∂{chain.symbol}/∂b = δ"
        factors = [(layer.dz, i), *([(layers[level - 1].y, j)] if part == "weight" else [])]
    elif part == "z" and after is not None and not layer.mixes and level not in skipped:
        many = f"Σ over {after.size} neurons of δ · w" if after.size > 1 else "δ · w of the next neuron"
        rule = f"δ = ({many}) · {_slope(layer.activations[i])}"
    else:
        return [said]
    if chain.examples > 1:
        rule += ", summed over the examples"
    elif layer.dz is not None and None not in layer.dz.tolist():
        if factors:
            given = [float(numbers[k]) for numbers, k in factors]
            rule += "".join(f" {'·' if k else '='} {_factor(x, k)}" for k, x in enumerate(given))
            rule += f" = {number(math.prod(given), DIGITS)}" if len(given) > 1 else ""
        elif after is not None and after.dz is not None and after.size <= 4:
            terms = [f"{_factor(after.dz[k], k)} · {_factor(after.weight[k, i])}" for k in range(after.size)]
            rule += f" = ({' + '.join(terms)}) · {_slope(layer.activations[i])} = {number(layer.dz[i], DIGITS)}"
    return [said, f"Along {'it' if paths.count == 1 else 'them'} {rule}."]


def _slope(activation: str) -> str:
    return "1" if not activation else f"{activation}′(z)" if activation.isidentifier() else "f′(z)"


def _factor(x: Any, behind: int = 1) -> str:
    """A number in a product or a sum; in parentheses where its sign would stand behind another."""
    said = number(x, DIGITS)
    return f"({said})" if behind and said.startswith("-") else said


def sentence(chain: Chain) -> str:
    """What the picture shows."""
    parts = [counted(chain.layers[0].size, "input")]
    for layer in chain.layers[1:]:
        parts.append(
            f"{title(layer)} of {counted(layer.size, 'neuron')}" + (f" with {bends(layer)}" if bends(layer) else "")
        )
    said = f"A neural network of {', '.join(parts)}"
    said += f"; the result is {chain.result.name} = {number(chain.result.value)}." if chain.result is not None else "."
    if chain.numbers:
        first, last = chain.layers[0], chain.layers[-1]
        for name, numbers in (("Inputs", first.y), ("Outputs", last.y)):
            assert numbers is not None
            said += f" {name}: {listed([number(float(x)) for x in numbers])}."
    return said


def title(layer: Layer) -> str:
    """What a layer is called."""
    return literal(" ".join(dict.fromkeys(x for x in (layer.name, layer.kind) if x)))


def bends(layer: Layer) -> str:
    """The activations of a layer, if there are any."""
    names = list(dict.fromkeys(layer.activations))
    return "" if names == [""] else listed([name or "identity" for name in names], 3)


def tables(chain: Chain, paths: Paths) -> list[str]:
    """All numbers, layer by layer."""
    of = chain.symbol
    heads = [counted(chain.layers[0].size, "input")]
    for layer in chain.layers[1:]:
        said = [counted(layer.size, "neuron"), *([bends(layer)] if bends(layer) else [])]
        heads.append(f"{title(layer)} ({', '.join(said)})")
    found = [", ".join(heads)]
    if chain.result is not None:
        grad = f", grad {number(chain.result.grad)}" if chain.grads else ""
        found[0] += f", {chain.result.name} = {number(chain.result.value)}{grad}"
    for level, layer in enumerate(chain.layers):
        rows = slots(layer.size, extra(paths, level))
        given = [("z", layer.z), (f"∂{of}/∂z", layer.dz), ("y", layer.y), (f"∂{of}/∂y", layer.dy)]
        given = [*(given if chain.numbers else []), ("bias", layer.bias)]
        given += [(f"∂{of}/∂bias", layer.bias_grad)] if chain.grads else []
        present = {head: numbers for head, numbers in given if numbers is not None}
        lines: list[str] = []
        if present:
            table = [[literal(layer.name), *present]]
            table += [[_named(layer, i), *(_cell(numbers, i) for numbers in present.values())] for i in rows]
            lines += columns(table, range(1, len(present) + 1))
        if layer.weight.size:
            across = slots(layer.weight.shape[1], extra(paths, level - 1))
            before = chain.layers[level - 1]
            table = [["weight", *(_named(before, j, "from ") for j in across)]]
            for i in rows:
                table.append([_named(layer, i), *(_cell(layer.weight, i, j) for j in across)])
                if chain.grads and isinstance(i, int):
                    table.append([f"∂{of}/∂w", *(_cell(layer.weight_grad, i, j) for j in across)])
            lines += columns(table, range(1, len(across) + 1))
        found += ["\n".join(lines)] if lines else []
    return found


def _named(layer: Layer, slot: int | str, before: str = "") -> str:
    """The index of a neuron, or how many are left out."""
    return slot if isinstance(slot, str) else f"{before}{layer.indices[slot]}"


def _cell(numbers: Numbers, *at: int | str) -> str:
    """A number of a table, where it is not left out."""
    places = tuple(i for i in at if isinstance(i, int))
    return number(numbers[places]) if len(places) == len(at) else "…"


def slots(size: int, more: Iterable[int] = ()) -> list[int | str]:
    """What stands in a column: its neurons, and in the place of those that are left out how many they are."""
    if size <= MOST:
        return list(range(size))
    rows = sorted({*range(FIRST), *range(size - LAST, size), *more})
    found: list[int | str] = []
    for i, after in zip(rows, [*rows[1:], size], strict=True):
        found += [i, f"{after - i - 1:,} more"] if after - i > 1 else [i]
    return found


def extra(paths: Paths, level: int) -> set[int]:
    """Neurons that are drawn because a path begins at them."""
    found = {i for _, at, i, _ in paths.sources if at == level}
    found |= {j for part, at, _, j in paths.sources if part == "weight" and at == level + 1}
    return found if len(found) <= MOST else set()
