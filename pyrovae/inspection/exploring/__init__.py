"""What the explorer shows: maps with a way back, cover, directions, predictions and scores."""

# ruff: noqa: F403
from pyrovae.inspection.exploring.around import *
from pyrovae.inspection.exploring.cover import *
from pyrovae.inspection.exploring.ground import *
from pyrovae.inspection.exploring.predicting import *
from pyrovae.inspection.exploring.scoring import *
