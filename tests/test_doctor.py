"""The doctor: each check finds nothing in a healthy learner, and each disease that is planted; and it leaves
no trace."""
import contextlib, io, json, shutil, types, warnings
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from fastai.learner import load_learner
from fastai.vision.all import IntToFloatTensor, Normalize, aug_transforms
from imcap_fastai import checks as checks_module
from imcap_fastai.callback import rng_state
from imcap_fastai.checks import (CHECKS, Inconclusive, Measurements, conclusion, is_plain,
                                 near_pairs, thumbnail)
from imcap_fastai.core import EOS_IDX, CaptionError, Vocab
from imcap_fastai.doctor import Finding, Report, check, check_learning_rate, untouched
from imcap_fastai.learner import CaptionLearner
from imcap_fastai.tensors import fingerprint, weights_hash
from made import (healthy_learner, one_caption_scenes, small_learner, small_loaders,
                  write_captions, write_language)

BY_NAME = list(CHECKS)
EVERY_IMAGE = [name for name, function in CHECKS.items() if function.every_image]


# ---- patients

@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return tmp_path_factory.mktemp('doctor')


@pytest.fixture(scope='module')
def df(path):
    return one_caption_scenes(path, n_train=60, n_valid=30)


@pytest.fixture(scope='module')
def texts(df):
    return [captions[0] for captions in df.captions]


@pytest.fixture(scope='module')
def the_patient(df, path):
    "One learner for all checks: frozen, fitted once, and healthy by construction"
    return healthy_learner(df, path, hidden_dim=320, fit=True)


@pytest.fixture
def learn(the_patient):
    "The patient; weights, loaders, options and encoder are put back afterwards"
    weights = deepcopy(the_patient.model.state_dict())
    loaders = the_patient.dls
    transforms = [list(dl.after_batch.fs) for dl in loaders.loaders]
    encoder = the_patient.model.encoder
    was_pretrained = encoder.bn_eval
    yield the_patient
    the_patient.dls = loaders
    for dl, fs in zip(loaders.loaders, transforms):
        dl.after_batch.fs = type(dl.after_batch.fs)(fs)
    the_patient.num.limit(None)
    the_patient.decoding = dict(beam_size=1)
    the_patient.model.load_state_dict(weights)
    encoder.bn_eval = was_pretrained
    vars(encoder).pop('train', None)
    for param in encoder.parameters():
        param.requires_grad_(False)
        param.grad = None
    the_patient.model.eval()


@pytest.fixture(scope='module')
def untrained(df, path):
    return small_learner(small_loaders(df, path))


@pytest.fixture(scope='module')
def blind(df, path, texts):
    "It knows which word follows which, and sees nothing of any image"
    learn = healthy_learner(df, path, hidden_dim=320)
    return write_language(learn, texts)


def n_of(df, split):
    return int((df.split == split).sum())


def examine(name, learn, **kwargs):
    "What one check says: status, found, remedy"
    function = kwargs.pop('function', CHECKS[name])
    with untouched(learn.model):
        try:
            result = function(Measurements(learn, **{'progress': False, **kwargs}))
        except Inconclusive as error:
            result = 'inconclusive', error.reason, error.remedy
    assert all(isinstance(part, str) for part in result) and result[1]
    return result


def assert_says(result, status, *texts):
    assert result[0] == status, result
    for text in texts:
        assert text in result[1] + result[2], (text, result)


def normalised(learn, *stats, loaders=(0, 1)):
    "Loaders as they are, with these normalisations in the place of theirs"
    for i in loaders:
        dl = learn.dls.loaders[i]
        rest = [tfm for tfm in dl.after_batch.fs if not isinstance(tfm, Normalize)]
        dl.after_batch.fs = type(dl.after_batch.fs)(rest + [Normalize.from_stats(*s, cuda=False)
                for s in stats])


def give(learn, dls):
    "Other data for a learner, normalised as its encoder was trained"
    learn.dls = dls
    normalised(learn, learn.model.encoder.stats)


