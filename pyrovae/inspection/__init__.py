"""Inspection of a guide's posterior, as tables, figures and a report."""

# ruff: noqa: F403
from pyrovae.inspection.aggregate import *
from pyrovae.inspection.anomalies import *
from pyrovae.inspection.attributes import *
from pyrovae.inspection.calibration import *
from pyrovae.inspection.collapse import *
from pyrovae.inspection.comparing import *
from pyrovae.inspection.dispersion import *
from pyrovae.inspection.edits import *
from pyrovae.inspection.export import *
from pyrovae.inspection.gaps import *
from pyrovae.inspection.gathering import *
from pyrovae.inspection.holes import *
from pyrovae.inspection.inpainting import *
from pyrovae.inspection.judge import *
from pyrovae.inspection.judging import *
from pyrovae.inspection.maps import *
from pyrovae.inspection.mcmc import *
from pyrovae.inspection.monitor import *
from pyrovae.inspection.outliers import *
from pyrovae.inspection.posterior import *
from pyrovae.inspection.probing import *
from pyrovae.inspection.program import *
from pyrovae.inspection.refinement import *
from pyrovae.inspection.report import *
from pyrovae.inspection.residuals import *
from pyrovae.inspection.scales import *
from pyrovae.inspection.section import *
from pyrovae.inspection.sections import SECTIONS as SECTIONS
from pyrovae.inspection.spread_sweep import *
from pyrovae.inspection.subject import *
from pyrovae.inspection.traversals import *
from pyrovae.inspection.typical import *
from pyrovae.inspection.walks import *
from pyrovae.posterior.encoding import Encoding as Encoding
from pyrovae.posterior.encoding import encode as encode
from pyrovae.posterior.space import LatentSpace as LatentSpace
from pyrovae.posterior.view import PosteriorView as PosteriorView
from pyrovae.utils.discovery import exports

__all__ = exports(__name__)
