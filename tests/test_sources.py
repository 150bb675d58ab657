"Every layout of a data set: read from small imitations, and with each fault that copies of them have."

import io, json, warnings
from contextlib import redirect_stdout
from unittest import mock
import numpy as np, pandas as pd, pytest
from PIL import Image
from imcap_fastai.core import CaptionError
from imcap_fastai.data.sources import (
    SPLITS,
    coco,
    csv_table,
    flickr8k,
    flickr30k,
    folder_table,
    karpathy,
    read_table,
)

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype='uint8'))


class Folder:
    "A folder to lay out a data set in"

    def __init__(self, path):
        self.path = path

    def text(self, name, content):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def photos(self, *names):
        for name in names:
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            PHOTO.save(file)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def told_by(function, *args, **kwargs):
    "What a reader returns, and its warnings"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        out = function(*args, **kwargs)
    return out, [str(o.message) for o in told]


def quietly(function, *args, **kwargs):
    return told_by(function, *args, **kwargs)[0]


def message_of(function, *args, **kwargs):
    with pytest.raises(CaptionError) as e:
        quietly(function, *args, **kwargs)
    return str(e.value)


def test_old_names_are_still_here():
    "Names that lived in this module before the table had one of its own"
    from imcap_fastai.data import sources, table

    for name in (
        'SPLITS',
        'as_frame',
        'check_table',
        'df_table',
        'image_fault',
        'sample_fraction',
        'split_name',
        'tidy_table',
    ):
        assert getattr(sources, name) is getattr(table, name)
    assert sources.open_image and sources.image_list and sources.images_below


# ---- files of one's own


@pytest.fixture
def own(folder):
    folder.photos(*(f'{i}.jpg' for i in range(4)))
    return folder


def test_csv(own):
    path = own.text(
        'caps.csv',
        'image,caption,split\n0.jpg,"A dog, running",train\n1.jpg,null,valid\n0.jpg,A wet dog,train\n',
    )
    df = csv_table(path)
    assert df.captions.tolist() == [['A dog, running', 'A wet dog'], ['null']]
    assert df.split.tolist() == ['train', 'valid'] and df['where'][1] == f'{path}:3'


def test_json_lines(own):
    path = own.text(
        'caps.jsonl',
        '{"file": "0.jpg", "text": ["A dog", "A wet dog"], "url": "u"}\n'
        '{"file": "1.jpg", "text": "A cat", "url": "v"}\n',
    )
    df = csv_table(path, image_col='file', caption_col='text', valid_pct=0.5)
    assert df.captions.tolist() == [['A dog', 'A wet dog'], ['A cat']] and df.url.tolist() == ['u', 'v']


@pytest.fixture
def hundred(folder):
    return folder.text('many.csv', 'image,caption\n' + ''.join(f'{i}.jpg,A dog\n' for i in range(100)))


def test_csv_without_splits(hundred):
    tenth = csv_table(hundred, valid_pct=0.1, check=False)
    assert tenth.split.value_counts().to_dict() == {'train': 90, 'valid': 10}
    pd.testing.assert_frame_equal(csv_table(hundred, valid_pct=0.1, check=False), tenth)
    half = csv_table(hundred, valid_pct=0.1, test_pct=0.2, fraction=0.5, check=False)
    assert half.split.value_counts().to_dict() == {'train': 35, 'valid': 5, 'test': 10}


@pytest.mark.parametrize(
    'options, message',
    [
        ({}, 'give valid_pct'),
        (dict(valid_pct=10), 'between 0 and 1'),
        (dict(image_col='img', valid_pct=0.1), "Did you mean 'image'?"),
    ],
)
def test_csv_asked_wrongly(hundred, options, message):
    assert message in message_of(csv_table, hundred, **options)


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('e.csv', 'image,caption\n', 'empty table'),
        ('e.csv', '', 'empty table'),
        ('b.jsonl', '{"image": 1}\n[]\n', "b.jsonl:1: no column 'caption'"),
        (
            'b.jsonl',
            '{"image": "0.jpg", "caption": "a", "split": "train"}\n{"image": "1.jpg", "caption": "a"}\n',
            'b.jsonl:2: ',
        ),
    ],
)
def test_malformed_tables(own, name, text, message):
    assert message in message_of(csv_table, own.text(name, text))


def test_no_table(folder):
    assert 'there is no file' in message_of(csv_table, folder.path / 'no.csv')


