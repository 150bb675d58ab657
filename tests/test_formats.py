"Text, JSON and CSV files: what is read, and the line of what is not."

import json
import pytest
from imcap_fastai.core import CaptionError
from imcap_fastai.data.formats import read_json_lists, read_records, text_lines
from imcap_fastai.data.table import Faults


@pytest.fixture
def write(tmp_path):
    "A function that writes text, bytes or JSON into a file and gives its path"

    def write(name, content):
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write


def test_lines_and_their_numbers(write):
    path = write('l.txt', b'\xef\xbb\xbfone\r\n\r\ntwo')
    assert list(text_lines(path)) == [(f'{path}:1', 'one'), (f'{path}:3', 'two')]


def test_lines_that_are_no_text(write, tmp_path):
    with pytest.raises(CaptionError, match='l.txt:2: not UTF-8'):
        list(text_lines(write('l.txt', b'a\n\xff\n')))
    with pytest.raises(CaptionError, match='there is no file'):
        list(text_lines(tmp_path / 'no.txt'))


def test_json_lists(write):
    assert read_json_lists(write('a.json', {'images': [], 'x': 1}), 'images')['x'] == 1


@pytest.mark.parametrize(
    'content, message',
    [
        (
            '{"images":\n [1, 2',
            r"b.json:2: not JSON \(Expecting ',' delimiter, column 7\); expected an object",
        ),
        ({'images': {}}, "there is no list 'images'"),
        ([1], "there is no list 'images'"),
        (b'{\n"a":\n"\xff"}', 'b.json:3: not UTF-8'),
    ],
)
def test_json_of_another_kind(write, content, message):
    with pytest.raises(CaptionError, match=message):
        read_json_lists(write('b.json', content), 'images', 'annotations')


def test_json_that_is_not_there(tmp_path):
    with pytest.raises(CaptionError, match='there is no file'):
        read_json_lists(tmp_path / 'no.json', 'images')


def test_a_csv_file_with_faults(write):
    text = 'image,caption\na.jpg,"one,\ntwo"\nb.jpg,one, two\nc.jpg,a "dog"\nd.jpg,"a dog\ne.jpg,a cat\n'
    path, faults = write('r.csv', text), Faults('t')
    assert list(read_records(path, faults)) == [
        (f'{path}:2', {'image': 'a.jpg', 'caption': 'one,\ntwo'}),
        (f'{path}:5', {'image': 'c.jpg', 'caption': 'a "dog"'}),
    ]
    fields, quote = faults.kinds['malformed line']
    assert 'r.csv:4: 3 fields, and the header has 2' in fields
    assert 'r.csv:6: unexpected end of data' in quote


@pytest.mark.parametrize(
    'name, content, want',
    [
        ('r.txt', 'image\tcaption\na.jpg\tone, two\n', {'image': 'a.jpg', 'caption': 'one, two'}),
        ('r.json', [{'image': 1}], {'image': 1}),
        ('r.jsonl', '\n{"image": 1}\n', {'image': 1}),
    ],
)
def test_records(write, name, content, want):
    assert [record for _, record in read_records(write(name, content), Faults('t'))] == [want]


def test_a_json_list_names_its_items(write):
    path = write('r.json', [{'image': 1}])
    assert list(read_records(path, Faults('t'))) == [(f'{path}: item 0', {'image': 1})]


def test_json_lines_with_faults(write):
    faults = Faults('t')
    path = write('r.jsonl', '{"a": 1}\n{"a": \n[]\n{"a": 2}\n')
    assert len(list(read_records(path, faults))) == 2
    broken, no_object = faults.kinds['malformed line']
    assert 'r.jsonl:2: not JSON' in broken
    assert 'r.jsonl:3: expected an object, found []' in no_object
