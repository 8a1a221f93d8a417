"""FSL-MRS as a fitter, and a list of fitters: what is asked, what is read of a recorded run, what is said.

``fsl_mrs_2.4.11/`` is what FSL-MRS 2.4.11 wrote for the first spectrum of `a_session`.
"""

import os
import shutil
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from small_config import single_arm

from mrsflow import nifti_mrs
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.basis_formats import read_json, write_basis
from mrsflow.basis_sets.sequences import Sequence, simulate
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.fitting.dynamic import terms
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import fit_tables, fitters, fslmrs
from mrsflow.quantification.fit_files import fit_session_files
from mrsflow.quantification.fitters import Request
from mrsflow.study import config, layout

RECORDED = Path(__file__).with_name("fsl_mrs_2.4.11")
AMOUNTS = {"Cr": 4.5, "PCr": 3.5, "PCh": 1.6, "Glu": 9.0, "Gln": 3.0, "Ins": 6.0, "NAA": 11.5}
DWELL, MHZ, POINTS, PPM = 5e-4, 123.2, 512, (1.9, 4.0)


@cache
def a_basis() -> Basis:
    return simulate(Sequence("press", 0.03, 0.012), MHZ, tuple(AMOUNTS), False, DWELL, POINTS)


def a_session() -> np.ndarray:
    rng, t = np.random.default_rng(7), np.arange(POINTS) * DWELL
    clean = np.array(list(AMOUNTS.values())) @ a_basis().fids * np.exp(-np.pi * 5 * t + 0.3j)
    return clean + 0.15 * (rng.normal(size=(2, POINTS)) + 1j * rng.normal(size=(2, POINTS)))