def slipped(df, splits):
    "Captions one row on, within these splits"
    new = df.copy()
    for split in splits:
        rows = new.split == split
        new.loc[rows, 'captions'] = pd.Series(np.roll(new[rows].captions.values, 1), index=new.index[rows])
    return new


# ---- health

@pytest.mark.parametrize('name', [name for name in BY_NAME if name != 'learning rate'])
def test_a_healthy_learner_passes(name, learn):
    status, found, remedy = examine(name, learn)
    assert (status, remedy) == ('ok', ''), found


NOT_TRAINED = ['learning', 'same caption', 'endings', 'attention']


@pytest.mark.parametrize('name', NOT_TRAINED)
def test_an_untrained_learner_is_no_patient(name, untrained):
    assert_says(examine(name, untrained), 'inconclusive', 'not trained yet')


NOTED = {
    'learning': 'nats per word', 'same caption': 'different captions', 'endings': '(0 %) captions never end',
    'normalisation': 'all images are as the encoder was trained',
            'alignment': '(100 %) images prefer their own',
    'unknown words': 'train 0.0 %', 'length': 'The data cut none', 'frozen encoder': 'the encoder is frozen',
}


@pytest.mark.parametrize('name, text', NOTED.items())
def test_health_is_told_in_numbers(name, text, learn):
    assert text in examine(name, learn)[1]


# ---- diseases of the weights

def test_weights_that_are_not_numbers(learn):
    learn.model.decoder.out.weight.data[5, 3] = float('nan')
    assert_says(examine('weights', learn), 'fault', 'decoder.out.weight', '1 of ')
    assert_says(examine('learning', learn), 'inconclusive', 'not numbers')


def test_a_fit_that_taught_nothing(df, path):
    learn = small_learner(small_loaders(df, path))
    learn.freeze()
    with learn.no_logging():
        learn.fit(1, 1e-7)
    assert_says(examine('learning', learn), 'warning', 'after 1 epochs', 'larger learning rate')


def test_the_same_caption_for_every_image(blind, df):
    n = n_of(df, 'valid')
    assert examine('learning', blind)[0] == 'ok'
    assert_says(examine('same caption', blind), 'fault', f'{n} of {n} (100 %)', 'hardly uses its images')


@pytest.mark.parametrize('bias, found', [(-50, ('(100 %) captions never end', 'while training')),
                                         (50, ('are shorter', 'min_len'))], ids=['never', 'at once'])
def test_endings_never_and_at_once(bias, found, learn):
    learn.model.decoder.out.bias.data[EOS_IDX] += bias
    assert_says(examine('endings', learn), 'fault', *found)


def test_endings_that_search_cuts(learn):
    learn.decoding = dict(beam_size=1, max_len=4)
    assert_says(examine('endings', learn), 'fault', '(100 %) captions never end')


def test_endings_in_the_middle_of_a_phrase(learn):
    learn.model.decoder.out.bias.data[EOS_IDX] += 50  # at once, but for the words that must come first
    learn.decoding = dict(beam_size=1, min_len=6)     # "above the", "left of"
    assert_says(examine('endings', learn), 'fault', '(100 %) end in the middle of a phrase')


def test_endings_that_the_data_cut(learn, df):
    n = n_of(df, 'train')
    learn.num.limit(6)
    assert f'{n} of {n} (100 %) train captions have no end token' in examine('endings', learn)[1]


def test_attention_that_is_even(learn):
    learn.model.decoder.score.data.zero_()
    assert_says(examine('attention', learn), 'fault', 'its evenness over 64 regions is 1.000')


def test_attention_that_asks_the_same_for_every_word(learn):
    n_attention = learn.model.decoder.splits[0]
    learn.model.decoder.h_proj.weight.data[:n_attention] = 0.
    assert_says(examine('attention', learn), 'fault', '0.0 % of the attention moves')


def test_a_decoder_without_attention(df, path):
    learn = small_learner(small_loaders(df, path), decoder='lstm')
    assert_says(examine('attention', learn), 'ok', 'has no attention')


# ---- diseases of the images

