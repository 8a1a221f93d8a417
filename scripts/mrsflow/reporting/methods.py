"""Methods text, MRSinMRS table and references from sidecars and configuration; what is unknown is ``missing``."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import __version__
from mrsflow.quantification.quantify import ASSUMED
from mrsflow.study import quality_rules, regressors
from mrsflow.study.config import fitters_of, macromolecules_of

BIB = Path(__file__).parent / "templates" / "references.bib"
MISSING = "missing"

STEPS = {  # keyword of Near et al. 2021: what it says in the methods text, and its reference
    "RF coil combination": ("receive coils were combined", "rodgers2010"),
    "Frequency and phase correction": ("transients were aligned in frequency and phase", "near2015"),
    "Signal averaging": ("transients were averaged in blocks", None),
    "Eddy current correction": ("eddy currents were corrected from the water reference", "klose1990"),
    "Nuisance peak removal": ("residual water was modelled and subtracted", "pijnappel1992"),
    "Phasing": ("spectra were phased and referenced", None),
}


def summarise(sidecars: list[dict[str, Any]], key: str, unit: str = "", scale: float = 1.0) -> str | None:
    """Values of a sidecar key over all scans: one when all agree, else each with its number of scans.

    Returns
    -------
    str or None
        None where no scan has the key; scans that lack it are counted as ``missing`` beside the others.
    """
    values = [_text(sidecar.get(key), unit, scale) for sidecar in sidecars]
    counts = Counter(values)
    if not counts or set(counts) == {None}:
        return None
    if len(counts) == 1:
        return values[0]
    order = sorted(counts.items(), key=lambda item: (item[0] is None, -item[1], str(item[0])))
    parts = [f"{value or MISSING} ({n} scan{'' if n == 1 else 's'})" for value, n in order]
    return "; ".join(parts)


def _text(value: Any, unit: str, scale: float) -> str | None:
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    parts = value if isinstance(value, list) else [value]
    shown = [f"{float(p) * scale:.6g}" if isinstance(p, int | float) else str(p) for p in parts]
    return f"{' × '.join(shown)} {unit}".strip()


def median_range(values: Any, unit: str, digits: int = 1) -> str | None:
    """Median and range of the finite values; None without any."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if not found.size:
        return None
    low, middle, high = (f"{v:.{digits}f}" for v in (found.min(), np.median(found), found.max()))
    return f"median {middle} (range {low} to {high}) {unit}".strip()


def mrsinmrs(
    config: dict[str, Any], sidecars: list[dict[str, Any]], blocks: Any, sessions: list[dict[str, Any]]
) -> list[dict[str, str | None]]:
    """Fill the checklist of Lin et al. 2021 (doi:10.1002/nbm.4484), time-series items included.

    Parameters
    ----------
    config : dict
        Checked configuration.
    sidecars : list of dict
        Of the metabolite scans.
    blocks : DataFrame
        ``desc-blocks_quality.tsv`` of all sessions, one below the other.
    sessions : list of dict
        ``desc-session_quality.json`` of all sessions.

    Returns
    -------
    list of dict
        section, item, label, value; the value is None where neither header nor configuration says it.
    """
    said = config["report"]["declared"]
    rows = [*_hardware(sidecars, sessions, said), *_acquisition(config, sidecars, blocks, said)]
    rows += [*_analysis(config, sidecars, said), *_quality(config, blocks)]
    return [dict(zip(("section", "item", "label", "value"), row, strict=True)) for row in rows]


Row = tuple[str, str, str, str | None]


