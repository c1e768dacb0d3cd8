"""One run of the demo's whole job, shared by the tests that look at what came out."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mammofast.cli import main


@dataclass(frozen=True)
class DemoRun:
    out: Path
    output: str

    @property
    def archive(self):
        return self.out / "archive.zarr"

    @property
    def results(self):
        return self.out / "results"

    @property
    def page(self):
        return self.out / "report" / "index.html"


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(main, ["demo", "--studies", "2", "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    return DemoRun(out, done.output)
