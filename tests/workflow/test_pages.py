"""The pages in a browser: no errors, nothing fetched, links resolve, controls react, text from the data stays text."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_results import write_study

from mrsflow.files import read_json, read_table
from mrsflow.reporting import group_figures, group_page, group_read, provenance, session_page
from mrsflow.study import ratings

pytestmark = pytest.mark.browser
HOSTILE = "<script>window.hit = 1</script><b>$x_1$</b>"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (make env)")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


def make_pages(output: Path, participants: int, frozen: bool = True, name: str = "Made-up trial") -> dict:
    """Write figures, session pages and the group page of a made-up trial; gives its configuration."""
    config = write_study(output, participants, frozen, name=name)
    trial = group_read.load(config)
    group_figures.draw_all(trial, output / "figures")
    for key in trial.keys:
        session_page.write(output, key, config)
    provenance.note_run(output, ["mrsflow", "run"])
    group_page.write(config)
    return config


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Folder of the pages of a small trial with a hostile study name."""
    output = tmp_path_factory.mktemp("report")
    make_pages(output, 6, name=f"Trial {HOSTILE}")
    return output / "report"


class Opened:
    """A page with what went wrong while it loaded."""

    def __init__(self, browser, path: Path, width: int = 1200):
        self.problems, self.requests = [], []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.problems.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(path.as_uri())
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()


PAGES = ("index.html", "sub-001_ses-v1.html", "sub-006_ses-v2.html")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1200, 390])
def test_page_opens_without_errors_or_requests_and_fits_the_screen(browser, report, name, width):
    with Opened(browser, report / name, width) as opened:
        assert opened.problems == []
        assert [u for u in opened.requests if not u.startswith(("file:", "data:"))] == []
        assert len([u for u in opened.requests if u.startswith("file:")]) == 1
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_links_resolve(browser, report, name):
    with Opened(browser, report / name) as opened:
        links = opened.page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")
        assert links
        for link in links:
            if link.startswith("#"):
                assert opened.page.query_selector(link) is not None, link
            elif not link.startswith("https://doi.org/"):
                assert (report / link.split("#")[0]).is_file(), link


@pytest.mark.parametrize("name", PAGES)
def test_configuration_tables_and_runs_are_one_link_away(browser, report, name):
    wanted = {"configuration.yaml", "samples.tsv", "../logs/runs.txt"}
    with Opened(browser, report / name) as opened:
        if name != "index.html":
            opened.page.click("footer a[href$='#provenance']")
            opened.page.wait_for_url("**/index.html#provenance")
            opened.page.wait_for_load_state()
        links = opened.page.eval_on_selector_all("#provenance a", "all => all.map(a => a.getAttribute('href'))")
        told = opened.page.inner_text("#provenance")
    assert wanted <= set(links)
    assert all(word in told for word in ("code", "numpy", "snakemake"))


@pytest.mark.parametrize("name", PAGES)
def test_text_from_the_data_stays_text(browser, report, name):
    with Opened(browser, report / name) as opened:
        assert opened.page.evaluate("window.hit") is None
        assert HOSTILE in opened.page.inner_text("body")


@pytest.mark.parametrize("name", PAGES)
def test_page_can_be_read_by_machines(browser, report, name):
    with Opened(browser, report / name) as opened:
        page = opened.page
        assert page.get_attribute("html", "lang") == "en"
        assert page.eval_on_selector_all("img", "all => all.filter(i => !i.alt || !i.naturalWidth).length") == 0
        assert (
            page.eval_on_selector_all("svg[role=img]", "all => all.filter(s => !s.getAttribute('aria-label')).length")
            == 0
        )
        assert page.eval_on_selector_all("table", "all => all.filter(t => !t.querySelector('th[scope]')).length") == 0
        ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
        assert len(ids) == len(set(ids))


