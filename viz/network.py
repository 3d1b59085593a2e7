"""A small network as textbooks draw it: columns of neurons, each two circles, and a line for each weight."""

from __future__ import annotations

from typing import Any

from microgad.agreement import outdated
from microgad.errors import GraphSizeError, InputError, shown
from microgad.node import Node

from .captions import notes_on, sentence, tables
from .choices import check_choice, check_flag
from .columns import Page
from .paths import Paths
from .reading import of_model, of_result
from .render import Drawing
from .theme import THEMES

LIMIT = 50  # layers


class Network(Drawing):
    """The picture that `network` makes: a notebook shows it, and `save` writes it.

    Attributes
    ----------
    text : str
        Layer by layer a table of all numbers: weights, biases, z, y and gradients.
    alt : str
        What the picture shows, in words.
    """


def network(
    model: Any,
    x: Any = None,
    *,
    highlight: Node | str | None = None,
    theme: str = "light",
    labels: bool | None = None,
    grads: bool | None = None,
) -> Network:
    """A neural network as columns of neurons, from the inputs at the left to the loss at the right.

    A neuron is two circles: z at the left is what its weights and its bias make of the layer before, and y at the right
    what the activation makes of that. A line is a weight: the wider, the larger its size; it is solid where the weight
    is positive and dashed where it is negative, and the colours differ as well. The square below a neuron is its bias.
    Indices count from 0: z₁ of ``layers.0`` is the neuron ``layers.0[1]``, and ``layers.0.weight[1, 0]`` is the weight
    from y₀ of the layer before to it.

    Parameters
    ----------
    model : Module, callable, Value or Tensor
        A model: `nn.MLP`, `nn.Sequential`, a module of your own, `nn.scalar.MLP`, or a function. Or a result, such as a
        loss: then the network is found in its graph, and the result stands at the right.
    x : array, Tensor or list, shape (n,) or (m, n), optional
        Of a model, one example, or a batch of m: circles then hold numbers, which are means over the examples. The
        model is run in `eval` mode, and nothing of it changes.
    highlight : str, Value or Tensor, optional
        A weight, a bias or a neuron, whose paths to the result are marked by colour and by thicker lines:
        ``"layers.0.weight[1, 0]"``, ``"layers.0.bias[1]"``, ``"layers.0[1]"``, ``"inputs[0]"``, another name of
        `named_parameters`, or the leaf itself. A name without an index is the whole parameter.
    theme : {"light", "dark", "colorblind"}
        Colours.
    labels : bool, optional
        Whether weights and biases carry their numbers; by default biases do, and weights where there are up to 30
        between two columns. Without them a wide network is smaller, and easier to read in a notebook.
    grads : bool, optional
        Whether to show gradients: δ = ∂L/∂z and ∂L/∂y of neurons, which only a result has, and those of weights and
        biases. Of a result they are dashes by default, until it has a gradient itself; of a model they are left out,
        until a parameter has one, as after `nn.fit`, which leaves those of its last batch: `zero_grad` takes them away.
        Those of neurons are sums over the examples, as that of a bias is.

    Returns
    -------
    Network
        A notebook shows it as a picture, ``.save("net.svg")`` writes it as SVG, PNG, PDF or DOT, ``.source`` is the DOT
        text, ``.text`` a table of all numbers, and ``.alt`` a description.

    Raises
    ------
    InputError
        If `model` is neither, it cannot be run, its layers do not stand one behind the other, or there is nothing of
        the name to highlight.
    ShapeError
        If `x` has a shape that the model does not take.
    GraphSizeError
        If there are more than 50 layers.

    Notes
    -----
    Of a layer of more than 12 neurons the first 5 and the last 3 are drawn, and those that are highlighted; the text
    has these as well. What lies between two layers besides activations, such as dropout and batch normalization, stands
    where the activation does. A residual connection is a line above the columns. The picture is that of the lecture on
    backpropagation, in which the paths of a weight, of a neuron and of a bias explain the chain rule.

    Examples
    --------
    >>> import microgad as mg
    >>> model = mg.nn.scalar.MLP(2, [1])
    >>> for p, number in zip(model.parameters(), [0.5, -1.0, 0.25], strict=True):
    ...     p.data = number
    >>> loss = (model([1.0, 2.0]) - 1.0) ** 2
    >>> loss.backward()
    >>> drawing = network(loss, highlight="layers.0.weight[0, 1]")
    >>> print(drawing.text)
    2 inputs, layers.0 Layer (1 neuron), L = 5.0625, grad 1
    <BLANKLINE>
    inputs  y
    0       1
    1       2
    <BLANKLINE>
    layers.0      z  ∂L/∂z      y  ∂L/∂y  bias  ∂L/∂bias
    0         -1.25   -4.5  -1.25   -4.5  0.25      -4.5
    weight  from 0  from 1
    0          0.5      -1
    ∂L/∂w     -4.5      -9
    <BLANKLINE>
    Marked: 1 path from layers.0.neurons.0.w.1 to L.
    Along it ∂L/∂w = δ · y = -4.5 · 2 = -9.
    """
    check_choice("theme", theme, THEMES)
    check_flag("labels", labels)
    check_flag("grads", grads)
    problem = None
    if isinstance(model, Node):
        if x is not None:
            raise InputError("network of a result takes no x: the numbers are those that it was computed from")
        chain, order = of_result(model, grads)
        problem = outdated(order)
    elif isinstance(model, type) or not callable(model):
        raise InputError(f"network draws a model or the graph of a result, not {shown(model)}")
    else:
        chain = of_model(model, x, grads)
    if len(chain.layers) - 1 > LIMIT:
        raise GraphSizeError(f"a network of {len(chain.layers) - 1} layers; a picture shows up to {LIMIT}")
    paths = Paths(chain, highlight)
    notes = notes_on(chain, paths, problem)
    drawing = Network(format="svg")
    Page(drawing, chain, paths, theme, labels).draw(notes)
    drawing.text = "\n\n".join([*tables(chain, paths), *(["\n".join(notes)] if notes else [])])
    drawing.alt = " ".join([sentence(chain), *notes])
    return drawing
