"""FER2013 as folder, tar archive and CSV: the same arrays, and one clear line for what is wrong."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from classifiers.errors import DataError
from classifiers.expression import LABELS, Split, data
from classifiers.expression.data.faces import Usage, gather
from tests.classifiers.bars import write_bars
from tests.fer import load_split

GREY = np.full((48, 48), 99, np.uint8)


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's folder layout with 20 faces a class to train on and 4 to test on."""
    return write_bars(tmp_path_factory.mktemp("fer"), train=20, public=4)


def write_csv(fer: Path, path: Path) -> Path:
    """Write a folder's faces as Kaggle's CSV, mixed as there."""
    rows = []
    usages: tuple[Usage, ...] = ("Training", "PublicTest")
    for usage in usages:
        for file in fer.glob(f"*/*/{usage}_*"):
            image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            pixels = " ".join(map(str, image.ravel().tolist()))
            rows.append(f"{LABELS.index(file.parent.name)},{pixels},{usage}\n")
    np.random.default_rng(0).shuffle(rows)
    path.write_text("emotion,pixels,Usage\n" + "".join(rows))
    return path


def write_tar(folder: Path, base: Path, kind: str = "xztar") -> Path:
    return Path(shutil.make_archive(str(base), kind, folder))


def same(ours: data.FER2013, theirs: data.FER2013) -> bool:
    splits: tuple[Split, ...] = ("train", "holdout", "public")
    return ours.fingerprint() == theirs.fingerprint() and all(
        np.array_equal(ours.split(split).images, theirs.split(split).images)
        and np.array_equal(ours.split(split).labels, theirs.split(split).labels)
        for split in splits
    )


def test_labels_are_the_folders_and_no_picture_stands_on_two_sides(fer: Path) -> None:
    parts = {split: load_split(fer, split) for split in ("train", "holdout", "public")}
    assert len(parts["train"].images) + len(parts["holdout"].images) == 7 * 20
    assert len(parts["public"].images) == 7 * 4
    assert not set(parts["train"].digests()) & set(parts["holdout"].digests())
    for faces in parts.values():
        for name, label in zip(faces.files, faces.labels, strict=True):
            assert f"/{LABELS[label]}/" in name


def test_the_holdout_is_what_a_hash_that_begins_below_13_says() -> None:
    """The shipped nets were trained without those; of others they would have learnt most."""
    drawn = np.random.default_rng(0).integers(0, 256, (3000, 48, 48), np.uint8)
    fer = data.FER2013(
        Path("drawn"), {"Training": gather((x, i % 7, str(i)) for i, x in enumerate(drawn))}
    )
    assert {digest[0] for digest in fer.split("train").digests()} == {*range(13, 256)}
    assert {digest[0] for digest in fer.split("holdout").digests()} == {*range(13)}


def test_every_layout_gives_the_same_arrays(fer: Path, tmp_path: Path) -> None:
    folder = data.read(fer)
    archive = data.read(write_tar(fer, tmp_path / "images"))
    assert same(folder, archive)
    assert folder.split("train").files == archive.split("train").files
    whole = shutil.make_archive(str(tmp_path / "whole"), "tar", fer.parent, fer.name)
    assert folder.split("train").files == data.read(Path(whole)).split("train").files
    (tmp_path / "kaggle").mkdir()
    table = data.read(write_csv(fer, tmp_path / "kaggle" / "fer2013.csv"))
    assert same(folder, table)
    assert same(folder, data.read(tmp_path / "kaggle"))
    assert same(folder, data.read(write_tar(tmp_path / "kaggle", tmp_path / "kaggle", "gztar")))


def test_a_face_of_a_csv_is_called_by_its_line(fer: Path, tmp_path: Path) -> None:
    lines = write_csv(fer, tmp_path / "faces.csv").read_text().splitlines()
    faces = load_split(tmp_path / "faces.csv", "public")
    for name, label, image in zip(faces.files, faces.labels, faces.images, strict=True):
        usage, number = name.split("_")
        emotion, pixels, written = lines[int(number) - 1].split(",")
        assert (usage, int(emotion)) == (written, label)
        assert pixels == " ".join(map(str, image.ravel().tolist()))


def test_columns_may_come_in_any_order_quoted_and_with_spaces(fer: Path, tmp_path: Path) -> None:
    lines = write_csv(fer, tmp_path / "plain.csv").read_text().splitlines()
    rows = (line.split(",") for line in lines)
    turned = [f'{emotion}, {usage},"{pixels}"\r\n' for emotion, pixels, usage in rows]
    (tmp_path / "turned.CSV").write_text("\ufeff" + "".join(turned) + "\r\n", newline="")
    assert same(data.read(tmp_path / "plain.csv"), data.read(tmp_path / "turned.CSV"))


