"""What a guide's posterior says: as tables first, then as figures, then as a report."""

from pyrovae.inspection.aggregate import kolmogorov_smirnov, marginals, mmd_test, worst_projections
from pyrovae.inspection.attributes import attribute_table, directions, probes
from pyrovae.inspection.calibration import ranks_of_truth
from pyrovae.inspection.collapse import Symptoms, Verdict, dimension_table, judge
from pyrovae.inspection.diagnosis import diagnose
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.edits import edit_effects, edited
from pyrovae.inspection.export import latent_table, to_inference_data, write_table
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.holes import find_holes
from pyrovae.inspection.maps import latent_grid, neighbour_map, principal_map
from pyrovae.inspection.mcmc import sample_posterior
from pyrovae.inspection.monitor import PosteriorMonitor
from pyrovae.inspection.outliers import find_outliers
from pyrovae.inspection.posterior import correlations, predictive
from pyrovae.inspection.program import parameter_table, site_table
from pyrovae.inspection.refinement import refine_full_rank, refine_guide
from pyrovae.inspection.report import Report, inspect
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections import SECTIONS
from pyrovae.inspection.spread_sweep import temperature
from pyrovae.inspection.subject import FULL, QUICK, Budget, Subject
from pyrovae.inspection.traversals import effects, linear_path, spherical_path
from pyrovae.inspection.typical import pixel_calibration, predictive_checks, replicate
from pyrovae.posterior.encoding import Encoding, encode
from pyrovae.posterior.space import LatentSpace
from pyrovae.posterior.view import PosteriorView

__all__ = [
    "Drawing",
    "Budget",
    "Encoding",
    "FULL",
    "LatentSpace",
    "QUICK",
    "Report",
    "SECTIONS",
    "Section",
    "Symptoms",
    "Subject",
    "Verdict",
    "PosteriorMonitor",
    "PosteriorView",
    "attribute_table",
    "correlations",
    "diagnose",
    "dimension_table",
    "directions",
    "dispersion",
    "edit_effects",
    "edited",
    "effects",
    "encode",
    "find_holes",
    "find_outliers",
    "gaps",
    "inspect",
    "judge",
    "kolmogorov_smirnov",
    "latent_grid",
    "latent_table",
    "linear_path",
    "marginals",
    "mmd_test",
    "neighbour_map",
    "parameter_table",
    "pixel_calibration",
    "predictive",
    "predictive_checks",
    "principal_map",
    "probes",
    "ranks_of_truth",
    "refine_full_rank",
    "refine_guide",
    "replicate",
    "sample_posterior",
    "site_table",
    "spherical_path",
    "temperature",
    "to_inference_data",
    "worst_projections",
    "write_table",
]
