"""The ``mammofast`` command.

Exit status: see :mod:`mammofast.cli.status`.
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

import click

from mammofast import __version__
from mammofast.cli.naming import place_in_data
from mammofast.cli.status import COULD_NOT_RUN
from mammofast.errors import MammofastError

# name → (module, object): a command's module is imported when it is run, so that `--help` answers at once.
_COMMANDS = {
    "demo": ("mammofast.cli.demo", "demo_command"),
    "phantom": ("mammofast.cli.phantom", "phantom_command"),
    "ingest": ("mammofast.cli.ingest", "ingest_command"),
    "archive": ("mammofast.cli.archive", "archive_command"),
    "screen": ("mammofast.cli.screen", "screen_command"),
    "report": ("mammofast.cli.report", "report_command"),
    "send": ("mammofast.cli.send", "send_command"),
    "serve": ("mammofast.cli.serve", "serve_command"),
    "evaluate": ("mammofast.cli.evaluate", "evaluate_command"),
    "models": ("mammofast.cli.models", "models_command"),
    "train": ("mammofast.cli.train", "train_command"),
    "compile": ("mammofast.cli.compile", "compile_command"),
    "bench": ("mammofast.cli.bench", "bench_command"),
    "doctor": ("mammofast.cli.doctor", "doctor_command"),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MammofastError, ImportError) as error:
            click.echo(f"mammofast: {error}", err=True)
            if place := place_in_data(error, ctx):
                click.echo(f"  {place}", err=True)
            ctx.exit(COULD_NOT_RUN)
        except BrokenPipeError:
            raise  # whoever read the output has had enough: click ends quietly
        except OSError as error:
            # Its whole text would name the file, and file names may hold a patient's name.
            click.echo(f"mammofast: a file could not be used: {error.strerror or type(error).__name__}", err=True)
            ctx.exit(COULD_NOT_RUN)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own ends
        except Exception as error:
            # Its words, which nobody here has chosen, may quote what was read.
            click.echo(f"mammofast: unexpected {type(error).__name__}; please report where it came from:", err=True)
            for frame in extract_tb(error.__traceback__):
                click.echo(f"  {'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}", err=True)
            ctx.exit(COULD_NOT_RUN)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mammofast")
def main() -> None:
    """Screen mammography archives for mass candidates.

    \b
    mammofast demo                                    try everything, offline
    mammofast ingest /data/dicom archive.zarr         decode an archive once
    mammofast screen archive.zarr results --bundle B  find masses
    mammofast report results --to html --out report   look at them
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    # pydicom's warnings quote values, and they may be a patient's.
    warnings.filterwarnings("ignore", module="pydicom")


if __name__ == "__main__":
    sys.exit(main())
