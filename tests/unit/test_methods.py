"""Methods text, MRSinMRS table and references: filled from what is known, missing where it is not."""

import re

import pandas as pd
import pytest
from made_results import made_config

from mrsflow.reporting import methods

SIDECAR = {
    "Manufacturer": "Siemens",
    "MagneticFieldStrength": 2.89,
    "EchoTime": 0.035,
    "RepetitionTime": 2.0,
    "ResonantNucleus": ["1H"],
    "ProcessingApplied": [{"Method": "RF coil combination"}, {"Method": "Nuisance peak removal"}],
}

PRIMARY = {"model": "y ~ arm + (1|participant)", "df_method": "kenward-roger"}


def checklist(config, sidecars=(), blocks=None, sessions=()):
    rows = methods.mrsinmrs(config, list(sidecars), blocks, list(sessions))
    return {row["item"]: row["value"] for row in rows}


@pytest.fixture
def config(tmp_path):
    return made_config(tmp_path)


def test_every_item_of_the_checklist_is_there(config):
    expected = "1a 1b 1c 1d 1e 2a 2b 2c 2d 2e 2e_i 2e_ii 2e_iii 2f 2g 2h 2i 3a 3b 3c 3d 4a 4b 4c 4d"
    assert list(checklist(config)) == [item.replace("_", " ") for item in expected.split()]


def test_without_headers_nothing_of_the_scanner_is_guessed(config):
    found = checklist(config)
    unknown = (
        "1a",
        "1b",
        "1c",
        "1d",
        "1e",
        "2b",
        "2c",
        "2d",
        "2e",
        "2e i",
        "2e iii",
        "2f",
        "2g",
        "2h",
        "2i",
        "3b",
        "4a",
    )
    assert {item for item, value in found.items() if value is None} == set(unknown)


def test_headers_fill_the_table_in_the_units_of_the_field(config):
    found = checklist(config, [SIDECAR], sessions=[{"n_coils": 32}])
    assert found["1a"] == "2.89 T"
    assert found["1b"] == "Siemens"
    assert found["1d"] == "1H; 32 receive channels"
    assert found["2d"] == "TR 2000 ms; TE 35 ms"
    assert found["3b"] == "RF coil combination; Nuisance peak removal"


def test_what_the_lab_declares_is_used(config):
    config["report"]["declared"] = {"voi_location": "anterior cingulate", "shim": "second order, water below 13 Hz"}
    found = checklist(config, [SIDECAR])
    assert found["2b"] == "anterior cingulate"
    assert found["2h"] == "second order, water below 13 Hz"


def test_scans_that_differ_are_counted_and_lacking_ones_named():
    sidecars = [{"Manufacturer": "GE"}, {"Manufacturer": "Siemens"}, {"Manufacturer": "GE"}, {}]
    assert methods.summarise(sidecars, "Manufacturer") == "GE (2 scans); Siemens (1 scan); missing (1 scan)"
    assert methods.summarise([{}, {}], "Manufacturer") is None
    assert methods.summarise([{"WaterSuppression": True}], "WaterSuppression") == "yes"


def test_time_series_items_come_from_the_blocks(config):
    blocks = pd.DataFrame(
        {
            "participant": ["a"] * 3 + ["b"] * 2,
            "session": "1",
            "n_transients": [240, 236, 200, 240, 232],
            "snr": 50.0,
            "snr_definition": "height over SD",
            "linewidth_hz": 6.0,
        }
    )
    found = checklist(config, blocks=blocks)
    assert found["2e i"] == "median 236 (range 200 to 240) excitations per block"
    assert found["2e iii"] == "median 2 (range 2 to 3) blocks per session"
    assert found["2e ii"].startswith("block-wise, not overlapping: baseline -8 to 0 min; ket1 0 to 8 min")
    assert "height over SD" in found["4a"] and "50.0" in found["4a"]


def test_exclusion_criteria_are_those_of_the_configuration(config):
    config["quality"]["rules"] = [{"level": "block", "metric": "snr", "worse": "below", "warn": 20, "exclude": 10}]
    config["quality"]["rules"] += [{"level": "block", "metric": "fit_status", "warn": "doubtful", "exclude": None}]
    assert checklist(config)["4b"] == "snr < 10 (block); fit_status failed (block)"


