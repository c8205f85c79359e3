import dataclasses

import equinox as eqx
import jax
import pytest

from j2o_examples_dino import VARIANTS, ConfigError, DinoConfig, DinoV3, variant


def _sizes(config: DinoConfig) -> dict[str, int]:
    """Sizes of a model's leaves by name. No memory is taken, not even for seven thousand million parameters."""
    model = eqx.filter_eval_shape(DinoV3, config, key=jax.random.key(0))
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


def test_the_eight_published_variants_are_there():
    assert len(VARIANTS) == 8
    assert variant("vit7b16").hidden == 8192
    assert variant("vits16plus").hidden == 1536
    assert variant("vith16plus").hidden == 5120


def test_unknown_variant_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"no DINOv3 variant 'vitx'.*vits16plus"):
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
