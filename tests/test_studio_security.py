"""Attacks on the server of the studio, which are generated from its routes."""

import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from asgi_requests import send
from fastapi.routing import APIRoute
from quick_training import train_quickly

from varied.errors import VariedError
from varied.studio import routes as studio_routes
from varied.studio.app import create_app
from varied.studio.security import SECURITY_HEADERS, Access, Guard
from varied.studio.serving import bind

HOST = "127.0.0.1:8642"
ORIGIN = f"http://{HOST}"
SECRET = "the content of a file outside of the root"
WRONG_HOSTS = ("", "evil.example", "evil.example:8642", "127.0.0.1", "127.0.0.1:8643", "localhost")
WRONG_HOSTS += ("[::1]:8642", "127.0.0.1:8642.evil.example", "0.0.0.0:8642", "127.0.0.1:8642 ")
WRONG_ORIGINS = ("null", "", "http://evil.example", "https://127.0.0.1:8642", "http://127.0.0.1")
WRONG_ORIGINS += ("http://127.0.0.1:8643", "http://localhost:8642", f"{ORIGIN}/", f"{ORIGIN}.evil")
TRAVERSALS = (
    "../secret.txt",
    "../../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "..%5csecret.txt",
    "..%5C..%5Csecret.txt",
    "%00",
    "secret.txt%00.png",
    "link.png",
    ".",
    "..",
    "~",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "//evil.example/x",
    "file:%2f%2f%2fetc%2fpasswd",
    "C:%5CWindows%5Cwin.ini",
    "%5C%5Cserver%5Cshare",
    "codec.json",
    "metrics.jsonl",
    "A" * 5000,
    "%ff%fe",
    "%e2%80%ae.png",
    "-1",
    "NaN",
    "1e400",
    "9" * 400,
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "'%20OR%201=1",
    "%7B%7B7*7%7D%7D",
)


class Route(NamedTuple):
    """A method and a path with valid values for its parameters."""

    method: str
    path: str
    template: str


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with a run, and next to it a file that must not be served."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text(SECRET)
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype("f4")
    np.save(folder / "rows.npy", rows)
    run = train_quickly(folder / "rows.npy", out=folder / "root" / "runs" / "a", steps=3)
    (run.folder / "link.png").symlink_to(folder / "secret.txt")
    (run.folder / "loss.png").write_bytes(b"\x89PNG")
    (folder / "root" / "linked").symlink_to(folder)
    return folder / "root"


@pytest.fixture(scope="module")
def access():
    return Access(8642)


@pytest.fixture(scope="module")
def app(workspace, access):
    app = create_app(workspace, access)
    studio = app.state.studio
    studio.is_closing = lambda: True  # event streams end at once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio.trainings, "_launch", lambda folder, arguments: "")
        patch.setattr(studio.jobs, "start_command", lambda *_: studio.jobs.start("x", dict))
        yield app
    studio.close()


@pytest.fixture(scope="module")
def all_routes(app):
    run = json.loads(request(app, "GET", "/api/runs").content)[0]["id"]
    return [
        Route(method, fill_in(route.path, run), route.path)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]


def fill_in(path, run, **values):
    """Return a path with values for its parameters, by default valid ones."""
    known = {"row": "0", "projection": "pca", "column": "KL", "name": "loss.png"}
    known |= {"id": run if path.startswith("/api/runs") else "0123456789abcdef"} | values
    return re.sub(r"{(\w+)(:path)?}", lambda match: known[match[1]], path)


def headers(app, **changes):
    """Return the headers of a permitted request, with changes; None removes a header."""
    token = app.user_middleware[0].kwargs["access"].token
    values = {"host": HOST, "authorization": f"Bearer {token}"}
    values |= {"content-type": "application/json", "origin": ORIGIN} | changes
    return [(name, value) for name, value in values.items() if value is not None]


def request(app, method, path, body=b"{}", **changes):
    return send(app, method, path, headers(app, **changes), body if method == "POST" else b"")


def check_refusal(answer, *statuses):
    """Check that an answer is a `Failure` with the security headers, without details."""
    assert answer.status in statuses
    for name, value in SECURITY_HEADERS.items():
        assert answer.header(name) == value
    assert answer.header("cache-control") == "no-store"
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]
    if answer.content:  # there is no body after HEAD
        assert answer.json["error"]["message"].endswith((".", "?"))
    assert b"Traceback" not in answer.content and b".py" not in answer.content
    assert SECRET.encode() not in answer.content


def test_all_routes_are_attacked(app, all_routes):
    assert isinstance(app.user_middleware[0].cls, type) and app.user_middleware[0].cls is Guard
    paths = {route.template for route in all_routes}
    assert {"/", "/api/runs", "/api/uploads", "/api/runs/{id}/events"} <= paths
    assert len(all_routes) > 35
    assert all(isinstance(route, APIRoute) for route in app.routes)


