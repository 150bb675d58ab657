"""The step that installs the newest versions: what it skips and what it fails on, and captioners that
travel."""
import sys
from pathlib import Path
import exchange
import newest
import pytest

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(scope='module')
def fresh():
    "A fresh environment with the newest versions, and a folder beside it"
    try:
        uv = newest.find_uv()
        with newest.scratch_folder(uv) as folder:
            yield newest.install_newest(uv, Path(folder)), Path(folder)
    except newest.Skipped as e:
        pytest.skip(f'the newest versions: {e}')

@pytest.mark.parametrize('name', newest.CHECKS)
def test_with_the_newest_versions(fresh, name):
    python, folder = fresh
    fault = newest.check(name, python, folder)
    if fault:
        pytest.fail(f'{newest.versions(python)}\n{fault.strip()[-6000:]}', pytrace=False)

@pytest.mark.parametrize('said', ['error: Failed to fetch: `https://example.org/simple/fastai/`',
                                  'error: Request failed after 3 retries\n  Caused by: dns error'])
def test_no_network_is_skipped(said):
    fault = newest.install_fault(said)
    assert isinstance(fault, newest.Skipped) and 'with the network' in str(fault)

@pytest.mark.parametrize('said',
                         ['  No solution found when resolving dependencies: because fastai needs ...',
                                  'error: The wheel is invalid'])
def test_versions_that_do_not_go_together_fail(said):
    assert isinstance(newest.install_fault(said), newest.Failed)

def test_no_uv_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(newest.sys, 'executable', str(tmp_path/'python'))
    monkeypatch.setenv('PATH', '')
    with pytest.raises(newest.Skipped, match='make env'):
        newest.find_uv()

def test_what_it_runs_is_there():
    for name in newest.NOTEBOOKS:
        assert (ROOT/'nbs'/f'{name}.ipynb').is_file(), name
    for name in newest.WHEEL_SOURCES:
        assert (ROOT/name).exists(), name

def test_exchange_notices_a_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, 'SIZES', dict(lstm=exchange.SIZES['lstm']))
    exchange.make(tmp_path)
    exchange.check(tmp_path)
    note = tmp_path/'said.json'
    note.write_text(note.read_text().replace('said": {"lstm": [["', 'said": {"lstm": [["zebra '))
    with pytest.raises(AssertionError, match='zebra'):
        exchange.check(tmp_path)

def test_cells_without_nbdev(tmp_path):
    "Cells run as in a notebook: one namespace, top-level await, classes that pickle"
    import json, subprocess
    cells = ['#| hide\nfrom nbdev.showdoc import *', '#| slow\nraise RuntimeError', 'class A: pass',
             'import pickle\nassert type(pickle.loads(pickle.dumps(A()))) is A',
             'from pathlib import Path\nPath("ran").touch()']
    f = tmp_path/'some.ipynb'
    f.write_text(json.dumps(dict(cells=[dict(cell_type='code', source=source) for source in cells])))
    run = [sys.executable, ROOT/'tools'/'cells.py', f]
    assert subprocess.run(run).returncode == 0 and (tmp_path/'ran').exists()
    f.write_text(json.dumps(dict(cells=[dict(cell_type='code', source='x = 1\nassert x == 2')])))
    failed = subprocess.run(run, capture_output=True, text=True)
    assert failed.returncode == 1 and 'some.ipynb, cell 0' in failed.stderr