def _hardware(sidecars: list[dict], sessions: list[dict], said: dict[str, str]) -> list[Row]:
    channels = summarise(sessions, "n_coils", "receive channels")
    coils = "; ".join(part for part in (said.get("coils"), channels) if part) or None
    nucleus = summarise(sidecars, "ResonantNucleus")
    name = "1. Hardware"
    return [
        (name, "1a", "Field strength", summarise(sidecars, "MagneticFieldStrength", "T")),
        (name, "1b", "Manufacturer", summarise(sidecars, "Manufacturer")),
        (name, "1c", "Model and software version", said.get("model") or summarise(sidecars, "SoftwareVersions")),
        (
            name,
            "1d",
            "RF coils: nuclei, channels, type, body part",
            "; ".join(p for p in (nucleus, coils) if p) or None,
        ),
        (name, "1e", "Additional hardware", said.get("additional_hardware")),
    ]


def _acquisition(config: dict, sidecars: list[dict], blocks: Any, said: dict[str, str]) -> list[Row]:
    name = "2. Acquisition"
    protocols = config["protocols"].values()
    echo = summarise(sidecars, "EchoTime", "ms", 1000.0)
    repetition = summarise(sidecars, "RepetitionTime", "ms", 1000.0)
    first = sorted({f"TE1 {p['te1_ms']:g} ms" for p in protocols if p["te1_ms"] is not None})
    mixing = sorted({f"{p['mixing_time_ms']:g} ms" for p in protocols if p["mixing_time_ms"] is not None})
    sequences = sorted({_sequence(p) for p in protocols if p["sequence"] != "other"})
    times = [f"{label} {v}" for label, v in (("TR", repetition), ("TE", echo)) if v] + first
    bins = [f"{b} {start:g} to {end:g} min" for b, (start, end) in config["blocks"]["bins"].items()]
    used = None if blocks is None else median_range(blocks["n_transients"], "excitations per block", 0)
    counts = None if blocks is None else blocks.groupby(["participant", "session"]).size()
    spectra = None if counts is None or counts.empty else median_range(counts, "blocks per session", 0)
    extra = [
        f"{label} {value}"
        for label, value in (
            ("spectral width", summarise(sidecars, "SpectralWidth", "Hz")),
            ("points", summarise(sidecars, "NumberOfSpectralPoints")),
            ("mixing time", ", ".join(mixing) or None),
        )
        if value
    ]
    return [
        (name, "2a", "Pulse sequence", summarise(sidecars, "PulseSequenceType") or ", ".join(sequences) or None),
        (
            name,
            "2b",
            "Volume of interest: location",
            said.get("voi_location") or summarise(sidecars, "BodyPartDetails"),
        ),
        (name, "2c", "Volume of interest: nominal size", summarise(sidecars, "AcquisitionVoxelSize", "mm")),
        (name, "2d", "TR and TE", "; ".join(times) or None),
        (name, "2e", "Excitations per scan", summarise(sidecars, "NumberOfTransients", "excitations")),
        (name, "2e i", "Time series: averages per time point", used),
        (name, "2e ii", "Time series: averaging method", f"block-wise, not overlapping: {'; '.join(bins)}"),
        (name, "2e iii", "Time series: spectra per session", spectra),
        (name, "2f", "Additional sequence parameters", "; ".join(extra) or None),
        (
            name,
            "2g",
            "Water suppression",
            said.get("water_suppression") or summarise(sidecars, "WaterSuppressionTechnique"),
        ),
        (name, "2h", "Shimming: method, reference peak, acceptance", said.get("shim")),
        (name, "2i", "Triggering or motion correction", said.get("triggering")),
    ]


def _macromolecules(protocol: dict[str, Any]) -> str:
    source = macromolecules_of(protocol)
    return {
        None: "",
        "none": ", no macromolecules",
        "default": ", parametrised macromolecules and lipids",
        "measured": ", macromolecules of the session's metabolite-nulled scan, else of the mean of all",
        "cohort": ", macromolecules of the mean of all metabolite-nulled scans",
    }.get(source, ", measured macromolecules of a given file")


def _sequence(protocol: dict[str, Any]) -> str:
    return protocol["sequence"].replace("_", "-").upper()


