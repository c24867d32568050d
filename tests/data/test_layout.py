"""Names as splits and classes, with and without a dataset.json."""

import json

import pytest
from PIL import Image

from simflow.data.layout import FOREIGN, SUFFIXES, arrange
from simflow.data.source import Files, complete, places_among
from simflow.shapes import NULL


def listed(*names, split="train", label=None, **contents):
    """The source of files of these names; ``contents`` are further text files, with ``_`` for the dot."""
    texts = {name.replace("_", "."): text.encode() for name, text in contents.items()}
    files = Files(sizes=dict.fromkeys(names, 1) | {name: len(t) for name, t in texts.items()}, read=texts.get)
    return complete(arrange(files, split=split, label=label, where="there"), where="there")


def by_name(source):
    return dict(zip(source.names, source.labels.tolist(), strict=True))


def test_class_folders_at_any_depth():
    source = listed("dog/b/c/1.png", "cat/2.JPG", "dog/3.webp", "notes.txt")
    assert source.class_names == ("cat", "dog")
    assert by_name(source) == {"cat/2.JPG": 0, "dog/3.webp": 1, "dog/b/c/1.png": 1}


def test_the_order_is_that_of_the_names():
    assert listed("b/2.png", "a/1.png", "b/1.png").names == ["a/1.png", "b/1.png", "b/2.png"]


@pytest.mark.parametrize("folder", ["", "set/", "a/set/"])
def test_one_folder_has_no_classes(folder):
    source = listed(folder + "1.png", folder + "2.png")
    assert source.class_names == ()
    assert source.labels.tolist() == [NULL, NULL]


def test_leading_folders_are_dropped():
    assert listed("my/set/cat/1.png", "my/set/dog/1.png").class_names == ("cat", "dog")


def test_numbered_classes_are_in_numerical_order():
    assert listed("10/a.png", "9/a.png", "0/a.png").class_names == ("0", "9", "10")


DIVIDED = ("set/train/cat/1.png", "set/train/dog/1.png", "set/val/dog/2.png", "set/test/cat/3.png")


def test_splits_may_lie_in_the_folders_of_the_classes():
    names = ("set/cat/train/1.png", "set/dog/train/1.png", "set/dog/test/2.png", "set/cat/test/a/3.png")
    train, test = (listed(*names, split=split) for split in ("train", "test"))
    assert by_name(train) == {"set/cat/train/1.png": 0, "set/dog/train/1.png": 1}
    assert by_name(test) == {"set/cat/test/a/3.png": 0, "set/dog/test/2.png": 1}
    assert train.class_names == test.class_names == ("cat", "dog")
    assert listed("cat/train/1.png", "dog/2.png").class_names == (
        "cat",
        "dog",
    )  # one of them only: it organises
    assert listed("cat/train/1.png", "cat/test/2.png", split="test").names == ["cat/test/2.png"]


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", {"set/train/cat/1.png": 0, "set/train/dog/1.png": 1}),
        ("validation", {"set/val/dog/2.png": 1}),
        ("val", {"set/val/dog/2.png": 1}),
        ("test", {"set/test/cat/3.png": 0}),
    ],
)
def test_a_split_is_chosen_and_classes_are_shared(split, names):
    source = listed(*DIVIDED, split=split)
    assert by_name(source) == names
    assert source.class_names == ("cat", "dog")


def rows(*pairs):
    return "".join(json.dumps({"file_name": name, "label": label}) + "\n" for name, label in pairs)


def test_metadata_says_the_classes_by_name():
    source = listed("1.png", "b/2.png", metadata_jsonl=rows(("1.png", "dog"), ("b\\2.png", "cat")) + "\n")
    assert source.class_names == ("cat", "dog")
    assert by_name(source) == {"1.png": 1, "b/2.png": 0}


def test_another_column_of_metadata_may_say_the_classes():
    table = "file_name,label,Kind\n1.png,0,cat\n2.png,0,dog\n"
    assert listed("1.png", "2.png", metadata_csv=table).class_names == ("0",)
    kinds = listed("1.png", "2.png", metadata_csv=table, label="kind")
    assert (kinds.class_names, kinds.labels.tolist()) == (("cat", "dog"), [0, 1])
    for names in (["1.png", "2.png"], ["a/1.png", "b/2.png"]):
        with pytest.raises(ValueError, match=r"data.label names a column .* has no such column 'kind'"):
            listed(*names, label="kind")


