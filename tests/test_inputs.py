"""Tables, files, tokenizers and encoders as people have them: each is taken, or refused with one clear
sentence."""

import io, json, pickle, warnings
from functools import partial
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from torch import nn
from torchvision import models as tvm
from fastai.learner import load_learner
from fastai.text.core import BaseTokenizer, Tokenizer, TokenizeWithRules, WordTokenizer
from fastai.vision.all import Resize, ResizeMethod
from imcap_fastai.core import CaptionError, did_you_mean
from imcap_fastai.data.block import CaptionDataLoaders, numericalizer
from imcap_fastai.data.describe import describe
from imcap_fastai.data.sources import (
    as_frame,
    check_table,
    csv_table,
    folder_table,
    read_table,
    split_name,
    tidy_table,
)
from imcap_fastai.captioner import export_captioner
from imcap_fastai.learner import caption_learner
from imcap_fastai.models.encoder import create_encoder
from imcap_fastai.text import CaptionTokenizer, as_tokenizer

SMALL = dict(bs=2, min_freq=1, item_tfms=Resize(32, method=ResizeMethod.Squish), num_workers=0)


def picture(i, size=(12, 8)):
    return Image.new('RGB', size, (20 * i, 100, 255 - 20 * i))


@pytest.fixture
def files(tmp_path):
    "Four images in a folder"
    for i in range(4):
        picture(i).save(tmp_path / f'{i}.png')
    return tmp_path


def pairs(files, **columns):
    "Two captions for each of four images, a row each"
    rows = []
    for k in range(2):
        for i in range(4):
            rows.append(
                dict(
                    image=str(files / f'{i}.png'),
                    caption=f'A dog {i} {k}',
                    split='train' if i < 3 else 'valid',
                )
            )
    return pd.DataFrame(rows).assign(**columns)


# ---- one row per caption


def test_pairs_are_grouped_at_every_door(files):
    df = pairs(files, photographer='Ann')
    want = [[f'A dog {i} {k}' for k in range(2)] for i in range(4)]
    for table in (tidy_table(df), check_table(df), read_table(df)):
        assert table.captions.tolist() == want
        assert table.photographer.tolist() == ['Ann'] * 4
    assert describe(df, n_sizes=0).facts['images'] == 4
    dls = CaptionDataLoaders.from_df(df, **SMALL)
    assert dls.train.references == want[:3] and dls.valid.references == want[3:]


def test_pairs_under_the_name_captions(files):
    df = pairs(files).rename(columns={'caption': 'captions'})
    assert check_table(df).captions.map(len).tolist() == [2] * 4


def test_one_text_is_one_caption(files):
    df = pairs(files)[:4].rename(columns={'caption': 'captions'})
    assert check_table(df).captions.tolist() == [[f'A dog {i} 0'] for i in range(4)]
    assert describe(df, n_sizes=0).facts['captions'] == 4


def test_pairs_name_the_row_of_the_fault(files):
    df = pairs(files)
    df.loc[5, 'caption'] = ' '
    df.loc[6, 'split'] = 'valid'
    with pytest.raises(CaptionError, match=r'(?s)row 6: .*in two splits|in two splits.*row 6: ') as e:
        check_table(df)
    assert 'empty caption (1)' in str(e.value) and 'row 5' in str(e.value)


def test_pairs_without_splits(files):
    df = pairs(files).drop(columns='split')
    with pytest.raises(CaptionError, match='valid_pct=0.1'):
        CaptionDataLoaders.from_df(df, **SMALL)
    dls = CaptionDataLoaders.from_df(df, valid_pct=0.25, **SMALL)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (3, 1)


def test_a_tidy_table_stays_the_same_object(files):
    df = tidy_table(pairs(files))
    assert tidy_table(df) is df


# ---- names of splits


@pytest.mark.parametrize(
    'name, want',
    [
        ('validation', 'valid'),
        ('VAL', 'valid'),
        ('Dev', 'valid'),
        (' valid ', 'valid'),
        ('training', 'train'),
        ('TRAIN', 'train'),
        ('testing', 'test'),
        ('Test', 'test'),
        ('eval', 'eval'),
        ('trian', 'trian'),
        (None, None),
        (float('nan'), None),
        (1, 1),
    ],
)
def test_split_name(name, want):
    assert split_name(name) == want