HALF = [.5]*3, [.5]*3
NORMALISATIONS = [('none', 'not normalised', 'warning'), ('twice', 'normalised twice', 'warning'),
                  ('half', 'normalised otherwise', 'ok')]


@pytest.mark.parametrize('pretrained', [True, False], ids=['pretrained', 'random'])
@pytest.mark.parametrize('kind, text, status', NORMALISATIONS, ids=[kind for kind, *_ in NORMALISATIONS])
def test_normalisation(kind, text, status, pretrained, learn):
    own = learn.model.encoder.stats
    # an encoder from random weights is content with any that stays the same
    learn.model.encoder.bn_eval = pretrained
    normalised(learn, *dict(none=(), twice=(own, own), half=(HALF,))[kind])
    assert_says(examine('normalisation', learn), 'fault' if pretrained else status, text)


@pytest.mark.parametrize('pretrained', [True, False], ids=['pretrained', 'random'])
def test_normalisation_of_training_alone(pretrained, learn):
    learn.model.encoder.bn_eval = pretrained
    normalised(learn, loaders=(0,))
    assert_says(examine('normalisation', learn), 'fault', 'training and validation images differ')


def test_images_never_scaled(learn):
    to_float = next(tfm for tfm in learn.dls.valid.after_batch.fs if isinstance(tfm, IntToFloatTensor))
    learn.model.encoder.bn_eval = True
    normalised(learn)
    with mock.patch.object(to_float, 'div', 1):
        assert_says(examine('normalisation', learn), 'fault', 'not even scaled')


def test_augmentation_is_not_mistaken_for_normalisation(df, path):
    dls = small_loaders(df, path, batch_tfms=aug_transforms(max_lighting=.9, p_lighting=1.))
    assert_says(examine('normalisation', small_learner(dls)), 'ok')


def with_image(df, file, split='test'):
    return df[:1].assign(image=str(file), split=split)


@pytest.mark.parametrize('kind', ['copy', 'link'])
def test_overlap_by_file(kind, learn, df, tmp_path):
    file, original = tmp_path/f'{kind}.png', Path(df.image[3])
    shutil.copy(original, file) if kind == 'copy' else file.symlink_to(original)
    table = with_image(df, file)
    assert_says(examine('overlap by file', learn, table=table), 'fault', '1 are in two splits', original.name)
    assert_says(examine('overlap by look', learn, table=table), 'fault', '1 pairs')


def test_overlap_by_look(learn, df, tmp_path):
    file = tmp_path/'again.jpg'
    Image.open(df.image[5]).convert('RGB').resize((99, 92)).save(file, quality=80)
    table = with_image(df, file)
    assert examine('overlap by file', learn, table=table)[0] == 'ok'
    assert_says(examine('overlap by look', learn, table=table), 'fault', 'again.jpg (test)',
            Path(df.image[5]).name)


@pytest.fixture
def plain_images(df, tmp_path):
    "A table of one red and one green image"
    for colour in ('red', 'green'):
        Image.new('RGB', (64, 64), colour).save(tmp_path/f'{colour}.png')
    return pd.concat([with_image(df, tmp_path/'red.png', 'a'), with_image(df, tmp_path/'green.png', 'b')])


def test_images_of_one_colour_are_no_overlap(learn, plain_images):
    assert examine('overlap by look', learn, table=plain_images)[0] == 'ok'


def test_image_files_of_one_colour_and_tiny(learn, df, plain_images, tmp_path):
    Image.open(df.image[6]).resize((8, 8)).save(tmp_path/'tiny.png')
    table = pd.concat([plain_images, *[with_image(df, tmp_path/'tiny.png', split) for split in 'cdef']])
    assert_says(examine('image files', learn, table=table), 'warning', 'red.png', 'tiny.png',
            '2 are of one colour',
                '4 have a side below')


def test_image_files_that_cannot_be_read(learn, df, tmp_path):
    (tmp_path/'no.jpg').write_bytes(b'not an image')
    table = with_image(df, tmp_path/'no.jpg')
    assert_says(examine('image files', learn, table=table), 'fault', '1 cannot be read',
            'no.jpg is not an image')


