"The door: a captioner without fastai, its folder and its pickle, and exports of an earlier version."
import json
import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from imcap_fastai.captioner import Captioner, export_captioner, load_captioner
from imcap_fastai.core import CaptionError
from imcap_fastai.files import SPEC, WEIGHTS, library_versions, sha256_of
from imcap_fastai.shapes import random_scene

ASSETS = Path(__file__).parent/'assets'
SHAPES = (64, 64), (40, 97), (130, 50), (1, 9)


@pytest.fixture(scope='module')
def odd_images():
    noise = np.random.default_rng(0)
    return [noise.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in SHAPES]


def said(caption):
    return [(c.text, c.probs, c.score, c.log_prob) for c in caption.n_best]


# ---- what is imported

@pytest.mark.parametrize('module', ['captioner', 'files', 'images', 'decode', 'shapes', 'text',
                                    'models.captioner',
                                    'models.encoder'])
def test_the_right_half_imports_no_training_library(module):
    check = (f'import sys, imcap_fastai.{module}\n'
             "training = 'fastai', 'pandas', 'matplotlib', 'spacy', 'nbdev', 'IPython'\n"
             "print([m for m in training if m in sys.modules])")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', check], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr


def test_captioning_from_a_folder_imports_no_training_library(make_learner, tmp_path):
    learn = make_learner()
    folder = export_captioner(learn, tmp_path/'captioner')
    image = learn.dls.valid_ds.items['image'].iloc[0]
    script = (f'import sys, json\nfrom imcap_fastai.captioner import load_captioner\n'
              f'c = load_captioner({str(folder)!r}, device="cpu").caption({str(image)!r}, beam_size=4)\n'
              "training = 'fastai', 'pandas', 'matplotlib', 'spacy'\n"
              "print(json.dumps([c.text, c.log_prob, [m for m in training if m in sys.modules]]))")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], capture_output=True, text=True)
    text, log_prob, imported = json.loads(done.stdout.strip().splitlines()[-1])
    here = learn.predict(image, beam_size=4)
    assert imported == [] and text == here.text and log_prob == pytest.approx(here.log_prob, abs=1e-4)


# ---- exports of version 0.1.0, before captioners were independent of learners

@pytest.fixture(scope='module')
def old_exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp('old')
    with tarfile.open(ASSETS/'exports-0.1.0.tar.xz') as archive:
        archive.extractall(folder, filter='data')
    return folder


def old_scenes():
    "Drawn scenes of several shapes, as those that the old captioners were asked about"
    for i in range(12):
        whole = random_scene(Random(1000 + i)).draw(64)
        yield whole.crop((0, 0, 64 - 5*(i % 4), 64 - 7*(i % 3)))


@pytest.mark.parametrize('name', ['folder', 'learner.pkl'])
def test_old_exports_say_what_they_said(old_exports, name):
    then = json.loads((old_exports/'said.json').read_text())[name]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cap = load_captioner(old_exports/name, device='cpu', trust=True)
    assert (cap.signature, len(cap.vocab)) == (then['signature'], then['words'])
    assert cap.decoding == then['decoding']
    assert list(cap.view(100, 80)) == then['view'] and list(cap.view(100, 80).map) == then['map']
    now = list(cap.captions(old_scenes()))
    assert [c.text for c in now] == [text for text,_ in then['captions']]
    assert [c.log_prob for c in now] == pytest.approx([log_prob for _,log_prob in then['captions']], abs=1e-4)


def test_the_old_learner_trains_on(old_exports, scenes, tmp_path):
    from fastai.learner import load_learner
    from imcap_fastai.data.block import CaptionDataLoaders
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = load_learner(old_exports/'learner.pkl', cpu=True)
    learn.path = tmp_path
    resize = learn.dls.valid.after_item.fs[0]
    learn.dls = CaptionDataLoaders.from_df(scenes, path=tmp_path, bs=8, vocab=learn.num.vocab,
                                           item_tfms=resize,
                                           num_workers=0, check=False, device=torch.device('cpu'))
    learn.unfreeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[-1][0])


# ---- the folder and the pickle

def cases():
    from fastai.vision.all import FlipItem, RandomCrop, Resize, ResizeMethod
    from imcap_fastai.data.block import ResizeCenter, ResizeRandomCrop
    return dict(
        sat=([ResizeCenter((64, 48)), FlipItem()], {}),
        dotattn=([Resize((72, 64), method=ResizeMethod.Pad, pad_mode='zeros')], dict(grid=3)),
        lstm=([Resize(64)], dict(seq_length=4)),
        transformer=([Resize(72, method=ResizeMethod.Squish), RandomCrop(64)], dict(seq_length=9)),
        squeezed=([ResizeRandomCrop(56)], dict(decoder='sat')))


