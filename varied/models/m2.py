"""Classes from few labels: M2."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head
from varied.models.base import LatentModel, PartFactory, Temperature
from varied.models.vae import sample_with_temperature, zero_missing
from varied.nets import NETS, mlp, with_context
from varied.nets.mlp import ACTIVATIONS
from varied.nets.random_affine import add_random_affine
from varied.posteriors import Deterministic, Gaussian
from varied.priors import Prior, StandardNormal
from varied.trace import ConditionalDistribution, Level, Trace

__all__ = [
    "M2",
    "ClassLevel",
    "ClassPrior",
    "add_dropout",
    "build_class_encoder",
    "build_classifier",
    "build_m2",
    "certain_one_hot",
    "clamp_to_labels",
    "class_and_latent_sizes",
    "is_labeled",
    "one_hot",
    "predicted_one_hot",
    "split_class",
]

Shape = tuple[int, ...]

#: A logit that is as good as none: its probability is 0 to the last bit, and 0 times it is 0.
NEVER = -1e4


def is_labeled(c: Tensor) -> Tensor:
    """Return which rows of a context have a class, as bool with shape (*, 1)."""
    return (c != 0).any(-1, keepdim=True)


def clamp_to_labels(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return logits that are all on the class of a row, where the row has one."""
    return logits if c is None else torch.where(is_labeled(c), NEVER * (1 - c), logits)


def one_hot(logits: Tensor) -> d.OneHot:
    """Return one choice among classes."""
    return d.OneHot(logits, logits.shape[-1])


