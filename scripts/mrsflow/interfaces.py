"""Our own steps as Nipype interfaces, beside `Spec2nii`, for labs that build Nipype workflows.

Nipype's documentation: https://nipype.readthedocs.io. The workflow of this project does not use its engine.
"""

import re
from pathlib import Path
from typing import Any

from mrsflow.conversion.external import Spec2nii  # first: it turns telemetry off before nipype is imported
from mrsflow.study import layout

from nipype.interfaces.base import (  # isort: skip
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

__all__ = ["FitBlocks", "Preprocess", "Spec2nii"]


class PreprocessInputSpec(BaseInterfaceInputSpec):
    """Inputs of `Preprocess`; names and units as in sections blocks and preprocess of the configuration."""

    in_files = InputMultiPath(
        File(exists=True), mandatory=True, desc="metabolite scans of one session in BIDS, sidecars beside them"
    )
    bins = traits.Dict(traits.Str, traits.List(traits.Float), mandatory=True, desc="blocks: name, [start, end) in min")
    baseline = traits.List(traits.Str, desc="names of the blocks before the drug")
    event = traits.Str("start", usedefault=True, desc="event whose onset is time 0; start: the first excitation")
    minimum_transients = traits.Int(8, usedefault=True, desc="excitations that a block needs")
    align_ppm = traits.Tuple((1.8, 3.4), traits.Float, traits.Float, usedefault=True, desc="range for alignment (ppm)")
    remove_water = traits.Bool(True, usedefault=True, desc="subtract residual water")
    eddy_current = traits.Bool(True, usedefault=True, desc="Klose correction where there is a reference")
    match_linewidth = traits.Bool(False, usedefault=True, desc="broaden every block to the widest")
    phase_cycle = traits.Int(1, usedefault=True, desc="frames of one phase cycle")


class PreprocessOutputSpec(TraitedSpec):
    """Outputs of `Preprocess`."""

    out_file = File(exists=True, desc="clean blocks, NIfTI-MRS with DIM_DYN")
    reference = File(desc="averaged water reference, where there is one")
    block_table = File(exists=True, desc="quality of each block")
    transient_table = File(exists=True, desc="frequency, phase and rejection of each transient")
    session_file = File(exists=True, desc="quality of the session")


class Preprocess(BaseInterface):
    """From coils and transients of one session to clean blocks (`mrsflow.preprocessing.preprocess.process`)."""

    input_spec = PreprocessInputSpec
    output_spec = PreprocessOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from mrsflow.files import read_json
        from mrsflow.preprocessing import session_files
        from mrsflow.preprocessing.preprocess import Settings, process

        inputs = self.inputs.get()
        own = {name: inputs[name] for name in Settings.__dataclass_fields__ if name in inputs}
        settings = Settings(**own)
        paths = [Path(path).resolve() for path in inputs["in_files"]]
        session = process(session_files.read_runs(paths, inputs["event"]), settings)
        sidecar = read_json(layout.sidecar(paths[0]))
        stem = Path(runtime.cwd, re.sub(r"(_run-[^_]+)?_svs\.nii(\.gz)?$", "", paths[0].name))
        baseline = self.inputs.baseline if isdefined(self.inputs.baseline) else []
        self._written = session_files.write(session, settings, baseline, sidecar, stem)
        return runtime

    def _list_outputs(self) -> dict[str, str]:
        endings = {
            "out_file": layout.BLOCKS,
            "reference": layout.REFERENCE,
            "block_table": layout.BLOCK_QUALITY,
            "transient_table": layout.TRANSIENT_QUALITY,
            "session_file": layout.SESSION_QUALITY,
        }
        return {
            name: str(path) for name, ending in endings.items() for path in self._written if path.name.endswith(ending)
        }


class FitBlocksInputSpec(BaseInterfaceInputSpec):
    """Inputs of `FitBlocks`."""

    in_file = File(exists=True, mandatory=True, desc="spectra along DIM_DYN, NIfTI-MRS")
    basis = File(exists=True, mandatory=True, desc="basis set")
    reference = File(exists=True, desc="unsuppressed water, for molar concentrations")
    ppm = traits.Tuple((0.5, 4.2), traits.Float, traits.Float, usedefault=True, desc="fitted range (ppm)")
    macromolecules = traits.Str(desc="file of measured ones, default or none; without it, what the basis has")
    constants = traits.Str("fsl", usedefault=True, desc="set of constants for molar concentrations")
    out_name = traits.Str("mrsfit.tsv", usedefault=True, desc="name of the table")


class FitBlocksOutputSpec(TraitedSpec):
    """Outputs of `FitBlocks`."""

    out_file = File(exists=True, desc="tidy table of amplitudes and ratios")


class FitBlocks(BaseInterface):
    """Linear-combination fit of every spectrum of a file (`mrsflow.quantification.fit_files.fit_by_hand`)."""

    input_spec = FitBlocksInputSpec
    output_spec = FitBlocksOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from mrsflow.quantification.fit_files import fit_by_hand

        inputs = self.inputs
        reference = Path(inputs.reference) if isdefined(inputs.reference) else None
        self._out = Path(runtime.cwd, inputs.out_name)
        spectra, basis = Path(inputs.in_file), Path(inputs.basis)
        options = (reference, "independent", None, tuple(inputs.ppm), inputs.constants)
        macromolecules = inputs.macromolecules if isdefined(inputs.macromolecules) else None
        fit_by_hand(spectra, basis, self._out, *options, macromolecules=macromolecules)
        return runtime

    def _list_outputs(self) -> dict[str, str]:
        return {"out_file": str(self._out)}
