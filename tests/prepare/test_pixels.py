"""Photos of many forms become upright RGB pixels."""

import struct
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import find_photos, read_photo
from tests.prepare.pictures import one_line, picture, save_pictures


def read(image: Image.Image, path: Path, **options: Any) -> np.ndarray:
    image.save(path, **options)
    photo = read_photo(path)
    pixels = photo.pixels()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*photo.size(), 3)
    return pixels


def swapping_profile() -> bytes:
    """An ICC profile, gamma 2.2, in which red and green have changed places."""

    def tag(kind: bytes, *values: float) -> bytes:
        return kind + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curves = (b"rTRC", b"gTRC", b"bTRC")
    tags = {
        b"wtpt": tag(b"XYZ ", 0.9642, 1.0, 0.8249),
        b"rXYZ": tag(b"XYZ ", 0.3851, 0.7169, 0.0971),
        b"gXYZ": tag(b"XYZ ", 0.4361, 0.2225, 0.0139),
        b"bXYZ": tag(b"XYZ ", 0.1431, 0.0606, 0.7141),
        **{name: b"curv" + bytes(4) + struct.pack(">IHH", 1, 0x0233, 0) for name in curves},
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content
    body = table + data
    header = struct.pack(">I", 128 + len(body)) + bytes(4) + struct.pack(">I", 0x02100000)
    header += b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    header += b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    return header.ljust(128, b"\0") + body


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = picture(3)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turned))
    np.testing.assert_array_equal(read(stored, tmp_path / "a.png", exif=exif), upright)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_pixels(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(Image.fromarray(picture(3)), tmp_path / f"a.{suffix}", exif=exif)
    assert pixels.shape[:2] == ((56, 40) if orientation > 4 else (40, 56))


@pytest.mark.parametrize("level", [255, 180, 100])
def test_an_alpha_of_one_value_bleaches_nothing(tmp_path: Path, level: int) -> None:
    pixels = np.dstack([picture(3), np.full((40, 56), level, np.uint8)])
    np.testing.assert_array_equal(read(Image.fromarray(pixels), tmp_path / "a.png"), picture(3))


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    pixels = np.dstack([picture(3), np.full((40, 56), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 128
    result = read(Image.fromarray(pixels, "RGBA"), tmp_path / "a.png").astype(float)
    np.testing.assert_array_equal(result[:10], 255)
    share = 128 / 255
    np.testing.assert_allclose(
        result[10:20], pixels[10:20, :, :3] * share + 255 * (1 - share), atol=1
    )
    np.testing.assert_array_equal(result[20:], pixels[20:, :, :3])


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 40, 20))
    result = read(image, tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(result[:20], np.broadcast_to([200, 100, 50], (20, 40, 3)))
    np.testing.assert_array_equal(result[20:], 255)


def test_grey_of_8_and_of_16_bits(tmp_path: Path) -> None:
    grey = picture(3)[..., 1]
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read(Image.fromarray(grey), tmp_path / "a.png"), expected)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read(wide, tmp_path / "b.png"), expected)


def test_cmyk(tmp_path: Path) -> None:
    image = Image.fromarray(picture(3)).convert("CMYK")
    result = read(image, tmp_path / "a.jpg", quality=95).astype(float)
    assert np.abs(result - picture(3)).mean() < 12


def test_an_embedded_profile_is_converted(tmp_path: Path) -> None:
    ground = Image.new("RGB", (40, 40), (220, 40, 90))
    plain = read(ground, tmp_path / "a.png")
    swapped = read(ground, tmp_path / "b.png", icc_profile=swapping_profile())
    np.testing.assert_allclose(swapped[0, 0], plain[0, 0][[1, 0, 2]], atol=12)


def test_a_broken_profile_is_passed_over(tmp_path: Path) -> None:
    image = Image.fromarray(picture(3))
    np.testing.assert_array_equal(read(image, tmp_path / "a.png", icc_profile=b"none"), picture(3))


def test_damaged_exif_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(3)).save(path)
    whole, content = read_photo(path).pixels(), path.read_bytes()
    damaged = b"Exif\0\0MM\0*\0\0\0\x08\0\xff" + bytes(12)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(damaged)) + damaged
    path.write_bytes(content[:2] + segment + content[2:])
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(path) as image:
        image.getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(path)
        assert photo.size() == whole.shape[:2]
        np.testing.assert_array_equal(photo.pixels(), whole)


def test_a_jpeg_of_several_pictures_is_a_photo(tmp_path: Path) -> None:
    first, second = (Image.fromarray(picture(seed)) for seed in (3, 4))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(read_photo(tmp_path / "a.jpg").pixels().astype(float) - picture(3)).mean() < 12


def test_colours_of_16_bits(tmp_path: Path) -> None:
    import cv2

    wide = picture(3).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), np.ascontiguousarray(wide[..., ::-1]))
    pixels = read_photo(tmp_path / "a.png").pixels()
    assert np.abs(pixels.astype(int) - picture(3)).max() <= 1


def test_grey_of_16_bits_in_a_tiff(tmp_path: Path) -> None:
    grey = picture(3)[..., 1]
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read(wide, tmp_path / "a.tif"), expected)


def test_palette_with_many_transparencies(tmp_path: Path) -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 200, 200, 0, 0, 0, 200, 0])
    image.paste(1, (0, 0, 40, 20))
    image.paste(2, (0, 0, 10, 10))
    result = read(image, tmp_path / "a.png", transparency=bytes([0, 255, 128]))
    np.testing.assert_array_equal(result[30, 30], [255, 255, 255])
    np.testing.assert_array_equal(result[15, 30], [200, 0, 0])
    np.testing.assert_allclose(result[5, 5].astype(int), [127, 227, 127], atol=1)


def test_rotated_cmyk(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(picture(3), 1))).convert("CMYK")
    result = read(stored, tmp_path / "a.jpg", exif=exif, quality=95).astype(float)
    assert result.shape == picture(3).shape
    assert np.abs(result - picture(3)).mean() < 12


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="needs the extra heic")
@pytest.mark.parametrize("orientation", [1, 6])
def test_heic(tmp_path: Path, orientation: int) -> None:
    """How it is turned is a property of the format, which its reader heeds; not Exif's."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    stored = picture(3, 64, 96)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(Image.fromarray(stored), tmp_path / "a.heic", quality=95, exif=exif)
    assert pixels.shape == stored.shape
    assert np.abs(pixels.astype(float) - stored).mean() < 12


def test_heic_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    folder = save_pictures(tmp_path, 1, 2)
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(UserError, match=r"'phone\.heic' is HEIC.*idgen\[heic\]") as caught:
        find_photos(folder)
    one_line(caught.value)
