"""End-to-end tests of the page of the studio in Chromium, by mouse and by keyboard."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from quick_training import train_to_end
from studio_runs import SMALL, gray_bars, people

from varied.training import prepare

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is missing: pip install playwright"
)
ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium"),
    pytest.mark.skipif(
        not (ROOT / "varied" / "studio" / "static" / "index.html").exists(),
        reason="the page is not built: make web",
    ),
]

VIEWS = ("map", "sliders", "paths", "encode", "attributes", "anomalies", "missing", "compare")
RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""


def save_bars(path, seed=0):
    x, labels = gray_bars(seed=seed)
    np.savez(path, x=x, labels=labels)
    return path


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Return a folder with two runs of images and a run of a table."""
    folder = tmp_path_factory.mktemp("studio")
    bars = save_bars(folder / "bars.npz")
    people().to_csv(folder / "people.csv", index=False)
    options = SMALL | {"steps": 300, "width": 32, "latent": 2}
    for name, source in (("bars-1", bars), ("bars-2", bars), ("people-1", folder / "people.csv")):
        labels = {"labels": "labels"} if source == bars else {}
        job = prepare(source, out=folder / "runs" / name, **options, **labels)
        train_to_end(job)
    return folder


@pytest.fixture(scope="session")
def address(root):
    """Serve the runs, and return the link that the command prints."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "varied", "studio", str(root), "--no-open", "--port", "8790"]
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if match := re.search(r"http://\S+\?token=\S+", line):
                break
        else:
            raise RuntimeError("The studio has ended: " + "".join(lines))
        yield match.group(0)
        process.terminate()


@pytest.fixture(scope="session")
def browser():
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


class Studio:
    """A page, and what it must not do: errors, violations of the policy, other hosts."""

    def __init__(self, browser, address, **options):
        options = {"viewport": {"width": 1280, "height": 800}} | options
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.add_init_script(RECORD_VIOLATIONS)
        self.errors, self.hosts = [], set()
        self.page.on("console", self._keep_error)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._keep_host)
        self.page.on("response", self._keep_failure)
        self.page.goto(address)
        self.host = re.match(r"http://([^/]+)", address).group(1)
        runs = self.page.evaluate("fetch('/api/runs').then((response) => response.json())")
        self.ids = {run["name"]: run["id"] for run in runs}

    def _keep_error(self, message):
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _keep_failure(self, response):
        if response.status >= 400:
            self.errors.append(f"{response.status} {response.request.method} {response.url}")

    def _keep_host(self, request):
        if match := re.match(r"(?:https?|wss?)://([^/]+)", request.url):
            self.hosts.add(match.group(1))

    def open(self, view="", run="bars-1", query=""):
        self.page.evaluate(f"location.hash = '#/run/{self.ids[run]}/{view}{query}'")
        wait_until(self.page, "() => !document.body.innerText.includes('Opening the run')")
        return self.page

    def check(self):
        assert not self.errors
        assert self.hosts == {self.host}
        assert self.page.evaluate("window.violations") == []


@pytest.fixture
def studio(browser, address):
    studio = Studio(browser, address)
    yield studio
    studio.check()
    studio.context.close()


def wait_until(page, expression, argument=None):
    """Wait until a function in JavaScript is true; Playwright's own would need unsafe-eval."""
    for _ in range(200):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"Not within 20 s: {expression}")


def wait_for_text(page, text):
    page.get_by_text(text).first.wait_for()


def image_of(locator):
    return locator.locator("img").first.get_attribute("src")


def status(page):
    return page.locator("[role=status].hidden").inner_text()


# The ten points


def test_runs_are_listed_and_a_run_shows_its_curves(studio):
    page = studio.page
    row = page.get_by_role("row").filter(has_text="bars-1")
    row.wait_for()
    assert "Finished" in row.inner_text()
    row.get_by_role("link").click()
    page.get_by_role("heading", name="bars-1").wait_for()
    page.locator(".uplot").nth(1).wait_for()
    page.get_by_text("KL by unit").first.wait_for()
    assert "latent" in page.locator("pre").inner_text()


def test_the_map_is_used_with_the_mouse(studio):
    page = studio.open("map")
    area = page.get_by_role("application")
    area.wait_for()
    box = area.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    decoded = page.get_by_role("region", name="Decoded place")
    decoded.locator("img").wait_for()
    first = image_of(decoded)
    page.mouse.move(x + 150, y + 60)
    wait_until(page, "(src) => document.querySelector('.frame img').src !== src", first)
    page.mouse.click(box["x"] + box["width"] - 6, box["y"] + 6)
    page.get_by_text("Outside the data").wait_for()
    assert re.search(r"x=[-\d.]+&y=[-\d.]+", page.url)
    page.go_back()  # undo
    assert "x=" not in page.url

    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Show all points").click()
    page.get_by_role("button", name="Select with a lasso").click()
    page.mouse.move(box["x"] + 80, box["y"] + 20)
    page.mouse.down()
    for dx, dy in ((0.95, 0.05), (0.95, 0.95), (0.1, 0.95), (0.1, 0.1)):
        page.mouse.move(box["x"] + dx * box["width"], box["y"] + dy * box["height"], steps=4)
    page.mouse.up()
    page.get_by_role("heading", name=re.compile(r"\d+ selected rows")).wait_for()
    assert "selected" in status(page)
    page.get_by_role("button", name="Clear").click()


