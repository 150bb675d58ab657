"""Tutorials: every command, option, function and method that they name exists.

Most of their cells are slow, so running them is no everyday check. Their text and code are read instead.
"""
import ast
import builtins
import importlib
import inspect
import json
import pkgutil
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb'))
FENCE = re.compile(r'^```(\w*)\n(.*?)^```', re.M | re.S)
SPAN = re.compile(r'`([^`]+)`')
OPTION = re.compile(r'(?<!\S)--[a-z][\w-]*')


# ---- what exists

@pytest.fixture(scope='module')
def everything():
    "Name -> object of what `from imcap_fastai.all import *` brings"
    return vars(importlib.import_module('imcap_fastai.all'))


@pytest.fixture(scope='module')
def public():
    "Every public name of every module of the library"
    import imcap_fastai
    names = set()
    for module in pkgutil.walk_packages(imcap_fastai.__path__, 'imcap_fastai.'):
        if '.web_app' not in module.name:
            names |= set(getattr(importlib.import_module(module.name), '__all__', ()))
    return names


@pytest.fixture(scope='module')
def commands():
    "Command -> its options, written with hyphens"
    from imcap_fastai import cli
    settings = ConfigParser()
    settings.read(ROOT/'settings.ini')
    scripts = re.findall(r'(imcap_\w+)=', settings['DEFAULT']['console_scripts'])
    found = {}
    for name in scripts:
        if name == 'imcap_serve':
            fields = pytest.importorskip('web_app.settings').Settings.model_fields
            found[name] = {f"--{field.replace('_', '-')}" for field in fields} | {'--no-trust', '--help'}
        else:
            parser = getattr(cli, f"{name.removeprefix('imcap_')}_parser")()
            found[name] = set(parser._option_string_actions)
    return found


def make_targets():
    return set(re.findall(r'^([a-z][\w-]*):', (ROOT/'Makefile').read_text(), re.M))


# ---- what a text names

def commands_in(text):
    "(command, its options) of each line of a shell, or of a code span"
    for line in re.sub(r'\\+\n', ' ', text).splitlines():
        for call in re.finditer(r'(?:(?<=^)|(?<=[\s/]))(imcap_(?!fastai)\w+)(?![\w./])([^;|&#]*)', line):
            yield call[1], OPTION.findall(call[2])


def text_faults(text, commands, public, defined=()):
    "What Markdown names that does not exist"
    spans = SPAN.findall(FENCE.sub('', text))
    shell = [code for language, code in FENCE.findall(text) if language in ('bash', 'sh', '')]
    faults = []
    for code in [*shell, *spans]:
        for command, options in commands_in(code):
            if command not in commands:
                faults.append(f'there is no command {command}')
                continue
            for option in options:
                if option.replace('_', '-') not in commands[command]:
                    faults.append(f'{command} has no option {option}')
        for target in re.findall(r'^make ([a-z][\w-]*)', code, re.M):
            if target not in make_targets():
                faults.append(f'there is no make {target}')
    known = set().union(*commands.values())
    for span in spans:
        if OPTION.match(span) and OPTION.match(span)[0] not in known:
            faults.append(f'no command has the option {span}')
        called = re.match(r'([A-Za-z_]\w*)\(', span)
        exists = called and (called[1] in public or called[1] in defined or hasattr(builtins, called[1]))
        if called and not exists:
            faults.append(f'there is no {called[1]}()')
        method = re.match(r'learn\.(\w+)\(', span)
        if method and not is_method(method[1]):
            faults.append(f'a learner has no {method[1]}()')
    return faults


def is_method(name):
    from imcap_fastai.learner import CaptionLearner
    return hasattr(CaptionLearner, name) or name in ('model', 'loss_func', 'opt_func')


# ---- what code uses

def defined_in(tree):
    "Names that code binds itself: assigned, imported, defined, parameters"
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split('.')[0])
    return names


