"""M2: semi-supervised learning with the class as a latent variable."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head
from varied.models.base import LatentModel, PartFactory, Temperature
from varied.models.classifier import build_classifier
from varied.models.labels import (
    ClassLevel,
    ClassPrior,
    certain_class,
    clamp_to_labels,
    class_distribution,
    enumeration_log_ratio,
    predict_class,
    split_class,
)
from varied.models.vae import sample_with_temperature, zero_missing
from varied.nets import mlp, with_context
from varied.posteriors import Deterministic, Gaussian
from varied.trace import ConditionalDistribution, Level, Trace

Shape = tuple[int, ...]


class ClassConditionalVAE(nn.Module):
    r"""M2 without its classifier.

    .. math:: p(x, y, z) = p(y) \, p(z) \, p(x \mid y, z), \qquad q(z \mid x, y)

    Arguments:
        trunk: The network that maps x to features, which is shared by all classes.
        encoder: q(z | features, y).
        decoder: p(x | z, y).
        num_classes: The number of classes.
    """

    def __init__(
        self,
        trunk: ConditionalDistribution,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.trunk, self.encoder, self.decoder = trunk, encoder, decoder
        self.num_classes = num_classes
        self.prior = ClassPrior(num_classes, decoder.inputs[0])

    def trace(
        self,
        x: Tensor,
        logits: Tensor,
        c: Tensor | None,
        mask: Tensor | None = None,
        samples: int = 1,
    ) -> Trace:
        """Return a trace with K = samples * C draws per example, ``samples`` for each class.

        Arguments:
            x: The data, with shape (B, *event).
            logits: The logits of q(y | x), with shape (B, C).
            c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled
                example.
            mask: A tensor with the shape of ``x`` that is 1 where observed, or None.
            samples: The number of draws of z per class.
        """
        px, levels, weights = self.enumerate_classes(x[None], logits[None], c, samples)
        code = torch.cat([levels[1].z, levels[0].z], -1)
        return Trace(x, px, levels, mask, weights, code=code)

    def enumerate_classes(
        self, x: Tensor, logits: Tensor, c: Tensor | None, samples: int = 1
    ) -> tuple[Distribution, list[Level], Tensor]:
        """Encode and decode S inputs per example for every class.

        Arguments:
            x: The inputs, with shape (S, B, *event).
            logits: The logits of q(y | x), with shape (S, B, C).
            c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled
                example.
            samples: The number of draws of z per input and class.

        Returns:
            p(x | y, z), the levels of z and y, and the weights with shape (K, B), where
            K = samples * C * S is the number of draws per example.
        """
        clamped = clamp_to_labels(logits, c)
        y = torch.eye(self.num_classes, dtype=x.dtype, device=x.device)[:, None, None]

        def to_draws(h: Tensor) -> Tensor:
            """Expand (C, S, B, n) to (K, B, n)."""
            batch_shape = (self.num_classes, *logits.shape[:-1])
            return h.expand(*batch_shape, -1).flatten(0, 1).repeat(samples, 1, 1)

        # The trunk runs once for all classes, and the encoder once for all draws.
        features = self.trunk.outputs(x)
        features = features.expand(self.num_classes, *features.shape)
        params = to_draws(self.encoder.outputs(features, y))
        with torch.autocast(x.device.type, enabled=False):
            q = self.encoder.head(params)
        z, y = q.rsample(), to_draws(y)
        p_y = self.prior.classes()
        q_y = class_distribution(to_draws(clamped))
        class_level = ClassLevel(y, q_y, p_y, enumeration_log_ratio(y, p_y, c), logits=logits, c=c)
        weights = (to_draws(clamped.softmax(-1)) * y).sum(-1) / (samples * len(x))
        return self.decoder(z, y), [Level(z, q, self.prior.normal()), class_level], weights

    def encode(self, x: Tensor, y: Tensor) -> Distribution:
        """Return q(z | x, y), with batch shape (B)."""
        return self.encoder(self.trunk.outputs(x), y)  # type: ignore[no-any-return]

    def decode(self, z: Tensor, c: Tensor | None) -> Distribution:
        """Return p(x | y, z) for the concatenation of y and z; labels, if passed, replace y."""
        y, z = split_class(z, c, self.num_classes)
        return self.decoder(z, y)  # type: ignore[no-any-return]

    def sample_prior(self, n: int, c: Tensor | None, temperature: Temperature) -> Tensor:
        """Return draws of y and z, with shape (n, C + D); the temperature applies only to z."""
        p_y = self.prior.classes(c)
        y = p_y.sample(() if p_y.batch_shape else (n,))
        return torch.cat([y, sample_with_temperature(self.prior.normal(), n, temperature)], -1)


class M2(LatentModel):
    r"""M2: a VAE whose latent variables include the class, which a classifier infers.

    .. math::
        p(x, y, z) &= p(y) \, p(z) \, p(x \mid y, z), \qquad
        q(y, z \mid x) = q(y \mid x) \, q(z \mid x, y) \\
        L(x, y) &= -\mathbb E_q \log p(x \mid y, z) + KL(q(z \mid x, y) \,\|\, p(z)) - \log p(y) \\
        U(x) &= \sum_y q(y \mid x) \, L(x, y) - H(q(y \mid x))

    A forward pass evaluates every class and weights it by q(y | x), or by the label. The
    ``reconstruction`` and the ``kl`` of the trace sum to L for a labeled example and to U for an
    unlabeled one. The sum over classes is computed exactly rather than by sampling.

    The latent variable is the concatenation of the one-hot class and z. Labels in the context
    replace the class. The code of an example contains its most probable class, since the decoder is
    trained only on one-hot classes; `classify` returns the probabilities.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        vae: p(x, y, z) and q(z | x, y).
    """

    provides = frozenset({"density"})
    prior: ClassPrior

    def __init__(self, classifier: ConditionalDistribution, vae: ClassConditionalVAE) -> None:
        super().__init__()
        self.classifier, self.vae = classifier, vae
        self.prior = vae.prior

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return self.vae.num_classes

    @property
    def latent_shape(self) -> Shape:
        """The shape of the concatenation of the one-hot class and z."""
        return self.prior.event_shape

    @property
    def event_shape(self) -> Shape:
        """The shape of one example."""
        return self.vae.decoder.head.event_shape

    @property
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element of an example, summed over classes."""
        return self.num_classes * self.vae.decoder.head.params_per_element

    @property
    def num_enumerated(self) -> int:
        """The number of classes, all of which are evaluated for each draw."""
        return self.num_classes

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace with K = samples * C draws per example.

        Arguments:
            x: The data, with shape (B, *event).
            c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled
                example.
            mask: A tensor with the shape of ``x`` that is 1 where observed, or None.
            samples: The number of draws of z per class.
        """
        x = zero_missing(x, mask)
        return self.vae.trace(x, self.classifier.outputs(x), c, mask, samples)

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y | x), with shape (B, C)."""
        return self.classifier.outputs(x).softmax(-1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the product of a point mass on the class y and q(z | x, y).

        The class is the label or, if there is none, the most probable class.
        """
        y = predict_class(self.classifier.outputs(x), c)
        return d.Product(certain_class(y), self.vae.encode(x, y))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | y, z), with the leading dimensions of ``z`` as the batch shape."""
        return self.vae.decode(z, c)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws from the prior, with shape (n, C + D); the temperature applies only to z."""
        return self.vae.sample_prior(n, c, temperature)


def build_m2(
    factory: PartFactory,
    *,
    classifier: str = "same",
    dropout: float = 0.0,
    augment: float = 0.0,
    hidden_units: int = 256,
) -> M2:
    """Return M2, a semi-supervised model with the class as a latent variable.

    The context is the one-hot class; a row of zeros marks an unlabeled example.

    Arguments:
        factory: Builds the parts.
        classifier: The network of q(y | x): "mlp", "conv", "conv1d", "resnet", or "same" for the
            network that the other parts use.
        dropout: The dropout probability of the classifier; with few labels, typical values are 0.2
            to 0.5.
        augment: The strength of random affine transforms of the classifier's input during training;
            0 disables them, and with few labels a typical value is 1. The ELBO remains valid, since
            q(y | x) can be any distribution and the decoder still reconstructs the original image.
        hidden_units: The number of features that are extracted from x once for all classes, and of
            hidden units in the network of q(z | x, y), which runs once for each class.
    """
    num_classes, size = class_and_latent_sizes(factory, "m2")
    q_y = build_classifier(factory, classifier, num_classes, dropout, augment)
    trunk = factory.conditional(factory.shape, Deterministic((hidden_units,)), 0)
    likelihood = factory.likelihood(factory.shape)
    q_y.net, trunk.net = likelihood.input_net(q_y.net), likelihood.input_net(trunk.net)
    decoder = factory.conditional((size,), likelihood, num_classes)
    encoder = build_class_encoder(hidden_units, Gaussian((size,)), num_classes)
    return M2(q_y, ClassConditionalVAE(trunk, encoder, decoder, num_classes))


def class_and_latent_sizes(factory: PartFactory, name: str) -> tuple[int, int]:
    """Return the number of classes and the number of latent dimensions.

    Raises:
        VariedError: If there are fewer than two classes, or the latent variable is not a vector.
    """
    if factory.context < 2:
        raise VariedError(
            f"architecture='{name}' requires labels of at least two classes; pass labels, or use "
            "architecture='vae'."
        )
    if len(factory.latent_shape) != 1:
        raise VariedError(
            f"architecture='{name}' requires a latent vector; specify its size, such as latent=32."
        )
    return factory.context, factory.latent_shape[0]


def build_class_encoder(units: int, head: Head, num_classes: int) -> ConditionalDistribution:
    """Return q(z | features, y), with a single hidden layer, since it runs once per class."""

    def net(shape: Shape) -> nn.Module:
        return nn.Sequential(nn.SiLU(), mlp(shape, head.param_shape, width=units, depth=1))

    return ConditionalDistribution(with_context(net, (units,), num_classes), head, (units,))
