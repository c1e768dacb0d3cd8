"""Stages that work at the same time, each on other images, with what they hold bounded."""

from mammofast.pipeline.flow import Flow
from mammofast.pipeline.memory import Budget, Hold, Pool
from mammofast.pipeline.serial import run_serially
from mammofast.pipeline.stage import Stage, each
from mammofast.pipeline.tickets import Outcome

__all__ = ["Budget", "Flow", "Hold", "Outcome", "Pool", "Stage", "each", "run_serially"]