def _programs(config: dict[str, Any]) -> list[str]:
    """Name the programs that fit as papers do; the first gives the results of the study."""
    titles = {"mrsflow": "the fit of mrsflow", "lcmodel": "LCModel", "fsl_mrs": "FSL-MRS"}
    return [titles.get(name, name) for name in fitters_of(config)]


def _analysis(config: dict, sidecars: list[dict], said: dict[str, str]) -> list[Row]:
    name = "3. Data analysis"
    first, *others = _programs(config)
    low, high = config["fit"]["ppm"]
    kinds = {
        key: ("given file" if p["basis"] else f"simulated by density matrix for {_sequence(p)}") + _macromolecules(p)
        for key, p in config["protocols"].items()
    }
    basis = "; ".join(f"{key}: {kind}" for key, kind in kinds.items())
    model = (
        f"linear combination, {config['fit']['model']} model over blocks, {low:g} to {high:g} ppm; basis set: {basis}"
    )
    software = f"mrsflow {__version__}" + ("" if fitters_of(config)[0] == "mrsflow" else f", fit by {first}")
    software += f"; fitted by {' and '.join(others)} for comparison" if others else ""
    return [
        (name, "3a", "Analysis software", software),
        (name, "3b", "Processing steps", _processing(sidecars)),
        (name, "3c", "Output measure", f"{config['group']['outcome']} (ratio of fitted amplitudes)"),
        (name, "3d", "Quantification references, assumptions, fit model", said.get("quantification") or model),
    ]


def _processing(sidecars: list[dict]) -> str | None:
    steps = steps_of(sidecars)
    return "; ".join(steps) or None


def steps_of(sidecars: list[dict]) -> list[str]:
    """Keywords of ``ProcessingApplied`` over all scans, in the order of first use."""
    return list(dict.fromkeys(s["Method"] for sidecar in sidecars for s in sidecar.get("ProcessingApplied") or []))


def _quality(config: dict, blocks: Any) -> list[Row]:
    name = "4. Data quality"
    rules = [
        f"{rule['metric']} {limit} ({rule['level']})"
        for rule in config["quality"]["rules"]
        if (limit := quality_rules.limit_text(rule, "exclude"))
    ]
    reported = None
    if blocks is not None and len(blocks):
        definition = "; ".join(dict.fromkeys(blocks["snr_definition"].dropna().astype(str)))
        snr, width = median_range(blocks["snr"], ""), median_range(blocks["linewidth_hz"], "Hz", 2)
        reported = f"SNR {snr or MISSING} ({definition or 'definition missing'}); linewidth {width or MISSING}"
    return [
        (name, "4a", "Reported variables: SNR and linewidth", reported),
        (name, "4b", "Exclusion criteria", "; ".join(rules) or "none set"),
        (
            name,
            "4c",
            "Fit quality",
            "standard deviations, residual SD over noise SD, whiteness of the residual, verdict",
        ),
        (name, "4d", "Sample spectrum", "mean ± SD of all sessions or of each arm: figure mean_spectra"),
    ]


def references(keys: list[str]) -> tuple[str, list[dict[str, str]]]:
    """BibTeX of the references used, and key, text and doi of each, in the order of `keys`."""
    lines = [line for line in BIB.read_text(encoding="utf-8").splitlines() if line]
    entries = {line.split("{", 1)[1].split(",", 1)[0]: line for line in lines}
    chosen = list(dict.fromkeys(keys))
    return "\n".join(entries[key] for key in chosen) + "\n", [_reference(key, entries[key]) for key in chosen]


def _reference(key: str, entry: str) -> dict[str, str]:
    pattern = r"(\w+) = \{((?:[^{}]|\{[^{}]*\})*)\}"  # braces nest at most once within a field
    entry = re.sub(r'\{\\"(\w)\}', lambda match: unicodedata.normalize("NFC", match[1] + "\u0308"), entry)
    field = {name: re.sub(r"[{}]", "", value) for name, value in re.findall(pattern, entry)}
    authors = field["author"].split(" and ")
    who = authors[0].split(",")[0] + ("" if len(authors) == 1 else " et al.")
    pages = field["pages"].replace("--", "–")
    text = f"{who} {field['title']}. {field['journal']} {field['year']};{field['volume']}:{pages}"
    return {"key": key, "text": text, "doi": field["doi"]}