def predicted_one_hot(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return the class of each row, its most probable one where it has none; one-hot, (B, C)."""
    known = clamp_to_labels(logits, c).argmax(-1)
    return nn.functional.one_hot(known, logits.shape[-1]).to(logits.dtype)


def certain_one_hot(y: Tensor) -> d.OneHot:
    """Return a choice that is all on the classes ``y``, one-hot with shape (*, C)."""
    return one_hot(NEVER * (1 - y))


def split_class(z: Tensor, c: Tensor | None, classes: int) -> tuple[Tensor, Tensor]:
    """Return the class, that of the context where it has one, and the rest of a latent.

    Arguments:
        z: Latents, with shape (*, C + D).
        c: The classes, one-hot, with shape (B, C), zeros where unknown; or None.
        classes: The number C of classes.

    Returns:
        The classes, with shape (*, C), and the rest, with shape (*, D).
    """
    y, rest = z[..., :classes], z[..., classes:]
    return (y if c is None else torch.where(is_labeled(c), c, y)), rest


@dataclass
class ClassLevel(Level):
    r"""The class of each datum: every one was tried, and q(y given x) weighs them.

    The q of a datum that has a label is all on it, so that its KL is :math:`-\log p(y)`, and that
    of another is :math:`\sum_y q(y \mid x) \log q(y \mid x) / p(y)`.

    Arguments:
        z: The classes that were tried, one-hot, with shape (K, B, C).
        q: q(y given x), settled where there is a label, with a batch that broadcasts to (K, B).
        p: p(y), with a batch shape that broadcasts to (K, B).
        logits: Those of q(y given x) as the classifier has it, whatever the label, of shape
            (S, B, C), where S is 1, or the number of codes that it reads of each datum.
        c: The labels, with shape (B, C), zeros where there is none; or None.
    """

    logits: Tensor
    c: Tensor | None = None

    @property
    def log_ratio(self) -> Tensor:
        r"""log p(y) - log r(y) of what was tried, with shape (K, B), in nats.

        Each class was tried once, so it was drawn from a uniform r, whatever q says; and what is
        not the label of a datum has nothing to do with it. So the log of the mean of
        :math:`\exp(\mathrm{log\_w})` bounds log p(x), and log p(x, y) where y is known.
        """
        value = self.p.log_prob(self.z) + math.log(self.z.shape[-1])
        if self.c is None:
            return value
        other = is_labeled(self.c)[:, 0] & ((self.z * self.c).sum(-1) == 0)
        return value.masked_fill(other, -math.inf)


class ClassPrior(Prior):
    r"""A class, each as likely as the others, beside independent normal numbers.

    .. math:: p(y, z) = \frac1C \, \mathcal N(z; 0, I)

    Arguments:
        classes: The number C of classes.
        size: The number of normal numbers.
    """

    uniform: Tensor

    def __init__(self, classes: int, size: int) -> None:
        super().__init__((classes + size,))
        self.rest = StandardNormal((size,))
        self.register_buffer("uniform", torch.zeros(classes), persistent=False)

    def choice(self, c: Tensor | None = None) -> d.OneHot:
        """Return p(y), all on the class of a row where it has one."""
        return one_hot(clamp_to_labels(self.uniform, c))

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(y, z), given the class where ``c`` has one."""
        y, z = self.choice(c), self.rest()
        return d.Product(y, z.expand(y.batch_shape))


class M2(LatentModel):
    r"""M2: a class and a latent make a datum; a classifier says the class where no one has.

    .. math::
        p(x, y, z) &= p(y) \, p(z) \, p(x \mid y, z), \qquad
        q(y, z \mid x) = q(y \mid x) \, q(z \mid x, y) \\
        L(x, y) &= -\mathbb E_q \log p(x \mid y, z) + KL(q(z \mid x, y), p(z)) - \log p(y) \\
        U(x) &= \sum_y q(y \mid x) \, L(x, y) - H(q(y \mid x))

    A pass tries every class, and weighs it by q(y given x), or by the label; the ``reconstruction`` and
    the ``rate`` of its trace add up to L where there is a label and to U where there is none. No
    class is drawn, so the sum is exact.

    To every use its latent is one vector: the class, one-hot, and then z. A context that has a
    class overrides it. The code of a datum holds its most probable class, since the decoder has
    only ever been shown whole classes; `classify` has the probabilities.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        classifier: The net of q(y given x); its raw output has shape (C).
        trunk: The net from x to features, of which q(z given x, y) is made for each class.
        encoder: q(z given features, y).
        decoder: p(x given z, y).
    """

    provides = frozenset({"density"})

    def __init__(
        self,
        classifier: ConditionalDistribution,
        trunk: ConditionalDistribution,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
    ) -> None:
        super().__init__()
        self.classifier, self.trunk = classifier, trunk
        self.encoder, self.decoder = encoder, decoder
        self.prior: ClassPrior = ClassPrior(self.num_classes, self.size)

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return self.classifier.head.event_shape[0]

    @property
    def size(self) -> int:
        """The number D of elements of z, which is the latent less its class."""
        return self.decoder.inputs[0]

    @property
    def latent_shape(self) -> Shape:
        """The shape of one latent: the class, one-hot, and z."""
        return (self.num_classes + self.size,)

    @property
    def event_shape(self) -> Shape:
        """The shape of one datum."""
        return self.decoder.head.event_shape

    @property
    def params_per_element(self) -> int:
        """Numbers that a pass puts out for each element of a datum: those of every class."""
        return self.num_classes * self.decoder.head.params_per_element

    @property
    def num_enumerated(self) -> int:
        """The number of classes, each of which a draw is tried with."""
        return self.num_classes

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        mask: Tensor | None = None,
        samples: int = 1,
        logits: Tensor | None = None,
    ) -> Trace:
        """Return the trace of one pass, with K = samples * C: every class for each draw.

        Arguments:
            x: The data, with shape (B, *event).
            c: The classes, one-hot, with shape (B, C), zeros where unknown; or None.
            mask: 1 where observed, with the shape of ``x``, or None.
            samples: The number of draws of z for each datum and class.
            logits: Those of the classes, with shape (B, C), where another classifier says them.
        """
        x = zero_missing(x, mask)
        told = None if logits is None else logits[None]
        px, levels, weights = self.tried(x[None], c, samples, told)
        code = torch.cat([levels[1].z, levels[0].z], -1)
        return Trace(x, px, levels, mask, weights, code=code)

    def tried(
        self, x: Tensor, c: Tensor | None, samples: int, logits: Tensor | None = None
    ) -> tuple[Distribution, list[Level], Tensor]:
        """Try every class, and return p(x given y, z), the levels and the weights.

        Arguments:
            x: The data, with shape (S, B, *event), of which each stands for S draws of a datum.
            c: The classes, with shape (B, C), or None.
            samples: The number of draws of z for each datum and class; K = samples * C * S.
            logits: Those of the classes, with shape (S, B, C), where another classifier says them.
        """
        logits = self.classifier.outputs(x) if logits is None else logits
        choice = clamp_to_labels(logits, c)
        y = torch.eye(self.num_classes, dtype=x.dtype, device=x.device)[:, None, None]

        def everywhere(h: Tensor) -> Tensor:
            """Return (C, S, B, n) as (K, B, n)."""
            lead = (self.num_classes, *logits.shape[:-1])
            return h.expand(*lead, -1).flatten(0, 1).repeat(samples, 1, 1)

        # What does not depend on the class is computed once, and draws share their q.
        h = self.trunk.outputs(x)
        raw = everywhere(self.encoder.outputs(h.expand(self.num_classes, *h.shape), y))
        with torch.autocast(x.device.type, enabled=False):
            q = self.encoder.head(raw)
        z, tried = q.rsample(), everywhere(y)
        levels = [
            Level(z, q, self.prior.rest()),
            ClassLevel(tried, one_hot(everywhere(choice)), self.prior.choice(), logits, c),
        ]
        weights = (everywhere(choice.softmax(-1)) * tried).sum(-1) / (samples * len(x))
        return self.decoder(z, tried), levels, weights

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y given x), with shape (B, C)."""
        return self.classifier.outputs(x).softmax(-1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the class, the most probable one where ``c`` has none, and q(z given x, y)."""
        y = predicted_one_hot(self.classifier.outputs(x), c)
        return d.Product(certain_one_hot(y), self.encoder(self.trunk.outputs(x), y))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given y, z), with the leading dimensions of ``z`` as batch shape."""
        y, z = split_class(z, c, self.num_classes)
        return self.decoder(z, y)  # type: ignore[no-any-return]

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws from the prior, with shape (n, C + D); a temperature is one of z alone."""
        y = self.prior.choice(c)
        drawn = y.sample((n,) if not y.batch_shape else ())
        return torch.cat([drawn, sample_with_temperature(self.prior.rest(), n, temperature)], -1)