def test_metadata_in_each_split_with_numbers_and_names_beside():
    names = ("train/1.png", "train/2.png", "test/3.png")
    contents = {
        "train/metadata_csv": "file_name,label,text\n1.png,2,a\n./2.png,0,b\n",
        "test/metadata_csv": "\ufefffile_name,label\n3.png,1\nelsewhere.png,0\n",
        "test/classes_txt": "ant\nbee\ncat\n",
    }
    train, test = (listed(*names, split=split, **contents) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("ant", "bee", "cat")
    assert (by_name(train), by_name(test)) == ({"train/1.png": 2, "train/2.png": 0}, {"test/3.png": 1})
    assert train.splits == {"train", "test"}


@pytest.mark.parametrize("images", [("1.png", "2.png"), ("a/1.png", "b/2.png")])
def test_metadata_that_speaks_of_no_picture_that_is_there(images):
    said = "metadata.csv of there has labels for 2 files, of which none is there, such as 1: file_name must"
    with pytest.raises(ValueError, match=said):
        listed(*images, metadata_csv="file_name,label\n1,dog\n2,cat\n")


def test_labels_for_files_that_are_not_there_are_counted(caplog):
    table = "file_name,label\n1.png,dog\ngone.png,cat\nlost.png,cat\n"
    assert listed("1.png", metadata_csv=table).class_names == ("dog",)
    assert caplog.messages == [
        "metadata.csv of there has labels for 2 files that are not there, such as gone.png"
    ]


def test_metadata_without_labels_says_nothing():
    text = "file_name,text\n1.png,a dog\n"
    assert listed("a/1.png", "b/1.png", metadata_csv=text).class_names == ("a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "File_Name; Label\n1.png;dog\n2.png;cat\n",
        "file_name\tlabel\r\n1.png\tdog\r\n2.png\tcat\r\n",
        "label,file_name,mask\rdog,1.png,\rcat,2.png,\r",
        f'file_name,label,mask\n1.png,dog,"{"x" * 200_000}"\n2.png,cat,\n',
    ],
)
def test_tables_of_other_programs(text):
    assert by_name(listed("1.png", "2.png", metadata_csv=text)) == {"1.png": 1, "2.png": 0}


def test_tables_in_utf_16_and_lists_of_objects():
    for name, content in (
        ("metadata.csv", "file_name,label\n1.png,dog\n2.png,cat\n".encode("utf-16")),
        (
            "metadata.jsonl",
            '[{"file_name": "1.png", "label": "dog"}, {"file_name": "2.png", "label": "cat"}]',
        ),
        (
            "metadata.jsonl",
            rows(("1.png", "dog"), ("2.png", "cat")).replace('"dog"', '"dog", "text": "a\u2028b"'),
        ),
    ):
        content = content if isinstance(content, bytes) else content.encode()
        files = Files(sizes={"1.png": 1, "2.png": 1, name: len(content)}, read={name: content}.get)
        assert arrange(files, split="train", where="there").labels.tolist() == [1, 0]


def test_numbers_of_classes_however_they_are_written_and_ordered_by_value():
    text = "file_name,label\n1.png,10\n2.png,9.0\n3.png,0\n"
    source = listed("1.png", "2.png", "3.png", metadata_csv=text)
    assert source.labels.tolist() == [10, 9, 0]
    words = listed("1.png", "2.png", metadata_jsonl=rows(("1.png", "10"), ("2.png", "9th")))
    assert words.class_names == ("10", "9th")