@pytest.mark.parametrize(
    'part',
    [
        'bad.csv:3: ',
        'image in two splits',
        'bad.csv:4: ',
        'empty caption',
        'bad.csv:5: ',
        "'dve'. Valid: test, train, valid",
        'bad.csv:6: ',
        'missing image',
        'bad.csv:7: 4 fields',
        'no image name (1)',
        'bad.csv:8',
    ],
)
def test_a_csv_file_with_many_faults(own, part):
    path = own.text(
        'bad.csv',
        'image,caption,split\n0.jpg,A dog,train\n0.jpg,A wet dog,valid\n1.jpg,,train\n2.jpg,A dog,dve\n'
        'no.jpg,A dog,train\n3.jpg,A, dog,train\n,a,train\n',
    )
    assert part in message_of(csv_table, path)


# ---- images with text beside them


def sidecars(folder, *names):
    "Images with a text file each"
    for name in names:
        folder.text(f'{name}.txt', f'A dog {name[-1]}\n\n The "wet" dog, running \n')
        folder.photos(f'{name}.jpg')
    return folder.path


def test_folders_of_splits(folder):
    names = ('train/a', 'train/in/b', 'valid/c')
    path = sidecars(folder, *names)
    df = folder_table(path)
    assert df.image.tolist() == [str(path / f'{name}.jpg') for name in names]
    assert df.captions[0] == ['A dog a', 'The "wet" dog, running']
    assert df.split.tolist() == ['train', 'train', 'valid']
    assert df['where'][2] == str(path / 'valid' / 'c.txt')


def test_a_folder_without_splits(folder):
    path = sidecars(folder, *'abcd')
    assert folder_table(path, valid_pct=0.25).split.value_counts().to_dict() == {'train': 3, 'valid': 1}
    assert 'put the images into folders' in message_of(folder_table, path)
    assert 'there is no folder' in message_of(folder_table, path / 'nowhere')


@pytest.mark.parametrize(
    'part',
    [
        'without an image beside it (move',
        'train/c.txt',
        'image without a caption (2)',
        'valid/b.txt: ',
        'a.txt:2: not UTF-8',
        'outside of the folders',
        'other/d.jpg',
    ],
)
def test_a_folder_with_many_faults(folder, part):
    path = sidecars(folder, 'train/a', 'valid/b', 'train/c', 'other/d')
    (path / 'train' / 'c.jpg').unlink()
    (path / 'valid' / 'b.txt').unlink()
    (path / 'train' / 'a.txt').write_bytes(b'ok\n\xff')
    assert part in message_of(folder_table, path)


# ---- Flickr8k

TOKENS = ''.join(f'{i}.jpg#{k}\tA dog number {i} , {k} .\n' for i in range(8) for k in range(5))
LISTS_8K = ('Flickr_8k.trainImages', 'Flickr_8k.devImages', 'Flickr_8k.testImages')


def names_in(*numbers):
    return ''.join(f'{i}.jpg\n' for i in numbers)


def make8k(folder, text='Flickr8k_text', images='Flicker8k_Dataset', **files):
    "A small imitation; `files` replaces the contents of text files, or leaves out those that are None"
    folder.photos(*(f'{images}/{i}.jpg' for i in range(8)))
    contents = {
        'Flickr8k.token': TOKENS,
        'Flickr_8k.trainImages': names_in(0, 1, 2, 3),
        'Flickr_8k.devImages': names_in(4, 5),
        'Flickr_8k.testImages': names_in(6, 7),
    }
    for name, content in {**contents, **files}.items():
        if content is not None:
            folder.text(f'{text}/{name}.txt', content)
    return folder.path


def test_flickr8k(folder):
    path = make8k(folder)
    df = flickr8k(path, check='full')
    assert df.split.value_counts().to_dict() == {'train': 4, 'valid': 2, 'test': 2}
    assert df.captions[1] == [f'A dog number 1 , {k} .' for k in range(5)]
    assert df.image[0] == str(path / 'Flicker8k_Dataset' / '0.jpg')
    assert df['where'][4].endswith('Flickr_8k.devImages.txt:1')
    assert len(flickr8k(path, fraction=0.5)) == 4


