"""LCModel as a fitter: what it is given, what is read of a recorded run, and what is said where it is not there.

``lcmodel_6.3.coord`` is what LCModel 6.3-1N wrote for a spectrum of `AMOUNTS` with lines of 5 Hz, SNR about 100, at
123.2 MHz (512 points at 0.5 ms), fitted between 3.4 and 1.9 ppm with a simulated PRESS basis set.
"""

import os
import re
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.sequences import Sequence, simulate
from mrsflow.errors import InputError
from mrsflow.fitting.dynamic import terms
from mrsflow.quantification import fit_tables, fitters, lcmodel, one_by_one
from mrsflow.quantification.fitters import Request

RECORDED = Path(__file__).with_name("lcmodel_6.3.coord")
AMOUNTS = {"Cr": 4.5, "PCr": 3.5, "GPC": 1.2, "PCh": 0.4, "Glu": 9.0, "Gln": 3.0, "NAA": 10.0, "NAAG": 1.5, "GABA": 1.2}
NAMES = ("Cr", "PCr", "GPC", "PCh", "Glu", "Gln", "Ins", "NAA", "NAAG", "GABA")
DWELL, MHZ, POINTS = 5e-4, 123.2, 512


@cache
def a_basis(names=NAMES) -> Basis:
    return simulate(Sequence("press", 0.03, 0.012), MHZ, names, False, DWELL, POINTS)


def a_request(n_blocks=2, **more) -> Request:
    fids = np.array([a_basis().fids.sum(axis=0)] * n_blocks)
    return Request(fids, DWELL, MHZ, "1H", a_basis(), (1.9, 3.4), **more)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Make a stand-in that answers with what LCModel wrote, and keeps what it was asked."""

    def make(answer: str) -> Path:
        (tmp_path / "answer").write_text(answer, encoding="latin-1")
        path = tmp_path / "lcmodel"
        path.write_text(
            f"#!{sys.executable}\nimport re, shutil, sys\ncontrol = sys.stdin.read()\n"
            f"open({str(tmp_path / 'asked')!r}, 'a').write(control)\n"
            f"shutil.copy({str(tmp_path / 'answer')!r}, re.search(r\"filcoo='(.*)'\", control)[1])\n"
        )
        path.chmod(0o755)
        monkeypatch.setenv("LCMODEL_EXEC", str(path))
        return tmp_path / "asked"

    return make


def said_in_control(names, mhz=123.2) -> tuple[str, dict[str, str]]:
    text = lcmodel.Control(2048, 0.00025, mhz, (0.5, 4.2)).text("block3", names)
    return text, dict(line.strip().split("=", 1) for line in text.splitlines()[1:-1])


def listed(said, key) -> list[str]:
    return [value.strip("'") for name, value in said.items() if name.startswith(f"{key}(")]


def test_the_control_file_names_data_and_constraints():
    text, said = said_in_control(("NAA", "Cr", "PCr", "GABA", "GSH", "Gln"))
    assert text.startswith(" $LCMODL\n")
    assert text.endswith(" $END\n")
    assert {"nunfil": "2048", "deltat": "0.00025", "hzpppm": "123.2", "ppmst": "4.2", "ppmend": "0.5"}.items() <= (
        said.items()
    )
    priors = listed(said, "chrato")
    assert said["nratio"] == str(len(priors))
    assert "GABA/Big3 = .03 +- .03" in priors
    assert "MM20/MM09* = 1.5 +- .375 +WT= Lip09*" in priors  # of what LCModel simulates
    assert not any(prior.startswith(("GSH", "Asp")) for prior in priors)  # acts on Gln; not in the basis set
    assert said["nomit"] == "0"
    assert "nsimul" not in said
    assert listed(said, "chcomb") == ["Cr+PCr"]


def test_tau_is_not_held_at_high_field():
    assert "Tau/Big3 = .05 +- .05" in listed(said_in_control(("NAA", "Cr", "Tau"))[1], "chrato")
    assert not listed(said_in_control(("NAA", "Cr", "Tau"), 297.2)[1], "chrato")[-1].startswith("Tau")


def test_macromolecules_of_the_basis_set_are_used_and_none_is_simulated():
    """Those of LCModel's own names stop all simulation: CHOMIT would take them out of the basis set as well."""
    said = said_in_control(("NAA", "MM09", "MM20", "Lip13", "Asp"))[1]
    assert said["nsimul"] == "0"
    assert listed(said, "chrato") == ["Asp/Big3 = .05 +- .05"]
    assert said["nomit"] == "0"