def code_faults(source, everything):
    "What Python code uses that does not exist"
    tree = ast.parse(source)
    names = defined_in(tree)
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('imcap_fastai'):
            module = importlib.import_module(node.module)
            imported = [a.name for a in node.names if a.name != '*']
            faults += [f'{node.module} has no {name}' for name in imported if not hasattr(module, name)]
        elif isinstance(node, ast.Name) and node.id not in names:
            if node.id not in everything and not hasattr(builtins, node.id):
                faults.append(f'{node.id} is neither defined nor in imcap_fastai.all')
        elif isinstance(node, ast.Call):
            faults += call_faults(node, names, everything)
    return faults


def call_faults(call, names, everything):
    "Methods that a learner does not have, and keywords that a function of ours does not take"
    function = call.func
    of_a_name = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
    if of_a_name and function.value.id == 'learn':
        if not is_method(function.attr):
            yield f'a learner has no {function.attr}()'
    if not isinstance(function, ast.Name) or function.id in names:
        return
    target = everything.get(function.id)
    if not getattr(target, '__module__', '').startswith('imcap_fastai'):
        return
    parameters = inspect.signature(target).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return
    takes = {p.name for p in parameters}
    for keyword in call.keywords:
        if keyword.arg and keyword.arg not in takes:
            yield f'{function.id}() takes no {keyword.arg}'


def read(file):
    "Code of the cells as one program, and the Markdown with the programs in it"
    cells = json.loads(file.read_text(encoding='utf-8'))['cells']
    code = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    code = ['\n'.join(line for line in cell.splitlines() if not line.startswith(('%', '!'))) for cell in code]
    text = '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    return '\n'.join(code), text


# ---- the tests

@pytest.mark.parametrize('file', TUTORIALS, ids=lambda file: file.stem)
def test_what_a_tutorial_names_exists(file, everything, commands, public):
    code, text = read(file)
    faults = code_faults(code, everything)
    faults += text_faults(text, commands, public | set(everything), defined_in(ast.parse(code)))
    for language, program in FENCE.findall(text):
        if language == 'python':
            faults += code_faults(program, everything)
    assert not faults, '\n'.join([file.name, *faults])


def test_the_list_of_tutorials(commands, public):
    text = (ROOT/'nbs'/'tutorials'/'README.md').read_text(encoding='utf-8')
    assert not text_faults(text, commands, public)
    assert {f.name for f in TUTORIALS} <= set(re.findall(r'\((\w+\.ipynb)\)', text))


@pytest.mark.parametrize('text, fault', [
    ('Say `imcap_train data --image-column picture`.', 'imcap_train has no option --image-column'),
    ('```bash\nimcap_caption model \\\n    photos --n-best 3 --quick\n```',
     'imcap_caption has no option --quick'),
    ('Say `imcap_translate model`.', 'there is no command imcap_translate'),
    ('Or `make everything`.', 'there is no make everything'),
    ('With `--trust-me` it loads.', 'no command has the option --trust-me'),
    ('`describe_all(df)` tells.', 'there is no describe_all()'),
    ('`learn.captionise(df)` tells.', 'a learner has no captionise()'),
])
def test_a_stale_text_is_found(text, fault, commands, public):
    assert text_faults(text, commands, public) == [fault]


@pytest.mark.parametrize('code, fault', [
    ('sample(learn := 1)', 'sample is neither defined nor in imcap_fastai.all'),
    ('from imcap_fastai.decode import beam_serach', 'imcap_fastai.decode has no beam_serach'),
    ('learn = 1\nlearn.captionise()', 'a learner has no captionise()'),
    ('describe(1, picture=True)', 'describe() takes no picture'),
])
def test_a_stale_program_is_found(code, fault, everything):
    assert code_faults(code, everything) == [fault]


def test_what_exists_is_no_fault(commands, public, everything):
    text = ('Say `imcap_train data --image_col picture`, `describe(df)`, `learn.captions(df)`, `make test`, '
            '`--trust`.')
    assert not text_faults(text, commands, public)
    assert not code_faults('def f(x): return [csv_table(y, image_col=x) for y in x]\nprint(f(1))', everything)
