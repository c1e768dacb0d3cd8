"""``mammofast train``: a recipe and data become a network, and a bundle that screens."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mammofast.cli.naming import may_name, read_data_set
from mammofast.cli.progress import progress
from mammofast.cli.words import read_size, read_value

if TYPE_CHECKING:
    from mammofast.compilation.compiler import Target
    from mammofast.datasets import Dataset, Split
    from mammofast.training.trainer import Trained

_LAYOUTS = ["inbreast", "cbis-ddsm", "vindr-mammo", "cityscapes", "folder", "phantoms", "dce-mri"]
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("train")
@click.argument("recipe", required=False)
@click.option("--list", "listed", is_flag=True, help="List the recipes and end.")
@click.option("--data", multiple=True, metavar="LAYOUT:DIR", help=f"A data set; LAYOUT: {', '.join(_LAYOUTS)}.")
@click.option("--split", "splits", multiple=True, metavar="FILE#K", help="A file's K-th split, one for each --data.")
@click.option("--out", type=_FOLDER, help="The training's folder.")
@click.option("--resume", is_flag=True, help="Go on where --out stopped; begin where it is new.")
@click.option("--bundle", type=_FOLDER, help="Where the bundle goes.  [default: OUT/bundle]")
@click.option(
    "--with", "others", multiple=True, metavar="ROLE=DIR", help="A training whose network the bundle has too."
)
@click.option("--budget", type=float, help="Largest error of the bundle's networks, as `mammofast compile` has it.")
@click.option("--start", type=_FILE, help="Weights to begin with: safetensors, .weights, .pt.")
@click.option("--layout", metavar="LAYOUT", help="Whose names --start has, such as torchvision-vgg16.")
@click.option("--epochs", type=click.IntRange(1), help="Of every stage, in place of the recipe's.")
@click.option("--batch", type=click.IntRange(1), help="In place of the recipe's.")
@click.option("--width", type=click.FloatRange(0, min_open=True), help="Factor on the network's hidden channels.")
@click.option("--size", "sizes", multiple=True, metavar="ROWSxCOLS", help="Of the network's input.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any entry of the recipe: loss.name=dice.")
@click.option("--limit", type=click.IntRange(1), help="At most so many training images, for trying.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]", help="What trains.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0), help="Processes that read images.")
@click.option("--cache", type=_FOLDER, help="Prepared images; trainings may share it.  [default: OUT/examples]")
@click.option("--json", "as_json", is_flag=True, help="Print the best epoch's measures as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, and nothing said.")
@click.option("--verbose", is_flag=True, callback=may_name, help="Say what was left out of the data, and why, by name.")
def train_command(
    recipe: str | None,
    listed: bool,
    data: tuple[str, ...],
    splits: tuple[str, ...],
    out: Path | None,
    resume: bool,
    bundle: Path | None,
    others: tuple[str, ...],
    budget: float | None,
    start: Path | None,
    layout: str | None,
    epochs: int | None,
    batch: int | None,
    width: float | None,
    sizes: tuple[str, ...],
    changes: tuple[str, ...],
    limit: int | None,
    device: str,
    workers: int,
    cache: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train RECIPE, a name of `mammofast train --list` or a .toml file of one's own, and write a bundle.

    \b
    Example: mammofast train p2-aunet --data cbis-ddsm:/data/cbis --data inbreast:/data/inbreast \\
                 --split cbis.json#1 --split inbreast.json#1 --out runs/aunet
    Example: mammofast train p1-aspp-fc-densenet --data phantoms:phantoms --out try --limit 8 --epochs 2 --width 0.25

    A split's test images are never seen, and a part of its training patients chooses the epoch. Without --split it is
    the data set's own; one that has none trains whole. Ctrl-C or SIGTERM writes a checkpoint and ends with exit
    status 1; --resume then goes on to the bit as if nothing had been.
    """  # noqa: D301
    if listed:
        _list(as_json)
        return
    if recipe is None or out is None or not data:
        raise click.UsageError("expected RECIPE, --data and --out; `mammofast train --list` lists the recipes")
    try:
        from mammofast.training.trainer import train
    except ModuleNotFoundError as error:
        raise ImportError(f'training needs the extra "train" ({error}): pip install "mammofast[train]"') from error
    from mammofast.compilation.compiler import Target
    from mammofast.errors import BundleError, EngineError, ModelError, TrainingError
    from mammofast.training.bundle import check_others
    from mammofast.training.recipe_files import read_recipe
    from mammofast.training.tasks import make_task

    given = _by_key({"training.epochs": epochs, "training.batch": batch, "network.options.width": width})
    if sizes:
        given["network.sizes"] = [list(read_size(text)) for text in sizes]
    given |= {key: read_value(text) for key, text in (_pair(change, "--set") for change in changes)}
    try:
        chosen = read_recipe(recipe, given)
        engine = Target("onnxruntime", budget=budget)
        for stage in chosen.stages:
            make_task(chosen, stage)  # reads what only the task understands, before any image is
    except (BundleError, EngineError, ModelError, TrainingError) as error:
        raise click.UsageError(str(error)) from error
    roles = {role: Path(folder) for role, folder in (_pair(other, "--with") for other in others)}
    target = bundle or out / "bundle"
    if chosen.bundle is None and (bundle or roles):
        raise click.UsageError(f"recipe {recipe!r} ends in no bundle; leave --bundle and --with out")
    if chosen.bundle is not None and chosen.bundle.role in roles:
        raise click.UsageError(
            f"--with {chosen.bundle.role}: is what this recipe trains; give the method's other networks"
        )
    if chosen.bundle is not None:
        try:
            check_others(chosen.bundle, roles)
        except TrainingError as error:
            raise click.UsageError(f"--with {error}") from None

    def say(words: str) -> None:
        if not (quiet or as_json):
            click.echo(words)

    sets = [_read_data(each, quiet or as_json, verbose and not quiet) for each in data]
    trained = train(
        chosen,
        sets,
        _splits(splits, sets),
        out,
        resume=resume,
        start=start,
        layout=layout,
        limit=limit,
        device=device,
        workers=workers,
        cache=cache,
        say=say,
        progress=partial(progress, quiet=quiet or as_json),
    )
    written = _bundle(trained, roles, target, engine, say) if chosen.bundle else None
    if as_json:
        click.echo(json.dumps({"measures": trained.measures, "bundle": written}))
    elif not quiet:
        numbers = ", ".join(f"{name} {'-' if v is None else f'{v:.4g}'}" for name, v in trained.measures.items())
        click.echo(f"best epoch: {numbers or 'no image to measure on'}")


