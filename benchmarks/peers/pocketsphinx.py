"""The speech recognizer PocketSphinx with its English model, in its own environment.

`python -m benchmarks.peers.pocketsphinx RECORDINGS WORDS` reads ``waves``, float32 at 16,000 Hz
with shape (N, T), and ``words`` from an ``.npz`` file, and writes an ``.npz`` file with ``words``:
the index of the word that is recognized in each recording, or -1. The grammar is a single word.
"""

from __future__ import annotations

import sys

import numpy as np
from pocketsphinx import Decoder, get_model_path

RATE, PAUSE_SECONDS = 16_000, 0.2


def main(recordings: str, words: str) -> None:
    with np.load(recordings) as arrays:
        waves, vocabulary = arrays["waves"], arrays["words"].tolist()
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        lm=None,
        loglevel="FATAL",
        cmn="batch",  # the normalization of a recording does not depend on earlier recordings
    )
    grammar = f"#JSGF V1.0; grammar words; public <word> = {' | '.join(vocabulary)};"
    decoder.add_jsgf_string("words", grammar)
    decoder.activate_search("words")
    pause = np.zeros(round(PAUSE_SECONDS * RATE), np.float32)
    recognized = []
    for wave in waves:
        padded = np.concatenate([pause, wave, pause]).clip(-1, 1)
        decoder.start_utt()
        decoder.process_raw((padded * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        result = decoder.hyp()
        is_known = result is not None and result.hypstr in vocabulary
        recognized.append(vocabulary.index(result.hypstr) if is_known else -1)
    np.savez(words, words=np.array(recognized))


if __name__ == "__main__":
    main(*sys.argv[1:])