def test_thumbnails_of_different_scenes_differ(df):
    thumbs = {split: np.stack([thumbnail(file)[0] for file in df[df.split == split].image])
            for split in ('train', 'valid')}
    assert near_pairs(thumbs['train'], thumbs['valid']) == []


@pytest.mark.parametrize('zoom, quality', [(1.5, 90), (2., 50), (1.2, 80)])
def test_thumbnails_of_copies_agree(zoom, quality, df, tmp_path):
    originals = np.stack([thumbnail(file)[0] for file in df.image[:40]])
    copies = []
    for i in range(10):
        image = Image.open(df.image[i]).convert('RGB')
        image.resize((int(64*zoom), int(60*zoom))).save(tmp_path/'copy.jpg', quality=quality)
        copies.append(thumbnail(tmp_path/'copy.jpg')[0])
    assert sorted(near_pairs(originals, np.stack(copies))) == [(i, i) for i in range(10)]


def test_thumbnails_of_one_colour_match_nothing():
    noise = np.random.default_rng(0).integers(0, 4, (3, 16, 16, 3)).astype(np.uint8)
    grey = np.array([128, 255, 0], np.uint8)//2 + noise
    assert is_plain(grey).all()
    assert near_pairs(grey, grey) == []


def test_a_thumbnail_that_cannot_be_made(tmp_path):
    assert 'does not exist' in thumbnail(tmp_path/'none.jpg')[0]


# ---- diseases of the captions

def test_alignment_of_the_validation_split(learn, df, path):
    give(learn, small_loaders(slipped(df, ['valid']), path))
    assert_says(examine('alignment', learn), 'fault', 'captions of the valid split')


def test_alignment_of_all_rows(blind, df, path):
    give(blind, small_loaders(slipped(df, ['train', 'valid']), path))
    assert examine('learning', blind)[0] == 'ok'
    assert_says(examine('alignment', blind), 'fault', 'captions of the train and valid split',
            'rows may have slipped')


def test_alignment_learnt_by_heart(learn, df, path, texts):
    both = slipped(df, ['train', 'valid'])
    give(learn, small_loaders(both, path))
    n = n_of(df, 'train')
    said = [captions[0] for captions in both.captions[:n]] + texts[n:]  # valid: what the pictures show
    write_captions(learn, both.image, said, everywhere=False)
    assert examine('learning', learn)[0] == 'ok'
    assert_says(examine('alignment', learn), 'fault', 'captions of the valid split', 'by heart')


def test_alignment_cannot_be_told_before_learning(untrained):
    assert_says(examine('alignment', untrained), 'inconclusive', 'too little')
    assert_says(examine('alignment', untrained, n=5), 'inconclusive', 'only 5 train images')


@pytest.fixture
def rare(df):
    "Words that only validation captions have; one of them once in training, which is too seldom"
    added = dict(valid=['one zeppelin hovers', 'one zeppelin over a quokka'], train=[])
    table = df.assign(captions=[captions + added[split] for captions, split in zip(df.captions, df.split)])
    table.at[0, 'captions'] = [*df.captions[0], 'the quokka']
    return table


def words_of(learn, table):
    return [learn.num.tok(text) for captions in table.captions for text in captions]


@pytest.fixture
def foreign(learn, df):
    return Vocab.from_tokens(words_of(learn, df) + [['chess', 'rook', 'zeppelin']]*9, 1)


def test_vocabulary_of_training_alone(rare, path):
    assert examine('vocabulary', small_learner(small_loaders(rare, path)))[0] == 'ok'


def test_vocabulary_that_saw_validation(learn, rare, path):
    vocab = Vocab.from_tokens(words_of(learn, rare), 2)
    assert_says(examine('vocabulary', small_learner(small_loaders(rare, path, vocab=vocab))), 'fault',
            'zeppelin', 'quokka')


def test_vocabulary_from_elsewhere(rare, foreign, path):
    learn = small_learner(small_loaders(rare, path, vocab=foreign))
    assert_says(examine('vocabulary', learn), 'inconclusive', 'other captions than these')


