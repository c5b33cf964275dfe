"""Tests of recordings: reading, log-mel spectrograms and the codec."""

import sys
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from tones import RATE, pitch, tone, write_tones

from varied.data import RawData, fit_codec, open_codec, read, sound_files
from varied.data.name_labels import infer_pattern, match_labels
from varied.data.spectrograms import FLOOR, LOUDNESS, LogMel, mel_filters, normalize_loudness
from varied.errors import VariedError


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds") / "tones")


# Spectrograms


def test_mel_filters_match_their_definition():
    filters = mel_filters(8000, 256, 64).double()
    log_step = np.log(6.4) / 27
    top = 15 + np.log(4) / log_step
    mels = np.linspace(0, top, 66)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * log_step))
    for hertz in (250.0, 1000.0, 3000.0):
        column = filters[:, round(hertz / 31.25)].numpy()
        expected = [
            max(0.0, min((hertz - a) / (b - a), (c - hertz) / (c - b)))
            for a, b, c in zip(corners, corners[1:], corners[2:], strict=False)
        ]
        np.testing.assert_allclose(column, expected, atol=1e-6)


@pytest.mark.parametrize("rate", [4000, 8000, 16_000, 44_100, 48_000])
def test_no_mel_filter_is_empty(rate):
    mel = LogMel(rate, 16)
    assert (mel_filters(rate, mel.n_fft, 64).sum(1) > 0).all()
    assert mel(torch.zeros(1, mel.n_samples)).shape == (1, 64, 16)


def test_spectrogram_is_the_logarithm_of_filtered_magnitudes():
    mel = LogMel(RATE, 16)
    wave = torch.from_numpy(tone(500, mel.n_samples / RATE))
    frame = torch.nn.functional.pad(wave, (128, 128))[5 * mel.hop :][:256]
    magnitudes = torch.fft.rfft(frame * torch.hann_window(256)).abs() / 16
    expected = (1 + mel_filters(RATE, 256, 64) @ magnitudes / FLOOR).log()
    torch.testing.assert_close(mel(wave[None])[0, :, 5], expected, atol=1e-4, rtol=1e-4)


def test_inverse_restores_pitch_and_loudness():
    mel = LogMel(RATE, 32)
    waves = np.stack([tone(hertz, mel.n_samples / RATE, amplitude=0.14) for hertz in (300, 1200)])
    restored = mel.invert(mel(torch.from_numpy(waves)))
    assert torch.equal(restored, mel.invert(mel(torch.from_numpy(waves))))
    np.testing.assert_allclose(pitch(restored.numpy()), [300, 1200], rtol=0.05)
    decibels = 20 * np.log10(restored.numpy().std(1) / waves.std(1))
    assert np.abs(decibels).max() < 1


def test_loudness_does_not_depend_on_pauses():
    waves = torch.zeros(3, 2400)
    waves[0], waves[1, 800:1600] = torch.from_numpy(tone(500)), torch.from_numpy(tone(500, 0.1))
    equal = normalize_loudness(waves, RATE)
    assert equal[0].square().mean().sqrt().item() == pytest.approx(LOUDNESS)
    assert equal[1, 800:1600].square().mean().sqrt().item() == pytest.approx(LOUDNESS)
    assert not equal[2].any()


def test_errors_in_the_spectrogram_do_not_become_noise():
    mel = LogMel(RATE, 32)
    wave = torch.from_numpy(tone(500, mel.n_samples / RATE, amplitude=0.14))[None]
    x = mel(wave)
    noisy = x + 0.5 * x.std(2, keepdim=True) * torch.randn(x.shape, generator=torch.manual_seed(0))
    restored = mel.invert(noisy)[0].numpy()
    power = np.abs(np.fft.rfft(restored)) ** 2
    hertz = np.fft.rfftfreq(len(restored), 1 / RATE)
    assert power[np.abs(hertz - 500) < 150].sum() > 0.8 * power.sum()


# Reading


