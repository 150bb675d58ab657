"""Notebooks: is one clean, does it run, does it print what it keeps.

Each runs in a process of its own, so that none lives on what another has imported or patched. The processes
are forked from one that has imported the packages of others that nearly all of them need: 1 s a notebook
instead of 8 s.
"""
import atexit
import base64
import copy
import io
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
TUTORIAL_MAX_MB = 2
PICTURE_MAX_KB = 60
PRELOAD = ['torch', 'torchvision', 'fastai.vision.all', 'nbdev.test', 'pandas', 'matplotlib.pyplot', 'spacy']
CTX = multiprocessing.get_context('forkserver')

def notebooks():
    "All of them, tutorials and tests too; a name that starts with `_` or `.` is nobody's business"
    files = [f for f in NBS.rglob('*.ipynb') if not any(part[0] in '_.' for part in f.relative_to(NBS).parts)]
    return sorted(files)

def name_of(f):
    return f.relative_to(NBS).with_suffix('').as_posix()

def is_tutorial(f):
    return 'tutorials' in f.parts

def read(f):
    return json.loads(f.read_text(encoding='utf-8'))

def write(nb, f):
    "In the repository's form: the source of a cell is one string, keys are sorted"
    f.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n', encoding='utf-8')

def source_of(cell):
    return ''.join(cell['source'])

def code_cells(nb):
    return [cell for cell in nb['cells'] if cell['cell_type'] == 'code']

def has_directive(cell, name):
    return re.search(rf'^#\| *{name}\b', source_of(cell), re.M) is not None

# ---- clean

def unclean(f):
    "What is wrong with the file of a notebook, one line each"
    nb = read(f)
    cells = nb['cells']
    ids = [cell.get('id') for cell in cells]
    if (nb.get('nbformat'), nb.get('nbformat_minor')) != (4, 5):
        yield 'is not nbformat 4.5'
    if None in ids or len(set(ids)) < len(ids):
        yield 'has cells without an id or with the same id'
    elif not is_tutorial(f) and cleaned(nb) != nb:
        yield f'has execution counts or metadata: nbdev_clean --fname {f.relative_to(ROOT)}'
    for cell in code_cells(nb):
        yield from hidden_export(cell)
    if cells and cells[0]['cell_type'] == 'markdown' and re.search(r'^- .*:.*', source_of(cells[0]), re.M):
        yield 'has a list with a colon in its first cell, front matter for nbdev: give it a cell of its own'
    if any(re.search(r'^-? *skip_exec', source_of(cell), re.M) for cell in cells[:2]):
        yield 'says skip_exec: it would never run'
    yield from bad_outputs(f, code_cells(nb))

def cleaned(nb):
    "What `nbdev_clean` makes of it"
    from nbdev.clean import _nbdev_clean
    nb = copy.deepcopy(nb)
    _nbdev_clean(nb)
    return nb

def hidden_export(cell):
    "nbdev reads directives from the first lines only and drops such a cell without a word"
    lines = source_of(cell).splitlines()
    is_code = [line.strip() != '' and not line.startswith('#|') for line in lines]
    first = is_code.index(True) if True in is_code else len(lines)
    if any(re.match(r'#\| *exports?i?\b', line) for line in lines[first:]):
        yield f"cell {cell.get('id')}: `#| export` must come first, or the cell is not exported"

def bad_outputs(f, cells):
    "Library notebooks keep what is the same at every run, tutorials what is worth looking at"
    outputs = [(cell, output) for cell in cells for output in cell['outputs']]
    if any(output['output_type'] == 'error' for _, output in outputs):
        yield 'has an error in its outputs'
    if is_tutorial(f):
        if not outputs:
            yield 'is a tutorial without outputs: run it and save it'
        if f.stat().st_size > TUTORIAL_MAX_MB*2**20:
            yield f'is larger than {TUTORIAL_MAX_MB} MB: use smaller pictures'
        return
    for cell in cells:
        fault = unfit(cell)
        if fault:
            yield f"cell {cell.get('id')}: {fault}"

# ---- outputs that are kept

def fit(outputs):
    "Outputs as they are kept: one stream, nothing of stderr, no counts, no metadata, small pictures"
    from nbdev.clean import _clean_cell_output_id  # `<object at 0x7f…>` becomes `<object>`
    kept = []
    for output in outputs:
        if output['output_type'] != 'stream':
            data = {mime: ''.join(_clean_cell_output_id(value)) for mime, value in output['data'].items()
                    if re.match('text/|image/(png|svg)', mime)}
            if 'text/html' in data:
                data.pop('text/plain', None)  # how wide it is depends on the terminal
            if 'image/png' in data:
                data['image/png'] = smaller(data['image/png'])
            made = dict(output_type=output['output_type'], data=data, metadata={})
            if output['output_type'] == 'execute_result':
                made['execution_count'] = None
            kept.append(made)
        elif output['name'] == 'stdout':
            text = ''.join(_clean_cell_output_id(output['text']))
            if kept and kept[-1]['output_type'] == 'stream':
                kept[-1]['text'] += text
            else:
                kept.append(dict(output_type='stream', name='stdout', text=text))
    return kept

def smaller(picture):
    "A PNG that is too large (base64), with 256 colours"
    from PIL import Image
    if len(picture) <= PICTURE_MAX_KB*1024*4/3:
        return picture.strip()
    out = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    image.convert('RGB').quantize(256).save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()