@pytest.mark.parametrize('name', ['validation', 'val', 'DEV'])
def test_splits_by_other_names_are_taken(files, name):
    df = pairs(files)
    df['split'] = ['Training' if s == 'train' else name for s in df['split']]
    assert read_table(df).split.tolist() == ['train'] * 3 + ['valid']
    assert set(describe(df, n_sizes=0).facts['splits']) == {'train', 'valid', 'all'}
    assert (
        len(
            CaptionDataLoaders.from_df(
                tidy_table(df).assign(split=['train', 'train', 'train', name]), **SMALL
            ).valid_ds
        )
        == 1
    )


def test_folders_of_splits_by_other_names(tmp_path):
    for split in ('Training', 'val'):
        (tmp_path / split).mkdir()
        picture(1).save(tmp_path / split / 'a.png')
        (tmp_path / split / 'a.txt').write_text('A dog\n')
    assert folder_table(tmp_path).split.tolist() == ['train', 'valid']


# ---- files as Excel writes them

ROWS = [
    ('image', 'caption', 'split'),
    ('0.png', 'Ein Hund, nass', 'train'),
    ('0.png', 'Zwei Hunde läufen “dort”', 'train'),
    ('3.png', 'Öl; Wasser', 'val'),
]


def table_text(delimiter, end='\r\n'):
    return end.join(delimiter.join(f'"{o}"' if delimiter in o else o for o in row) for row in ROWS) + end


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'cp1252', 'utf-16'])
@pytest.mark.parametrize('delimiter', [',', ';', '\t', '|'])
@pytest.mark.parametrize('told', [False, True])
def test_csv_as_excel_writes_it(files, encoding, delimiter, told):
    text = (f'sep={delimiter}\r\n' if told else '') + table_text(delimiter)
    (files / 'caps.csv').write_bytes(text.encode(encoding))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        df = read_table(files / 'caps.csv')
    assert df.captions.tolist() == [[ROWS[1][1], ROWS[2][1]], [ROWS[3][1]]]
    assert df.split.tolist() == ['train', 'valid']
    assert df['where'][1].endswith(f'caps.csv:{5 if told else 4}')
    assert (
        [str(w.message) for w in said if 'Windows-1252' in str(w.message)] == []
        if encoding != 'cp1252'
        else len(said) == 1
    )


@pytest.mark.parametrize(
    'text, line',
    [
        ('image;caption;split\n0.png;A dog;train\n3.png;A dog; wet;valid\n', 3),
        ('sep=;\nimage;caption;split\n0.png;A dog;train\n3.png;A dog; wet;valid\n', 4),
    ],
)
def test_faults_keep_their_line(files, text, line):
    (files / 'caps.csv').write_text(text)
    with pytest.raises(
        CaptionError, match=f"caps.csv:{line}: 4 fields, and the header has 3; a text that contains ';'"
    ):
        csv_table(files / 'caps.csv')


def test_damaged_utf8_is_not_taken_for_windows_1252(files):
    (files / 'caps.csv').write_bytes('image,caption\n0.png,Öl\n'.encode() + b'1.png,\xff\n')
    with pytest.raises(CaptionError, match='caps.csv:3: not UTF-8 text'):
        csv_table(files / 'caps.csv', valid_pct=0.5)


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('caps.xlsx', b'PK\x03\x04...', "is a workbook: save its sheet as 'CSV UTF-8'"),
        ('caps.csv', b'PK\x03\x04...', 'is a workbook'),
        ('caps.csv', b'PAR1...', 'read_parquet'),
        ('caps.csv', b'image,caption\n\0\0', 'is not a text file'),
        ('caps.csv', b'image,caption\n0.png,\x81\n', 'caps.csv:2: not Windows-1252'),
    ],
)
def test_files_that_are_no_text(files, name, data, message):
    (files / name).write_bytes(data)
    with pytest.raises(CaptionError, match=message):
        read_table(files / name, valid_pct=0.5)


def test_columns_by_usual_names(files):
    (files / 'metadata.jsonl').write_text(
        '\n'.join(json.dumps(dict(file_name=f'{i}.png', text='A dog')) for i in range(4))
    )
    assert len(read_table(files, valid_pct=0.25)) == 4
    (files / 'caps.csv').write_text('Image,Caption,Split\n0.png,A dog,train\n3.png,A cat,val\n')
    assert csv_table(files / 'caps.csv').split.tolist() == ['train', 'valid']


