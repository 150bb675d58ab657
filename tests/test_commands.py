"""The commands' doors: help and mistakes are answered before PyTorch is imported, in one line, and outputs
are tried before the work."""
import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from imcap_fastai import cli
try: code = getattr(cli, sys.argv[1])(sys.argv[2:])
except SystemExit as e: code = e.code
heavy = [m for m in ('torch', 'fastai', 'pandas', 'matplotlib', 'spacy') if m in sys.modules]
print(json.dumps([code or 0, heavy]))
"""


def run(tmp_path, command, *args):
    "Exit code, heavy packages that were imported, what went to the error channel"
    done = subprocess.run([sys.executable, '-c', CODE, command, *args], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.stdout, done.stderr
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, done.stderr


@pytest.fixture
def place(tmp_path):
    "A folder with an image, a table and something that looks like a captioner"
    (tmp_path/'photo.jpg').write_bytes(b'not looked at')
    (tmp_path/'table.csv').write_text('image,caption\n')
    (tmp_path/'captioner').mkdir()
    (tmp_path/'file').write_text('')
    return tmp_path


@pytest.mark.parametrize('command', ['train_cmd', 'eval_cmd', 'caption_cmd', 'resize_cmd'])
def test_help_needs_no_library(place, command):
    assert run(place, command, '--help')[:2] == (0, [])


@pytest.mark.parametrize('code, says, command, args', [
    (2, "'--lr'", 'train_cmd', ['table.csv', '--learning-rate', '3']),
    (2, "'--beam-size'", 'caption_cmd', ['captioner', 'photo.jpg', '--num-beams', '3']),
    (2, 'not a whole number', 'train_cmd', ['table.csv', '--epochs', 'ten']),
    (1, 'what to train on', 'train_cmd', []),
    (1, 'no file or folder', 'train_cmd', ['nowhere']),
    (1, "no recipe is called 'Z'", 'train_cmd', ['table.csv', '--recipe', 'Z']),
    (1, 'cannot be written', 'train_cmd', ['table.csv', '--artifact-dir', 'file']),
    (1, 'no such file', 'caption_cmd', ['captioner', 'gone.jpg']),
    (1, 'no captioner at', 'caption_cmd', ['gone', 'photo.jpg']),
    (1, 'captioner is a folder', 'caption_cmd', ['captioner', 'photo.jpg', '--out', 'captioner']),
    (1, 'cannot be written', 'caption_cmd', ['captioner', 'photo.jpg', '--out', 'file/captions.csv']),
    (1, 'no captioner at', 'eval_cmd', ['gone', 'table.csv']),
    (1, 'cannot be written', 'eval_cmd', ['captioner', 'table.csv', '--report', 'file/card.html']),
    (1, 'captioner is a folder', 'eval_cmd', ['captioner', 'table.csv', '--out', 'captioner']),
    (1, 'no folder gone', 'resize_cmd', ['gone', 'small']),
])
def test_a_mistake_is_answered_before_the_work(place, code, says, command, args):
    got, heavy, said = run(place, command, *args)
    assert (got, heavy) == (code, [])
    assert says in said and 'Traceback' not in said
    assert len(said.splitlines()) <= 2


def test_trying_an_output_leaves_nothing_behind(place):
    run(place, 'caption_cmd', 'gone', 'photo.jpg', '--out', 'new/captions.csv')
    assert not (place/'new'/'captions.csv').exists()
    (place/'old.csv').write_text('precious')
    run(place, 'eval_cmd', 'captioner', 'table.csv', '--out', 'old.csv', '--report', 'file/card.html')
    assert (place/'old.csv').read_text() == 'precious'


def test_unknown_device_is_one_line(place):
    done = subprocess.run([sys.executable, '-c', CODE, 'caption_cmd', 'captioner', 'photo.jpg', '--device',
                           'cuda:99'],
                          capture_output=True, text=True, cwd=place)
    assert "device='cuda:99' is not here" in done.stderr and 'Traceback' not in done.stderr


def test_captions_with_options_of_the_search(make_learner, place):
    from PIL import Image
    from imcap_fastai.captioner import export_captioner, load_captioner
    Image.new('RGB', (64, 64), 'red').save(place/'red.png')
    export_captioner(make_learner(), place/'captioner')
    args = ['--n-best', '3', '--temperature', '5', '--top-k', '9', '--top-p', '.9', '--seed', '3', '--format',
            'json', '--device', 'cpu',
            '--no-repeat-ngram-size', '2', '--out', 'said.json']
    code, heavy, said = run(place, 'caption_cmd', 'captioner', 'red.png', *args)
    assert code == 0, said
    got = [c['caption'] for c in json.loads((place/'said.json').read_text())[0]['n_best']]
    want = load_captioner(place/'captioner').caption(place/'red.png', n_best=3, temperature=5., top_k=9,
                                                     top_p=.9, seed=3, no_repeat_ngram_size=2)
    assert got == [c.text for c in want.n_best]
