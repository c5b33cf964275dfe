"""The variational autoencoder, its nets, its conditional form, and its neighbors."""

from __future__ import annotations

from varied.zoo.entry import Entry

__all__ = ["PLAIN"]

_VAE = "Auto-Encoding Variational Bayes (Kingma & Welling)"
_VAE_LINK = "https://arxiv.org/abs/1312.6114"

PLAIN: dict[str, Entry] = {
    "vae": Entry(
        "Variational autoencoder",
        _VAE,
        2013,
        _VAE_LINK,
        "anything; the net is chosen to suit the data",
        "digits: test -ELBO of 92 nats or better in a minute on two cores",
    ),
    "mlp-vae": Entry(
        "Linear VAE (fully connected layers)",
        _VAE,
        2013,
        _VAE_LINK,
        "small pictures, tables, series",
        "digits: test -ELBO of 92 nats or better in a minute on two cores",
        {"net": "mlp"},
    ),
    "conv-vae": Entry(
        "Convolutional VAE",
        "Deep Convolutional Inverse Graphics Network (Kulkarni et al.)",
        2015,
        "https://arxiv.org/abs/1503.03167",
        "pictures of any size",
        "digits, 45 s on one thread: -ELBO 109 after 3 epochs; it wants more of them",
        {"net": "conv"},
    ),
    "resnet-vae": Entry(
        "Residual VAE",
        "Identity Mappings in Deep Residual Networks (He et al.)",
        2016,
        "https://arxiv.org/abs/1603.05027",
        "larger pictures, longer runs",
        "digits, 45 s on one thread: a fifth of an epoch; for longer runs",
        {"net": "resnet"},
    ),
    "beta-vae": Entry(
        "beta-VAE",
        "beta-VAE: Learning Basic Visual Concepts (Higgins et al.)",
        2017,
        "https://openreview.net/forum?id=Sy2fzU9gl",
        "order in the latent space (beta above 1) or sharpness (below 1)",
        "digits, half a minute: 7 active units at beta 4, 28 at 0.25, 16 at 1",
        {"objective": {"name": "elbo", "beta": 4.0}},
    ),
    "annealed-vae": Entry(
        "VAE with KL annealing",
        "Generating Sentences from a Continuous Space (Bowman et al.)",
        2015,
        "https://arxiv.org/abs/1511.06349",
        "posteriors that collapse",
        "digits, 20 epochs: 20 active units, 12 without the rise",
        {"objective": {"name": "elbo", "beta": "linear(0, 1, steps=2000)"}},
    ),
    "cyclical-vae": Entry(
        "VAE with cyclical KL annealing",
        "Cyclical Annealing Schedule (Fu et al.)",
        2019,
        "https://arxiv.org/abs/1903.10145",
        "posteriors that collapse",
        "digits, 45 s on one thread: 18 active units, 15 without; -ELBO 92.2 for 92.7",
        {"objective": {"name": "elbo", "beta": "cyclical(0, 1, steps=8000, cycles=4)"}},
    ),
    "free-bits-vae": Entry(
        "VAE with free bits",
        "Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al.)",
        2016,
        "https://arxiv.org/abs/1606.04934",
        "posteriors that collapse",
        "digits, 45 s on one thread: all of 32 units active, 15 without; -ELBO 94.2",
        {"objective": {"name": "elbo", "free_bits": 0.25}},
    ),
    "conditional-vae": Entry(
        "Conditional VAE",
        "Learning Structured Output Representation (Sohn et al.)",
        2015,
        "https://papers.nips.cc/paper/5775",
        "data with labels or numbers to generate by",
        "digits: test -ELBO of 88 nats in a minute, 3 below the plain VAE's",
        conditional=True,
    ),
    "linear-vae": Entry(
        "Linear maps: probabilistic PCA",
        "Probabilistic Principal Component Analysis (Tipping & Bishop)",
        1999,
        "https://doi.org/10.1111/1467-9868.00196",
        "tables; a check of the whole machine against a closed form",
        "the optimum of the closed form within 0.001 nats a dimension",
        {"net": {"name": "mlp", "depth": 0}, "likelihood": "gaussian"},
    ),
    "autoencoder": Entry(
        "Autoencoder",
        "Reducing the Dimensionality of Data with Neural Networks (Hinton & Salakhutdinov)",
        2006,
        "https://doi.org/10.1126/science.1127647",
        "compression, or a baseline; it has no density to sample from",
        "digits, half a minute: 44 nats of reconstruction, a VAE 72",
        {"posterior": "deterministic", "objective": "reconstruction"},
    ),
}
