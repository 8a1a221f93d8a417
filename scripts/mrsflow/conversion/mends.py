"""What spec2nii 0.8.15 gets wrong, put right from the raw file itself, before it runs and after.

Cases of `MENDERS` take a converted scan and its raw files and give the scan as it should be; what they did is added
to the notes.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow.constants import GAMMA_1H
from mrsflow.conversion import checks, ge
from mrsflow.conversion.formats import Raw, head_of
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan


def refuse_truncated(raw: Raw) -> None:
    """Refuse a file that is shorter than its own header says; spec2nii takes some of these as they are."""
    path = raw.files[0]
    size = path.stat().st_size
    expected = None
    if raw.format == "philips_sdat":
        spar = raw.files[1].read_bytes().decode("latin-1")
        numbers = [re.search(rf"(?m)^{key}\s*:\s*(\d+)", spar) for key in ("samples", "rows")]
        expected = 8 * int(numbers[0].group(1)) * int(numbers[1].group(1)) if all(numbers) else None
    elif raw.format == "rda":
        content = path.read_bytes()
        end = re.search(rb">>> End of header <<<\r?\n", content)
        keys = [rb"VectorSize", *(rb"CSIMatrixSize\[%d\]" % i for i in range(3))]
        sizes = [re.search(rb"(?m)^%s:\s*(\d+)" % key, content) for key in keys]
        if end and all(sizes):
            expected = end.end() + 16 * int(np.prod([int(s.group(1)) for s in sizes]))
    elif raw.format == "twix":
        expected = _twix_size(head_of(path, 10_240))
    elif raw.format == "varian":
        blocks, _, _, _, _, block_bytes = np.frombuffer(head_of(path, 32)[:24].ljust(24, b"\0"), ">i4")
        expected = 32 + int(blocks) * int(block_bytes)
    elif raw.format == "jmrui":
        text = path.read_bytes().decode("latin-1")
        stated = [re.search(rf"(?m)^{key}:\s*(\d+)", text) for key in ("PointsInDataset", "DatasetsInFile")]
        if all(stated):
            expected = int(stated[0].group(1)) * int(stated[1].group(1))
            size = len(re.findall(r"(?m)^\s*[-+\d.][-+\d.eE]*\s+[-+\d.]\S*", text))
    elif raw.format == "ge":
        header = ge.header(path)
        if header is not None:
            start = getattr(header, "rhr_rdb_hdr_off_data", None) or ge.OLD_DATA_START.get(ge.revision(path), 0)
            expected = start + header.rhr_rh_raw_pass_size
    if expected is not None and size < expected:
        raise InputError(
            f"{path}: is truncated, {size} of {expected} {'lines of data' if raw.format == 'jmrui' else 'bytes'} are "
            "there; copy it from the scanner again"
        )


def twix_measurements(head: bytes) -> int:
    """Measurements in a multi-RAID twix file, 0 for the older layout that holds one without a directory."""
    first, count = np.frombuffer(head[:8].ljust(8, b"\0"), "<u4")
    return int(count) if first < 10_000 and 1 <= count <= 64 else 0


def _twix_size(head: bytes) -> int | None:
    """Bytes that the directory of a multi-RAID twix file says there are."""
    count = twix_measurements(head)
    entries = np.frombuffer(head[8 : 8 + 152 * count], "<u8")
    if not count or entries.size < 19 * count:
        return None
    return int((entries[1::19] + entries[2::19]).max())


_SPAR_LINES = {  # that spec2nii needs and does not write where they are empty
    b"spectrum_inversion_time": b"spectrum_inversion_time : 0\n",
    b"scan_id": b'scan_id : ""\n',
    b"patient_position": b'patient_position : ""\n',
    b"patient_orientation": b'patient_orientation : ""\n',
}


def mended_spar(path: Path, notes: list[str]) -> bytes:
    """Text of a SPAR file with the keys that spec2nii needs and that old exports lack."""
    content = path.read_bytes()
    lacking = [line for key, line in _SPAR_LINES.items() if key not in content]
    if b"spectrum_inversion_time" not in content:
        notes.append("SPAR without spectrum_inversion_time read as an acquisition without inversion")
    if lacking:
        content = content.rstrip(b"\r\n\x1a") + b"\n" + b"".join(lacking)
    return content


def mend_philips_dicom(source: Path, notes: list[str]) -> None:
    """Give spec2nii the three slabs it asks for where a file names fewer: size and place of the voxel are unknown."""
    import pydicom
    from pydicom.dataset import Dataset

    for path in sorted(source.iterdir()):
        content = pydicom.dcmread(path)
        slabs = content.get("VolumeLocalizationSequence")
        if slabs is None or len(slabs) >= 3:
            continue
        slabs.clear()
        for direction in np.eye(3).tolist():
            slab = Dataset()
            slab.SlabThickness, slab.SlabOrientation, slab.MidSlabPosition = 10_000.0, direction, [0.0, 0.0, 0.0]
            slabs.append(slab)
        path.unlink()
        content.save_as(path)
        notes.append("fewer than three localisation slabs: size and position of the voxel are unknown")


def mended_procpar(path: Path) -> str:
    """Varian parameters under a neutral sequence name: spec2nii's reading of PRESS and STEAM voxels always fails."""
    text = path.read_text(encoding="latin-1")
    return re.sub(r'(?m)^(seqfil .*\n1 )".*"', r'\1"svs"', text)