def test_flickr8k_captions_are_in_the_order_of_their_numbers(folder):
    swapped = TOKENS.replace('0.jpg#0\t', '0.jpg#9\t')
    df = flickr8k(make8k(folder, **{'Flickr8k.token': swapped}))
    assert df.captions[0][-1] == 'A dog number 0 , 0 .'


def test_flickr8k_flat_and_without_its_test_list(folder):
    files = {'Flickr_8k.testImages': None, 'Flickr8k.token': TOKENS + 'x.jpg.1#0\tA dog .\n'}
    df, told = told_by(flickr8k, make8k(folder, '.', 'Images', **files))
    assert len(df) == 6 and len(told) == 1
    for part in (
        'ignored 11 captions of 3 images that are in no split',
        '1 of these images do not exist',
        'token.txt:41: x.jpg.1',
    ):
        assert part in told[0]


@pytest.mark.parametrize(
    'line, message',
    [
        ('1.jpg#1\tagain', 'caption number given twice (1)'),
        ('1.jpg#5 no tab', 'malformed line (expected name.jpg#number, a tab, the caption) (1)'),
        ('1.jpg\tno number', 'malformed line (expected name.jpg#number, a tab, the caption) (1)'),
        ('1.jpg#x\tno number', 'malformed line (expected name.jpg#number, a tab, the caption) (1)'),
        ('1.jpg#5\t ', 'empty caption (1)'),
    ],
)
def test_flickr8k_malformed_lines(folder, line, message):
    said = message_of(flickr8k, make8k(folder, **{'Flickr8k.token': f'{TOKENS}{line}\n'}))
    assert message in said and 'token.txt:41: ' in said and ': 1 fault\n' in said


@pytest.mark.parametrize(
    'part',
    [
        'token.txt:1: ',
        'malformed line',
        'token.txt:8: 1.jpg#2',
        'trainImages.txt:5: 2.jpg, and before',
        'image given twice (1)',
        'devImages.txt:3: 1.jpg, and before',
        'image in two splits (1)',
        'trainImages.txt:4: ',
        'image without a caption (2)',
        'trainImages.txt:6: ',
        'missing image (1)',
        'devImages.txt:2: ',
        'cut short',
    ],
)
def test_flickr8k_with_many_faults(folder, part):
    tokens = TOKENS.replace('0.jpg#0\t', '0.jpg#0 ')
    tokens = tokens.replace('A dog number 1 , 2 .', ' ').replace('3.jpg', '33.jpg')
    lists = [tokens, names_in(0, 1, 2, 3, 2) + 'none.jpg\n', names_in(4, 5, 1)]
    path = make8k(folder, **dict(zip(('Flickr8k.token', *LISTS_8K), lists)))
    photo = path / 'Flicker8k_Dataset' / '5.jpg'
    photo.write_bytes(photo.read_bytes()[:1500])
    with pytest.raises(CaptionError) as e, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        flickr8k(path, check='full')
    assert part in str(e.value)
    assert len(told) == 1 and 'ignored 5 captions of 1 images that are in no split' in str(told[0].message)
    assert 'token.txt:16: 33.jpg' in str(told[0].message)


@pytest.mark.parametrize(
    'part',
    ['Flickr_8k.trainImages.txt', 'Flickr_8k.devImages.txt', 'a folder of images (Flicker8k_Dataset'],
)
def test_flickr8k_with_files_missing(folder, part):
    path = make8k(folder, images='pics', **{'Flickr_8k.trainImages': None, 'Flickr_8k.devImages': None})
    assert part in message_of(flickr8k, path)


def test_flickr8k_that_is_not_there(folder):
    assert 'there is no folder' in message_of(flickr8k, folder.path / 'nowhere')
    assert 'no training rows' in message_of(flickr8k, make8k(folder, **{'Flickr_8k.trainImages': ''}))


# ---- Flickr8k as on Kaggle


def make_kaggle(folder, lists=None, extra=''):
    lines = ''.join(
        f'{i}.jpg,"A ""big"" dog , number {i} , {k} ."\n{i}.jpg,A cat {i} .\n'
        for i in range(8)
        for k in range(2)
    )
    none = dict.fromkeys(['Flickr8k.token', *LISTS_8K])
    path = make8k(folder, '.', 'Images', **{**none, **(lists or {})})
    folder.text('captions.txt', f'image,caption\n{lines}{extra}')
    return path