def test_vocabulary_that_does_not_fit(learn, rare, foreign, path):
    known = len(learn.num.vocab)
    give(learn, small_loaders(rare, path, vocab=foreign))
    assert_says(examine('vocabulary', learn), 'fault', f'the decoder knows {known}')


def test_unknown_words(df, path):
    learn = small_learner(small_loaders(df, path, max_vocab=6))
    assert_says(examine('unknown words', learn), 'fault', 'lower min_freq', 'raise max_vocab')


def test_unknown_words_of_another_language(learn, df, path):
    strange = df.copy()
    valid = df.split == 'valid'
    strange.loc[valid, 'captions'] = df[valid].captions.map(lambda texts: [t.replace('small', 'winzig')
            for t in texts])
    give(learn, small_loaders(strange, path))
    assert_says(examine('unknown words', learn), 'warning', 'seem to be in other words')


def test_length_limit_of_the_data(learn):
    learn.num.limit(9)
    assert_says(examine('length', learn), 'fault', 'The data cut after 7 words', 'seq_length to 12')


def test_length_limit_of_the_search(learn):
    learn.decoding = dict(max_len=8)
    assert_says(examine('length', learn), 'warning', 'at most 7 words', 'learn.decoding = dict(max_len=12)')


def test_length_limit_of_the_decoder(df, path):
    with warnings.catch_warnings(record=True):
        learn = small_learner(small_loaders(df, path), decoder='transformer', seq_length=12)
    assert_says(examine('length', learn), 'ok', 'knows 12 positions')
    learn.num.limit(None)
    learn.model.decoder.max_len = 8
    assert_says(examine('length', learn), 'fault', 'do not fit the 8 positions', 'learn.num.limit(9)')


def test_captions_that_go_with_any_image(learn, df, path):
    lazy = df.assign(captions=[[*captions, 'A picture.'] if i % 4 else captions
            for i, captions in enumerate(df.captions)])
    give(learn, small_loaders(lazy, path))
    n = n_of(df, 'train')
    times = sum(i % 4 > 0 for i in range(n))
    assert_says(examine('captions', learn), 'fault', "'a picture'", f'{times} of {n} (')


def test_captions_without_a_word(learn, df):
    table = df.assign(split='test')[:1].assign(captions=[[*df.captions[0], '...']])
    assert_says(examine('captions', learn, table=table), 'fault', f'1 of {len(df) + 2}', "'...'")


# ---- diseases of the encoder

def require_a_gradient(encoder):
    next(encoder.parameters()).requires_grad_(True)


def keep_an_old_gradient(encoder):
    param = next(encoder.parameters())
    param.grad = torch.zeros_like(param)


def train_a_norm(encoder):
    encoder.body[1].train()


def train_as_any_module(encoder):
    encoder.train = types.MethodType(torch.nn.Module.train, encoder)


FROZEN = [(require_a_gradient, 'fault', '1 of 30', 'require gradients'),
          (keep_an_old_gradient, 'fault', 'gradient from before', 'p.grad = None'),
          (train_a_norm, 'warning', '1 of 10', 'training mode'),
          (train_as_any_module, 'fault', 'BatchNorm statistics', 'running_mean')]


@pytest.mark.parametrize('plant, status, found, remedy', FROZEN, ids=[plant.__name__ for plant, *_ in FROZEN])
def test_a_frozen_encoder_that_moves(plant, status, found, remedy, learn):
    plant(learn.model.encoder)
    assert_says(examine('frozen encoder', learn), status, found, remedy)


def test_fastais_trap_and_that_it_is_found(df, path):
    "With old gradients, a frozen encoder shrinks; without, it stays"
    few = df[df.index % 4 == 0]
    learn = small_learner(small_loaders(few, path), cache=False)
    learn.unfreeze()
    learn.opt.freeze_to(-1)  # all that `freeze` of fastai does
    params = list(learn.model.encoder.parameters())
    for old in (None, torch.zeros_like):
        for param in params:
            param.grad = old and old(param)
        before = params[0].clone()
        assert examine('frozen encoder', learn)[0] == ('fault' if old else 'ok')
        with learn.no_logging():
            learn.fit(1, 1e-2)
        assert torch.equal(params[0], before) == (old is None)