@pytest.mark.parametrize(
    'name', ['pics\\{}.png', '.\\pics\\{}.png', 'C:\\Users\\me\\data\\pics\\{}.png', 'pics/{}.png']
)
def test_paths_from_windows(tmp_path, name):
    (tmp_path / 'pics').mkdir()
    for i in range(2):
        picture(i).save(tmp_path / 'pics' / f'{i}.png')
    rows = [f'{name.format(i)},A dog {i},{s}' for i, s in enumerate(('train', 'valid'))]
    (tmp_path / 'caps.csv').write_text('\n'.join(['image,caption,split', *rows]))
    assert read_table(tmp_path / 'caps.csv').image.tolist() == [
        str(tmp_path / 'pics' / f'{i}.png') for i in range(2)
    ]


# ---- rows from elsewhere: lists of dicts, Hugging Face


class Dataset:
    "What counts of `datasets.Dataset`: a sequence of dicts"

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)


def png(i):
    data = io.BytesIO()
    picture(i).save(data, 'PNG')
    return data.getvalue()


HUGGING_FACE = {  # rows of data sets that many use, named after their columns
    'text': lambda i: dict(image=picture(i), text=f'A dog {i}'),
    'caption_list': lambda i: dict(
        image=picture(i), caption=[f'A dog {i}', 'A cat'], sentids=[1, 2], filename=f'{i}.jpg'
    ),
    'captions': lambda i: dict(image=picture(i), captions=[f'A dog {i}', 'A cat']),
    'sentences': lambda i: dict(image=picture(i), sentences=[f'A dog {i}', 'A cat']),
    'raw_sentences': lambda i: dict(
        image=picture(i), sentences=[dict(raw=f'A dog {i}', tokens=['a', 'dog'])]
    ),
    'one_sentence': lambda i: dict(image=picture(i), sentences=dict(raw=f'A dog {i}', tokens=['a', 'dog'])),
    'numbered': lambda i: dict(image=picture(i), caption_0=f'A dog {i}', caption_1='A cat'),
    'bytes': lambda i: dict(image=dict(bytes=png(i), path=None), caption=f'A dog {i}'),
    'array': lambda i: dict(image=np.asarray(picture(i)), caption=f'A dog {i}'),
}


@pytest.mark.parametrize('kind', HUGGING_FACE)
def test_rows_with_the_images_themselves(kind, tmp_path):
    rows = [HUGGING_FACE[kind](i) for i in range(4)]
    for data in (rows, Dataset(rows), {'train': Dataset(rows[:3]), 'validation': Dataset(rows[3:])}):
        kwargs = {} if isinstance(data, dict) else dict(valid_pct=0.25)
        df = read_table(data, **kwargs)
        assert sorted(c[0] for c in df.captions) == [f'A dog {i}' for i in range(4)]
        assert (df.split == 'valid').sum() == 1
    assert describe(data).facts['sizes']['width']['max'] == 12
    dls = CaptionDataLoaders.from_df(data, path=tmp_path, **SMALL)
    assert dls.train.one_batch()[0].shape == (2, 3, 32, 32)
    assert 'A dog' in dls.valid.references[0][0]


def test_pairs_with_the_images_themselves():
    rows = [
        dict(image=picture(i), caption=f'A dog {i} {k}', split='train' if i else 'valid')
        for k in range(2)
        for i in range(4)
    ]
    assert check_table(rows).captions.map(len).tolist() == [2] * 4


def test_the_same_image_in_two_splits_is_found_without_files():
    rows = [dict(image=picture(1), captions=['A dog'], split=s) for s in ('train', 'valid')]
    with pytest.raises(CaptionError, match=r'image in two splits.*\n.*PIL image of 12×8 pixels'):
        check_table(rows)


def test_a_split_by_chance_depends_on_the_content():
    rows = [dict(image=picture(i), caption=f'A dog {i}') for i in range(8)]
    held = [
        {c[0] for c in df.captions[df.split == 'valid']}
        for df in (read_table(o, valid_pct=0.25) for o in (rows, rows[::-1]))
    ]
    assert held[0] == held[1] and len(held[0]) == 2


@pytest.mark.parametrize(
    'data, message',
    [
        (['a.jpg', 'b.jpg'], 'row 0 of the table is of type str'),
        (5, 'of type int'),
        ([], 'empty table'),
        ([dict(picture='a.jpg', caption='A dog')], "missing column"),
        ([dict(image=b'abc', caption='A dog', split='train')], 'image of 3 bytes'),
    ],
)
def test_what_is_no_table(data, message):
    with pytest.raises(CaptionError, match=message):
        check_table(data)


