"""The server of the studio: runs, uploads, training in other processes, events and the client."""

import asyncio
import io
import json
import os
import signal
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from asgi_requests import send
from PIL import Image
from quick_training import train_quickly
from test_studio_security import headers, request

from varied import Client
from varied.cli import main
from varied.cli.flags import split_settings
from varied.client import ClientError, to_example, to_value
from varied.spec import Spec
from varied.studio.app import create_app
from varied.studio.events import LogFollower
from varied.studio.generation import decode_together
from varied.studio.model_thread import ModelThread
from varied.studio.opened_run import OpenedRun, Services
from varied.studio.options import SWITCHES, list_models, list_options, to_flags
from varied.studio.schemas import DecodeRequest, DecodeResponse
from varied.studio.security import Access
from varied.studio.serving import Server
from varied.studio.trainings import Trainings
from varied.studio.uploads import Uploads
from varied.studio.workspace import Workspace, lock_holder
from varied.training import prepare

SECONDS = 60


def write_table(path, n=120):
    rng = np.random.default_rng(0)
    a = rng.normal(size=n)
    b = 2 * a + rng.normal(size=n) / 10
    lines = [f"{x:.3f},{y:.3f},{'u' if x > 0 else 'v'}" for x, y in zip(a, b, strict=True)]
    path.write_text("\n".join(["a,b,kind", *lines]))
    return path