def test_a_folder_is_read_with_labels_from_its_file_names(tones):
    data = read(tones)
    assert data.kind == "sound"
    assert data.x.shape == (24, 2480)  # 32 frames of 10 ms
    assert data.dialect == {"rate": RATE}
    assert {name: c for name, (_, c) in data.covariates.items()} == {
        "field1": ("high", "low"),
        "field2": ("long", "short"),
    }
    assert "24 recordings of 0.31 s at 8,000 Hz" in data.notes[0]
    assert any("{field1}_{field2}_{index}" in note for note in data.notes)
    loud = [np.trim_zeros(row) for row in data.x]
    np.testing.assert_allclose([np.sqrt(np.mean(row**2)) for row in loud], LOUDNESS, rtol=0.02)


def test_a_zip_file_is_read_like_a_folder(tones, tmp_path):
    with zipfile.ZipFile(tmp_path / "tones.zip", "w") as archive:
        for file in tones.iterdir():
            archive.write(file, f"inner/{file.name}")
    labels = "{pitch}_{length}_{index}"
    zipped, folder = read(tmp_path / "tones.zip", labels=labels), read(tones, labels=labels)
    np.testing.assert_array_equal(zipped.x, folder.x)
    assert zipped.label_names == folder.label_names == ("pitch", "length")


