"""Names, each stated once: of stages and sessions, of what they write, of the tables and figures of the study."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mrsflow.study.config import fitters_of

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("convert", "preprocess", "fit")
"""Stages that a session goes through, in their order; its page comes after them."""

DESCRIBED = "desc-"
"""What the ending of the name of a result begins with."""
BLOCKS, SIDECAR = "desc-blocks_svs.nii.gz", "desc-blocks_svs.json"
REFERENCE = "desc-preproc_mrsref.nii.gz"
BLOCK_QUALITY, TRANSIENT_QUALITY = "desc-blocks_quality.tsv", "desc-transients_quality.tsv"
SESSION_QUALITY, CONVERT_QUALITY = "desc-session_quality.json", "desc-convert_quality.tsv"
PICTURES = "desc-preproc_figure.npz"
MACROMOLECULES, MACROMOLECULES_SIDECAR = "desc-macromolecules_svs.nii.gz", "desc-macromolecules_svs.json"
FIT, FIT_QUALITY, FIT_CURVES = "desc-blocks_mrsfit.tsv", "desc-blocks_fitquality.tsv", "desc-blocks_mrsfit.npz"
FIT_TERMS, FIT_FILES = "desc-blocks_terms.tsv", "desc-blocks_mrsfit.zip"
CONSTANTS = "desc-blocks_constants.tsv"
FITS = (FIT, FIT_QUALITY, FIT_TERMS, FIT_CURVES, FIT_FILES, CONSTANTS)
"""What a fit writes: in the names of further fitters, ``blocks`` is the fitter (`of_fitter`)."""
VOXEL_QUALITY = "desc-voxel_quality.tsv"
SESSION_INPUTS = "desc-session_inputs.tsv"
PROBSEG, TO_TEMPLATE = "probseg.nii.gz", "from-scanner_to-MNI152NLin2009aSym_xfm.txt"
"""Maps of tissue that were segmented here, and the affine matrix to the template (mm)."""
TO_GIVEN, TRANSFORM = "from-scanner_to-MNI_xfm.txt", "_xfm.txt"
"""The matrix that the study gives (inputs.to_template), and how the names of both end."""
TISSUE, VOXEL_MAPS = "desc-tissue.tsv", "desc-voxel_maps.tsv"
SESSION_TABLES = (
    CONVERT_QUALITY, BLOCK_QUALITY, TRANSIENT_QUALITY, TISSUE, VOXEL_MAPS, FIT, FIT_QUALITY, FIT_TERMS, CONSTANTS,
)  # fmt: skip
MAPS = ("GM", "WM", "CSF", "tissue")
"""Roles of maps of tissue: probabilities of three, or labels of all."""
ANATOMY = ("T1w", *MAPS)
"""Roles of images, which have no protocol."""
SERIES = ("task", "acq", "nuc", "voi", "rec", "echo", "inv")
"""Entities of BIDS that tell one series of spectra of a session from another; runs of a series belong together."""
NULLED = "acq-mm"
"""What names a metabolite-nulled scan beside a metabolite scan."""


class SessionKey(NamedTuple):
    """A session of a participant; its text, ``sub-X_ses-Y``, is the key of all tables and records.

    >>> str(SessionKey("01", "a")), SessionKey.of("sub-01_ses-a_task-k_svs")
    ('sub-01_ses-a', SessionKey(participant='01', session='a'))
    """

    participant: str
    session: str

    def __str__(self) -> str:
        return f"{self.participant_id}_{self.session_id}"

    @property
    def participant_id(self) -> str:
        """Label of the participant, ``sub-X``."""
        return f"sub-{self.participant}"

    @property
    def session_id(self) -> str:
        """Label of the session, ``ses-Y``."""
        return f"ses-{self.session}"

    @classmethod
    def of(cls, text: str) -> "SessionKey":
        """Read the session that a key, or the name of a file, begins with."""
        participant, session = (part.partition("-")[2] for part in text.split("_")[:2])
        return cls(participant, session)


def place_of(pattern: str, key: str) -> Path:
    """File of a session by a pattern, in which PARTICIPANT and SESSION stand for its codes.

    >>> str(place_of("pet/sub-PARTICIPANT_bp.nii", "sub-01_ses-2"))
    'pet/sub-01_bp.nii'
    """
    session = SessionKey.of(key)
    return Path(pattern.replace("PARTICIPANT", session.participant).replace("SESSION", session.session))


def keys_of(table: "pd.DataFrame") -> "pd.Series":
    """Key of the session of each row of a table with columns participant and session."""
    return "sub-" + table["participant"] + "_ses-" + table["session"]


def session_folder(root: Path | str, key: str) -> Path:
    """Folder of a session below the root of a dataset."""
    session = SessionKey.of(key)
    return Path(root, session.participant_id, session.session_id)


def scans_folder(root: Path | str, key: str) -> Path:
    """Folder of the scans of a session below the root of a dataset."""
    return session_folder(root, key) / "mrs"


def derivatives(output: Path | str) -> Path:
    """Root of the dataset of what was made from the scans."""
    return Path(output, "derivatives", "mrsflow")


def entities(key: str, task: str | None = None, run: str | None = None, acq: str | None = None) -> str:
    """Begin a file name: session, then the entities that a scan has, in the order of BIDS.

    >>> entities("sub-01_ses-1", task="ketamine", run="2", acq="conc")
    'sub-01_ses-1_task-ketamine_acq-conc_run-2'
    """
    parts = [("task", task), ("acq", acq), ("run", run)]
    return "_".join([key, *(f"{name}-{value}" for name, value in parts if value)])


def stem(path: Path) -> str:
    """Name of a NIfTI file without its ending.

    >>> stem(Path("a/sub-1_ses-1_run-2_svs.nii.gz"))
    'sub-1_ses-1_run-2_svs'
    """
    return path.name.removesuffix(".gz").removesuffix(".nii")


def scan_stem(path: Path) -> str:
    """Name of a scan without suffix.

    >>> scan_stem(Path("a/sub-1_ses-1_acq-mm_run-2_svs.nii.gz"))
    'sub-1_ses-1_acq-mm_run-2'
    """
    return stem(path).rpartition("_")[0]


def session_stem(path: Path) -> str:
    """Name of a scan without suffix, run and acq: what its results begin with.

    >>> session_stem(Path("a/sub-1_ses-1_task-k_acq-mm_run-2_svs.nii.gz"))
    'sub-1_ses-1_task-k'
    """
    return "_".join(part for part in scan_stem(path).split("_") if not part.startswith(("run-", "acq-")))


def sidecar(path: Path) -> Path:
    """Sidecar of a NIfTI file."""
    return path.with_name(f"{stem(path)}.json")


def result(beginning: Path, name: str) -> Path:
    """File of a scan's results: `name` is one of those above, `beginning` folder and `session_stem`."""
    return beginning.with_name(f"{beginning.name}_{name}")


