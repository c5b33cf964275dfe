"""Recordings of tones that tests train on."""

import numpy as np
import soundfile

RATE = 8000


def tone(hertz, seconds=0.3, rate=RATE, amplitude=0.3):
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_tones(folder, rate=RATE, n=6):
    """Write low and high tones of two lengths, named after both."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, hertz in (("low", 300), ("high", 1200)):
        for length, seconds in (("long", 0.3), ("short", 0.2)):
            for i in range(n):
                wave = tone(hertz * 1.03**i, seconds, rate, 0.1 + 0.1 * i)
                soundfile.write(folder / f"{name}_{length}_{i}.wav", wave, rate)
    return folder


def pitch(wave, rate=RATE):
    """Return the frequency of the largest Fourier coefficient of each recording, in Hz."""
    return np.abs(np.fft.rfft(wave)).argmax(-1) * rate / wave.shape[-1]
