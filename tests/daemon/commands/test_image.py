"""`affectd image`: every kind of picture, and those that are none."""

from __future__ import annotations

import errno
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from rich.console import Console

from classifiers.expression import LABELS
from daemon.commands.image import annotate_images
from daemon.draw.overlay import Overlay
from tests.inside import inside, logging_as_before, write_light
from tests.media import write_clip
from tests.nets import save_tiny
from tests.shared import MODELS, VIDEO, needs_shared

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that loads no model."""
    return write_light(tmp_path)


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    """A picture of one face, BGR [288, 360, 3]."""
    with av.open(VIDEO / "sbia1a.mpg") as container:
        frame = next(container.decode(video=0))
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


@needs_shared
def test_images_good_and_bad(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, face: NDArray[np.uint8]
) -> None:
    """
    1. A folder, and single files beside it: every format, grey, odd, in a folder within, of one
       name twice; among them some that are no image.
    2. Each good one has its copy with the face marked, and its line of JSON; each bad one is
       named, on standard error and in its line.
    """
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    photos, out = tmp_path / "photos", tmp_path / "read"
    (photos / "inner").mkdir(parents=True)
    grey = face[:, :, 1]
    good: dict[str, NDArray[np.generic]] = {
        "a.png": face,
        "b.jpg": face,
        "c.webp": face,
        "d.tiff": face,
        "deep.png": grey.astype(np.uint16) * 257,
        "grey.jpg": grey,
        "grey.png": grey,
        "inner/100%d of: b.jpg": face,
        "odd.PNG": face[:255, :321],
    }
    for name, pixels in good.items():
        encoded = cv2.imencode(Path(name).suffix.lower(), pixels)[1]
        (photos / name).write_bytes(encoded.tobytes())
    bad = {
        "empty.png": "the file is empty",
        "half.jpg": "holds no picture that can be decoded",
        "inner/1001 of: b.jpg": "the file is empty",
        "loop.jpg": "Too many levels of symbolic links",
        "jpeg.tif": "is a TIFF compressed as JPEG; accepted are LZW, ",
        "pipe.jpg": "is a pipe; accepted is a file",
        "junk.jpg": "holds no picture that can be decoded",
        "tiny.bmp": "is 1x1; accepted are pictures of 16 to 8192 px a side",
    }
    (photos / "inner/1001 of: b.jpg").touch()
    (photos / "empty.png").touch()
    whole = (photos / "b.jpg").read_bytes()
    cv2.imwrite(str(photos / "jpeg.tif"), face, [cv2.IMWRITE_TIFF_COMPRESSION, 7])
    os.mkfifo(photos / "pipe.jpg")
    (photos / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (photos / "junk.jpg").write_bytes(b"no image" * 50)
    (photos / "tiny.bmp").write_bytes(cv2.imencode(".bmp", face[:1, :1])[1].tobytes())
    (photos / "notes.txt").write_text("not looked at")
    single, absent = tmp_path / "b.jpg", tmp_path / "absent.jpg"
    single.write_bytes((photos / "b.jpg").read_bytes())

    done = inside(capsys, "image", photos, single, absent, "--out", out, "--json")

    assert done.code == 1
    lines = {line["file"]: line for line in map(json.loads, done.out)}
    wanted = [*(str(photos / name) for name in (*good, *bad)), str(single), str(absent)]
    assert sorted(lines) == sorted(wanted)
    for name in good:
        (reading,) = lines[str(photos / name)]["readings"]
        assert reading["label"] in (*LABELS, "unknown")
        assert reading["frame_px"] == ([320, 254] if name == "odd.PNG" else [360, 288])
    for name, said in bad.items():
        assert said in lines[str(photos / name)]["error"]
    assert lines[str(absent)]["error"] == f"{absent}: there is no such file"
    errors = [line["error"] for line in lines.values() if "error" in line]
    assert done.err[0] == "1 file passed over: .txt"
    assert sorted(done.err[1:]) == sorted(f"affectd: {error}" for error in errors)

    names = [n if n.endswith(".jpg") else f"{n}.jpg" for n in good]
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == sorted([*names, "b-2.jpg"])
    for name, original in (("a.png", face), ("b.jpg", face), ("grey.png", np.dstack([grey] * 3))):
        copy = cv2.imread(str(out / name if name == "b.jpg" else out / f"{name}.jpg"))
        changed = cv2.absdiff(copy, original)
        assert changed[:60, :100].mean() < 4.0  # Nothing is drawn there.
        x, y, _, height = lines[str(photos / name)]["readings"][0]["box_px"]
        assert changed[y : y + height, x : x + 2].mean() > 10.0  # The box is.


@pytest.mark.parametrize("lines_on_terminal", [False, True])
def test_a_terminal_shows_how_many_are_left(
    tmp_path: Path, light: Path, monkeypatch: pytest.MonkeyPatch, lines_on_terminal: bool
) -> None:
    """On one terminal the lines come above the bar, by the console that draws it. A file stays one
    where colours are forced."""
    photos, out = tmp_path / "photos", tmp_path / "read"
    for name in ("a.png", "b.png"):
        black(photos / name)
    said, shown = StringIO(), StringIO()
    monkeypatch.setattr(said, "isatty", lambda: lines_on_terminal)

    def console(file: StringIO) -> Console:
        return Console(
            file=file, soft_wrap=True, highlight=False, markup=False, force_terminal=True
        )

    with logging_as_before():
        annotate_images(
            [photos],
            out,
            as_json=False,
            config=light,
            force=False,
            out=console(said),
            err=console(shown),
        )
    assert "2/2" in shown.getvalue()
    assert ("b.png →" in shown.getvalue()) is lines_on_terminal
    assert ("b.png →" in said.getvalue()) is not lines_on_terminal


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: Capsys, light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as failed, and the others are read. (Root may read all: so a call fails.)"""
    photos, out = tmp_path / "photos", tmp_path / "read"
    black(photos / "a.png")
    black(photos / "inner" / "b.png")
    listed = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "inner":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = inside(capsys, "image", photos, "--out", out, "--config", light)
    assert done.code == 1
    assert done.err == [f"affectd: {photos}/inner cannot be read: Permission denied"]
    assert done.out == [f"{photos}/a.png → {out}/a.png.jpg"]
    done = inside(capsys, "image", photos / "inner", "--out", out, "--config", light, "--force")
    assert (done.code, done.out) == (1, [])