def test_dict_of_columns():
    assert as_frame({'image': ['a.jpg'], 'captions': [['A dog']]}).shape == (1, 2)


# ---- loaders, as fastai's image loaders are made


def test_from_csv_and_from_folder(files):
    pairs(files).assign(image=[f'{i}.png' for i in range(4)] * 2).to_csv(
        files / 'captions.csv', index=False, sep=';'
    )
    dls = CaptionDataLoaders.from_csv(files, **SMALL)
    assert (len(dls.train_ds), len(dls.valid_ds), dls.path) == (3, 1, files)
    assert len(CaptionDataLoaders.from_folder(files, **SMALL).valid_ds) == 1
    (files / 'captions.csv').rename(files.parent / 'list.csv')
    dls = CaptionDataLoaders.from_csv(
        files.parent, 'list.csv', folder=files.name, split_col='none', valid_pct=0.5, **SMALL
    )
    assert len(dls.valid_ds) == 2


def test_from_folder_with_texts_beside_the_images(files):
    for i in range(4):
        (files / f'{i}.txt').write_text(f'A dog {i}\n')
    with pytest.raises(CaptionError, match='valid_pct'):
        CaptionDataLoaders.from_folder(files, **SMALL)
    assert len(CaptionDataLoaders.from_folder(files, valid_pct=0.25, **SMALL).train_ds) == 3


# ---- tokenizers


def words_of(text):  # importable, so it can be pickled
    return text.lower().split()


class Pieces:
    "Like NLTK's: a method `tokenize`"

    def tokenize(self, text):
        return text.split()


TOKENIZERS = {
    'function': words_of,
    'method': str.split,
    'lambda': lambda text: (w for w in text.split()),
    'partial': partial(str.split, sep=' '),
    'fastai spacy': WordTokenizer(),
    'fastai class': WordTokenizer,
    'fastai base': BaseTokenizer(),
    'fastai rules': TokenizeWithRules(WordTokenizer()),
    'fastai transform': Tokenizer(WordTokenizer()),
    'tokenize': Pieces(),
    'ours': CaptionTokenizer(),
    'none': None,
}


@pytest.mark.parametrize('kind', TOKENIZERS)
def test_tokenizers(files, kind):
    dls = CaptionDataLoaders.from_df(pairs(files), tokenizer=TOKENIZERS[kind], **SMALL)
    num = numericalizer(dls)
    ids = num.encodes(['A dog 1 0'])
    assert num.text(ids[0].tolist()).lower() == 'a dog 1 0'
    assert ids[0].tolist().count(2) == 1 and not {0, 1} & set(ids[0].tolist())
    assert describe(pairs(files), n_sizes=0, tokenizer=TOKENIZERS[kind]).facts['images'] == 4
    if kind != 'lambda':
        again = pickle.loads(pickle.dumps(num))
        assert again.encodes(['A dog 1 0']).tolist() == ids.tolist()


def test_fastais_marks_are_carried_out():
    tok = as_tokenizer(Tokenizer(WordTokenizer()))
    words = tok('A STOP sign, very very very very big!')
    assert 'xxup' in words and 'xxwrep' in words and 'xxbos' not in words
    assert tok.join(words).startswith('a STOP sign, very very very very big')


@pytest.mark.parametrize('bad', [len, 5, 'english', object(), lambda text: 3])
def test_what_is_no_tokenizer(bad):
    with pytest.raises(CaptionError, match='give a function from a text to the list of its words'):
        as_tokenizer(bad)


def test_a_caption_without_words():
    with pytest.raises(CaptionError, match='holds no word'):
        as_tokenizer(str.split)('  ')


# ---- wrong names

MANY = [f'resnet{i}' for i in range(2, 400)] + [
    'efficientnet_b1',
    'vit_base_patch16_224',
    '--beam-size',
    '--lr',
]


@pytest.mark.parametrize(
    'name, near',
    [
        ('resnet_18', 'resnet18'),
        ('ResNet18', 'resnet18'),
        ('RESNET-50', 'resnet50'),
        ('efficientnetb1', 'efficientnet_b1'),
        ('--beam', '--beam-size'),
        ('num_beams', '--beam-size'),
        ('learning_rate', '--lr'),
        ('efficientnet_b9', 'efficientnet_b1'),
    ],
)
def test_the_nearest_name_in_one_line(name, near):
    said = did_you_mean(name, MANY)
    assert said.startswith(f"Did you mean '{near}'")
    assert len(said) < 100 and '\n' not in said