def unfit(cell):
    "Why the outputs of a cell cannot be kept, if they cannot"
    text = json.dumps(cell['outputs'], ensure_ascii=False)
    largest = max((len(output.get('data', {}).get('image/png', '')) for output in cell['outputs']), default=0)
    if cell['outputs'] and has_directive(cell, 'volatile'):
        return 'is marked volatile and keeps an output: run `tools/run_tests.py keep`'
    if any(output.get('name') == 'stderr' for output in cell['outputs']):
        return 'keeps what was written to stderr: run `tools/run_tests.py keep`'
    for path in (tempfile.gettempdir() + '/', str(ROOT)):
        if path in text:
            return f'its output names {path}, not so elsewhere: print less, or mark the cell `#| volatile`'
    if largest > PICTURE_MAX_KB*1024*4/3:
        return f'its picture has {largest*3/4/1024:.0f} kB, more than {PICTURE_MAX_KB}: draw it smaller'

def comparable(outputs):
    "Text is compared; for a picture it is enough that there is one"
    for output in fit(outputs):
        data = output.get('data', {'text': output.get('text')})
        if any(mime.startswith('image/') for mime in data):
            data = {'a picture': ''}
        yield from sorted(data.items())

def differences(nb, ran):
    "Cells of a notebook that keep another output than they gave; `ran` has outputs by cell id"
    cells = code_cells(nb)
    if not any(cell['outputs'] for cell in cells):
        return
    for cell in cells:
        if cell['id'] not in ran or has_directive(cell, 'volatile'):
            continue
        kept, gave = list(comparable(cell['outputs'])), list(comparable(ran[cell['id']]))
        if kept != gave:
            yield (f"cell {cell['id']} keeps another output than it gave: run `tools/run_tests.py keep`, "
                   f"or mark it `#| volatile`\n   keeps {str(kept)[:1000]}\n   gave  {str(gave)[:1000]}")

# ---- running

def skipped(cell, flags):
    "Is this cell left out, as nbdev_test does?"
    from nbdev.config import get_config
    directives = cell.directives_
    off = set(get_config(path=ROOT).tst_flags.split()) - set(flags)
    return directives.get('eval:', [''])[0].lower() == 'false' or bool(off & directives.keys())

def execute(f, flags, log, results):
    "Run a notebook in this process; what it says goes to the file `log`, its outputs to `results`"
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(1, 2)
    os.chdir(Path(f).parent)
    os.environ['IN_TEST'] = '1'  # nbdev's functions that write modules do nothing then
    sys.path.insert(0, str(ROOT))
    from execnb.shell import CaptureShell
    from nbdev.process import NBProcessor
    nb = NBProcessor(f).nb
    shell = CaptureShell(f, mpl_format='png')
    ran = {}
    for cell in nb.cells:
        if cell.cell_type == 'code' and not skipped(cell, flags):
            cell.outputs = []
            shell.cell(cell)
            ran[cell.id] = cell.outputs
        if shell.exc:
            sys.stderr.write(shell.prettytb(fname=f) + '\n')
            break
    Path(results).write_text(json.dumps(ran))
    failed = shell.exc is not None
    atexit._run_exitfuncs()  # a forked process does not do so by itself, and METEOR's Java would live on
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(failed)

def run(f, flags=(), timeout=900):
    "Run a notebook in a new process: (its outputs by cell id, what went wrong)"
    CTX.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as tmp:
        log, results = Path(tmp)/'log', Path(tmp)/'results'
        log.touch()
        process = CTX.Process(target=execute, args=(str(f), list(flags), str(log), str(results)))
        process.start()
        process.join(timeout)
        fault = ''
        if process.is_alive():
            process.kill()
            process.join()
            fault = f'stopped after {timeout:g} s'
        elif process.exitcode < 0:
            fault = f'killed by signal {-process.exitcode}'
        elif process.exitcode:
            fault = 'a cell failed'
        if fault:
            said = log.read_text(errors='replace').strip()[-6000:]
            return {}, f'{name_of(f)}: {fault}\n{said}'
        return json.loads(results.read_text()), ''

def keep(f, flags=(), timeout=900):
    "Run a library notebook and store its outputs; returns what went wrong, one line each"
    ran, fault = run(f, flags, timeout)
    if fault:
        return [fault]
    nb = read(f)
    for cell in code_cells(nb):
        cell['source'] = source_of(cell)
        if has_directive(cell, 'volatile'):
            cell['outputs'] = []
        elif cell['id'] in ran:
            cell['outputs'] = fit(ran[cell['id']])
    found = [(cell['id'], unfit(cell)) for cell in code_cells(nb)]
    faults = [f'{name_of(f)}, cell {cell_id}: {fault}' for cell_id, fault in found if fault]
    if not faults:
        write(cleaned(nb), f)
    return faults

# ---- what is not tested: it is said, with the reason and the remedy

def package_missing(name):
    return find_spec(name) is None

# What tests may lack: its name, is it missing, cells that test nothing without it, how to have it
OPTIONAL = {
    'Java': (lambda: not shutil.which('java'), r"^if (shutil\.which\('java'\)|has_meteor):",
             'apt install default-jre-headless'),
    'timm': (lambda: package_missing('timm'), r'^try:\s+import timm\b', 'make env'),
    'sacrebleu': (lambda: package_missing('sacrebleu'), r'^try:\s+from sacrebleu\b', 'make env'),
    'tensorboard': (lambda: package_missing('tensorboard'), r'^try:\s+import tensorboard\b', 'make env'),
}

def cells_that_need(name):
    "Notebook of each cell that tests nothing without it"
    pattern = re.compile(OPTIONAL[name][1], re.M)
    return [f.stem for f in notebooks() for cell in code_cells(read(f))
            if pattern.search(source_of(cell)) and not has_directive(cell, 'export')]

def slow_cells():
    return sum(has_directive(cell, 'slow') for f in notebooks() for cell in code_cells(read(f)))

def without_outputs():
    return [name_of(f) for f in notebooks() if not any(cell['outputs'] for cell in code_cells(read(f)))]