def black(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.zeros((64, 64), np.uint8))[1].tobytes())
    return path


@needs_shared
def test_faces_that_are_not_read_are_drawn(
    tmp_path: Path, capsys: Capsys, light: Path, face: NDArray[np.uint8]
) -> None:
    """1. Nothing is said of them. 2. Their readings are refused."""
    image, out = tmp_path / "a.png", tmp_path / "out"
    image.write_bytes(cv2.imencode(".png", face)[1].tobytes())
    what: list[str | Path] = [image, "--out", out, "--config", light]
    assert inside(capsys, "image", *what) == (0, [f"{image} → {out}/a.png.jpg"], [])
    said = "expression.enabled: found false, and --json wants readings; accepted is true"
    done = inside(capsys, "image", *what, "--json", "--force")
    assert done == (2, [], [f"affectd: {light}: {said}"])


@needs_shared
@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.webp"])
def test_the_overlay_has_its_colours_on_large_images_too(
    tmp_path: Path, capsys: Capsys, light: Path, face: NDArray[np.uint8], name: str
) -> None:
    """BMP and PNG name no colourspace. A video of 720 lines without one would be BT.709."""
    image, out = tmp_path / name, tmp_path / "out"
    lossy = [cv2.IMWRITE_WEBP_QUALITY, 90] if name == "a.webp" else []
    image.write_bytes(cv2.imencode(image.suffix, cv2.resize(face, (900, 720)), lossy)[1].tobytes())
    light.write_text(light.read_text() + '[overlay.colours]\nunknown = "#D55E00"\n')
    assert inside(capsys, "image", image, "--out", out, "--config", light).code == 0
    copy = cv2.imread(str(out / f"{name}.jpg"))
    assert copy is not None
    off = np.abs(copy.astype(int) - [0x00, 0x5E, 0xD5]).max(axis=2)
    assert np.count_nonzero(off <= 5) > 300