def test_the_map_is_used_with_the_keyboard(studio):
    page = studio.open("map")
    area = page.get_by_role("application")
    area.wait_for()
    area.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("region", name="Chosen point").wait_for()
    first = page.url
    assert "row=" in first
    wait_until(
        page, "() => document.querySelector('[role=status].hidden').innerText.includes('Row')"
    )
    page.keyboard.press("ArrowLeft")
    wait_until(page, "(url) => location.href !== url", first)
    for key in ("+", "-", "Shift+ArrowUp", "0"):
        page.keyboard.press(key)
    page.get_by_text("Nearest neighbors in the latent space").wait_for()
    page.get_by_role("button", name="Select 50 around it").press("Enter")
    page.get_by_role("heading", name="50 selected rows").wait_for()
    page.get_by_text("Points as a table").press("Enter")
    page.get_by_role("button", name=re.compile("Choose row")).first.press("Enter")
    search = page.get_by_role("searchbox", name="Search rows")
    search.fill("horizontal")
    search.press("Enter")
    page.get_by_role("heading", name=re.compile("rows for")).wait_for()


def test_the_map_is_colored_by_a_score(studio):
    page = studio.open("map")
    page.get_by_role("application").wait_for()
    assert page.get_by_role("button", name="horizontal").count() == 1
    page.get_by_label("Color").select_option("KL")
    page.get_by_role("heading", name="KL", exact=True).wait_for()
    assert "color=KL" in page.url


def test_sliders_change_the_example_and_keep_names(studio):
    page = studio.open("sliders")
    shown = page.get_by_role("region", name="Decoded example")
    shown.locator("img").first.wait_for()
    slider = page.get_by_role("slider").first
    slider.wait_for()
    before = image_of(shown)
    slider.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    wait_until(page, "(src) => document.querySelector('.shown img').src !== src", before)
    assert "z=" in page.url
    name = page.get_by_role("textbox", name=re.compile("Name of unit")).first
    name.fill("position")
    name.press("Enter")
    page.get_by_role("slider", name="position").wait_for()
    page.reload()
    page.get_by_role("slider", name="position").wait_for()
    page.get_by_role("button", name="Random", exact=True).click()
    page.get_by_role("button", name="Reset").click()
    assert "z=" not in page.url


def test_paths_between_two_and_four_examples(studio):
    page = studio.open("paths", query="?a=1&b=2")
    path = page.get_by_role("region", name="Path")
    path.locator("img").nth(8).wait_for()
    wait_for_text(page, "Log-density of the codes")
    page.get_by_role("button", name="Spherical").press("Enter")
    assert "path=spherical" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="Download GIF").click()
    assert download.value.path().read_bytes()[:3] == b"GIF"
    page.get_by_role("button", name="Four corners").click()
    page.get_by_alt_text("Row 6, column 6").wait_for()


def test_a_drawing_is_encoded_by_mouse_and_by_keyboard(studio):
    page = studio.open("encode")
    pad = page.get_by_role("application", name="Drawing pad")
    pad.wait_for()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.get_by_role("region", name="Reconstruction").locator("img").nth(1).wait_for()
    page.get_by_role("img", name="with the place of your example").wait_for()
    page.get_by_text("Nearest neighbors in the latent space").wait_for()
    page.get_by_text("Anomaly score", exact=True).wait_for()
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("Draw something").wait_for()
    pad.focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    page.get_by_role("region", name="Reconstruction").locator("img").nth(1).wait_for()


def test_a_row_of_a_table_is_encoded(studio):
    page = studio.open("encode", "people-1")
    age = page.get_by_label("age")
    age.fill("61")
    page.get_by_role("region", name="Reconstruction").get_by_role("table").nth(1).wait_for()
    page.get_by_role("region", name="Reconstruction").get_by_role(
        "cell", name="61"
    ).first.wait_for()


def test_a_label_defines_an_attribute(studio):
    page = studio.open("attributes")
    wait_for_text(page, "No examples are selected")
    page.get_by_label("Examples with the attribute").select_option("horizontal")
    page.get_by_text("What else changes").wait_for()
    strength = page.get_by_role("slider", name=re.compile("Strength"))
    strength.focus()
    page.keyboard.press("End")
    page.get_by_text("With 3.0 × horizontal").wait_for()


def test_anomalies_are_sorted_and_the_threshold_moves(studio):
    page = studio.open("anomalies")
    slider = page.get_by_role("slider", name="Threshold of the anomaly score")
    slider.wait_for()
    rows = page.get_by_role("region", name="Scores").get_by_role("row")
    assert rows.count() > 3
    slider.focus()
    page.keyboard.press("Home")
    flagged = page.locator(".big strong").first.inner_text()
    page.keyboard.press("End")
    wait_until(page, "(n) => document.querySelector('.big strong').innerText !== n", flagged)
    assert "threshold=" in page.url
    page.get_by_role("button", name=re.compile("Heat map of")).first.press("Enter")
    page.get_by_alt_text(re.compile("Heat map of the excess")).wait_for()


