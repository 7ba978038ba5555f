"""The sections on what dimensions mean, for programs of all kinds."""

from __future__ import annotations

import functools
import importlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import VAE, DiagonalNormal, Engine, InputError, MLPDecoder, MLPEncoder, StandardNormal
from pyrovae.data import Split
from pyrovae.evaluation import factor_scores
from pyrovae.inspection.attributes import attribute_table, directions, reach
from pyrovae.inspection.edits import REAL, edit_effects, edited
from pyrovae.inspection.plotting import image_sheet
from pyrovae.inspection.section import Section
from pyrovae.inspection.sections.factors import _scores_said
from pyrovae.inspection.sections.map import _draw_maps
from pyrovae.inspection.sections.paths import paths
from pyrovae.inspection.sections.traversals import shown_means, traversal_table, with_change
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.likelihoods import SharedScaleNormal
from pyrovae.programs.pair import ModelGuidePair
from tests.support.oracle_subjects import unchanged
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import make_vae

CPU = Engine("cpu", "fp32")
NAMES = ("traversals", "paths", "attributes", "map", "factors")


def plane() -> VAE:
    """A VAE of two latents."""
    torch.manual_seed(0)
    return VAE(
        encoder=MLPEncoder((3, 16, 16), 4, hidden=[8]),
        decoder=MLPDecoder((3, 16, 16), 2, 3, hidden=[8]),
        prior=StandardNormal(2),
        likelihood=SharedScaleNormal(),
        posterior=DiagonalNormal(2),
    )


EVERY: dict[str, Callable[[], ModelGuidePair]] = {"a VAE": small_vae, "a plane": plane, **MAKERS}
every = pytest.mark.parametrize("kind", EVERY)
every_name = pytest.mark.parametrize("name", NAMES)


def subject(kind: str = "a VAE", **kwargs: Any) -> Subject:
    torch.manual_seed(0)
    data = small_data(num_test=60)
    split = data.split("test")
    return Subject(
        EVERY[kind](),
        split,
        CPU,
        shown=split.take(range(3)),
        factors=tuple(data.factors)[:2],
        budget=replace(QUICK, draws=100),
        **kwargs,
    )


def section(name: str, own: Subject) -> Section:
    return importlib.import_module(f"pyrovae.inspection.sections.{name}").section(own)


known = functools.cache(subject)  # Subjects, with their encodings, that no test changes.


@functools.cache
def of_a_vae(name: str) -> Section:
    """A section that no test changes."""
    return section(name, known("a VAE"))


@pytest.mark.slow
@every
@every_name
def test_every_section_speaks_of_every_program(kind: str, name: str) -> None:
    found = of_a_vae(name) if kind == "a VAE" else section(name, known(kind))
    assert found.title.endswith("?") and found.says and found.figures and found.tables
    for words in [*found.says, *(d.caption for d in found.figures.values())]:
        assert re.match(r"^[A-Z].*\.$", words) and "nan" not in words, words
    for table in found.tables.values():
        assert len(table)
    # Of the other programs the figures differ by the names of sites.
    for drawing in found.figures.values() if kind in ("a VAE", "a plane") else ():
        drawing.figure.savefig(io.BytesIO(), dpi=30)


@pytest.mark.slow
@every_name
def test_a_section_changes_nothing(name: str) -> None:
    own = subject()
    own.programs.train()
    own.programs.guide.encoder.eval()
    next(own.programs.parameters()).requires_grad_(False)
    with unchanged(own.programs):
        section(name, own)


