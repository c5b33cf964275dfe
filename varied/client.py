"""A client of the API of ``varied studio`` and ``varied serve``, with the verbs of `varied.Run`."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import numpy as np
import numpy.typing as npt

from varied.errors import VariedError

Array = npt.NDArray[Any]
Json = dict[str, Any]

#: The number of seconds after which a request fails, and between two questions about a job.
_TIMEOUT, _POLL_SECONDS = 300.0, 0.3
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ClientError(VariedError):
    """A request that a server refused or could not answer.

    Arguments:
        message: One sentence with the remedy.
        kind: The kind of error, such as "not-found", or "unreachable" without an answer.
        fields: The invalid fields of the request.
    """

    def __init__(self, message: str, kind: str = "failed", fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind, self.fields = kind, tuple(fields)


class Client:
    """A connection to ``varied studio`` or ``varied serve``.

    Arguments:
        link: The link that the command prints, such as ``http://127.0.0.1:8642/?token=...``.
        token: The token, if it is not in the link.

    Raises:
        ClientError: If the link is not a link to a server.

    Example:
        >>> client = Client("http://127.0.0.1:8642/?token=abc")
        >>> client
        Client('http://127.0.0.1:8642')
    """

    def __init__(self, link: str, token: str | None = None) -> None:
        parts = urlsplit(link)
        if parts.scheme != "http" or not parts.netloc:
            raise ClientError(
                "This is not the link that `varied studio` prints, which begins with http://; copy "
                "it again."
            )
        self.address = f"http://{parts.netloc}"
        self._token = token or parse_qs(parts.query).get("token", [""])[0]

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def runs(self) -> list[Json]:
        """Return a summary of each run, newest first."""
        runs: list[Json] = self.get("/api/runs")
        return runs

    def run(self, id: str | None = None) -> RemoteRun:
        """Return a run by its id or name; the newest trained one by default.

        Raises:
            ClientError: If there is no such run.
        """
        runs = self.runs()
        for run in runs:
            if run["id"] == id or run["name"] == id or (id is None and run["state"] == "finished"):
                return RemoteRun(self, run["id"])
        names = ", ".join(run["name"] for run in runs[:10]) or "none"
        what = "trained run" if id is None else f"run '{id}'"
        raise ClientError(f"There is no {what}; the runs are: {names}.", "not-found")

    def upload(self, *paths: str | Path) -> Json:
        """Upload the files of a dataset, and return what the server read.

        Raises:
            ClientError: If they cannot be read.
        """
        boundary, body = uuid.uuid4().hex, io.BytesIO()
        for path in map(Path, paths):
            name = path.name.translate({ord(c): quote(c) for c in '"\r\n'})
            head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
            body.write(f"--{boundary}\r\n{head}".encode())
            body.write(path.read_bytes())
            body.write(b"\r\n")
        body.write(f"--{boundary}--\r\n".encode())
        kind = f"multipart/form-data; boundary={boundary}"
        return _as_object(json.loads(self._send("/api/uploads", body.getvalue(), kind)))

    def train(self, upload: str, model: str = "vae", **options: Any) -> RemoteRun:
        """Start a training run on uploaded data.

        Arguments:
            upload: The id of an upload.
            model: The name of a model.
            options: Options of ``varied train``, such as ``epochs=20``.
        """
        name = options.pop("name", None)
        body = {"upload": upload, "model": model, "options": options, "name": name}
        return RemoteRun(self, self.post("/api/runs", body)["id"])

    def wait(self, job: Json) -> Json:
        """Wait until a job ends, and return its result.

        Raises:
            ClientError: If it fails or is canceled.
        """
        while job["state"] == "running":
            time.sleep(_POLL_SECONDS)
            job = self.get(f"/api/jobs/{job['id']}")
        if job["state"] != "finished":
            raise ClientError(job["error"] or f"The job '{job['operation']}' was canceled.")
        return _as_object(job["result"] or {})

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at an address."""
        return json.loads(self.read(path, **query))

    def read(self, path: str, **query: Any) -> bytes:
        """Return the content at an address."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._send(f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: Json) -> Json:
        """Send JSON, and return the JSON of the response."""
        content = json.dumps(body, allow_nan=False).encode()
        return _as_object(json.loads(self._send(path, content, "application/json")))

    def stream(self, path: str, last_id: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield the name and the content of each event of a stream."""
        request = self._request(path, None, {"Last-Event-ID": str(last_id)})
        with self._open(request) as response:
            event = ""
            for line in response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)

    def _send(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        headers = {"Content-Type": kind} if kind else {}
        with self._open(self._request(path, body, headers)) as response:
            content: bytes = response.read()
            return content

    def _request(
        self, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> urllib.request.Request:
        authorization = {"Authorization": f"Bearer {self._token}"}
        return urllib.request.Request(self.address + path, body, {**authorization, **headers})

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return _OPENER.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            raise _to_error(error.read(), error.code) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ClientError(
                f"{self.address} does not answer ({reason}); start `varied studio`, and pass the "
                "link that it prints.",
                "unreachable",
            ) from None


def _as_object(value: Any) -> Json:
    result: Json = value
    return result


def _to_error(content: bytes, status: int) -> ClientError:
    try:
        problem = json.loads(content)["error"]
        return ClientError(problem["message"], problem["kind"], problem["fields"])
    except (ValueError, KeyError, TypeError):
        return ClientError(f"The server answered with status {status}; check the link.")


class Codes(NamedTuple):
    """The codes of examples.

    Arguments:
        mean: The posterior means, with shape (N, D); NaN for an example with an error.
        std: The posterior standard deviations, with shape (N, D).
        kl: The KL of each example, with shape (N).
        errors: The reason why each of the other examples cannot be encoded, by index.
    """

    mean: Array
    std: Array
    kl: Array
    errors: dict[int, str]


class RemoteRun:
    """A run on a server, with the operations of `varied.Run`.

    Images are returned as PIL images, rows of tables as dicts, arrays as NumPy arrays, recordings
    as WAV files in bytes, and molecules as SMILES. A source is a list of row numbers of the run's
    data (from 0), the path of a file, or a list of examples.

    Arguments:
        client: The connection.
        id: The id of the run.
    """

    def __init__(self, client: Client, id: str) -> None:
        self.client, self.id = client, id

    def __repr__(self) -> str:
        return f"RemoteRun({self.id!r})"

    @property
    def path(self) -> str:
        """The address of the run below the address of the server."""
        return f"/api/runs/{self.id}"

    def details(self) -> Json:
        """Return what is known about the run, and the operations that it supports."""
        return _as_object(self.client.get(self.path))

    def history(self) -> Json:
        """Return the log of the training as columns."""
        return _as_object(self.client.get(f"{self.path}/history"))

    def events(self, last_id: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield the live events of the training: their names and their contents."""
        return self.client.stream(f"{self.path}/events", last_id)

    def call(self, operation: str, **fields: Any) -> Json:
        """Perform an operation, and return the response as in /api/openapi.json.

        Raises:
            ClientError: If the operation fails.
        """
        return self.client.post(f"{self.path}/{operation}", fields)

    def sample(
        self, n: int = 16, *, label: Any = None, temperature: float = 1.0, seed: int = 0
    ) -> list[Any]:
        """Sample examples from the prior."""
        response = self.call("sample", n=n, label=label, temperature=temperature, seed=seed)
        return _to_values(response["results"])

    def decode(self, z: Any, *, label: Any = None) -> list[Any]:
        """Decode codes with shape (N, D)."""
        codes = np.atleast_2d(np.asarray(z, np.float64)).tolist()
        return _to_values(self.call("decode", z=codes, label=label)["results"])

    def encode(self, source: Any) -> Codes:
        """Encode examples."""
        results = self.call("encode", source=self.source(source))["results"]
        errors = {i: each["error"] for i, each in enumerate(results) if each["error"] is not None}
        dim = max((len(each["mean"] or ()) for each in results), default=0)
        blank = [np.nan] * dim
        mean, std = ([each[name] or blank for each in results] for name in ("mean", "std"))
        kl = [np.nan if each["kl"] is None else each["kl"] for each in results]
        return Codes(np.array(mean, float), np.array(std, float), np.array(kl, float), errors)

    def reconstruct(self, source: Any) -> list[tuple[Any, Any]]:
        """Return each example and its reconstruction."""
        results = self.call("reconstruct", source=self.source(source))["results"]
        return [(to_value(p["original"]), to_value(p["reconstruction"])) for p in results]

    def interpolate(self, source: Any, *, steps: int = 9, path: str = "linear") -> list[list[Any]]:
        """Interpolate between 2 examples, or on a grid between 4; return the rows."""
        response = self.call("interpolate", source=self.source(source), steps=steps, path=path)
        return [_to_values(row) for row in response["rows"]]

    def traverse(self, source: Any, *, dimensions: int = 10, steps: int = 9) -> Json:
        """Vary the latent units with the largest KL; ``rows`` contains the examples by unit."""
        fields = {"dimensions": dimensions, "steps": steps}
        response = self.call("traverse", source=self.source(source), **fields)
        return response | {"rows": [_to_values(row) for row in response["rows"]]}

    def attribute(
        self, name: str, positive: Sequence[int], negative: Sequence[int] | None = None
    ) -> Json:
        """Define an attribute by rows of the data; adding ``step`` to a code adds it."""
        fields = {"positive": list(positive), "negative": None if negative is None else [*negative]}
        response = self.call("attribute", name=name, **fields)
        return response | {"step": np.array(response["step"])}

    def detect(self, source: Any = None, *, max_fpr: float = 0.05) -> Json:
        """Return the anomaly scores of examples, highest first; of the test rows by default."""
        chosen = None if source is None else self.source(source)
        return self.call("detect", source=chosen, max_fpr=max_fpr)

    def impute(self, source: Any) -> Json:
        """Fill the missing cells of a table; the result contains the rows and the cells."""
        response = self.call("impute", source=self.source(source))
        return response | {"rows": [to_value(row) for row in response["rows"]]}

    def evaluate(self) -> Json:
        """Compute the metrics on the test rows, and wait for the result."""
        return self.client.wait(self.client.post(f"{self.path}/evaluate", {}))

    def stop(self) -> Json:
        """Stop the training, which saves a checkpoint."""
        return self.client.post(f"{self.path}/stop", {})

    def resume(self) -> Json:
        """Continue the training from its last checkpoint."""
        return self.client.post(f"{self.path}/continue", {})

    def source(self, source: Any) -> Json:
        """Return the source of a request: rows of the data, an upload, or examples."""
        if isinstance(source, Mapping) and source.keys() & {"rows", "upload", "examples"}:
            return dict(source)
        if isinstance(source, str | Path):
            return {"upload": self.client.upload(source)["id"]}
        if "to_dict" in dir(type(source)):  # a DataFrame
            source = source.to_dict("records")
        values = list(source)
        if values and all(isinstance(value, int | np.integer) for value in values):
            return {"rows": [int(value) for value in values]}
        return {"examples": [to_example(value) for value in values]}


def _to_values(results: list[Json]) -> list[Any]:
    """Return decoded examples.

    Raises:
        ClientError: If one of them could not be decoded.
    """
    for result in results:
        if result["error"] is not None:
            raise ClientError(result["error"])
    return [to_value(result["example"]) for result in results]


def to_value(example: Json | None) -> Any:
    """Return an example of a response as a PIL image, a dict, an array, bytes or a SMILES."""
    if example is None:
        return None
    kind = example["kind"]
    if kind == "row":
        return example["row"]
    if kind == "array":
        values = [np.nan if value is None else value for value in example["values"]]
        return np.array(values, np.float64).reshape(example["shape"])
    if kind == "molecule":
        return example["smiles"]
    content = base64.b64decode(example["image" if kind == "image" else "audio"].partition(",")[2])
    if kind == "sound":
        return content
    from PIL import Image

    return Image.open(io.BytesIO(content), formats=("PNG",))


def to_example(value: Any) -> Json:
    """Return a value as the example of a request; see `to_value`.

    Raises:
        ClientError: If it is not an example.
    """
    if isinstance(value, Mapping):
        if value.get("kind") in ("image", "row", "array", "sound", "molecule"):
            return dict(value)
        return {"kind": "row", "row": {str(k): _cell(v) for k, v in value.items()}}
    if isinstance(value, str):
        return {"kind": "molecule", "smiles": value}
    if isinstance(value, bytes):
        return {"kind": "sound", "audio": _data_url("audio/wav", value)}
    if "save" in dir(type(value)):  # a PIL image
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        return {"kind": "image", "image": _data_url("image/png", buffer.getvalue())}
    if "__array__" in dir(type(value)) or isinstance(value, list | tuple):
        array = np.asarray(value)
        if array.dtype == np.uint8 and array.ndim in (2, 3):
            from PIL import Image

            return to_example(Image.fromarray(array))
        numbers = [_cell(number) for number in array.astype(np.float64).ravel().tolist()]
        return {"kind": "array", "shape": list(array.shape), "values": numbers}
    raise ClientError(
        f"An object of type {type(value).__name__} is not an example; pass an image, a dict with "
        "the cells of a row, an array, bytes of a WAV file, or a SMILES."
    )


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    is_missing = value is None or value != value
    return None if is_missing else value if isinstance(value, str | int | float) else str(value)


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
