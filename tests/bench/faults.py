"""Runs with a known fault."""

from __future__ import annotations

from math import inf

from tests.bench.case import Case
from tests.bench.options import (
    BINARY,
    FACES,
    LINEAR,
    PIXELS,
    RANDOM,
    SMALL,
    conv,
    dims,
    drawn,
    fixed,
    fully,
    run,
)
from tests.bench.plants import Plant, collapse, folded, linear, noise

__all__ = ["FAULTS"]

#: The model of the larger images of `factors`.
LARGE = {"factors": 10, "size": 28, "weight": 0.03, "sigma": 0.05}
#: No early stop, and the last weights.
TO_THE_END = {"trainer.patience": "null"}

DIVERGED = [
    Case("diverged_linear", "linear", {**PIXELS, **run(3, 3.0), "trainer.clip_norm": "null"},
         ("diverged",), "elbo+"),
    Case("diverged_digits", "digits", {**PIXELS, **BINARY, **run(4, 1.0)}, ("diverged",), "elbo+"),
    Case("diverged_faces", "", {**drawn(24), **FACES, **run(3, 1.0)}, ("diverged",), "elbo+"),
    # It ends far above a model without latents, and far below a linear one.
    Case("diverged_recovering", "", {**drawn(32, 2000), **conv(16, 32), **dims(10), **run(6, 0.3)},
         ("diverged",), "elbo+"),
]  # fmt: skip

OVERFITTING = [
    Case("overfit_digits", "few_digits",
         {**fully(300), **BINARY, **dims(20), **run(120, 2e-3), **TO_THE_END},
         ("overfitting",), "train_gap-"),
    Case("overfit_celebrities", "few_celebrities",
         {**fully(200), **dims(32), **run(100, 2e-3), **TO_THE_END}, ("overfitting",),
         "train_gap-"),
    Case("overfit_faces", "", {**drawn(24, 200), **FACES, **run(80, 2e-3), **TO_THE_END},
         ("overfitting",), "train_gap-"),
    Case("overfit_full_rank", "few_digits",
         {**fully(300), **dims(8), "posterior": "FullRankNormal", **run(100, 2e-3), **TO_THE_END},
         ("overfitting",), "train_gap-"),
]  # fmt: skip

UNDERTRAINED = [
    Case("small_steps_faces", "", {**drawn(24), **FACES, **RANDOM, **run(4, 1e-5)},
         ("undertrained",), "elbo+"),
    Case("short_digits", "digits", {**PIXELS, **BINARY, **run(1, 5e-4)}, ("undertrained",),
         "elbo+", quick=True),
    Case("short_faces", "", {**drawn(32), **FACES, **RANDOM, **run(1, 5e-4)}, ("undertrained",),
         "elbo+"),
    Case("short_discs", "discs", {**PIXELS, **run(2, 3e-4)}, ("undertrained",), "elbo+"),
    Case("short_celebrities", "celebrities16", {**fully(200), **dims(16), **run(2, 3e-4)},
         ("undertrained",), "elbo+"),
    Case("short_logistic", "linear",
         {**PIXELS, "likelihood": "DiscretizedLogistic", **run(2, 3e-4)}, ("undertrained",),
         "elbo+"),
]  # fmt: skip

COLLAPSED = [
    Case("collapsed_linear", "linear", {**SMALL, **run(3)}, ("collapsed",), "rate+ elbo+",
         Plant(collapse), claim={"rate": (-1, 0.1)}),
    Case("collapsed_faces", "", {**drawn(24), **FACES, **run(3)}, ("collapsed",), "rate+ elbo+",
         Plant(collapse), claim={"rate": (-1, 0.1)}),
    Case("collapsed_by_lr", "digits", {**fully(128, 128), **BINARY, **dims(10), **run(4, 0.1)},
         ("collapsed",), "rate+ elbo+", claim={"rate": (0, 1)}),
    Case("collapsed_by_lr_faces", "", {**drawn(24), **fully(128, 128), **run(4, 0.1)},
         ("collapsed", "diverged"), "rate+ elbo+", claim={"rate": (0, 5)}),
]  # fmt: skip

BETA = [
    Case("beta_10_linear", "linear", {**SMALL, **run(5), "beta.value": 20.0},
         ("beta_too_high",), "elbo+ weight-"),
    Case("beta_8_digits", "digits", {**PIXELS, **BINARY, **run(10, 2e-3), "beta.value": 8.0},
         ("beta_too_high",), "elbo+ rate+"),
    Case("beta_50_faces", "", {**drawn(24), **FACES, **run(6), "beta.value": 50.0},
         ("beta_too_high",), "elbo+ rate+"),
    Case("beta_100_digits", "digits", {**PIXELS, **BINARY, **run(6, 2e-3), "beta.value": 100.0},
         ("beta_too_high",), "elbo+ rate+", claim={"rate": (0, 1)}),
    Case("beta_0.1_linear", "linear", {**SMALL, **run(5), "beta.value": 0.05},
         ("beta_too_low",), "elbo+ weight+"),
    Case("beta_0.1_digits", "digits", {**PIXELS, **BINARY, **run(10, 2e-3), "beta.value": 0.1},
         ("beta_too_low",), "elbo+ rate-"),
    Case("beta_0.01_discs", "discs", {**PIXELS, **run(12, 2e-3), "beta.value": 0.01},
         ("beta_too_low",), "elbo+ rate-"),
]  # fmt: skip