def build_m2(
    factory: PartFactory,
    *,
    classifier: str = "same",
    dropout: float = 0.0,
    augment: float = 0.0,
    hidden_units: int = 256,
) -> M2:
    """M2: the classes are part of the model, and most rows may be without one.

    The context is the classes, one-hot; a row of zeros has none.

    Arguments:
        factory: Makes the parts.
        classifier: The net of q(y given x): "same" as the other nets, "mlp", "conv" or "resnet".
        dropout: The chance that the classifier loses a hidden unit in training; 0.2 to 0.5 is usual
            where labels are few.
        augment: How far pictures are moved by chance before the classifier reads them in training:
            1 is usual where labels are few, 0 leaves them. The bound stays one, since any
            q(y given x) will do, and x is decoded as it is.
        hidden_units: Hidden units between the features of x and q(z given x, y), computed for each class.
    """
    count, size = class_and_latent_sizes(factory, "m2")
    told = build_classifier(factory, classifier, count, dropout, augment)
    trunk = factory.conditional(factory.shape, Deterministic((hidden_units,)), 0)
    decoder = factory.conditional((size,), factory.likelihood(factory.shape), count)
    return M2(told, trunk, build_class_encoder(hidden_units, Gaussian((size,)), count), decoder)


build_m2.own = ("posterior", "prior")  # type: ignore[attr-defined]


def class_and_latent_sizes(factory: PartFactory, name: str) -> tuple[int, int]:
    """Return the number of classes and of latent numbers."""
    if factory.context < 2:
        raise VariedError(
            f"architecture='{name}' needs two classes or more as the context; give labels, or use "
            "architecture='vae'."
        )
    if len(factory.latent_shape) != 1:
        raise VariedError(
            f"architecture='{name}' has a latent of one dimension; give a number, such as latent=32."
        )
    return factory.context, factory.latent_shape[0]


def build_classifier(
    factory: PartFactory,
    classifier: str,
    count: int,
    dropout: float,
    affine: float = 0.0,
    others: tuple[str, ...] = (),
) -> ConditionalDistribution:
    """Return q(y given x), whose net reads data.

    Arguments:
        factory: Makes the parts.
        classifier: "same" as the other nets, or a net's name.
        count: The number of classes.
        dropout: The chance that a hidden unit is lost in training.
        affine: How far pictures are moved by chance in training.
        others: What else may be chosen, for the sentence that refuses.

    Raises:
        VariedError: If there is no such net, or nothing to move.
    """
    known = (*others, "same", *NETS)
    if classifier not in known:
        raise VariedError(f"classifier='{classifier}' is no net; choose from {', '.join(known)}.")
    shapes = factory.shape, (count,)
    net = factory.net(*shapes, 0) if classifier == "same" else NETS[classifier](*shapes)
    net = add_random_affine(add_dropout(net, dropout), factory.shape, affine)
    return ConditionalDistribution(net, Deterministic((count,)), factory.shape)


def build_class_encoder(units: int, head: Head, count: int) -> ConditionalDistribution:
    """Return q(z given features, y), small, since it is computed for each class."""

    def net(shape: Shape) -> nn.Module:
        return nn.Sequential(nn.SiLU(), mlp(shape, head.param_shape, width=units, depth=1))

    return ConditionalDistribution(with_context(net, (units,), count), head, (units,))


def add_dropout(net: nn.Module, chance: float) -> nn.Module:
    """Return a net that loses hidden units by chance in training.

    References:
        Dropout (Srivastava et al., 2014), https://jmlr.org/papers/v15/srivastava14a.html

    Arguments:
        net: A net whose activations stand in an ``nn.Sequential``.
        chance: That of each unit; 0 leaves the net as it is.

    Raises:
        VariedError: If the chance is none, or the net has no activation.
    """
    if not 0 <= chance < 1:
        raise VariedError(f"dropout={chance} must be from 0 to below 1; 0.2 to 0.5 is usual.")
    return _wrapped(net, lambda act: nn.Sequential(act, nn.Dropout(chance))) if chance else net


def _wrapped(net: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    acts = tuple(ACTIVATIONS.values())
    if not any(isinstance(child, acts) for child in net.children()):
        raise VariedError("This net has no hidden units to lose; leave dropout out.")
    layers = (wrap(child) if isinstance(child, acts) else child for child in net.children())
    return nn.Sequential(*layers)
