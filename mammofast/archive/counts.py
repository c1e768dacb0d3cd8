"""What an ingest run says it did."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class IngestReport:
    """How many files were new images, known before, not usable, and damaged.

    A file of an MR series is added once its volume is: until then it counts as what the series is. volumes: how many
    were made, or made anew as more of their series came.
    mixed_studies: to how many studies an image was added that names another patient than the image before it.
    """

    added: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0
    mixed_studies: int = 0
    volumes: int = 0

    @property
    def files(self) -> int:
        """How many files were looked at."""
        return self.added + self.known + self.skipped + self.failed

    def __sub__(self, before: "IngestReport") -> "IngestReport":
        return IngestReport(*(getattr(self, f.name) - getattr(before, f.name) for f in fields(self)))

    def __str__(self) -> str:
        text = f"{self.added} added, {self.known} known, {self.skipped} skipped, {self.failed} failed"
        if self.volumes:
            text += f"; volumes: {self.volumes}"
        if self.mixed_studies:
            text += f"; studies with images of several patients: {self.mixed_studies}"
        return text
