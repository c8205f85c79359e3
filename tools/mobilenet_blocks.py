"""The blocks of MobileNetV3 small, for the models of both `torch_models.py` and `torch_twins.py`."""

# Kernel size, expanded channels, channels, squeeze and excite, hard swish, stride: table 2 of arXiv:1905.02244.
BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
