"""What networks learn: one module for each task, found by the name that a recipe gives."""

from importlib import import_module

from mammofast.errors import TrainingError
from mammofast.training.recipe import Recipe, Stage
from mammofast.training.tasks.task import Batch, Example, Task

# By the recipe's word: "module:class" within this folder.
_KINDS = {
    "segmentation": "segmentation:Segmentation",
    "crops": "crops:Crops",
    "detection": "detection:Detection",
    "adversarial": "adversarial:Adversarial",
    "rcnn": "rcnn:Rcnn",
    "volume-region": "volumes:VolumeRegion",
    "volume-rcnn": "volumes:VolumeDetection",
}

__all__ = ["Batch", "Example", "Task", "make_task"]


def make_task(recipe: Recipe, stage: Stage) -> Task:
    """Return what a stage of a recipe learns.

    Raises
    ------
    TrainingError
        When a table of the recipe says what the task does not know.

    """
    module, _, name = _KINDS[recipe.task].partition(":")
    try:
        kind = getattr(import_module(f"mammofast.training.tasks.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name != f"mammofast.training.tasks.{module}":
            raise
        raise TrainingError(f"recipe {recipe.name!r}: task {recipe.task!r} is not there yet") from error
    task: Task = kind(recipe, stage)
    return task
