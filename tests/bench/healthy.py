"""Runs without a fault."""

from __future__ import annotations

from tests.bench.case import Case
from tests.bench.options import BINARY, FACES, PIXELS, SMALL, conv, dims, drawn, fixed, fully, run

__all__ = ["HEALTHY"]

DRAWN = [
    Case("healthy_linear", "linear", {**SMALL, **run(5), "trainer.batch_size": 64}, quick=True),
    Case("healthy_flow_prior", "linear", {**SMALL, **run(6), "prior": "FlowPrior"}),
    Case("healthy_full_rank", "linear", {**SMALL, **run(6), "posterior": "FullRankNormal"}),
    Case("healthy_low_rank", "linear28", {**SMALL, **run(5), "posterior": "LowRankNormal"}),
    Case("healthy_logistic", "linear",
         {**SMALL, **run(6), "likelihood": "DiscretizedLogistic"}),
    Case("healthy_pixelwise", "patchy", {**SMALL, **run(12), "likelihood": "PixelwiseNormal"}),
    Case("healthy_fixed", "linear", {**SMALL, **run(5), **fixed(0.04)}),
    Case("healthy_fixed_near", "linear28", {**SMALL, **run(5), **fixed(0.06)}),
    Case("healthy_optimal", "linear", {**SMALL, **run(5), "likelihood": "OptimalScaleNormal"}),
    Case("healthy_student", "linear", {**SMALL, **run(6), "likelihood": "StudentT"}),
    Case("healthy_laplace", "linear",
         {**SMALL, **run(6), "prior": "Laplace", "posterior": "Laplace"}),
    Case("healthy_iwae", "linear",
         {**SMALL, **run(6), "objective": "IWAE", "objective.num_particles": 8}),
    Case("healthy_sticking", "linear", {**SMALL, **run(6), "objective": "StickingTheLanding"}),
    Case("healthy_mixture", "clusters", {**SMALL, **run(12), "prior": "GaussianMixture"}),
    Case("healthy_vamp", "clusters",
         {**SMALL, **run(12), "prior": "VampPrior", "prior.num_components": 50}),
    Case("healthy_flow_clusters", "clusters", {**SMALL, **run(9, 2e-3), "prior": "FlowPrior"}),
]  # fmt: skip

#: Enough latents for drawn faces, with batches that take less time.
WIDE = {**dims(32), "trainer.batch_size": 64}
OTHERS = [
    Case("healthy_digits", "many_digits",
         {**fully(200), **BINARY, **dims(12), **run(12), "trainer.batch_size": 64}),
    Case("healthy_digits_iwae", "many_digits16",
         {**fully(200), **BINARY, **dims(12), **run(9), "objective": "IWAE",
          "trainer.batch_size": 64}),
    Case("healthy_digits_continuous", "many_digits16",
         {**fully(200), **dims(12), **run(12), "likelihood": "ContinuousBernoulli"}),
    Case("healthy_discs", "many_discs", {**PIXELS, **run(8)}),
    Case("healthy_discs_conv", "many_discs",
         {**conv(8, 16, 32), **dims(8), **run(4, 2e-3), "trainer.batch_size": 64}),
    Case("healthy_faces", "", {**drawn(24, 6000), **FACES, **WIDE, **run(8, 2e-3)}),
    Case("healthy_faces64", "", {**drawn(64), **conv(8, 16, 32, 64), **WIDE, **run(5, 2e-3)}),
    Case("healthy_faces_logistic", "",
         {**drawn(32, 4000), **FACES, **WIDE, **run(6, 2e-3),
          "likelihood": "DiscretizedLogistic"}),
    Case("healthy_celebrities", "celebrities16", {**conv(8, 16), **dims(24), **run(12)}),
]  # fmt: skip

HEALTHY = [*DRAWN, *OTHERS]
