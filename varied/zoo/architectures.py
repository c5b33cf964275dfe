"""Variants that are another structure: levels, codes, critics, classes."""

from __future__ import annotations

from varied.zoo.entry import Entry

__all__ = ["STRUCTURED"]

#: What a critic sharpens: transposed convolutions leave ripples in it.
REPEATED = {"name": "conv", "upsample": "nearest"}

STRUCTURED: dict[str, Entry] = {
    "ladder-vae": Entry(
        "Ladder VAE",
        "Ladder Variational Autoencoders (Sønderby et al.)",
        2016,
        "https://arxiv.org/abs/1602.02282",
        "a better bound than one level gives",
        "digits, 16 epochs: -ELBO 91.0, a flat VAE of more parameters 93.9",
        {"architecture": {"name": "ladder", "levels": 5}, "net": "mlp", "latent": 16},
    ),
    "very-deep-vae": Entry(
        "Deep hierarchical VAE for pictures",
        "Very Deep VAEs Generalize Autoregressive Models (Child)",
        2021,
        "https://arxiv.org/abs/2011.10650",
        "pictures; the best bound there is, at the highest price",
        "digits, 45 s on one thread: a fifth of an epoch, -ELBO 165; it wants hours",
        {"architecture": {"name": "ladder", "levels": 8}, "net": "conv", "latent": 8},
    ),
    "vq-vae": Entry(
        "VQ-VAE",
        "Neural Discrete Representation Learning (van den Oord et al.)",
        2017,
        "https://arxiv.org/abs/1711.00937",
        "sharp copies, compression, tokens for another model",
        "digits, 6 epochs: all of 512 codes in use, Fréchet distance 67, "
        "with a prior of 11 minutes 47; a VAE's 137, 64 after 78 epochs",
        {"posterior": "vq", "prior": "transformer", "objective": "vq-vae"},
    ),
    "vq-vae-2": Entry(
        "VQ-VAE-2",
        "Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al.)",
        2019,
        "https://arxiv.org/abs/1906.00446",
        "larger pictures: shape and texture have codes of their own",
        "digits, 45 s on one thread: all of 512 codes in use, and digits among the samples",
        {
            "architecture": "vq-vae-2",
            "net": "conv",
            "posterior": "vq",
            "prior": "transformer",
            "objective": "vq-vae",
        },
    ),
    "fsq-vae": Entry(
        "VQ-VAE with finite scalar quantization",
        "Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al.)",
        2023,
        "https://arxiv.org/abs/2309.15505",
        "as VQ-VAE, and every code is used",
        "digits, 6 epochs: 97 % of 1,000 codes in use, Fréchet distance 74, a VAE's 137",
        {"posterior": "fsq", "prior": "transformer", "objective": "vq-vae"},
    ),
    "lfq-vae": Entry(
        "VQ-VAE with lookup-free quantization",
        "Language Model Beats Diffusion: Tokenizer is Key (Yu et al.)",
        2023,
        "https://arxiv.org/abs/2310.05737",
        "as VQ-VAE, with very large codebooks",
        "digits, 800 steps: all of 512 codes in use",
        {"posterior": "lfq", "prior": "transformer", "objective": "vq-vae"},
    ),
    "simvq-vae": Entry(
        "SimVQ",
        "Addressing Representation Collapse in Vector Quantized Models (Zhu et al.)",
        2024,
        "https://arxiv.org/abs/2411.02038",
        "as VQ-VAE, and every code is used",
        "digits, 6 epochs: 99.8 % of 512 codes in use, Fréchet distance 71, a VAE's 137",
        {"posterior": "simvq", "prior": "transformer", "objective": "vq-vae"},
    ),
    "residual-vq-vae": Entry(
        "VQ-VAE with residual codes",
        "Autoregressive Image Generation using Residual Quantization (Lee et al.)",
        2022,
        "https://arxiv.org/abs/2203.01941",
        "compression at a rate that you choose",
        "digits, 800 steps: all codes in use, at two depths",
        {"posterior": "residual-vq", "prior": "transformer", "objective": "vq-vae"},
    ),
    "vae-gan": Entry(
        "VAE-GAN",
        "Autoencoding beyond pixels using a learned similarity metric (Larsen et al.)",
        2016,
        "https://arxiv.org/abs/1512.09300",
        "sharp pictures; the modern form is steadier",
        "faces, 20 epochs: clean samples, copies 1.3 times as sharp as a VAE's; features 1, "
        "realism 0.5: 4.2 times, but mouths of samples break up",
        {"objective": "vae-gan", "net": REPEATED},
    ),
    "patchgan-vae": Entry(
        "VAE with a hinge critic",
        "Taming Transformers for High-Resolution Image Synthesis (Esser et al.)",
        2021,
        "https://arxiv.org/abs/2012.09841",
        "sharp pictures, and a critic that is kept in balance",
        "faces, 20 epochs: copies 6.0 times as sharp as a VAE's, squared error 1.12 times",
        {"objective": "patchgan", "net": REPEATED},
    ),
    "classifier-free-vae": Entry(
        "Conditional VAE that also samples without",
        "Classifier-Free Diffusion Guidance (Ho & Salimans)",
        2022,
        "https://arxiv.org/abs/2207.12598",
        "labeled data, of which some have no label",
        "digits, 45 s on one thread: -ELBO 90.8 given the label",
        {"architecture": {"name": "vae", "context_dropout": 0.1}},
        conditional=True,
    ),
    "m1": Entry(
        "M1: a VAE, and a classifier on its codes",
        "Semi-supervised Learning with Deep Generative Models (Kingma et al.)",
        2014,
        "https://arxiv.org/abs/1406.5298",
        "few labels, as a baseline",
        "digits, 100 labels, 45 s on one thread: 20 % error",
        {
            "architecture": {"name": "m1m2", "upper_latent": 0},
            "objective": {"name": "m1m2", "generative_weight": 0.0},
        },
        conditional=True,
    ),
    "m2": Entry(
        "M2: classes as part of the model",
        "Semi-supervised Learning with Deep Generative Models (Kingma et al.)",
        2014,
        "https://arxiv.org/abs/1406.5298",
        "few labels among many rows without",
        "digits, 100 labels, five draws: 3.0 % error with latent 6",
        {
            "architecture": {"name": "m2", "dropout": 0.5},
            "objective": {"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        },
        conditional=True,
    ),
    "m1m2": Entry(
        "M1+M2: M2 on the codes of M1",
        "Semi-supervised Learning with Deep Generative Models (Kingma et al.)",
        2014,
        "https://arxiv.org/abs/1406.5298",
        "few labels among many rows without",
        "digits, 100 labels, five draws: 4.4 % error",
        {
            "architecture": {"name": "m1m2", "joint": True, "upper_latent": 8, "dropout": 0.5},
            "objective": {"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        },
        conditional=True,
    ),
    "m1m2-stop-gradient": Entry(
        "M1+M2 with a stop-gradient between them",
        "Semi-supervised Learning with Deep Generative Models (Kingma et al.)",
        2014,
        "https://arxiv.org/abs/1406.5298",
        "few labels among many rows without",
        "digits, 100 labels, five draws: 3.4 % error; the paper has 3.3 %",
        {
            "architecture": {
                "name": "m1m2",
                "upper_latent": 6,
                "hidden_units": 256,
                "depth": 2,
                "dropout": 0.5,
            },
            "objective": {"name": "m1m2", "alpha": 5.0, "beta": 0.02},
        },
        conditional=True,
    ),
    "m1m2-skip": Entry(
        "M1+M2 whose decoder is told the class as well",
        "Auxiliary Deep Generative Models (Maaløe et al.)",
        2016,
        "https://arxiv.org/abs/1602.05473",
        "few labels among many rows without",
        "digits, 100 labels, five draws: 3.4 % error",
        {
            "architecture": {
                "name": "m1m2",
                "joint": True,
                "skip": True,
                "upper_latent": 8,
                "dropout": 0.5,
            },
            "objective": {"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        },
        conditional=True,
    ),
}
