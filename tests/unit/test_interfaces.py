"""Nipype interfaces: spec2nii by typed inputs, and a Nipype workflow of our own steps."""

import dataclasses
import datetime
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from traits.api import TraitError

from mrsflow import axes, nifti_mrs
from mrsflow.basis_sets.basis import Basis
from mrsflow.conversion.external import Spec2nii
from mrsflow.files import read_table, write_json
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing.preprocess import Settings
from mrsflow.simulation import rawfiles
from mrsflow.study import config

FREQUENCY, DWELL, N_POINTS, N_FRAMES = 127.73, 5e-4, 1024, 12
LINES = {"NAA": {2.008: 3.0}, "Cr": {3.027: 3.0, 3.913: 2.0}, "GPC": {3.212: 9.0}, "Glu": {2.35: 2.0, 3.74: 1.0}}


def signals(width: float) -> dict[str, np.ndarray]:
    t = axes.time_axis(N_POINTS, DWELL)
    return {
        name: sum(a * np.exp((2j * np.pi * axes.ppm_to_hz(p, FREQUENCY) - np.pi * width) * t) for p, a in lines.items())
        for name, lines in LINES.items()
    }


@pytest.mark.parametrize("wrong", [{"subcommand": "unknown"}, {"frequency": "127 MHz"}, {"evalinfo": 3}])
def test_inputs_are_typed(wrong):
    with pytest.raises(TraitError):
        Spec2nii(**wrong)


def test_file_names_are_quoted():
    command = Spec2nii(subcommand="ge", in_files=["in/a; touch b.7"]).cmdline
    assert "'in/a; touch b.7'" in command and "--keep_zero_valued" in command


def test_spec2nii_runs_quietly_in_its_folder(tmp_path, capfd):
    header = rawfiles.RawHeader(FREQUENCY, DWELL, 0.03, 2.0, 8, datetime.datetime(2030, 1, 7))
    fid = np.tile(signals(5)["NAA"], (2, 3, 1))
    rawfiles.write_ge_pfile(tmp_path / "P1.7", fid, 100 * fid[:, :2], header)
    result = Spec2nii(subcommand="ge", in_files=["P1.7"]).run(cwd=str(tmp_path))
    assert result.runtime.returncode == 0
    assert [Path(p).name for p in result.outputs.out_files] == ["scan.nii.gz", "scan_ref.nii.gz"]
    assert capfd.readouterr() == ("", "")


def test_a_program_in_a_folder_with_a_space_is_started(tmp_path, monkeypatch):
    folder = tmp_path / "new user" / "bin"
    folder.mkdir(parents=True)
    program = folder / "spec2nii"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(Spec2nii, "_cmd", str(program))
    done = Spec2nii(subcommand="ge", in_files=["a b.7"]).run(cwd=str(tmp_path)).runtime
    assert done.returncode == 0
    assert done.stdout.startswith("ge a b.7 ")


@pytest.mark.parametrize(
    ("doing", "error"),
    [("while :; do :; done", subprocess.TimeoutExpired), ("sleep 60", TimeoutError)],
    ids=["works in a circle: the file's fault", "waits: the machine's"],
)
def test_a_program_that_does_not_end_is_ended(tmp_path, monkeypatch, doing, error):
    program = tmp_path / "endless"
    program.write_text(f"#!/bin/sh\n{doing}\n")
    program.chmod(0o755)
    monkeypatch.setattr(Spec2nii, "time_limit", 0.4)
    monkeypatch.setattr(Spec2nii, "patience", 100.0 if error is subprocess.TimeoutExpired else 2.0)
    monkeypatch.setattr(Spec2nii, "_cmd", str(program))
    with pytest.raises(error):
        Spec2nii(subcommand="ge", in_files=["x"]).run(cwd=str(tmp_path))


def test_a_program_that_waits_for_the_machine_is_waited_for(tmp_path, monkeypatch):
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\nsleep 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(Spec2nii, "time_limit", 0.4)
    monkeypatch.setattr(Spec2nii, "_cmd", str(program))
    assert Spec2nii(subcommand="ge", in_files=["x"]).run(cwd=str(tmp_path)).runtime.returncode == 0


