"""Macromolecules of real metabolite-nulled scans, at 3 T and 14.1 T."""

from dataclasses import replace

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets import basis_formats, broad_lines, macromolecules, nulled, sequences
from mrsflow.conversion.convert import convert_by_hand
from mrsflow.preprocessing import blocks, nulled_scan
from mrsflow.preprocessing.preprocess import Run


def read_scan(folder, tmp_path, given=None):
    out = tmp_path / "scan.nii.gz"
    files = [folder] if folder.suffix == ".fid" else list(folder.glob("*.SDAT"))
    convert_by_hand(files, out, given or {})
    return nifti_mrs.read(out)


def test_inverted_philips_scan_keeps_its_macromolecules_alone(shared, tmp_path):
    """TI 600 ms is before the null of NAA (T1 1.4 s) and after that of creatine's CH2 (T1 0.9 s)."""
    folder = shared / "data/philips-sdat-press30-t1w/mrs"
    scan, water = (read_scan(folder / f"sub-01_ses-01_press-inverted{kind}", tmp_path) for kind in ("", "_ref"))
    made, found = nulled_scan.process([Run(scan, blocks.frames(1, 2.0, 48, 0.0), water)])
    assert found.residual["tNAA"] < -0.1 < 0.1 < found.residual["Cr CH2"]
    assert found.explained > 0.97
    ppm = axes.ppm_axis(made.n_points, made.dwell_time, made.spectrometer_frequency)
    spectrum = axes.to_spectrum(made.fid).real
    assert ppm[(spectrum * (ppm < 1.1) * (ppm > 0.5)).argmax()] == pytest.approx(0.92, abs=0.02)
    assert spectrum[(ppm > 0.5) & (ppm < 4.1)].min() > 0


@pytest.mark.parametrize("volunteer", [1, 2, 3, 4])
def test_files_of_volunteers_are_added_by_name_of_file(shared, volunteer):
    """Siemens, TE 20 ms, jMRUI text of a scan: creatine's CH2 upright, and as large as the parametrised ones."""
    press = sequences.Sequence("press", 0.03, te1=0.011)
    bare = sequences.simulate(press, 123.25, ("NAA", "Cr"), False, 5e-4, 2048)
    path = shared / f"data/jmrui-mm-3t-volunteers/Volunteer_{volunteer}/Occipital/TE_20.txt"
    found = macromolecules.chosen(bare, str(path))
    assert found.names == ("NAA", "Cr", "Mac")
    assert "residual Cr CH2 +" in found.description
    ours = macromolecules.total(found)
    table = macromolecules.total(macromolecules.chosen(bare, "default"))
    likeness = np.vdot(ours, table) / np.linalg.norm(ours) / np.linalg.norm(table)
    assert likeness.real > 0.93
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(table), rel=0.02)


def test_lines_that_stand_free_are_narrower_in_ppm_at_14_t(shared, tmp_path):
    """Rat at 14.1 T: MM14 and MM30, of which no neighbour takes part, beside widths that stay the same in ppm."""
    given = {"EchoTime": "0.00275"}
    scan = read_scan(shared / "data/varian-14t-rat-mm/14.1T_MM_rat_SPECIAL_Lausanne.fid", tmp_path, given)
    spectrum = nulled.Nulled(np.squeeze(scan.fid), scan.dwell_time, scan.spectrometer_frequency)
    shifts, widths, _, _ = nulled.fit_lines([spectrum], nulled.MISFIT_OF_ONE)
    ours = broad_lines.width_hz([0.18, 0.17], scan.spectrometer_frequency) / scan.spectrometer_frequency
    for shift, at_3_t, expected in ((1.39, 0.18, ours[0]), (2.98, 0.17, ours[1])):
        width = widths[np.abs(shifts - shift).argmin()]
        assert abs(np.log(width / expected)) < abs(np.log(width / at_3_t))


def test_a_basis_file_of_a_vendor_gets_them_in_its_unit(shared):
    """Creatine's methyl is three protons there and here."""
    path = shared / "data/basis/3T_PRESS_Siemens_35ms_noMM.BASIS"
    found = macromolecules.chosen(basis_formats.load(path), "default")
    ppm = axes.ppm_axis(found.n_points, found.dwell_time, found.spectrometer_frequency)
    creatine, mm09 = (axes.to_spectrum(found.fids[found.names.index(name)]) for name in ("Cr", "MM09"))
    methyl = np.abs(creatine[np.abs(ppm - 3.03) < 0.3].sum())
    assert np.abs(mm09[np.abs(ppm - 0.91) < 0.5].sum()) == pytest.approx(methyl, rel=0.05)
    again = replace(found, fids=found.fids * 3)
    assert macromolecules.unit(again) == pytest.approx(3 * macromolecules.unit(found))
