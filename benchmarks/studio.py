"""Measure the studio in Chromium, and its API: ``python -m benchmarks.studio [RUN]``.

A VAE of the 70,000 digits is trained for a minute, unless a run is given, and served by `varied
studio`. "First opening" is the first opening of the map of this run, and "later" is after a restart
of the server. Frames are counted while the map is panned with the mouse in headless Chromium
without a graphics card, where the points are those of the run or synthetic ones. The time of the
lasso ends when the number of selected points has been painted; that of a slider ends when the
browser has decoded the new image. The clients are threads of another process on the same machine.
Memory is the resident memory of the server after 10,000 and after all further requests.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import description, load, markdown_table, save, write_page
from varied.runtime import describe_machine

NAME = "studio"
_SYNTHETIC = (100_000, 1_000_000)
_CLIENTS, _SECONDS = (1, 64), 15
#: The length of the path of the mouse while frames are counted, in movements.
_MOVES = 120
#: The number of changes of a slider.
_CHANGES = 100
_COUNT_FRAMES = """() => new Promise((done) => {
  let frames = 0; const begin = performance.now();
  const count = () => {
    frames += 1;
    const time = performance.now() - begin;
    time < 2000 ? requestAnimationFrame(count) : done(1000 * frames / time);
  };
  requestAnimationFrame(count);
})"""
#: Move the slider, and return the milliseconds until the image has changed and is decoded.
_MOVE_SLIDER = """(fraction) => new Promise((done) => {
  const slider = document.querySelector("input[type=range]");
  const image = document.querySelector(".shown img");
  const begin = performance.now();
  const observer = new MutationObserver(async () => {
    const now = document.querySelector(".shown img");
    observer.disconnect();
    await now.decode();
    done(performance.now() - begin);
  });
  const options = {subtree: true, attributes: true, attributeFilter: ["src"], childList: true};
  observer.observe(document.querySelector(".shown"), options);
  setTimeout(() => done(1000), 1000);  // the image has not changed
  slider.value = +slider.min + fraction * (slider.max - slider.min);
  slider.dispatchEvent(new Event("input", {bubbles: true}));
})"""
#: Return the milliseconds from the release of the mouse to the frame after the heading has changed.
_WATCH_LASSO = """() => {
  window.lasso = new Promise((done) => {
    let begin = 0;
    const start = () => { begin = performance.now(); };
    addEventListener("pointerup", start, {once: true, capture: true});
    const observer = new MutationObserver(() => {
      if (begin && /selected rows/.test(document.body.innerText)) {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)));
      }
    });
    observer.observe(document.body, {subtree: true, childList: true, characterData: true});
  });
}"""


@contextmanager
def serve(root: Path) -> Iterator[tuple[str, int]]:
    """Serve the runs below a folder, and yield the link and the process id."""
    command = [sys.executable, "-m", "varied", "studio", str(root), "--no-open", "--port", "8750"]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "?token=" in line)
        match = re.search(r"http://\S+", line)
        assert match is not None
        yield match.group(0), process.pid
    finally:
        process.terminate()
        process.wait()


class Api:
    """A connection to the API.

    Arguments:
        link: The link with the token.
    """

    def __init__(self, link: str) -> None:
        match = re.fullmatch(r"http://([^/]+)/\?token=(.+)", link)
        assert match is not None
        self.connection = http.client.HTTPConnection(match.group(1), timeout=600)
        self.headers = {"Authorization": f"Bearer {match.group(2)}"}
        self.headers["Content-Type"] = "application/json"

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request."""
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, self.headers)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status < 400, answer[:500]
        return json.loads(answer)


@contextmanager
def open_page(link: str) -> Iterator[Any]:
    """Open the page in Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        page.goto(link)
        yield page
        browser.close()


def open_view(page: Any, id: str, view: str) -> None:
    """Open a view of a run."""
    page.evaluate("(hash) => { location.hash = hash; }", f"#/run/{id}/{view}")


def wait_for_points(page: Any) -> None:
    """Wait until the points of the map have been loaded and painted."""
    status = page.locator("[role=status].hidden").filter(has_text="points.")
    status.wait_for(state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def time_map(link: str, id: str) -> float:
    """Return the seconds until the map has been painted, after the run itself has been opened."""
    with open_page(link) as page:
        open_view(page, id, "")
        page.get_by_role("heading", level=1).wait_for()
        page.get_by_role("link", name="Map").wait_for()
        begin = time.perf_counter()
        open_view(page, id, "map")
        wait_for_points(page)
        return time.perf_counter() - begin


def drag(page: Any, box: dict[str, float]) -> None:
    """Move the mouse in circles over the map, with the button pressed."""
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(_MOVES):
        page.mouse.move(x + 80 * np.sin(i / 6), y + 80 * np.cos(i / 6))
    page.mouse.up()


def synthetic_map(n: int) -> bytes:
    """Return the answer of the API with n random points."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, n)).astype("<f4")
    rows = np.arange(n, dtype="<u4")
    return (
        np.uint32(n).tobytes() + x.tobytes() + rows.tobytes() + (rows % 10).astype("u1").tobytes()
    )


