"""Volumes and DICOM files made by nibabel and pydicom: values, slices, patients, and what is refused."""

import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from deep_pictures import scan
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from progcycle.data import BrokenPicture, Levels, UnsupportedPicture, decode_picture
from progcycle.data.dicom import patient_of, read_dicom_bits
from progcycle.data.measure import find_bits, measure_values
from progcycle.data.volumes import filled_slices, read_volume, volume_bytes
from progcycle.errors import UserError
from progcycle.recipe import Volumes

AFFINE = np.array([[-0.8, 0.1, 0, 90.0], [0, 0.9, 0.2, -126], [0.05, 0, 3, -72], [0, 0, 0, 1]])


def head(seed: int, low: int = 0, high: int = 4000, shape: tuple[int, ...] = (12, 14, 10)) -> np.ndarray:
    """A ball of noise in a volume of its lowest value."""
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape[:3]), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.7
    values = np.random.default_rng(seed).integers(low + 1, high + 1, shape)
    return np.where(inside if len(shape) == 3 else inside[..., None], values, low)


def write_nifti(path: Path, values: np.ndarray, dtype: Any = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values.astype(dtype), AFFINE)
    image.header["descrip"] = b"Jane Doe, 1970"
    nibabel.save(image, path)
    return path


def dicom(values: np.ndarray, **changes: Any) -> FileDataset:
    """A CT-like file of 12 bits of a patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "4711", "19700101"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.tobytes()
    return dataset


def content(dataset: FileDataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def values_of(data: bytes, levels: Levels, channels: int = 1, **options: Any) -> np.ndarray:
    return decode_picture(
        io.BytesIO(data), channels=channels, background="white", name="x", levels=levels, values=True, **options
    )


# --- NIfTI --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_pictures(tmp_path: Path, make_set: Any, axis: int, ending: str) -> None:
    values = head(0)
    write_nifti(tmp_path / "in" / f"case{ending}", values)
    options = {"channels": 1, "bits": 16, "window": [0, 4000], "resolution": 8, "volumes": {"axis": axis}}
    pictures = make_set(tmp_path / "in", **options)
    above = np.moveaxis(values > 0, axis, 0).reshape(values.shape[axis], -1).mean(axis=1)
    filled = [k for k in range(values.shape[axis]) if above[k] > 0.01]
    assert 0 < len(filled) < values.shape[axis]
    assert pictures.names == tuple(f"case#{k:03}{ending}" for k in filled)
    for i, k in enumerate(filled):
        assert np.array_equal(pictures.reader.values(i)[..., 0], values.take(k, axis=axis))
    assert pictures.plain(0, 8).image.dtype == np.uint16


def test_depths_of_volumes(tmp_path: Path, make_set: Any) -> None:
    values = head(0, -1024, 3000)
    write_nifti(tmp_path / "a" / "x.nii", values)
    pictures = make_set(tmp_path / "a", channels=1, bits=16)
    assert find_bits(pictures)[0] == 16
    assert (measure_values(pictures).low, measure_values(pictures).high) == (-1024, values.max())
    write_nifti(tmp_path / "b" / "x.nii", head(0) / 7, np.float32)
    assert find_bits(make_set(tmp_path / "b", channels=1))[0] == "float"
    write_nifti(tmp_path / "c" / "x.nii", head(0, 0, 250), np.uint8)
    assert find_bits(make_set(tmp_path / "c", channels=1))[0] == 8


def test_scaled_values_are_meant(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(head(0).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.5, -100)
    raw = bytearray(image.to_bytes())
    stored = nibabel.Nifti1Image.from_bytes(bytes(raw))
    volume = read_volume(io.BytesIO(bytes(raw)), "x")
    assert volume.values.dtype == np.float32
    assert np.allclose(volume.values, stored.get_fdata(), atol=1e-3)


def test_channels_of_a_volume(tmp_path: Path, make_set: Any) -> None:
    values = head(0, shape=(12, 14, 10, 4))
    write_nifti(tmp_path / "a" / "x.nii.gz", values)
    pictures = make_set(tmp_path / "a", channels=4, bits=16, resolution=8)
    index = int(pictures.names[2].partition("#")[2][:3])
    assert np.array_equal(pictures.reader.values(2), values[:, :, index])


def test_empty_slices_by_hand() -> None:
    values = np.zeros((4, 5, 3))
    values[0, 0, 1] = 1
    values[:2, :, 2] = 1
    assert filled_slices(values, Volumes(empty=0)) == [1, 2]
    assert filled_slices(values, Volumes(empty=0.05)) == [2]
    assert filled_slices(values, Volumes(axis=0, empty=0.3)) == [0, 1]
    assert filled_slices(np.ones((4, 5, 3)), Volumes()) == []


def test_slices_of_a_volume_and_volumes_of_a_patient_are_held_out_together(tmp_path: Path, make_set: Any) -> None:
    for i in range(12):
        write_nifti(tmp_path / "in" / f"sub-{i // 2:02}_T{i % 2 + 1}w.nii.gz", head(i))
    options = {"channels": 1, "bits": 16, "resolution": 8, "validation": 0.4}
    kept = make_set(tmp_path / "in", **options)
    held = make_set(tmp_path / "in", held_out=True, **options)
    patients = [{name[:6] for name in pictures.names} for pictures in (kept, held)]
    assert all(patients)
    assert not patients[0] & patients[1]
    assert len(patients[0] | patients[1]) == 6


def test_what_is_no_volume_of_pictures_is_refused(tmp_path: Path, make_set: Any) -> None:
    file = write_nifti(tmp_path / "a" / "x.nii.gz", np.zeros((6, 6, 6, 2, 2)))
    with pytest.raises(UnsupportedPicture, match=r"x\.nii\.gz: this volume has the shape \[6, 6, 6, 2, 2\]"):
        make_set(tmp_path / "a")
    write_nifti(file, head(0))
    whole = file.read_bytes()
    for end in (len(whole) // 2, 20):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"x\.nii\.gz: this volume cannot be read"):
            make_set(tmp_path / "a")
    plain = write_nifti(tmp_path / "b" / "x.nii", head(0))
    lying = bytearray(plain.read_bytes())
    lying[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # dim
    plain.write_bytes(lying)
    with pytest.raises(UserError, match=r"x\.nii: this volume cannot be read"):
        make_set(tmp_path / "b")


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    """They are neither empty nor filled, and such slices would be left out without a word."""
    values = head(0).astype(np.float32)
    values[0, 0, :3] = np.nan
    with pytest.raises(UnsupportedPicture, match="x: 3 values of this volume are not finite"):
        read_volume(write_nifti(tmp_path / "x.nii", values, np.float32), "x")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    lying = bytearray(write_nifti(tmp_path / "x.nii", head(0)).read_bytes())
    lying[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()  # dim
    with pytest.raises(ValueError, match="its header promises 128000000000 bytes of values, and there are 3360"):
        read_volume(io.BytesIO(lying), "x")


def test_nothing_but_geometry_is_written(tmp_path: Path) -> None:
    volume = read_volume(write_nifti(tmp_path / "x.nii", head(0)), "x")
    values = np.zeros((12, 14, 10), np.uint16)
    made = nibabel.Nifti1Image.from_bytes(volume_bytes(volume, values, compressed=False))
    assert np.array_equal(made.affine, volume.image.affine)
    assert made.header.get_zooms() == volume.image.header.get_zooms()
    assert b"Jane" not in volume_bytes(volume, values, compressed=False)
    assert b"Jane" in (tmp_path / "x.nii").read_bytes()


# --- DICOM --------------------------------------------------------------------------------------------------------

TWELVE = scan(0, 0, 4095, 20, 16)[..., 0]
EIGHT = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_values_are_rescaled_and_white_is_high(kind: str) -> None:
    data = content(dicom(TWELVE, PhotometricInterpretation=kind, RescaleSlope="1", RescaleIntercept="-1024"))
    found = values_of(data, Levels(16, -1024, 3071))[..., 0]
    expected = TWELVE.astype(int) if kind == "MONOCHROME2" else 4095 - TWELVE.astype(int)
    assert found.dtype == np.int16
    assert np.array_equal(found, expected - 1024)


def test_floating_point_pixels() -> None:
    for kind, key in ((np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")):
        values = (TWELVE / 7).astype(kind)
        dataset = dicom(TWELVE, BitsAllocated=8 * values.itemsize, **{key: values.tobytes()})
        for word in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, word)
        data = content(dataset)
        assert read_dicom_bits(io.BytesIO(data)) == "float"
        assert np.array_equal(values_of(data, Levels("float", 0, 600))[..., 0], values)
        dataset.PhotometricInterpretation = "MONOCHROME1"
        with pytest.raises(UnsupportedPicture, match="x: this DICOM file has floating point MONOCHROME1; save it"):
            values_of(content(dataset), Levels("float", 0, 600))


@pytest.mark.parametrize("kind", ["header", "implicit", "explicit", "big"])
def test_files_without_their_first_132_bytes(tmp_path: Path, make_set: Any, kind: str) -> None:
    dataset = dicom(TWELVE if kind != "big" else TWELVE.byteswap(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    stream = io.BytesIO()
    if kind == "header":
        stream.write(content(dataset)[132:])
    else:
        dataset.file_meta = FileMetaDataset()
        dataset.preamble = None
        options = {"implicit_vr": kind == "implicit", "little_endian": kind != "big"}
        pydicom.dcmwrite(stream, dataset, enforce_file_format=False, **options)
    data = stream.getvalue()
    assert b"DICM" not in data
    assert np.array_equal(values_of(data, Levels(16, 0, 4095))[..., 0], TWELVE)
    (tmp_path / "x.dcm").write_bytes(data)
    assert find_bits(make_set(tmp_path, channels=1))[0] == 16
    assert patient_of(io.BytesIO(data)) == patient_of(io.BytesIO(content(dicom(TWELVE))))


def test_dicom_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    report = dicom(TWELVE, Modality="SR")
    for word in ("Rows", "Columns", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelData"):
        delattr(report, word)
    with pytest.raises(BrokenPicture, match="its header has no Rows, as that of a file that is no picture"):
        values_of(content(report), Levels(16, 0, 4095))
    (tmp_path / "y.dcm").write_bytes(b"Thumbs.db" * 50)
    with pytest.raises(BrokenPicture, match=r"y\.dcm: this is not a DICOM file, though its name says so; take it out"):
        decode_picture(tmp_path / "y.dcm", channels=1, background="white")


def test_depths_of_dicom_files(tmp_path: Path, make_set: Any) -> None:
    files = {
        "16": dicom(TWELVE),
        "float": dicom(TWELVE, RescaleSlope="0.37", RescaleIntercept="0"),
        "8": dicom((TWELVE >> 4).astype(np.uint8), BitsAllocated=8, BitsStored=8, HighBit=7),
    }
    for name, dataset in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.dcm").write_bytes(content(dataset))
        assert str(find_bits(make_set(tmp_path / name, channels=1))[0]) == name
    scaled = values_of(content(files["float"]), Levels("float", 0, 2000))[..., 0]
    assert np.allclose(scaled, TWELVE * 0.37, atol=1e-3)
    assert np.array_equal(values_of(content(files["8"]), Levels())[..., 0], TWELVE >> 4)


def test_signed_values() -> None:
    signed = (TWELVE.astype(np.int32) - 2048).astype(np.int16)
    data = content(dicom(signed, PixelRepresentation=1))
    assert np.array_equal(values_of(data, Levels(16, -2048, 2047))[..., 0], signed)


def test_colour_of_8_bits() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    data = content(dicom(colour, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, **EIGHT))
    assert np.array_equal(values_of(data, Levels(), 3), colour)


@pytest.mark.parametrize("compressed", [False, True])
def test_colour_of_luminance_and_differences_is_converted_once(compressed: bool) -> None:
    """As JPEG stores it, by Pillow's conversion."""
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8))
    image = small.resize((32, 24), Image.Resampling.BICUBIC)
    dataset = dicom(
        np.asarray(image.convert("YCbCr")),
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL",
        PlanarConfiguration=0,
        **EIGHT,
    )
    if compressed:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=98, subsampling=0)
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found = values_of(content(dataset), Levels(), 3)
    assert np.abs(found.astype(int) - np.asarray(image)).max() <= 8


