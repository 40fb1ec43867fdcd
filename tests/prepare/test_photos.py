import hashlib
import io
import os
import shutil
import struct
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from idgen.errors import UserError
from idgen.prepare import Photo, find_photos, read_photo, subject_name
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


def test_finds_photos_by_name_and_passes_over_the_rest(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 2, 1, 3)
    (folder / "notes.txt").write_text("a dog")
    (folder / "prompts.yaml").write_text("a: 1")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "folder.png").mkdir()
    found = find_photos(folder)
    assert [photo.name for photo in found] == ["1.png", "2.png", "3.png"]
    for photo in found:
        assert photo.digest == hashlib.sha256(photo.path.read_bytes()).hexdigest()
        np.testing.assert_array_equal(photo.pixels(), picture(int(photo.path.stem)))


def test_the_subject_is_named_after_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "dog", 1, 2)
    (folder / "inner").mkdir()
    for here, given in ((folder, "."), (folder / "inner", ".."), (tmp_path, "dog")):
        monkeypatch.chdir(here)
        assert {photo.subject for photo in find_photos(Path(given))} == {"dog"}


def test_a_linked_folder_is_called_as_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "IMG_2041", 1, 2)
    (folder / "inner").mkdir()
    (tmp_path / "rex").symlink_to(folder)
    assert subject_name(tmp_path / "rex") == "rex"
    assert {photo.subject for photo in find_photos(tmp_path / "rex")} == {"rex"}
    assert subject_name(tmp_path / "rex" / "inner" / "..") == "IMG_2041"
    monkeypatch.chdir(tmp_path)
    assert subject_name(Path("rex/")) == "rex"


def test_a_link_to_a_photo_is_a_photo(tmp_path: Path) -> None:
    elsewhere = save_pictures(tmp_path / "elsewhere", 7)
    folder = save_pictures(tmp_path / "photos", 1)
    (folder / "7.png").symlink_to(elsewhere / "7.png")
    assert [photo.name for photo in find_photos(folder)] == ["1.png", "7.png"]


def test_a_copy_is_refused_or_left_out(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name in ("8.png", "9.png"):
        shutil.copy(folder / "1.png", folder / name)
    with pytest.raises(UserError) as refused:
        find_photos(folder)
    text = one_line(refused.value)
    for name in ("8.png", "9.png"):
        assert text.count(f"'{name}' is a copy of '1.png': remove one of the two") == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png", "2.png"]
    assert sorted(str(warning.message).split("'")[1] for warning in caught) == ["8.png", "9.png"]


def test_two_copies_of_one_photo_are_one_photo(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1)
    shutil.copy(folder / "1.png", folder / "9.png")
    with pytest.warns(UserWarning, match="copy"):
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "absent", "no folder"),
        (lambda folder: save_pictures(folder, 1) / "1.png", "is a file"),
        (lambda folder: folder, "no photo in"),
    ],
)
def test_folders_without_photos(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    folder = make(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        find_photos(folder)
    assert str(folder) in one_line(caught.value)


def truncated_jpeg(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "JPEG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def truncated_png(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1500])


def animation(path: Path) -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (5, 6)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def damaged_exif(path: Path) -> None:
    """Turned, and with a text where a number belongs: turning it writes both anew."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0132] = "2020"
    content = exif.tobytes().replace(b"\x01\x32\0\x02", b"\x01\x56\0\x02")
    assert content != exif.tobytes()
    Image.fromarray(picture(5)).save(path, "JPEG", exif=content)


def unknown_dds(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "DDS")
    content = bytearray(path.read_bytes())
    content[80:84] = bytes(4)  # flags of the pixel format
    path.write_bytes(content)


def damaged_avif(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "AVIF")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.jpg": (lambda path: path.write_text("not an image"), "is no image"),
    "movie.mp4": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom"), "is no image"),
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "cut.jpg": (truncated_jpeg, "is truncated"),
    "cut.png": (truncated_png, "is truncated"),
    "exif.jpg": (damaged_exif, "is truncated or damaged"),
    "texture.dds": (unknown_dds, "is truncated or damaged"),
    "tiny.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "too small"),
    "moves.gif": (animation, "several frames"),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "is a link to a file"),
    "circle.jpg": (lambda path: path.symlink_to(path.name), "is a link to a file"),
    "pipe.jpg": (os.mkfifo, "is no regular file"),
    'od"d\nn\u00e4me \u540d.jpg': (lambda path: path.write_text("no"), "is no image"),
}


if features.check("avif"):
    BAD["cut.avif"] = (damaged_avif, "is truncated or damaged")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    folder = save_pictures(tmp_path, 1, 2)
    make(folder / name)
    with pytest.raises(UserError, match=reason) as of_folder:
        find_photos(folder)
    assert repr(name) in one_line(of_folder.value)
    with pytest.raises(UserError, match=reason) as alone:
        read_photo(folder / name)
    assert repr(str(folder / name)) in one_line(alone.value)


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name, (make, _) in BAD.items():
        make(folder / name)
    with pytest.raises(UserError) as caught:
        find_photos(folder)
    text = one_line(caught.value)
    assert all(text.count(repr(name)) == 1 for name in BAD)
    assert "1.png" not in text


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"'2.png' may not be read") as caught:
        find_photos(folder)
    one_line(caught.value)


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    Image.new("RGB", (200, 200)).save(folder / "bomb.png")
    Image.new("RGB", (90, 90)).save(folder / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"'bomb\.png' unpacks") as caught:
            find_photos(folder)
    assert "large.png" not in one_line(caught.value)


def test_one_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2, 3)
    load = Image.Image.convert

    def convert(image: Image.Image, *arguments: Any) -> Image.Image:
        if image.size == (60, 50):
            raise MemoryError
        return load(image, *arguments)

    monkeypatch.setattr(Image.Image, "convert", convert)
    Image.new("L", (60, 50)).save(folder / "2.png")
    with pytest.raises(UserError, match=r"'2\.png' does not fit into memory: reduce it"):
        find_photos(folder)
    with pytest.warns(UserWarning, match=r"left out '2\.png' does not fit"):
        assert [photo.name for photo in find_photos(folder, skip_bad=True)] == ["1.png", "3.png"]


def test_a_missing_photo() -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_photo(Path("absent.jpg"))


def test_content_that_changed_is_not_taken_for_the_old(tmp_path: Path) -> None:
    photo = find_photos(save_pictures(tmp_path, 1, 2))[0]
    Image.fromarray(picture(9)).save(photo.path)
    with pytest.raises(UserError, match=r"1\.png has changed"):
        photo.pixels()
    photo.path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        photo.pixels()


def test_known_photos_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    first = find_photos(folder)

    def refuse(*arguments: object, **options: object) -> Image.Image:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", refuse)
    assert find_photos(folder, {photo.digest for photo in first}) == first


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


def test_photos_are_known_by_content(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(picture(3)).save(content, "PNG")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content.getvalue())
    one, two = (read_photo(tmp_path / name) for name in ("a.png", "b.png"))
    assert one.digest == two.digest
    assert one == Photo(tmp_path / "a.png", one.digest)


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


def test_bad_photos_are_left_out_where_allowed(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name, (make, _) in BAD.items():
        make(folder / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png", "2.png"]
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == len(BAD)
    assert all(sum(repr(name) in text for text in texts) == 1 for name in BAD)


def test_nothing_but_bad_photos(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(UserError, match=r"no photo in .* can be used: 'a\.jpg'"),
    ):
        find_photos(tmp_path, skip_bad=True)
