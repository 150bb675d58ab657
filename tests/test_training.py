"What a run says and does: columns in its log, a full disk, figures."
import json
import subprocess
import sys

import pytest

ROOT_CODE = """
import resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from imcap_fastai.cli import train_cmd
sys.exit(train_cmd(sys.argv[2:]))
"""
SMALL = ['--arch', 'resnet18', '--weights', 'none', '--cut', '-2', '--image-size', '64', '--bs', '16',
         '--min-freq', '1', '--fraction', '0.01',
         '--embed-dim', '8', '--hidden-dim', '8', '--attn-dim', '8', '--fine-tune-epochs', '0', '--tokenizer',
         'spacy', '--num-workers', '0']


def train(tmp_path, *args, limit=2**40):
    cmd = [sys.executable, '-W', 'ignore', '-c', ROOT_CODE, str(limit), 'shapes', '--artifact-dir',
           str(tmp_path/'run'), *SMALL, *args]
    return subprocess.run(cmd, capture_output=True, text=True, cwd=tmp_path)


def test_a_log_without_a_terminal_has_names_and_columns(tmp_path):
    done = train(tmp_path, '--epochs', '2')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    title = ['epoch', 'train_loss', 'valid_loss']
    head = next(i for i, line in enumerate(lines) if line.split()[:3] == title)
    rows = [line for line in lines[head+1:] if line.split()[:1] in (['0'], ['1'])]
    assert [row.split()[0] for row in rows] == ['0', '1']
    assert [len(row) for row in rows] == [len(lines[head])] * 2
    assert lines.count(lines[head]) == 1
    assert json.loads((tmp_path/'run'/'scores.json').read_text())[0]['stage'] == 'frozen'


@pytest.mark.skipif(sys.platform == 'win32', reason='needs resource limits')
def test_a_full_disk_says_so_and_how_to_go_on(tmp_path):
    "A limit on the size of files fails like a full disk, in the best epoch's file, which fastai writes"
    done = train(tmp_path, '--epochs', '1', '--no-cache', limit=300_000)
    assert done.returncode == 1
    assert 'nothing more can be written' in done.stderr, done.stderr
    assert '--resume --artifact-dir' in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('n', [1, 2, 3])
def test_epochs_have_whole_ticks(n):
    from imcap_fastai.plots import plot_epochs
    fig = plot_epochs([dict(epoch=i, train_loss=1., valid_loss=2., bleu4=3. + i) for i in range(n)])
    fig.canvas.draw()
    for ax in fig.axes:
        low, high = ax.get_xlim()
        ticks = [t for t in ax.get_xticks() if low <= t <= high]
        assert ticks and all(float(t).is_integer() for t in ticks)


def test_trackers_wait_for_a_bleu_to_speak_of(make_learner):
    "Without one 4-gram matched the scorer's BLEU-4 is noise; the first epoch must not win by it"
    from fastai.learner import Metric
    from imcap_fastai.training import BestBleu, StopOnBleu
    values = [5e-6, 1e-8, 0., 1e-7, 2., 1.9, 1.8, 1.7, 9.]

    class Scripted(Metric):
        name = 'bleu4'

        def reset(self): pass

        def accumulate(self, learn): self.now = values[learn.epoch]

        @property
        def value(self): return self.now

    learn = make_learner(metrics=Scripted())
    best = BestBleu(monitor='bleu4', fname='best')
    saved = []
    best._save = lambda name: saved.append(learn.epoch) or learn.save(name)
    learn.fit(len(values), 1e-12, cbs=[best, StopOnBleu(monitor='bleu4', patience=3)])
    assert len(learn.recorder.values) == 8
    assert saved == [0, 1, 2, 3, 4]