def test_the_table_of_a_modality_is_applied() -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "OW", (np.arange(4096) * 7).astype("<u2").tobytes())
    for kind in ("MONOCHROME2", "MONOCHROME1"):
        data = content(dicom(TWELVE, ModalityLUTSequence=[table], PhotometricInterpretation=kind))
        expected = TWELVE.astype(int) * 7
        expected = expected if kind == "MONOCHROME2" else 65535 - expected
        assert np.array_equal(values_of(data, Levels(16, 0, 65535))[..., 0], expected)


@pytest.mark.parametrize("where", ["Shared", "PerFrame"])
def test_the_rule_of_an_enhanced_file_is_applied(where: str) -> None:
    rule, group = Dataset(), Dataset()
    rule.RescaleSlope, rule.RescaleIntercept, rule.RescaleType = "1", "-1024", "HU"
    group.PixelValueTransformationSequence = [rule]
    dataset = dicom(TWELVE, NumberOfFrames=1, **{f"{where}FunctionalGroupsSequence": [group]})
    found = values_of(content(dataset), Levels(16, -1024, 3071))[..., 0]
    assert np.array_equal(found, TWELVE.astype(int) - 1024)


def test_a_rule_without_numbers_changes_nothing() -> None:
    data = content(dicom(TWELVE, RescaleSlope=None, RescaleIntercept=None))
    assert np.array_equal(values_of(data, Levels(16, 0, 4095))[..., 0], TWELVE)


