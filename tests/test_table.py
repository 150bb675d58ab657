"The tidy table: what the check finds, one case at a time; samples and random splits."

import warnings
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image
from imcap_fastai.core import CaptionError
from imcap_fastai.data.table import (
    SPLITS,
    Faults,
    TableColumns,
    TableOptions,
    as_frame,
    check_refs,
    check_table,
    df_table,
    finish_table,
    image_fault,
    image_faults,
    image_key,
    image_text,
    located,
    random_split,
    sample_fraction,
    tidy_table,
)


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype='uint8'))


@pytest.fixture
def files(tmp_path, photo):
    "Six photographs, and files that are none"
    for i in range(6):
        photo.save(tmp_path / f'{i}.jpg')
    photo.save(tmp_path / 'a.png')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'text.jpg').write_text('This is not a picture.')
    (tmp_path / 'cut.jpg').write_bytes((tmp_path / '0.jpg').read_bytes()[:1500])
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'a.png').read_bytes()[:1500])
    return tmp_path


def table(files, names=None, **columns):
    "Six rows, four of them to train with"
    names = names or [f'{i}.jpg' for i in range(6)]
    given = dict(
        image=[str(files / name) for name in names],
        captions=[[f'a dog {i}', ' a cat '] for i in range(6)],
        split=['train'] * 4 + ['valid'] * 2,
    )
    return pd.DataFrame({**given, **columns})


def message_of(df, **kwargs):
    with pytest.raises(CaptionError) as e:
        check_table(df, **kwargs)
    return str(e.value)


def warnings_of(function, *args, **kwargs):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        function(*args, **kwargs)
    return [str(o.message) for o in told]


# ---- image files


@pytest.mark.parametrize('name', ['0.jpg', 'a.png'])
def test_good_files(files, name):
    assert image_fault(files / name) is None


@pytest.mark.parametrize('decode', [True, False])
@pytest.mark.parametrize(
    'name, message', [('none.jpg', 'does not exist'), ('', 'is a folder'), ('empty.jpg', '0 bytes')]
)
def test_files_that_need_no_decoding(files, name, message, decode):
    assert message in image_fault(str(files / name), decode)


@pytest.mark.parametrize(
    'name, message', [('text.jpg', 'not an image'), ('cut.jpg', 'cut short'), ('cut.png', 'cut short')]
)
def test_files_that_only_decoding_finds(files, name, message):
    assert message in image_fault(files / name)
    assert image_fault(files / name, decode=False) is None


def test_a_changed_file_is_checked_again(files):
    path = files / '0.jpg'
    assert image_fault(path) is None
    path.write_bytes((files / 'cut.jpg').read_bytes())
    assert 'cut short' in image_fault(path)


@pytest.mark.parametrize('decode, want', [(True, [False, True, True]), (False, [False, False, True])])
def test_many_files(files, decode, want):
    paths = [files / name for name in ('0.jpg', 'cut.jpg', 'none.jpg')]
    assert [bool(fault) for fault in image_faults(paths, decode)] == want


# ---- images and columns


@pytest.mark.parametrize('name', ['0.jpg', Path('0.jpg'), '.\\0.jpg', 'C:\\Users\\me\\pictures\\0.jpg'])
def test_located(files, name):
    assert located(name, files) == str(files / '0.jpg')


def test_located_without_a_file(files, photo):
    assert located('train\\no.jpg', files) == str(files / 'train' / 'no.jpg')
    assert located(photo, files) is photo
    assert located({'bytes': b'abc', 'path': None}, files) == b'abc'


def test_image_key(photo):
    assert image_key(photo) == image_key(photo.copy())
    assert image_key(photo) != image_key(photo.rotate(180))


def test_image_text(photo):
    assert [image_text(image) for image in ('a.jpg', photo, np.zeros((2, 3)), b'ab')] == [
        'a.jpg',
        '<PIL image of 60×40 pixels>',
        '<array (2, 3)>',
        '<image of 2 bytes>',
    ]


@pytest.mark.parametrize(
    'columns, row, want',
    [
        (TableColumns(), ['file_name', 'text'], ('file_name', ['text'], None)),
        (
            TableColumns(),
            ['Image', 'caption_0', 'caption_1', 'Split'],
            ('Image', ['caption_0', 'caption_1'], 'Split'),
        ),
        (TableColumns('img', 'label'), ['image', 'text'], (None, [], None)),
    ],
)
def test_columns(columns, row, want):
    assert columns.find(row) == want


def test_a_dict_of_splits_is_a_table(photo):
    rows = [dict(image='a.jpg', caption='A dog')]
    df = tidy_table({'train': rows, 'validation': [dict(image=photo, caption=['A cat'])]})
    assert df.split.tolist() == ['train', 'valid']


def test_rows_that_are_no_dicts():
    with pytest.raises(CaptionError, match='row 0 of the table is of type str'):
        tidy_table(['a.jpg'])