def test_the_text_tells_whose_data_how_measured_and_which_left_out(config):
    config["quality"]["rules"] = [{"level": "block", "metric": "snr", "worse": "below", "warn": 20, "exclude": 10}]
    sidecar = SIDECAR | {"AcquisitionVoxelSize": [20, 25, 30]}
    rows = methods.mrsinmrs(config, [sidecar], None, [])
    text = methods.data_text(config, rows, {"n_participants": 24, "n_sessions": 47})
    for words in ("24 participants with 47 sessions", "2.89 T", "TR 2000 ms; TE 35 ms", "20 × 25 × 30 mm"):
        assert words in text
    assert "snr < 10 (block)" in text and "warned of, snr < 20" in text
    assert "excitations per scan missing" in text  # no header says it


def test_methods_name_only_steps_that_were_done(config):
    text = " ".join(t for t, _ in methods.methods_text(config, [SIDECAR], None))
    assert "residual water was modelled" in text
    assert "eddy currents" not in text
    assert "Kenward" not in text
    keys = {key for _, found in methods.methods_text(config, [SIDECAR], PRIMARY) for key in found}
    assert "kenward1997" in keys and "klose1990" not in keys


def test_methods_name_the_model_as_the_tables_do(config):
    text = methods.methods_text(config, [SIDECAR], PRIMARY)[-1][0]
    assert "y ~ arm + (1|participant), fitted by restricted maximum likelihood with Kenward–Roger" in text
    plain = methods.methods_text(config, [SIDECAR], {"model": "change ~ 1", "df_method": "residual"})[-1][0]
    assert "change ~ 1." in plain and "Kenward" not in plain


def test_methods_say_what_amplitudes_follow_and_what_a_term_knows(config):
    fit = config["fit"] | {"model": "dynamic", "constant": ["NAA"]}
    own = config | {"fit": fit, "group": config["group"] | {"outcome": "Glx/tNAA: infusion"}}
    said = methods.methods_text(own, [SIDECAR], PRIMARY)
    text = " ".join(t for t, _ in said)
    assert "dynamic model. Amplitudes followed infusion (course; rise min 10); NAA did not change. The outcome" in text
    assert "The error of each session's value was known from its fit" in said[-1][0]
    plain = " ".join(t for t, _ in methods.methods_text(config, [SIDECAR], PRIMARY))
    assert "Amplitudes followed" not in plain and "was known from its fit" not in plain


def test_every_cited_reference_has_bibtex_with_a_doi(config):
    keys = re.findall(r"@article\{(\w+)", methods.BIB.read_text(encoding="utf-8"))
    bibtex, listed = methods.references([*keys, keys[0]])
    assert [entry["key"] for entry in listed] == keys
    assert bibtex.count("@article{") == len(keys)
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", entry["doi"]) for entry in listed)
    assert not [entry["text"] for entry in listed if re.search(r"[{}\\]", entry["text"])]
    cited = {key for _, found in methods.methods_text(config, [SIDECAR], PRIMARY) for key in found}
    cited |= {key for _, key in methods.STEPS.values() if key}
    assert cited <= set(keys)


def test_authors_keep_their_accents():
    _, (entry,) = methods.references(["molder2021"])
    assert entry["text"].startswith("Mölder et al. Sustainable data analysis with Snakemake. F1000Research 2021;10:33")


def test_methods_say_what_made_the_fractions_of_tissue(config):
    sources = {"samples table": 20, "mrsflow (simpleitk 2.5.7, nilearn 0.13.1)": 4, None: 2}
    text, keys = methods.amounts_text(config, sources)
    for words in (
        "from maps of samples table in 20 sessions", "mrsflow (simpleitk 2.5.7, nilearn 0.13.1) in 4 sessions: T1-",
        "assumed to be 60 % GM and 40 % WM in 2 sessions", "by the constants fsl", "the voxel's grey and white matter",
        "off by up to 15 %",
    ):  # fmt: skip
        assert words in text
    assert keys == ["gasparovic2006", "near2021", "tustison2010"]
    whole = config | {"fit": config["fit"] | {"csf_correction": False}}
    assert "the whole voxel, without CSF correction" in methods.amounts_text(whole, sources)[0]
    assert methods.amounts_text(config, {}) is None
