"""Classifiers q(y | x) of semi-supervised models, and their regularization."""

from __future__ import annotations

from typing import Any

from torch import nn

from varied.errors import VariedError
from varied.models.base import PartFactory
from varied.nets import NETS
from varied.nets.mlp import ACTIVATIONS
from varied.nets.random_affine import add_random_affine
from varied.posteriors import Deterministic
from varied.trace import ConditionalDistribution

#: The settings of the network of a classifier. They must not change, since a spec does not contain
#: them, and the weights of a saved model would not fit a network with other settings.
_SETTINGS: dict[str, dict[str, Any]] = {
    "conv": {"width": 32, "dense_width": 256, "activation": "relu"}
}


def build_classifier(
    factory: PartFactory,
    classifier: str,
    num_classes: int,
    dropout: float,
    augment: float,
    alternatives: tuple[str, ...] = (),
) -> ConditionalDistribution:
    """Return a classifier of the data, which outputs logits.

    Arguments:
        factory: Builds the parts.
        classifier: The name of a network, or "same" for the network that the other parts use.
        num_classes: The number of classes.
        dropout: The dropout probability of hidden units.
        augment: The strength of random affine transforms of the input images.
        alternatives: Additional values of ``classifier`` to list in the error message.

    Raises:
        VariedError: If the network is unknown, dropout or augmentation is not possible, or the
            strength of either is out of range.
    """
    choices = (*alternatives, "same", *NETS)
    if classifier not in choices:
        raise VariedError(
            f"There is no classifier '{classifier}': choose from {', '.join(choices)}."
        )
    shapes = factory.shape, (num_classes,)
    if classifier == "same":
        net = factory.net(*shapes, 0)
    else:
        net = NETS[classifier](*shapes, **_SETTINGS.get(classifier, {}))
    net = add_random_affine(add_dropout(net, dropout), factory.shape, augment)
    return ConditionalDistribution(net, Deterministic((num_classes,)), factory.shape)


def add_dropout(net: nn.Module, p: float) -> nn.Module:
    """Return a network with dropout after each activation.

    References:
        Dropout (Srivastava et al., 2014), https://jmlr.org/papers/v15/srivastava14a.html

    Arguments:
        net: An ``nn.Sequential`` with activations as direct children.
        p: The dropout probability; if 0, the network is returned unchanged.

    Raises:
        VariedError: If p is not a probability below 1, or the network has no activation.
    """
    if not 0 <= p < 1:
        raise VariedError(
            f"dropout={p} must be at least 0 and below 1; typical values are 0.2 to 0.5."
        )
    if not p:
        return net
    activations = tuple(ACTIVATIONS.values())
    if not any(isinstance(layer, activations) for layer in net.children()):
        raise VariedError(
            "Dropout follows activations, but this network has no activations; omit `dropout`."
        )
    layers = [
        nn.Sequential(layer, nn.Dropout(p)) if isinstance(layer, activations) else layer
        for layer in net.children()
    ]
    return nn.Sequential(*layers)