def test_spectra_run_from_high_to_low_shift_with_the_peak_of_naa_in_place(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        ticks = opened.page.eval_on_selector_all(
            "[data-block='0'] .xtick", "all => all.map(t => [Number(t.textContent), Number(t.getAttribute('x'))])"
        )
        values, places = zip(*sorted(ticks), strict=True)
        assert list(places) == sorted(places, reverse=True)
        path = opened.page.get_attribute("[data-block='0'] path[data-series=fit]", "d")
        points = [tuple(map(float, p.split(","))) for p in re.findall(r"[\d.]+,[\d.]+", path)]
        highest = min(points, key=lambda p: p[1])[0]
        slope = (values[-1] - values[0]) / (places[-1] - places[0])
        assert values[0] + slope * (highest - places[0]) == pytest.approx(2.008, abs=0.02)
        assert opened.page.text_content("[data-block='0'] .xlabel") == "Chemical shift (ppm)"


def test_components_come_and_go(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        page, drawn = opened.page, "[data-block] path[data-series='Gln']"
        assert page.locator(drawn).count() == 0
        page.get_by_role("button", name="Glu and Gln").click()
        assert page.locator(drawn).count() == 6
        page.get_by_label("Gln", exact=True).uncheck()
        assert page.locator(drawn).count() == 0 and page.locator("[data-block] path[data-series='Glu']").count() == 6
        page.get_by_role("button", name="none").click()
        assert page.locator("[data-block] path[data-series='Glu']").count() == 0
        assert opened.problems == []


def shown_ticks(page):
    return [float(text) for text in page.locator("[data-block='1'] .xtick").all_text_contents()]


def test_spectra_are_zoomed_by_a_drag_by_numbers_and_back(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        page, whole = opened.page, shown_ticks(opened.page)
        points = lambda: page.get_attribute("[data-block='1'] path[data-series=data]", "d").count(",")  # noqa: E731
        stored = points()
        box = page.locator("[data-block='0'] svg").bounding_box()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 100)
        page.mouse.up()
        near = shown_ticks(page)  # all spectra of the scan follow
        assert max(near) - min(near) < 0.3 * (max(whole) - min(whole))
        assert float(page.get_by_label("From").first.input_value()) == pytest.approx(2.72, abs=0.05)
        page.locator("[data-block='0']").dblclick()
        assert shown_ticks(page) == whole and points() == stored
        page.get_by_label("From").first.fill("2.1")
        page.locator("input[data-zoom]").nth(1).fill("1.9")
        page.locator("input[data-zoom]").nth(1).press("Tab")
        assert max(shown_ticks(page)) <= 2.1 and min(shown_ticks(page)) >= 1.9
        page.get_by_role("button", name="whole range").click()
        assert shown_ticks(page) == whole and opened.problems == []


def test_points_between_are_those_of_a_zero_filled_fid(browser, report):
    n, factor = 1024, 4
    time = np.arange(n) / 1000
    fid = np.exp(2j * np.pi * 103.3 * time - np.pi * 5 * time) + 0.4 * np.exp(
        -2j * np.pi * 41 * time - np.pi * 8 * time
    )
    stored, wanted = (np.fft.fftshift(np.fft.fft(fid, size)).real for size in (n, n * factor))
    with Opened(browser, report / PAGES[1]) as opened:
        found = np.array(opened.page.evaluate("values => [...filled(values, 4)]", stored.tolist()))
    inner = slice(16 * factor, -16 * factor)
    np.testing.assert_allclose(found[inner], wanted[: found.size][inner], atol=0.003 * wanted.max())


def test_correlations_and_basis_signals_are_drawn_when_asked_for(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        page = opened.page
        page.get_by_text("Correlations of all estimates").click()
        assert page.locator(".correlation rect").count() == 6 * 5
        assert page.locator(".pair ol li").count() == 8
        page.get_by_text("Basis signals").click()
        assert page.locator(".basis path[data-series]").count() == 6
        assert opened.problems == []


def test_page_of_a_session_prints_on_one_sheet(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        printed = opened.page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


def test_rejected_transients_say_why(browser, report):
    rejected = read_table(next(report.parent.rglob("sub-001_ses-v1_*transients_quality.tsv")))["rejected"].astype(str)
    with Opened(browser, report / PAGES[1]) as opened:
        marks = opened.page.eval_on_selector_all(
            "[data-course=shift_hz] [data-series=rejected] title", "all => all.map(t => t.textContent)"
        )
        assert len(marks) == (rejected == "True").sum() > 0
        assert set(marks) == {"amplitude 50 % low"}


def test_table_of_metabolites_changes_its_measure(browser, report):
    with Opened(browser, report / PAGES[1]) as opened:
        visible = "table[data-measure]:visible"
        assert opened.page.locator(visible).get_attribute("data-measure") == "per_tnaa"
        assert opened.page.locator(f"{visible} tr.primary th").all_inner_texts() == ["Glx"]
        opened.page.locator("select[data-measure]").select_option("sd_percent")
        assert opened.page.locator(visible).count() == 1
        assert opened.page.locator(visible).get_attribute("data-measure") == "sd_percent"


def test_sessions_can_be_searched_and_filtered(browser, report):
    with Opened(browser, report / "index.html") as opened:
        page, rows = opened.page, "#session-table tbody tr:visible"
        assert page.locator(rows).count() == 12
        page.get_by_label("only with a problem").check()
        assert page.locator(rows).count() == 2
        assert "2 of 12" in page.inner_text("#shown")
        page.get_by_label("only with a problem").uncheck()
        page.fill("#find", "sub-003")
        assert page.locator(rows).count() == 2


def test_sessions_are_sorted_rated_and_their_ratings_downloaded(browser, report, tmp_path):
    with Opened(browser, report / "index.html") as opened:
        page = opened.page
        keys = lambda: page.locator("#session-table tbody th").all_inner_texts()  # noqa: E731
        column = page.locator("#session-table thead th").all_inner_texts().index("SNR")
        numbers = lambda: page.locator(f"#session-table tbody td:nth-child({column + 1})").all_inner_texts()  # noqa: E731
        first = keys()
        for order in ("ascending", "descending"):
            page.locator("#session-table th button", has_text="SNR").press("Enter")
            assert page.locator(f"th[aria-sort={order}]").inner_text() == "SNR"
            found = [float(text) for text in numbers() if re.fullmatch(r"[\d.]+", text)]
            assert found == sorted(found, reverse=order == "descending") and len(found) > 5
        page.locator("#session-table th button", has_text="Session").click()
        assert keys() == sorted(first)
        verdicts = page.locator("#verdict option").all_inner_texts()
        page.locator("#verdict").select_option(verdicts[1])
        shown = page.locator("#session-table tbody tr:visible")
        assert 0 < shown.count() < 12
        assert set(page.locator("#session-table tbody tr:visible td:nth-child(2)").all_inner_texts()) == {verdicts[1]}
        page.locator("#verdict").select_option("")
        page.get_by_label("Rating of sub-002_ses-v1").select_option("bad")
        page.get_by_label("Note on sub-002_ses-v1").fill("=she\tmoved")
        page.get_by_label("Rating of sub-003_ses-v2").select_option("doubtful")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download ratings").click()
        assert download.value.suggested_filename == "ratings.tsv"
        download.value.save_as(tmp_path / "ratings.tsv")
        assert opened.problems == []
    table = ratings.read(tmp_path / "ratings.tsv")
    assert table[["key", "rating"]].to_numpy().tolist() == [
        ["sub-002_ses-v1", "bad"], ["sub-003_ses-v2", "doubtful"]
    ]  # fmt: skip
    assert table["note"].iloc[0] == "she moved"


def test_everything_is_there_in_print(browser, report):
    with Opened(browser, report / "index.html") as opened:
        opened.page.fill("#find", "sub-003")
        opened.page.emulate_media(media="print")
        assert opened.page.locator("#session-table tbody tr:visible").count() == 12
        assert not opened.page.locator("nav").is_visible()


def test_question_and_answer_stand_first_in_three_sentences(browser, report):
    headline = read_json(report.parent / "group" / "headline.json")
    with Opened(browser, report / "index.html") as opened:
        asked, answered, rests = opened.page.locator(".summary p").all_inner_texts()
    assert headline["question"]["treatment"] in asked and headline["question"]["variable"] in asked
    shown = [float(text.replace("−", "-")) for text in re.findall(r"−?\d+(?:\.\d+)?", answered)]
    wanted = [headline[key] for key in ("percent_of_baseline", "percent_ci_low", "percent_ci_high")]
    for value in wanted:
        assert min(abs(value - found) for found in shown) < 0.06
    inside = headline["percent_ci_low"] <= 0 <= headline["percent_ci_high"]
    assert ("does not tell it from no difference" in answered) == inside
    assert f"{headline['n_participants']} participants" in rests and "of 12 sessions planned" in rests


def test_what_a_design_cannot_have_leaves_no_box(browser, report):
    with Opened(browser, report / "index.html") as opened:
        assert opened.page.get_by_text("Not drawn").count() == 0
        drawn = {entry["name"] for entry in read_json(report.parent / "figures" / "figures.json") if entry["drawn"]}
        shown = opened.page.eval_on_selector_all("figure[id]", "all => all.map(f => f.id.replace('figure-', ''))")
        assert set(shown) == drawn


def test_methods_text_is_copied(browser, report):
    with Opened(browser, report / "index.html") as opened:
        page = opened.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the text").click()
        page.wait_for_function("document.getElementById('copied').textContent !== ''")
        assert page.inner_text("#copied") == "copied"
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.split("\n\n") == page.locator("#methods-text p").all_text_contents()


def test_on_a_phone_nothing_moves_sideways(browser, report):
    rows = len(read_table(report.parent / "group" / "sensitivity.tsv"))
    with Opened(browser, report / "index.html", 390) as opened:
        page = opened.page
        for part in page.locator("details").all():
            part.evaluate("part => part.open = true")
        wide = page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1"
            " && getComputedStyle(e).overflowX !== 'visible' && !e.matches('input, select'))"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
        assert not page.locator("#figure-sensitivity img").is_visible()
        assert 0 < page.locator("#figure-sensitivity .forest li:visible").count() <= rows
        assert page.locator("#narrow-courses svg").count() == 5  # the outcome, its parts, linewidth and SNR
        row = page.locator("#session-table tbody tr").first
        assert row.bounding_box()["width"] <= 390 and "SNR" in row.locator("td").nth(5).evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )


CONTRAST = """() => {
  const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const parsed = text => text.match(/[\\d.]+/g).map(Number);
  const behind = e => { for (; e; e = e.parentElement) { const c = parsed(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const found = new Set();
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest("svg, option, script")) continue;
    const a = light(parsed(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`);
  }
  return [...found];
}"""
"""Texts whose contrast is below 4.5 (WCAG 2.2, 1.4.3)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out_in_light_and_dark(browser, report, name, scheme):
    with Opened(browser, report / name) as opened:
        opened.page.emulate_media(color_scheme=scheme)
        assert opened.page.evaluate(CONTRAST) == []
        page = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (page == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.usefixtures("png_alone")
def test_masked_pages_show_codes_and_no_comparison(browser, tmp_path):
    make_pages(tmp_path, 4, frozen=False)
    with Opened(browser, tmp_path / "report" / "index.html") as opened:
        text = opened.page.content()
        assert "placebo" not in text and "naltrexone" not in text
        assert "Arms are masked" in text
        assert opened.page.locator("#figure-sensitivity img").count() == 0
        assert "Not drawn while arms are masked" in opened.page.inner_text("#figure-sensitivity")


def test_a_scan_of_one_average_shows_its_spectra(browser, tmp_path):
    config = write_study(tmp_path, 2)
    path = next(tmp_path.glob("derivatives/mrsflow/sub-*/ses-*/mrs/*_desc-preproc_figure.npz"))
    with np.load(path) as arrays:
        content = dict(arrays)
    for name in (n for n in content if n.startswith("image_") and n != "image_ppm"):
        content[name] = content[name][:1]
    np.savez(path, **content)
    key = path.name.split("_task-")[0].split("_desc-")[0]
    session_page.write(tmp_path, key, config)
    with Opened(browser, tmp_path / "report" / f"{key}.html") as opened:
        assert opened.page.locator("[data-block='0'] path[data-series=fit]").count() == 1
        assert not opened.page.locator("[data-image=before]").is_visible()