def image_content(value=0, size=8):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wait_until(condition, seconds=SECONDS):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError("The condition did not become true.")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the run of a table."""
    root = tmp_path_factory.mktemp("root")
    write_table(root / "table.csv")
    train_quickly(root / "table.csv", out=root / "runs" / "a", steps=60, likelihood="table")
    return root


@pytest.fixture(scope="module")
def app(root):
    app = create_app(root, Access(8642))
    yield app
    app.state.studio.close()


@pytest.fixture(scope="module")
def client(root):
    """A client of a server in a thread."""
    started = threading.Event()
    server = Server(root, port=0, on_start=lambda access: started.set())
    thread = threading.Thread(target=server.serve_until_interrupt)
    thread.start()
    assert started.wait(SECONDS)
    yield Client(server.access.link)
    server.should_exit = True
    thread.join(SECONDS)
    assert not thread.is_alive()


# Runs


def test_runs_are_listed_with_their_metrics(client):
    (run,) = (run for run in client.runs() if run["name"] == "a")
    assert run["state"] == "finished" and run["parent"] == "runs" and run["data"] == "table"
    assert run["step"] == 60 and run["minus_elbo"] is not None and run["error"] is None
    details = client.run("a").details()
    assert details["columns"] == ["a", "b", "kind"] and details["kind"] == "row"
    assert {"sample", "decode", "map", "impute"} <= set(details["operations"])
    assert details["reasons"]["inpaint"] and "[plan]" in details["spec"]


def test_history_has_a_column_for_each_metric(client):
    history = client.run("a").history()
    columns = history["columns"]
    assert set(columns["split"]) == {"train", "validation"}
    assert len({len(column) for column in columns.values()}) == 1
    assert history["total_steps"] == 60 and history["remaining_seconds"] is None


def test_ids_are_opaque_and_do_not_change(client, app):
    first = {run["name"]: run["id"] for run in client.runs()}
    second = {run["name"]: run["id"] for run in request(app, "GET", "/api/runs").json}
    assert first["a"] == second["a"] and len(first["a"]) == 12


def test_corrupted_runs_are_listed(root, client):
    folder = root / "runs" / "damaged"
    folder.mkdir()
    (folder / "spec.toml").write_text("format = 2\nlatent = 'x")
    (folder / "data.json").write_text("[")
    (folder / "metrics.jsonl").write_text('{"step": "x"}\n[1]\n')
    try:
        run = wait_until(lambda: next((r for r in client.runs() if r["name"] == "damaged"), None))
        assert run["state"] == "corrupted"
        details = client.run("damaged").details()
        assert not details["operations"] and details["reasons"]["sample"].endswith(".")
        assert client.run("damaged").history()["total_steps"] is None
    finally:
        for path in folder.iterdir():
            path.unlink()


def test_figures_are_served_by_name(root, app):
    (root / "runs" / "a" / "loss.png").write_bytes(image_content())
    id = next(run["id"] for run in request(app, "GET", "/api/runs").json if run["name"] == "a")
    assert request(app, "GET", f"/api/runs/{id}").json["figures"] == ["loss.png"]
    answer = request(app, "GET", f"/api/runs/{id}/figures/loss.png")
    assert answer.header("content-type") == "image/png" and answer.content == image_content()
    assert request(app, "GET", f"/api/runs/{id}/figures/data.json").status == 404


# Events


def test_events_resume_after_the_last_row(client):
    run = client.run("a")
    events = run.events()
    rows = [next(events) for _ in range(4)]
    assert {name for name, _ in rows} == {"metrics"}
    stream = client.stream(f"{run.path}/events", last_id=3)
    assert next(stream) == rows[3]
    names = []
    while not {"state", "figures"} <= set(names):
        name, value = next(stream)
        names.append(name)
        if name == "state":
            assert value["id"] == run.id
    assert "reset" not in names


def test_events_follow_a_log_that_grows_and_starts_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    follower = LogFollower(path)
    assert follower.read() == (False, [])
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert follower.read() == (False, [(1, {"step": 1}), (2, {"step": 2})])
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert follower.read() == (False, [(3, {"step": 3})])
    path.write_text('{"step": 1}\n')
    assert follower.read() == (True, [(1, {"step": 1})])
    other = tmp_path / "other"
    other.write_text('{"step": 5}\n')
    other.replace(path)
    assert follower.read() == (True, [(1, {"step": 5})])


# Operations


def test_the_client_has_the_operations_of_a_run(client):
    run = client.run("a")
    rows = run.sample(3, seed=1)
    assert [set(row) for row in rows] == [{"a", "b", "kind"}] * 3
    assert run.sample(3, seed=1) == rows
    codes = run.encode([0, 1, 2])
    assert codes.mean.shape == codes.std.shape and len(codes.mean) == 3 and not codes.errors
    assert len(run.decode(codes.mean)) == 3
    original, reconstruction = run.reconstruct([0])[0]
    assert set(original) == set(reconstruction)
    again = run.encode([original])
    assert np.allclose(again.mean, codes.mean[:1], atol=1e-4)
    assert [len(row) for row in run.interpolate([0, 1], steps=5)] == [5]
    assert len(run.detect()["results"]) == 12
    assert run.impute([{"a": 1.0, "b": None, "kind": "u"}])["rows"][0]["b"] is not None


def test_each_invalid_example_has_its_own_error(client):
    codes = client.run("a").encode([{"a": 1.0, "b": 2.0, "kind": "u"}, {"a": "x", "b": 1}])
    assert list(codes.errors) == [1] and np.isnan(codes.mean[1]).all()
    assert np.isfinite(codes.mean[0]).all()


def test_client_errors_are_one_sentence(client, tmp_path):
    run = client.run("a")
    with pytest.raises(ClientError, match=r"n: Input should be greater") as error:
        run.sample(0)
    assert error.value.kind == "invalid" and error.value.fields == ("n",)
    with pytest.raises(ClientError, match="There is no run 'zzz'"):
        client.run("zzz")
    with pytest.raises(ClientError, match="token is missing or wrong"):
        Client(client.address, "wrong").runs()
    with pytest.raises(ClientError, match="does not answer"):
        Client("http://127.0.0.1:9/?token=x").runs()
    with pytest.raises(ClientError, match="begins with http"):
        Client("ftp://127.0.0.1")
    path = tmp_path / "text.csv"
    path.write_text("")
    with pytest.raises(ClientError, match=r"text\.csv"):
        client.upload(path)


def test_examples_of_the_client():
    image = Image.new("L", (4, 3), 7)
    assert np.array_equal(np.asarray(to_value(to_example(image))), np.asarray(image))
    array = np.array([[1.5, np.nan], [0.0, 2.0]])
    assert np.array_equal(to_value(to_example(array)), array, equal_nan=True)
    for value in ("CCO", b"RIFF", {"a": 1, "b": None}):
        assert to_value(to_example(value)) == value


def test_decode_requests_that_wait_are_answered_together(root):
    workspace, sizes, release = Workspace(root), [], threading.Event()

    def decode(opened, requests):
        sizes.append(len(requests))
        return [
            DecodeResponse(
                results=[{"example": None, "error": str(z[0])} for z in r.z], is_outside=None
            )
            for r in requests
        ]

    models = ModelThread(workspace.find, Services(), decode)
    id = next(iter(workspace.folders()))
    models.call(id, lambda opened: release.wait(SECONDS))

    async def decode_all():
        tasks = [
            asyncio.create_task(models.decode_soon(id, DecodeRequest(z=[[i]] * (i % 3 + 1))))
            for i in range(9)
        ]
        await asyncio.sleep(0.1)
        release.set()
        return await asyncio.gather(*tasks)

    for i, response in enumerate(asyncio.run(decode_all())):
        assert [result.error for result in response.results] == [str(float(i))] * (i % 3 + 1)
    assert sizes == [9]
    models.close()
    assert models.call(id, lambda opened: 1).cancelled()


def test_what_requests_need_is_computed_while_none_waits(root):
    workspace = Workspace(root)
    models = ModelThread(workspace.find, Services(), decode_together)
    opened = models.call(next(iter(workspace.folders())), lambda opened: opened).result(SECONDS)
    names = set(OpenedRun.PREPARED) - {"unit_scale"}  # this run has no active unit
    assert wait_until(lambda: names <= opened.__dict__.keys())
    models.close()


def test_many_clients_get_the_same_results_as_one(client):
    run = client.run("a")
    dim = run.details()["latent_dim"]
    codes = np.random.default_rng(0).normal(size=(24, dim))
    alone = [run.call("decode", z=[z.tolist()])["results"] for z in codes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda z: run.call("decode", z=[z.tolist()])["results"], codes))
    assert together == alone


# Uploads


def upload(app, *files, boundary="x1"):
    """Upload pairs of names and contents, and return the answer."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename='
    parts = [f'{head}"{name}"\r\n\r\n'.encode() + content + b"\r\n" for name, content in files]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return send(app, "POST", "/api/uploads", headers(app, **kind), body)


