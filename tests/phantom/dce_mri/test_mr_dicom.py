"""MR objects: no errors in dciodvfy, and a reader that knows the standard alone finds the phases again."""

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from mammofast.phantom.dce_mri.dicom import clock, identify, write_classic
from mammofast.phantom.dce_mri.enhanced import write_enhanced
from mammofast.phantom.dce_mri.plan import Matrix, plan_cases
from mammofast.phantom.dce_mri.volume import Grid

SMALL = Matrix(3, 10, 12, 3.5, 1.25)
GRID = Grid(SMALL.shape, SMALL.spacing)
NEEDS_DCIODVFY = pytest.mark.skipif(
    shutil.which("dciodvfy") is None and "MAMMOFAST_REQUIRE_TOOLS" not in os.environ,
    reason="DICOM CONFORMANCE IS NOT CHECKED: install dciodvfy (Debian dicom3tools)",
)
KINDS = [(enhanced, per_phase, shuffled) for enhanced in (False, True) for per_phase in (False, True)
         for shuffled in (False, True) if not (enhanced and per_phase)]  # fmt: skip


def planned(enhanced, series_per_phase, shuffled):
    case = plan_cases(1, 4)[0]
    protocol = replace(
        case.protocol, matrix=SMALL, enhanced=enhanced, series_per_phase=series_per_phase, shuffled=shuffled
    )
    return replace(case, protocol=protocol)


def write(folder, case):
    phases = np.random.default_rng(1).integers(0, 4096, (len(case.protocol.times), *GRID.shape), np.uint16)
    (write_enhanced if case.protocol.enhanced else write_classic)(folder, case, GRID, phases)
    return phases, sorted(folder.rglob("*.dcm"))


def errors(path, iod):
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert iod in lines
    return [line for line in lines if "Error" in line or "Warning" in line]


@NEEDS_DCIODVFY
@pytest.mark.parametrize("kind", KINDS)
def test_objects_conform(kind, tmp_path):
    case = planned(*kind)
    _, files = write(tmp_path, case)
    assert len(files) == (1 if kind[0] else 3 * len(case.protocol.times))
    for path in files:
        assert errors(path, "EnhancedMRImage" if kind[0] else "MRImage") == []


@NEEDS_DCIODVFY
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_does_see_errors(enhanced, tmp_path):
    _, files = write(tmp_path, planned(enhanced, False, False))
    image = dcmread(files[0])
    if enhanced:
        del image.SharedFunctionalGroupsSequence[0].MREchoSequence
    else:
        del image.ScanningSequence
    image.save_as(files[0])
    assert errors(files[0], "EnhancedMRImage" if enhanced else "MRImage")


def frames(files):
    """Every frame: its time of acquisition, its place along the stack's normal, its pixels, its headers."""
    for path in files:
        image = dcmread(path)
        if "NumberOfFrames" not in image:
            time = image.AcquisitionTime
            yield time, image.ImageOrientationPatient, image.ImagePositionPatient, image.pixel_array, image
            continue
        (orientation,) = image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for frame, pixels in zip(image.PerFrameFunctionalGroupsSequence, image.pixel_array, strict=True):
            time = frame.FrameContentSequence[0].FrameAcquisitionDateTime[8:]
            place = frame.PlanePositionSequence[0].ImagePositionPatient
            yield time, orientation.ImageOrientationPatient, place, pixels, frame


@pytest.mark.parametrize("kind", KINDS)
def test_phases_and_slices_are_found_by_time_and_place(kind, tmp_path):
    case = planned(*kind)
    phases, files = write(tmp_path, case)
    found = {}
    for time, orientation, place, pixels, _ in frames(files):
        normal = np.cross(orientation[:3], orientation[3:])
        found.setdefault(time, {})[float(normal @ np.array(place, float))] = pixels
    times = sorted(found)
    seconds = [int(t[:2]) * 3600 + int(t[2:4]) * 60 + float(t[4:]) for t in times]
    np.testing.assert_allclose(np.array(seconds) - seconds[0], case.protocol.times)
    volumes = np.stack([np.stack([found[t][z] for z in sorted(found[t])]) for t in times])
    np.testing.assert_array_equal(volumes, phases)
    heights = sorted(found[times[0]])
    np.testing.assert_allclose(np.diff(heights), SMALL.slice_spacing)
    # The stack is centred, head and feet alike.
    assert np.mean(heights) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_headers_say_which_phase_a_slice_is_of(kind, tmp_path):
    case = planned(*kind)
    _, files = write(tmp_path, case)
    by_phase, numbers, series = {}, [], {}
    for time, *_, header in frames(files):
        if kind[0]:
            content = header.FrameContentSequence[0]
            index = content.TemporalPositionIndex
            assert list(content.DimensionIndexValues) == [1, content.InStackPositionNumber, index]
            offset = header.TemporalPositionSequence[0].TemporalPositionTimeOffset
            assert offset == case.protocol.times[index - 1]
        else:
            index = int(header.TemporalPositionIdentifier)
            assert header.NumberOfTemporalPositions == len(case.protocol.times)
            assert index == header.AcquisitionNumber
            numbers.append(int(header.InstanceNumber))
            series.setdefault(header.SeriesInstanceUID, set()).add(index)
        by_phase.setdefault(index, set()).add(time)
    assert [len(by_phase[i]) for i in sorted(by_phase)] == [1] * len(case.protocol.times)
    assert sorted(by_phase) == sorted(by_phase, key=lambda index: min(by_phase[index]))
    if not kind[0]:
        assert sorted(numbers) == list(range(1, 1 + len(numbers)))
        assert len(series) == (len(case.protocol.times) if kind[1] else 1)
    images = [dcmread(path, stop_before_pixels=True) for path in files]
    assert {image.StudyInstanceUID for image in images} == {identify(case).study_uid}
    assert len({image.FrameOfReferenceUID for image in images}) == 1
    assert all("PHANTOM" in image.PatientID for image in images)


def test_shuffled_numbers_say_nothing_of_the_place(tmp_path):
    for shuffled in (False, True):
        _, files = write(tmp_path / str(shuffled), planned(False, False, shuffled))
        images = [dcmread(path, stop_before_pixels=True) for path in files]
        by_number = sorted(images, key=lambda image: int(image.InstanceNumber))
        order = [(image.AcquisitionTime, float(image.ImagePositionPatient[2])) for image in by_number]
        assert (order == sorted(order)) == (not shuffled)


@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_named_by_the_first_slice_of_the_first_phase(kind, tmp_path):
    case = planned(*kind)
    _, files = write(tmp_path, case)
    names = identify(case)
    first = min(
        files, key=lambda path: (lambda i: (i.ContentTime, i.get("ImagePositionPatient", [0] * 3)[2]))(dcmread(path))
    )
    assert first.stem == names.sop_uid
    assert dcmread(first).SeriesInstanceUID == names.series_uid


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "080000.000"), (101.25, "080141.250"), (279.99992, "080440.000"), (3671.5, "090111.500")],
)
def test_times_of_day(seconds, expected):
    assert clock(seconds) == expected