@pytest.fixture(scope='module')
def an_unfrozen(df, path):
    learn = small_learner(small_loaders(df, path))
    learn.unfreeze()
    return learn


@pytest.fixture
def unfrozen(an_unfrozen):
    encoder = an_unfrozen.model.encoder
    asks = [param.requires_grad for param in encoder.parameters()]
    yield an_unfrozen
    an_unfrozen.model.encoder = encoder
    an_unfrozen.opt.set_hypers(lr=1e-3)
    for param, ask in zip(encoder.parameters(), asks):
        param.requires_grad_(ask)


def test_an_unfrozen_encoder_that_learns(unfrozen):
    assert_says(examine('frozen encoder', unfrozen), 'ok', 'the encoder is unfrozen')


def test_gradients_that_do_not_arrive(unfrozen):
    with mock.patch.object(type(unfrozen.model), 'encode', lambda self, x: self.encoder(x).detach()):
        assert_says(examine('frozen encoder', unfrozen), 'fault', 'gets one in a training pass')


def test_a_rate_of_zero_for_the_encoder(unfrozen):
    unfrozen.opt.set_hypers(lr=[0., 1e-3])
    assert_says(examine('frozen encoder', unfrozen), 'fault', 'rate of the encoder is 0')


def test_an_encoder_that_the_optimiser_does_not_know(unfrozen):
    unfrozen.model.encoder = deepcopy(unfrozen.model.encoder)
    assert_says(examine('frozen encoder', unfrozen), 'fault', 'unknown to the optimiser')


def test_an_encoder_frozen_by_hand(unfrozen):
    unfrozen.model.encoder.requires_grad_(False)
    assert_says(examine('frozen encoder', unfrozen), 'warning',
            'no parameter of the encoder requires gradients')


# ---- the learning rate

def suggesting(rate):
    "What `lr_find` comes to depends on a training, so its answer is given"
    return mock.patch.object(CaptionLearner, 'lr_find', lambda self, **kwargs: SimpleNamespace(valley=rate))


RATES = [(1e-3, 'ok'), (15e-3, 'ok'), (1e-3/15, 'ok'), (25e-3, 'warning'), (1e-3/25, 'warning'), (.11,
        'fault'), (9e-6, 'fault')]


@pytest.mark.parametrize('lr, status', RATES)
def test_a_learning_rate(lr, status, learn):
    with suggesting(1e-3):
        assert_says(examine('learning rate', learn, lr=lr), status, 'than the 0.001 that lr_find suggests')


@pytest.mark.parametrize('lr, text', [(1e-10, 'times less'), (1e4, 'times more')])
def test_a_learning_rate_out_of_all_bounds(lr, text, learn):
    "`lr_find` itself tries rates from 1e-7 to 10"
    brief = partial(check_learning_rate, num_it=12)
    assert_says(examine('learning rate', learn, lr=lr, function=brief), 'fault', text)


def test_the_rate_of_the_last_fit(learn):
    with suggesting(1e-3):
        assert_says(examine('learning rate', learn, lr=True), 'ok',
                    'the highest rate of the last fit, 0.001, is 1.0 times', 'with a new decoder')


def test_no_learning_rate(learn, untrained):
    assert_says(examine('learning rate', learn), 'inconclusive', 'not examined')
    assert_says(examine('learning rate', untrained, lr=True), 'inconclusive', 'no fit')


def test_the_fit_of_lr_find_is_no_fit(df, path):
    learn = small_learner(small_loaders(df, path))
    learn.lr_find(num_it=12, show_plot=False)
    assert_says(examine('learning rate', learn, lr=True), 'inconclusive', 'lr_find')


# ---- the report

@pytest.fixture
def report():
    long = Finding('a', 'fault', 'half of it is <bad> & "worse" '*9, 'mend it '*30)
    about = dict(images={'train': 9}, sample=3, seed=4)
    return Report([Finding('b', 'ok', 'fine'), long, Finding('c', 'inconclusive', 'nobody knows')], about)


