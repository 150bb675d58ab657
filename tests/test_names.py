"Names: what `from imcap_fastai.all import *` brings shadows nothing that a fastai notebook relies on."
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ['fastai.vision.all', 'torch', 'torch.nn', 'torch.nn.functional', 'torch.utils.data', 'torchvision',
          'torchvision.models', 'torchvision.transforms']
STAY_HOME = dict(outer='models.recurrence', recur='models.recurrence', lstm_cell='models.sat',
                 sample='decode', interval='scorecard',
                 options='training', stages='training', trackers='training', set_rng_state='checkpoint',
                 Caption='captioner')


def ours():
    "Name -> object of everything that our modules hand to `all`"
    out = {}
    for line in (ROOT/'imcap_fastai'/'all.py').read_text().splitlines():
        if line.startswith('from .'):
            module = importlib.import_module('imcap_fastai' + line.split()[1])
            out.update({name: getattr(module, name) for name in module.__all__})
    return out


@pytest.mark.parametrize('other', OTHERS)
def test_nothing_is_shadowed(other):
    module = importlib.import_module(other)
    public = getattr(module, '__all__', None) or [n for n in vars(module) if not n.startswith('_')]
    theirs = {n: getattr(module, n) for n in public if hasattr(module, n)}
    shadowed = [n for n, o in ours().items() if n in theirs and theirs[n] is not o]
    assert not shadowed, f"{shadowed} of imcap_fastai.all hide {other}'s"


def test_builtins_are_not_shadowed():
    import builtins
    assert not set(ours()) & set(vars(builtins))


@pytest.mark.parametrize('name, home', STAY_HOME.items())
def test_generic_names_stay_in_their_modules(name, home):
    assert name not in ours()
    assert hasattr(importlib.import_module(f'imcap_fastai.{home}'), name)


def test_each_name_comes_from_one_module():
    seen = {}
    for line in (ROOT/'imcap_fastai'/'all.py').read_text().splitlines():
        if line.startswith('from .'):
            for name in importlib.import_module('imcap_fastai' + line.split()[1]).__all__:
                seen.setdefault(name, []).append(line)
    assert not {n: where for n, where in seen.items() if len(where) > 1}


@pytest.mark.parametrize('old', ['models.transformer.ImageBlock', 'models.transformer.TransformerDecoder',
                                 'models.encoder.TimmBody'])
def test_pickles_of_the_first_version_find_their_classes(old):
    module, name = old.rsplit('.', 1)
    assert inspect.isclass(getattr(importlib.import_module(f'imcap_fastai.{module}'), name))


def test_a_raw_data_block_in_a_fresh_process(scenes, tmp_path):
    "README's raw parts: fastai's `ImageBlock` beside our `CaptionBlock`"
    table = tmp_path/'table.json'
    scenes[['image', 'captions', 'split']].to_json(table, orient='records')
    code = f"""
from imcap_fastai.all import *
df = pd.read_json({str(table)!r})
block = DataBlock(blocks=(ImageBlock, CaptionBlock(min_freq=1)), get_x=get_image, get_y=get_captions,
                  splitter=RandomSplitter(seed=1), item_tfms=Resize(64, method=ResizeMethod.Squish))
dls = block.dataloaders(df, bs=4, num_workers=0)
sizes = dict(embed_dim=8, hidden_dim=8, attn_dim=8)
learn = caption_learner(dls, resnet18, weights=None, cut=-1, decoder_kwargs=sizes)
with learn.no_bar(): learn.fit(1, 1e-3)
print(type(learn.predict(df.image[0])).__name__)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == 'Caption', done.stderr
