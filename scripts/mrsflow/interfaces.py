"""Our own steps as Nipype interfaces, beside `Spec2nii` and `LCModel`, for labs that build Nipype workflows.

Nipype's documentation: https://nipype.readthedocs.io. The workflow of this project does not use its engine.
"""

import re
from pathlib import Path
from typing import Any

from mrsflow.conversion.external import LCModel, Spec2nii  # first: it turns telemetry off before nipype is imported
from mrsflow.study import config, layout

from nipype.interfaces.base import (  # isort: skip
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

__all__ = ["FitBlocks", "LCModel", "Preprocess", "Spec2nii"]


def setting(key: str, **more: Any) -> Any:
    """Make the trait of a key of the configuration: type, default and meaning are those of its schema, or `more`."""
    rule = config.rule_of(key)
    kinds = {"integer": traits.Int, "number": traits.Float, "boolean": traits.Bool, "string": traits.Str}
    more = {"desc": rule["description"], "usedefault": True} | more
    value = more.pop("default", None) or config.default(key)
    if "enum" in rule:
        return traits.Enum(value, rule["enum"], **more)
    if rule["type"] != "array":
        return kinds[rule["type"]](value, **more)
    item = kinds[rule["items"]["type"]]
    if "maxItems" in rule:
        return traits.Tuple(value, *[item] * rule["maxItems"], **more)
    return traits.List(item, list(value), **more)


class PreprocessInputSpec(BaseInterfaceInputSpec):
    """Inputs of `Preprocess`, as in sections blocks and preprocess of the configuration."""

    in_files = InputMultiPath(
        File(exists=True), mandatory=True, desc="metabolite scans of one session in BIDS, sidecars beside them"
    )
    bins = traits.Dict(
        traits.Str, traits.List(traits.Float), mandatory=True, desc=config.rule_of("blocks.bins")["description"]
    )
    baseline = setting("blocks.baseline")
    event = setting("blocks.event", default="start")  # a scan alone has no table of events
    minimum_transients = setting("blocks.minimum_transients")
    align_ppm = setting("preprocess.align_ppm")
    max_shift_ppm = setting("preprocess.max_shift_ppm")
    remove_water = setting("preprocess.remove_water")
    eddy_current = setting("preprocess.eddy_current")
    match_linewidth = setting("preprocess.match_linewidth")
    phase_cycle = setting("protocols.*.phase_cycle")


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
        self._written = session_files.write(session, settings, inputs["baseline"], sidecar, stem)
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
    ppm = setting("fit.ppm")
    macromolecules = traits.Str(desc="file of measured ones, default or none; without it, what the basis has")
    constants = setting("fit.constants")
    fitter = traits.Str(config.default("fit.fitter"), usedefault=True, desc="program that fits, one of fit.fitter")
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
        fit_by_hand(spectra, basis, self._out, *options, macromolecules=macromolecules, program=inputs.fitter)
        return runtime

    def _list_outputs(self) -> dict[str, str]:
        return {"out_file": str(self._out)}
