import pytest

from j2o_examples_gpt import CONFIGS, GptConfig


def test_gpt2_small_is_gpt2_small():
    assert CONFIGS["gpt2-small"] == GptConfig(vocabulary=50257, positions=1024, dim=768, depth=12, heads=12)
    assert CONFIGS["gpt2-small"].head_dim == 64


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="10 channels cannot be divided among 4 heads"):
        GptConfig(vocabulary=8, positions=8, dim=10, depth=1, heads=4)
    with pytest.raises(ValueError, match="depth is 0"):
        GptConfig(vocabulary=8, positions=8, dim=8, depth=0, heads=4)