def test_one_measured_signal_of_macromolecules_leaves_lipids_to_lcmodel():
    said = said_in_control(("NAA", "Mac"))[1]
    assert listed(said, "chomit") == ["MM09", "MM20", "MM12", "MM14", "MM17"]
    assert said["nomit"] == "5"
    assert "nsimul" not in said
    assert [prior[:5] for prior in listed(said, "chrato")] == ["Lip09", "Lip20", "-CrCH"]


def test_the_signal_that_lcmodel_simulates_is_not_given_twice():
    basis = a_basis(("NAA", "Cr"))
    given = replace(basis, names=("NAA", "-CrCH2"))
    assert lcmodel.of_lcmodel(given).names == ("NAA",)
    assert lcmodel.of_lcmodel(replace(basis, names=("MM09", "-CrCH2"))).names == ("MM09", "-CrCH2")


def test_a_name_that_lcmodel_would_cut_comes_back_whole():
    short = lcmodel.short_names(("NAA", "Ethanolamine", "Ethanol"))
    assert len(set(short.values())) == 3
    assert max(map(len, short.values())) <= 6
    found = {"amounts": {short["Ethanol"]: 2.0, f"NAA+{short['Ethanolamine']}": 4.0}, "sd": {}, "signals": {}}
    found |= {key: np.zeros(1) for key in ("ppm", "data", "fit", "baseline")} | {"version": "6.3"}
    found |= dict.fromkeys(("fwhm_ppm", "shift_ppm", "snr", "phase_deg"), 0.0)
    assert lcmodel.in_units(found, short, 2.0, MHZ).amounts == {"Ethanol": 1.0, "NAA+Ethanolamine": 2.0}


def test_the_data_are_written_as_lcmodel_writes_them(tmp_path):
    fid = a_basis().fids[0] * (1 + 2j)
    lcmodel.write_raw(fid, tmp_path / "a.RAW")
    numbers = np.array(re.findall(r"-?\d\.\d+E[+-]\d+", (tmp_path / "a.RAW").read_text()), float).reshape(-1, 2)
    np.testing.assert_allclose(numbers @ [1, 1j], fid, rtol=2e-6, atol=1e-6)
    assert "FMTDAT='(2E15.6)'" in (tmp_path / "a.RAW").read_text()
    assert all(len(line) == 30 for line in (tmp_path / "a.RAW").read_text().splitlines()[4:])


def test_a_recorded_run_is_read_whole():
    found = lcmodel.read_coord(RECORDED.read_text(encoding="latin-1"))
    assert found["version"] == "6.3-1N"
    assert found["ppm"][0] == pytest.approx(3.4, abs=0.01)
    assert found["ppm"][-1] == pytest.approx(1.9, abs=0.02)
    together = found["baseline"] + sum(found["signals"].values())
    np.testing.assert_allclose(found["fit"], together, atol=2e-3 * found["fit"].max())
    assert np.std(found["data"] - found["fit"]) < 0.02 * found["data"].max()
    for one, other in (("NAA", "NAAG"), ("Cr", "PCr"), ("Glu", "Gln")):
        both = found["amounts"][f"{one}+{other}"]
        assert both == pytest.approx(found["amounts"][one] + found["amounts"][other], rel=0.01)


def test_the_mark_of_an_amount_far_from_its_ratio_prior_is_no_part_of_its_name():
    """LCModel writes a plus sign where the space before the name stands."""
    text = RECORDED.read_text(encoding="latin-1")
    plain = lcmodel.read_coord(text)
    marked = re.sub(r"(\d+%\s+\S+) (NAA|Gln)(\s*\n)", r"\1+\2\3", text)
    assert marked != text
    assert lcmodel.read_coord(marked)["amounts"] == plain["amounts"]


def test_amounts_of_a_recorded_run_are_those_of_the_simulated_spectrum():
    """Within what its own line model leaves: it was told of 5 Hz lines by nothing but the data."""
    found = lcmodel.read_coord(RECORDED.read_text(encoding="latin-1"))["amounts"]
    of = {name: found[name] / found["Cr+PCr"] for name in ("NAA+NAAG", "Glu+Gln", "GPC+PCh")}
    total = AMOUNTS["Cr"] + AMOUNTS["PCr"]
    assert of["NAA+NAAG"] == pytest.approx(11.5 / total, rel=0.05)
    assert of["Glu+Gln"] == pytest.approx(12.0 / total, rel=0.10)
    assert of["GPC+PCh"] == pytest.approx(1.6 / total, rel=0.10)


def test_standard_deviations_of_sums_are_those_that_lcmodel_gives():
    names = ("A", "B", "C")
    sd = {"A": 3.0, "B": 4.0, "A+B": 2.0, "C": np.nan}
    matrix = one_by_one.covariance(names, sd)
    assert np.sqrt(matrix[0, 0] + matrix[1, 1] + 2 * matrix[0, 1]) == pytest.approx(2.0)
    assert np.isnan(matrix[2, 2])