def test_uploads_are_read_and_previewed(app, root, tmp_path):
    answer = upload(app, ("../../my table.csv", (root / "table.csv").read_bytes()))
    assert answer.status == 200
    result = answer.json
    assert result["name"] == "my table.csv" and result["n"] == 120 and result["kind"] == "table"
    assert result["columns"] == ["a", "b", "kind"] and len(result["preview"]) == 12
    assert [p.name for p in (root / "uploads" / result["id"]).iterdir() if "data" in p.name] == [
        "data.csv"
    ]
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).normal(size=(30, 4)))
    array = upload(app, ("x.npy", buffer.getvalue())).json
    assert array["shape"] == [4] and array["preview"][0]["kind"] == "array"


def test_several_files_keep_their_folders_as_labels(app, root):
    files = [(f"pets/{'cat' if i % 2 else 'dog'}/{i}.png", image_content(i)) for i in range(12)]
    result = upload(app, *files, ("pets/dog/bad.png", b"no image"), ("pets/a.txt", b"x")).json
    assert result["kind"] == "image" and result["n"] == 12 and result["name"] == "pets"
    assert result["labels"] == ["cat", "dog"] and "bad.png" in result["problems"][0]
    assert result["preview"][0]["image"].startswith("data:image/png;base64,")
    stored = root / "uploads" / result["id"] / "data.zip"
    assert len(zipfile.ZipFile(stored).namelist()) == 14
    same = [("a.png", image_content(i)) for i in range(3)]
    assert upload(app, *same).json["n"] == 3


