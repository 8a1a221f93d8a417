"""Raw files that are damaged, absent or not what they seem: converted rightly or refused in one line, never worse."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from faulty import CONFIG

from mrsflow.conversion import checks, vendors
from mrsflow.errors import InputError
from mrsflow.study import config

VENDORS = ("ge", "siemens", "philips")
PROTOCOL = config.checked(CONFIG)["protocols"]["a"]


def sampled(values, every):
    """All values, of which `make test` takes one in so many."""
    return [pytest.param(v, marks=() if i % every == 0 else pytest.mark.slow) for i, v in enumerate(values)]


@pytest.fixture
def copies(raw_files, tmp_path):
    """The raw file of each vendor, with its partners, to be broken."""
    for path in raw_files.values():
        for partner in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(partner, tmp_path)
    return {vendor: tmp_path / path.name for vendor, path in raw_files.items()}


def outcome(path: Path) -> str | None:
    """Convert and check a file: None where it passed, else the one line that says why not and names it or a partner."""
    names = {path.name, *(partner.name for partner in path.parent.glob(f"{path.stem}.*"))}
    try:
        converted = vendors.convert([path])
    except InputError as error:
        message = str(error)
        assert any(name in message for name in names), message
        assert "\n" not in message
        assert "Traceback" not in message
        return message
    return checks.failure(checks.check_scan(converted.scan, "svs", PROTOCOL, "a"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_whole_passes(copies, vendor):
    assert outcome(copies[vendor]) is None


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda path: path.unlink(), "no such file|no file beside it"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\0" * 4096), "."),
        (lambda path: path.write_text("This is a letter.\n" * 99), "."),
        (lambda path: (path.unlink(), path.mkdir()), "."),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), "no such file|cannot be read|no file beside it"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "neither a file nor a folder|no file beside it"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "neither a file nor a folder|no file beside it"),
    ],
    ids=["missing", "empty", "zeros", "text", "directory", "link to itself", "pipe", "device"],
)
def test_what_is_no_scan_is_refused(copies, vendor, fault, said):
    import re

    fault(copies[vendor])
    message = outcome(copies[vendor])
    assert re.search(said, message or ""), message


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_file_closed_to_us_is_refused(copies, vendor):
    if os.geteuid() != 0:
        copies[vendor].chmod(0)
        assert "cannot be read (Permission denied)" in outcome(copies[vendor])
        return
    copies[vendor].chmod(0)
    for folder in copies[vendor].parents:
        if folder.name.startswith(("test_", "popen-", "pytest-")):
            folder.chmod(0o755)
    os.seteuid(65534)  # root may read everything, so for a moment we are nobody
    try:
        message = outcome(copies[vendor])
    finally:
        os.seteuid(0)
    assert "cannot be read (Permission denied)" in message


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("tenth", sampled(range(10), 5))
def test_a_file_cut_at_any_tenth_is_refused(copies, raw_files, vendor, tenth):
    """The last cut takes one byte: where that is padding, nothing of the scan is lost."""
    path = copies[vendor]
    size = path.stat().st_size
    os.truncate(path, size - 1 if tenth == 9 else max(size * tenth // 10, 1))
    if outcome(path) is None:
        assert tenth == 9
        whole, cut = (vendors.convert([p]).scan for p in (raw_files[vendor], path))
        np.testing.assert_array_equal(cut.fid, whole.fid)


def test_a_header_cut_in_the_middle_is_refused(copies):
    spar = copies["philips"].with_suffix(".SPAR")
    os.truncate(spar, spar.stat().st_size // 3)
    assert outcome(copies["philips"])


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("suffix", [".dat", ".7", ".txt", ".SDAT", ".nii.gz", ""])
def test_a_wrong_ending_is_seen_through_or_refused(copies, vendor, suffix):
    other = copies[vendor].rename(copies[vendor].with_name(f"renamed{suffix}"))
    message = outcome(other)
    sound = {"siemens": (".dat", ".txt", ""), "ge": (".7", ".txt", "")}
    if suffix in sound.get(vendor, ()):
        assert message is None
    elif message is None:
        assert suffix in (".dat", ".7") or vendor == "philips"


def damage(path: Path, seed: int) -> list[int]:
    """Change one to eight bytes; half of the damage goes to the first kilobytes, where headers are."""
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    places = rng.integers(0, len(content) if seed % 2 else min(len(content), 12_000), size=rng.integers(1, 9))
    for place in places:
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return sorted(int(p) for p in places)


@pytest.mark.parametrize("seed", sampled(range(200), 40))
def test_changed_bytes_give_the_same_timing_or_one_line(copies, raw_files, seed):
    """What a protocol states is compared with the header, so a change of it is found; nothing else ends badly."""
    vendor = VENDORS[seed % 3]
    path = copies[vendor]
    if vendor == "philips" and seed % 2:
        path = path.with_suffix(".SPAR")
    damage(path, seed)
    if outcome(path) is None:
        scan = vendors.convert([path]).scan
        assert np.isfinite(scan.fid).all()
        assert scan.header["EchoTime"] == pytest.approx(0.03, rel=0.01)
        assert scan.header["RepetitionTime"] == pytest.approx(2.0, rel=0.01)
        assert scan.spectrometer_frequency == pytest.approx(127.73, rel=0.01)


NAMES = [
    "with space.dat", "Grün_Ö.dat", "日本.dat", "it's.dat", 'a"b.dat', "$(touch pwned).dat", "`touch pwned`.dat",
    "a;touch pwned.dat", "-o.dat", "--help.dat", "a&b|c>d.dat", "{wildcards.x}.dat", "%s%n.dat", "a\nb.dat",
    "*.dat", "~.dat", "..dat", "x" * 240 + ".dat",
]  # fmt: skip


@pytest.mark.parametrize("name", sampled(NAMES, 6))
def test_a_name_is_a_name_and_nothing_else(copies, name, monkeypatch):
    strange = copies["siemens"].rename(copies["siemens"].with_name(name))
    monkeypatch.chdir(strange.parent)
    before = sorted(p.name for p in Path().iterdir())
    assert vendors.convert([Path(name)]).scan.n_points == 512
    assert sorted(p.name for p in Path().iterdir()) == before
