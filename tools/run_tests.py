"""What `make test` does, step by step.

    tools/run_tests.py                      all steps
    tools/run_tests.py lint notebooks       some of them
    tools/run_tests.py notebooks --only 20  the notebooks whose path contains "20"

The last line is `N passed, M failed`, and `, K skipped` where something was: notebooks and pytest tests are counted, and
every problem that a check found. The lines before say what was skipped, why, and how to have it.
"""
import argparse, atexit, difflib, json, multiprocessing, os, re, shutil, subprocess, sys, tempfile, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB = ROOT/'nbs', ROOT/'imcap_fastai'
TUTORIAL_MAX_MB = 2

def notebooks():
    "All notebooks, tutorials and tests too; a name that starts with `_` or `.` is nobody's business"
    return sorted(f for f in NBS.rglob('*.ipynb') if not any(p[0] in '_.' for p in f.relative_to(NBS).parts))

def is_tutorial(f): return 'tutorials' in f.relative_to(NBS).parts

# ---- clean: library notebooks carry no outputs, tutorials carry good ones

def unclean(f):
    "What is wrong with the notebook file `f`, one line each"
    try: nb = json.loads(f.read_text(encoding='utf-8'))
    except ValueError as e: return [f'is not JSON: {e}']
    cells, bad = nb['cells'], []
    if (nb.get('nbformat'), nb.get('nbformat_minor')) != (4,5): bad.append('is not nbformat 4.5')
    ids = [c.get('id') for c in cells]
    if None in ids or len(set(ids)) < len(ids): bad.append('has cells without an id or with the same id')
    code = [c for c in cells if c['cell_type'] == 'code']
    for c in code: # nbdev reads directives from the first lines only and drops such a cell without a word
        lines = ''.join(c['source']).splitlines()
        first = next((i for i,o in enumerate(lines) if o.strip() and not o.startswith('#|')), len(lines))
        if any(re.match(r'#\| *exports?\b', o) for o in lines[first:]):
            bad.append(f"cell {c.get('id')}: `#| export` must come first, or the cell is not exported")
    if cells and cells[0]['cell_type'] == 'markdown' and re.search(r'^- .*:.*', ''.join(cells[0]['source']), re.M):
        bad.append('has a list with a colon in its first cell: nbdev takes it for front matter; give it a cell of its own')
    if any(re.search(r'^-? *skip_exec', ''.join(c['source']), re.M) for c in cells[:2]): bad.append('says skip_exec: it would never run')
    if is_tutorial(f):
        outs = [o for c in code for o in c['outputs']]
        if not outs: bad.append('is a tutorial without outputs: run it and save it')
        if any(o['output_type'] == 'error' for o in outs): bad.append('is a tutorial with an error in its outputs')
        if f.stat().st_size > TUTORIAL_MAX_MB*2**20: bad.append(f'is larger than {TUTORIAL_MAX_MB} MB: use smaller pictures')
    else:
        fix = f'--fname {f.relative_to(ROOT)}'
        if any(c['outputs'] or c['execution_count'] for c in code): bad.append(f'has outputs: nbdev_clean --clear_all {fix}')
        if any(c['metadata'] for c in cells): bad.append(f'has cell metadata: nbdev_clean {fix}')
    return bad

def step_clean(args):
    "notebooks clean, tutorials with their outputs"
    return 0, [f'{f.relative_to(ROOT)} {o}' for f in notebooks() for o in unclean(f)]

# ---- skipped: what was not tested is said, with the reason and the remedy

def package_missing(name):
    return find_spec(name) is None

# What tests may lack: its name, is it missing, cells that test nothing without it, how to have it
OPTIONAL = [
    ('Java', lambda: not shutil.which('java'), r"^if (shutil\.which\('java'\)|has_meteor):",
     'apt install default-jre-headless'),
    ('timm', lambda: package_missing('timm'), r'^try: import timm\b', 'make env'),
    ('sacrebleu', lambda: package_missing('sacrebleu'), r'^try: from sacrebleu\b', 'make env'),
    ('tensorboard', lambda: package_missing('tensorboard'), r'^try: import tensorboard\b', 'make env'),
    ('wandb', lambda: package_missing('wandb'), r'^try: import wandb\b', 'make env'),
]

def plural(n, thing):
    return f'{n} {thing}' if n == 1 else f'{n} {thing}s'

