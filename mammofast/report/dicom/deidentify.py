"""De-identified copies of DICOM objects, by PS3.15's Basic Application Level Confidentiality Profile.

What the profile does to which attribute (PS3.15 table E.1-1, edition 2026c) is dicom-anonymizer's; it looks at the top
level of a data set, here every nested one is cleaned too. Decided here:

- UIDs are replaced by a keyed hash, so that all objects of an export still reference one another, and nobody without
  the key can tell which they were.
- A patient's name and number become one pseudonym, by the same key.
- Dates and times are removed: emptied, or a dummy (1900-01-01) where emptying would break the object.
- Text and outlines in the objects that mammofast writes are its own words and are kept: the profile's Clean Structured
  Content and Clean Graphics Options.
"""

import hmac
import secrets
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.uid import UID_dictionary

from mammofast.errors import Reason, ResultsError, UnusableImage
from mammofast.report.dicom.burned_in import may_show_a_name
from mammofast.report.dicom.context import MANUFACTURER
from mammofast.report.dicom.vocabulary import code_item

try:
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    from dicomanonymizer.simpledicomanonymizer import replace_element
except ImportError as error:
    raise ImportError(f'de-identification is not installed ({error}); pip install "mammofast[deidentify]"') from error

_METHOD = "mammofast: PS3.15 Basic Profile (2026c), UIDs by keyed hash"
_PROFILE = (codes.DCM.BasicApplicationConfidentialityProfile,)
_OPTIONS = (codes.DCM.CleanStructuredContentOption, codes.DCM.CleanGraphicsOption)
# What the profile takes away whole, and the two options keep of our own objects.
_OWN_CONTENT = frozenset({"ContentSequence", "GraphicAnnotationSequence", "UnformattedTextValue"})
# Of group 2, what a file cannot do without (PS3.10 7.1); the rest names machines that sent it.
_META = frozenset(
    {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }
)
# The table removes them, and no presentation state is one without them (type 1): they get a dummy.
_NEEDED = frozenset({"PresentationCreationDate", "PresentationCreationTime"})
# The library's year 1 is no year to validators.
_NO_DATE = {"DA": "19000101", "DT": "19000101000000"}
MIN_KEY_BYTES = 16

_TABLE = dicom_anonymization_database_selector("dicomfields_2026c")
_REMOVED, _UIDS, _EMPTIED = (
    frozenset(map(tuple, _TABLE["X_TAGS"])),
    frozenset(map(tuple, _TABLE["U_TAGS"])),
    frozenset(map(tuple, _TABLE["Z_TAGS"] + _TABLE["X_Z_TAGS"])),
)
# Where an empty value could break the object, a dummy never does.
_DUMMIES = frozenset(tuple(tag) for name in ("D_TAGS", "Z_D_TAGS", "X_D_TAGS", "X_Z_D_TAGS") for tag in _TABLE[name])


def read_key(path: str | Path) -> bytes:
    """Return the key in a file: exports with the same key give the same UIDs and pseudonyms.

    Raises
    ------
    ResultsError
        When it cannot be read, or is so short that it could be guessed.

    """
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise ResultsError(f"the key file cannot be read ({error.strerror})") from None
    if len(key) < MIN_KEY_BYTES:
        raise ResultsError(
            f"the key file holds {len(key)} bytes, expected {MIN_KEY_BYTES} or more: whoever guesses the key can tell "
            "which patient a pseudonym stands for; make one with `openssl rand -out FILE 32`"
        )
    return key


def check_folder(folder: Path, key: bytes | None) -> None:
    """Refuse to add to what would give a patient away, or count one twice.

    Raises
    ------
    ValueError
        When the folder holds objects that name a patient; or export objects of another key, or any at all and there is
        no key: whoever is in them already would be in the export again, as somebody else.

    """
    for path in folder.rglob("*.dcm"):
        said = _said_of_deidentification(path)
        if said is None:
            raise ValueError(
                "--out holds objects that are not de-identified: who gets the export would get them, too; "
                "give another folder"
            )
        if key is None or _fingerprint(key) not in said:
            raise ValueError(
                "there is an export in --out, and its pseudonyms are others: each patient would be in it twice; give "
                "another folder (also where an export without a key was broken off), or the --deidentify-key that "
                "it was made with"
            )


def _said_of_deidentification(path: Path) -> list[str] | None:
    """Return how an object was de-identified, None where it does not say that it is."""
    keywords = ["PatientIdentityRemoved", "DeidentificationMethod"]
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=keywords)
        said = header.get("DeidentificationMethod") or []
        is_removed = header.get("PatientIdentityRemoved") == "YES"
    except Exception:  # who knows what is in it
        return None
    if not is_removed:
        return None
    return [said] if isinstance(said, str) else list(said)


