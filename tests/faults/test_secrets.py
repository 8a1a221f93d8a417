"""A person in every table, header and form: each is found by the last step's search, or never written."""

import gzip
import html
import json
import unicodedata
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from faulty import HEADER, write_raw
from matplotlib.figure import Figure

from mrsflow import nifti_mrs
from mrsflow.anatomy import images
from mrsflow.conversion import identity
from mrsflow.conversion.identity_search import scan_outputs
from mrsflow.nifti_mrs import Scan

REQUIRED = {"SpectrometerFrequency": [127.7], "ResonantNucleus": ["1H"]}
NAME, BORN, NUMBER = "KOWALSKI^ZUZANNA", "19610203", "7654321"


def scan(**header) -> Scan:
    return Scan(np.ones(64, complex), (), 5e-4, {**REQUIRED, **header})


def text_file(name: str, content: str):
    """Give a writer of a raw file that is text."""

    def write(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return write


def pfile(folder: Path) -> Path:
    """GE raw file with a patient."""
    return write_raw(folder, replace(HEADER, patient_name=NAME, patient_id=NUMBER))["ge"]


def dicom(folder: Path, name: str = NAME) -> Path:
    """DICOM file with a patient."""
    import pydicom

    data = pydicom.Dataset()
    data.PatientName, data.PatientID, data.PatientBirthDate = name, NUMBER, BORN
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    pydicom.dcmwrite(folder / "a.dcm", data, enforce_file_format=True)
    return folder / "a.dcm"


def nifti(folder: Path) -> Path:
    """NIfTI-MRS file with a patient."""
    nifti_mrs.write(scan(PatientName=NAME, PatientDoB=BORN, PatientID=NUMBER), folder / "in.nii.gz")
    return folder / "in.nii.gz"


RAW = {
    "ge": pfile,
    "dicom": dicom,
    "nifti": nifti,
    "rda": text_file("a.rda", f">>> Begin of header <<<\r\nPatientName: {NAME}\r\nPatientID: {NUMBER}\r\n"
                     f"PatientBirthDate: {BORN}\r\n"),
    "philips": text_file("a.SPAR", f'patient_name : "{NAME}"\npatient_birth_date : 1961.02.03\n'),
    "twix": text_file("a.dat", f'<ParamString."tPatientName">  {{ "{NAME}"  }}\n<ParamString."PatientBirthDay">  '
                      f'{{ "{BORN}"  }}\n<ParamString."PatientID"> {{ "{NUMBER}" }}\n'),
    "jmrui": text_file("a.txt", f"jMRUI Data Textfile\nNameOfPatient: {NAME}\n"),
}  # fmt: skip
RAW |= {
    "middle name": text_file("b.SPAR", 'patient_name : "KOWALSKI^ZUZANNA^MARIA"\n'),
    "two scripts": lambda folder: dicom(folder, "Yamada^Tarou=Kowalska^Zuzanna"),
    "umlaut": text_file("c.SPAR", 'patient_name : "MÜLLER^JÖRG"\n'),
    "letters and number": text_file("d.SPAR", 'patient_id : "MRN7654321"\n'),
    "apostrophe": text_file("e.SPAR", 'patient_name : "O\'BRIEN^SEAN"\n'),
}
TABLES = {
    "participants, name": {"name": ["Zuzanna Kowalski"]},
    "participants, birth": {"date_of_birth": ["1961-02-03"]},
    "participants, number": {"hospital_number": [NUMBER]},
    "sessions, rater": {"rater": ["Zuzanna Kowalski"]},
    "sessions, date": {"scanned_on": ["3.2.1961"]},
    "events, note": {"note": ["Zuzanna Kowalski"]},
}


def told_by(source: str, folder: Path) -> dict[str, str]:
    """What the last step knows of a person, from a raw file, a table or a folder's name."""
    if source in RAW:
        return identity.harvest(RAW[source](folder))
    if source in TABLES:
        return identity.told_by_tables(TABLES[source])
    return identity.told_by_folders([Path(f"raw/{NAME}_{BORN}")])


def plant(folder: Path, kind: str, text: str) -> None:
    """Write an output of some kind that holds a text."""
    path = folder / f"out.{kind}"
    if kind == "name":
        (folder / f"{text}.tsv").write_text("a\n")
    elif kind == "tsv.gz":
        path.write_bytes(gzip.compress(f"a\n{text}\n".encode()))
    elif kind == "json":
        path.write_text(json.dumps({"a": [text]}))
    elif kind == "html":
        path.write_text(f"<p>{html.escape(text)}</p>")
    elif kind in ("pdf", "svg", "png"):
        figure = Figure()
        if kind == "png":
            figure.savefig(path, metadata={"Author": text})
        else:
            figure.text(0.1, 0.5, f"of {text} (AV)")
            figure.savefig(path)
    elif kind == "npz":
        np.savez(path, names=np.array([text, "other"]))
    elif kind == "bytes":
        np.savez(folder / "out.npz", names=np.array([text.encode()]))
    elif kind == "records":
        np.savez(folder / "out.npz", rows=np.array([(1.0, text)], dtype=[("a", float), ("b", "U40")]))
    elif kind == "xlsx":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/sharedStrings.xml", f"<si><t>{text}</t></si>")
    elif kind == "page":
        (folder / "out.html").write_text(f"<p>of {text}, that</p>", encoding="utf-8")
    elif kind in ("utf-16", "latin-1"):
        (folder / "out.tsv").write_text(f"of {text}, that", encoding=kind)
    elif kind == "iTXt":
        body = b"iTXtAuthor\0\1\0en\0Author\0" + zlib.compress(text.encode())
        chunk = len(body[4:]).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        (folder / "out.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    elif kind == "nii.gz":
        nifti_mrs.write(scan(Note=text), path)
    elif kind == "nii":
        image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
        image.header["descrip"] = text.encode()
        nibabel.save(image, path)
    else:
        path.write_text(f"of\t{text}\t, that\n", encoding="utf-8")


FOUND = [
    ("ge", "Zuzanna Kowalski", "tsv"), ("ge", "Kowalski, Zuzanna", "json"), ("ge", "P7654321", "name"),
    ("dicom", "Zuzanna Maria Kowalski", "html"), ("dicom", "3 Feb 1961", "tsv.gz"), ("dicom", "sub 7654321", "npz"),
    ("dicom", "ZUZANNA_KOWALSKI", "name"), ("dicom", "3rd of February 1961", "md"),
    ("nifti", "KOWALSKI^ZUZANNA", "nii"), ("nifti", "February 3, 1961", "log"), ("nifti", "no. 7654321", "pdf"),
    ("rda", "Zuzanna M. Kowalski", "pdf"), ("rda", "1961/2/3", "svg"), ("rda", "id=7654321", "txt"),
    ("philips", "Kowalski Zuzanna", "png"), ("philips", "03/02/1961", "json"), ("philips", "02/03/1961", "tsv"),
    ("twix", "kowalski-zuzanna", "svg"), ("twix", "03.02.61", "html"), ("twix", "7654321", "nii.gz"),
    ("jmrui", "Kowalski%2C%20Zuzanna", "html"),
    ("participants, name", "KOWALSKI^ZUZANNA", "json"), ("participants, birth", "born 3.2.1961", "md"),
    ("participants, number", "MRN:7654321", "yaml"), ("sessions, rater", "Kowalski, Zuzanna", "tsv.gz"),
    ("sessions, date", "19610203", "nii.gz"), ("events, note", "Kowalski Zuzanna", "npz"),
    ("folder", "Zuzanna Kowalski", "log"),
    ("ge", "Z. Kowalski", "md"), ("dicom", "KowalskiZuzanna", "name"), ("nifti", "zkowalski@example.org", "json"),
    ("rda", "3. Februar 1961", "html"), ("rda", "19610203101500.000", "tsv"), ("dicom", "3 février 1961", "json"),
    ("twix", "3 lutego 1961", "txt"), ("dicom", "03-Feb-61", "pdf"), ("dicom", "03021961", "npz"),
    ("dicom", "3.II.1961", "svg"), ("dicom", "1961年2月3日", "yaml"), ("dicom", "7654321.0", "tsv"),
    ("dicom", "7,654,321", "md"), ("dicom", "765-4321", "log"), ("ge", "PATIENT7654321", "name"),
    ("dicom", "0007654321", "tsv.gz"), ("nifti", "Zu<wbr>zanna Kowalski", "page"),
    ("ge", "Kow\u00adalski Zuzanna", "md"),
    ("ge", "Zuzanna Kowalski", "xlsx"), ("ge", "Zuzanna Kowalski", "utf-16"), ("ge", "Zuzanna Kowalski", "iTXt"),
    ("ge", "KOWALSKI\t61\tF\t60\tZUZANNA", "tsv"), ("ge", "Zuzanna Kowalski", "records"),
    ("ge", "Zuzanna Kowalski", "bytes"), ("rda", "Zuzanna\\x20Kowalski", "yaml"),
    ("middle name", "Zuzanna Kowalski", "tsv"), ("two scripts", "Kowalska, Z.", "json"),
    ("umlaut", "Joerg Mueller", "tsv"), ("umlaut", unicodedata.normalize("NFD", "Jörg Müller"), "json"),
    ("umlaut", "J&ouml;rg M&uuml;ller", "page"), ("umlaut", "Jörg Müller", "latin-1"),
    ("letters and number", "7654321", "tsv"), ("apostrophe", "Sean OBrien", "svg"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "text", "kind"), FOUND, ids=[f"{s}: {t}, {k}" for s, t, k in FOUND])
def test_what_a_source_tells_is_found_in_another_form(tmp_path, source, text, kind):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    secrets = told_by(source, tmp_path / "in")
    plant(tmp_path / "out", kind, text)
    found = scan_outputs(tmp_path / "out", secrets)
    assert [what for _, what in found if what.startswith("a value of ")]
    assert not [what for _, what in found if "kowalski" in what.casefold() or NUMBER in what]
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    plant(tmp_path / "out", kind, "Anna Nowak of 4 March 1972, 1234568, 7.654321 and version 3.2.61; A. Kowalczyk")
    assert scan_outputs(tmp_path / "out", secrets) == []


@pytest.mark.parametrize("field", ["SequenceName", "TxCoil", "RxCoil", "Note", "PatientName", "ConversionMethod"])
def test_free_text_of_a_header_of_spectra_is_never_written(field):
    cleaned, removed = identity.clean(scan(**{field: "press for Zuzanna Kowalski 7654321"}))
    assert field in removed and "Kowalski" not in json.dumps(cleaned.header)


@pytest.mark.parametrize("field", ["descrip", "aux_file", "db_name", "data_type", "intent_name", "extension"])
def test_texts_of_an_anatomical_image_are_never_written(tmp_path, field):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    if field == "extension":
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"KOWALSKI"))
    else:
        image.header[field] = b"KOWALSKI"
    nibabel.save(image, tmp_path / "in.nii.gz")
    assert b"KOWALSKI" in gzip.decompress((tmp_path / "in.nii.gz").read_bytes())
    images.write(images.read(tmp_path / "in.nii.gz"), tmp_path / "out.nii.gz")
    assert b"KOWALSKI" not in gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj), np.asarray(image.dataobj))