def test_a_picture_that_names_no_colourspace_goes_by_its_height(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    """As its overlay does: of 720 lines it is BT.709, which a JPEG cannot be."""
    clip, out = write_clip(tmp_path / "a.mp4", width=1280, height=720, frames=1), tmp_path / "out"
    assert inside(capsys, "image", clip, "--out", out, "--config", light).code == 0
    with av.open(clip) as container:
        image = next(container.decode(video=0))
    seen = image.reformat(format="bgr24", src_colorspace=Colorspace.ITU709).to_ndarray()
    copy = cv2.imread(str(out / "a.mp4.jpg"))
    assert copy is not None
    assert cv2.absdiff(copy, np.asarray(seen, np.uint8)).mean() < 2.0


@needs_shared
def test_readings_alone(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, face: NDArray[np.uint8]
) -> None:
    """They are those that come with copies; no file is written, and what is no image is told."""
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    photos = black(tmp_path / "photos" / "a.png").parent
    (photos / "b.png").write_bytes(cv2.imencode(".png", face)[1].tobytes())
    for name in ("c.HEIC", "d.heic", "README"):
        (photos / name).touch()
    done = inside(capsys, "image", photos)
    said = "--out: is missing; accepted is a folder, or --json for readings alone"
    assert done == (2, [], [f"affectd: {said}"])
    before = sorted(tmp_path.rglob("*"))
    alone = inside(capsys, "image", photos, photos / "b.png", "--json")
    assert alone.err == ["3 files passed over: .heic, without an ending"]
    assert sorted(tmp_path.rglob("*")) == before
    assert [len(json.loads(line)["readings"]) for line in alone.out] == [0, 1]
    assert inside(capsys, "image", photos, "--json", "--out", tmp_path / "out") == alone


def test_a_film_is_no_image(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    """But a photo is, behind which a phone has put another picture."""
    gif, photo = tmp_path / "a.gif", black(tmp_path / "a.jpg")
    write_clip(gif, frames=2, codec="gif", pix_fmt="bgr8")
    film = write_clip(tmp_path / "a.mp4", frames=2)
    two = tmp_path / "two.jfif"
    two.write_bytes(2 * photo.read_bytes())
    out = tmp_path / "out"
    done = inside(capsys, "image", gif, film, photo, two, "--out", out, "--config", light)
    said = "holds more than one picture; accepted by `affectd video`"
    assert done.err == [f"affectd: {path}: {said}" for path in (gif, film)]
    assert (done.code, len(done.out)) == (1, 2)


def test_images_that_would_be_lost_and_folders_without_any(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    image = black(tmp_path / "a.jpg")
    before = image.read_bytes()
    (tmp_path / "none").mkdir()
    done = inside(capsys, "image", image, "--out", tmp_path)
    assert done == (2, [], [f"affectd: {image}: lies in --out itself; accepted is another folder"])
    assert image.read_bytes() == before
    done = inside(capsys, "image", image, tmp_path / "none", "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err[0].startswith(f"affectd: {tmp_path}/none: no image in it; accepted: .jpg, ")
    assert not (tmp_path / "out").exists()
    done = inside(capsys, "image", image, "--out", tmp_path / "out", "--config", light)
    assert done == (0, [f"{image} → {tmp_path}/out/a.jpg"], [])


def test_what_exists_is_replaced_only_if_asked_and_never_an_input(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    """
    1. A file where an annotated copy would go is refused, and all stays as it is.
    2. With --force it is replaced, but not what else is to be read, nor a folder.
    3. A link to an image is replaced, a hard one too, and the image stays; one to nothing is no
       way to write elsewhere.
    """
    image, other = black(tmp_path / "x" / "b.jpg"), black(tmp_path / "photos" / "b.jpg")
    other.write_bytes(other.read_bytes() + b"mine")
    before, photos = other.read_bytes(), other.parent
    fresh = black(tmp_path / "fresh.jpg")
    done = inside(capsys, "image", fresh, image, "--out", photos, "--config", light)
    said = "exists; accepted is another folder, or --force to replace it"
    assert done == (2, [], [f"affectd: {other}: {said}"])
    assert list(photos.iterdir()) == [other]
    forced = ("--out", photos, "--config", light, "--force")
    done = inside(capsys, "image", image, other, *forced)
    assert done == (2, [], [f"affectd: {other}: lies in --out itself; accepted is another folder"])
    (photos / "fresh.jpg").mkdir()
    done = inside(capsys, "image", fresh, *forced)
    assert done.err == [
        f"affectd: {photos}/fresh.jpg: exists and is no file; accepted is another folder"
    ]
    assert other.read_bytes() == before
    assert inside(capsys, "image", image, *forced).code == 0
    assert other.read_bytes() != before
    other.unlink()
    other.hardlink_to(image)
    before = image.read_bytes()
    assert inside(capsys, "image", image, *forced).code == 0
    assert image.read_bytes() == before != other.read_bytes()
    kept = black(tmp_path / "kept.jpg")
    before = kept.read_bytes()
    for leads_to in (kept, tmp_path / "nowhere.jpg"):
        other.unlink()
        other.symlink_to(leads_to)
        assert inside(capsys, "image", image, "--out", photos, "--config", light).code == 2
        assert inside(capsys, "image", image, *forced).code == 0
        assert not other.is_symlink()
    assert kept.read_bytes() == before
    assert not (tmp_path / "nowhere.jpg").exists()


def test_a_name_may_be_as_long_as_the_system_lets_it(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    image = black(tmp_path / f"{'x' * 251}.jpg")
    done = inside(capsys, "image", image, "--out", tmp_path / "out", "--config", light)
    assert done.code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [image.name]


def test_a_full_disk_leaves_the_earlier_copy(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    image, out = black(tmp_path / "a.jpg"), tmp_path / "out"
    before = black(out / "a.jpg").read_bytes()
    (out / ".a.jpg.part").symlink_to("/dev/full")
    done = inside(capsys, "image", image, "--out", out, "--config", light, "--force")
    said = f"affectd: {out}/a.jpg: no room left (No space left on device)"
    assert done == (1, [], [said])
    assert [path.read_bytes() for path in out.iterdir()] == [before]


def test_what_an_earlier_run_wrote_into_the_folder_is_not_read(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    photos = black(tmp_path / "photos" / "a.png").parent
    black(photos / "sub" / "b.jpg")
    said = [
        f"{photos}/{name} → {photos}/read/{copy}"
        for name, copy in (("a.png", "a.png.jpg"), ("sub/b.jpg", "sub/b.jpg"))
    ]
    for force in ([], ["--force"]):
        out = photos / "sub" / ".." / "read"
        done = inside(capsys, "image", photos, "--out", out, "--config", light, *force)
        assert [line.replace("/sub/../", "/") for line in done.out] == said
        assert (done.code, done.err) == (0, [])


def test_names_that_cannot_be_printed_or_looked_up(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    """A name in Latin-1, as on old disks, and one that no file can have."""
    image = black(tmp_path / os.fsdecode(b"M\xfcller.jpg"))
    out, long = tmp_path / "out", tmp_path / ("n" * 300 + ".jpg")
    done = inside(capsys, "image", long, image, "--out", out, "--config", light)
    assert done.out == [rf"{tmp_path}/M\udcfcller.jpg → {out}/M\udcfcller.jpg"]
    assert (done.code, done.err) == (1, [f"affectd: {long}: File name too long"])
    assert (out / image.name).is_file()


def test_what_is_hidden_in_a_folder_is_not_read(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    photos = black(tmp_path / ".kept" / "a.png").parent
    black(photos / ".thumbnails" / "a.png")
    (photos / "._a.png").write_bytes(b"what a Mac knows of a.png")
    for name in "fdbec":  # read in the order of their names
        black(photos / f"{name}.png")
    done = inside(capsys, "image", photos, "--out", tmp_path / "out", "--config", light)
    said = [f"{photos}/{name}.png → {tmp_path}/out/{name}.png.jpg" for name in "abcdef"]
    assert done == (0, said, [])


def test_nothing_is_drawn_where_no_picture_is_written(
    tmp_path: Path, capsys: Capsys, light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr(Overlay, "draw", lambda self, image, *rest: drawn.append(image))
    net = save_tiny(tmp_path / "net.safetensors")
    on = f'weights = "{net}"\nengine = "torch"'
    light.write_text(light.read_text().replace("enabled = false", on))
    image = black(tmp_path / "a.png")
    assert inside(capsys, "image", image, "--json", "--config", light).code == 0
    assert not drawn
    what = ("--json", "--out", tmp_path / "out", "--config", light)
    assert inside(capsys, "image", image, *what).code == 0
    assert len(drawn) == 1
