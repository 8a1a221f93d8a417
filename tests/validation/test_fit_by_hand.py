"""LCModel and FSL-MRS through our interfaces equal the programs run by hand, on spectra of known truth and real ones.

By hand: the fewest settings that say the same, the table that the program prints for people. The programs get the same
numbers as through the interface: in another scale amounts of LCModel differ by up to 0.4 %, and FSL-MRS ends at another
place when only the last digits of its files differ (GABA by 8 % in one of these spectra, tNAA by 0.2 %). They are not
part of the project: `LCMODEL_EXEC` and `FSL_MRS_EXEC` name them.
"""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import fit_tables, fitters, fslmrs, lcmodel
from mrsflow.quantification.fitters import Request

PPM = (0.2, 4.0)
SUMS = {"Cr+PCr": "tCr", "NAA+NAAG": "tNAA", "Glu+Gln": "Glx", "GPC+PCho": "tCho"}
PROGRAMS = {"lcmodel": os.environ.get("LCMODEL_EXEC", "lcmodel"), "fsl_mrs": os.environ.get("FSL_MRS_EXEC", "fsl_mrs")}
SETS = {
    "main": ("reference/truth/main_svs.nii.gz", (0, 3, 7)),
    "siemens-acc": ("reference/real/siemens-acc_svs.nii.gz", (0,)),
}


def lcmodel_by_hand(scan: Scan, fid: np.ndarray, basis, folder) -> dict[str, float]:
    """Ratios to tCr by the table that LCModel prints."""
    matched = basis_sets.match(basis_formats.load(basis), scan.spectrometer_frequency, "1H", scan.dwell_time, fid.size)
    basis_formats.write_basis(matched, folder / "set.basis")
    numbers = "".join(f"{z.real:15.6E}{z.imag:15.6E}\n" for z in fid * lcmodel.unit_of(fid, matched))
    (folder / "data.RAW").write_text(f" $NMID ID='hand', FMTDAT='(2E15.6)' $END\n{numbers}")
    control = (
        f" $LCMODL\n title='by hand', key=210387309, nunfil={fid.size}, deltat={scan.dwell_time},\n"
        f" hzpppm={scan.spectrometer_frequency}, ppmst={PPM[1]}, ppmend={PPM[0]}, dows=F, doecc=F,\n"
        f" filbas='set.basis', filraw='data.RAW', filps='data.ps', ltable=7, filtab='data.table', neach=99,\n"
        f" nnorat=1, norato(1)='GSH',\n"
        " nomit=5, chomit(1)='MM09', chomit(2)='MM12', chomit(3)='MM14', chomit(4)='MM17', chomit(5)='MM20'\n $END\n"
    )
    subprocess.run([PROGRAMS["lcmodel"]], input=control, text=True, cwd=folder, capture_output=True, check=False)
    rows = re.findall(r"^ *(\S+) +(\d+)% +(\S+) ([\w+-]+)\s*$", (folder / "data.table").read_text(), re.MULTILINE)
    amounts = {name: float(amount) for amount, _, _, name in rows}
    amounts["GPC+PCho"] = amounts["GPC"] + amounts["PCho"]
    return {name: amounts[name] / amounts["Cr+PCr"] for name in amounts}


def fsl_mrs_by_hand(scan: Scan, fid: np.ndarray, basis, folder) -> dict[str, float]:
    """Ratios to tCr as ``summary.csv`` has them."""
    matched = basis_sets.match(basis_formats.load(basis), scan.spectrometer_frequency, "1H", scan.dwell_time, fid.size)
    basis_formats.write_json(matched, folder / "set")
    header = {"SpectrometerFrequency": [scan.spectrometer_frequency], "ResonantNucleus": ["1H"]}
    nifti_mrs.write(Scan(fid * fslmrs.NORM / np.linalg.norm(fid), (), scan.dwell_time, header), folder / "data.nii.gz")
    combined = [part for names in SUMS for part in ("--combine", *names.split("+"))]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [PROGRAMS["fsl_mrs"], "--data", folder / "data.nii.gz", "--basis", folder / "set",
         "--output", folder / "out", "--ppmlim", *map(str, PPM), "--metab_groups", "Mac", *combined],
        env=own, capture_output=True, check=True,
    )  # fmt: skip
    rows = (line.split(",") for line in (folder / "out" / "summary.csv").read_text().splitlines()[1:])
    return {row[0]: float(row[1]) for row in rows}


def both(fitter, path, index, shared, folder) -> tuple[dict[str, float], dict[str, float]]:
    """Ratios to tCr of one spectrum through the interface, and by hand."""
    basis = shared / "data/fitting-challenge/basisset_LCModel/press3T_30ms.BASIS"
    scan = nifti_mrs.read(shared / path)
    fid = scan.ordered("DIM_DYN")[index]
    request = Request(
        fid[np.newaxis], scan.dwell_time, scan.spectrometer_frequency, "1H", basis_formats.load(basis), PPM
    )
    table = fit_tables.amplitudes(fitters.make(fitter)(request), [0]).set_index("metabolite")["per_tcr"]
    run = {"lcmodel": lcmodel_by_hand, "fsl_mrs": fsl_mrs_by_hand}[fitter]
    return table.to_dict(), {SUMS.get(name, name): value for name, value in run(scan, fid, basis, folder).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("fitter", PROGRAMS)
def test_the_interface_gives_what_the_program_gives_by_hand(fitter, name, shared, tmp_path):
    if not shutil.which(PROGRAMS[fitter]):
        pytest.skip(f"{fitter} is not installed ({fitter.upper()}_EXEC names it)")
    path, indices = SETS[name]
    for index in indices:
        (tmp_path / str(index)).mkdir()
        ours, theirs = both(fitter, path, index, shared, tmp_path / str(index))
        assert {"tNAA", "Glx", "Glu", "Ins", "Mac", "tCho"} <= theirs.keys() & ours.keys()
        for metabolite in theirs.keys() & ours.keys():
            assert ours[metabolite] == pytest.approx(theirs[metabolite], rel=2e-3, abs=2e-3), (index, metabolite)
