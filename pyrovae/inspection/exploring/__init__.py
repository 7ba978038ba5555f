"""What the explorer shows: maps with a way back, cover, directions, predictions and scores."""

from pyrovae.inspection.exploring.around import Directions as Directions
from pyrovae.inspection.exploring.around import principal_directions as principal_directions
from pyrovae.inspection.exploring.cover import Cover as Cover
from pyrovae.inspection.exploring.ground import Ground as Ground
from pyrovae.inspection.exploring.ground import NeighbourGround as NeighbourGround
from pyrovae.inspection.exploring.ground import principal_ground as principal_ground
from pyrovae.inspection.exploring.predicting import Predictions as Predictions
from pyrovae.inspection.exploring.scoring import Evidences as Evidences
from pyrovae.inspection.exploring.scoring import two_sided as two_sided
