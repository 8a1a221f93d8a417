"""Print what the pages of a large study cost: CPU time, size, and time to open in Chromium.

python benchmarks/report_pages.py [--participants 100] [--folder FOLDER]
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "workflow")]

from made_results import write_study  # noqa: E402

from mrsflow.reporting import group_figures, group_page, group_read, session_page  # noqa: E402
from mrsflow.run import run  # noqa: E402


def main(participants: int = 100) -> None:
    """Write a made-up study of two sessions per participant and measure its pages.

    Parameters
    ----------
    participants : int
        Number of participants.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        config = write_study(output, participants)
        trial = timed("reading", lambda: group_read.load(config))
        timed("figures", lambda: group_figures.draw_all(trial, output / "figures"))
        seconds = timed("session pages", lambda: [session_page.write(output, k, config) for k in trial.keys])
        timed("group page", lambda: group_page.write(config))
        pages = sorted((output / "report").glob("sub-*.html"))
        index = output / "report" / "index.html"
        print(f"{len(seconds)} session pages, largest {max(p.stat().st_size for p in pages) / 1e6:.2f} MB")
        print(f"group page {index.stat().st_size / 1e6:.2f} MB, opens in {opening_time(index):.2f} s")


def timed(what: str, do):
    start = time.process_time()
    result = do()
    print(f"{what}: {time.process_time() - start:.1f} CPU-s")
    return result


def opening_time(page: Path) -> float:
    """Seconds until a page has loaded and laid itself out, best of three."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = []
        for _ in range(3):
            opened = browser.new_page(viewport={"width": 1200, "height": 900})
            start = time.perf_counter()
            opened.goto(page.as_uri())
            opened.evaluate("document.documentElement.scrollHeight")
            found.append(time.perf_counter() - start)
            opened.close()
        browser.close()
    return min(found)


if __name__ == "__main__":
    run(main)
