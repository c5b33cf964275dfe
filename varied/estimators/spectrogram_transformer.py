"""Conversion of recordings to spectrograms, so that estimators can be fitted to them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from varied.data.codecs.sounds import SoundCodec


class SpectrogramTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Conversion of recordings to standardized log-mel spectrograms.

    Recordings are converted to a common loudness and duration as in `varied.train`. Each recording
    becomes a row with 64 values, one per frequency band, for each frame of 10 ms. A pipeline that
    starts with this transformer accepts lists of recordings.

    Arguments:
        sample_rate: The sample rate in Hz.
        seconds: The duration to which recordings are cut or padded with silence; by default, the
            95th percentile of the durations, but at most 4 seconds.

    Attributes:
        codec_: The conversion, a `varied.data.codecs.sounds.SoundCodec`.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from varied.estimators import VAETransformer
        >>> time = np.arange(1200) / 8000
        >>> waves = [np.sin(2 * np.pi * hertz * time[: 2 * hertz]) for hertz in range(400, 600, 10)]
        >>> vae = VAETransformer(2, likelihood="gaussian", categorical_features=[], steps=20)
        >>> pipeline = make_pipeline(SpectrogramTransformer(8000), vae).fit(waves)
        >>> pipeline.transform(waves).shape
        (20, 2)
    """

    def __init__(self, sample_rate: int, seconds: float | None = None) -> None:
        self.sample_rate = sample_rate
        self.seconds = seconds

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the mean and scale of each band; ``y`` is ignored.

        X is a list of arrays with shape (T), or (T, C) for several channels.

        Raises:
            VariedError: If a recording is not an array of real numbers, is silent, or contains NaN
                or infinity, or an argument is invalid.
        """
        options = {"sample_rate": self.sample_rate, "seconds": self.seconds}
        self.codec_ = SoundCodec.fit(SoundCodec.from_memory(X, **options))
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Return spectrograms with shape (N, 64 * frames).

        Raises:
            VariedError: As in `fit`.
        """
        check_is_fitted(self)
        options = {"sample_rate": self.sample_rate, "seconds": self.codec_.seconds}
        spectrograms = self.codec_.encode(SoundCodec.from_memory(X, **options))
        rows: npt.NDArray[np.float32] = spectrograms.flatten(1).numpy()
        return rows

    def inverse_transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Return recordings with shape (N, T) for spectrograms with shape (N, 64 * frames)."""
        check_is_fitted(self)
        rows = torch.from_numpy(np.asarray(X, np.float32))
        return self.codec_.decode(rows.unflatten(1, self.codec_.shape))