def test_minus_one_is_no_class_and_a_split_may_have_none():
    none = rows(("1.png", -1), ("2.png", "-1"))
    assert listed("1.png", "2.png", metadata_jsonl=none).class_names == ()
    contents = {
        "train/metadata_csv": "file_name,label\n1.png,dog\n",
        "test/metadata_csv": "file_name\n2.png\n",
    }
    train, test = (listed("train/1.png", "test/2.png", split=each, **contents) for each in ("train", "test"))
    assert (train.class_names, train.labels.tolist()) == (("dog",), [0])
    assert (test.class_names, test.labels.tolist()) == ((), [NULL])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (rows(("1.png", "a")), r"there is no label for 2.png in there \(1 images have none\)"),
        (rows(("1.png", "a"), ("2.png", None)), "no label for 2.png"),
        (rows(("1.png", "a"), ("2.png", -1)), "no label for 2.png"),
        (rows(("1.png", "a"), ("1.png", "b"), ("2.png", "b")), "1.png has two labels in there: a and b"),
        (rows(("1.png", 10**30), ("2.png", 0)), "labels of there are too large"),
        (json.dumps({"image": "1.png", "label": "a"}), "has a column 'label' but none called 'file_name'"),
        (rows(("1.png", "a"), ("2.png", float("nan"))), "must be a name or a number, not nan"),
        (rows(("1.png", "a"), ("2.png", 0.5)), "label of 2.png in there must be a name or a number, not 0.5"),
        (rows(("1.png", "a")) + "{oops\n", "line 2 of metadata.jsonl of there is not JSON"),
    ],
)
def test_metadata_that_cannot_be_used(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        listed("1.png", "2.png", metadata_jsonl=text)


def test_no_split_means_all():
    assert len(listed(*DIVIDED, split=None).names) == 4


def test_a_set_of_one_split_is_still_divided():
    with pytest.raises(ValueError, match=r"no split 'test' in there; it has train"):
        listed("train/cat/1.png", "train/dog/1.png", split="test")


def test_splits_without_classes():
    source = listed("train/1.png", "test/2.png", split="test")
    assert by_name(source) == {"test/2.png": NULL}


def test_a_split_of_an_undivided_set_is_refused():
    with pytest.raises(ValueError, match=r"no split 'test' in there, which is not divided"):
        listed("cat/1.png", "dog/2.png", split="test")


def test_a_class_may_be_called_train():
    assert listed("train/1.png", "ship/2.png").class_names == ("ship", "train")


def test_one_split_among_class_folders_is_a_class_whatever_it_is_called(caplog):
    assert listed("train/1.png", "bus/2.png", "car/a/3.png").class_names == ("bus", "car", "train")
    assert listed("train/a/1.png", "bus/2.png").class_names == ("bus", "train")
    assert not caplog.text


def test_what_lies_beside_several_splits_is_left_out(caplog):
    names = ("set/train/0/1.png", "set/train/9/2.png", "set/test/9/3.png")
    odd = ("set/docs/a/preview.png", "set/docs/b.png", "set/sheet.png")
    train, test = (listed(*names, *odd, split=split) for split in ("train", "test"))
    assert by_name(train) == {"set/train/0/1.png": 0, "set/train/9/2.png": 1}
    assert by_name(test) == {"set/test/9/3.png": 1}
    assert train.class_names == test.class_names == ("0", "9")
    assert train.splits == {"train", "test"}
    said = "left out of there: 1 loose image, docs (2 images), beside its splits (test, train)"
    assert caplog.messages == [said, said]
    assert train.keys == listed(*names).keys


def test_labels_of_a_table_do_not_make_splits_classes():
    table = "file_name,label\ntrain/1.png,a\ntest/2.png,b\nextra/3.png,b\n"
    source = listed("train/1.png", "test/2.png", "extra/3.png", metadata_csv=table)
    assert (by_name(source), source.class_names) == ({"train/1.png": 0}, ("a", "b"))
    table = "file_name,label\ntrain/a/1.png,x\ntrain/b/2.png,y\nextra/3.png,y\n"
    source = listed("train/a/1.png", "train/b/2.png", "extra/3.png", metadata_csv=table)
    assert source.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("train/0/1.png", "train/9/2.png", "docs/3.png", "docs/4.png"),
            r"train in there has class folders in it, and beside it lies docs \(2 images\): move that away",
        ),
        (
            ("cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "docs/4.png", "5.png"),
            r"folders such as cat are divided into test, train, .* not: 1 loose image, docs \(1 image\); move",
        ),
    ],
)
def test_sets_that_may_be_divided_or_not_are_refused(names, sentence):
    with pytest.raises(ValueError, match=sentence):
        listed(*names)


def test_dev_is_for_validation():
    assert by_name(listed("train/1.png", "dev/2.png", split="validation")) == {"dev/2.png": NULL}


def test_an_image_beside_class_folders_is_named():
    with pytest.raises(ValueError, match=r"preview.png in there has no class"):
        listed("cat/1.png", "dog/2.png", "preview.png")


def test_hidden_files_are_ignored():
    assert listed("a/1.png", "b/1.png", "a/._1.png", ".thumbs/1.png", "__MACOSX/a/1.png").names == [
        "a/1.png",
        "b/1.png",
    ]


def test_the_endings_are_those_of_formats_that_pillow_reads():
    formats = Image.registered_extensions()
    absent = {"AVIF", "JPEG2000", "WEBP"} - Image.OPEN.keys()  # these need libraries
    assert {suffix for suffix in SUFFIXES if formats[suffix] not in Image.OPEN} == {
        suffix for suffix in SUFFIXES if formats[suffix] in absent
    }
    assert not set(SUFFIXES) & set(FOREIGN)


def test_images_of_other_formats_are_counted(caplog):
    assert listed("a.png", "b.HEIC", "c.svg", "d.svg", "e.txt", "._f.heic").names == ["a.png"]
    assert "left out of there: 3 of a format that cannot be read (.heic, .svg)" in caplog.text
    with pytest.raises(ValueError, match=r"in there but 1 of a format that cannot be read \(.heic\)"):
        listed("b.heic", "e.txt")


def test_nothing_to_see():
    with pytest.raises(ValueError, match="there is no image in there"):
        listed("a/readme.txt")