@pytest.mark.slow
@every_name
def test_sections_say_the_same_again(name: str) -> None:
    first, again = of_a_vae(name), section(name, subject())
    assert first.says == again.says
    for key, table in first.tables.items():
        assert table.equals(again.tables[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paths", "attributes", "factors"])
def test_the_seed_changes_what_is_drawn(name: str) -> None:
    tables = [of_a_vae(name).tables, section(name, subject(seed=1)).tables]
    assert any(not table.equals(tables[1][key]) for key, table in tables[0].items())


@pytest.mark.slow
def test_only_the_sites_asked_for_are_looked_at() -> None:
    own = subject("two latents", sites=("z1",))
    assert set(traversal_table(own).index) == {"z1[0]", "z1[1]", "z1[2]"}
    arrows = section("attributes", own).tables["directions"]
    assert list(arrows)[1:] == ["z1[0]", "z1[1]", "z1[2]"]
    information = section("factors", own).tables["mutual_information"]
    assert set(list(information)[1:]) == {"z1[0]", "z1[1]", "z1[2]"}
    maps = section("map", own)
    assert "in 3 dimensions" in maps.says[0]


@pytest.mark.slow
def test_only_the_attributes_asked_for_are_looked_at() -> None:
    own = subject(attributes=("yaw", "tilt"))
    assert set(section("attributes", own).tables["probes"]["attribute"]) == {"yaw", "tilt"}
    with pytest.raises(InputError, match="unknown attribute 'yow' .did you mean yaw"):
        section("attributes", subject(attributes=("yow",)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "mixed", "kept"), [(0, 0, ""), (2, 0, "2 of 2: a, b."), (0, 2, "0 of 2.")]
)
def test_only_encoded_factors_are_judged(axes: int, mixed: int, kept: str) -> None:
    """Of six factors some are axes of the codes, some are encoded off them."""
    random = np.random.default_rng(0)
    factors, names = random.uniform(-1, 1, (400, 6)), list("abcdef")
    turned = factors[:, :mixed] @ np.array([[1, 1], [1, -1]])[:mixed]
    codes = np.column_stack([factors[:, :axes], turned, random.normal(size=(400, 4))])
    said = _scores_said(factor_scores(codes, factors, names, num_splits=1))
    lost = ", ".join(names[axes + mixed :])
    assert said[1] == f"Not in the posterior means (informativeness below 0.1): {lost}."
    own = "Encoded factors with a dimension of their own (gap above 0.5): "
    assert said[2:] == ([own + kept] if kept else [])


def test_traversals_are_ordered_by_rate() -> None:
    own = subject()
    found = traversal_table(own)
    assert found["kl"].is_monotonic_decreasing
    kl = own.encoded.kl.mean(0)
    assert found["kl"].to_numpy() == pytest.approx(np.sort(kl)[::-1])
    low = np.quantile(own.encoded.draws, 0.01, axis=0)
    place = own.space.names.index(found.index[0])
    assert found["low"].iloc[0] == pytest.approx(low[place])


def test_nats_that_the_decoder_does_not_read_are_told() -> None:
    own = subject("a plane")
    with torch.no_grad():
        own.programs.model.decoder.layers[0].weight[:, 0] = 0
        own.programs.guide.encoder.layers[-1].weight[0] += 5
    found = section("traversals", own)
    assert any("decoder hardly uses: z[0]. Changing" in words for words in found.says), found.says
    assert found.tables["traversals"].set_index("dimension")["change"]["z[0]"] == 0


@every
def test_paths_go_from_image_to_image_and_draw_to_draw(kind: str) -> None:
    own = subject(kind)
    found = paths(own)
    z, _ = shown_means(own)
    assert set(found) == {(e, k) for e in ("images", "prior") for k in ("straight", "arc")}
    for (ends, _), (points, inputs) in found.items():
        assert all(len(value) == len(points) for value in inputs.values())
        if ends == "images":
            assert torch.allclose(points[[0, -1]], z[:2], atol=1e-6)


def test_one_image_is_no_path() -> None:
    own = replace(subject(), shown=small_data().split("test").take([0]))
    with pytest.raises(InputError, match="needs at least 2 shown images, got 1"):
        section("paths", own)


@pytest.mark.slow
def test_sections_without_what_they_need_are_refused() -> None:
    own = subject()
    bare = Split(own.split.images, own.split.names, np.empty((60, 0), np.float32))
    nameless = replace(own, split=bare, factors=())
    for name in ("attributes", "factors"):
        with pytest.raises(InputError, match="attributes|factors"):
            section(name, nameless)
    assert "coloured by rate, nats" in section("map", nameless).figures["maps"].caption
    few = replace(own, split=own.split.take(range(9)))
    for name in ("attributes", "map", "factors"):
        with pytest.raises(InputError, match="needs 10 images|too few"):
            section(name, few)


@pytest.mark.slow
def test_two_latents_are_drawn_as_a_plane() -> None:
    found = section("map", subject("a plane"))
    assert list(found.figures) == ["plane"]
    assert "from the 3% to the 97% quantile" in found.figures["plane"].caption
    assert list(section("map", subject()).figures) == ["maps"]


def with_columns(own: Subject, columns: dict[str, np.ndarray]) -> Subject:
    values = np.stack(list(columns.values()), 1).astype(np.float32)
    split = Split(own.split.images, own.split.names, values, list(columns))
    return replace(own, split=split, shown=split.take(range(3)), factors=())


@pytest.mark.slow
def test_labels_bits_and_scales_go_together() -> None:
    rng = np.random.default_rng(0)
    own = subject()
    columns = {
        "label": rng.integers(0, 3, 60),
        "smiling": rng.choice([-1, 1], 60),
        "bald": np.where(np.arange(60) < 3, 1, -1),
        "age": own.encoded.loc[:, 0],
    }
    own = with_columns(own, columns)
    found = section("attributes", own)
    probes = found.tables["probes"].set_index("attribute")
    assert set(probes.index) == {"label=0", "label=1", "label=2", "smiling", "age"}
    assert probes["score"]["age"] == "R2" and probes["value"]["age"] > 0.99
    assert probes["score"]["smiling"] == "AUC"
    assert any("bald (3 of 10 images needed" in words for words in found.says)
    assert "age" in section("map", own).figures["maps"].caption


@pytest.mark.slow
def test_names_of_classes_reach_probes_and_maps_and_few_unknown_values_cost_few_images() -> None:
    own = subject()
    first = own.encoded.loc[:, 0]
    label = np.digitize(first, np.quantile(first, [0.3, 0.6])).astype(float)
    columns = {"label": label.copy(), "age": first.copy(), "mostly": np.full(60, np.nan)}
    columns["label"][3], columns["age"][8] = np.nan, np.nan
    own = with_columns(own, columns)
    split = replace(own.split, value_names={"label": ("cat", "dog", "eel")})
    own = replace(own, split=split)
    assert (
        len(own.informed().split) == 58 and own.informed().informed().split.images.shape[0] == 58
    )
    found = section("attributes", own)
    probes = found.tables["probes"].set_index("attribute")
    assert set(probes.index) == {"label=cat", "label=dog", "label=eel", "age"}
    assert set(probes["images"]) == {59}
    assert any("mostly (known for 0 of 20 images needed)" in words for words in found.says)
    assert any("with the 58 of 60 images whose attributes" in said for said in found.says)
    assert "attribute is known (n = 59)" in found.figures["probes"].caption
    maps = section("map", own).figures["maps"]
    assert "n = 58 images" in maps.caption and "label" in maps.caption
    named = [axes for axes in maps.figure.axes if axes.get_title() == "label"]
    assert named
    for axes in named:
        assert [text.get_text() for text in axes.get_legend().texts] == ["cat", "dog", "eel"]


def test_rare_classes_share_a_colour_on_a_map() -> None:
    own = subject()
    label = np.minimum(np.arange(60) // 4, 14)
    own = with_columns(own, {"label": label})
    names = {"label": tuple(f"class {i}" for i in range(15))}
    own = replace(own, split=replace(own.split, value_names=names))
    (axes, *_) = _draw_maps({"a": np.zeros((60, 2))}, own.split.table()).axes
    told = {text.get_text() for text in axes.get_legend().texts}
    assert len(told) == 12 and "other or not known" in told


def test_why_no_attribute_can_be_learnt_is_a_sentence() -> None:
    own = subject()
    own = with_columns(own, {"pale": np.zeros(60), "bald": np.ones(60)})
    told = r"to 60 images: pale \(the same for all images\); bald \(the same for all images\)$"
    with pytest.raises(InputError, match=told):
        section("attributes", own)


@pytest.mark.slow
def test_captions_state_how_many_images_of_which_split() -> None:
    own = subject(name="validation")
    shown = "3 images of the split validation"
    assert shown in section("paths", own).figures["paths"].caption
    figures = section("attributes", own).figures
    assert shown in figures["edit_effects"].caption
    for name in ("edits_0", "edits_1", "edit_effects"):
        assert "n = 60 images of the split validation" in figures[name].caption


@pytest.mark.parametrize("kind", ["a VAE", "conditional"])
def test_edits_are_decoded_along_the_direction(kind: str) -> None:
    own = subject(kind)
    table = attribute_table(own.split, ["yaw", "tilt"])
    arrows = directions(own.encoded.loc, table)
    z, inputs = shown_means(own)
    with own.quietly():
        found = edited(own, z, arrows, table, (-1.0, 0.0, 0.5), **inputs)
        assert found.shape == (2, 3, 3, 3, 16, 16)
        ends = reach(table).loc["tilt"]
        step = 0.5 * (ends["high"] - ends["low"]) * arrows.loc["tilt"].to_numpy()
        moved = own.space.show(z + torch.from_numpy(step).to(z), **inputs)
        assert torch.allclose(found[1, 2], moved, atol=1e-5)
        assert torch.allclose(found[0, 1], own.space.show(z, **inputs), atol=1e-5)


def test_an_edit_that_the_decoder_ignores_is_not_read_again() -> None:
    own = subject("a plane")
    table = attribute_table(with_columns(own, {"age": own.encoded.loc[:, 0]}).split)
    arrows = directions(own.encoded.loc, table)
    heard = edit_effects(own, arrows, table)
    with torch.no_grad():
        own.programs.model.decoder.layers[0].weight.zero_()
    deaf = edit_effects(own, arrows, table)
    # Not 0, since images are dequantised at random before they are encoded.
    assert abs(deaf.loc["age", "age"]) < 0.01 < abs(heard.loc["age", "age"])
    assert deaf.loc["age", REAL] == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_on_a_sphere_everything_stays_on_it() -> None:
    vae = make_vae(prior="HypersphericalUniform", posterior="VonMisesFisher", shape=(3, 16, 16))
    own = replace(subject(), programs=vae)
    for name in NAMES:
        assert section(name, own).says


def test_the_last_column_shows_where_images_differ() -> None:
    rows = torch.zeros(2, 3, 3, 10, 10)
    rows[0, 1, :, 4, 5] = 0.5
    sheet, most = with_change(rows)
    assert sheet.shape == (2, 4, 3, 10, 10) and torch.equal(sheet[:, :3], rows)
    assert sheet[0, 3, 0, 4, 5] == 1 and sheet[1, 3].sum() == 0 and 0 <= most <= 255


def test_sheets_have_a_label_for_every_row_and_column() -> None:
    figure = image_sheet(torch.rand(2, 3, 1, 8, 6), ["a", "b"], ["x", "y", "z"])
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y", "z"]
    # The middle of each image: 2 white pixels lie between two of them.
    assert list(axes.get_xticks()) == [2.5, 10.5, 18.5] and list(axes.get_yticks()) == [3.5, 13.5]
