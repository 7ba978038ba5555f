"""What the judge works with: evidence, thresholds, findings and advice."""

# ruff: noqa: F403
from pyrovae.inspection.judge.advice import *
from pyrovae.inspection.judge.evidence import *
from pyrovae.inspection.judge.finding import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__)
