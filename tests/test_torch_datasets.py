"""PyTorch datasets of tensors, arrays and images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from varied.data import read
from varied.errors import VariedError

rng = np.random.default_rng(0)
COLOR = rng.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
REAL = rng.normal(size=(12, 5))
TENSORS = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in COLOR]


class ListDataset(Dataset):
    """A dataset that wraps a list of rows."""

    def __init__(self, rows, classes=None):
        self.rows = rows
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class Stream(IterableDataset):
    """A dataset without a length."""

    def __iter__(self):
        return iter([])


def test_a_tensor_dataset_may_have_labels():
    x = torch.from_numpy(REAL)
    data = read(TensorDataset(x, torch.arange(12) % 3))
    assert data.x.shape == (12, 5)
    assert data.classes == ("0", "1", "2")
    assert read(TensorDataset(x)).labels is None
    assert read(TensorDataset(x, torch.arange(12)), labels=["a", "b"] * 6).classes == ("a", "b")


@pytest.mark.parametrize("label", [int, np.int64, torch.tensor])
def test_a_dataset_of_tensors_and_labels_as_in_torchvision(label):
    rows = [(x, label(i % 2)) for i, x in enumerate(TENSORS)]
    data = read(ListDataset(rows, ["cat", "dog"]))
    np.testing.assert_array_equal(data.x, COLOR)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1] * 6
    assert read(ListDataset(rows, ["cat", "dog"]), classes=["a", "b"]).classes == ("a", "b")
    assert read(ListDataset(rows), labels=[0.5] * 12).labels.dtype == np.float32
    assert read(ListDataset(rows, classes=2)).classes == ("0", "1")


@pytest.mark.parametrize(
    "rows",
    [
        [(Image.fromarray(x), 0) for x in COLOR],
        [Image.fromarray(x) for x in COLOR],
        [[x] for x in COLOR],
        TENSORS,
    ],
    ids=["images with labels", "images", "lists", "tensors"],
)
def test_a_dataset_of_images(rows):
    np.testing.assert_array_equal(read(ListDataset(rows)).x, COLOR)


def test_a_dataset_of_vectors():
    np.testing.assert_allclose(read(ListDataset(list(REAL))).x, REAL, rtol=1e-6)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (ListDataset([]), "The dataset is empty"),
        (
            ListDataset([torch.zeros(3)] * 5 + [torch.zeros(4)] * 9),
            r"Row 5 of the dataset has shape \(4,\), but row 0 has shape \(3,\)",
        ),
        (ListDataset([{"x": 1}] * 12), "Row 0 of the dataset has the type dict"),
        (Stream(), "has no length"),
    ],
)
def test_unsuitable_datasets_are_refused(dataset, message):
    with pytest.raises(VariedError, match=message):
        read(dataset)