def test_nothing_near():
    assert did_you_mean('zzzzzz', MANY) == 'None of the 402 valid names is like it.'
    assert did_you_mean('zzz', ['a', 'b']) == 'Valid: a, b.'
    assert (
        did_you_mean('hidden_size', ['hidden_dim', 'dropout'])
        == "Did you mean 'hidden_dim'? Valid: dropout, hidden_dim."
    )


# ---- encoders of one's own


class Net(nn.Module):
    "Gives a map"

    def __init__(self, stride=8):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=stride, padding=1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(self.conv(x))


def make_net():
    return Net(16)


def small_learner(files, arch, **kwargs):
    dls = CaptionDataLoaders.from_df(pairs(files), path=files, **SMALL)
    dims = dict(embed_dim=8, hidden_dim=8, attn_dim=8)
    return caption_learner(dls, arch, decoder_kwargs=dims, cache=False, **kwargs)


@pytest.mark.parametrize(
    'make, grid',
    [
        (lambda: Net(), (4, 4)),
        (lambda: Net, (4, 4)),
        (lambda: make_net, (2, 2)),
        (lambda: partial(Net, 16), (2, 2)),
        (lambda: tvm.resnet18(), (1, 1)),
        (lambda: partial(tvm.resnet18, num_classes=5), (1, 1)),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU()), (4, 4)),
    ],
)
def test_an_encoder_of_ones_own(files, make, grid):
    learn = small_learner(files, make())
    assert learn.model.encoder.frozen
    assert learn.predict(files/'0.png').attention.shape[1:] == grid
    learn.export('own.pkl')
    again = load_learner(files/'own.pkl')
    assert again.predict(files/'0.png').text == learn.predict(files/'0.png').text
    with pytest.raises(CaptionError, match='cannot be described'):
        export_captioner(learn, files/'folder')


def test_weights_of_ones_own_encoder(files):
    torch.save(Net().state_dict(), files/'net.pt')
    module = Net()
    enc = create_encoder(module, weights=files/'net.pt')
    assert torch.equal(module.conv.weight, torch.load(files/'net.pt')['conv.weight'])
    assert not enc.train().body[0].norm.training
    assert create_encoder(Net(), weights=None).train().body[0].norm.training
    assert not small_learner(files, Net(), weights=None).model.encoder.frozen
    assert create_encoder(Net(), stats=([0.5] * 3, [0.2] * 3)).stats == ([0.5] * 3, [0.2] * 3)
    assert create_encoder(enc) is enc


class Fixed(nn.Module):
    def forward(self, x):
        assert x.shape[-1] == 96, 'takes 96 pixels'
        return x[:, :, ::8, ::8]


class Words(nn.Module):
    def forward(self, x):
        return {'last_hidden_state': x}


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: nn.Sequential(Net(), nn.Flatten()),
         r'gives \(2, 384\) of two images of 64×64: an encoder gives a map'),
        (lambda: Words(), 'gives a dict of a 64×64 image'),
        (lambda: Fixed(), r'fails on a 64×64 image .*takes 96 pixels.*size=\(224, 224\)'),
        (lambda: nn.Linear, 'cannot be made without arguments'),
        (lambda: dict, 'gives a dict, not an nn.Module'),
        (lambda: 'resnet_18', "Did you mean 'resnet18'"),
    ],
)
def test_what_is_no_encoder(make, message):
    with pytest.raises(CaptionError, match=message):
        create_encoder(make())


def test_the_size_of_ones_own_encoder():
    enc = create_encoder(Fixed(), size=(96, 96))
    assert enc.size == (96, 96)
    with pytest.raises(CaptionError, match='96×96 pixels, got 64×64'):
        enc(torch.zeros(1, 3, 64, 64))
    with pytest.raises(CaptionError, match='leave them out'):
        create_encoder('resnet18', weights=None, size=(64, 64))


# ---- what to caption


def test_captions_of_a_folder(files):
    learn = small_learner(files, Net())
    want = [learn.predict(files/f'{i}.png').text for i in range(4)]
    assert [c.text for c in learn.captions(files, progress=False)] == want
    assert [c.text for c in learn.captions(str(files/'1.png'))] == want[1:2]
    with pytest.raises(CaptionError, match='there is no file or folder'):
        learn.captions(files/'nowhere')
    (files/'empty').mkdir()
    with pytest.raises(CaptionError, match='there are no images in the folder'):
        learn.captions(files/'empty')