def data_text(config: dict[str, Any], checklist: list[dict[str, str | None]], counts: dict[str, Any]) -> str:
    """Say whose data there are, how they were measured and which were left out; what is not known is called missing.

    Parameters
    ----------
    config : dict
        Checked configuration.
    checklist : list of dict
        As `mrsinmrs` gives it.
    counts : dict
        ``n_participants`` and ``n_sessions`` of the primary analysis.
    """
    known = {row["item"]: row["value"] or f"{row['label'].lower()} {MISSING}" for row in checklist}
    rules = config["quality"]["rules"]
    warned = [f"{r['metric']} {limit}" for r in rules if (limit := quality_rules.limit_text(r, "warn"))]
    return (
        f"{counts['n_participants']} participants with {counts['n_sessions']} sessions are in the primary analysis. "
        f"Spectra were acquired at {known['1a']} ({known['1b']}) with {known['2a']}, {known['2d']}; "
        f"voxel {known['2c']}; {known['2e']}. Excluded was what the rules of the configuration name: "
        f"{known['4b']}; warned of, {'; '.join(warned) or 'nothing'}."
    )


SHARED_ERROR = (
    "Macromolecules other than those of the basis set change what a fit takes for the foot of a line, so that "
    "amounts of a scan are off by up to 15 % in simulations, alike for all metabolites, which no standard "
    "deviation here counts; ratios and changes within a session are not."
)
"""What is said of every amount by water (``benchmarks/amounts_truth.py``, part fit)."""
SEGMENTED = {
    "mrsflow": ("T1-weighted images were aligned with the ICBM 152 template, freed of the receive field by N4 and "
                "segmented by a mixture model of three tissues and their mixtures", "tustison2010"),
    "FSL FAST": ("", "zhang2001"),
    "ANTs Atropos": ("", "avants2011"),
    "SynthSeg": ("", "billot2023"),
}  # fmt: skip
"""What is said of those who made maps of tissue, by the first words of their name, and their references."""


def amounts_text(config: dict[str, Any], sources: dict[str | None, int]) -> tuple[str, list[str]] | None:
    """Say how amounts by water were made, what made the fractions of tissue among it; None without such amounts.

    Parameters
    ----------
    config : dict
        Checked configuration.
    sources : dict
        Sessions with amounts by water, counted by what made their maps of tissue; None: tissue was assumed.
    """
    if not sources:
        return None
    keys = ["gasparovic2006", "near2021"]
    told = []
    for source, n in sources.items():
        if source is None:
            held = " and ".join(f"{100 * part:g} % {name}" for name, part in ASSUMED.items() if part)
            told.append(f"assumed to be {held} in {n} sessions, whose tissue was not measured")
            continue
        known = next((own for name, own in SEGMENTED.items() if source.startswith(name)), None)
        told.append(f"from maps of {source} in {n} sessions" + (f": {known[0]}" if known and known[0] else ""))
        keys += [known[1]] if known else []
    fit = config["fit"]
    of = "the voxel's grey and white matter" if fit["csf_correction"] else "the whole voxel, without CSF correction"
    return (
        "Amounts by water (mM, mmol/kg) count the water of each tissue and the relaxation of water and metabolites, "
        f"each with its own echo and repetition time, by the constants {fit['constants']}; they are those of {of}. "
        f"Fractions of tissue were {'; '.join(told)}. {SHARED_ERROR}"
    ), keys


FITTED = {
    "kenward-roger": ", fitted by restricted maximum likelihood with Kenward–Roger degrees of freedom",
    "Welch-Satterthwaite": ", fitted by least squares, each condition with a variance of its own (Welch–Satterthwaite)",
    "Kenward-Roger, Satterthwaite": ", fitted to each condition by itself by restricted maximum likelihood "
    "(Kenward–Roger); the difference of the conditions' means has Satterthwaite's degrees of freedom",
}
"""How the primary analysis was fitted, by its method of degrees of freedom."""