def _fingerprint(key: bytes) -> str:
    """Return what tells exports of one key from those of another, and says nothing else of it."""
    return f"key {hmac.new(key, b'fingerprint', sha256).hexdigest()[:8]}"


class Deidentifier:
    """De-identifies the objects of one export.

    key: a secret; by default a new one that is forgotten with this object, so that nobody can undo it.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key

    def __call__(self, dataset: Dataset) -> Dataset:
        """Return a de-identified copy of any object.

        Raises
        ------
        UnusableImage
            BURNED_IN_ANNOTATION, when its pixels may show who the patient is: they are pictures, and its Burned In
            Annotation is not NO.

        """
        if may_show_a_name(dataset):
            raise UnusableImage(
                Reason.BURNED_IN_ANNOTATION,
                "Burned In Annotation is not NO: the pixels may show who the patient is",
            )
        ours = dataset.get("Manufacturer") == MANUFACTURER
        new = self._cleaned(dataset, _OWN_CONTENT if ours else frozenset())
        new.PatientID = self.pseudonym(dataset)
        new.PatientName = f"De-identified^{new.PatientID}"
        new.PatientIdentityRemoved = "YES"
        new.DeidentificationMethod = [_METHOD, _fingerprint(self._key)]
        new.DeidentificationMethodCodeSequence = [code_item(code) for code in (*_PROFILE, *(_OPTIONS if ours else ()))]
        new.LongitudinalTemporalInformationModified = "REMOVED"
        kept = {element.tag: element for element in dataset.file_meta if element.keyword in _META}
        new.file_meta = FileMetaDataset(self._cleaned(Dataset(kept)))
        new.preamble = bytes(128)
        return new

    def uid(self, uid: str) -> str:
        """Return what takes the place of a UID; those that DICOM itself registers stay."""
        value = str(uid).strip(" \0")
        return value if not value or value in UID_dictionary else f"2.25.{int(self._hash(b'uid', value)[:32], 16)}"

    def pseudonym(self, dataset: Dataset) -> str:
        """Return the name of a data set's patient: the same for all objects with one Patient ID, or of one study."""
        patient = str(dataset.get("PatientID") or "").strip()
        if patient:
            return f"MF{self._hash(b'patient', patient)[:16].upper()}"
        return f"MF{self._hash(b'study', str(dataset.get('StudyInstanceUID') or ''))[:16].upper()}"

    def _hash(self, kind: bytes, value: str) -> str:
        return hmac.new(self._key, kind + b"\0" + value.encode(), sha256).hexdigest()

    def _cleaned(self, dataset: Dataset, content: frozenset[str] = frozenset()) -> Dataset:
        """Return a new data set, which has nothing of the old one that was not looked at.

        content: keywords of what is cleaned inside, not replaced.
        """
        new = Dataset()
        for element in dataset:
            tag = (element.tag.group, element.tag.element)
            if element.keyword in _NEEDED:
                new.add(_with(element, self._dummy(element)))
            elif _is_removed(element):
                continue
            elif tag in _UIDS:
                new.add(_with(element, self._mapped(element.value)))
            elif tag in _EMPTIED:
                new.add(_with(element, [] if element.VR == "SQ" else None))
            elif tag in _DUMMIES and element.keyword not in content:
                new.add(_with(element, self._dummy(element)))
            elif element.VR == "SQ":  # X/Z/U* too: a sequence of references is what its items' UIDs are
                new.add(_with(element, [self._cleaned(item, content) for item in element.value]))
            else:
                new.add(deepcopy(element))
        return new

    def _mapped(self, value: Any) -> Any:
        return [self.uid(uid) for uid in value] if isinstance(value, MultiValue) else self.uid(value or "")

    def _dummy(self, element: DataElement) -> Any:
        """Return what takes the place of a value: of a sequence, dummies in place of everything in it."""
        if element.VR == "SQ":
            return [
                Dataset({e.tag: _with(e, self._dummy(e)) for e in item if not _is_removed(e)}) for item in element.value
            ]
        if element.VR == "UI":
            return self._mapped(element.value)
        if element.VR in _NO_DATE:
            return _NO_DATE[element.VR]
        dummy = deepcopy(element)
        try:
            replace_element(dummy)
        except NotImplementedError:  # of words and floating-point numbers by the thousand
            return None
        return dummy.value


def _with(element: DataElement, value: Any) -> DataElement:
    return DataElement(element.tag, element.VR, value)


def _is_removed(element: DataElement) -> bool:
    """Say whether an element goes: by the table, or because nobody here knows what is in it.

    pydicom's dictionary of tags has no private ones, no curves and overlays (groups 50xx and 60xx), and none of a newer
    edition.
    """
    return (element.tag.group, element.tag.element) in _REMOVED or not dictionary_has_tag(element.tag)