def hostile_files():
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside.png", image_content())
        archive.writestr("/etc/outside.png", image_content())
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': "
    large = (header + b"(10000000000, 1000)}").ljust(127) + b"\n"
    return {
        "slip.zip": bomb.getvalue(),
        "objects.npy": objects.getvalue(),
        "large.npy": large,
        "a.pkl": b"cos\nsystem\n(S'touch /tmp/hacked'\ntR.",
        "table.xlsx": b"PK\x03\x04",
        "empty.csv": b"",
        "empty.zip": b"PK\x05\x06" + b"\0" * 18,
        "noise.png": os.urandom(200),
        "noise": os.urandom(200),
        "image.svg": b"<svg onload='alert(1)'/>",
        "null\x00.csv": b"",
    }


@pytest.mark.parametrize("name", hostile_files())
def test_hostile_uploads_are_refused_and_removed(app, root, tmp_path, name):
    before = sorted((root / "uploads").glob("*")) if (root / "uploads").is_dir() else []
    answer = upload(app, (name, hostile_files()[name]))
    assert answer.status in (400, 422)
    message = answer.json["error"]["message"]
    assert str(root) not in message and message.endswith((".", "?"))
    assert sorted((root / "uploads").glob("*")) == before
    assert not list(root.parent.glob("outside*"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x1--\r\n",
        b"--x1\r\n\r\nabc\r\n--x1--\r\n",
        b'--x1\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na,b\r\n',
        b"no boundary",
        b"--x1\r\n" + b"A: b\r\n" * 1000 + b"\r\n\r\n--x1--\r\n",
        b'--x1\r\nContent-Disposition: form-data; name="b"; filename="a"\r\n\r\n1\r\n--x1--\r\n',
    ],
)
def test_malformed_multipart_bodies_are_refused(app, body):
    given = headers(app, **{"content-type": "multipart/form-data; boundary=x1"})
    answer = send(app, "POST", "/api/uploads", given, body)
    assert answer.status == 400 and "malformed" in answer.json["error"]["message"]
    for kind in ("multipart/form-data", "text/plain", "multipart/form-data; boundary="):
        given = headers(app, **{"content-type": kind})
        assert send(app, "POST", "/api/uploads", given, body).status == 400


# Options


def test_options_are_flags_of_the_command():
    from typer.main import get_command

    from varied.cli.app import app as command

    declared = get_command(command).commands["train"].params
    names = {name for param in declared for name in param.opts}
    switches = {p.name for p in declared if p.param_type_name == "option" and p.is_flag}
    assert set(SWITCHES) <= switches
    for model in list_models():
        values = {option.name: "1" for option in list_options(model.name)}
        assert len(values) == len(list_options(model.name))
        rest, settings = split_settings(to_flags(values), names)
        for word in rest:
            name, equals, _ = word.partition("=")
            assert name in names and bool(equals) != (name[2:] in SWITCHES)
        assert len(rest) + len(settings) == len(values)


def test_options_outside_of_the_tables_are_refused():
    names = ("import", "out", "spec", "processes", "engine", "json", "x", "--import", "")
    for name in (*names, "source", "dry_run", "net.width=3 --import"):
        with pytest.raises(ValueError, match="There is no option"):
            to_flags({name: "1"})
    assert to_flags({"labels": "--import=x.py"}) == ["--labels=--import=x.py"]
    with pytest.raises(ValueError, match="control characters"):
        to_flags({"labels": "a\x00b"})


# Training


@pytest.fixture
def training_root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = tmp_path / "root"
    root.mkdir()
    return root


