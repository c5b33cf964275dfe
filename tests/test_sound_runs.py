"""Tests of runs on recordings: samples, other results, resumed and updated runs."""

import numpy as np
import pytest
import soundfile
import torch
from quick_training import train_to_end
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from tones import RATE, pitch, tone, write_tones

import varied
from varied.data import read
from varied.errors import VariedError
from varied.estimators import SpectrogramTransformer, VAETransformer
from varied.training import prepare
from varied.training.update import prepare_update

LABELS = "{pitch}_{length}_{index}"


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds") / "tones")


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    """Return a conditional run on tones, labeled by pitch and length."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return train_small(tones, out, labels=LABELS, steps=200)


def train_small(source, out, **choices):
    return varied.train(
        source,
        model="conditional-vae",
        **{"net.width": 4, "net.dense_width": 16},
        latent=2,
        batch_size=8,
        beta=0.1,
        threads=1,
        out=out,
        progress=False,
        **choices,
    )


def test_samples_have_the_labels_that_were_requested(run, tmp_path):
    result = run.sample(4, label={"pitch": ["low", "high"], "length": "long"})
    assert result.array.shape == (4, 2480)
    low, high = pitch(result.array[0::2]), pitch(result.array[1::2])
    assert low.max() < 600 < high.min()
    folder = result.save(tmp_path / "new")
    files = sorted(file.name for file in folder.iterdir())
    assert files == ["000.wav", "001.wav", "002.wav", "003.wav", "spectrograms.png"]
    assert soundfile.info(folder / "000.wav").subtype == "PCM_16"


def test_other_recordings_are_converted_to_the_format_of_the_run(run, tmp_path):
    write_tones(tmp_path / "other", rate=16_000, n=2)
    opened = varied.Run(run.folder)
    result = opened.reconstruct(tmp_path / "other")
    assert result.array.shape == (2, 8, 2480)
    single = tmp_path / "other" / "low_long_0.wav"
    assert opened.reconstruct(single).array.shape == (2, 1, 2480)
    wave, rate = soundfile.read(result.save(tmp_path / "all.wav"))
    assert rate == RATE
    assert 16 * 2000 < len(wave) <= 16 * (2480 + 2000)


def test_lists_of_waves_are_converted_to_the_format_of_the_run(run, plain, tones):
    files = sorted(tones.iterdir())[:3]
    waves = [soundfile.read(file)[0] for file in files]
    expected = [plain.read(file).x[0] for file in files]
    torch.testing.assert_close(plain.encode(waves).mean, plain.encode(plain.read(waves)).mean)
    assert abs(plain.read(waves).x - expected).max() < 1e-6
    assert plain.detect(waves).score.shape == (3,)


def test_labeled_recordings_are_generated(tmp_path):
    folder = tmp_path / "tones"
    for name, hertz in (("low", 300), ("high", 1200)):
        write_tones(folder / name, n=2)
        soundfile.write(folder / name / "tone.wav", tone(hertz), RATE)
    run = train_small(folder, tmp_path / "run", steps=5)
    path = run.augment(per_class=2).save(tmp_path / "new")
    assert len(list(path.glob("low/*.wav"))) == len(list(path.glob("high/*.wav"))) == 2
    assert read(path, min_rows=1, **run.codec.reading_options).x.shape[1] == 2480


def test_interpolation_is_written_as_recordings(run, tmp_path):
    result = run.interpolate(steps=3)
    folder = result.save(tmp_path / "path")
    assert (folder / "000-002.wav").is_file()
    assert result.save(tmp_path / "path.png").is_file()


def test_the_report_plays_recordings(run):
    report = (run.folder / "report.html").read_text()
    assert report.count('src="data:audio/flac;base64,') == 3
    wave, _ = soundfile.read(run.folder / "samples.flac")
    assert 16 * 2000 < len(wave) <= 16 * (2480 + 2000)


def test_other_results_are_saved_in_their_default_format(run, tones, tmp_path):
    single = tones / "low_long_0.wav"
    for result in (run.neighbors(single), run.detect(tones), run.traverse()):
        ending = getattr(result, "default_ending", ".csv")
        assert result.save(tmp_path / f"{type(result).__name__}{ending}").exists()
    with pytest.raises(VariedError, match=r"'x\.mp3' .* file extension; use \.wav"):
        run.sample(2).save(tmp_path / "x.mp3")
    with pytest.raises(VariedError, match=r"supported for recordings; .* \.flac for recordings"):
        run.compress(tones)


def prepare_small(tones, out):
    options = {"net.width": 4, "net.dense_width": 16, "latent": 2, "batch_size": 8, "threads": 1}
    options |= {"precision": "float32", "compile": "no"}  # otherwise chosen by timing
    return prepare(tones, "vae", labels=LABELS, steps=30, out=out, **options)


@pytest.fixture(scope="module")
def plain(tones, tmp_path_factory):
    """Return a run that is not conditional on the labels of its recordings."""
    return train_to_end(prepare_small(tones, tmp_path_factory.mktemp("runs") / "plain"))


def test_interrupted_training_resumes_to_the_same_weights(plain, tones, tmp_path):
    job = prepare_small(tones, tmp_path / "run")
    for event in job.train():
        if event.state.step == 11:
            job.store.write_checkpoint(job.step, event.snapshot())
            break
    job = prepare_small(tones, tmp_path / "run")
    assert job.state.step == 11
    resumed, expected = train_to_end(job).model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in resumed.items())


def test_an_update_reads_labels_from_the_names_of_files(run, tones, tmp_path):
    other = write_tones(tmp_path / "other", rate=16_000, n=3)
    job = prepare_update(run, other, out=tmp_path / "new", steps=2)
    assert job.data.label_names == ("pitch", "length")
    updated = train_to_end(job)
    assert updated.codec == run.codec
    assert updated.sample(2, label={"pitch": "low"}).array.shape == (2, 2480)
    assert varied.Run(updated.folder).data.label_names == ("pitch", "length")


def test_labels_of_recordings_are_edited(plain, tones, tmp_path):
    result = plain.edit(tones, target="pitch: high", n=3)
    assert result.array.shape[0] == 3
    assert result.array.shape[-1] == 2480
    folder = result.save(tmp_path / "new")
    assert len(list(folder.glob("*.wav"))) == result.array.shape[0] * result.array.shape[1]


def test_estimators_take_lists_of_waves_in_a_pipeline():
    rng = np.random.default_rng(0)
    waves = [tone(400 + 4 * i, rng.uniform(0.1, 0.15)) for i in range(40)]
    spectrograms = SpectrogramTransformer(RATE, seconds=0.15)
    vae = VAETransformer(
        2, likelihood="gaussian", categorical_features=[], steps=150, random_state=0
    )
    pipeline = clone(make_pipeline(spectrograms, vae)).fit(waves)
    assert pipeline.transform(waves).shape == (40, 2)
    scores = pipeline.score_samples([waves[0], tone(2000, 0.15)])
    assert scores[0] > scores[1]
    restored = pipeline.inverse_transform(pipeline.transform(waves))
    assert restored.shape == (40, 1200)
    assert 350 < np.median(pitch(restored)) < 650
    with pytest.raises(VariedError, match=r"Recording 0 .* silent"):
        pipeline.transform([np.zeros(800)])
