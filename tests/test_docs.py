"""The documentation builds without a warning, and its checks find what is broken."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11),
                                reason='Sphinx 9 needs Python 3.11: make env PYTHON=python3.11')
ROOT = Path(__file__).resolve().parents[1]
BAD_PAGE = """# Start

[gone](gone.md) [no heading](#nowhere) [elsewhere](other.md#nowhere)
![picture](gone.png) {py:obj}`no.such.thing`

$\\nosuchcommand$

<iframe src="https://elsewhere.example/page"></iframe>
"""

def sphinx(source, out):
    "Build the pages in the folder `source`: Sphinx's exit code and what it said"
    command = [sys.executable, '-m', 'sphinx', '-n', '-W', '--keep-going', '-q', '-E', '-b', 'html', '-c',
               'docs', source, out]
    res = subprocess.run(command, cwd=ROOT, env=os.environ | dict(MPLBACKEND='Agg'), text=True,
                         errors='replace',
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return res.returncode, res.stdout

def text_of(page):
    return re.sub(r'<[^>]+>', '', page)

def test_site():
    "What `make docs` does; the pages show what notebooks export, and names lead to their description"
    code, said = sphinx('.', '_docs/html')
    assert code == 0, said
    pages = {f.stem: f.read_text(encoding='utf-8') for f in (ROOT/'_docs'/'html').rglob('*.html')}
    samplers = pages['data.samplers']
    assert 'class SortishSampler(' in text_of(samplers)
    assert 'id="sortishsampler"' in samplers and 'id="imcap_fastai.data.samplers.SortishSampler"' in samplers
    assert '/blob/main/imcap_fastai/data/samplers.py#L' in samplers
    assert '#| export' not in samplers and '<th class="head"><p><strong>Details</strong></p></th>' in samplers
    assert re.search(r'<a class="reference \w+" href="data.samplers.html#\w+"><code', ''.join(pages.values()))
    rooms = re.findall('class="caption"[^>]*><span class="caption-text">([^<]+)', pages['index'])
    assert rooms[:3] == ['Tutorials', 'Foundations', 'Models'] and rooms[-1] == 'Project'
    assert '<math' in pages['models.sat'] and '<img' in pages['quickstart']

@pytest.fixture(scope='module')
def complaints(tmp_path_factory):
    source = tmp_path_factory.mktemp('source')
    (source/'README.md').write_text(BAD_PAGE)
    (source/'other.md').write_text('# Other\n')
    code, said = sphinx(source, tmp_path_factory.mktemp('site'))
    assert code == 1, said
    return said

@pytest.mark.parametrize('fault', ["'gone.md'", "'nowhere'", "doc 'other': 'nowhere'", 'gone.png',
                                   'no.such.thing',
                                   'nosuchcommand cannot be drawn', 'loads https://elsewhere.example/page'])
def test_a_broken_page_fails(complaints, fault):
    found = [line for line in complaints.splitlines() if fault in line and 'WARNING' in line]
    assert found, complaints