def test_kaggle(folder):
    path = make_kaggle(folder)
    df = quietly(flickr8k, path, valid_pct=0.25, test_pct=0.25, check='full')
    cat = 'A cat 1 .'
    assert df.captions[1] == ['A "big" dog , number 1 , 0 .', cat, 'A "big" dog , number 1 , 1 .', cat]
    assert df['where'][1] == f'{path}/captions.txt:6'
    assert df.split.value_counts().to_dict() == {'train': 4, 'valid': 2, 'test': 2}
    assert 'or put Flickr_8k.trainImages.txt' in message_of(flickr8k, path)


def test_kaggle_with_the_original_lists(folder):
    path = make_kaggle(folder, dict(zip(LISTS_8K, (names_in(0, 3), names_in(1)))))
    assert quietly(flickr8k, path).split.tolist() == ['train', 'train', 'valid']


def test_kaggle_with_one_list(folder):
    path = make_kaggle(folder, {'Flickr_8k.trainImages': names_in(0)})
    assert 'lacks Flickr_8k.devImages.txt' in message_of(flickr8k, path)


@pytest.mark.parametrize(
    'line, message',
    [
        ('1.jpg,A dog, wet', 'captions.txt:34: 3 fields'),
        ('no.jpg,A dog', 'missing image (1)'),
        ('1.jpg,', 'empty caption (1)'),
    ],
)
def test_kaggle_malformed_lines(folder, line, message):
    said = message_of(flickr8k, make_kaggle(folder, extra=f'{line}\n'), valid_pct=0.2)
    assert message in said and 'captions.txt:34' in said


def test_kaggle_with_another_header(folder):
    path = make_kaggle(folder)
    (path / 'captions.txt').write_text('img,caption\na.jpg,A dog\n')
    want = 'captions.txt:1: expected the header image,caption, found img,caption'
    assert want in message_of(flickr8k, path, valid_pct=0.2)


# ---- Flickr30k

HEAD = 'image_name| comment_number| comment\n'


def make30k(folder, images='flickr30k_images', file='results.csv', text=None):
    "A small imitation; the last line lacks its second separator, as in every copy"
    folder.photos(*(f'{images}/{i}.jpg' for i in range(6)))
    lines = [f'{i}.jpg| {k}| A "dog" , number {i} , {k} .' for i in range(6) for k in range(5)]
    lines[-1] = lines[-1].replace('| A', '   A')
    folder.text(file, text or HEAD + '\n'.join(lines) + '\n')
    return folder.path


@pytest.mark.parametrize(
    'images, file',
    [
        ('flickr30k_images', 'results.csv'),
        ('flickr30k_images/flickr30k_images', 'flickr30k_images/results.csv'),
    ],
)
def test_flickr30k(folder, images, file):
    path = make30k(folder, images, file)
    df, told = told_by(flickr30k, path, valid_pct=1 / 3, test_pct=1 / 6, check='full')
    assert len(told) == 1 and 'put right 1 line without' in told[0]
    assert 'results.csv:31: 5.jpg, caption 4' in told[0]
    assert df.split.value_counts().to_dict() == {'train': 3, 'valid': 2, 'test': 1}
    assert df.captions[5] == [f'A "dog" , number 5 , {k} .' for k in range(5)]
    assert df.image[0] == str(path / images / '0.jpg') and df['where'][1].endswith('results.csv:7')


def test_flickr30k_of_the_first_release(folder):
    text = ''.join(f'{i}.jpg#{k}\tA dog {k} .\n' for i in range(6) for k in range(5))
    path = make30k(folder, 'flickr30k-images', 'results_20130124.token', text)
    assert flickr30k(path, valid_pct=0.5, fraction=0.34).split.tolist() == ['train', 'valid']
    assert 'karpathy(json, images=…)' in message_of(flickr30k, path)


@pytest.mark.parametrize(
    'line, message',
    [
        ('9.jpg| 0| A dog', 'missing image (1)'),
        ('1.jpg A dog', 'malformed line (expected name.jpg| number| caption) (1)'),
        ('1.jpg| x| A dog', 'malformed line (expected name.jpg| number| caption) (1)'),
        ('| 1| A dog', 'malformed line (expected name.jpg| number| caption) (1)'),
        ('0.jpg| 0| A cat', 'caption number given twice (1)'),
        ('0.jpg| 2|  ', 'empty caption (1)'),
    ],
)
def test_flickr30k_malformed_lines(folder, line, message):
    text = f'{HEAD}0.jpg| 0| A "dog" | wet\n1.jpg| 0| A cat\n{line}\n'
    said = message_of(flickr30k, make30k(folder, text=text), valid_pct=0.5)
    assert message in said and 'results.csv:4: ' in said and ': 1 fault\n' in said


