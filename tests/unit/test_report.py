"""Pages: what they say of a session, and that text from the data stays text."""

import base64
import io
import json
import re

import nibabel
import numpy as np
import pytest
from made_results import BLOCKS, PEAKS, curve, made_config, write_record, write_session
from PIL import Image

from mrsflow import nifti_mrs
from mrsflow.errors import InputError
from mrsflow.files import read_table, write_table
from mrsflow.reporting import course_picture, group_figures, group_page, session_charts, session_page, voxel_picture
from mrsflow.reporting.report import render

KEY = "sub-01_ses-1"
NAME = "mrs/sub-01_ses-1_task-ketamine_svs.nii.gz"
RULE = {"level": "block", "metric": "snr", "worse": "below", "warn": 20, "exclude": 10}


@pytest.fixture
def study(tmp_path):
    """Folder and configuration of a study with one finished session."""
    write_session(tmp_path, "01", "1", "placebo", np.random.default_rng(3), 1.0)
    return tmp_path, made_config(tmp_path)


def data_of(html):
    """The JSON that a page carries."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL).group(1))


def unpack(text, scale):
    return np.frombuffer(base64.b64decode(text), dtype="<i2") * scale


def page_of(study):
    output, config = study
    return session_page.write(output, KEY, config).read_text(encoding="utf-8")


def test_packed_curves_come_back_within_half_a_step():
    values = np.random.default_rng(1).normal(0, 100, 500)
    scale = session_charts.scale_for(values)
    np.testing.assert_allclose(unpack(session_charts.pack(values, scale), scale), values, atol=scale / 2)
    assert np.abs(values).max() == pytest.approx(32767 * scale)


def test_curves_of_the_page_are_those_of_the_fit(study):
    found = data_of(page_of(study))[0]["spectra"]
    assert found["names"] == list(PEAKS)
    assert [block["title"].split(" ")[0] for block in found["blocks"]] == BLOCKS
    ppm = np.array(found["ppm"])
    assert (np.diff(ppm) > 0).all()
    for block in found["blocks"]:
        fit = unpack(block["fit"], block["scale"])
        assert ppm[np.argmax(fit)] == pytest.approx(2.008, abs=0.01)
        components = unpack(block["components"], block["scale"]).reshape(len(PEAKS), -1)
        shape = curve("Gln", ppm)
        assert np.corrcoef(components[found["names"].index("Gln")], shape)[0, 1] > 0.9999


def test_transients_of_the_page_mark_the_rejected(study):
    found = data_of(page_of(study))[0]["transients"]
    assert len(found["minutes"]) == 180 and found["minutes"][0] == pytest.approx(-8)
    assert sum(found["rejected"]) > 0
    assert all(bool(reason) == rejected for reason, rejected in zip(found["reason"], found["rejected"], strict=True))


def test_alignment_pictures_have_high_shift_left_and_time_upwards():
    values = np.zeros((5, 8))
    values[4, 7] = 1.0  # last transient, highest shift
    picture = Image.open(io.BytesIO(base64.b64decode(session_charts.grey_picture(values, 1.0))))
    grey = np.asarray(picture)
    assert grey.shape == (5, 8)
    assert grey[0, 0] == 0 and (np.delete(grey.ravel(), 0) == 255).all()


def test_page_tells_what_went_in_and_what_is_not_known(study):
    html = page_of(study)
    for text in ("Siemens", "30 ms", "20 × 20 × 20 mm", "Coils", "RF coil combination"):
        assert text in html
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", html))
    assert facts["Field strength"] == "missing"
    assert facts["Coils"] == "8"
    assert facts["Echo time"] == "30 ms"
    assert facts["Excitations"] == "1440"
    assert "2 checks at conversion, 1 warn" in html and "turned by 3 degrees" in html


def test_page_never_names_the_arm(study):
    html = page_of(study)
    assert "placebo" not in html and "naltrexone" not in html


def test_links_of_a_page_resolve(study):
    output, config = study
    page = session_page.write(output, KEY, config)
    links = [link for link in re.findall(r'href="([^"#]+)"', page.read_text()) if not link.startswith("data:")]
    assert len(links) > 8
    assert [link for link in links if not (page.parent / link).is_file()] == ["index.html"]  # the report rule's


def test_same_files_give_the_same_page(study):
    assert page_of(study) == page_of(study)


def test_failed_session_gets_a_page_with_the_reason(tmp_path):
    write_record(tmp_path, "convert", KEY, [], "failed", "samples.tsv, line 3: <script>alert(1)</script> is empty")
    html = page_of((tmp_path, made_config(tmp_path)))
    assert "convert failed" in html and "preprocess: not run" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "<script>alert(1)" not in html


def test_page_of_a_session_that_failed_in_the_fit_shows_the_rest(study):
    output, config = study
    write_record(output, "fit", KEY, [], "failed", "tNAA is not positive")
    html = session_page.write(output, KEY, config).read_text()
    (chart,) = data_of(html)
    assert chart["spectra"] is None and chart["alignment"] is not None
    assert "tNAA is not positive" in html and "there is no fit of this scan" in html


def test_a_session_without_a_fit_shows_the_spectra_of_its_blocks(study):
    output, config = study
    (folder,) = output.glob("derivatives/mrsflow/sub-*/ses-*/mrs")
    time = np.arange(1024) / 2000
    hz = 166 * 2000 / 1024  # on a point
    line = np.exp(2j * np.pi * hz * time - np.pi * 5 * time)  # 5 Hz wide
    header = {"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}
    path = folder / "sub-01_ses-1_task-ketamine_desc-blocks_svs.nii.gz"
    scan = nifti_mrs.Scan(np.array([n * line for n in range(1, 7)]), ("DIM_DYN",), 5e-4, header, np.eye(4))
    nifti_mrs.write(scan, path)
    record = json.loads((output / "status" / "preprocess" / f"{KEY}.json").read_text())
    write_record(output, "preprocess", KEY, [*(output / name for name in record["outputs"]), path])
    write_record(output, "fit", KEY, [], "failed", "tNAA is not positive")
    html = session_page.write(output, KEY, config).read_text()
    spectra = data_of(html)[0]["spectra"]
    assert [block["title"] for block in spectra["blocks"]] == BLOCKS
    ppm, values = np.array(spectra["ppm"]), unpack(spectra["blocks"][2]["data"], spectra["blocks"][2]["scale"])
    assert ppm[np.argmax(values)] == pytest.approx(4.65 - hz / 123.2, abs=0.001)
    assert values.max() == pytest.approx(3 * 2000 / (np.pi * 5), rel=0.02)  # the height of a Lorentzian line
    assert "There is no fit of this scan; these are its spectra." in html


def test_width_of_the_water_reference_is_that_of_its_line(tmp_path):
    time = np.arange(2048) / 2000
    fid = np.exp(2j * np.pi * 3.3 * time - np.pi * 7.5 * time + 0.8j)
    header = {"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}
    nifti_mrs.write(nifti_mrs.Scan(np.array([fid, fid]), ("DIM_DYN",), 5e-4, header, np.eye(4)), tmp_path / "w.nii.gz")
    found = session_charts.water_of(tmp_path / "w.nii.gz")
    assert found["width_hz"] == pytest.approx(7.5, abs=0.05)
    curve = unpack(found["water"], found["scale"])
    assert found["hz"][int(np.argmax(curve))] == 0 and curve.min() > 0


def test_correlations_are_those_of_the_covariance_and_leave_out_failed_blocks():
    covariance = np.array([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    found = session_charts.correlations_of([covariance, np.full((3, 3), np.nan)])
    np.testing.assert_allclose(found, [[1, -0.5, 0], [-0.5, 1, 0], [0, 0, 0]])
    assert session_charts.correlations_of(np.full((2, 3, 3), np.nan)) is None


def test_the_course_of_the_outcome_comes_first_with_intervals_of_the_fit(study):
    output, config = study
    found = data_of(page_of(study))[0]["outcome"]
    (path,) = output.rglob("*_desc-blocks_mrsfit.tsv")
    table = read_table(path)
    own = table[table["metabolite"] == "Glx"]
    np.testing.assert_allclose(found["value"], own["per_tnaa"], atol=1e-5)
    np.testing.assert_allclose(found["high"], own["per_tnaa"] + 1.96 * own["per_tnaa_sd"], atol=1e-4)
    assert found["minutes"] == [-4, 4, 12, 20, 28, 36]
    html = page_of(study)
    assert html.index("Glx/tNAA over time") < html.index("Spectra and fits") < html.index("What went in")
    config["group"]["outcome"] = "Glu/Gln"  # a ratio without a column of its own
    found = data_of(page_of(study))[0]["outcome"]
    glu, gln = (table[table["metabolite"] == name]["amplitude"].to_numpy() for name in ("Glu", "Gln"))
    np.testing.assert_allclose(found["value"], glu / gln, atol=1e-5)
    assert found["low"] == [None] * 6
    config["group"]["outcome"] = "Glx/Asc"
    html = page_of(study)
    assert data_of(html)[0]["outcome"] is None and "does not have Glx/Asc" in html


def test_every_run_of_a_session_is_described(study):
    output, config = study
    (first,) = output.glob("bids/sub-*/ses-*/mrs/*_svs.json")
    second = first.with_name(first.name.replace("_svs", "_run-2_svs"))
    content = json.loads(first.read_text())
    second.write_text(json.dumps({**content, "NumberOfTransients": 77}))
    record = json.loads((output / "status" / "convert" / f"{KEY}.json").read_text())
    write_record(output, "convert", KEY, [*(output / name for name in record["outputs"]), second])
    html = session_page.write(output, KEY, config).read_text()
    rows = re.findall(r'<tr><th scope="row">([^<]*svs)</th>(.*?)</tr>', html)
    found = {name: re.findall(r">([^<>]+)</td>", cells) for name, cells in rows}
    assert found["task-ketamine_svs"][:3] == ["30 ms", "2 s", "1440"]
    assert found["task-ketamine_run-2_svs"][:3] == ["30 ms", "2 s", "77"]


def test_a_figure_that_waits_for_the_freeze_says_so_and_one_that_nobody_asked_for_is_left_out(tmp_path):
    names = ("sensitivity", "mood_link", "multiverse", "reliability")
    reasons = [group_figures.MASKED] * 3 + ["Fewer than three participants have baselines of two visits."]
    index = [{"name": n, "drawn": False, "reason": r} for n, r in zip(names, reasons, strict=True)]
    (tmp_path / "figures.json").write_text(json.dumps(index))
    found = group_page._pictures(tmp_path, {"mood_scale": None, "multiverse": {"denominator": ["tNAA", "tCr"]}})
    assert list(found) == ["sensitivity", "multiverse"]


def test_pages_lead_to_their_neighbours(study):
    output, config = study
    html = session_page.write(output, KEY, config, ("", "sub-02_ses-1")).read_text()
    assert 'rel="next" href="sub-02_ses-1.html"' in html and 'rel="prev"' not in html


def test_text_from_the_data_cannot_end_the_script(study):
    output, config = study
    (path,) = output.rglob("*_desc-transients_quality.tsv")
    text = path.read_text().replace("amplitude 50 % low", "</script><script>alert(1)</script>")
    path.write_text(text)
    html = session_page.write(output, KEY, config).read_text()
    assert "<script>alert" not in html
    assert "</script><script>alert(1)</script>" in data_of(html)[0]["transients"]["reason"]


def test_number_that_is_not_finite_never_reaches_the_page_as_one():
    context = {"charts": [float("nan")]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        render(
            "session.html.j2",
            {
                **dict.fromkeys(("title", "study", "key", "quality_word", "previous", "next", "outcome", "runs"), ""),
                "stages": [],
                "scans": [],
                **context,
            },
        )


@pytest.mark.parametrize(
    ("value", "word"), [(30.0, "pass"), (20.0, "pass"), (15.0, "warn"), (5.0, "exclude"), (None, "missing")]
)
def test_verdict_of_a_rule(value, word):
    assert session_page.verdict(value, RULE) == word


def test_rules_stand_beside_their_values(study):
    html = page_of(study)
    assert "✗" not in html.split("Quality against the rules")[1].split("Fit of each block")[0]
    output, config = study
    config["quality"]["rules"] = [{**RULE, "warn": None, "exclude": 1000}]
    html = session_page.write(output, KEY, config).read_text()
    assert html.count('<span class="exclude">✗ exclude</span>') == len(BLOCKS) + 1  # each block, and the session


def test_a_doubtful_fit_stands_on_the_page_with_its_reason(study):
    output, config = study
    (path,) = output.rglob("*_desc-blocks_fitquality.tsv")
    table = read_table(path)
    table["reason"] = table["reason"].astype(object)
    table.loc[2, ["status", "reason"]] = ["doubtful", "residual <b>4.2</b> times the noise"]
    write_table(table, path)
    html = session_page.write(output, KEY, config).read_text()
    rule = re.search(r'<tr><th scope="row">fit_status</th>(.*?)</tr>', html, re.DOTALL)[1]
    words = re.findall(r'<span class="(\w+)">', rule)
    assert words == ["pass"] * 2 + ["warn"] + ["pass"] * 3
    assert 'quality: <span class="warn">' in html
    assert "residual &lt;b&gt;4.2&lt;/b&gt; times the noise" in html.split("Fit of each block")[1]
    assert html.count(f"{BLOCKS[2]}, doubtful</th>") == 4  # in the head of each table of metabolites
    assert f"{BLOCKS[2]} (8 to 16 min), doubtful" in data_of(html)[0]["spectra"]["blocks"][2]["title"]


def test_blocks_that_look_like_numbers_and_odd_events_leave_the_page_as_it_is(study):
    output, config = study
    known = page_of(study)
    (first, second), codes = BLOCKS[1:3], ("1e1", "010")
    for path in output.rglob("*_desc-*_*.tsv"):
        table = read_table(path, text_columns=True)
        if "block" in table:
            write_table(table.replace({"block": {first: codes[0], second: codes[1]}}), path)
    config["blocks"]["bins"] = {
        {first: codes[0], second: codes[1]}.get(name, name): span for name, span in config["blocks"]["bins"].items()
    }
    record = output / "status" / "convert" / f"{KEY}.json"
    content = json.loads(record.read_text())
    events = next(iter(content["outputs"])).rpartition("/mrs/")[0] + "/mrs/sub-01_ses-1_task-ketamine_events.tsv"
    (output / events).parent.mkdir(parents=True, exist_ok=True)
    (output / events).write_text("onset\ttrial_type\nlater\tcough\n")
    record.write_text(json.dumps({**content, "outputs": {**content["outputs"], events: "0"}}))
    found = page_of(study)
    titles = [block["title"].split(" ")[0] for block in data_of(found)[0]["spectra"]["blocks"]]
    assert titles == [BLOCKS[0], *codes, *BLOCKS[3:]]
    for code, name in zip(codes, (first, second), strict=True):
        assert found.count(f">{code}<") == known.count(f">{name}<") > 0


def test_a_session_without_any_good_block_defines_no_snr(study):
    output, config = study
    (path,) = output.rglob("*_desc-blocks_quality.tsv")
    table = read_table(path, text_columns=True)
    known = [name for name in table if name in ("participant", "session", "block", "phase", "onset_s", "duration_s")]
    write_table(table.assign(**{name: None for name in table if name not in known}, reason="7 good excitations"), path)
    html = session_page.write(output, KEY, config).read_text()
    assert "The rules stand in the configuration.</p>" in html


def test_metabolites_put_sums_first_and_leave_out_what_has_no_values(study):
    output, _ = study
    (path,) = output.rglob("*_desc-blocks_mrsfit.tsv")
    table = read_table(path)
    measures = {m["name"]: m for m in session_page.metabolite_tables(table)}
    assert "molar_mM" not in measures
    rows = measures["per_tnaa"]["rows"]
    assert [row["name"] for row in rows][:4] == ["Glx", "tNAA", "tCr", "tCho"]
    own = table[(table["metabolite"] == "Glx") & (table["block"] == "ket2")].iloc[0]
    assert rows[0]["cells"][2] == f"{own['per_tnaa']:.3f} ± {own['per_tnaa_sd']:.3f}"


def anatomy(tmp_path, flip=False):
    """A 1 mm image with a bright spot 30 mm to the left of, and 20 mm before, the origin."""
    data = np.zeros((121, 121, 121), np.float32)
    affine = nibabel.affines.from_matvec(np.eye(3), [-60, -60, -60])
    data[60 - 30, 60 + 20, 60] = 1000
    if flip:  # the same head, stored from right to left
        data, affine = data[::-1], nibabel.affines.from_matvec(np.diag([-1, 1, 1]), [60, -60, -60])
    path = tmp_path / f"T1w{flip}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def voxel(tmp_path, centre=(0, 0, 0), size=(20, 30, 10)):
    """A single-voxel file of a size (mm) at a place."""
    header = {"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}
    affine = nibabel.affines.from_matvec(np.diag(size), centre)
    path = tmp_path / "svs.nii.gz"
    nifti_mrs.write(nifti_mrs.Scan(np.ones(16, complex), (), 5e-4, header, affine), path)
    return path


def test_voxel_mask_has_the_volume_and_place_of_the_voxel():
    grid = nibabel.affines.from_matvec(np.eye(3), [-60, -60, -60])
    turned = nibabel.affines.from_matvec(
        np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]]) @ np.diag([20, 30, 10]),
        [5, -7, 3.5],
    )
    index = np.stack(np.meshgrid(*[np.arange(121)] * 3, indexing="ij"), axis=-1)
    mask = voxel_picture.inside_voxel(index, grid, turned)
    assert mask.sum() == pytest.approx(20 * 30 * 10, rel=0.01)
    np.testing.assert_allclose(np.argwhere(mask).mean(axis=0) - 60, [5, -7, 3.5], atol=0.1)


@pytest.mark.parametrize("flip", [False, True])
def test_overlay_shows_left_on_the_left_and_front_at_the_top(tmp_path, flip):
    image = Image.open(io.BytesIO(voxel_picture.overlay(anatomy(tmp_path, flip), voxel(tmp_path)))).convert("L")
    axial = np.asarray(image)[:, : voxel_picture.HEIGHT]
    outlined = np.asarray(
        Image.open(io.BytesIO(voxel_picture.overlay(anatomy(tmp_path, flip), voxel(tmp_path)))).convert("RGB")
    )
    rows, columns = np.nonzero(axial > 240)
    assert columns.mean() / axial.shape[1] == pytest.approx(30.5 / 121, abs=0.02)
    assert rows.mean() / axial.shape[0] == pytest.approx(40.5 / 121, abs=0.02)
    orange = np.argwhere((outlined[:, : voxel_picture.HEIGHT, 0] > 200) & (outlined[:, : voxel_picture.HEIGHT, 2] < 60))
    span = np.ptp(orange, axis=0) / voxel_picture.HEIGHT * 121
    np.testing.assert_allclose(span, [30, 20], atol=1.5)


@pytest.mark.parametrize(("centre", "shown"), [((0, 0, 0), "data:image/png"), ((0, 0, 300), "lies outside it")])
def test_page_shows_the_voxel_or_says_why_not(study, tmp_path, centre, shown):
    output, config = study
    raw = output / "bids" / "sub-01" / "ses-1"
    files = {anatomy(tmp_path): "anat/sub-01_ses-1_T1w.nii.gz", voxel(tmp_path, centre): NAME}
    for source, name in files.items():
        (raw / name).parent.mkdir(exist_ok=True)
        source.rename(raw / name)
    known = [p for p in output.rglob("*_svs.json") if "bids" in p.parts]
    write_record(output, "convert", KEY, [*known, *(raw / name for name in files.values())])
    html = session_page.write(output, KEY, config).read_text()
    assert shown in html.split("What went in")[1]


def test_voxel_outside_the_image_is_said(tmp_path):
    with pytest.raises(InputError, match="outside"):
        voxel_picture.overlay(anatomy(tmp_path), voxel(tmp_path, (0, 0, 300)))


def test_the_picture_of_a_course_is_drawn_to_scale():
    """Places by hand: minutes across, % of the mean of the course upward, blocks without a value left out."""
    minutes, fit = np.array([-5.0, 5.0, 15.0]), np.array([9.0, 10.0, 11.0])
    free, sd = np.array([9.5, np.nan, 11.0]), np.array([0.5, np.nan, 0.5])
    found = course_picture.drawing("Glx", minutes, free, sd, fit, 0.0123)
    assert found["p"] == "0.012"
    line = np.array([pair.split(",") for pair in found["line"].split()], float)
    percent = np.array([float(text) for _, text in found["up"]])
    up = np.polyfit(percent, [y for y, _ in found["up"]], 1)
    np.testing.assert_allclose(np.polyval(up, [90, 100, 110]), line[:, 1], atol=0.2)
    assert up[0] < 0
    (x, y, low, high), _ = found["points"]
    assert len(found["points"]) == 2
    np.testing.assert_allclose([x, y, low, high], [line[0, 0], *np.polyval(up, [95, 90, 100])], atol=0.2)
    across = np.polyfit([float(text) for _, text in found["across"]], [place for place, _ in found["across"]], 1)
    np.testing.assert_allclose(np.polyval(across, minutes), line[:, 0], atol=0.2)


def test_a_page_draws_the_courses_of_a_dynamic_fit(study):
    output, _ = study
    assert "Courses over time" not in page_of(study)
    path = next(output.glob("derivatives/mrsflow/**/*_mrsfit.npz"))
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    n = len(content["data"])
    rows = {f"course_{name}": np.linspace(8, 10, n)[np.newaxis] for name in ("free", "fit")}
    more = {
        "course_sd": np.full((1, n), 0.2),
        "course_p": [np.nan],
        "course_minutes": np.arange(n),
        "course_names": ["Glx"],
    }
    np.savez(path, **content, **rows, **more)
    text = page_of(study)
    assert text.count("<polyline") == 1
    assert text.count("<circle") == n
    assert "<figcaption>Glx</figcaption>" in text


def test_a_page_of_a_series_shows_some_blocks_and_judges_all(study, monkeypatch):
    """Of six blocks three, evenly over time; the fourth is not shown and bad, and the session is judged by it."""
    output, config = study
    path = next(output.glob("derivatives/mrsflow/**/*_desc-blocks_quality.tsv"))
    table = read_table(path)
    table.loc[3, "snr"] = 5.0
    write_table(table, path)
    config["quality"]["rules"] = [RULE]
    whole = page_of(study)
    monkeypatch.setattr(session_page, "MOST_BLOCKS", 5)
    monkeypatch.setattr(session_page, "SHOWN_BLOCKS", 3)
    text = page_of(study)
    assert "3 of 6 blocks are shown here" in text
    assert "are shown here" not in whole
    titles = [block["title"].split(" ")[0] for block in data_of(text)[0]["spectra"]["blocks"]]
    assert titles == [BLOCKS[0], BLOCKS[2], BLOCKS[5]]
    header = re.search(r"<th scope=\"col\">Metric</th>.*?</tr>", text).group()
    assert [name for name in BLOCKS if f">{name}</th>" in header] == [BLOCKS[0], BLOCKS[2], BLOCKS[5]]
    for page in (whole, text):
        assert re.search(r"quality: <[^>]*exclude", page)
    all_of_them, some = (data_of(page)[0]["spectra"]["blocks"] for page in (whole, text))
    assert some == [all_of_them[k] for k in (0, 2, 5)]
