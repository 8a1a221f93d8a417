import errno
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from mrsflow.conversion.identity_search import scan_outputs
from mrsflow.errors import InputError
from mrsflow.files import atomic_path
from mrsflow.run import build_parser, run

REQUIRED = ["--raw", "a", "b", "--out", "o"]


def collect(argv):
    seen = {}

    def main(
        raw: list[Path],
        out: Path,
        ppm: tuple[float, float] = (0.5, 4.2),
        model: Literal["one", "two"] = "one",
        set: dict[str, str] | None = None,
        config: dict | None = None,
        quick: bool = False,
    ) -> None:
        """Do a thing.

        Parameters
        ----------
        raw : list of Path
            The raw files, 100 % of them.
        out : Path
            Where it
            goes.

        Notes
        -----
        Nothing.
        """
        seen.update(locals())

    run(main, argv)
    return seen


def test_options_come_from_the_signature():
    seen = collect([*REQUIRED, "--ppm", "1", "4", "--set", "K=V=W", "--config", '{"a": 1}', "--quick"])
    assert seen["raw"] == [Path("a"), Path("b")]
    assert tuple(seen["ppm"]) == (1.0, 4.0)
    assert seen["set"] == {"K": "V=W"}
    assert seen["config"] == {"a": 1}
    assert seen["quick"] is True
    assert seen["model"] == "one"


@pytest.mark.parametrize("argv", [[], ["--raw", "a"], [*REQUIRED, "--model", "three"], [*REQUIRED, "--set", "K"]])
def test_a_wrong_command_line_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        collect(argv)
    assert end.value.code == 2


def test_help_is_the_docstring():
    def main(out: Path) -> None:
        """Say what.

        Parameters
        ----------
        out : Path
            Where it goes, 100 %.
        """

    text = build_parser(main).format_help()
    assert "Say what." in text
    assert "Where it goes, 100 %." in text


@pytest.mark.parametrize("error", [InputError("a.nii: is\nbad"), ZeroDivisionError("no")])
def test_a_failure_is_one_line_and_its_traceback_is_in_the_log(error, tmp_path):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run(main, ["--log", str(tmp_path / "x.log")])
    assert str(end.value.code).startswith("error: ")
    assert "\n" not in str(end.value.code)
    log = (tmp_path / "x.log").read_text()
    assert "Traceback" in log and 'File "unit/test_run.py"' in log
    assert scan_outputs(tmp_path, ()) == []  # a log is an output, which holds no absolute path


def test_a_full_disk_is_named_with_the_file_whatever_was_made_of_it(tmp_path):
    """Something may already have called it a bad file."""

    def main() -> None:
        try:
            with atomic_path(tmp_path / "table.tsv"):
                raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise InputError("the scan cannot be read") from None

    with pytest.raises(SystemExit) as end:
        run(main, [])
    assert str(end.value.code).startswith(
        f"error: {tmp_path}/table.tsv: the disk is full (No space left on device); free"
    )


def test_a_missing_package_says_which_environment_to_use():
    def main() -> None:
        import package_that_is_not_there  # noqa: F401

    with pytest.raises(SystemExit, match=r"package_that_is_not_there is not installed .*make env"):
        run(main, [])


def test_remarks_of_the_dicom_reader_which_repeat_headers_reach_neither_terminal_nor_log(tmp_path, root):
    import pydicom

    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    with pydicom.config.disable_value_validation():
        made.SOPClassUID, made.SOPInstanceUID = "1.2.3", "1.2.4"
        made.SeriesInstanceUID = "1.2.DOE^JANE"
        made.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    script = tmp_path / "look.py"
    script.write_text(
        "import pathlib\nfrom mrsflow.run import run\n\n\ndef main(raw: pathlib.Path) -> None:\n"
        '    """Look."""\n    import pydicom\n\n    print(pydicom.dcmread(raw).SeriesInstanceUID)\n\n\nrun(main)\n'
    )
    command = [sys.executable, str(script), "--raw", str(tmp_path / "x.dcm"), "--log", str(tmp_path / "log.txt")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert (done.stdout, done.stderr) == ("1.2.DOE^JANE\n", "")
    assert "JANE" not in (tmp_path / "log.txt").read_text()