def test_requests_without_the_token_are_refused(app, all_routes, access):
    tokens = (None, "Bearer ", "Bearer wrong", f"Basic {access.token}", access.token)
    tokens += (f"bearer{access.token}", f"Bearer {access.token}x", "Bearer \xff")
    for route in all_routes:
        for token in tokens:
            check_refusal(request(app, *route[:2], authorization=token), 401)
        for cookie in ("", "varied_token_8642=wrong", f"other={access.token}", "varied_token=;;="):
            answer = request(app, *route[:2], authorization=None, cookie=cookie)
            check_refusal(answer, 401)


def test_requests_to_other_hosts_are_refused(app, all_routes):
    for route in all_routes:
        for host in (None, *WRONG_HOSTS):
            check_refusal(request(app, *route[:2], host=host), 403)
    both = [*headers(app), ("host", "evil.example")]
    check_refusal(send(app, "GET", "/api/runs", both), 403)


def test_requests_from_other_origins_are_refused(app, all_routes, access):
    cookie = {"authorization": None, "cookie": f"{access.cookie}={access.token}"}
    for route in all_routes:
        for origin in WRONG_ORIGINS:
            check_refusal(request(app, *route[:2], origin=origin), 403)
            check_refusal(request(app, *route[:2], origin=origin, **cookie), 403)
        crossing = {"origin": None, "sec-fetch-site": "cross-site"}
        if route.path != "/":
            check_refusal(request(app, *route[:2], **crossing), 403)


def test_changes_with_the_cookie_require_the_origin(app, all_routes, access):
    cookie = {"authorization": None, "cookie": f"{access.cookie}={access.token}", "origin": None}
    for route in all_routes:
        if route.method not in ("GET", "HEAD"):
            for site in (None, "none", "same-site"):
                answer = request(app, *route[:2], **cookie, **{"sec-fetch-site": site})
                check_refusal(answer, 403)
    run = next(r for r in all_routes if r.template == "/api/runs/{id}/sample")
    for right in ({"origin": ORIGIN}, {"sec-fetch-site": "same-origin"}):
        assert request(app, "POST", run.path, **cookie | right).status == 200


def test_other_methods_change_nothing_and_there_is_no_cors(app, all_routes):
    for route in all_routes:
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "X"):
            preflight = {"access-control-request-method": "POST"}
            check_refusal(request(app, method, route.path, **preflight), 405)
            check_refusal(request(app, method, route.path, authorization=None), 401)


def test_every_answer_has_the_security_headers(app, all_routes):
    for route in all_routes:
        answer = request(app, *route[:2])
        assert answer.status not in (0, 401, 403, 405, 500)
        for name, value in SECURITY_HEADERS.items():
            assert answer.header(name) == value
        assert answer.header("cache-control")


def test_paths_in_parameters_reach_no_file(app, all_routes, capfd):
    for route in all_routes:
        for parameter in re.findall(r"{(\w+)", route.template):
            run = route.path.split("/")[3] if route.path.startswith("/api/runs/") else ""
            for text in TRAVERSALS:
                path = fill_in(route.template, run, **{parameter: text})
                answer = request(app, route.method, path)
                assert SECRET.encode() not in answer.content
                assert b"root:" not in answer.content
                assert answer.status < 500, (route, text)
                if answer.status == 200:
                    assert is_allowed(route, parameter, text), (route, text)
    assert "Traceback" not in capfd.readouterr().err


def has_body(route):
    """Return whether a route reads the body of a request."""
    is_action = route.template.endswith(("/stop", "/continue", "/cancel", "/map/tsne", "/map/umap"))
    return route.method == "POST" and not is_action


def is_allowed(route, parameter, text):
    """Return whether a text may select something, since its decoded path is another route."""
    return text in (".", "..") or (parameter == "name" and route.template == "/{name}")


def test_strings_in_bodies_reach_no_file(app, all_routes):
    operations = [r for r in all_routes if r.method == "POST" and r.path.count("/") == 4]
    new = {"upload": "0123456789abcdef", "model": "vae"}
    for text in ("../../secret.txt", "/etc/passwd", "--import=x.py", "\x00", "http://127.0.0.1/"):
        bodies = [new | {name: text} for name in new] + [{**new, "name": text}]
        bodies += [{**new, "options": {text: "1"}}, {**new, "options": {"spec": text}}]
        bodies += [{**new, "options": {"out": text}}, {**new, "options": {"import": text}}]
        for path in ("/api/runs", "/api/estimate"):
            for body in bodies:
                answer = request(app, "POST", path, json.dumps(body).encode())
                check_refusal(answer, 404, 422)
        for route in operations:
            for body in ({"source": {"upload": text}}, {"other": text}, {"name": text}):
                answer = request(app, "POST", route.path, json.dumps(body).encode())
                assert SECRET.encode() not in answer.content and answer.status < 500


