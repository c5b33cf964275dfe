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
from varied.models.base import Bench, Heat, LatentModel
from varied.models.vae import observed, tempered
from varied.nets import NETS, mlp, with_context
from varied.nets.mlp import ACTIVATIONS
from varied.nets.moving import moving
from varied.posteriors import Gaussian, Point
from varied.priors import Prior, StandardNormal
from varied.trace import Given, Level, Trace

__all__ = [
    "ClassLevel",
    "ClassPrior",
    "ClassVAE",
    "beside_class",
    "classes",
    "dropped",
    "labelled",
    "likeliest",
    "one_hot",
    "parted",
    "reader",
    "settled",
    "sizes",
    "sure",
]

Shape = tuple[int, ...]

#: A logit that is as good as none: its probability is 0 to the last bit, and 0 times it is 0.
NEVER = -1e4


def labelled(c: Tensor) -> Tensor:
    """Return which rows of a context have a class, as bool with shape (*, 1)."""
    return (c != 0).any(-1, keepdim=True)


def settled(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return logits that are all on the class of a row, where the row has one."""
    return logits if c is None else torch.where(labelled(c), NEVER * (1 - c), logits)


def one_hot(logits: Tensor) -> d.OneHot:
    """Return one choice among classes."""
    return d.OneHot(logits, logits.shape[-1])


def likeliest(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return the class of each row, its most probable one where it has none; one-hot, (B, C)."""
    known = settled(logits, c).argmax(-1)
    return nn.functional.one_hot(known, logits.shape[-1]).to(logits.dtype)


def sure(y: Tensor) -> d.OneHot:
    """Return a choice that is all on the classes ``y``, one-hot with shape (*, C)."""
    return one_hot(NEVER * (1 - y))


def parted(z: Tensor, c: Tensor | None, classes: int) -> tuple[Tensor, Tensor]:
    """Return the class, that of the context where it has one, and the rest of a latent.

    Arguments:
        z: Latents, with shape (*, C + D).
        c: The classes, one-hot, with shape (B, C), zeros where unknown; or None.
        classes: The number C of classes.

    Returns:
        The classes, with shape (*, C), and the rest, with shape (*, D).
    """
    y, rest = z[..., :classes], z[..., classes:]
    return (y if c is None else torch.where(labelled(c), c, y)), rest


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
        other = labelled(self.c)[:, 0] & ((self.z * self.c).sum(-1) == 0)
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
        return one_hot(settled(self.uniform, c))

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(y, z), given the class where ``c`` has one."""
        y, z = self.choice(c), self.rest()
        return d.Joint(y, z.expand(y.batch_shape))


class ClassVAE(LatentModel):
    r"""M2: a class and a latent make a datum; a classifier says the class where no one has.

    .. math::
        p(x, y, z) &= p(y) \, p(z) \, p(x \mid y, z), \qquad
        q(y, z \mid x) = q(y \mid x) \, q(z \mid x, y) \\
        L(x, y) &= -\mathbb E_q \log p(x \mid y, z) + KL(q(z \mid x, y), p(z)) - \log p(y) \\
        U(x) &= \sum_y q(y \mid x) \, L(x, y) - H(q(y \mid x))

    A pass tries every class, and weighs it by q(y given x), or by the label; the ``distortion`` and
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

    gives = frozenset({"density"})

    def __init__(self, classifier: Given, trunk: Given, encoder: Given, decoder: Given) -> None:
        super().__init__()
        self.classifier, self.trunk = classifier, trunk
        self.encoder, self.decoder = encoder, decoder
        self.prior: ClassPrior = ClassPrior(self.classes, self.size)

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return self.classifier.head.event[0]

    @property
    def size(self) -> int:
        """The number D of elements of z, which is the latent less its class."""
        return self.decoder.inputs[0]

    @property
    def latent(self) -> Shape:
        """The shape of one latent: the class, one-hot, and z."""
        return (self.classes + self.size,)

    @property
    def event(self) -> Shape:
        """The shape of one datum."""
        return self.decoder.head.event

    @property
    def arity(self) -> int:
        """Numbers that a pass puts out for each element of a datum: those of every class."""
        return self.classes * self.decoder.head.arity

    @property
    def tries(self) -> int:
        """The number of classes, each of which a draw is tried with."""
        return self.classes

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
        x = observed(x, mask)
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
        logits = self.classifier.raw(x) if logits is None else logits
        choice = settled(logits, c)
        y = torch.eye(self.classes, dtype=x.dtype, device=x.device)[:, None, None]

        def everywhere(h: Tensor) -> Tensor:
            """Return (C, S, B, n) as (K, B, n)."""
            lead = (self.classes, *logits.shape[:-1])
            return h.expand(*lead, -1).flatten(0, 1).repeat(samples, 1, 1)

        # What does not depend on the class is computed once, and draws share their q.
        h = self.trunk.raw(x)
        raw = everywhere(self.encoder.raw(h.expand(self.classes, *h.shape), y))
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
        return self.classifier.raw(x).softmax(-1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the class, the most probable one where ``c`` has none, and q(z given x, y)."""
        y = likeliest(self.classifier.raw(x), c)
        return d.Joint(sure(y), self.encoder(self.trunk.raw(x), y))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given y, z), with the leading dimensions of ``z`` as batch shape."""
        y, z = parted(z, c, self.classes)
        return self.decoder(z, y)  # type: ignore[no-any-return]

    def latents(self, n: int, c: Tensor | None = None, temperature: Heat = 1.0) -> Tensor:
        """Return draws from the prior, with shape (n, C + D); a temperature is one of z alone."""
        y = self.prior.choice(c)
        drawn = y.sample((n,) if not y.batch_shape else ())
        return torch.cat([drawn, tempered(self.prior.rest(), n, temperature)], -1)


def classes(
    bench: Bench,
    *,
    classifier: str = "same",
    dropout: float = 0.0,
    affine: float = 0.0,
    units: int = 256,
) -> ClassVAE:
    """M2: the classes are part of the model, and most rows may be without one.

    The context is the classes, one-hot; a row of zeros has none.

    Arguments:
        bench: Makes the parts.
        classifier: The net of q(y given x): "same" as the other nets, "mlp", "conv" or "resnet".
        dropout: The chance that the classifier loses a hidden unit in training; 0.2 to 0.5 is usual
            where labels are few.
        affine: How far pictures are moved by chance before the classifier reads them in training:
            1 is usual where labels are few, 0 leaves them. The bound stays one, since any
            q(y given x) will do, and x is decoded as it is.
        units: Hidden units between the features of x and q(z given x, y), computed for each class.
    """
    count, size = sizes(bench, "classes")
    told = reader(bench, classifier, count, dropout, affine)
    trunk = bench.given(bench.shape, Point((units,)), 0)
    decoder = bench.given((size,), bench.likelihood(bench.shape), count)
    return ClassVAE(told, trunk, beside_class(units, Gaussian((size,)), count), decoder)


classes.own = ("posterior", "prior")  # type: ignore[attr-defined]


def sizes(bench: Bench, name: str) -> tuple[int, int]:
    """Return the number of classes and of latent numbers."""
    if bench.context < 2:
        raise VariedError(
            f"structure='{name}' needs two classes or more as the context; give labels, or use "
            "structure='flat'."
        )
    if len(bench.latent) != 1:
        raise VariedError(
            f"structure='{name}' has a latent of one dimension; give a number, such as latent=32."
        )
    return bench.context, bench.latent[0]


def reader(
    bench: Bench,
    classifier: str,
    count: int,
    dropout: float,
    affine: float = 0.0,
    others: tuple[str, ...] = (),
) -> Given:
    """Return q(y given x), whose net reads data.

    Arguments:
        bench: Makes the parts.
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
    shapes = bench.shape, (count,)
    net = bench.net(*shapes, 0) if classifier == "same" else NETS[classifier](*shapes)
    net = moving(dropped(net, dropout), bench.shape, affine)
    return Given(net, Point((count,)), bench.shape)


def beside_class(units: int, head: Head, count: int) -> Given:
    """Return q(z given features, y), small, since it is computed for each class."""

    def net(shape: Shape) -> nn.Module:
        return nn.Sequential(nn.SiLU(), mlp(shape, head.raw, width=units, depth=1))

    return Given(with_context(net, (units,), count), head, (units,))


def dropped(net: nn.Module, chance: float) -> nn.Module:
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