def test_another_label_or_pixel_is_another_fingerprint(fer: Path, tmp_path: Path) -> None:
    moved, drawn = (shutil.copytree(fer, tmp_path / name) for name in ("moved", "drawn"))
    one = next((fer / "train" / "sad").iterdir()).name
    (moved / "train" / "sad" / one).rename(moved / "train" / "fear" / one)
    cv2.imwrite(str(drawn / "train" / "sad" / one), GREY)
    prints = {data.read(folder).fingerprint() for folder in (fer, moved, drawn)}
    assert len(prints) == 3


def test_of_copies_with_one_label_the_first_stays_and_blank_images_go(
    fer: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(fer, tmp_path / "fer")
    before = {split: load_split(folder, split) for split in ("train", "holdout")}
    for split, faces in before.items():
        file = folder / faces.files[0]
        shutil.copy(file, file.with_name(f"Training_{split}1.jpg"))
        shutil.copy(file, file.with_name(f"Training_{split}2.jpg"))
        other = "sad" if file.parent.name != "sad" else "happy"
        shutil.copy(file, folder / "train" / other / f"Training_{split}.jpg")
    for name in ("Training_7.png", "Training_8.png"):
        cv2.imwrite(str(folder / "train" / "neutral" / name), GREY)
    after = {split: load_split(folder, split) for split in ("train", "holdout")}
    for split, faces in after.items():
        assert len(faces.files) == len(before[split].files) + 1  # the one with another label
        labels = [
            label
            for label, digest in zip(faces.labels, faces.digests(), strict=True)
            if digest == before[split].digests()[0]
        ]
        assert len(set(labels)) == len(labels) == 2
        assert (faces.images != 99).any(axis=(1, 2)).all()
        assert faces.copies == 2
    assert {faces.blank for faces in after.values()} == {0, 2}


def test_faces_that_training_holds_too_are_known(fer: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fer, tmp_path / "fer")
    assert data.read(folder).unseen("public").all()
    parts = data.read(folder)
    files = [parts.split("train").files[0], parts.split("holdout").files[0]]
    for number, file in enumerate(files):
        shutil.copy(folder / file, folder / "test" / "fear" / f"PublicTest_copy{number}.jpg")
    for file in ("train/happy/Training_blank.png", "test/happy/PublicTest_blank.png"):
        cv2.imwrite(str(folder / file), GREY)  # which no net learns
    again = data.read(folder)
    # Of one face of Training, which falls to no holdout and leaves classes without any.
    first = np.array(again.usages["Training"].files) == files[0]
    names = np.array(again.split("public").files)
    assert sorted(names[~again.unseen("public")]) == [
        f"test/fear/PublicTest_copy{number}.jpg" for number in (0, 1)
    ]
    assert again.unseen("holdout").all()
    few = data.FER2013(folder, {**again.usages, "Training": again.usages["Training"].keep(first)})
    assert few.unseen("public").sum() == len(names) - 1
    assert not again.unseen("train").any()


def test_what_was_left_out_is_told_in_one_line() -> None:
    images = np.zeros((1200, 48, 48), np.uint8)
    plain = data.Faces(images, np.zeros(1200, np.int64), ("",) * 1200)
    assert plain.summary("PublicTest") == "PublicTest: 1,200 images"
    full = data.Faces(
        images, plain.labels, plain.files, skipped=("a", "b", "c", "d"), copies=1, blank=12
    )
    assert full.summary("Training") == (
        "Training: 1,200 images (1 copy and 12 blank left out); "
        "4 skipped that are no 48x48 image: a, b, c, …"
    )


@pytest.mark.parametrize("layout", ["folder", "tar"])
def test_a_bad_image_is_skipped_and_named_or_refused(
    fer: Path, tmp_path: Path, layout: str
) -> None:
    source = shutil.copytree(fer, tmp_path / "fer")
    whole = next((fer / "test" / "sad").iterdir()).read_bytes()
    (source / "train" / "happy" / "Training_1.jpg").write_bytes(b"no image")
    cv2.imwrite(str(source / "train" / "sad" / "Training_2.jpg"), np.zeros((64, 40), np.uint8))
    (source / "train" / "sad" / "Training_3.jpg").touch()
    (source / "train" / "sad" / "Training_5.png").write_bytes(b"P5\n999999 999999\n255\n")
    (source / "test" / "sad" / "PublicTest_4.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "train" / "sad" / "Thumbs.db").write_bytes(b"not asked for")
    (source / "test" / "sad" / "Training_6.jpg").write_bytes(whole)  # nor that, there
    if layout == "tar":
        source = write_tar(source, tmp_path / "fer")
    found = data.read(source)
    assert same(found, data.read(fer))
    assert found.split("train").skipped == (
        "train/happy/Training_1.jpg",
        "train/sad/Training_2.jpg",
        "train/sad/Training_3.jpg",
        "train/sad/Training_5.png",
    )
    assert found.split("holdout").skipped == ()
    assert found.split("public").skipped == ("test/sad/PublicTest_4.jpg",)
    refused = r"Training_2\.jpg is 40x64|Training_[135]\.\w+ is no image"
    with pytest.raises(DataError, match=refused) as caught:
        load_split(source, "train", strict=True)
    assert "accepted are 48x48 images" in str(caught.value)


def test_bad_sources_are_named(fer: Path, tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere.tar.xz", "nowhere.csv"):
        with pytest.raises(DataError, match=name):
            load_split(tmp_path / name, "train")
    whole = write_tar(fer, tmp_path / "whole").read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.tar\.xz: not a folder or a tar archive"):
        load_split(tmp_path / "cut.tar.xz", "train")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match=r"FER2013: file could not be opened successfully$"):
        load_split(tmp_path / "text.zip", "train")
    plain = write_tar(fer, tmp_path / "plain", "tar").read_bytes()
    with tarfile.open(tmp_path / "plain.tar") as archive:
        header = archive.getmembers()[100].offset
    for name, content in (
        ("within.tar", plain[: header + 100]),
        ("between.tar", plain[:header]),
        ("junk.tar", plain[:header] + b"x" * 512 + plain[header + 512 :]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: .*cut short or damaged"):
            data.read(tmp_path / name)
    linked = shutil.copytree(fer, tmp_path / "linked")
    (linked / "train" / "sad" / "Training_9.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(DataError, match=r"Training_9\.jpg: cannot be read: No such file"):
        data.read(linked)
    with pytest.raises(DataError, match="no PrivateTest images for angry, disgust"):
        load_split(fer, "private")


def test_an_archive_of_two_copies_is_refused(fer: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for top in (both, both / "backup"):
        shutil.copytree(fer, top, dirs_exist_ok=True)
    archive = write_tar(both, tmp_path / "both", "tar")
    said = r"both\.tar: FER2013 lies in (\. and in backup|backup and in \.); accepted is one folder"
    with pytest.raises(DataError, match=said):
        data.read(archive)


def test_a_class_that_is_missing_or_unknown_is_named(fer: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fer, tmp_path / "fer")
    shutil.rmtree(folder / "train" / "sad")
    for image in (folder / "train" / "happy").iterdir():
        image.write_bytes(b"no image")
    said = r"no Training images \(20 skipped that are no 48x48 image\) for happy, sad;"
    with pytest.raises(DataError, match=said):
        load_split(folder, "train")
    assert len(load_split(folder, "public").files) == 28
    shutil.copytree(fer / "test" / "sad", folder / "test" / "contempt")
    with pytest.raises(DataError, match="stands in no class; accepted are the folders angry"):
        load_split(folder, "public")


def swap(index: int, value: str) -> Callable[[list[str]], list[str]]:
    return lambda fields: [*fields[:index], value, *fields[index + 1 :]]


PIXELS = ["0"] * (48 * 48)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fields: fields[:2], "a row of 2 fields; accepted are 3"),
        (lambda fields: [*fields, "x"], "a row of 4 fields; accepted are 3"),
        (swap(0, "7"), "emotion is '7'; accepted are 0 to 6, for angry, disgust, fear"),
        (swap(0, "joy"), "emotion is 'joy'; accepted are 0 to 6"),
        (swap(2, "Test"), "Usage is 'Test'; accepted: Training, PublicTest, PrivateTest"),
        (swap(1, " ".join(PIXELS[1:])), "2303 pixels; accepted are 2304 whole numbers"),
        (swap(1, ""), "0 pixels; accepted are 2304"),
        (swap(1, " ".join([*PIXELS, "0"])), "2305 pixels; accepted are 2304"),
        (swap(1, " ".join([*PIXELS[1:], "256"])), "a pixel is 256; accepted are .* 0 to 255"),
        (swap(1, " ".join(["-1", *PIXELS[1:]])), "a pixel is -1"),
        (swap(1, " ".join([*PIXELS[1:], "x"])), "pixels that are no numbers"),
    ],
)
def test_a_wrong_row_of_a_csv_is_named_with_its_line(
    fer: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], said: str
) -> None:
    lines = write_csv(fer, tmp_path / "faces.csv").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if i > 20 and line.endswith("Training"))
    lines[at] = ",".join(change(lines[at].split(",")))
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"faces\.csv, line {at + 1}: {said}") as caught:
        load_split(tmp_path / "faces.csv", "train")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("content", [b"", b"pixels,Usage\n", b"\x00\xff\x00", b"a,b,c\n1,2,3\n"])
def test_a_csv_with_other_columns_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(DataError, match="line 1: accepted are the columns emotion,pixels,Usage"):
        load_split(tmp_path / "faces.csv", "train")


def test_a_split_reads_only_what_it_needs(fer: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fer, tmp_path / "fer")
    shutil.rmtree(folder / "train")
    assert len(load_split(folder, "public").files) == 28