def test_bits_that_lie_elsewhere_are_refused() -> None:
    data = content(dicom((TWELVE << 4).astype(np.uint16), HighBit=15))
    with pytest.raises(UnsupportedPicture, match="x: the 12 bits of this DICOM file end at bit 15"):
        values_of(data, Levels(16, 0, 4095))


def test_frames_and_damage_are_named() -> None:
    stack = dicom(np.stack([TWELVE, TWELVE]), NumberOfFrames=2, Rows=16, Columns=20)
    with pytest.raises(UnsupportedPicture, match="x: this DICOM file has 2 frames; save it as NIfTI"):
        values_of(content(stack), Levels(16, 0, 4095))
    whole = content(dicom(TWELVE))
    for end in (len(whole) - 100, 400, 140):
        with pytest.raises(BrokenPicture, match="x: this picture cannot be read"):
            values_of(whole[:end], Levels(16, 0, 4095))
    with pytest.raises(BrokenPicture, match=r"320 pixels, above data\.max_pixels = 319"):
        values_of(whole, Levels(16, 0, 4095), max_pixels=319)


def test_files_of_one_patient_are_held_out_together(tmp_path: Path, make_set: Any) -> None:
    (tmp_path / "in").mkdir()
    for i in range(24):
        dataset = dicom(scan(i, 0, 4095, 20, 16)[..., 0], PatientID=f"Doe{i % 6}")
        (tmp_path / "in" / f"{i:02}.dcm").write_bytes(content(dataset))
    options = {"channels": 1, "bits": 16, "resolution": 8, "validation": 0.4}
    sets = [make_set(tmp_path / "in", held_out=held, **options) for held in (False, True)]
    patients = [{int(name[:2]) % 6 for name in pictures.names} for pictures in sets]
    assert all(patients)
    assert not patients[0] & patients[1]
    assert not any("Doe" in entry.group for pictures in sets for entry in pictures.entries)