def test_a_frame_is_not_copied():
    df = pd.DataFrame(dict(image=['a.jpg']))
    assert as_frame(df) is df


# ---- the check


def test_few_faults_of_each_kind_are_listed():
    faults = Faults('my data', max_report=2)
    faults.check()
    for i in range(3):
        faults.add('missing', f'{i}.jpg')
    with pytest.raises(CaptionError) as e:
        faults.check()
    assert str(e.value) == 'my data: 3 faults\nmissing (3):\n  0.jpg\n  1.jpg\n  … and 1 more'


def test_a_good_table(files):
    df = check_table(table(files, extra=range(6)))
    assert df.captions[0] == ['a dog 0', 'a cat']
    assert list(df.columns) == ['image', 'captions', 'split', 'extra']


@pytest.mark.parametrize(
    'part',
    [
        'list.txt:2',
        "Did you mean 'train'?",
        'image without a caption (1)',
        'empty caption',
        'is not a list of texts',
        'caption is not text',
        'missing image',
        'is not an image',
        'cut short',
        '0 bytes',
        'image in two splits',
        'list.txt:6',
    ],
)
def test_all_faults_come_in_one_message(files, part):
    df = table(
        files,
        ['0.jpg', 'none.jpg', 'empty.jpg', 'text.jpg', 'cut.jpg', '0.jpg'],
        captions=[['a dog'], [], ['a', ' '], 5, ['a', None], ['a']],
        where=[f'list.txt:{i + 1}' for i in range(6)],
    )
    df.loc[2, 'split'] = 'trian'
    assert part in message_of(df)


BAD = {
    'no training rows': (lambda df: df.assign(split='valid'), ['no training rows']),
    'no rows': (lambda df: df[:0], ['empty table']),
    'no column': (
        lambda df: df.drop(columns='split'),
        ["missing column", "'split'. The table has: image, captions"],
    ),
    'no columns': (lambda df: pd.DataFrame(), ["'image'. The table has: none", 'empty table']),
    'image twice': (
        lambda df: pd.concat([df, df[:1]]),
        ['image given twice (1)', '(train), and before it row 0'],
    ),
    'no image': (
        lambda df: df.assign(image=[None, float('nan'), '', *df.image[:3]]),
        ["'image' is not a path and not an image (3)"],
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_tables(files, case):
    change, parts = BAD[case]
    said = message_of(change(table(files)))
    assert all(part in said for part in parts), said


def test_long_lists_of_faults_are_cut(files):
    said = message_of(table(files, [f'no{i}.jpg' for i in range(6)]), max_report=2)
    assert 'missing image (6)' in said and '… and 4 more' in said


def test_how_to_look_at_images(files):
    assert "give 'full', 'exists' or False" in message_of(table(files), images='all')
    df = table(files, ['cut.jpg', 'none.jpg', '2.jpg', '3.jpg', '4.jpg', '5.jpg'])
    assert 'cut' not in message_of(df, images='exists').replace(str(files), '')
    check_table(df, images=False)


def test_repeated_captions_are_mentioned_once_a_table(files):
    df = table(files, captions=[['a', 'a']] * 6)
    told = warnings_of(check_table, df, images=False)
    assert len(told) == 1 and '6 of 6 images have the same caption more than once' in told[0]
    again = check_table(df, images=False)
    parts = [df, again, again[again.split == 'train'], again.reset_index(drop=True).copy()]
    assert [warnings_of(check_table, part, images=False) for part in parts] == [[]] * 4
    another = table(files, captions=[['a', 'a']] * 6)
    assert len(warnings_of(check_table, another, images=False)) == 1


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda df: df.drop(columns='captions'), "no column 'captions'. It has: image, split"),
        (lambda df: df[:0], 'there is nothing to score'),
        (lambda df: df.assign(captions='A dog'), "row 0: captions must be a list .* not 'A dog'"),
        (lambda df: df.assign(captions=[[]] * 6), 'row 0: captions must be a list'),
        (lambda df: df.assign(captions=[['a', ' ']] * 6), 'row 5: captions must be a list'),
        (lambda df: df.assign(image='none.jpg'), 'row 0: none.jpg does not exist'),
        (lambda df: pd.concat([df.assign(captions=5)] * 2), 'and 2 more'),
    ],
)
def test_tables_that_cannot_be_scored(files, change, message):
    with pytest.raises(CaptionError, match=message):
        check_refs(change(table(files)))


def test_a_table_to_score_needs_no_splits(files):
    check_refs(table(files).drop(columns='split'))


# ---- a part of the data


@pytest.fixture
def big():
    return pd.DataFrame(
        dict(image=[f'/x/{i}.jpg' for i in range(300)], split=['train'] * 200 + ['valid'] * 100)
    )