def _procpar_values(path: Path, *names: str) -> dict[str, str]:
    text = path.read_text(encoding="latin-1")
    found = {}
    for name in names:
        if match := re.search(rf'(?m)^{name} .*\n1 "?([^"\n]*?)"?\s*$', text):
            found[name] = match.group(1)
    return found


def with_header(scan: Scan, **values: Any) -> Scan:
    """Copy of a scan with other header values."""
    return replace(scan, header={**scan.header, **values})


def _mend_philips_sdat(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Inversion time is in ms in the SPAR file and is copied as if it were s."""
    if scan.header.get("InversionTime"):
        return with_header(scan, InversionTime=scan.header["InversionTime"] * 1e-3)
    return scan


def _mend_varian(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Echo and mixing time are parameters te and tm (s); spec2nii takes a pulse length for the echo time."""
    if len(scan.dims) > 1:
        raise InputError(f"{raw.files[0]}: Varian data with several receivers and several frames cannot be told apart")
    stated = _procpar_values(raw.files[1], "te", "tr", "tm", "seqfil")
    header = {k: v for k, v in scan.header.items() if k != "EchoTime"}
    for name, key in (("te", "EchoTime"), ("tr", "RepetitionTime"), ("tm", "MixingTime")):
        if name in stated:
            header[key] = float(stated[name])
    notes.append("Varian: echo time from parameter te; position of the voxel is unknown")
    return replace(scan, header=header)


def _mend_jmrui(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Frequency may be in Hz; an empty nucleus is 1H where frequency and field of the header say so."""
    frequency = float(scan.header["SpectrometerFrequency"][0])
    frequency = frequency / 1e6 if frequency > 1e5 else frequency
    nucleus = str(scan.header["ResonantNucleus"][0] or "")
    if not nucleus.strip():
        text = raw.files[0].read_bytes()[:4096].decode("latin-1")
        field_strength = re.search(r"(?m)^MagneticField:\s*([\d.eE+-]+)", text)
        ratio = frequency / float(field_strength.group(1)) if field_strength and float(field_strength.group(1)) else 0
        nucleus = "1H" if abs(ratio / GAMMA_1H - 1) < 0.02 else ""
        notes.append("jMRUI: empty nucleus; frequency and field of the header agree with 1H" if nucleus else "")
    dims = tuple("DIM_DYN" if d == "DIM_USER_0" else d for d in scan.dims)
    scan = Scan(scan.fid, scan.dims, scan.dwell_time, scan.header, scan.affine)
    scan = replace(scan.with_data(scan.fid, dims), dims=dims)
    return with_header(scan, SpectrometerFrequency=[frequency], ResonantNucleus=[nucleus])


def _mend_siemens_dicom(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """Replace the nonsense echo time of some research sequences by that of the protocol in the same file (us)."""
    stated = scan.header.get("EchoTime")
    if stated is not None and checks.plausible("EchoTime", stated):
        return scan
    protocol = re.search(rb"alTE\[0\]\s*=\s*(\d+)", raw.files[0].read_bytes())
    if protocol and checks.plausible("EchoTime", int(protocol.group(1)) * 1e-6):
        notes.append("Siemens DICOM: implausible echo time replaced by alTE[0] of the protocol in the same file")
        return with_header(scan, EchoTime=int(protocol.group(1)) * 1e-6)
    return scan


def _mend_raw(scan: Scan, raw: Raw, notes: list[str]) -> Scan:
    """spec2nii conjugates RAW files; whether they need it differs, and the side of the metabolites tells."""
    side = checks.metabolite_side(scan)
    if side == 0:  # water: its partner tells, else what LCModel's own files need
        for other in raw.files[0].parent.iterdir():
            if other != raw.files[0] and other.stem == raw.files[0].stem and other.suffix.lower() == ".raw":
                numbers = re.sub(rb"(?s)^.*?\$END[^\n]*\n", b"", other.read_bytes())
                values = np.array(numbers.split(), float)
                fid = (values[0::2] - 1j * values[1::2])[: scan.n_points]
                side = checks.metabolite_side(replace(scan, fid=fid, dims=()))
    if side > 0:
        return scan
    notes.append("LCModel RAW: stored in the sense of NIfTI-MRS, not conjugated")
    return replace(scan, fid=scan.fid.conj())


MENDERS: dict[str, Callable[[Scan, Raw, list[str]], Scan]] = {
    "philips_sdat": _mend_philips_sdat,
    "varian": _mend_varian,
    "jmrui": _mend_jmrui,
    "dicom": _mend_siemens_dicom,
    "raw": _mend_raw,
}


def split_reference_phase(scan: Scan, raw: Raw, notes: list[str]) -> tuple[Scan, dict[str, Scan]]:
    """Siemens svs_se stores its unsuppressed reference as the first of two phases."""
    first, second = (scan.with_data(scan.fid[..., i, :], scan.dims[:-1]) for i in (0, 1))
    strength = [float(np.linalg.norm(s.fid[..., : s.n_points // 8])) for s in (first, second)]
    if scan.size("DIM_USER_0") != 2 or strength[0] < 3 * strength[1]:
        return scan, {}
    notes.append("twix: the first phase is the unsuppressed water reference")
    return second, {"ecc": first}