def of_fitter(name: str, fitter: str | None) -> str:
    """Name of what a fitter beside the first of a list writes; None: the first.

    >>> of_fitter(FIT, "fsl_mrs"), of_fitter(FIT, None)
    ('desc-fslmrs_mrsfit.tsv', 'desc-blocks_mrsfit.tsv')
    """
    return name if fitter is None else name.replace("desc-blocks", f"desc-{fitter.replace('_', '')}")


def of_first_fitter(name: str) -> str:
    """Name of the same file of the first fitter; other names stay.

    >>> of_first_fitter("S_desc-fslmrs_mrsfit.tsv"), of_first_fitter("S_desc-session_quality.json")
    ('S_desc-blocks_mrsfit.tsv', 'S_desc-session_quality.json')
    """
    beginning, _, ending = name.rpartition("_")
    if not any(known.endswith(f"_{ending}") for known in FITS):
        return name
    return f"{beginning.rpartition('desc-')[0]}desc-blocks_{ending}"


def stage_of_derivative(name: str) -> str:
    """Stage that writes a file of the derivative.

    >>> stage_of_derivative("S_desc-lcmodel_mrsfit.tsv"), stage_of_derivative("S_desc-blocks_svs.json")
    ('fit', 'preprocess')
    """
    if name.endswith(CONVERT_QUALITY):
        return "convert"
    if name.endswith((TISSUE, VOXEL_MAPS, PROBSEG, TO_TEMPLATE)):
        return "measure_tissue"
    return "fit" if of_first_fitter(name).endswith(FITS) else "preprocess"


