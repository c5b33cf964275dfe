"""Tests that the HTML report and the model card are self-contained, accessible and escape text."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from varied.errors import VariedError
from varied.report import Fact, Figure, Note, Table, write_card, write_report

pytestmark = pytest.mark.figures

HOSTILE = "<script>alert(\"1\")</script> & 'x' | `$title` </title>"


class Page(HTMLParser):
    """A parser for the elements and the text of a page, whose tags must be balanced."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.elements, self.texts, self.open = [], [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path):
    images = [Image.fromarray(np.full((6, 8), level, np.uint8)) for level in (0, 100, 200)]
    images[0].save(tmp_path / "still.png")
    images[0].save(tmp_path / "movie.gif", save_all=True, append_images=images[1:], duration=99)
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "model.bin").touch()
    (tmp_path / "tone.flac").write_bytes(b"sound")
    return tmp_path


@pytest.fixture
def blocks():
    return {
        "facts": [Fact("−ELBO", "91.2 ± 0.3 nats", "n = 10,000"), Fact(HOSTILE, HOSTILE, HOSTILE)],
        "tables": [
            Table("Bounds", ("data", HOSTILE), [("test", 91.2), (HOSTILE, "1")], "± 1 s.e.")
        ],
        "figures": [
            Figure("still.png", "Samples", "64 digits", audio="tone.flac"),
            Figure("movie.gif", HOSTILE, HOSTILE, HOSTILE),
        ],
    }


@pytest.fixture
def page(folder, blocks):
    notes = [Note("10 images."), Note(HOSTILE, is_warning=True)]
    return Page(write_report(folder, title=HOSTILE, notes=notes, **blocks))


def test_report_is_self_contained(page):
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    markup = re.sub(r"base64,[^\"]*", "", page.source)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", markup)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert "default-src 'none'" in page.source
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_report_escapes_all_texts(page):
    assert "".join(page.texts).count(HOSTILE) >= 7
    assert {image["alt"] for image in page.all("img")} == {"64 digits", HOSTILE}


def test_recordings_are_embedded(page):
    [audio] = page.all("audio")
    assert audio["src"] == f"data:audio/flac;base64,{base64.b64encode(b'sound').decode()}"
    assert audio["aria-label"] == "Samples"
    assert "media-src data:" in page.source


def test_report_has_headings_sizes_and_a_language(page):
    assert all(image["width"] == "8" and image["height"] == "6" for image in page.all("img"))
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", "h2", "h2", "h3", "h3", "h2", "h3"]
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == 1
    scopes = [attributes["scope"] for attributes in page.all("th")]
    assert scopes == ["col", "col", "row", "row"]


def test_animations_show_the_last_frame_for_reduced_motion(page):
    still = next(image for image in page.all("img") if image.get("class") == "still")
    assert "@media (prefers-reduced-motion: reduce), print" in page.source
    still = base64.b64decode(still["src"].split(",")[1])
    assert Image.open(io.BytesIO(still)).convert("L").getpixel((0, 0)) == 200


def test_warnings_come_first_and_are_marked(folder):
    notes = [Note("a note"), Note("too few rows", is_warning=True)]
    text = write_report(folder, title="t", notes=notes).read_text("utf-8")
    assert text.index("too few rows") < text.index("a note")
    assert '<li class="warning"><strong class="mark">Warning</strong> too few rows' in text


def test_an_empty_report_has_no_empty_sections(folder):
    page = Page(write_report(folder, title="t", path="sub/report.html"))
    assert not page.all("h2")
    assert not page.all("dl")


def test_figures_must_be_existing_images(folder):
    write_report(folder, title="t", figures=[Figure("drawing.svg", "a", "b")])
    with pytest.raises(FileNotFoundError):
        write_report(folder, title="t", figures=[Figure("none.png", "a", "b")])
    with pytest.raises(VariedError, match=r"'model.bin' .* supported file extension; use \.png"):
        write_report(folder, title="t", figures=[Figure("model.bin", "a", "b")])


def test_table_columns_of_words_are_aligned_left(folder):
    rows = [("a", "91.2 ± 0.3", "too dark"), ("b", "−1,024", "a 2"), ("c", "—", "3")]
    table = Table("t", ("run", "−ELBO", "reason"), rows)
    text = write_report(folder, title="t", tables=[table]).read_text("utf-8")
    assert '<td>91.2\u00a0±\u00a00.3</td><td class="words">too dark</td>' in text
    assert text.count('class="words"') == 4


def luminance(color):
    """Return the relative luminance of a color, as defined in WCAG 2."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722], [((c + 0.055) / 1.055) ** 2.4 for c in channels])


def test_text_has_enough_contrast(page):
    blocks = page.source.split("@media")
    themes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]
    themes = [theme for theme in themes if "ink" in theme]
    assert len(themes) == 2
    pairs = [(text, paper) for text in ("ink", "muted", "accent") for paper in ("bg", "card")]
    for theme in themes:
        for text, paper in [*pairs, ("warning", "warning-bg"), ("ink", "warning-bg")]:
            low, high = sorted(luminance(theme[name]) for name in (text, paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, paper)


def test_model_card(folder, blocks):
    path = write_card(
        folder,
        title=HOSTILE,
        summary="A model of digits.",
        data="10,000 digits",
        training="34 epochs",
        python='import varied\nrun = varied.open("a")\n# ```',
        shell="varied sample a",
        limitations=["Trained on digits only.", HOSTILE],
        versions={"varied": "0.1", "torch": "2.9"},
        **blocks,
    )
    text = path.read_text("utf-8")
    assert path.name == "README.md"
    assert text.startswith("---\nlibrary_name: varied\n")
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert '````python\nimport varied\nrun = varied.open("a")\n# ```\n````' in text
    for part in ("91.2 ± 0.3 nats", "n = 10,000", "- varied 0.1", "![64 digits](still.png)", "±"):
        assert part in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 4}