@pytest.mark.parametrize('name', ['sat', 'dotattn', 'lstm', 'transformer', 'squeezed'])
def test_learner_folder_and_pickle_say_the_same(make_learner, scenes, tmp_path, odd_images, name):
    from imcap_fastai.data.block import CaptionDataLoaders
    tfms, options = cases()[name]
    learn = make_learner(**{'decoder': name, 'cut': -2, **options})
    dls = CaptionDataLoaders.from_df(scenes, path=tmp_path, bs=4, min_freq=1, item_tfms=tfms, num_workers=0,
                                     check=False)
    norm = learn.dls.valid.after_batch
    for dl in dls.loaders:
        dl.after_batch = norm
    learn.dls = dls
    learn.decoding = dict(length_penalty=.7)
    folder = export_captioner(learn, tmp_path/'folder', beam_size=4, max_len=7)
    assert learn.decoding == dict(length_penalty=.7)
    learn.decoding = dict(length_penalty=.7, beam_size=4, max_len=7)
    learn.export(tmp_path/'captioner.pkl')
    first = load_captioner(folder, device='cpu')
    for cap in (first, load_captioner(tmp_path/'captioner.pkl', device='cpu', trust=True)):
        assert cap.decoding == dict(beam_size=4, max_len=7, length_penalty=.7)
        assert (cap.signature, cap.vocab) == (first.signature, learn.num.vocab)
        assert cap.attends == learn.model.decoder.attends
        for image in odd_images:
            assert said(cap.caption(image)) == said(learn.predict(image, n_best=4))


def test_the_loader_and_the_captioner_see_the_same_pixels(make_learner, odd_images):
    learn = make_learner()
    batch = learn.dls.test_dl([*odd_images], num_workers=0).one_batch()[0]
    ours = learn.captioner.preparation.batch([learn.prepare_image(image) for image in odd_images])
    assert torch.equal(batch.as_subclass(torch.Tensor), ours)


def test_a_learner_lends_its_model(make_learner):
    learn = make_learner()
    learn.model.train()
    modes = [module.training for module in learn.model.modules()]
    cap = learn.captioner
    assert cap.model is learn.model and cap.vocab is learn.num.vocab
    cap.caption(learn.dls.valid_ds.items['image'].iloc[0])
    assert [module.training for module in learn.model.modules()] == modes


