"""A new decoder is one notebook and one registry line: what its notebook would export is put into a copy
of the library, and nothing else is changed there."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOY = '''
import torch
from torch import nn
from imcap_fastai.models.decoder import Decoder, DecoderState, register_decoder

@register_decoder('toy')
class ToyDecoder(Decoder):
    "The mean of the image, and all words so far, in no order"
    attends = False
    def __init__(self, feat_dim, vocab_size,
        toy_width:int=8 # Units of the toy
    ):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, toy_width)
        self.image, self.out = nn.Linear(feat_dim, toy_width), nn.Linear(toy_width, vocab_size)

    def init_state(self, feats):
        image = self.image(feats.as_subclass(torch.Tensor).mean(1)) # (B, P, D) -> (B, H)
        return DecoderState(dict(image=image), dict(h=image))

    def step(self, tokens, state):
        h = (state['h'] + self.embed(tokens)).tanh() # (B·k, H)
        return self.out(h), state.update(h=h), None
'''


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp('library')
    shutil.copytree(ROOT/'imcap_fastai', folder/'imcap_fastai', ignore=shutil.ignore_patterns('__pycache__'))
    (folder/'imcap_fastai'/'models'/'toy.py').write_text(TOY)
    return folder


def run(library, *args):
    code = 'import sys; from imcap_fastai import cli; sys.exit(getattr(cli, sys.argv.pop(1) + "_cmd")())'
    env = {**os.environ, 'PYTHONPATH': str(library), 'PYTHONWARNINGS': 'ignore'}
    command = [sys.executable, '-c', code, *map(str, args)]
    return subprocess.run(command, env=env, cwd=library, capture_output=True, text=True)


def test_its_options_are_in_the_help(library):
    done = run(library, 'train', '--help')
    assert '--toy-width' in done.stdout and 'Units of the toy' in done.stdout
    assert 'sat, toy, transformer' in ' '.join(done.stdout.split())


def test_it_trains_searches_exports_loads_and_is_drawn(library):
    done = run(library, 'train', 'shapes', '--decoder', 'toy', '--toy-width', 12, '--arch', 'resnet18',
               '--weights', 'none', '--cut', -1, '--image-size', 64, '--fraction', 0.02, '--min-freq', 1,
               '--bs', 8, '--epochs', 1,
               '--fine-tune-epochs', 1, '--tokenizer', 'spacy', '--artifact-dir', library/'run')
    assert done.returncode == 0, done.stderr[-2000:]
    assert (library/'run'/'samples.png').exists()
    scene = next(library.glob('run/**/*.png'))
    for model in ('captioner', 'captioner.pkl'):
        said = run(library, 'caption', library/'run'/model, scene, '--trust', '--beam-size', 3)
        assert said.returncode == 0 and len(said.stdout.split('\t')) == 2, said.stderr[-2000:]


def test_a_misspelt_option_of_it_is_named(library):
    done = run(library, 'train', 'shapes', '--decoder', 'sat', '--toy-width', 12,
               '--artifact-dir', library/'other')
    assert done.returncode == 1 and "decoder 'sat' has no option 'toy_width'; 'toy' has" in done.stderr