def test_flickr30k_with_another_header(folder):
    path = make30k(folder, text='image,caption\n')
    want = 'results.csv:1: expected the header image_name| comment_number| comment, found'
    assert want in message_of(flickr30k, path, valid_pct=0.5)


def test_flickr30k_that_is_not_there(folder):
    assert 'flickr30k_images/results.csv' in message_of(flickr30k, folder.path, valid_pct=0.1)


# ---- Karpathy's splits

FOUR = ('train', 'restval', 'val', 'test')


def entry(name, split, folder=None):
    sentences = [dict(raw=f'A dog {name} . \n', tokens=['a', 'dog']), dict(raw=f'A "cat" , {name} .')]
    return dict(
        filename=name, split=split, sentences=sentences, **(dict(filepath=folder) if folder else {})
    )


def make_karpathy(folder, under='.'):
    places = [f"{'train' if split == 'train' else 'val'}2014" for split in FOUR]
    folder.photos(*(f'{under}/{place}/{i}.jpg' for i, place in enumerate(places)))
    entries = [entry(f'{i}.jpg', split, place) for i, (split, place) in enumerate(zip(FOUR, places))]
    return folder.text('dataset_coco.json', dict(images=entries))


def test_karpathy(folder):
    path = make_karpathy(folder)
    df = karpathy(path, check='full')
    assert df.split.tolist() == ['train', 'train', 'valid', 'test']
    assert df.image[1] == str(folder.path / 'val2014' / '1.jpg')
    assert df.captions[1] == ['A dog 1.jpg .', 'A "cat" , 1.jpg .']
    assert df['where'][3] == f'{path}: images[3]'


@pytest.mark.parametrize(
    'restval, want', [(None, ['train', 'valid', 'test']), ('test', ['train', 'test', 'valid', 'test'])]
)
def test_karpathy_restval(folder, restval, want):
    assert karpathy(make_karpathy(folder), restval=restval).split.tolist() == want


def test_karpathy_with_images_elsewhere(folder):
    path = make_karpathy(folder, 'there/images')
    df = karpathy(path, images=folder.path / 'there')
    assert df.image[1] == str(folder.path / 'there' / 'images' / 'val2014' / '1.jpg')


def test_karpathy_with_a_folder_in_a_folder(folder):
    entries = [entry(f'{i}.jpg', split) for i, split in enumerate(FOUR)]
    path = folder.text('dataset.json', dict(images=entries))
    make30k(folder, 'flickr30k_images/flickr30k_images')
    assert karpathy(path).image[0] == str(folder.path / 'flickr30k_images' / 'flickr30k_images' / '0.jpg')


def test_karpathy_asked_wrongly(folder):
    assert "Did you mean 'valid'?" in message_of(karpathy, make_karpathy(folder), restval='val')
    path = folder.text('k.json', '{"images": [\n{"filename":')
    assert 'k.json:2: not JSON' in message_of(karpathy, path)


@pytest.mark.parametrize(
    'part',
    [
        'image in two splits',
        'images[1]',
        "'dev'. Valid",
        'missing image (1)',
        "images[4]: KeyError('split')",
        'caption is not text',
        'malformed entry',
        'images[6]',
    ],
)
def test_karpathy_with_many_faults(folder, part):
    folder.photos(*(f'{i}.jpg' for i in range(4)))
    names = ('0.jpg', '1.jpg', 'no.jpg', '2.jpg', '3.jpg')
    splits = dict(zip(names, ('val', 'dev', 'train', 'train', 'train')))
    entries = [entry('0.jpg', 'train'), *(entry(name, split) for name, split in splits.items()), 7]
    del entries[4]['split']
    entries[5]['sentences'] = [{'raw': None}]
    assert part in message_of(karpathy, folder.text('k.json', dict(images=entries)))


# ---- COCO