def test_cells(f):
    "Sources of the code cells of the notebook `f` that are not exported"
    for cell in json.loads(f.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not re.match(r'#\| *export', source):
            yield source

def skipped_cells(files, flags=(), optional=OPTIONAL):
    "What the cells of `files` do not test here: (how many count as skipped, what to say of them)"
    slow = 0
    found = Counter()
    where = {}
    for f in files:
        for source in test_cells(f):
            if re.search(r'^#\| *slow\b', source, re.M) and 'slow' not in flags:
                slow += 1
                continue
            for name, missing, pattern, _ in optional:
                if re.search(pattern, source, re.M) and missing():
                    found[name] += 1
                    where.setdefault(name, {})[f.stem] = True
    for name, _, _, remedy in optional:
        if found[name]:
            cells = plural(found[name], 'notebook cell')
            yield found[name], f"{cells} skipped ({', '.join(where[name])}): no {name}: {remedy}"
    if slow:
        yield 0, f"{plural(slow, 'notebook cell')} marked slow, left out on purpose: make test-slow runs them"

def skipped_tests(root):
    "What pytest skipped, from the root of its XML report: (how many tests, what to say of them)"
    reasons = Counter()
    for case in root.iter('testcase'):
        for skip in case.findall('skipped'):
            reasons[skip.get('message') or 'no reason given'] += 1
    for reason, n in reasons.most_common():
        yield n, f"{plural(n, 'test')} skipped: {reason}"

# ---- export: the modules are what the notebooks say

def modules(): return {f.relative_to(ROOT).as_posix(): f.read_text(encoding='utf-8') for f in sorted(LIB.rglob('*.py'))}

def stale():
    "Modules that say they come from a notebook which is not there, or which exports to another module"
    for name,src in modules().items():
        m = re.search(r'^# AUTOGENERATED!.*File to edit: (\S+?)\.?$', src, re.M)
        if not m: continue
        nb = (ROOT/name).parent/m[1]
        if not nb.exists(): yield f'{name} comes from {m[1]}, which does not exist: remove the module'
        else:
            cells = [''.join(c['source']) for c in json.loads(nb.read_text(encoding='utf-8'))['cells']]
            exp = next((m for o in cells if (m := re.match(r'#\| *default_exp +([\w.]+)', o))), None)
            mod = name.removeprefix(LIB.name+'/').removesuffix('.py').replace('/', '.')
            if not exp or exp[1] != mod: yield f'{name} comes from {nb.name}, which exports to {exp and exp[1]}: remove the module'

def step_export(args):
    "nbdev_export leaves every module as it is"
    before = modules()
    env = {k:v for k,v in os.environ.items() if k != 'IN_TEST'}
    res = subprocess.run([Path(sys.executable).with_name('nbdev_export')], cwd=ROOT, env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if res.returncode: return 0, [f'nbdev_export failed:\n{res.stdout}']
    after, bad = modules(), list(stale())
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name, ''), after.get(name, '')
        if a != b:
            diff = list(difflib.unified_diff(a.splitlines(), b.splitlines(), name, 'as exported now', n=1, lineterm=''))
            bad.append(f'{name} was not what its notebook exports; it is now: commit it\n' + '\n'.join(diff[:25]))
    return 0, bad

# ---- lint

def step_lint(args):
    "ruff, notebooks too"
    res = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--quiet', '.'], cwd=ROOT, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return 0, [res.stdout] if res.returncode else []

# ---- docs: the site builds, and every link leads somewhere

def step_docs(args):
    "the documentation builds, no link in it or in a Markdown file is broken"
    res = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--disable-warnings', 'tests/test_docs.py::test_site'],
                         cwd=ROOT, env=os.environ | threads(), text=True, errors='replace', stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return 0, [res.stdout[-6000:]] if res.returncode else []

# ---- notebooks: each in a process of its own, so that none lives on what another has imported or patched. The processes are forked from one that
# has imported the packages of others that nearly all of them need (not ours), which takes longer than most notebooks do.

PRELOAD = ['torch', 'torchvision', 'fastai.vision.all', 'nbdev.test', 'pandas', 'matplotlib.pyplot', 'spacy']
CTX = multiprocessing.get_context('forkserver')

THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')

def threads():
    "One thread for each process, unless OMP_NUM_THREADS says otherwise: two processes run at a time"
    n = os.environ.get('OMP_NUM_THREADS', '1')
    return dict.fromkeys(THREADS, n)

def run_one(f, flags, log):
    "Run one notebook in this process as nbdev_test does, with what it says in the file `log`; exits with 0 if nothing failed"
    for fd,name,mode in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY), (2, log, os.O_WRONLY|os.O_APPEND)): os.dup2(os.open(name, mode), fd)
    os.chdir(NBS)
    from nbdev.config import get_config
    from nbdev.test import test_nb
    ok = test_nb(Path(f), skip_flags=get_config().tst_flags.split(), force_flags=flags, basepath=ROOT)[0]
    atexit._run_exitfuncs() # a forked process does not do so by itself, and METEOR's Java would live on
    sys.stdout.flush(); sys.stderr.flush()
    sys.exit(not ok)