NOISE = [
    Case("noise_0.01_linear", "linear",
         {**SMALL, **run(4), **fixed(0.01), "trainer.batch_size": 64},
         ("noise_too_small",), "elbo+ dispersion-", claim={"dispersion": (12, 20)},
         quick=True),
    Case("noise_0.005_discs", "discs", {**PIXELS, **run(10), **fixed(0.01)},
         ("noise_too_small",), "elbo+ dispersion-", claim={"dispersion": (5, inf)}),
    Case("noise_0.02_celebrities", "celebrities16",
         {**fully(200), **dims(24), **run(20), **fixed(0.02)}, ("noise_too_small",),
         "elbo+ dispersion-", claim={"dispersion": (3, inf)}),
    Case("noise_planted_small", "linear", {**SMALL, **run(4)}, ("noise_too_small",),
         "elbo+ dispersion-", Plant(noise, dict(factor=0.5)),
         claim={"dispersion": (3, 5)}),
    Case("noise_planted_laplace", "linear28", {**SMALL, **run(4), "likelihood": "Laplace"},
         ("noise_too_small",), "elbo+ dispersion-", Plant(noise, dict(factor=0.4)),
         claim={"dispersion": (3, inf)}),
    Case("noise_0.2_linear", "linear", {**SMALL, **run(4), **fixed(0.2)},
         ("noise_too_large",), "elbo+ dispersion+", claim={"dispersion": (0, 0.2)}),
    Case("noise_0.3_discs", "discs", {**PIXELS, **run(12, 2e-3), **fixed(0.3)},
         ("noise_too_large",), "elbo+ dispersion+", claim={"dispersion": (0, 0.2)}),
    Case("noise_1.2_faces", "", {**drawn(32), **FACES, **run(4), **fixed(1.24)},
         ("noise_too_large",), "elbo+ dispersion+ rate+", claim={"dispersion": (0, 0.1)}),
    Case("noise_planted_large", "linear", {**SMALL, **run(4)}, ("noise_too_large",),
         "elbo+ dispersion+", Plant(noise, dict(factor=2.5)), claim={"dispersion": (0, 0.3)}),
    Case("one_scale_patchy", "patchy", {**SMALL, **run(5)}, ("one_scale",), "elbo+ pixel_gain-",
         minor=True),
    Case("one_scale_patchy28", "patchy28", {**SMALL, **run(4)}, ("one_scale",),
         "elbo+ pixel_gain-", minor=True),
]  # fmt: skip

CAPACITY = [
    Case("two_latents_linear", "linear", {**LINEAR, **dims(2), **run(5)}, ("too_few_latents",),
         "elbo+ residual_gain-"),
    Case("two_latents_faces", "", {**drawn(32), **FACES, **run(8, 2e-3), **dims(2)},
         ("too_few_latents",), "elbo+"),
    Case("four_latents_celebrities", "celebrities16", {**fully(200), **dims(3), **run(30)},
         ("too_few_latents",), "elbo+"),
    Case("one_latent_digits", "digits", {**fully(200), **BINARY, **dims(1), **run(20, 2e-3)},
         ("too_few_latents",), "elbo+"),
]  # fmt: skip

TINY = {"encoder": "MLPEncoder", "encoder.hidden": [6]}
FROZEN = {"init_from": "{first}", "freeze": ("decoder", "likelihood")}
SOLE = {name: value for name, value in FACES.items() if name.startswith("decoder")}
ENCODER = [
    Case("small_encoder_discs", "discs", {**fully(128), **TINY, **dims(6), **run(8, 2e-3),
         **FROZEN}, ("small_encoder",), "amortisation- elbo+",
         first={**fully(128), **dims(6), **run(20, 2e-3)}),
    Case("small_encoder_digits", "digits",
         {**fully(128), **TINY, **BINARY, **dims(8), **run(8, 2e-3), **FROZEN,
          "freeze": "decoder"},
         ("small_encoder",), "amortisation- elbo+",
         first={**fully(128), **BINARY, **dims(8), **run(15, 2e-3)}),
    Case("shrunk_encoder", "linear", {**SMALL, **dims(8), **run(4)}, ("small_encoder",),
         "amortisation- elbo+", Plant(linear, dict(shrink=0.8))),
    Case("small_encoder_faces", "", {**drawn(24), **SOLE, **TINY, **run(6, 2e-3), **FROZEN},
         ("small_encoder",), "amortisation- elbo+", first={**drawn(24), **FACES, **run(8, 2e-3)}),
]  # fmt: skip