def a_request(fids=None, **more) -> Request:
    return Request(a_session() if fids is None else fids, DWELL, MHZ, "1H", a_basis(), PPM, **more)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Make a stand-in that answers with a recorded run, and keeps what it was asked; `then`: lines of Python."""

    def make(version="2.4.11", then=f"shutil.copytree({str(RECORDED)!r}, asked['--output'])") -> Path:
        path = tmp_path / "fsl_mrs"
        path.write_text(
            f"#!{sys.executable}\nimport os, shutil, signal, sys\n"
            f"if sys.argv[1:] == ['--version']: print({version!r}); sys.exit()\n"
            "asked = dict(zip(sys.argv[1:-1], sys.argv[2:]))\n"
            f"open({str(tmp_path / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"shutil.copytree(asked['--basis'], {str(tmp_path / 'basis')!r}, dirs_exist_ok=True)\n"
            f"shutil.copy(asked['--data'], {str(tmp_path)!r})\n{then}\n"
        )
        path.chmod(0o755)
        monkeypatch.setenv("FSL_MRS_EXEC", str(path))
        return tmp_path

    fslmrs.version.cache_clear()
    return make


def test_the_program_is_asked_for_sums_and_given_data_and_basis_set(program):
    place = program()
    fitters.make("fsl_mrs")(a_request())
    first, _ = (place / "asked").read_text().splitlines()
    assert first.startswith("--data block0.nii.gz --basis set --output block0 ")
    for option in ("--ppmlim 1.9 4", "--combine Cr PCr", "--combine Glu Gln", "--no_conj_fid"):
        assert f"{option} " in f"{first} "
    assert "--metab_groups" not in first  # there is nothing broad
    given = nifti_mrs.read(place / "block1.nii.gz")
    assert np.linalg.norm(given.fid) == pytest.approx(100, rel=1e-6)
    np.testing.assert_allclose(given.fid / given.fid[0], a_session()[1] / a_session()[1, 0], rtol=1e-4, atol=1e-4)
    basis = read_json(sorted((place / "basis").iterdir()))
    assert set(basis.names) == set(AMOUNTS)
    np.testing.assert_allclose(
        basis.fids, a_basis().fids[[a_basis().names.index(name) for name in basis.names]], rtol=1e-6
    )


def test_amounts_of_a_recorded_run_are_those_of_the_simulated_spectrum(program):
    """In units of data and basis set, within three of the SDs that FSL-MRS gives."""
    program()
    result = fitters.make("fsl_mrs")(a_request(a_session()[:1]))
    table = fit_tables.amplitudes(result, [0]).set_index("metabolite")
    truth = AMOUNTS | {"tCr": 8.0, "Glx": 12.0}
    for name, amount in truth.items():
        assert abs(table.loc[name, "amplitude"] - amount) < max(3 * table.loc[name, "sd"], 0.02 * amount), name
    assert table.loc["tCr", "sd"] < 0.5 * table.loc["Cr", "sd"]  # they cannot be told apart, their sum is known
    np.testing.assert_allclose(
        result.fit, result.baseline + result.components.sum(axis=1), atol=1e-3 * result.fit.max()
    )
    assert np.std(result.data - result.fit) < 0.02 * result.fit.max()
    naa = result.components[0, result.names.index("NAA")]
    assert result.ppm[naa.argmax()] == pytest.approx(2.01, abs=0.03)
    assert naa.min() > -0.05 * naa.max()  # phased
    quality = fit_tables.quality(result, [0]).iloc[0]
    assert quality["phase_deg"] == pytest.approx(np.degrees(0.3), abs=2)
    assert quality["residual_ratio"] == pytest.approx(1.0, abs=0.15)
    assert quality["constraints"].startswith("FSL-MRS 2.4.11 with")
    assert "block0/concentrations.csv" in result.files


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("sys.exit('numpy.linalg.LinAlgError: Singular matrix')", "status 1: numpy.linalg.LinAlgError: Singular"),
        ("pass", "files that cannot be read .*concentrations.csv"),
        ("os.mkdir('block0'); open('block0/concentrations.csv', 'w').write('a,b\\n')", "cannot be read"),
    ],
)
def test_a_run_that_ended_early_is_said(program, then, said):
    program(then=then)
    with pytest.raises(InputError, match=f"FSL-MRS gave no result: .*{said}"):
        fitters.make("fsl_mrs")(a_request())


def test_a_killed_program_is_a_fault_of_the_machine(program):
    program(then="os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        fitters.make("fsl_mrs")(a_request())


def test_blocks_that_are_no_spectra_fail_alone(program):
    program()
    fids = np.concatenate([a_session(), np.zeros((1, POINTS)), np.full((1, POINTS), np.nan)])
    result = fitters.make("fsl_mrs")(a_request(fids))
    assert [fit_tables.verdict(result, k)[0] for k in range(4)] == ["ok", "ok", "failed", "failed"]


@pytest.mark.parametrize("found", ["2.3.9", "1.1.13", "hello", ""])
def test_another_version_is_refused_before_any_job(program, found):
    program(version=found)
    with pytest.raises(InputError, match=r"2\.4 or newer|no version of FSL-MRS"):
        fitters.refuse_unready({"fitter": "fsl_mrs", "model": "independent"})


def test_what_is_missing_of_a_list_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("LCMODEL_EXEC", str(tmp_path / "away"))
    monkeypatch.setenv("FSL_MRS_EXEC", str(tmp_path / "gone"))
    with pytest.raises(InputError) as raised:
        fitters.refuse_unready({"fitter": ["mrsflow", "lcmodel", "fsl_mrs", "jmrui"], "model": "dynamic"})
    for said in ("LCMODEL_EXEC", "FSL_MRS_EXEC", "'jmrui'; known are", "fit.model is dynamic"):
        assert said in str(raised.value)


def test_a_course_over_time_is_refused(program):
    program()
    with pytest.raises(InputError, match="dynamic"):
        fitters.make("fsl_mrs")(a_request(terms=terms(tuple(AMOUNTS), {"step": [0.0, 1.0]}, 2)))


@pytest.fixture
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    write_basis(a_basis(), folder / "set.BASIS")
    header = {"SpectrometerFrequency": [MHZ], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "dim_5": "DIM_DYN"}
    header["dim_5_header"] = {"onset_s": [-480.0, 0.0], "duration_s": [480.0, 480.0], "phase": ["baseline", "infusion"]}
    nifti_mrs.write(Scan(a_session(), ("DIM_DYN",), DWELL, header), folder / f"sub-1_ses-1_{layout.BLOCKS}")
    return folder


def fitted(session, names) -> dict[str, Path]:
    settings = config.checked(single_arm() | {"fit": {"fitter": names, "ppm": list(PPM)}})["fit"]
    blocks = [path for path in session.iterdir() if path.name.endswith(layout.BLOCKS)]
    paths = fit_session_files("sub-1_ses-1", blocks, {"p": session / "set.BASIS"}, settings)
    assert all(path.is_file() for path in paths)
    return {path.name.removeprefix("sub-1_ses-1_"): path for path in paths}


def test_a_list_fits_every_block_with_all_and_the_first_keeps_the_names(program, session):
    program()
    alone = {name: path.read_bytes() for name, path in fitted(session, "mrsflow").items()}
    both = fitted(session, ["mrsflow", "fsl_mrs"])
    assert {name: both[name].read_bytes() for name in alone if name.endswith("tsv")} == {
        name: content for name, content in alone.items() if name.endswith("tsv")
    }
    further = {"mrsfit.tsv", "fitquality.tsv", "mrsfit.npz", "mrsfit.zip", "terms.tsv"}
    assert set(both) - set(alone) == {f"desc-fslmrs_{ending}" for ending in further}
    turned = fitted(session, ["fsl_mrs", "mrsflow"])
    assert turned["desc-blocks_mrsfit.tsv"].read_bytes() == both["desc-fslmrs_mrsfit.tsv"].read_bytes()
    with zipfile.ZipFile(both["desc-fslmrs_mrsfit.zip"]) as kept:
        assert "block1/all_parameters.csv" in kept.namelist()


def test_what_a_further_fitter_cannot_fit_has_failed_for_it_alone(program, session):
    program(then="sys.exit('no')")
    found = fitted(session, ["mrsflow", "fsl_mrs"])
    quality = read_table(found["desc-fslmrs_fitquality.tsv"])
    assert quality["status"].tolist() == ["failed", "failed"]
    assert quality["reason"].str.contains("FSL-MRS ended with status 1: no").all()
    assert read_table(found["desc-fslmrs_mrsfit.tsv"])["amplitude"].isna().all()
    assert (read_table(found["desc-blocks_fitquality.tsv"])["status"] != "failed").all()
    assert read_table(found["desc-fslmrs_terms.tsv"]).empty
    assert read_table(found["desc-blocks_terms.tsv"])["estimate"].notna().any()
    with pytest.raises(InputError, match="FSL-MRS gave no result"):
        fitted(session, ["fsl_mrs", "mrsflow"])


@pytest.mark.skipif(not shutil.which(os.environ.get("FSL_MRS_EXEC", "fsl_mrs")), reason="FSL-MRS is not installed")
def test_the_program_itself_finds_what_was_recorded():
    found = fitters.make("fsl_mrs")(a_request(a_session()[:1])).files["block0/concentrations.csv"].decode()
    recorded = (RECORDED / "concentrations.csv").read_text()
    for now, before in zip(found.splitlines()[2:], recorded.splitlines()[2:], strict=True):
        assert now.split(",")[0] == before.split(",")[0]
        assert float(now.split(",")[1]) == pytest.approx(float(before.split(",")[1]), rel=1e-3)