def test_inner_folders_are_labels(tmp_path):
    for name, hertz in (("low", 300), ("high", 1200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            soundfile.write(tmp_path / name / f"{i}.flac", tone(hertz + i), RATE)
    assert read(tmp_path).classes == ("high", "low")


def test_recordings_are_converted_to_a_common_format(tmp_path):
    for i in range(10):
        soundfile.write(tmp_path / f"{i}.wav", tone(500), RATE)
    stereo = np.stack([tone(500, rate=44_100), tone(500, rate=44_100)], 1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 44_100, subtype="PCM_24")
    soundfile.write(tmp_path / "float.wav", tone(500, 0.2), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "long.ogg", tone(500, 2.0), RATE)
    quiet = np.concatenate([np.zeros(2000), tone(500), np.zeros(2000)])
    soundfile.write(tmp_path / "quiet.flac", quiet, RATE)
    data = read(tmp_path, seconds=0.31)
    assert data.x.shape == (14, 2480)
    np.testing.assert_allclose(pitch(data.x), 500, rtol=0.02)
    notes = " ".join(data.notes)
    assert "1 of 14 recordings was mixed down to mono." in notes
    assert "1 of 14 recordings was resampled to 8,000 Hz." in notes
    assert "1 of 14 recordings was trimmed" in notes
    assert "1 was cut, and 13 were padded" in notes


def test_waves_in_memory_are_converted_like_files(tones):
    files = sorted(tones.iterdir())
    waves = [soundfile.read(file)[0] for file in files]
    labels = [file.stem.split("_")[0] for file in files]
    data, expected = read(waves, kind="sound", sample_rate=RATE, labels=labels), read(tones)
    np.testing.assert_allclose(data.x, expected.x, atol=1e-6)
    integers = [np.round(wave * 32767).astype(np.int16) for wave in waves]
    from_integers = read(integers, kind="sound", sample_rate=RATE)
    np.testing.assert_allclose(from_integers.x, expected.x, atol=1e-3)
    assert data.dialect == expected.dialect
    assert data.classes == ("high", "low")
    stereo = [np.stack([wave, wave], 1) for wave in waves]
    assert read((stereo, labels), kind="sound", sample_rate=RATE, seconds=0.6).x.shape == (24, 5040)


@pytest.mark.parametrize(
    ("waves", "options", "message"),
    [
        ([], {"sample_rate": RATE}, "There are no recordings; pass at least one"),
        ([tone(500)], {}, "sample rate of these recordings is unknown; pass it"),
        ([tone(500)], {"sample_rate": 10}, "sample_rate=10 is not valid"),
        ([tone(500)], {"image_size": 8}, "image_size= is not an option of sound data"),
        ([tone(500), np.zeros(800)], {"sample_rate": RATE}, "Recording 1 .* silent; omit it"),
        ([np.zeros(0)], {"sample_rate": RATE}, "Recording 0 .* contains no samples; omit it"),
        ([np.full(80, np.nan)], {"sample_rate": RATE}, "Recording 0 .* NaN or infinity; omit it"),
        ([np.ones(80, bool)], {"sample_rate": RATE}, "Recording 0 must be .* got bool"),
    ],
)
def test_waves_that_cannot_be_used_are_one_sentence(waves, options, message):
    with pytest.raises(VariedError, match=message):
        read(waves, kind="sound", min_rows=1, **options)


def test_a_note_says_that_most_of_the_sound_is_not_used(tones, tmp_path):
    for i in range(10):
        soundfile.write(tmp_path / f"{i}.wav", tone(500 + i, 9.0), RATE)
    assert "55% of the sound is cut; split long" in " ".join(read(tmp_path).notes)
    assert "of the sound" not in " ".join(read(tones).notes)


def write_odd_files(folder):
    """Write one file of each kind that cannot be read, and return the reasons."""
    soundfile.write(folder / "silent.wav", np.zeros(3000), RATE)
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    nan = np.full(3000, np.nan, np.float32)
    soundfile.write(folder / "nan.wav", nan, RATE, subtype="FLOAT")
    soundfile.write(folder / "hours.flac", np.zeros(11 * 60 * 4000, np.int16), 4000)
    soundfile.write(folder / "slow.wav", tone(500), 10)
    soundfile.write(folder / "fast.wav", tone(500), 2_000_000_000)
    (folder / "corrupt.wav").write_bytes(b"RIFF\x10\0\0\0WAVEfmt ")
    (folder / "text.ogg").write_text("not a sound")
    return {
        "silent.wav": "it is silent",
        "empty.wav": "it contains no samples",
        "nan.wav": "it contains NaN or infinity",
        "hours.flac": "it lasts 11 minutes, more than the limit of 10 minutes; split it",
        "slow.wav": "its sample rate, 10 Hz, is not between 1,000 and 768,000 Hz",
        "fast.wav": "its sample rate, 2,000,000,000 Hz, is not between",
        "corrupt.wav": "it is corrupted or not in a supported format",
        "text.ogg": "it is corrupted or not in a supported format",
    }


def test_files_that_cannot_be_read_are_listed_with_the_reason(tmp_path):
    write_tones(tmp_path)
    expected = write_odd_files(tmp_path)
    data = read(tmp_path)
    assert len(data) == 24
    reasons = {problem.name: problem.reason for problem in data.problems}
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reasons[name].startswith(reason), name


def test_a_single_file_that_cannot_be_read_is_one_sentence(tmp_path):
    for name, reason in write_odd_files(tmp_path).items():
        with pytest.raises(VariedError, match=f"^{name} cannot be read: {reason}"):
            read(tmp_path / name)


def test_files_with_too_many_samples_are_listed(tones, monkeypatch):
    monkeypatch.setattr(sound_files, "_MAX_FILE_SAMPLES", 2000)
    data = read(tones)
    assert len(data) == len(data.problems) == 12
    assert (
        data.problems[0].reason
        == "it contains more than 2,000 samples; split it into shorter files"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 100}, "sample_rate=100 is not valid; use an integer between 4,000"),
        ({"sample_rate": 8000.5}, "sample_rate=8000.5 is not valid"),
        ({"seconds": 0}, "seconds=0 is not valid; use a number above 0"),
        ({"second": 1}, "second= is not an option of sound data: did you mean 'seconds'"),
        ({"labels": "{a}-{b}"}, r"does not match 24 of 24 file names, such as high_long_0\.wav"),
        ({"labels": "{index}_{}"}, "one or more different labels"),
    ],
)
def test_invalid_options_are_one_sentence(tones, options, message):
    with pytest.raises(VariedError, match=message):
        read(tones, **options)


def test_an_empty_folder_and_a_single_file(tones, tmp_path):
    with pytest.raises(VariedError, match=r"is empty; use one that contains .*recordings"):
        read(tmp_path)
    with pytest.raises(
        VariedError, match=r"There is 1 row, but .* use a folder with more recordings"
    ):
        read(tones / "low_long_0.wav")
    assert read(tones / "low_long_0.wav", min_rows=1).x.shape == (1, 2480)