def test_a_nipype_workflow_of_preprocess_and_fit(tmp_path):
    """Amplitudes of noisy frames at a known ratio come back through a two-node workflow."""
    from nipype import Node, Workflow

    from mrsflow.basis_sets import basis_formats
    from mrsflow.interfaces import FitBlocks, Preprocess

    rng = np.random.default_rng(5)
    brain = signals(6)
    fid = brain["NAA"] + 0.8 * brain["Cr"] + 0.25 * brain["GPC"] + 1.2 * brain["Glu"]
    fid = fid + 0.1 * (rng.normal(size=(N_FRAMES, N_POINTS, 2)) @ [1, 1j])
    header = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "dim_5": "DIM_DYN"}
    scan = tmp_path / "sub-01_ses-1_svs.nii.gz"
    nifti_mrs.write(Scan(fid, ("DIM_DYN",), DWELL, header), scan)
    write_json({"RepetitionTime": 2.0, "ExcitationsPerFrame": 8, "EchoTime": 0.03}, tmp_path / "sub-01_ses-1_svs.json")
    basis = Basis(tuple(LINES), np.stack(list(signals(2).values())), DWELL, FREQUENCY, 4.65, 2.0)
    basis_formats.write_basis(basis, tmp_path / "known.BASIS")

    preprocess = Node(Preprocess(in_files=[scan], bins={"one": [0.0, 1.6], "two": [1.6, 3.2]}), "preprocess")
    fit = Node(FitBlocks(basis=tmp_path / "known.BASIS", ppm=(1.0, 4.2)), "fit")
    workflow = Workflow("session", base_dir=str(tmp_path / "work"))
    workflow.connect(preprocess, "out_file", fit, "in_file")
    done = workflow.run()
    table = read_table(next(node.result.outputs.out_file for node in done.nodes if node.name == "fit"))
    amplitudes = table.pivot(index="spectrum", columns="metabolite", values="amplitude")
    np.testing.assert_allclose(amplitudes["Cr"] / amplitudes["NAA"], 0.8, rtol=0.03)
    np.testing.assert_allclose(amplitudes["GPC"] / amplitudes["NAA"], 0.25, rtol=0.03)
    assert len(amplitudes) == 2
    blocks = next(node.result.outputs.out_file for node in done.nodes if node.name == "preprocess")
    options = {"in_file": blocks, "basis": tmp_path / "known.BASIS", "macromolecules": "default"}
    again = Node(FitBlocks(**options), "again", base_dir=str(tmp_path / "again")).run()
    assert {"MM09", "Lip13"} <= set(read_table(again.outputs.out_file)["metabolite"])


def test_interfaces_have_every_setting_as_the_configuration_describes_it():
    from mrsflow.interfaces import FitBlocks, Preprocess

    inputs = Preprocess().inputs
    settings = {field.name for field in dataclasses.fields(Settings)}
    assert settings <= set(inputs.copyable_trait_names())
    assert set(config.rule_of("preprocess")["properties"]) <= settings
    assert (inputs.event, inputs.max_shift_ppm, inputs.align_ppm, inputs.match_linewidth) == (
        "start",
        0.3,
        (1.8, 3.4),
        False,
    )
    assert inputs.trait("align_ppm").desc == "Range used to find frequency and phase of each transient (ppm)."
    inputs.match_linewidth = True
    for name, value in (("align_ppm", (1.8, 3.4, 5.0)), ("minimum_transients", "many"), ("remove_water", "no")):
        with pytest.raises(TraitError, match=name):
            setattr(inputs, name, value)
    with pytest.raises(TraitError, match="'fsl' or 'osprey' or 'spant' or 'challenge'"):
        FitBlocks().inputs.constants = "mine"


def test_telemetry_is_off():
    code = "import mrsflow.interfaces, os; print(os.environ['NIPYPE_NO_ET'])"
    path = Path(__file__).resolve().parents[2] / "scripts"
    environment = {"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1", done.stderr


def test_nipype_waits_until_an_interface_is_used():
    """Loading it takes longer than all else that a stage imports."""
    code = """
import importlib, pkgutil, sys, mrsflow
for module in pkgutil.walk_packages(mrsflow.__path__, "mrsflow."):
    if module.name not in ("mrsflow.interfaces", "mrsflow.conversion.external"):
        importlib.import_module(module.name)
print("nipype" in sys.modules)
import mrsflow.interfaces
print("nipype" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
