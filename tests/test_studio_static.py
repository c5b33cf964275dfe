"""The built page of the studio."""

import hashlib
import re
from pathlib import Path

import pytest

from varied.studio.static_files import read_static_files

ROOT = Path(__file__).resolve().parent.parent
WEB, STATIC = ROOT / "web", ROOT / "varied" / "studio" / "static"


@pytest.mark.skipif(not WEB.is_dir(), reason="the sources of the page are not in this package")
def test_the_built_page_is_current():
    files = [path for name in ("public", "src") for path in (WEB / name).rglob("*")]
    files += [WEB / name for name in ("index.html", "package-lock.json", "vite.config.ts")]
    digest = hashlib.sha256()
    for path in sorted(filter(Path.is_file, files), key=Path.as_posix):
        name = path.relative_to(WEB).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    stored = (STATIC / "sources.sha256").read_text().strip()
    assert digest.hexdigest() == stored, "the page is not current; run `make web`"


def test_the_page_refers_only_to_its_own_files():
    files = read_static_files()
    page = files["index.html"].content.decode()
    names = re.findall(r'(?:src|href)="\./([^"]+)"', page)
    assert names
    assert set(names) <= set(files)
    assert "://" not in page


def test_the_page_is_small():
    assert sum(len(file.content) for file in read_static_files().values()) < 400_000
