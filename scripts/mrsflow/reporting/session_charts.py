"""Curves and pictures of the page of one session, packed small: charts are drawn from them in the browser."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrsflow import axes, nifti_mrs
from mrsflow.errors import InputError
from mrsflow.study import cohort

SHOWN_PPM = (0.2, 4.2)
"""Range of the alignment of transients."""
WATER_HZ = 60.0
"""How far to each side the water reference is drawn."""
NORMAL_95 = 1.959964
ZERO_FILLING = 4
"""Times by which the water reference is filled for display."""


def pack(values: ArrayLike, scale: float) -> str:
    """Base64 of 16-bit little-endian integers that, times `scale`, give `values` back within half a step."""
    return base64.b64encode(np.rint(np.asarray(values) / scale).astype("<i2").tobytes()).decode()


def scale_for(*curves: ArrayLike) -> float:
    """Step that lets the largest value of all curves just fit into 16 bits."""
    largest = max(float(np.max(np.abs(curve), initial=0.0)) for curve in curves)
    return (largest or 1.0) / 32767


def spectra_of(path: Path, titles: list[str]) -> dict[str, Any]:
    """Curves of every block for the charts, ascending in chemical shift, and how its estimates hang together."""
    with np.load(path, allow_pickle=False) as arrays:
        order = np.argsort(arrays["ppm"])
        curves = {name: arrays[name][..., order] for name in ("data", "fit", "baseline", "components")}
        ppm, names = arrays["ppm"][order], [str(name) for name in arrays["names"]]
        correlations = correlations_of(arrays["covariance"]) if "covariance" in arrays.files else None
    if len(titles) != len(curves["data"]):
        raise InputError(
            f"{path.name}: holds {len(curves['data'])} spectra, the table of fit quality {len(titles)} rows"
        )
    return {
        "ppm": np.round(ppm, 4).tolist(),
        "names": names,
        "blocks": [_packed(title, {name: v[n] for name, v in curves.items()}) for n, title in enumerate(titles)],
        "correlation": None if correlations is None else pack(correlations, 1 / 32767),
    }


def _packed(title: str, curves: dict[str, NDArray]) -> dict[str, Any]:
    own = {name: np.nan_to_num(values) for name, values in curves.items()}
    scale = scale_for(*own.values())
    return {"title": title, "scale": scale, **{name: pack(v, scale) for name, v in own.items()}}


def correlations_of(covariance: ArrayLike) -> NDArray[np.floating] | None:
    """Mean over the blocks of the correlations between the estimates of a fit.

    Parameters
    ----------
    covariance : (B, M, M) array
        NaN in blocks whose fit failed; a variance of 0 is of a signal that the fit held.

    Returns
    -------
    (M, M) array
        0 where no block knows the correlation; None where no block has any.
    """
    found = np.asarray(covariance, dtype=float)
    found = found[np.isfinite(found).all(axis=(1, 2))]
    sd = np.sqrt(np.maximum(np.diagonal(found, axis1=1, axis2=2), 0.0))
    scale = sd[:, :, np.newaxis] * sd[:, np.newaxis, :]
    if not scale.any():
        return None
    known = scale > 0
    every = np.divide(found, scale, out=np.zeros_like(found), where=known)
    return np.clip(every.sum(axis=0) / np.maximum(known.sum(axis=0), 1), -1.0, 1.0)


def without_fit(path: Path, titles: list[str], ppm_range: tuple[float, float]) -> dict[str, Any]:
    """Curves of a scan that has no fit: real spectra of its blocks as they were preprocessed.

    Parameters
    ----------
    path : Path
        ``desc-blocks_svs.nii.gz``, or a converted scan: of that the mean of the magnitude spectra of its frames and
        coils, as nothing has been put in phase yet.
    titles : list of str
        Of the blocks in the file; where there are not as many, they are numbered.
    ppm_range : (2,) floats
    """
    scan = nifti_mrs.read(path)
    fids = np.reshape(scan.fid, (-1, np.shape(scan.fid)[-1]))
    ppm = axes.ppm_axis(fids.shape[-1], scan.dwell_time, scan.spectrometer_frequency)
    if "DIM_COIL" in scan.dims or "_desc-" not in path.name:
        values = np.mean([np.abs(axes.to_spectrum(fid)) for fid in fids], axis=0, keepdims=True)
        titles = ["As it was converted: mean magnitude of all frames"]
    else:
        values = axes.to_spectrum(fids).real
    if len(titles) != len(values):
        titles = [f"Block {n + 1}" for n in range(len(values))]
    order = np.argsort(ppm)
    order = order[(ppm[order] > min(ppm_range)) & (ppm[order] < max(ppm_range))]
    blocks = [_packed(title, {"data": own[order]}) for title, own in zip(titles, values, strict=True)]
    return {"ppm": np.round(ppm[order], 4).tolist(), "names": [], "blocks": blocks, "correlation": None}


def water_of(path: Path) -> dict[str, Any]:
    """Give the spectrum of the water reference about its highest point, put in phase there, and its width.

    Returns
    -------
    dict
        hz ascending about the peak, scale and packed ``water``; ``width_hz``: full width at half its height.
    """
    scan = nifti_mrs.read(path)
    fid = np.reshape(scan.fid, (-1, np.shape(scan.fid)[-1])).mean(axis=0)
    filled = np.concatenate([fid, np.zeros((ZERO_FILLING - 1) * fid.size, complex)])
    spectrum, hz = axes.to_spectrum(filled), axes.frequency_axis(filled.size, scan.dwell_time)
    top = int(np.argmax(np.abs(spectrum)))
    real = (spectrum * np.exp(-1j * np.angle(spectrum[top]))).real
    near = np.abs(hz - hz[top]) <= WATER_HZ
    scale = scale_for(real[near])
    return {
        "hz": np.round(hz[near] - hz[top], 3).tolist(),
        "scale": scale,
        "water": pack(real[near], scale),
        "width_hz": round(_width(hz, real), 2),
    }


def _width(hz: NDArray[np.floating], real: NDArray[np.floating]) -> float:
    """Full width at half height of the highest peak, between the points by straight lines."""
    top = int(np.argmax(real))
    half = real[top] / 2
    left, right = top, top
    while left > 0 and real[left] > half:
        left -= 1
    while right < real.size - 1 and real[right] > half:
        right += 1
    low = np.interp(half, real[left : left + 2], hz[left : left + 2])
    high = np.interp(-half, -real[right - 1 : right + 1], hz[right - 1 : right + 1])
    return float(high - low)


def alignment_of(path: Path) -> dict[str, Any]:
    """Curves and pictures of the transients before and after alignment, ascending in chemical shift."""
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    order = np.argsort(found["ppm"])
    order = order[(found["ppm"][order] > SHOWN_PPM[0]) & (found["ppm"][order] < SHOWN_PPM[1])]
    before, after = found["before"][order], found["after"][order]
    scale = scale_for(before, after)
    columns = np.argsort(found["image_ppm"])
    images = [found[name][:, columns] for name in ("image_before", "image_after")]
    limit = float(np.percentile(images[1], 99.5))
    return {
        "ppm": np.round(found["ppm"][order], 4).astype(float).tolist(),
        "scale": scale,
        "before": pack(before, scale),
        "after": pack(after, scale),
        "image_ppm": [round(float(found["image_ppm"].min()), 4), round(float(found["image_ppm"].max()), 4)],
        "image_minutes": [round(float(v), 3) for v in found["image_minutes"][[0, -1]]],
        "image_before": grey_picture(images[0], limit),
        "image_after": grey_picture(images[1], limit),
    }


def grey_picture(values: NDArray, limit: float) -> str:
    """Base64 of a PNG: first row at the bottom, last column (high ppm) on the left; 0 is white, `limit` black."""
    from PIL import Image

    grey = 255 - np.clip(values / (limit or 1.0) * 255, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(grey[::-1, ::-1].astype(np.uint8) // 16 * 17).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def is_rejected(table: Any) -> NDArray[np.bool_]:
    """Whether each transient was rejected."""
    return table["rejected"].to_numpy(bool)


def listed(values: ArrayLike, digits: int = 4) -> list[float | None]:
    """Round numbers; None where a value is not finite."""
    return [float(round(v, digits)) if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def courses_of(table: Any, blocks: Any) -> dict[str, Any]:
    """Courses of the transients over time, and the spans of the blocks (min)."""
    amplitude = table["amplitude"].to_numpy(float)
    spans = [] if blocks is None else zip(blocks["onset_s"], blocks["duration_s"], strict=True)
    return {
        "minutes": listed(table["onset_s"].to_numpy(float) / 60),
        "shift_hz": listed(table["shift_hz"]),
        "phase_deg": listed(table["phase_deg"], 2),
        "amplitude": listed(amplitude / (np.nanmedian(amplitude) or 1.0)),
        "rejected": is_rejected(table).tolist(),
        "reason": table["reason"].fillna("").astype(str).tolist(),
        "blocks": [[round(float(a) / 60, 4), round(float(a + d) / 60, 4)] for a, d in spans],
    }


def outcome_of(fits: Any, outcome: str) -> dict[str, Any] | None:
    """Course of the outcome over the blocks with 95 % intervals from the errors of the fit; None where it has none.

    Parameters
    ----------
    fits : DataFrame
        Tidy table of the fit of a session.
    outcome : str
        Such as ``Glx/tNAA``.
    """
    known = cohort.outcome_table(fits.assign(key=""), [outcome])
    if outcome not in known or known[outcome].isna().all():
        return None
    known = known.sort_values("onset_s", kind="stable")
    value, half = known[outcome].to_numpy(float), NORMAL_95 * known[f"{outcome} sd"].to_numpy(float)
    return {
        "label": f"{outcome} (mM)" if outcome.endswith("/water") else outcome,
        "names": known["block"].astype(str).tolist(),
        "minutes": listed((known["onset_s"] + known["duration_s"] / 2) / 60),
        "value": listed(value, 5),
        "low": listed(value - half, 5),
        "high": listed(value + half, 5),
    }
