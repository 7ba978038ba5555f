"""Engines: devices, precision, memory layout, and when a run is compiled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pyrovae import Engine
from pyrovae.utils.errors import InputError
from tests.support.optimizers import OPTIMIZERS, svi_of
from tests.support.tables import (
    IMAGE_SHAPE,
    changed,
    make_vae,
    snapshot,
)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_one_line(device: str) -> None:
    with pytest.raises(InputError, match="cpu$") as caught:
        Engine(device)
    assert f"no device '{device}'" in str(caught.value) and "\n" not in str(caught.value)


def test_automatic_choices_are_a_device_and_a_precision() -> None:
    engine = Engine()
    assert engine.device.type in ("cpu", "cuda", "mps") and engine.precision in ("fp32", "bf16")
    assert Engine("cpu", "fp32").precision == "fp32"
    assert Engine("cpu", "bf16").precision == "bf16"


def test_threads_compute_together_on_a_cpu_only() -> None:
    engine = Engine("cpu")
    assert engine.threads == torch.get_num_threads()
    engine.device = torch.device("cuda")
    assert engine.threads == 0


@pytest.mark.parametrize("networks", ["MLP", "Conv-shortcut"])
def test_bf16_is_in_the_networks_only(networks: str) -> None:
    vae, x = make_vae(networks=networks).eval(), torch.rand(6, *IMAGE_SHAPE)
    plain = vae.encode(x)
    z = plain.sample()
    pixels = vae.decode(z)
    with Engine("cpu", "bf16").running(vae, vae.networks()):
        q, p = vae.encode(x), vae.decode(z)
        svi, _ = svi_of(vae)
        assert math.isfinite(svi.step(x)) and not svi.skipped
    for rough, exact, value in ((q, plain, z), (p, pixels, x)):
        assert rough.mean.dtype == rough.log_prob(value).dtype == torch.float32
        assert 0 < (rough.mean - exact.mean).abs().max() < 0.05
    assert all(p.dtype == torch.float32 for p in vae.parameters())


def test_networks_in_float64_keep_their_precision() -> None:
    vae = make_vae("Normal").double()
    x = torch.rand(2, *IMAGE_SHAPE, dtype=torch.double)
    with Engine("cpu", "bf16").running(vae, vae.networks()), torch.no_grad():
        found = vae.guide.encoder(x)
    assert torch.equal(found, vae.guide.encoder(x)) and found.dtype == torch.double


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_after_running_the_program_is_as_before(precision: Any) -> None:
    vae, x = make_vae(networks="Conv").eval(), torch.rand(6, *IMAGE_SHAPE)
    before, expected = snapshot(vae), vae.encode(x).mean
    with (
        pytest.raises(RuntimeError, match="inside"),
        Engine("cpu", precision).running(vae, vae.networks()),
    ):
        raise RuntimeError("inside")
    assert "forward" not in vae.guide.encoder.__dict__
    assert not changed(snapshot(vae), before) and torch.allclose(
        vae.encode(x).mean, expected, atol=1e-6
    )
    assert torch.equal(vae.encode(x).mean, vae.encode(x).mean)


@pytest.mark.slow
def test_weights_laid_out_anew_are_the_same_and_train_on() -> None:
    vae, x = make_vae(networks="Conv"), torch.rand(6, *IMAGE_SHAPE)
    engine = Engine("cpu", "fp32")
    with engine.running(vae, vae.networks()):
        svi, _ = svi_of(vae, OPTIMIZERS["Adam-fused"])
        svi.step(x)
        before = snapshot(vae)
        engine.lay_out(vae)
        assert not changed(snapshot(vae), before)
        assert vae.guide.encoder.layers[3].weight.is_contiguous(memory_format=torch.channels_last)
        svi.step(engine.place(x))
    assert all(name in changed(snapshot(vae), before) for name, _ in vae.named_parameters())
    assert all(parameter.is_contiguous() for parameter in vae.parameters())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_placing_keeps_values(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (4, 3, 6, 5)).to(dtype)
    placed = Engine("cpu").place(images)
    assert torch.equal(placed, images) and placed.dtype == dtype
    assert placed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["compile", "resident_gb"])
def test_wrong_settings_of_the_engine_are_named(name: str) -> None:
    wrong: dict[str, Any] = {"compile": "maybe", "resident_gb": -2.0}
    with pytest.raises(ValueError, match=f"{name} must be"):
        Engine(**{name: wrong[name]})


def test_tf32_is_for_gpus() -> None:
    with pytest.raises(InputError, match="precision tf32 needs a CUDA GPU, got cpu"):
        Engine("cpu", "tf32")


def test_no_product_rounds_to_tf32_unless_asked() -> None:
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [switch.allow_tf32 for switch in switches]
    engine = Engine("cpu", "fp32")
    for precision, allowed in (("fp32", False), ("bf16", False), ("tf32", True)):
        engine.precision = precision
        with pytest.raises(RuntimeError, match="inside"), engine.arithmetic():
            assert [switch.allow_tf32 for switch in switches] == [allowed, allowed]
            raise RuntimeError("inside")
        assert [switch.allow_tf32 for switch in switches] == before


def test_the_documentation_has_the_limits_of_auto() -> None:
    text = " ".join(str(Engine.__doc__).split())
    assert f"at least {Engine.BREAK_EVEN_STEPS:,} steps" in text
    assert f"more than {Engine.BREAK_EVEN_SECONDS:.0f} s of steps" in text


def test_auto_compiles_long_runs_and_says_why() -> None:
    engine = Engine("cpu")
    assert not engine.compiles(Engine.BREAK_EVEN_STEPS - 1)[0]
    assert engine.compiles(Engine.BREAK_EVEN_STEPS)[0] and not engine.decides_by_time
    assert "2,000" in engine.compiles(17)[1] and "17" in engine.compiles(17)[1]
    assert Engine("cpu", compile="on").compiles(1)[0]
    assert not Engine("cpu", compile="off").compiles(10**9)[0]