def open_trainings(root):
    """Return the trainings of a server that has just started."""
    return Trainings(Workspace(root), Uploads(root / "uploads"))


def test_training_is_started_stopped_and_continued_across_servers(training_root, tmp_path):
    app = create_app(training_root, Access(8642))
    id = upload(app, ("Two columns!.csv", write_table(tmp_path / "t.csv").read_bytes())).json["id"]
    options = {"epochs": 100_000, "net.width": 16, "threads": 1, "precision": "float32"}
    options |= {"compile": "no"}
    new = {"upload": id, "model": "vae", "options": {**options, "likelihood": "table"}}
    answer = request(app, "POST", "/api/runs", json.dumps(new).encode())
    assert answer.status == 202
    wrong = {"upload": id, "options": {"labels": "absent"}, "name": "wrong"}
    failing = request(app, "POST", "/api/runs", json.dumps(wrong).encode()).json["id"]
    run = f"/api/runs/{answer.json['id']}"
    starting = request(app, "GET", run).json
    assert (starting["name"], starting["state"]) == ("two-columns-vae-01", "training")
    folder = training_root / "runs" / "two-columns-vae-01"
    wait_until(lambda: (request(app, "GET", run).json["step"] or 0) > 0)
    assert request(app, "POST", f"{run}/continue").status == 409
    assert request(app, "GET", f"{run}/history").json["remaining_seconds"] > 0

    error = wait_until(lambda: request(app, "GET", f"/api/runs/{failing}").json["error"])
    assert "no column 'absent'" in error and str(training_root) not in error

    stopped = request(app, "POST", f"{run}/stop").json
    assert stopped["state"] == "training"  # until the checkpoint is saved
    wait_until(lambda: request(app, "GET", run).json["state"] == "stopped")
    app.state.studio.close()
    (checkpoint,) = (folder / "checkpoints").glob("*.safetensors")

    second = open_trainings(training_root)  # a server that has just started
    (found_again,) = second.list_runs()
    assert found_again.state == "stopped" and found_again.data == "Two columns!.csv"
    assert second.resume(found_again.id).state == "training"
    wait_until(lambda: lock_holder(folder))

    third = open_trainings(training_root)  # which has not started the process
    assert third.summarize(found_again.id).state == "training"
    wait_until(lambda: (third.summarize(found_again.id).step or 0) > int(checkpoint.stem))
    third.stop(found_again.id)
    wait_until(lambda: third.summarize(found_again.id).state == "stopped")
    process = second._trainings[found_again.id].process
    assert process.wait(SECONDS) == 128 + signal.SIGINT
    steps = [int(path.stem) for path in (folder / "checkpoints").glob("*.safetensors")]
    assert max(steps) > int(checkpoint.stem)


def test_runs_of_the_command_line_continue_with_their_spec(training_root, monkeypatch):
    table = write_table(training_root / "table.csv")
    folder = train_quickly(table, "beta-vae", out=training_root / "run", steps=3).folder
    (folder / "model.safetensors").unlink()
    trainings, commands = open_trainings(training_root), []
    monkeypatch.setattr(trainings, "_launch", lambda folder, words: commands.append(words))
    (run,) = trainings.list_runs()
    assert run.state == "stopped"
    trainings.resume(run.id)
    (words,) = commands
    assert words == [str(table), f"--spec={folder / 'spec.toml'}"]
    job = prepare(table, Spec.from_toml((folder / "spec.toml").read_text()), out=folder)
    assert job.store.folder == folder and job.state.step == 3