def make_coco(folder, year=2014, under='', annotations='annotations/'):
    "Five images to train with and two to validate on, with two captions each, in a mixed order"
    for part, number in (('train', 5), ('val', 2)):
        start = f'COCO_{part}{year}_' if year == 2014 else part[0]
        names = [f'{start}{i:012}.jpg' for i in range(number)]
        folder.photos(*(f'{under}{part}{year}/{name}' for name in names))
        images = [dict(id=100 + i, file_name=name, height=40, width=60) for i, name in enumerate(names)]
        captions = [
            dict(id=10 * i + k, image_id=100 + i, caption=f'A dog {name} , {k}.{end}')
            for k, end in enumerate((' \n', ''))
            for i, name in enumerate(names)
        ]
        file = f'{annotations}captions_{part}{year}.json'
        folder.text(file, dict(info={}, images=images, annotations=captions))
    return folder.path


def test_coco(folder):
    path = make_coco(folder)
    said = io.StringIO()
    with redirect_stdout(said):
        df = coco(path, check='full')
    assert said.getvalue() == ''  # pycocotools reports what it does otherwise
    assert df.split.value_counts().to_dict() == {'train': 5, 'valid': 2}
    name = 'COCO_val2014_000000000001.jpg'
    assert df.image[6] == f'{path}/val2014/{name}'
    assert df.captions[6] == [f'A dog {name} , 0.', f'A dog {name} , 1.']
    assert df['where'][6] == f'{path}/annotations/captions_val2014.json: image id 101'
    assert df.attrs['source'] == f'COCO 2014 in {path}'


def test_coco_2017_with_images_elsewhere(folder):
    path = make_coco(folder, 2017, 'images/', '')
    assert coco(path).image[0] == f'{path}/images/train2017/t000000000000.jpg'
    assert len(coco(path, 2017, fraction=0.4)) == 3
    assert coco(path, images=path / 'images').image[0] == f'{path}/images/train2017/t000000000000.jpg'


@pytest.mark.parametrize(
    'years, year, message',
    [
        ([2017], 2015, '2014 and 2017'),
        ([2017], 2014, 'lacks captions_train2014.json, captions_val2014.json (in'),
        ([], None, 'captions_val2014.json; or captions_train2017.json'),
        ([2014, 2017], None, 'say which'),
    ],
)
def test_coco_of_another_year(folder, years, year, message):
    for there in years:
        make_coco(folder, there)
    assert message in message_of(coco, folder.path, year)


def test_coco_that_is_not_there(folder):
    assert 'there is no folder' in message_of(coco, folder.path / 'nowhere')
    path = make_coco(folder)
    with mock.patch.dict('sys.modules', {'pycocotools.coco': None}):
        assert 'pip install pycocotools' in message_of(coco, path)
    file = path / 'annotations' / 'captions_train2014.json'
    file.write_text(file.read_text()[:300])
    assert 'captions_train2014.json:1: not JSON' in message_of(coco, path)


@pytest.mark.parametrize(
    'part',
    [
        'images[0] lacks file_name',
        'annotations[1] lacks caption',
        'captions of an unknown image (2)',
        'image id 555',
        'image id given twice (1)',
        'empty caption (1)',
        'missing image (1)',
        'image id 102',
    ],
)
def test_coco_with_many_faults(folder, part):
    path = make_coco(folder)
    file = path / 'annotations' / 'captions_train2014.json'
    data = json.loads(file.read_text())
    images, captions = data['images'], data['annotations']
    del images[0]['file_name'], captions[1]['caption']
    captions[2]['image_id'] = 555
    captions[4]['caption'] = ' '
    images.append(images[3])
    images[2]['file_name'] = 'no.jpg'
    file.write_text(json.dumps(data))
    assert part in message_of(coco, path)


# ---- any of these

HALF = dict(valid_pct=0.5)
OWN = 'image,caption,split\n0.jpg,A dog,train\n1.jpg,A cat,valid\n'


def make_own(folder, name, text):
    folder.photos('0.jpg', '1.jpg')
    folder.text(name, text)
    return folder.path