def test_missing_cells_are_filled(studio, tmp_path):
    page = studio.open("missing", "people-1")
    table = people().head(12)
    table.loc[3, "age"] = None
    table.to_csv(tmp_path / "new.csv", index=False)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "new.csv")
    page.get_by_text(re.compile(r"missing cells? filled in 12 rows")).wait_for()
    assert " to " in page.locator("td.filled small").first.inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the table").click()
    assert "age" in download.value.path().read_text()


def test_a_region_of_an_image_is_filled(studio):
    page = studio.open("missing")
    pad = page.get_by_role("application", name="Region to fill")
    pad.wait_for()
    pad.focus()
    for key in ("Space", "ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Fill the region").click()
    page.get_by_alt_text("Filled image 4").wait_for()


def test_two_runs_are_compared(studio):
    page = studio.open("compare")
    page.get_by_label("Compare with").select_option(studio.ids["bars-2"])
    page.get_by_role("region", name="Metrics of both runs").wait_for()
    page.get_by_alt_text(re.compile("Reconstruction of example 1 by bars-2")).wait_for()


def test_a_run_is_prepared_and_started(studio, tmp_path):
    page = studio.page
    people(150).to_csv(tmp_path / "more.csv", index=False)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="New run").click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "more.csv")
    page.get_by_text("150 examples").wait_for()
    page.get_by_text(re.compile("^Training")).first.click()
    page.get_by_label("steps", exact=True).fill("20")
    page.get_by_label("steps", exact=True).press("Tab")
    page.get_by_text("Expected time").wait_for(timeout=60_000)
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", level=1).filter(has_text="more").wait_for()
    page.get_by_text("Finished").first.wait_for(timeout=90_000)


# Everywhere


def test_each_view_can_be_copied_as_code(studio):
    page = studio.open("sliders")
    page.get_by_role("button", name="Copy as code").press("Enter")
    assert "import varied" in page.get_by_label("Code", exact=True).inner_text()
    page.get_by_role("button", name="curl", exact=True).press("Enter")
    assert "curl" in page.get_by_label("Code", exact=True).inner_text()
    page.keyboard.press("Escape")
    assert page.get_by_label("Code", exact=True).count() == 0


def test_the_theme_is_chosen_and_kept(studio):
    page = studio.page
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.get_by_role("button", name="Dark").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_first_tab_stop_skips_to_the_content(studio):
    page = studio.page
    page.get_by_role("heading", name="Runs").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_unsupported_views_give_the_reason(studio):
    page = studio.page

    def without_sliders(route):
        details = route.fetch().json()
        details["operations"].remove("units")
        route.fulfill(json=details | {"reasons": {"units": "This run has no units."}})

    page.route(f"**/api/runs/{studio.ids['bars-1']}", without_sliders)
    studio.open("sliders")
    page.get_by_role("heading", name="Sliders: unavailable for this run").wait_for()
    navigation = page.get_by_role("navigation", name="Views of this run")
    assert navigation.get_by_role("link", name="Sliders").count() == 0
    assert "This run has no units." in navigation.inner_text()


def test_errors_are_one_sentence_in_place(studio):
    page = studio.page
    page.route(
        "**/units",
        lambda route: route.fulfill(
            status=409,
            json={
                "error": {
                    "message": "The run is busy; try again.",
                    "kind": "conflict",
                    "fields": [],
                }
            },
        ),
    )
    studio.open("sliders")
    assert page.get_by_role("alert").first.inner_text() == "The run is busy; try again."
    studio.errors.clear()  # the response of the test


@pytest.mark.parametrize("width", [320, 390])
def test_narrow_windows_need_no_horizontal_scrolling(browser, address, width):
    studio = Studio(browser, address, viewport={"width": width, "height": 800})
    for view in ("", *VIEWS):
        page = studio.open(view)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    studio.check()
    studio.context.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: npm ci in web/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser, address, scheme):
    studio = Studio(browser, address, color_scheme=scheme, reduced_motion="reduce")
    page = studio.page
    page.add_init_script(path=AXE)
    page.reload()
    queries = {
        "map": "?row=3",
        "paths": "?a=1&b=2",
        "attributes": "?label=horizontal",
        "encode": "?from=row&row=2",
        "compare": f"?with={studio.ids['bars-2']}",
    }
    places = [
        f"#/run/{studio.ids['bars-1']}/{view}{queries.get(view, '')}" for view in ("", *VIEWS)
    ]
    places += [f"#/run/{studio.ids['people-1']}/{view}" for view in ("map", "encode", "missing")]
    violations = {}
    for place in ("#/", "#/new", *places):
        page.evaluate("(hash) => { location.hash = hash; }", place)
        page.wait_for_timeout(1500)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for violation in result["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            violations.setdefault(violation["id"], []).append((place, nodes))
    assert violations == {}
    studio.check()
    studio.context.close()