def _list(as_json: bool) -> None:
    from mammofast.training.recipe_files import read_recipe, recipes

    found = [read_recipe(name) for name in recipes()]
    if as_json:
        rows = [{"name": r.name, "paper": r.paper, "task": r.task, "summary": r.summary} for r in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for each in found:
        click.echo(f"{each.name:<26}{each.paper:<4}{each.summary}")


def _bundle(
    trained: "Trained", others: Mapping[str, Path], out: Path, engine: "Target", say: Callable[[str], None]
) -> str | None:
    """Write the bundle; return its identity, or None where a network is still missing."""
    from mammofast.compilation.defaults import METHODS
    from mammofast.errors import EngineError
    from mammofast.training.bundle import write_bundle
    from mammofast.training.checkpoint import read_facts

    facts = read_facts(trained.weights)["bundle"]
    networks = {facts["role"]: trained.out, **others}
    if missing := sorted(set(METHODS[facts["method"]].roles) - set(networks)):
        say(
            f"no bundle: {facts['method']} needs a {' and a '.join(missing)} too. Train one, then say the same with "
            f"--resume --with {missing[0]}=ITS_FOLDER"
        )
        return None
    if out.exists() and out.is_dir() and any(out.iterdir()):
        say(f"bundle {out} is there already")
        return None
    say(f"writing the bundle {out}")
    try:
        return str(write_bundle(networks, out, engine)["bundle"])
    except EngineError as error:
        raise EngineError(f"{error}. The training is whole: --resume --budget E compiles it again") from error


def _read_data(text: str, quiet: bool, verbose: bool) -> "Dataset":
    from mammofast.datasets import READERS

    layout, colon, folder = text.partition(":")
    if not colon or layout not in READERS:
        raise click.UsageError(f"--data {text}: expected LAYOUT:DIR, LAYOUT one of {', '.join(READERS)}")
    if not Path(folder).is_dir():
        raise click.UsageError(f"--data {text}: no such folder")
    return read_data_set(layout, Path(folder), quiet, verbose)


def _splits(texts: Sequence[str], sets: Sequence["Dataset"]) -> list["Split"]:
    """Return each data set's split; without any its own, else all of it trains."""
    from mammofast.datasets import Split, own_split, read_split
    from mammofast.errors import DatasetError

    if texts and len(texts) != len(sets):
        raise click.UsageError(f"got {len(texts)} --split for {len(sets)} --data, expected one for each, in order")
    found = [read_split(text, data) for text, data in zip(texts, sets, strict=False)]
    for data in sets[len(found) :]:
        try:
            found.append(own_split(data))
        except DatasetError:
            found.append(Split(tuple(sample.name for sample in data), ()))
    return found


def _by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise click.UsageError(f"{option} {text}: expected KEY=VALUE")
    return key, value