JSON_LINES = '{"file": "0.jpg", "said": "A dog"}\n{"file": "1.jpg", "said": "A dog"}\n'
RECOGNISED = {
    'Flickr8k': (make8k, '', {}, 8, 'Flickr8k in'),
    'Kaggle': (make_kaggle, '', HALF, 8, 'Flickr8k in'),
    'Flickr30k': (make30k, '', HALF, 6, 'Flickr30k in'),
    'Flickr30k, by its file': (make30k, 'results.csv', HALF, 6, 'Flickr30k in'),
    'COCO 2014': (make_coco, '', {}, 7, 'COCO 2014 in'),
    'COCO 2017': (
        lambda folder: make_coco(folder, 2017, 'images/', ''),
        '',
        dict(year=2017),
        7,
        'COCO 2017 in',
    ),
    'Karpathy': (lambda folder: make_karpathy(folder).parent, '', {}, 4, 'Karpathy'),
    'Karpathy, by its file': (
        lambda folder: make_karpathy(folder).parent,
        'dataset_coco.json',
        dict(restval=None),
        3,
        'Karpathy',
    ),
    'folders of splits': (
        lambda folder: sidecars(folder, 'train/a', 'train/in/b', 'valid/c'),
        '',
        {},
        3,
        'images in',
    ),
    'a folder': (lambda folder: sidecars(folder, *'abcd'), '', HALF, 4, 'images in'),
    'CSV': (lambda folder: make_own(folder, 'caps.csv', OWN), 'caps.csv', {}, 2, 'caps.csv'),
    'TSV in a folder': (
        lambda folder: make_own(folder, 'my.tsv', OWN.replace(',', '\t')),
        '',
        {},
        2,
        'my.tsv',
    ),
    'results.csv of another kind': (
        lambda folder: make_own(folder, 'results.csv', OWN),
        '',
        {},
        2,
        'results.csv',
    ),
    'JSON lines': (
        lambda folder: make_own(folder, 'a.jsonl', JSON_LINES),
        'a.jsonl',
        dict(valid_pct=0.5, image_col='file', caption_col='said'),
        2,
        'a.jsonl',
    ),
}


@pytest.mark.parametrize('layout', RECOGNISED)
def test_layouts_are_recognised(folder, layout):
    make, name, options, n_rows, source = RECOGNISED[layout]
    df = quietly(read_table, make(folder) / name, **options)
    assert len(df) == n_rows and source in df.attrs['source']
    assert list(df.columns)[:4] == ['image', 'captions', 'split', 'where']
    assert {'train', 'valid'} <= set(df.split) <= set(SPLITS)


def test_a_frame_is_a_source(folder):
    make_own(folder, 'caps.csv', OWN)
    df = pd.read_csv(folder.path / 'caps.csv')
    assert read_table(df, images=folder.path).attrs['source'] == 'the DataFrame'


def test_read_table_takes_a_fraction(folder):
    assert len(read_table(make8k(folder), fraction=0.5)) == 4


@pytest.mark.parametrize(
    'part',
    [
        'no data set was recognised',
        '  Flickr8k: Flickr8k.token.txt, in the folder or in Flickr8k_text',
        "  Karpathy: one dataset_*.json with 'images' and 'sentences'",
        '  COCO: captions_train2014.json or captions_train2017.json, in the folder or in annotations',
        '  Flickr8k (Kaggle): captions.txt, in the folder or in Flickr8k_text, beside Images',
        '  Flickr30k: results.csv, flickr30k_images/results.csv, flickr30k/results.csv, results_2013',
        '  a table: one file *.csv, *.tsv or *.jsonl',
        '  images with text: images with text files of the same names beside them',
        'The folder holds: notes.md',
    ],
)
def test_nothing_known(folder, part):
    folder.text('notes.md', 'hello')
    assert part in message_of(read_table, folder.path)


def test_nothing_at_all(folder):
    assert 'holds: nothing' in message_of(read_table, folder.path)
    assert 'there is no file or folder' in message_of(read_table, folder.path / 'nowhere')


def test_an_annotation_file_of_coco(folder):
    file = make_coco(folder) / 'annotations' / 'captions_val2014.json'
    assert 'give the folder that holds annotations' in message_of(read_table, file)


def test_an_option_that_there_is_not(folder):
    assert "Did you mean 'image_col'?" in message_of(read_table, folder.path, imagecol='a')


def test_options_without_a_meaning_are_mentioned(folder):
    told = told_by(read_table, make_coco(folder), valid_pct=0.1, image_col='a')[1]
    assert len(told) == 1 and 'is read as COCO, where valid_pct, image_col have no meaning' in told[0]


def test_shares_without_a_meaning_are_mentioned(folder):
    told = told_by(read_table, make8k(folder), valid_pct=0.1)[1]
    assert len(told) == 1 and 'has its own splits: valid_pct and test_pct are not used' in told[0]
