"""The library as users have it: its wheel, in a fresh environment with the newest versions.

settings.ini says which are allowed. tests/test_newest.py builds, installs, runs a notebook and a short demo,
and exchanges captioners with this environment. It needs uv, and the network or uv's cache. The environment is
removed afterwards.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT/'tools'
WHEEL_SOURCES = ['imcap_fastai', 'web_app', 'setup.py', 'settings.ini', 'README.md', 'MANIFEST.in', 'LICENSE']
NOTEBOOKS = ['50_learner']
CHECKS = ['the wheel', 'captioners from here to there', 'captioners from there to here', 'the demo',
          *NOTEBOOKS]
DEMO_WRITES = ['captioner/captioner.json', 'captioner.pkl', 'captions.png', 'score_card.html']
OFFLINE = re.compile(r'failed to fetch|request failed|error sending request|dns error|connect|timed? ?out',
                     re.I)
PACKAGES = ('fastai', 'fastcore', 'fasttransform', 'plum-dispatch', 'torch', 'numpy', 'pandas', 'pillow',
            'spacy')

class Skipped(Exception):
    "Why nothing could be tested, and how to have it"

class Failed(Exception):
    "What was wrong"

def find_uv():
    "uv of this environment, or on the PATH"
    beside = Path(sys.executable).with_name('uv')
    found = str(beside) if beside.exists() else shutil.which('uv')
    if found is None:
        raise Skipped('there is no uv: make env')
    return found

def run(command, cwd, python=None, timeout=600):
    "Run a command, with the programs of `python`'s environment first on the PATH: exit code, output"
    env = os.environ | dict(MPLBACKEND='Agg', PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1',
                            MKL_NUM_THREADS='1')
    env.pop('PYTHONPATH', None)
    if python is not None:
        env['PATH'] = f"{Path(python).parent}{os.pathsep}{env['PATH']}"
    try:
        res = subprocess.run([str(o) for o in command], cwd=cwd, env=env, text=True, errors='replace',
                             timeout=timeout,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as e:
        return 124, f'stopped after {timeout} s\n{e.output or ""}'
    return res.returncode, res.stdout

def install_fault(output):
    "uv could not install: `Skipped` if that is the network's fault, else `Failed`"
    said = output.strip()
    if OFFLINE.search(said) and 'No solution found' not in said:
        reason = said.splitlines()[-1].strip()[:120]
        return Skipped(f'the newest versions cannot be fetched ({reason}): try again with the network')
    return Failed(f'the newest versions cannot be installed:\n{said[-3000:]}')

def scratch_folder(uv):
    "A new folder on the file system of uv's cache, or gigabytes would be copied instead of linked"
    cache = Path(run([uv, 'cache', 'dir'], ROOT)[1].strip())
    near = cache.exists() and cache.stat().st_dev != Path(tempfile.gettempdir()).stat().st_dev
    return tempfile.TemporaryDirectory(prefix='imcap-newest-', dir=cache.parent if near else None)

def build_wheel(uv, scratch):
    source = scratch/'source'
    source.mkdir()
    for name in WHEEL_SOURCES:
        if (ROOT/name).is_dir():
            shutil.copytree(ROOT/name, source/name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT/name, source/name)
    code, output = run([uv, 'build', '-q', '--wheel', '--no-build-isolation', '--python', sys.executable,
                        '-o', scratch/'dist', source], scratch)
    if code:
        raise Failed(f'the wheel cannot be built:\n{output[-3000:]}')
    return next((scratch/'dist').glob('*.whl'))

def install_newest(uv, scratch):
    "A fresh environment with the wheel and the newest of everything; returns its Python"
    wheel = build_wheel(uv, scratch)
    code, output = run([uv, 'venv', '-q', '--python', sys.executable, scratch/'env'], scratch)
    if code:
        raise Failed(f'uv venv failed:\n{output[-3000:]}')
    python = scratch/'env'/'bin'/'python'
    code, output = run([uv, 'pip', 'install', '-q', '--python', python,
                        f'imcap_fastai[web] @ {wheel.as_uri()}'], scratch)
    if code:
        raise install_fault(output)
    return python

def versions(python):
    code = f"""
from importlib.metadata import version
print(*(f'{{name}} {{version(name)}}' for name in {PACKAGES!r}), sep=', ')
"""
    return run([python, '-c', code], ROOT/'tools')[1].strip()

def check_from_wheel(python, scratch):
    "The library in the new environment is the installed one, with its recipes and the server's page"
    code = """
import sys
from pathlib import Path
import imcap_fastai.web_app
from imcap_fastai.training import recipe_names
server = Path(imcap_fastai.web_app.__file__)
assert server.is_relative_to(sys.prefix), server
assert (server.parent/'static'/'index.html').is_file()
assert len(recipe_names()) >= 5, recipe_names()
"""
    wrong, output = run([python, '-c', code], scratch)
    if not wrong:
        wrong, output = run([python.with_name('imcap_serve'), '--help'], scratch)
    return output if wrong else ''

def check_notebook(python, name):
    wrong, output = run([python, TOOLS/'cells.py', ROOT/'nbs'/f'{name}.ipynb'], TOOLS, python)
    return output if wrong else ''

def check_demo(python, scratch):
    "A demo so short that its score is too low, which is exit code 1; it must run and write its files"
    out = scratch/'demo'
    short = ['--epochs', '1', '--frozen-epochs', '1', '--n-train', '64', '--n-valid', '10', '--out', out]
    code, output = run([python, '-m', 'imcap_fastai.demo', *short], scratch, python)
    lacks = [name for name in DEMO_WRITES if not (out/name).exists()]
    if code not in (0, 1) or lacks or 'Traceback' in output:
        return f'exit code {code}, lacks {lacks}\n{output}'
    return ''

def check_exchange(maker, reader, folder):
    "Captioners exported in one environment say the same in the other"
    folder.mkdir()
    for python, action in ((maker, 'make'), (reader, 'check')):
        wrong, output = run([python, TOOLS/'exchange.py', action, folder], TOOLS, python)
        if wrong:
            return f'{action} with {python}\n{output}'
    return ''

def check(name, python, scratch):
    "Do one of `CHECKS` in the new environment; returns what went wrong"
    here = Path(sys.executable)
    if name == 'the wheel':
        return check_from_wheel(python, scratch)
    if name == 'the demo':
        return check_demo(python, scratch)
    if name == 'captioners from here to there':
        return check_exchange(here, python, scratch/'there')
    if name == 'captioners from there to here':
        return check_exchange(python, here, scratch/'here')
    return check_notebook(python, name)
