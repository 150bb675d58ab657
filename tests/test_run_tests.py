"""`make test` itself: its last lines, what notebooks keep, what it finds wrong, and what it did not test."""
import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import notebooks
import numpy as np
import pytest
import run_tests
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

def code(source, *outputs, **kwargs):
    return dict(cell_type='code', id=f'id{abs(hash(source))}', metadata={}, source=source,
                outputs=list(outputs),
                execution_count=None) | kwargs

def markdown(source):
    return dict(cell_type='markdown', id=f'id{abs(hash(source))}', metadata={}, source=source)

def printed(text, name='stdout'):
    return dict(output_type='stream', name=name, text=text)

def picture(size):
    "A PNG of noise, which cannot be compressed"
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype='uint8')
    out = io.BytesIO()
    Image.fromarray(noise).save(out, 'PNG')
    data = {'image/png': base64.b64encode(out.getvalue()).decode(), 'text/plain': '<Figure>'}
    return dict(output_type='display_data', data=data, metadata={})

@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that writes a notebook with these cells into a folder of its own, which counts as the
    repository"""
    (tmp_path/'nbs').mkdir()
    monkeypatch.setattr(notebooks, 'ROOT', tmp_path)
    monkeypatch.setattr(notebooks, 'NBS', tmp_path/'nbs')
    def write(*cells, **kwargs):
        f = tmp_path/'nbs'/'00_toy.ipynb'
        notebooks.write(dict(cells=list(cells), metadata={}, nbformat=4, nbformat_minor=5) | kwargs, f)
        return f
    return write

@pytest.mark.parametrize('cells,says', [
    ([code('1', id=None)], 'without an id'),
    ([code('1'), code('1')], 'same id'),
    ([code('1', execution_count=3)], 'nbdev_clean'),
    ([code('1', metadata=dict(tags=['x']))], 'nbdev_clean'),
    ([code('# a comment\n#| export\nx = 1')], 'must come first'),
    ([code('# a comment\n#| exporti\nx = 1')], 'must come first'),
    ([markdown('# Title\n- key: value')], 'front matter'),
    ([markdown('# Title'), markdown('- skip_exec: true')], 'skip_exec'),
    ([code('1', printed('/tmp/x/y.png\n'))], 'names /tmp/'),
    ([code('1', printed('careful', 'stderr'))], 'stderr'),
    ([code('#| volatile\n1', printed('3 s'))], 'marked volatile'),
    ([code('1', picture(300))], 'draw it smaller'),
    ([code('1', dict(output_type='error', ename='E', evalue='', traceback=[]))], 'an error')])
def test_what_is_not_clean(make, cells, says):
    found = list(notebooks.unclean(make(*cells)))
    assert len(found) == 1 and says in found[0], found

def test_a_clean_notebook_with_outputs(make):
    f = make(markdown('# Title'), code('#| export\nx = 1'), code('x', printed('1\n'), picture(20)))
    assert list(notebooks.unclean(f)) == []
    assert next(notebooks.unclean(make(nbformat_minor=4))) == 'is not nbformat 4.5'

def test_outputs_are_kept(make):
    """Streams merged, stderr dropped, a picture small enough, nothing of a volatile cell; a second run
    changes nothing"""
    draw = 'import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 1))\nax.plot([1, 2]);'
    f = make(code('print(1)'), code('import sys\nprint(2, file=sys.stderr)\nprint(3)\nobject()'),
             code('#| volatile\nimport time\ntime.time()'), code(draw))
    assert notebooks.keep(f) == []
    first, second, third, fourth = (cell['outputs'] for cell in notebooks.read(f)['cells'])
    assert first == [printed('1\n')] and third == []
    assert second[0] == printed('3\n') and second[1]['data'] == {'text/plain': '<object>'}
    assert 'image/png' in fourth[0]['data']
    assert list(notebooks.unclean(f)) == []
    kept = f.read_text()
    ran, fault = notebooks.run(f)
    assert not fault and list(notebooks.differences(notebooks.read(f), ran)) == []
    assert notebooks.keep(f) == [] and f.read_text() == kept

def test_another_output_is_found(make):
    f = make(code('print(1)', printed('2\n')), code('print(5)'))
    ran, fault = notebooks.run(f)
    found = list(notebooks.differences(notebooks.read(f), ran))
    assert not fault and len(found) == 2 and 'tools/run_tests.py keep' in found[0], found

def test_a_temporary_path_is_not_kept(make):
    f = make(code('import tempfile\ntempfile.gettempdir() + "/x"'))
    before = f.read_text()
    assert 'mark the cell `#| volatile`' in notebooks.keep(f)[0] and f.read_text() == before

@pytest.mark.parametrize('source,says', [('assert 1 == 2', 'AssertionError'),
                                         ('while True: pass', 'stopped after 2 s'),
                                         ('import os\nos.kill(os.getpid(), 9)', 'killed by signal 9')])
def test_a_notebook_that_fails(make, source, says):
    ran, fault = notebooks.run(make(code(source)), timeout=2 if 'stopped' in says else 60)
    assert ran == {} and fault.startswith('00_toy: ') and says in fault

def test_slow_cells_and_directives(make):
    f = make(code('#| slow\nprint(1)'), code('#| eval: false\nprint(2)'))
    assert notebooks.run(f)[0] == {}
    assert len(notebooks.run(f, ['slow'])[0]) == 1

def test_cells_that_need_something(make):
    make(code("if shutil.which('java'):\n    pass"), code('x = 1\nif has_meteor:\n    pass'),
         code("#| export\nif shutil.which('java'):\n    pass"), code('x = 3'))
    assert notebooks.cells_that_need('Java') == ['00_toy', '00_toy']

def test_last_line():
    res = subprocess.run([sys.executable, 'tools/run_tests.py', 'clean'], cwd=ROOT, text=True,
                         capture_output=True)
    assert res.returncode == 0, res.stdout
    assert re.fullmatch(r'\d\d+ passed, 0 failed', res.stdout.splitlines()[-1]), res.stdout

def test_counts():
    counts = run_tests.Counts()
    counts.number = dict(passed=4, skipped=2)
    assert counts.line(0) == '4 passed, 0 failed, 2 skipped'
    assert counts.line(3) == '4 passed, 1 failed, 2 skipped'
    counts.number = dict(passed=4, failed=1, error=2)
    assert counts.line(1) == '4 passed, 3 failed'

def test_page_without_a_browser(tmp_path):
    """Where there is no browser, pytest's last lines say how many tests of the page that cost, and how to
    have one"""
    env = os.environ | dict(PATH=str(tmp_path), PLAYWRIGHT_BROWSERS_PATH=str(tmp_path))
    out = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                          'web_app/tests/test_page.py'],
                         cwd=ROOT, env=env, capture_output=True, text=True).stdout
    assert 'no chromium on PATH: apt install chromium' in '\n'.join(out.splitlines()[-3:]), out
    assert ' skipped' in out.splitlines()[-1]