def is_nulled(path: Path) -> bool:
    """Whether the name of a converted scan says that metabolites were nulled."""
    return NULLED in path.name.split("_")


GROUP_ALWAYS = (
    "blocks_long", "blocks_wide", "exclusions", "flow", "flow_by_sequence", "sites", "baseline_by_sequence",
    "loss_by_condition", "reliability", "session_changes", "time_course",
)  # fmt: skip
GROUP_COMPARING = ("contrasts", "sensitivity", "attenuation", "denominator", "time_tests")
"""Tables that compare arms; while arms are masked there are none."""
GROUP_MULTIVERSE = ("multiverse", "multiverse_test")
"""Tables of a study that declares choices (group.multiverse), where arms are compared."""
GROUP_SCORES = ("mood_scores",)
GROUP_MOOD = ("mood", "link")
"""Tables of a study with a mood scale, always and where arms are compared."""


def group_tables(config: dict[str, Any]) -> list[str]:
    """Names of the tables of the group stage that a configuration gives, without suffix."""
    frozen, mood = config["study"]["freeze"], config["group"]["mood_scale"] is not None
    several = ["fitters"] if len(fitters_of(config)) > 1 else []
    declared = GROUP_MULTIVERSE if config["group"].get("multiverse") is not None else ()
    compared = [*GROUP_COMPARING, *(GROUP_MOOD if mood else ()), *declared] if frozen else []
    return [*GROUP_ALWAYS, *several, *(GROUP_SCORES if mood else ()), *compared]


def group_files(config: dict[str, Any]) -> list[str]:
    """File names in ``<output>/group`` that a configuration gives (``unmasking.json`` outlives runs and is not here).

    >>> group_files({"study": {"freeze": False}, "group": {"mood_scale": None}, "fit": {"fitter": "mrsflow"}})[:3]
    ['headline.json', 'blocks_long.tsv', 'blocks_long.json']
    """
    return ["headline.json", *(f"{name}{suffix}" for name in group_tables(config) for suffix in (".tsv", ".json"))]


FIGURES = {
    "flow": "Flow of participants, sessions and blocks",
    "availability": "Data at hand",
    "sensitivity": "Primary contrast and sensitivity analyses",
    "multiverse": "Primary contrast under every declared choice",
    "contrasts": "Contrasts of all outcomes, and in subgroups",
    "attenuation": "Attenuation of the response",
    "paired_change": "Change of each participant",
    "denominator": "Which part of the ratio moved",
    "components": "Variance components of the primary model",
    "time_course": "Primary outcome over time",
    "controls": "Numerator, denominator, linewidth and SNR over time",
    "other_outcomes": "Further outcomes over time",
    "mean_spectra": "Mean spectra",
    "mood": "Mood over time",
    "mood_link": "Change of the outcome and change of mood",
    "distributions": "Quality metrics and their limits",
    "reliability": "Reliability between visits",
    "voxel_overlap": "Where the voxels lie",
}
"""Title of each figure of the study by name; the caption stands in ``report/<name>.rst``."""
FIGURE_KINDS = ("png", "svg", "pdf")


def figure_files() -> list[str]:
    """File names in ``<output>/figures``, the same for every study.

    >>> figure_files()[:4]
    ['figures.json', 'flow.png', 'flow.svg', 'flow.pdf']
    """
    return ["figures.json", *(f"{name}.{kind}" for name in FIGURES for kind in FIGURE_KINDS)]