def test_without_soundfile_the_error_names_the_extra(tones, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(
        VariedError, match=r"require soundfile; run `pip install 'varied\[sound\]'`"
    ):
        read(tones)


# Labels in file names


def test_a_pattern_may_include_folders_and_the_extension():
    names = ["a/jo_1.wav", "a/al_2.wav", "b/jo_3.wav"]
    labels = match_labels("{room}/{speaker}_{}.wav", names)
    assert labels["room"][1] == ("a", "b")
    assert labels["speaker"][0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (
            [f"{d}_{s}_{i}" for d in range(3) for s in "ab" for i in range(9)],
            "{field1}_{field2}_{index}",
        ),
        ([f"{s}_{i}" for s in ("cat", "dog") for i in range(20)], "{field1}_{index}"),
        ([f"take_{i}" for i in range(20)], ""),
        ([f"rec{i}" for i in range(20)], ""),
        (["a_b", "a_b_c"] * 10, ""),
    ],
)
def test_patterns_are_inferred(names, pattern):
    assert infer_pattern(names) == pattern


# The codec


def test_codec_round_trip_keeps_the_pitch(tones):
    data = read(tones)
    codec = fit_codec(data)
    x = codec.encode(data)
    assert x.shape == (24, 1, 64, 32)
    assert codec.shape == (1, 64, 32)
    assert torch.allclose(x.mean((0, 1, 3)), torch.zeros(64), atol=1e-4)
    decoded = codec.decode(x)
    np.testing.assert_allclose(pitch(decoded), pitch(data.x), rtol=0.06)
    normalized = normalize_loudness(torch.from_numpy(decoded), RATE)
    np.testing.assert_allclose(decoded, normalized, atol=1e-5)
    torch.testing.assert_close(codec.encode(3 * data.x), x, atol=1e-3, rtol=1e-3)
    assert open_codec(codec.to_json()) == codec
    images = codec.to_images(x)
    assert images.shape == (24, 64, 32, 3)
    assert images.dtype == np.uint8


def test_other_sample_rates_are_rejected_by_the_codec(tones):
    data = read(tones)
    codec = fit_codec(data)
    with pytest.raises(VariedError, match=r"read them with sample_rate=8000 and seconds=0\.31"):
        codec.encode(read(tones, sample_rate=16_000))
    with pytest.raises(VariedError, match="sample rate of these recordings is unknown"):
        fit_codec(data.replace(dialect={}))


def test_loud_recordings_are_not_clipped(tones, tmp_path):
    data = read(tones)
    codec = fit_codec(data)
    path = codec.save(np.stack([20 * data.x[0], data.x[0]]), tmp_path / "new")
    loud, _ = soundfile.read(path / "000.wav")
    assert 0.99 < np.abs(loud).max() < 1
    np.testing.assert_allclose(pitch(loud[None]), pitch(data.x[:1]))
    assert (path / "spectrograms.png").is_file()


def test_written_recordings_end_where_the_sound_ends(tones, tmp_path):
    data = read(tones, seconds=0.6)
    codec = fit_codec(data)
    decoded = codec.decode(codec.encode(data))
    folder = codec.save(decoded, tmp_path / "new")
    for i, name in enumerate(data.names):
        seconds = soundfile.info(folder / f"{i:03d}.wav").duration
        assert seconds == pytest.approx(0.4 if "long" in name else 0.3, abs=0.04)  # 2 x 50 ms
    assert np.load(codec.save(decoded, tmp_path / "new.npy")).shape == (24, 5040)
    again = read(folder, **codec.reading_options)
    assert again.x.shape == (24, 5040)
    np.testing.assert_allclose(pitch(again.x), pitch(decoded), rtol=0.02)


def test_silent_recordings_are_written_with_their_duration(tones, tmp_path):
    codec = fit_codec(read(tones))
    codec.save(np.zeros((1, 2480), np.float32), tmp_path / "new")
    assert soundfile.info(tmp_path / "new" / "000.wav").frames == 2480


def test_classes_with_the_same_folder_name_are_not_merged(tmp_path):
    waves = np.float32([np.sin(np.arange(1200) * f) for f in np.linspace(0.1, 0.9, 12)])
    data = RawData(waves, "sound", dialect={"rate": 8000}, labels=np.arange(12) % 2)
    codec = fit_codec(data.replace(classes=("a", "b")))
    with pytest.raises(VariedError, match=r"same folder name; save the recordings as \.npz"):
        codec.save_labeled(data.replace(classes=("a/b", "A:b")), tmp_path / "new")
    assert not (tmp_path / "new").exists()
