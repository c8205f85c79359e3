import numpy as np
import pytest
from PIL import Image

from j2o_examples_dino import ImageError
from j2o_examples_dino._photo import draw_photo, read_photo


def test_drawn_photo_is_the_same_every_time_and_has_things_in_it():
    photo = draw_photo(64)
    assert photo.shape == (64, 64, 3)
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, draw_photo(64))
    assert len(np.unique(photo.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    Image.new(mode, (5, 3), 1).save(tmp_path / "x.png")
    photo = read_photo(tmp_path / "x.png")
    assert photo.shape == (3, 5, 3)
    assert photo.dtype == np.uint8


def test_camera_orientation_is_obeyed(tmp_path):
    picture = Image.new("RGB", (5, 3))
    exif = picture.getexif()
    exif[0x0112] = 6  # lies on its side
    picture.save(tmp_path / "x.jpg", exif=exif)
    assert read_photo(tmp_path / "x.jpg").shape == (5, 3, 3)


def test_what_is_not_a_picture(tmp_path):
    (tmp_path / "x.png").write_text("not a picture")
    with pytest.raises(ImageError, match=r"x\.png is not a picture"):
        read_photo(tmp_path / "x.png")
    with pytest.raises(ImageError, match=r"gone\.png cannot be read: No such file"):
        read_photo(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_photo(tmp_path)
    Image.new("RGB", (50, 50)).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        read_photo(tmp_path / "cut.jpg")
