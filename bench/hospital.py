"""The round trip with a real PACS: studies out of Orthanc, screened, results into it; and the same night again.

    python -m bench.hospital --studies 20 --json bench/results/hospital.json

Phantom studies are stored into Debian's Orthanc by dcmtk's dcmsend, found and fetched over DICOMweb, screened with the
demo's bundle, their results written as all kinds of DICOM objects and stored by STOW-RS. Demanded: every image is
screened; Orthanc holds every object once, and equal to the file it was sent from when another client pulls it; a rerun,
also one that has lost the archive and the results, sends nothing and changes nothing in Orthanc.

Exit status 1 where something was not as demanded. Needs Debian's orthanc, orthanc-dicomweb and dcmtk, and the extra
[test].
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.harness import ROOT, parse_arguments, write
from tests.end_to_end.hospital import differences, held, mammofast, night, store_as_modality
from tests.pacs.orthanc import Orthanc


def main() -> None:
    options = parse_arguments(
        __doc__, [("--studies", {"type": int, "default": 20}), ("--seed", {"type": int, "default": 8})]
    )
    with tempfile.TemporaryDirectory() as folder:
        case = round_trip(Path(folder), options.studies, options.seed)
    packages = ("pynetdicom", "requests", "highdicom", "pydicom", "dicomweb-client")
    notes = ["seconds are of whole commands, processes started included; Orthanc runs on the same machine"]
    write(options.json, [case], packages, notes)
    if case["wrong"]:
        sys.exit(1)


def round_trip(folder: Path, studies: int, seed: int) -> dict[str, Any]:
    environment = {"env": os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}}
    mammofast("phantom", folder / "phantoms", "--studies", studies, "--seed", seed, **environment)
    images = len(list((folder / "phantoms" / "dicom").rglob("*.dcm")))
    orthanc = Orthanc(folder / "orthanc")
    try:
        store_as_modality(orthanc, folder / "phantoms" / "dicom")
        out = folder / "night"
        out.mkdir()
        first = night(orthanc, out, **environment)
        objects = len(list((out / "objects").rglob("*.dcm")))
        before = held(orthanc)
        wrong = []
        if first["ingest"]["added"] != images or first["screen"]["done"] != images:
            wrong.append("an image was not screened")
        if first["send"]["sent"] != objects or before[1] != images + objects:
            wrong.append("an object was not stored, or twice")
        unequal = differences(orthanc, out / "objects")
        if unequal:
            wrong.append(f"{len(unequal)} objects came back other than they were sent")
        reruns = []
        for forgotten in ((), ("archive.zarr", "results", "objects")):
            for name in forgotten:
                shutil.rmtree(out / name)
            again = night(orthanc, out, **environment)
            reruns.append({"forgotten": list(forgotten), **_brief(again)})
            if again["send"]["sent"] or again["send"]["present"] != objects or held(orthanc) != before:
                wrong.append(f"a rerun that had forgotten {list(forgotten)} changed the PACS")
        version = orthanc.rest("/system")["Version"]
    finally:
        orthanc.close()
    return {
        "case": "round trip with Orthanc",
        "reason": "found, fetched, screened, results stored back; nothing twice after a rerun; read back equal",
        "orthanc": version,
        "studies": studies,
        "images": images,
        "objects": objects,
        "objects_by_kind": first["report"]["objects"],
        "night": _brief(first),
        "reruns": reruns,
        "read_back_equal": objects - len(unequal),
        "wrong": wrong,
    }


def _brief(said: dict[str, Any]) -> dict[str, Any]:
    """Return counts and seconds, without the lists of files."""
    return {
        name: {key: value for key, value in facts.items() if not isinstance(value, (list, dict))}
        for name, facts in said.items()
    }


if __name__ == "__main__":
    main()