def test_a_report_as_text(report):
    assert [finding.check for finding in report] == ['a', 'c', 'b']
    assert report.title == '1 fault, 1 inconclusive, 1 ok (9 train images; a sample of 3, seed 4)'
    lines = repr(report).splitlines()
    assert lines[1].startswith('FAULT         a  half of ')
    assert any(line.strip().startswith('→ mend it') for line in lines)
    assert max(map(len, lines)) <= 120
    assert repr(Report([])) == 'no checks'


def test_a_report_as_html_is_escaped(report):
    page = report._repr_html_()
    assert '&lt;bad&gt; &amp; &quot;worse&quot;' in page
    assert '<bad>' not in page


def test_a_report_as_data(report):
    data = json.loads(json.dumps(report.to_dict()))
    assert data['findings'][2] == dict(check='b', status='ok', found='fine', remedy='')
    assert report['b'].status == 'ok'
    with pytest.raises(CaptionError, match='Valid: a, b, c'):
        report['d']


def test_a_status_that_does_not_exist():
    with pytest.raises(CaptionError, match="'splendid'"):
        Finding('b', 'splendid', 'fine')


# ---- the doctor

def test_the_doctor_finds_nothing_in_a_healthy_learner(learn):
    with suggesting(2e-3):
        report = learn.doctor(lr=True, progress=False)
    assert {finding.check: finding.status for finding in report} == dict.fromkeys(BY_NAME, 'ok')
    json.dumps(report.to_dict())


def state(learn, path):
    "All that the doctor must leave as it was"
    params = list(learn.model.parameters())
    samplers = [dl._sampler for dl in learn.dls.loaders]
    return dict(
        weights=weights_hash(learn.model), opt=fingerprint(learn.opt.state_dict()), idx=learn.opt.frozen_idx,
        grads=[param.grad is None for param in params], asks=[param.requires_grad for param in params],
        ids=[id(param) for param in params], modes=[module.training for module in learn.model.modules()],
        rng=fingerprint([rng_state()['torch'], list(rng_state()['numpy'])]), py=rng_state()['python'],
        dls=[id(learn.dls), *map(id, learn.dls.loaders)],
        order=[(sampler.seed, sampler.epoch) for sampler in samplers if hasattr(sampler, 'epoch')],
        cbs=[id(cb) for cb in learn.cbs], longest=learn.num.max_len,
        record=fingerprint([learn.recorder.lrs, learn.recorder.losses, [list(v)
                for v in learn.recorder.values]]),
        hypers=fingerprint([dict(hypers) for hypers in learn.opt.hypers]), decoding=learn.decoding,
        files=sorted(str(file) for file in path.rglob('*')), own=sorted(vars(learn)))


@pytest.fixture
def brief():
    "The learning-rate trial in a few batches"
    with mock.patch.dict(CHECKS, {'learning rate': partial(check_learning_rate, num_it=12)}):
        CHECKS['learning rate'].every_image = False
        yield


def test_the_doctor_leaves_no_trace(learn, path, brief):
    learn.dls.train.one_batch()
    learn.model.train()
    learn.model.decoder.drop.eval()
    before = state(learn, path)
    learn.doctor(n=20, lr=True, progress=False)
    assert state(learn, path) == before


def test_the_doctor_leaves_no_trace_when_interrupted(learn, path):
    before = state(learn, path)
    with mock.patch.object(type(learn.model.decoder), 'forward', side_effect=KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            learn.doctor(progress=False)
    assert state(learn, path) == before


def test_the_doctor_leaves_no_trace_of_an_unfrozen_learner(df, path, brief):
    learn = small_learner(small_loaders(df[df.index % 4 == 0], path, bs=5))
    learn.unfreeze()
    with learn.no_logging():
        learn.fit(1, 1e-3)
    before = state(learn, path)
    learn.doctor(n=10, lr=1e-3, progress=False)
    assert state(learn, path) == before


def test_untouched_puts_back_modes_and_random_states():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).train()
    model[1].eval()
    torch.manual_seed(1)
    with untouched(model):
        torch.rand(3)
        np.random.rand()
        model.eval()
    assert [module.training for module in model.modules()] == [True, True, False]
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