def test_a_transform_of_ones_own_captions_but_needs_a_pickle(make_learner, scenes, tmp_path):
    from fastai.vision.all import DisplayedTransform, PILImage
    from imcap_fastai.data.block import LoaderPreparation

    class Darker(DisplayedTransform):
        order = 0

        def encodes(self, image:PILImage):
            return PILImage(image.point(lambda value: value//2))
    learn = make_learner()
    for dl in learn.dls.loaders:
        dl.after_item.add(Darker())
    cap, image = learn.captioner, scenes.image[0]
    assert isinstance(cap.preparation, LoaderPreparation)
    through_the_loader = learn.dls.test_dl(scenes[:1], num_workers=0).one_batch()[0]
    ours = cap.preparation.batch([cap.prepare(image)])
    assert torch.equal(through_the_loader.as_subclass(torch.Tensor), ours)
    with pytest.raises(CaptionError, match='the transform Darker'):
        cap.save(tmp_path/'no')
    assert not (tmp_path/'no').exists()


def test_preparing_in_threads(make_learner, odd_images):
    from concurrent.futures import ThreadPoolExecutor
    from fastai.vision.all import RandomCrop
    from imcap_fastai.data.block import LoaderPreparation
    learn = make_learner()
    noise = np.random.default_rng(1)
    many = [noise.integers(0, 255, (70 + i % 50, 120 - i % 50, 3), dtype=np.uint8) for i in range(60)]
    dl = learn.dls.valid.new()
    dl.after_item.fs.insert(0, RandomCrop(65))
    for preparation in (learn.captioner.preparation, LoaderPreparation(dl, None)):
        one_by_one = [preparation.prepare(image) for image in many]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(preparation.prepare, many))
        assert all(torch.equal(a, b) for a,b in zip(one_by_one, together))


# ---- streams

def test_a_stream_takes_one_batch_at_a_time(make_learner, scenes):
    cap, taken = make_learner().captioner, []

    def images():
        for image in scenes.image:
            taken.append(image)
            yield image
    stream = cap.captions(images(), bs=4)
    assert taken == []
    first = next(stream)
    assert len(taken) == 4
    assert [first.text, *(c.text for c in stream)] == [c.text for c in cap.caption(list(scenes.image))]


def test_wrong_options_are_named_before_the_first_image(make_learner):
    with pytest.raises(CaptionError, match="'beam_size'"):
        make_learner().captioner.captions(['nowhere.jpg'], beams=3)


def test_each_image_gets_what_was_asked_for_it(make_learner, odd_images):
    cap = make_learner().captioner
    prepared = [cap.prepare(image) for image in odd_images]
    asked = [dict(beam_size=1), dict(beam_size=4, n_best=4), {}, dict(beam_size=1)]
    together = cap.caption_each(prepared, asked)
    alone = [cap.caption(image, **{'n_best': 1, **options}) for image,options in zip(odd_images, asked)]
    texts = [[c.text for c in one.n_best] for one in together]
    assert texts == [[c.text for c in one.n_best] for one in alone]
    assert cap.caption_each([], []) == []
    with pytest.raises(CaptionError, match='one for each image'):
        cap.caption_each(prepared, asked[:1])


# ---- damage, trust, versions

@pytest.fixture(scope='module')
def exported(tmp_path_factory, scenes):
    "A folder and a pickle of one small captioner"
    from fastai.vision.all import set_seed
    from imcap_fastai.data.block import CaptionDataLoaders, ResizeImage
    from imcap_fastai.learner import caption_learner
    where = tmp_path_factory.mktemp('exported')
    set_seed(2)
    dls = CaptionDataLoaders.from_df(scenes, path=where, bs=8, min_freq=1, num_workers=0, check=False,
                                     item_tfms=ResizeImage(48, method='squish'))
    learn = caption_learner(dls, 'mobilenet_v2', weights=None, cut=4,
                            decoder_kwargs=dict(embed_dim=8, hidden_dim=16, attn_dim=8))
    learn.export('captioner.pkl')
    export_captioner(learn, where/'captioner')
    return where


def rewritten(**changes):
    return lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def with_part(part, **changes):
    def change(file):
        spec = json.loads(file.read_text())
        spec[part] = {**spec[part], **changes}
        file.write_text(json.dumps(spec))
    return change


def without_a_word(file):
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, 'words': spec['words'][:-1]}))