def test_large_bodies_are_refused(app, all_routes, monkeypatch):
    monkeypatch.setattr(studio_routes, "MAX_UPLOAD", 3_000_000)
    monkeypatch.setattr(studio_routes, "MAX_EXAMPLES_JSON", 2_000_000)
    for route in all_routes:
        if route.method != "POST":
            continue
        limit = studio_routes.max_body_bytes(route.path)
        declared = request(app, "POST", route.path, b"x", **{"content-length": str(limit + 1)})
        check_refusal(declared, 413)
        if not has_body(route):
            continue
        for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
            given = headers(app, **{"content-type": kind})
            chunks = iter([b"--x\r\n\r\n", *[b" " * 500_000] * (limit // 500_000 + 20)])
            answer = send(app, "POST", route.path, given, chunks=chunks)
            check_refusal(answer, 400, 404, 413, 422)
            assert len(list(chunks)) >= 18  # the rest is not received
            if kind == "application/json" and route.path != "/api/uploads":
                assert answer.status == 413


def test_malformed_bodies_are_refused(app, all_routes):
    bodies = (b"", b"null", b"[]", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"NaN")
    bodies += (
        b'{"n": NaN}',
        b'{"n": 1e999}',
        b'{"z": [[Infinity]]}',
        b'{"n": ' + b"9" * 5000 + b"}",
    )
    for route in all_routes:
        if has_body(route):
            for body in bodies:
                check_refusal(request(app, "POST", route.path, body), 400, 404, 422)


def test_reading_changes_no_file(app, all_routes, workspace):
    before = contents(workspace)
    for route in all_routes:
        if route.method in ("GET", "HEAD"):
            request(app, *route[:2])
    assert contents(workspace) == before


def contents(folder):
    """Return the contents of files by path; the stored codes of a map are a cache."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.name != "codes.safetensors"}


def test_the_link_exchanges_the_token_for_a_cookie(app, access):
    plain = {"authorization": None, "origin": None}
    answer = request(app, "GET", f"/?token={access.token}", **plain)
    assert answer.status == 303 and answer.header("location") == "/" and not answer.content
    cookie, *attributes = answer.header("set-cookie").split("; ")
    assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert access.token not in answer.header("location")
    page = request(app, "GET", "/", **plain, cookie=f"a=b; {cookie}")
    assert page.status == 200 and "text/html" in page.header("content-type")
    for target in ("/?token=", "/?token=wrong", "/", f"/?token={access.token}&token=x"):
        check_refusal(request(app, "GET", target, **plain), 401)
    check_refusal(request(app, "GET", f"/api/runs?token={access.token}", **plain), 401)
    check_refusal(request(app, "POST", f"/?token={access.token}", **plain), 401)


def test_the_policy_permits_only_the_server_itself():
    policy = dict(
        part.split(" ", 1) for part in SECURITY_HEADERS["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert all(policy[n] == "'none'" for n in ("object-src", "frame-ancestors", "form-action"))
    assert "http" not in " ".join(policy.values())


def test_tokens_are_random_and_not_printed():
    tokens = {Access(1).token for _ in range(50)}
    assert len(tokens) == 50 and min(map(len, tokens)) >= 43
    assert Access(1, token="abc").token not in repr(Access(1, token="abc"))


def test_hosts_of_an_address():
    assert Access(80).hosts == ("127.0.0.1:80", "localhost:80")
    assert Access(80, "Studio.example").hosts[-1] == "studio.example:80"
    assert Access(80, "::1").hosts[-1] == "[::1]:80"


def test_the_server_needs_a_name_and_uses_the_next_free_port():
    for host in ("0.0.0.0", "::", ""):
        with pytest.raises(VariedError, match="no name of its own"):
            bind(host, 8642)
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            assert second.getsockname()[1] != port


def test_an_error_of_the_server_is_one_sentence(app, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(app.state.studio.trainings, "list_runs", fail)
    answer = request(app, "GET", "/api/runs")
    check_refusal(answer, 500)
    assert b"a secret" not in answer.content and "a secret" in caplog.text


def test_messages_do_not_contain_the_path_of_the_root(app, workspace):
    empty = workspace / "runs" / "empty"
    empty.mkdir()
    (empty / "spec.toml").write_text("format = 2")
    app.state.studio.workspace._time = -1e9
    run = next(r for r in request(app, "GET", "/api/runs").json if r["name"] == "empty")
    for path in ("map", "", "items/0"):
        answer = request(app, "GET", f"/api/runs/{run['id']}/{path}".rstrip("/"))
        assert str(workspace).encode() not in answer.content
    (empty / "spec.toml").unlink()


def test_runs_outside_of_the_root_are_not_found(app, workspace):
    assert [run["name"] for run in request(app, "GET", "/api/runs").json if run["step"]] == ["a"]
    assert quote("linked") not in str(request(app, "GET", "/api/runs").json)