def test_a_file_without_a_patient() -> None:
    dataset = dicom(TWELVE, PatientID="", StudyInstanceUID="1.2.3")
    same = dicom(TWELVE, PatientID="", StudyInstanceUID="1.2.3")
    assert patient_of(io.BytesIO(content(dataset))) == patient_of(io.BytesIO(content(same)))
    assert patient_of(io.BytesIO(content(dicom(TWELVE, PatientID="")))) is None
    assert patient_of(io.BytesIO(b"damaged")) is None
    assert pydicom.dcmread(io.BytesIO(content(dataset))).PatientName == "Doe^Jane"


def test_no_identifier_reaches_the_cache(tmp_path: Path, make_set: Any) -> None:
    (tmp_path / "in").mkdir()
    for i in range(12):
        dataset = dicom(scan(i, 0, 4095, 20, 16)[..., 0], PatientID=f"4711-{i}")
        (tmp_path / "in" / f"{i}.dcm").write_bytes(content(dataset))
    write_nifti(tmp_path / "in" / "99.nii", head(0))
    options = {"channels": 1, "bits": 16, "resolution": 8, "cache_dir": tmp_path / "cache", "validation": 0.4}
    pictures = make_set(tmp_path / "in", **options)
    pictures.prepare([8])
    for file in pictures.cache.folder.iterdir():
        assert not any(secret in file.read_bytes() for secret in (b"Doe", b"4711", b"Jane"))
