import dataclasses

import equinox as eqx
import jax
import pytest

from j2o_examples_dino import VARIANTS, ConfigError, ConvNextConfig, DinoConfig, DinoV2Config, build, variant
from j2o_examples_dino._variants import AnyConfig


def _sizes(config: AnyConfig) -> dict[str, int]:
    """Sizes of a model's leaves by name. No memory is taken, not even for seven thousand million parameters."""
    model = eqx.filter_eval_shape(lambda key: build(config, key=key), jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.size for path, leaf in leaves}


# Learnable parameters in the published files, and without what inference can do without: the zero bias of the joint
# projection, the mask token and the norm for local crops. The latter is what timm publishes, to the digits it gives.
@pytest.mark.parametrize(
    ("name", "learnable", "core"),
    [
        ("vits16", 21_601_152, 21_586_944),
        ("vits16plus", 28_697_472, 28_683_264),
        ("vitb16", 85_669_632, 85_641_216),
        ("vitl16", 303_154_176, 303_079_424),
        ("vitl16_sat493m", 303_156_224, 303_079_424),
        ("vith16plus", 840_633_600, 840_509_440),
        ("vit7b16", 6_716_043_264, 6_716_030_976),
        ("vit7b16_sat493m", 6_716_043_264, 6_716_030_976),
    ],
)
def test_parameter_counts(name, learnable, core):
    sizes = _sizes(variant(name))
    assert sizes.pop("rope_embed.periods") == variant(name).head_dim // 4
    assert sum(sizes.values()) == learnable
    optional = ("qkv.bias", "mask_token", "local_cls_norm.weight", "local_cls_norm.bias")
    assert sum(size for leaf, size in sizes.items() if not leaf.endswith(optional)) == core


# Of the convolutional family, exactly; of DINOv2 without the mask token, in millions as timm publishes them.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("convnext_tiny", 27_820_128),
        ("convnext_small", 49_454_688),
        ("convnext_base", 87_566_464),
        ("convnext_large", 196_230_336),
        ("dinov2_vits14", 22.06),
        ("dinov2_vitb14", 86.58),
        ("dinov2_vitl14", 304.37),
        ("dinov2_vitg14", 1136.48),
        ("dinov2_vitg14_reg", 1136.48 + 4 * 1536 / 1e6),
    ],
)
def test_parameter_counts_of_other_families(name, count):
    sizes = _sizes(variant(name))
    sizes.pop("mask_token", None)
    total = sum(sizes.values())
    assert total == count if isinstance(count, int) else abs(total / 1e6 - count) <= 0.005


def test_the_published_variants_are_there():
    families = {DinoConfig: 8, DinoV2Config: 8, ConvNextConfig: 4}
    assert {family: sum(type(config) is family for config in VARIANTS.values()) for family in families} == families
    assert variant("vit7b16").hidden == 8192
    assert variant("vits16plus").hidden == 1536
    assert variant("vith16plus").hidden == 5120


def test_unknown_variant_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"no variant 'vitx'.*vits16plus"):
        variant("vitx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "whole number of channels"),
        ({"heads": 16}, "multiple of 4"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"registers": -1}, "registers must not be negative"),
        ({"ffn": "glu"}, "ffn must be one of"),
        ({"rope_normalize": "both"}, "rope_normalize must be one of"),
        ({"rope_periods": "fp64"}, "rope_periods must be one of"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(DinoConfig(dim=32, depth=1, heads=2), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "whole number of channels"),
        ({"image_size": 13}, "must hold a patch"),
        ({"resize_mode": "numpy"}, "resize_mode must be one of"),
        ({"resize_mode": "jax", "resize_offset": 0.1}, "jax.image.resize has none"),
        ({"class_position": False, "register_positions": True}, "needs class_position"),
    ],
)
def test_impossible_configurations_of_dinov2_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(DinoV2Config(dim=32, depth=1, heads=2), **change)


@pytest.mark.parametrize(("depths", "dims"), [((), ()), ((1, 2), (8,)), ((1, 0), (8, 8))])
def test_impossible_configurations_of_convnext_are_refused(depths, dims):
    with pytest.raises(ConfigError, match="depths"):
        ConvNextConfig(depths=depths, dims=dims)