def methods_text(
    config: dict[str, Any],
    sidecars: list[dict[str, Any]],
    primary: dict[str, Any] | None,
    question: dict[str, str] | None = None,
    families: Sequence[str] = (),
) -> list[tuple[str, list[str]]]:
    """Paragraphs for a methods section, each with the keys of its references.

    Parameters
    ----------
    config : dict
        Checked configuration.
    sidecars : list of dict
        Of the processed scans, with ``ProcessingApplied``.
    primary : dict, optional
        ``model`` and ``df_method`` of the primary analysis as the table of contrasts gives them; None while masked.
    question : dict, optional
        The estimand by its attributes.
    families : sequence of str
        Families of tests in their order.
    """
    steps = [STEPS.get(step, (f"{step.lower()} was done", None)) for step in steps_of(sidecars)]
    event, bins = config["blocks"]["event"], config["blocks"]["bins"]
    spans = ", ".join(f"{name} ({start:g} to {end:g} min)" for name, (start, end) in bins.items())
    low, high = config["fit"]["ppm"]
    kinds = ", ".join(sorted({_sequence(p) for p in config["protocols"].values()}))
    own = fitters_of(config)[0] == "mrsflow"
    first, *others = _programs(config)
    compared = f"The same blocks were fitted by {' and '.join(others)} with the same basis set. " if others else ""
    sources = {"lcmodel": "provencher1993", "fsl_mrs": "clarke2021"}
    cited = [sources[name] for name in fitters_of(config) if name in sources]
    courses = f"{regressors.in_words(config['fit'])} ".lstrip()
    paragraphs = [
        (
            f"Data were processed with mrsflow {__version__}, a Snakemake workflow. Scanner files were converted to "
            "NIfTI-MRS with spec2nii through Nipype and arranged as a BIDS dataset; identifying fields were removed.",
            ["molder2021", "clarke2022", "gorgolewski2011", "gorgolewski2016"],
        ),
        (
            ("Processing followed the order recorded with the data: " + "; ".join(text for text, _ in steps) + ". "
             if steps else "The processing steps are missing from the sidecars. ")
            + f"Blocks were defined relative to the {event}: {spans}. No block was processed by itself: weights, "
            "reference and phase were found once per session.",
            ["near2021", *[key for _, key in steps if key]],
        ),
        (
            f"Each block was fitted between {low:g} and {high:g} ppm as a linear combination of basis signals "
            f"({kinds}) by {first}, {config['fit']['model']} model. {courses}{compared}"
            f"The outcome is {config['group']['outcome']}; standard deviations of amounts "
            f"{'count noise, nuisance parameters and soft constraints' if own else 'are Cramér–Rao bounds'}. "
            "Terms and quality measures follow the consensus definitions, and reporting follows MRSinMRS.",
            [*cited, "kreis2021", "lin2021"],
        ),
    ]  # fmt: skip
    if question:
        named = "; ".join(f"{name}: {text}" for name, text in question.items())
        paragraphs.append((f"Estimand by the attributes of ICH E9(R1). {named}. {' '.join(families)}".strip(), []))
    if primary is not None:
        mixed = primary["df_method"] == "kenward-roger"
        how = FITTED.get(primary["df_method"], "")
        keys = ["kenward1997"] * mixed
        text = f"The primary analysis was {primary['model']}{how}."
        if mixed and regressors.split_outcome(config["group"]["outcome"])[1]:
            text += " The error of each session's value was known from its fit, beside variances between sessions."
        if config["study"]["design"] == "crossover":
            text += " Intervals in figures of courses leave out differences between participants."
            keys.append("morey2008")
        paragraphs.append((text, keys))
    return paragraphs