DAMAGE = {
    'weights cut off': (WEIGHTS, lambda f: f.write_bytes(f.read_bytes()[:-9]), 'cut off or changed'),
    'no weights': (WEIGHTS, Path.unlink, 'is missing'),
    'no description': (SPEC, Path.unlink, 'holds no captioner.json'),
    'half a description': (SPEC, lambda f: f.write_text(f.read_text()[:50]), 'is damaged'),
    'an empty one': (SPEC, lambda f: f.write_text('{}'), 'it lacks'),
    'a list': (SPEC, lambda f: f.write_text('[]'), 'it lacks'),
    'another format': (SPEC, rewritten(format=2), 'has format 2'),
    'another golden caption': (SPEC, rewritten(golden=dict(caption='a cat', log_prob=-1.)),
                               "instead of 'a cat'"),
    'a word less': (SPEC, without_a_word, 'cannot be built'),
    'another encoder': (SPEC, rewritten(encoder=dict(arch='resnet34', cut=-1, grid=None)), 'cannot be built'),
    'no encoder': (SPEC, rewritten(encoder=[]), 'cannot be built'),
    'an unknown transform': (SPEC, rewritten(transforms=[dict(name='eval', size=1)]), "'eval'"),
    'a size of no image': (SPEC, rewritten(transforms=[dict(name='Resize', size=[0, -3])]), 'has the size'),
    'an unknown filter': (SPEC, rewritten(transforms=[dict(name='Resize', size=[9, 9], resamples=[99, 0])]),
                          'cannot be built'),
    'an unknown method': (SPEC, rewritten(transforms=[dict(name='Resize', size=[9, 9], method='fold')]),
                          "'fold' is none of"),
    'an unknown search option': (SPEC, rewritten(decoding=dict(beams=3)), "no search option 'beams'"),
    'an unknown decoder': (SPEC, with_part('decoder', decoder='own'), "no decoder is called 'own'"),
    'no hashes': (SPEC, rewritten(sha256={}), 'is not the file'),
    'hashes of another kind': (SPEC, rewritten(sha256=[]), 'it lacks'),
    'no golden test': (SPEC, rewritten(golden={}), 'it lacks'),
    'versions of another kind': (SPEC, rewritten(versions=[]), 'it lacks'),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_named(exported, tmp_path, damage):
    name, change, says = DAMAGE[damage]
    folder = tmp_path/'captioner'
    shutil.copytree(exported/'captioner', folder)
    change(folder/name)
    with pytest.raises(CaptionError, match=says):
        load_captioner(folder, device='cpu')


def test_another_version_is_a_warning(exported, tmp_path):
    folder = tmp_path/'captioner'
    shutil.copytree(exported/'captioner', folder)
    rewritten(versions=dict(fastai='1.0'))(folder/SPEC)
    with pytest.warns(UserWarning, match="pip install 'fastai==1.0'"):
        load_captioner(folder, device='cpu')


def test_a_pickle_is_loaded_on_trust_only(exported, tmp_path):
    pickle = exported/'captioner.pkl'

    class Evil:
        def __reduce__(self):
            return Path.write_text, (tmp_path/'owned', 'ha')
    torch.save(Evil(), tmp_path/'evil.pkl')
    for file in (pickle, tmp_path/'evil.pkl'):
        with pytest.raises(CaptionError, match='can run any code'):
            load_captioner(file, device='cpu')
    with pytest.raises(CaptionError, match='not the captioner that you know'):
        load_captioner(tmp_path/'evil.pkl', sha256=sha256_of(pickle))
    assert not (tmp_path/'owned').exists()
    assert len(load_captioner(pickle, device='cpu', sha256=sha256_of(pickle).upper()).vocab) > 4
    with pytest.raises(CaptionError, match='not the captioner that you know'):
        load_captioner(exported/'captioner', device='cpu', sha256='0'*64)


def test_pickles_that_cannot_be_loaded_say_why(exported, tmp_path, monkeypatch):
    half = tmp_path/'half.pkl'
    half.write_bytes((exported/'captioner.pkl').read_bytes()[:1000])
    with pytest.raises(CaptionError, match='cut off'):
        load_captioner(half, trust=True)
    with pytest.raises(CaptionError, match='no captioner at'):
        load_captioner(tmp_path/'none.pkl')

    def no_timm(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'timm'", name='timm')
    monkeypatch.setattr('imcap_fastai.captioner._load_pickle', no_timm)
    with pytest.raises(CaptionError, match="'timm' is missing"):
        load_captioner(exported/'captioner.pkl', device='cpu', trust=True)
    other = {**library_versions(), 'fastai': '1.0'}
    monkeypatch.setattr('imcap_fastai.files.library_versions', lambda *extra: other)
    with pytest.raises(CaptionError, match="pip install 'fastai=="):
        load_captioner(exported/'captioner.pkl', device='cpu', trust=True)


def test_what_cannot_be_written_says_so(exported, tmp_path, monkeypatch):
    cap = load_captioner(exported/'captioner', device='cpu')
    with pytest.raises(CaptionError, match="'beams'"):
        cap.save(tmp_path/'no', beams=2)
    with pytest.raises(CaptionError, match='is a file'):
        cap.save(exported/'captioner.pkl')

    class Mine(type(cap.tokenizer)):
        pass
    with pytest.raises(CaptionError, match='tokenizer Mine'):
        Captioner(cap.model, cap.vocab, Mine(), cap.preparation).save(tmp_path/'no')
    monkeypatch.setattr(cap.model.encoder, 'spec', None)
    with pytest.raises(CaptionError, match='name of an architecture'):
        cap.save(tmp_path/'no')
    assert not (tmp_path/'no').exists()


def test_a_loaded_captioner_can_be_saved_again(exported, tmp_path):
    cap = load_captioner(exported/'captioner', device='cpu')
    again = load_captioner(cap.save(tmp_path/'again', beam_size=5), device='cpu')
    assert again.signature == cap.signature and again.decoding == {**cap.decoding, 'beam_size': 5}
    scene = random_scene(Random(3)).draw(80)
    assert said(again.caption(scene)) == said(cap.caption(scene, beam_size=5))


def test_weights_that_are_no_numbers_are_noticed(exported):
    cap = load_captioner(exported/'captioner.pkl', device='cpu', trust=True)
    cap.model.decoder.out.bias.data.fill_(float('nan'))
    with pytest.raises(CaptionError):
        cap.self_test()