FAMILY = [
    Case("tilted", "linear", {**LINEAR, **dims(32), **run(4)}, ("narrow_family",),
         "approximation- elbo+", Plant(linear, dict(copies=4)),
         claim={"approximation": (20, inf)}),
    Case("tilted28", "linear28", {**LINEAR, **dims(40), **run(3)}, ("narrow_family",),
         "approximation- elbo+", Plant(linear, dict(copies=4, **LARGE))),
    Case("tilted_laplace", "linear", {**LINEAR, **dims(24), **run(4), "posterior": "Laplace"},
         ("narrow_family",), "approximation- elbo+",
         Plant(linear, dict(copies=3, spread=0.5**0.5))),
]  # fmt: skip

PRIOR = [
    Case("clusters", "compact", {**SMALL, **run(6)}, ("prior_mismatch",),
         "elbo+ prior_gain-"),
    Case("clusters28", "compact28", {**SMALL, **run(5)}, ("prior_mismatch",),
         "elbo+ prior_gain-"),
    Case("shifted", "linear", {**SMALL, **dims(8), **run(4)}, ("prior_mismatch",),
         "elbo+ prior_gain-", Plant(linear, dict(shift=3.0)), claim={"rate": (50, inf)}),
]  # fmt: skip

ABSOLUTE = {**fully(16), **dims(8), **fixed(0.2)}
MODES = [
    Case("folded", "folded", {**ABSOLUTE, **run(15, 2e-3)}, ("missed_mode",), "missed_mode-",
         Plant(folded, dict(sigma=0.2))),
    Case("folded28", "folded28", {**fully(24), **dims(12), **fixed(0.2), **run(15, 2e-3)},
         ("missed_mode",), "missed_mode-",
         Plant(folded, dict(factors=12, size=28, weight=0.03, sigma=0.2))),
]  # fmt: skip

IMAGES = [
    Case("other_digits", "other_digits", {**PIXELS, **BINARY, **run(15, 2e-3)}, ("data_shift",),
         "train_gap-", remedy="digits",
         claim={"shift_p": (0, 1e-3)}),
    Case("dark", "dark", {**PIXELS, **run(15, 2e-3)}, ("data_shift",), "train_gap-",
         remedy="discs", claim={"shift_p": (0, 1e-3)}),
    Case("other_faces", "other_faces", {**fully(200), **dims(24), **run(15)}, ("data_shift",),
         "train_gap-", remedy="celebrities",
         claim={"shift_p": (0, 1e-3)}),
    Case("repeated", "repeated", {**fully(200), **dims(24), **run(30)}, ("duplicates",),
         "duplicates-", remedy="celebrities",
         claim={"duplicates": (0.49, 0.52)}),
    Case("repeated_digits", "repeated_digits", {**PIXELS, **BINARY, **run(20, 2e-3)},
         ("duplicates",), "duplicates-", remedy="digits",
         claim={"duplicates": (0.45, 0.55)}),
    Case("repeated_discs", "repeated_discs", {**PIXELS, **run(15, 2e-3)}, ("duplicates",),
         "duplicates-", remedy="discs",
         claim={"duplicates": (0.29, 0.32)}),
    Case("blank", "blank", {**PIXELS, **BINARY, **run(15, 2e-3)}, ("constant_images",),
         "constant-", remedy="digits",
         claim={"constant": (0.24, 0.26)}),
    Case("blank_faces", "blank_faces", {**FACES, **dims(16), **run(8)}, ("constant_images",),
         "constant-", remedy="faces24",
         claim={"constant": (0.19, 0.21)}),
]  # fmt: skip

IGNORED = [
    Case("ignored_linear", "linear", {**LINEAR, **dims(16), **run(4)}, ("ignored_latents",),
         "elbo+ ignored-", Plant(linear, dict(ignored=8)), claim={"rate": (35, inf)}),
    Case("ignored_linear28", "linear28", {**LINEAR, **dims(34), **run(3)}, ("ignored_latents",),
         "elbo+ ignored-", Plant(linear, dict(ignored=24, **LARGE))),
]  # fmt: skip

FAULTS = [
    *DIVERGED, *OVERFITTING, *UNDERTRAINED, *COLLAPSED, *BETA, *NOISE, *CAPACITY, *ENCODER,
    *FAMILY, *PRIOR, *MODES, *IMAGES, *IGNORED,
]  # fmt: skip
