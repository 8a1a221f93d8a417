"""External programs as Nipype command-line interfaces, run without a shell, with a time limit and nothing printed."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NIPYPE_NO_ET", "1")

from nipype.interfaces.base import (
    CommandLine,
    CommandLineInputSpec,
    Directory,
    File,
    OutputMultiPath,
    TraitedSpec,
    traits,
)

SUBCOMMANDS = (
    "twix", "dicom", "rda", "philips", "philips_dcm", "philips_dl", "ge", "uih", "bruker", "varian",
)  # fmt: skip


def _raise_fault_of_machine(program: str, ended: int, said: str) -> None:
    """Raise what befell a program for want of memory, or of a disk that answers: the file it read may be sound."""
    last = said.strip().splitlines()[-1:] if ended else []
    if ended in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGXCPU):
        raise ChildProcessError(
            errno.ECHILD, f"was ended by {signal.Signals(-ended).name}; memory may be short", program
        )
    for line in last:
        if re.match(r"[\w.]*MemoryError\b", line) and not re.search(r"allocate [\d.]+ [PE]iB", line):
            raise MemoryError
        number = re.match(r"\w*Error: \[Errno (\d+)\]", line)
        if number and int(number[1]) in (errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES):
            raise OSError(int(number[1]), os.strerror(int(number[1])), program)


class Spec2niiInputSpec(CommandLineInputSpec):
    """Options of spec2nii that conversion needs; its other options are left at their defaults."""

    subcommand = traits.Enum(*SUBCOMMANDS, argstr="%s", position=0, mandatory=True, desc="format of the raw data")
    in_files = traits.List(File(), argstr="%s", position=1, mandatory=True, desc="raw file, folder, or files of a pair")
    out_dir = Directory("out", usedefault=True, argstr="-o %s", desc="folder for the converted files")
    out_name = traits.Str("scan", usedefault=True, argstr="-f %s", desc="stem of the converted files")
    evalinfo = traits.Str(argstr="-e %s", desc="twix: kind of scans")
    multiraid = traits.Int(argstr="-m %d", desc="twix: which measurement of a multi-RAID file, from 1")
    quiet = traits.Bool(argstr="-q", desc="twix: no progress")
    mode = traits.Enum("FID", "RAWDATA", "2DSEQ", argstr="-m %s", desc="bruker: which of its files")
    keep_zero_valued = traits.Bool(
        True, usedefault=True, argstr="--keep_zero_valued", desc="keep frames of zeros, so that each keeps its time"
    )


class Spec2niiOutputSpec(TraitedSpec):
    """Converted files: the scan, and any reference found in the same raw data."""

    out_files = OutputMultiPath(File(exists=True), desc="NIfTI-MRS files")


class Spec2nii(CommandLine):
    """Convert raw data to NIfTI-MRS (Clarke et al., doi:10.1002/mrm.29418).

    Runs in ``runtime.cwd``. What the program prints is kept in the result's runtime and shown nowhere, as it may
    hold header values. After `time_limit` seconds of a processor, which grow with the size of the file, the program is
    ended: damaged files can send it in a circle. A machine that is busy, or a disk that does not answer, is no fault of
    the file: it has `patience` times as long by the clock, and then counts as a fault of the machine (``ETIMEDOUT``).

    Examples
    --------
    >>> Spec2nii(subcommand="twix", in_files=["in.dat"], evalinfo="image").cmdline.split(" ", 1)[1]
    'twix in.dat -e image --keep_zero_valued -o out -f scan'
    """

    _cmd = str(Path(sys.executable).with_name("spec2nii"))
    input_spec = Spec2niiInputSpec
    output_spec = Spec2niiOutputSpec
    time_limit = 120.0
    time_per_megabyte = 1.0
    patience = 20.0

    def _format_arg(self, name: str, trait_spec: Any, value: Any) -> str:
        if isinstance(value, str):
            value = shlex.quote(value)
        elif isinstance(value, list):
            value = " ".join(shlex.quote(str(v)) for v in value)
            return trait_spec.argstr % value
        return super()._format_arg(name, trait_spec, value)

    def _run_interface(self, runtime: Any, correct_return_codes: tuple[int, ...] = (0,)) -> Any:
        arguments = [self.cmd, *shlex.split(" ".join(self._parse_inputs()))]
        environment = {**os.environ, "NIPYPE_NO_ET": "1"}
        pipe = subprocess.PIPE
        named = [Path(runtime.cwd, name) for name in self.inputs.in_files]
        megabytes = sum(path.stat().st_size for path in named if path.is_file()) / 1e6
        process = subprocess.Popen(
            arguments, cwd=runtime.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe,
            start_new_session=True,
        )  # fmt: skip
        limit = self.time_limit + self.time_per_megabyte * megabytes
        try:
            out, err = self._watched(process, limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        runtime.stdout, runtime.stderr = out.decode(errors="replace"), err.decode(errors="replace")
        runtime.returncode = process.returncode
        _raise_fault_of_machine("spec2nii", process.returncode, runtime.stderr)
        return runtime

    def _watched(self, process: subprocess.Popen, limit: float) -> tuple[bytes, bytes]:
        """Wait until a process has ended, or has had so many seconds of a processor; gives what it said."""
        import psutil

        end = time.monotonic() + self.patience * limit
        while True:
            try:
                return process.communicate(timeout=limit / 4)
            except subprocess.TimeoutExpired:
                used = psutil.Process(process.pid).cpu_times()
                if used.user + used.system >= limit:
                    raise
            if time.monotonic() > end:
                raise OSError(errno.ETIMEDOUT, "did not end; the machine is busy or a disk does not answer", "spec2nii")

    def _list_outputs(self) -> dict[str, Any]:
        folder = Path(self.inputs.out_dir)
        return {"out_files": sorted(str(path) for path in folder.glob("*.nii.gz"))}


class SynthSegInputSpec(CommandLineInputSpec):
    """Options of mri_synthseg."""

    in_file = File(exists=True, argstr="--i %s", mandatory=True, desc="T1-weighted image")
    out_file = File(argstr="--o %s", mandatory=True, desc="labels to write")
    threads = traits.Int(1, usedefault=True, argstr="--threads %d", desc="processor threads")


class SynthSegOutputSpec(TraitedSpec):
    """Labels of FreeSurfer."""

    out_file = File(exists=True, desc="labels")


class SynthSeg(CommandLine):
    """Segment an image into FreeSurfer's labels, on the processor.

    Examples
    --------
    >>> SynthSeg(in_file=__file__, out_file="labels.nii.gz").cmdline.split(" ")[-5:]
    ['--o', 'labels.nii.gz', '--threads', '1', '--cpu']
    """

    _cmd = "mri_synthseg"
    input_spec = SynthSegInputSpec
    output_spec = SynthSegOutputSpec

    def _format_arg(self, name: str, trait_spec: Any, value: Any) -> str:
        shown = super()._format_arg(name, trait_spec, value)
        return f"{shown} --cpu" if name == "threads" else shown

    def _list_outputs(self) -> dict[str, Any]:
        return {"out_file": str(Path(self.inputs.out_file).resolve())}


class LCModelInputSpec(CommandLineInputSpec):
    """What LCModel reads from its standard input."""

    control_file = File(exists=True, mandatory=True, desc="control file, which names all files read and written")


class LCModelOutputSpec(TraitedSpec):
    """What LCModel writes, as the control file names it."""

    table_file = File(desc="FILTAB")
    coord_file = File(desc="FILCOO")


class LCModel(CommandLine):
    """Run LCModel (Provencher 1993, doi:10.1002/mrm.1910300604) on a control file.

    Runs without a shell in the folder of the control file, and is ended after `time_limit` seconds.
    """

    _cmd = "lcmodel"
    input_spec = LCModelInputSpec
    output_spec = LCModelOutputSpec
    time_limit = 600.0

    def _run_interface(self, runtime: Any, correct_return_codes: tuple[int, ...] = (0,)) -> Any:
        control = Path(self.inputs.control_file).resolve()
        done = subprocess.run(
            [self.cmd], input=control.read_text(), cwd=control.parent, capture_output=True, text=True, errors="replace",
            timeout=self.time_limit, check=False,
        )  # fmt: skip
        runtime.stdout, runtime.stderr, runtime.returncode = done.stdout, done.stderr, done.returncode
        _raise_fault_of_machine("LCModel", done.returncode, done.stderr)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        named = dict(re.findall(r"(filtab|filcoo)\s*=\s*'([^']*)'", Path(self.inputs.control_file).read_text()))
        folder = Path(self.inputs.control_file).resolve().parent
        return {"table_file": str(folder / named["filtab"]), "coord_file": str(folder / named["filcoo"])}


class FSLMRSInputSpec(CommandLineInputSpec):
    """Options of fsl_mrs that a fit needs; its other options are left at their defaults."""

    data_file = File(argstr="--data %s", position=0, mandatory=True, desc="one spectrum, NIfTI-MRS")
    basis = Directory(argstr="--basis %s", position=1, mandatory=True, desc="basis set, a file for each signal")
    out_dir = Directory(argstr="--output %s", position=2, mandatory=True, desc="folder to write")
    ppm = traits.Tuple(traits.Float, traits.Float, argstr="--ppmlim %g %g", mandatory=True, desc="fitted range")
    groups = traits.List(traits.Str, argstr="--metab_groups %s", desc="signals with a line shape of their own, A+B")
    combine = traits.List(traits.Str, argstr="--combine %s", desc="sums to report, A+B")
    overwrite = traits.Bool(True, usedefault=True, argstr="--overwrite", desc="write into a folder that is there")
    keep_data = traits.Bool(True, usedefault=True, argstr="--no_conj_fid", desc="the sense of the data is known")
    keep_basis = traits.Bool(True, usedefault=True, argstr="--no_conj_basis", desc="the sense of the basis is known")
    separate = traits.Bool(True, usedefault=True, argstr="--export_separate", desc="write each signal")
    baseline = traits.Bool(True, usedefault=True, argstr="--export_baseline", desc="write the baseline")


class FSLMRSOutputSpec(TraitedSpec):
    """Tables that fsl_mrs writes."""

    concentrations = File(desc="amounts and their SDs")
    parameters = File(desc="every parameter of the fit")


class FSLMRS(CommandLine):
    """Fit one spectrum by FSL-MRS (Clarke et al. 2021, doi:10.1002/mrm.28630).

    Runs without a shell in ``runtime.cwd``, with one thread and the Python that FSL-MRS was installed with, and is
    ended after `time_limit` seconds.

    Examples
    --------
    >>> FSLMRS(data_file="a.nii.gz", basis="set", out_dir="a", ppm=(0.5, 4.2), combine=["Cr+PCr"]).cmdline[:64]
    'fsl_mrs --data a.nii.gz --basis set --output a --export_baseline'
    """

    _cmd = "fsl_mrs"
    input_spec = FSLMRSInputSpec
    output_spec = FSLMRSOutputSpec
    time_limit = 1800.0

    def _format_arg(self, name: str, trait_spec: Any, value: Any) -> str:
        if name == "combine":
            return " ".join(trait_spec.argstr % shlex.join(names.split("+")) for names in value)
        if isinstance(value, list):
            return trait_spec.argstr % shlex.join(value) if value else ""
        if isinstance(value, str):
            return trait_spec.argstr % shlex.quote(value)
        return super()._format_arg(name, trait_spec, value)

    def _run_interface(self, runtime: Any, correct_return_codes: tuple[int, ...] = (0,)) -> Any:
        arguments = shlex.split(" ".join(self._parse_inputs()))
        own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        done = subprocess.run(
            [self.cmd, *arguments], cwd=runtime.cwd, env={**own, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=self.time_limit,
            check=False,
        )  # fmt: skip
        runtime.stdout, runtime.stderr, runtime.returncode = done.stdout, done.stderr, done.returncode
        _raise_fault_of_machine("FSL-MRS", done.returncode, done.stderr)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        folder = Path(self.inputs.out_dir)
        return {"concentrations": str(folder / "concentrations.csv"), "parameters": str(folder / "all_parameters.csv")}
