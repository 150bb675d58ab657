"""The environment holds what CONTRIBUTING.md promises."""
import re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

def run(*args):
    return subprocess.run(args, cwd=ROOT, capture_output=True, text=True, check=True).stdout

def test_jupyterlab():
    """JupyterLab is there in the version that the lock file names, and `make notebook` opens a tutorial that
    exists"""
    lock = (ROOT/'requirements.lock').read_text()
    assert run(sys.executable, '-m', 'jupyterlab', '--version').strip() == re.search(r'^jupyterlab==(\S+)',
                                                                                     lock, re.M)[1]
    command = run('make', '-n', 'notebook').splitlines()
    lab = ' '.join(command).split('jupyter lab')[1]
    tutorial = re.search(r'/lab/tree/(\S+\.ipynb)', lab)[1]
    assert (ROOT/tutorial).is_file()
    assert any('-u MPLBACKEND' in line for line in command)  # or the kernel would not draw inline

def test_lock_names_no_host():
    assert not re.search(r'https?://|index-url', (ROOT/'requirements.lock').read_text())

def test_hints_name_a_checkout():
    """The package is not on PyPI: what to install is `pip install .` or `pip install '.[web]'`, as in
    README.md"""
    found = []
    for pattern in ('*.md', 'imcap_fastai/**/*.py', 'web_app/*', 'nbs/**/*.ipynb', 'nbs/**/*.md'):
        for f in ROOT.glob(pattern):
            text = f.read_text(encoding='utf-8') if f.is_file() else ''
            if re.search(r"pip install (-\S+ )*['\"]?imcap[_-]fastai", text):
                found.append(f.relative_to(ROOT).as_posix())
    assert found == []