def measure_map(link: str, id: str, n: int | None) -> dict[str, float]:
    """Return the frames per second while panning, and the milliseconds of a lasso."""
    with open_page(link) as page:
        if n is not None:
            info = Api(link).request("GET", f"/api/runs/{id}/map") | {"n": n, "total": n}
            page.route(re.compile(r"/map$"), lambda route: route.fulfill(json=info))
            content = synthetic_map(n)
            page.route(re.compile(r"/map/pca$"), lambda route: route.fulfill(body=content))
        open_view(page, id, "map")
        wait_for_points(page)
        box = page.get_by_role("application").bounding_box()
        page.evaluate(f"window.frames = ({_COUNT_FRAMES})(); undefined")
        drag(page, box)
        frames = page.evaluate("window.frames")
        page.get_by_role("button", name="Show all points").click()
        page.get_by_role("button", name="Select with a lasso").click()
        page.evaluate(_WATCH_LASSO)
        page.mouse.move(box["x"] + 90, box["y"] + 20)
        page.mouse.down()
        for dx, dy in ((0.95, 0.05), (0.95, 0.95), (0.1, 0.95), (0.1, 0.1)):
            page.mouse.move(box["x"] + dx * box["width"], box["y"] + dy * box["height"], steps=5)
        page.mouse.up()
        return {"frames": frames, "lasso": page.evaluate("window.lasso")}


def measure_slider(link: str, id: str) -> dict[str, float]:
    """Return the median and the 99th percentile of the milliseconds from a slider to the image."""
    with open_page(link) as page:
        open_view(page, id, "sliders")
        page.locator(".shown img").first.wait_for()
        page.get_by_role("slider").first.wait_for()
        page.wait_for_timeout(8000)  # until the density has been computed
        times = []
        for i in range(_CHANGES + 10):
            times.append(page.evaluate(_MOVE_SLIDER, 0.5 + 0.4 * float(np.sin(2 * i))))
            page.wait_for_timeout(30)
        return {"p50": float(np.median(times[10:])), "p99": float(np.quantile(times[10:], 0.99))}


def run_clients(link: str, path: str, body: Any, n: int, seconds: float) -> list[float]:
    """Return the seconds of each request of n clients."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        api = Api(link)
        while (begin := time.perf_counter()) < end:
            api.request("POST", path, body)
            times.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measure_clients(link: str, id: str, latent: int) -> dict[str, dict[str, float]]:
    """Return the decode requests per second, and the 99th percentile of their milliseconds."""
    results = {}
    for n in _CLIENTS:
        body = {"z": [[0.1] * latent]}
        times = run_clients(link, f"/api/runs/{id}/decode", body, n, _SECONDS)
        rate, p99 = len(times) / _SECONDS, 1000 * float(np.quantile(times, 0.99))
        results[str(n)] = {"rate": rate, "p99": p99}
    return results


def measure_memory(link: str, pid: int, id: str, latent: int, n: int) -> dict[str, float]:
    """Return the memory of the server in MB after 10,000 and after n more decode requests."""

    def request(n: int) -> float:
        path, body, done = f"/api/runs/{id}/decode", {"z": [[0.1] * latent]}, 0
        while done < n:
            done += len(run_clients(link, path, body, 8, 5))
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    return {"before": request(10_000), "after": request(n), "requests": float(n)}


def measure(root: Path, n_requests: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the results of each measurement."""
    times = {}
    for opening in ("first", "later"):
        with serve(root) as (link, _):
            id = Api(link).request("GET", "/api/runs")[0]["id"]
            times[opening] = time_map(link, id)
    yield "map", times
    with serve(root) as (link, pid):
        latent = Api(link).request("GET", f"/api/runs/{id}")["latent_dim"]
        points = {str(n or "70000"): measure_map(link, id, n) for n in (None, *_SYNTHETIC)}
        yield "points", points
        yield "slider", measure_slider(link, id)
        yield "clients", measure_clients(link, id, latent)
        yield "memory", measure_memory(link, pid, id, latent, n_requests)


def write() -> None:
    """Write the page of the benchmark from its record."""
    record = load(NAME)
    points = [
        [f"{int(n):,}", f"{row['frames']:.0f}", f"{row['lasso']:.0f}"]
        for n, row in sorted(record["points"].items(), key=lambda item: int(item[0]))
    ]
    clients = [
        [n, f"{row['rate']:.0f}", f"{row['p99']:.0f}"] for n, row in record["clients"].items()
    ]
    times, slider, memory = record["map"], record["slider"], record["memory"]
    lines = [
        "# The studio",
        "",
        description(__doc__),
        "",
        f"The map of 70,000 digits is painted after {times['first']:.1f} s on the first opening, "
        f"and after {times['later']:.1f} s later.",
        "",
        *markdown_table(["points", "frames per second", "lasso, ms"], points),
        "",
        f"From a slider to the image: {slider['p50']:.0f} ms (median), {slider['p99']:.0f} ms "
        "(99th percentile).",
        "",
        *markdown_table(["clients", "decode requests per second", "99th percentile, ms"], clients),
        "",
        f"Memory: {memory['before']:.0f} MB, and {memory['after']:.0f} MB after "
        f"{memory['requests']:,.0f} more requests.",
        "",
        f"Processor: {describe_machine()['processor']}, {os.cpu_count()} cores.",
    ]
    write_page(NAME, lines)


def main() -> None:
    """Measure the studio, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", nargs="?", type=Path, help="the run folder of a VAE of MNIST")
    parser.add_argument("--requests", type=int, default=100_000, help="number of requests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "digits"
        if options.run is None:
            train = ["train", "mnist", "--minutes", "1", "--out", str(folder)]
            subprocess.run([sys.executable, "-m", "varied", *train], check=True)
        else:
            shutil.copytree(options.run, folder)
            for name in ("codes.safetensors", "density.safetensors"):
                (folder / name).unlink(missing_ok=True)
        for name, results in measure(Path(temporary), options.requests):
            save(NAME, name, results)
            print(name, results, flush=True)
    write()


if __name__ == "__main__":
    main()