def test_dataset_json_replaces_the_folders():
    labels = json.dumps({"labels": [["00/1.png", 2], ["00\\2.png", 0], ["gone.png", 9]]})
    source = listed("00/1.png", "00/2.png", dataset_json=labels)
    assert by_name(source) == {"00/1.png": 2, "00/2.png": 0}
    assert source.class_names == ("0", "1", "2")


def test_dataset_json_in_a_leading_folder():
    files = {"set/dataset.json": b'{"labels": [["a/1.png", 1]]}', "set/classes.txt": b"cat\ndog\n"}
    sizes = {name: len(text) for name, text in files.items()} | {"set/a/1.png": 1}
    source = arrange(Files(sizes=sizes, read=files.__getitem__), split="train", where="there")
    assert by_name(source) == {"set/a/1.png": 1}
    assert source.class_names == ("cat", "dog")


def test_dataset_json_without_labels_is_a_set_without_classes():
    source = listed("0/1.png", "1/2.png", dataset_json='{"labels": null}')
    assert source.labels.tolist() == [NULL, NULL]
    assert source.class_names == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"labels": [["1.png", 0]]}', "has no label for 2.png"),
        ('{"labels": [["1.png", 0], ["2.png", -1]]}', "must not be negative"),
        (
            '{"labels": [["1.png", 0], ["2.png", 1000000000]]}',
            "go up to 1000000000, which is no number of a class",
        ),
        ('{"labels": [["1.png", 0], ["2.png", [0.5]]]}', r'must be {"labels"'),
        ('{"labels": [["1.png", 0], ["2.png", true]]}', r'must be {"labels"'),
        ("[]", r'must be {"labels"'),
        ("{", "is not JSON"),
    ],
)
def test_a_bad_dataset_json_is_explained(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        listed("1.png", "2.png", dataset_json=text)


def test_classes_of_the_same_name_are_numbered():
    labels = '{"labels": [["1.png", 0], ["2.png", 2]]}'
    source = listed("1.png", "2.png", dataset_json=labels, classes_txt="crane\nant\ncrane\n")
    assert source.class_names == ("crane", "ant", "crane (2)")
    assert places_among(("crane", "ant", "crane"), source.class_names) == [0, 1, 2]
    source = sampled("1.png,1,0,crane\n2.png,2,2,crane\n", "1.png", "2.png")
    assert source.class_names == ("crane", "crane (2)")


def test_too_few_names_in_classes_txt():
    with pytest.raises(ValueError, match=r"go up to 1, but there are names for only 1"):
        listed("1.png", dataset_json='{"labels": [["1.png", 1]]}', classes_txt="cat\n")


LIST = "file,seed,label,class\n"


def sampled(text, *names):
    return listed(*names, labels_csv=LIST + text)


def test_a_folder_of_samples_is_what_its_list_names():
    source = sampled('2.png,2,7,"coat, long"\n0.png,0,3,bag\n', "0.png", "1.png", "2.png", "grid.png")
    assert by_name(source) == {"0.png": 0, "2.png": 1}
    assert source.class_names == ("bag", "coat, long")


def test_samples_without_classes():
    source = sampled("0.png,0,-1,\n1.png,1,-1,\n", "0.png", "1.png", "grid.png")
    assert by_name(source) == {"0.png": NULL, "1.png": NULL}
    assert source.class_names == ()


def test_a_class_without_a_name_is_called_by_its_number():
    assert sampled("0.png,0,1,\n1.png,1,0,bag\n", "0.png", "1.png").class_names == ("bag", "1")


def test_a_list_in_a_leading_folder_and_one_of_many():
    texts = {f"{place}/labels.csv": (LIST + "1.png,1,0,cat\n").encode() for place in ("a", "b")}
    sizes = {name: len(text) for name, text in texts.items()} | {"a/1.png": 1, "a/grid.png": 1}
    alone = arrange(Files(sizes=sizes, read=texts.get), split=None, where="there")
    assert alone.names == ["a/1.png"]
    assert alone.class_names == ("cat",)
    both = arrange(Files(sizes=sizes | {"b/1.png": 1}, read=texts.get), split=None, where="there")
    assert both.class_names == ("a", "b")


def test_a_list_with_other_columns_is_not_read():
    source = listed("0.png", "grid.png", labels_csv="file,label\n0.png,0\n")
    assert source.names == ["0.png", "grid.png"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1.png,1,0,bag\n2.png,2,0,bag\n", r"names 1.png, which is not there \(2 images are missing\)"),
        ("0.png,0,bag,0\n", "a line of labels.csv of there is not as simflow sample writes it"),
        ("0.png,0\n", "is not as simflow sample writes it"),
        ("", "labels.csv of there names no image"),
    ],
)
def test_a_bad_list_is_explained(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        sampled(text, "0.png")
