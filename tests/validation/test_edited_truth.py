"""Simulated edited scans of known content, from one file to the fit: edit-OFF frames alone are fitted, where they lie.

Glutamate and glutamine rise by a tenth half way through the edit-OFF frames. Edit-ON frames are the same without NAA
and NAAG, which is what makes an edited scan taken for PRESS so wrong. Each order of the conditions in time puts the
rise elsewhere, so that the blocks tell where frames were placed.
"""

import numpy as np
import pytest
from small_config import PRESS

from mrsflow import nifti_mrs
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats, sequences
from mrsflow.conversion import convert
from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.preprocessing import session_files
from mrsflow.quantification import fit_files
from mrsflow.simulation import simulate
from mrsflow.study import config, layout
from mrsflow.study.study import read_study

pytestmark = pytest.mark.slow

FREQUENCY, DWELL, POINTS, OFF, AVERAGED, RISE = 127.73, 5e-4, 2048, 32, 8, 1.1
PROTOCOL = PRESS | {
    "echo_time_ms": 68, "spectrometer_frequency_mhz": FREQUENCY, "excitations_per_frame": AVERAGED,
    "macromolecules": "none",
}  # fmt: skip
MINUTES = OFF * AVERAGED * 2 / 60  # of either condition
TURNS = np.arange(2 * OFF) % 2 == 0
ON_OF = {
    "halves": np.arange(2 * OFF) < OFF,
    "alternating": TURNS,
    "off first": ~TURNS,
    "by 4": np.arange(2 * OFF) // 4 % 2 == 0,
}
RISES_AT = {"halves": 1.5 * MINUTES, "DIM_EDIT": MINUTES}  # min; of the others in the middle as well


@pytest.fixture(scope="module")
def basis_file(tmp_path_factory):
    protocol = config.checked(study({}, "p", all=[0, 60]))["protocols"]["p"]
    made = sequences.simulate(sequences.Sequence.from_protocol(protocol), FREQUENCY, macromolecules=False)
    path = tmp_path_factory.mktemp("basis") / "p.BASIS"
    basis_formats.write_basis(made, path)
    return path


@pytest.fixture(scope="module")
def frames(basis_file):
    """Edit-OFF frames in the order of time, and edit-ON frames."""
    basis = basis_sets.match(basis_formats.load(basis_file), FREQUENCY, "1H", DWELL, POINTS)
    signals = simulate.metabolite_signals(basis, simulate.CONCENTRATIONS_MM)
    whole = sum(signals.values())
    glx, naa = signals["Glu"] + signals["Gln"], signals["NAA"] + signals["NAAG"]
    late = np.arange(OFF) >= OFF // 2
    off = whole + (RISE - 1) * np.where(late, 1.0, 0.0)[:, np.newaxis] * glx
    noise = np.random.default_rng(17).normal(size=(2, OFF, POINTS, 2)) @ [1, 1j]
    size = 0.004 * np.abs(whole[0])
    return off + size * noise[0], off - naa + size * noise[1]


def study(inputs, protocol, **bins):
    return {
        "study": {"design": "single_arm", "conditions": ["a"]},
        "inputs": inputs,
        "protocols": {protocol: PROTOCOL | {"use_frames": "edit off"}, "on": PROTOCOL | {"use_frames": "edit on"}},
        "blocks": {"event": "start", "bins": bins, "minimum_transients": 1},
    }


def written(folder, off, on, order, rows="\n01\t1\tsvs\toff\tp\ta.nii.gz"):
    """Write a file of both conditions in an order, and a study of it whose blocks part at the rise."""
    header = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], "EchoTime": 0.068, "RepetitionTime": 2.0}
    if order == "DIM_EDIT":
        fid, dims = np.stack([on, off]), ("DIM_EDIT", "DIM_DYN")
    else:
        fid, dims = np.empty((2 * OFF, POINTS), complex), ("DIM_DYN",)
        fid[ON_OF[order]], fid[~ON_OF[order]] = on, off
    scan = nifti_mrs.Scan(fid, (), DWELL, header, np.diag([20.0, 20.0, 20.0, 1.0])).with_data(fid, dims)
    nifti_mrs.write(scan, folder / "a.nii.gz")
    texts = {
        "samples": "participant\tsession\trole\ttask\tprotocol\traw" + rows,
        "participants": "participant\n01",
        "sessions": "participant\tsession\tvisit\tarm\n01\t1\t1\ta",
    }
    for name, text in texts.items():
        (folder / f"{name}.tsv").write_text(f"{text}\n")
    inputs = {name: str(folder / f"{name}.tsv") for name in texts} | {"select": {"task": "off"}}
    rise = RISES_AT.get(order, MINUTES)
    return config.checked(study(inputs, "p", before=[0, rise], after=[rise, 2 * MINUTES + 1]))


@pytest.mark.parametrize("order", [*ON_OF, "DIM_EDIT"])
def test_edit_off_gives_what_was_put_in_where_it_was_measured(tmp_path, frames, basis_file, order):
    both = (
        "\n01\t1\tsvs\toff\tp\ta.nii.gz\n01\t1\tsvs\ton\ton\ta.nii.gz"  # two rows of one file, of which one is chosen
    )
    settings = written(tmp_path, *frames, order, both)
    files = convert.convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path)
    files = session_files.preprocess_session("sub-01_ses-1", files, settings, tmp_path)
    made = fit_files.fit_session_files("sub-01_ses-1", files, {"p": basis_file}, settings["fit"])
    table = read_table(next(path for path in made if path.name.endswith(layout.FIT)))
    glx = table[table["metabolite"] == "Glx"].set_index("block")
    counts = dict(zip(glx.index, glx["n_transients"] + glx["n_rejected"], strict=True))
    assert counts == {"before": OFF // 2 * AVERAGED, "after": OFF // 2 * AVERAGED}
    content = simulate.CONCENTRATIONS_MM
    rest = (content["Glu"] + content["Gln"]) / (content["NAA"] + content["NAAG"])
    found = glx.loc[["before", "after"], "per_tnaa"].to_numpy()
    np.testing.assert_allclose(found, [rest, RISE * rest], rtol=0.03)
    np.testing.assert_allclose(found[1] / found[0], RISE, rtol=0.02)


def test_all_frames_together_or_edit_on_are_no_press(tmp_path, frames):
    settings = written(tmp_path, *frames, "halves")
    for rule, said in ("all", "frames with NAA .* are mixed"), ("edit on", "hold no NAA: they are edit-on"):
        settings["protocols"]["p"]["use_frames"] = rule
        with pytest.raises(InputError, match=said):
            convert.convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path)