def spawn(f, args):
    "Run notebook `f` in a new process: (f, did it pass, seconds, output)"
    start = time.time()
    with tempfile.NamedTemporaryFile('r', errors='replace') as log:
        p = CTX.Process(target=run_one, args=(str(f), args.flags.split(), log.name))
        p.start(); p.join(args.timeout)
        late = p.is_alive()
        if late: p.kill(); p.join()
        out = log.read() + (f'\nstopped after {args.timeout} s' if late else f'\nkilled by signal {-p.exitcode}' if p.exitcode < 0 else '')
    return f, p.exitcode == 0, time.time()-start, out

def step_notebooks(args):
    "every notebook, two at a time"
    files, bad, n = [f for f in notebooks() if args.only in str(f.relative_to(ROOT))], [], 0
    os.environ |= threads() | dict(MPLBACKEND='Agg') # before the process is started that all others come from
    CTX.set_forkserver_preload(PRELOAD)
    files = sorted(files[::-1], key=lambda f: f.stem != '00_startup') # longest first: that one, and the later ones, which train something
    with ThreadPoolExecutor(args.workers) as ex:
        for job in as_completed([ex.submit(spawn, f, args) for f in files]):
            f, ok, secs, out = job.result()
            name = f.relative_to(ROOT)
            print(f"   {secs:6.1f} s  {'ok    ' if ok else 'FAILED'}  {name}", flush=True)
            if ok: n += 1
            else: bad.append(f'{name}\n{out.strip()[-6000:]}')
    args.skipped.extend(skipped_cells(files, args.flags.split()))
    return n, bad

# ---- pytest

def step_pytest(args):
    "pytest on tests and web_app/tests, a file to each worker"
    folders = [d for d in ('tests', 'web_app/tests') if any((ROOT/d).rglob('test_*.py'))]
    if not folders: return 0, []
    with tempfile.TemporaryDirectory() as tmp:
        xml = Path(tmp)/'report.xml'
        res = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--durations=5', '--disable-warnings',
                              '-rfE', '-n', str(args.workers), '--dist', 'loadfile', f'--junitxml={xml}', *folders],
                             cwd=ROOT, env=os.environ | threads() | ({'SLOW': '1'} if 'slow' in args.flags else {}), text=True, errors='replace',
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if not xml.exists(): return 0, [f'pytest did not run:\n{res.stdout[-6000:]}']
        root = ElementTree.parse(xml).getroot()
        suites = root.iter('testsuite')
        count = {k:0 for k in ('tests', 'failures', 'errors', 'skipped')}
        for s in suites:
            for k in count: count[k] += int(s.get(k, 0))
    n_bad = count['failures'] + count['errors']
    if res.returncode not in (0,5) and not n_bad: n_bad = 1
    bad = [res.stdout[-12000:]] + ['(one more test, see above)']*(n_bad-1) if n_bad else []
    args.skipped.extend(skipped_tests(root))
    return count['tests'] - count['failures'] - count['errors'] - count['skipped'], bad

# ---- the library as users have it

def step_newest(args):
    "the wheel with the newest versions that settings.ini allows, in a fresh environment"
    sys.path.insert(0, str(ROOT/'tools'))
    import newest
    try:
        return newest.main(args.workers)
    except newest.Skipped as e:
        args.skipped.append((1, f'1 step skipped (newest versions): {e}'))
        return 0, []

# ----

STEPS = dict(clean=step_clean, export=step_export, lint=step_lint, docs=step_docs, notebooks=step_notebooks, pytest=step_pytest,
             newest=step_newest)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('steps', nargs='*', metavar='STEP', help=f"{', '.join(STEPS)} (default: all)")
    p.add_argument('--flags', default='', help='cells to run that are normally skipped, such as slow')
    p.add_argument('--only', default='', help='run only notebooks whose path contains this')
    p.add_argument('--workers', type=int, default=2, help='notebooks at a time (default: 2)')
    p.add_argument('--timeout', type=float, default=900, help='seconds that one notebook may take (default: 900)')
    args = p.parse_args()
    for s in args.steps:
        if s not in STEPS: p.error(f"there is no step {s!r}; valid: {', '.join(STEPS)}")
    passed, failed, start = 0, [], time.time()
    args.skipped = []
    for name in args.steps or STEPS:
        t0 = time.time()
        print(f'== {name}: {STEPS[name].__doc__}', flush=True)
        n, bad = STEPS[name](args)
        passed, failed = passed+n, failed+bad
        for o in bad: print('   FAILED ' + o.replace('\n', '\n      '))
        print(f"   {'failed' if bad else 'ok'}, {time.time()-t0:.1f} s", flush=True)
    print(f'{time.time()-start:.0f} s in all')
    for _, text in args.skipped:
        print(text)
    skipped = sum(n for n, _ in args.skipped)
    print(f'{passed} passed, {len(failed)} failed' + (f', {skipped} skipped' if skipped else ''))
    sys.exit(bool(failed))

if __name__ == '__main__': main()