def test_sample_fraction(big):
    tenth, fifth = sample_fraction(big, 0.1), sample_fraction(big, 0.2)
    assert tenth.split.value_counts().to_dict() == {'train': 20, 'valid': 10}
    assert set(tenth.image) < set(fifth.image)
    assert set(sample_fraction(big, 0.1, seed=1).image) != set(tenth.image)
    assert tenth.image.tolist() == [image for image in big.image if image in set(tenth.image)]
    assert sample_fraction(big, 1.0).equals(big)
    assert len(sample_fraction(big, 1e-9)) == 2


def test_a_sample_depends_on_file_names_only(big):
    elsewhere = big.assign(image=big.image.str.replace('/x', '/y'))[::-1]
    names = set(sample_fraction(big, 0.1).image.str[3:])
    assert set(sample_fraction(elsewhere, 0.1).image.str[3:]) == names


@pytest.mark.parametrize('fraction', [0, -1, 1.5, 'all', float('nan')])
def test_fractions_that_are_none(big, fraction):
    with pytest.raises(CaptionError, match='at most 1'):
        sample_fraction(big, fraction)


def test_random_split():
    names = [f'/x/{i}.jpg' for i in range(100)]
    splits = random_split(names, 0.1, 0.2, 42)
    assert [splits.count(split) for split in SPLITS] == [70, 10, 20]
    assert random_split([name.replace('/x', '/y') for name in names[::-1]], 0.1, 0.2, 42) == splits[::-1]
    assert random_split(names, 0.1, 0.2, 1) != splits
    without_test = random_split(names, 0.1, 0.0, 42)
    assert [split == 'valid' for split in without_test] == [split == 'valid' for split in splits]


@pytest.mark.parametrize(
    'valid_pct, test_pct', [(0, 0), (10, 0), (1.0, 0), (0.5, 0.5), (0.1, -0.1), ('.1', 0), (True, 0)]
)
def test_shares_that_are_none(valid_pct, test_pct):
    with pytest.raises(CaptionError, match='between 0 and 1'):
        random_split(['a.jpg', 'b.jpg'], valid_pct, test_pct, 42)


# ---- from rows to the table


def rows(files, split=None, **more):
    return [
        dict(image=str(files / f'{i}.jpg'), captions=['a dog'], split=split, where=f'l:{i}', **more)
        for i in range(6)
    ]


def test_rows_without_splits_are_divided(files):
    df = finish_table(rows(files, url='u'), Faults('mine'), TableOptions(valid_pct=0.5))
    assert list(df.columns) == ['image', 'captions', 'split', 'where', 'url']
    assert df.attrs['source'] == 'mine' and (df.split == 'valid').sum() == 3


def test_a_sample_keeps_the_source(files):
    df = finish_table(rows(files, 'train'), Faults('mine'), TableOptions(fraction=0.5, check=False))
    assert df.attrs['source'] == 'mine' and len(df) == 3


def test_rows_with_splits_are_not_divided(files):
    options = TableOptions(valid_pct=0.5, check=False)
    told = warnings_of(finish_table, rows(files, 'train'), Faults('mine'), options)
    assert 'mine has its own splits: valid_pct and test_pct are not used' in told


def test_rows_without_splits_need_a_share(files):
    with pytest.raises(CaptionError, match='a tenth of the images, or a list'):
        finish_table(rows(files), Faults('mine'), hint=', or a list')


# ---- a table of one's own


@pytest.fixture
def mine():
    return pd.DataFrame(
        {'file': ['0.jpg', '0.jpg', '1.jpg'], 'text': ['A dog', ' wet ', 'A cat'], 'who': [1, 2, 3]},
        index=[7, 8, 9],
    )


def test_df_table(files, mine):
    df = df_table(mine, 'file', 'text', images=files, valid_pct=0.5)
    assert df.captions.tolist() == [['A dog', 'wet'], ['A cat']]
    assert df['where'].tolist() == ['row 7', 'row 9'] and df.who.tolist() == [1, 3]
    for same in (df, df.assign(captions=[np.array(captions) for captions in df.captions])):
        pd.testing.assert_frame_equal(df_table(same), df)


@pytest.mark.parametrize(
    'arguments, message',
    [(('file', 'label'), "row 7: no column 'label'"), (('file', 'text'), 'the DataFrame has no splits')],
)
def test_df_table_asked_wrongly(files, mine, arguments, message):
    with pytest.raises(CaptionError, match=message):
        df_table(mine, *arguments, images=files)


@pytest.mark.parametrize('part', ['empty caption (1)', 'row 8', 'no image name (1)', 'row 9'])
def test_df_table_with_holes(files, mine, part):
    mine.loc[8, 'text'] = mine.loc[9, 'file'] = None
    with pytest.raises(CaptionError) as e:
        df_table(mine, 'file', 'text', images=files, valid_pct=0.5)
    assert part in str(e.value)


def test_df_table_without_rows():
    with pytest.raises(CaptionError, match='empty table'):
        df_table(pd.DataFrame({'image': [], 'caption': []}))