def test_an_amount_of_zero_is_as_uncertain_as_its_sum():
    matrix = one_by_one.covariance(("GPC", "PCh"), {"GPC": 1.0, "PCh": np.nan, "GPC+PCh": 1.5})
    assert np.sqrt(matrix[1, 1]) == pytest.approx(1.5)
    assert np.sqrt(matrix.sum()) == pytest.approx(1.5)


def test_blocks_are_fitted_one_by_one_in_units_of_the_data(program):
    asked = program(RECORDED.read_text(encoding="latin-1"))
    result = fitters.make("lcmodel")(a_request())
    assert asked.read_text().count("$LCMODL") == 2
    scale = lcmodel.unit_of(a_request().fids[0], a_basis())
    found = lcmodel.read_coord(RECORDED.read_text(encoding="latin-1"))
    naa = result.names.index("NAA")
    np.testing.assert_allclose(result.amplitudes[:, naa], found["amounts"]["NAA"] / scale)
    table = fit_tables.amplitudes(result, [0, 1]).set_index(["spectrum", "metabolite"])
    assert table.loc[(0, "tNAA"), "sd"] == pytest.approx(found["sd"]["NAA+NAAG"] / scale)
    quality = fit_tables.quality(result, [0, 1])
    assert set(quality["status"]) == {"ok"}
    assert quality["constraints"].str.contains("CHRATO.*GABA/Big3 = .03.*CHOMIT").all()
    assert result.files["block1.control"].decode() == asked.read_text().partition(" $END\n")[2]
    assert result.files["block1.coord"] == RECORDED.read_bytes()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("   1 FATAL     MYBASI  7\n", "MYBASI 7"),
        ("nothing of use\n", "no table of concentrations"),
        ("", "no table of concentrations"),
    ],
)
def test_a_run_that_ended_early_is_said(program, answer, said):
    program(answer)
    with pytest.raises(InputError, match=said):
        fitters.make("lcmodel")(a_request())


def test_a_block_that_is_no_spectrum_fails_alone(program):
    program(RECORDED.read_text(encoding="latin-1"))
    request = a_request()
    request.fids[1] = np.nan
    result = fitters.make("lcmodel")(request)
    assert fit_tables.verdict(result, 0)[0] == "ok"
    assert fit_tables.verdict(result, 1) == ("failed", "the spectrum holds values that are not finite")


def test_a_killed_program_is_a_fault_of_the_machine(program, tmp_path):
    program("")
    (tmp_path / "lcmodel").write_text(f"#!{sys.executable}\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        fitters.make("lcmodel")(a_request())


def test_a_file_that_is_no_program_is_said_and_a_relative_path_is_found(program, tmp_path, monkeypatch):
    program(RECORDED.read_text(encoding="latin-1"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCMODEL_EXEC", "./lcmodel")
    assert fit_tables.verdict(fitters.make("lcmodel")(a_request(1)), 0)[0] == "ok"
    (tmp_path / "lcmodel").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(InputError, match="no program for this machine"):
        fitters.make("lcmodel")(a_request(1))


def test_without_the_program_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("LCMODEL_EXEC", str(tmp_path / "away"))
    with pytest.raises(InputError, match=r"away.*LCMODEL_EXEC, or take lcmodel out of"):
        fitters.refuse_unready({"fitter": "lcmodel", "model": "independent"})


def test_a_course_over_time_is_refused_before_and_in_the_fit(program):
    program(RECORDED.read_text(encoding="latin-1"))
    with pytest.raises(InputError, match="independent"):
        fitters.refuse_unready({"fitter": "lcmodel", "model": "dynamic"})
    with pytest.raises(InputError, match="dynamic"):
        fitters.make("lcmodel")(a_request(terms=terms(NAMES, {"step": [0.0, 1.0]}, 2)))


@pytest.mark.skipif(not shutil.which(os.environ.get("LCMODEL_EXEC", "lcmodel")), reason="LCModel is not installed")
def test_the_program_itself_finds_what_was_simulated():
    basis = a_basis()
    truth = AMOUNTS | {"Ins": 6.0}
    fid = np.array([truth[name] for name in basis.names]) @ basis.fids
    fid = fid * np.exp(-np.pi * 5 * np.arange(POINTS) * DWELL)
    result = fitters.make("lcmodel")(Request(fid[np.newaxis], DWELL, MHZ, "1H", basis, (1.9, 3.4)))
    table = fit_tables.amplitudes(result, [0]).set_index("metabolite")
    assert table.loc["tNAA", "per_tcr"] == pytest.approx(11.5 / 8.0, rel=0.05)
    assert table.loc["Glx", "per_tcr"] == pytest.approx(12.0 / 8.0, rel=0.10)