def test_requests_that_were_changed_are_not_executed(training_root, tmp_path, monkeypatch):
    app = create_app(training_root, Access(8642))
    id = upload(app, ("t.csv", write_table(tmp_path / "t.csv").read_bytes())).json["id"]
    folder = training_root / "uploads" / id
    train_quickly(folder / "data.csv", out=training_root / "runs" / "r", steps=2)
    (training_root / "runs" / "r" / "model.safetensors").unlink()
    trainings, commands = app.state.studio.trainings, []
    monkeypatch.setattr(trainings, "_launch", lambda folder, words: commands.append(words))
    for stored in ({"options": {"import": "x.py"}, "upload": id}, {"upload": "../x"}, "--import=x"):
        (folder / "runs.json").write_text(json.dumps({"runs/r": stored}))
        run = next(run.id for run in trainings.list_runs() if run.name == "r")
        try:
            trainings.resume(run)
        except ValueError as error:
            assert "There is no option 'import'" in str(error)
    assert all(words[1].startswith("--spec=") for words in commands)
    (folder / "runs.json").write_text("{}")
    metadata = training_root / "runs" / "r" / "data.json"
    for source in ("--import=x.py", "table.csv", "/absent.csv"):
        values = json.loads(metadata.read_text()) | {"source": source}
        metadata.write_text(json.dumps(values))
        with pytest.raises(ValueError, match="not available on this machine"):
            trainings.resume(run)
    app.state.studio.close()


def test_a_stale_lock_is_not_a_training(tmp_path):
    (tmp_path / ".lock").write_text("process 999999999 on here, since 2026-01-01 00:00:00")
    assert lock_holder(tmp_path) is None
    import platform

    text = f"process {os.getpid()} on {platform.node()}, since 2026-01-01 00:00:00"
    (tmp_path / ".lock").write_text(text)
    assert lock_holder(tmp_path) is None  # the process lives, but does not hold the lock


# One run


def test_one_run_is_served_without_changes(root):
    app = create_app(root, Access(8642), root / "runs" / "a")
    about = request(app, "GET", "/api/about").json
    assert about["is_single_run"] and about["root"] == "a"
    (run,) = request(app, "GET", "/api/runs").json
    paths = request(app, "GET", "/api/openapi.json").json["paths"]
    for name in ("sample", "encode", "decode", "interpolate", "attribute", "map/decode"):
        content = paths[f"/api/runs/{{id}}/{name}"]["post"]["requestBody"]["content"]
        example = content["application/json"]["examples"]["example"]["value"]
        path, body = f"/api/runs/{run['id']}/{name}", json.dumps(example).encode()
        assert request(app, "POST", path, body).status == 200
    new = json.dumps({"upload": "0123456789abcdef"}).encode()
    for path, body in (
        ("/api/runs", new),
        ("/api/estimate", new),
        (f"/api/runs/{run['id']}/stop", b""),
        (f"/api/runs/{run['id']}/continue", b""),
    ):
        assert request(app, "POST", path, body).status == 403
    result = upload(app, ("t.csv", (root / "table.csv").read_bytes())).json
    source = json.dumps({"source": {"upload": result["id"]}}).encode()
    answer = request(app, "POST", f"/api/runs/{run['id']}/encode", source)
    assert answer.status == 200 and len(answer.json["results"]) == 120
    assert not (root / "uploads" / result["id"]).exists()
    app.state.studio.close()


def test_every_status_is_declared(app):
    document = request(app, "GET", "/api/openapi.json").json
    for path, methods in document["paths"].items():
        for method in methods.values():
            assert {"400", "401", "403", "404", "413", "422"} <= method["responses"].keys(), path
    assert document["info"]["title"] == "Varied"
    assert request(app, "PUT", "/api/runs").header("allow") == "GET, POST"


def test_the_commands_explain_invalid_arguments(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["studio", "absent"]) == 2
    assert "There is no folder absent" in capsys.readouterr().err
    assert main(["studio", "--host", "0.0.0.0", "--no-open"]) == 2
    assert "no name of its own" in capsys.readouterr().err
    assert main(["serve", "absent"]) == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["studio"]) == 2
    assert 'pip install "varied[studio]"' in capsys.readouterr().err