def test_the_same_seed_gives_the_same_report(learn):
    once, again = (learn.doctor(n=30, progress=False).to_dict() for _ in range(2))
    assert once == again


def test_a_fit_that_was_interrupted_is_no_obstacle(learn):
    learn.feature_cache.before_fit()
    assert not hasattr(learn.dls.train.dataset, 'items')
    assert learn.doctor(checks='alignment', progress=False)['alignment'].status == 'ok'
    learn.feature_cache.restore()


def test_other_splits_come_from_a_table(learn, df):
    names = ['overlap by file', 'unknown words']
    report = learn.doctor(table=df.assign(split='test'), checks=names, progress=False)
    assert [finding.check for finding in report] == names
    assert report.about['images'] == dict(train=n_of(df, 'train'), valid=n_of(df, 'valid'), test=len(df))
    assert report['overlap by file'].status == 'fault'


def test_without_images_no_image_is_opened_that_the_sample_does_not_need(learn):
    with mock.patch.object(checks_module, 'thumbnail', side_effect=ZeroDivisionError):
        report = learn.doctor(n=20, images=False, progress=False)
    assert [f for f in report if f.check in EVERY_IMAGE or 'stopped' in f.found] == []


@pytest.mark.parametrize('progress', [True, False])
def test_progress_is_shown_unless_it_is_not_wanted(progress, learn, df, brief):
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        learn.doctor(bs=4, lr=progress and 1e-3, progress=progress)
    bars = [f'looking at {n_of(df, "train")} train images', f'looking at {n_of(df, "valid")} valid images',
            f'looking at all {len(df)} images', 'learning-rate finder']
    assert [text in shown.getvalue() for text in bars] == [progress]*4


def test_a_check_that_fails_does_not_stop_the_others(learn):
    with mock.patch.dict(CHECKS, length=lambda measured: 1/0):
        report = learn.doctor(checks=['length', 'vocabulary'], progress=False)
    assert (report['length'].status, report['vocabulary'].status) == ('inconclusive', 'ok')
    assert 'ZeroDivisionError' in report['length'].found


def test_a_check_of_ones_own(learn):
    with mock.patch.dict(CHECKS):
        @check('images')
        def check_images(measured):
            n = sum(map(len, measured.references.values()))
            return conclusion('warning', f'only {n} images', 'find more')
        report = learn.doctor(progress=False, images=False)
    assert report['images'] == Finding('images', 'warning', report['images'].found, 'find more')
    assert len(report) == len(BY_NAME) + 1 - len(EVERY_IMAGE)


WRONG = [(dict(n=0), 'n=0'), (dict(lr=-1), 'lr=-1'), (dict(lr='fast'), "lr='fast'"), (dict(lr=0), 'lr=0'),
         (dict(checks=['lenght']), "Did you mean 'length'")]


@pytest.mark.parametrize('kwargs, message', WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments(kwargs, message, learn):
    with pytest.raises(CaptionError, match=message):
        learn.doctor(**kwargs, progress=False)


def test_a_table_without_captions(learn, df):
    with pytest.raises(CaptionError, match="no column 'captions'"):
        learn.doctor(table=df[['image']], progress=False)


def test_an_exported_learner_has_no_data_and_can_be_given_some(learn, df, path):
    learn.export('c.pkl')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        loaded = load_learner(path/'c.pkl')
    report = loaded.doctor(progress=False)
    assert [f.check for f in report if f.status == 'ok'] == ['weights', 'normalisation', 'frozen encoder']
    assert {f.status for f in report} == {'ok', 'inconclusive'}
    assert 'holds no data' in report['alignment'].found
    give(loaded, small_loaders(df, path))
    assert {f.status for f in loaded.doctor(progress=False) if f.check != 'learning rate'} == {'ok'}


def test_the_names_of_the_first_version():
    from imcap_fastai.doctor import Untold
    assert Untold is Inconclusive
