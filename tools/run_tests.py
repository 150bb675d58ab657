"""What `make test` does: pytest, with one pool of two workers for all notebooks, tests and checks.

    tools/run_tests.py                            everything
    tools/run_tests.py clean export lint          some steps
    tools/run_tests.py notebooks --only 20        the notebooks whose path contains "20"
    tools/run_tests.py keep 20_decode 01_shapes   run these notebooks and store their outputs in them

The last line is `N passed, M failed`, and `, K skipped` where something was. The lines before say what was
skipped, why, and how to have it.
"""
import argparse
import os
import sys
from pathlib import Path

import notebooks
import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS = {
    'clean': ['tests/test_notebooks.py::test_clean'],
    'export': ['tests/test_notebooks.py::test_export'],
    'lint': ['tests/test_notebooks.py::test_lint'],
    'docs': ['tests/test_docs.py::test_site'],
    'notebooks': ['tests/test_notebooks.py::test_notebook',
                  'tests/test_notebooks.py::test_what_may_be_missing'],
    'pytest': ['tests', 'web_app/tests'],
    'newest': ['tests/test_newest.py::test_with_the_newest_versions'],
}
QUICK = {'clean', 'export', 'lint', 'docs'}  # one process is enough
OPTIONS = ['-q', '-p', 'no:cacheprovider', '--disable-warnings', '-rfEs', '--durations=12',
           '--durations-min=1']
POOL = ['--dist', 'loadgroup', '--no-loadscope-reorder']

class Counts:
    "How many tests passed, failed and were skipped"
    def pytest_terminal_summary(self, terminalreporter):
        self.number = {name: len(reports) for name, reports in terminalreporter.stats.items()}

    def line(self, exit_code):
        passed, skipped = (self.number.get(name, 0) for name in ('passed', 'skipped'))
        failed = self.number.get('failed', 0) + self.number.get('error', 0)
        if exit_code and not failed:
            failed = 1
        return f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else '')

def environment(args):
    "One thread for each of the two processes, unless OMP_NUM_THREADS says otherwise"
    threads = os.environ.get('OMP_NUM_THREADS', '1')
    os.environ.update(dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), threads))
    os.environ['MPLBACKEND'] = 'Agg'
    os.environ['NOTEBOOK_TIMEOUT'] = str(args.timeout)
    if 'slow' in args.flags.split():
        os.environ['SLOW'] = '1'
    # without bytecode, every process would compile torch and fastai again, which takes it 10 s
    if os.environ.pop('PYTHONDONTWRITEBYTECODE', None):
        os.execv(sys.executable, [sys.executable, *sys.argv])

def keep(args):
    found = [f for f in notebooks.notebooks() if notebooks.name_of(f) in args.steps or f.stem in args.steps]
    faults = [] if found else [f'there is no notebook {", ".join(args.steps)}']
    for f in found:
        bad = notebooks.keep(f, args.flags.split(), args.timeout)
        print(f'{"FAILED" if bad else "kept"}  {notebooks.name_of(f)}')
        faults += bad
    for fault in faults:
        print(fault)
    return len(faults) > 0

def remarks(args):
    "What was left out on purpose"
    slow = notebooks.slow_cells()
    if slow and 'slow' not in args.flags.split():
        print(f'{slow} notebook cells marked slow, left out on purpose: make test-slow runs them')
    bare = notebooks.without_outputs()
    if bare:
        print(f'{len(bare)} notebooks keep no output yet, so none is compared: {", ".join(bare)}')

def test(args):
    steps = args.steps or list(STEPS)
    chosen = [path for step in steps for path in STEPS[step]]
    workers = 0 if set(steps) <= QUICK or args.only else args.workers
    options = [*OPTIONS, *POOL, '-n', str(workers)]
    if args.only:
        options += ['-k', args.only]
    if args.steps:  # a step holds what its name says, and `pytest` what is in no other
        others = [path for step in STEPS if step not in steps for path in STEPS[step]]
        for path in others:
            if '::' in path:
                options += ['--deselect', path]
    else:
        chosen = STEPS['pytest']
    counts = Counts()
    exit_code = pytest.main([*options, *chosen], plugins=[counts])
    if 'notebooks' in steps:
        remarks(args)
    print(counts.line(exit_code))
    return exit_code != 0

def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('steps', nargs='*', metavar='STEP',
                        help=f"{', '.join(STEPS)} (default: all), or keep NAME...")
    parser.add_argument('--flags', default='', help='cells to run that are normally skipped, such as slow')
    parser.add_argument('--only', default='', help='run only what contains this in its name')
    parser.add_argument('--workers', type=int, default=2, help='processes at a time (default: 2)')
    parser.add_argument('--timeout', type=float, default=900,
                        help='seconds that one notebook may take (default: 900)')
    args = parser.parse_args()
    environment(args)
    os.chdir(ROOT)
    if args.steps[:1] == ['keep']:
        args.steps = args.steps[1:]
        sys.exit(keep(args))
    wrong = [step for step in args.steps if step not in STEPS]
    if wrong:
        parser.error(f"there is no step {wrong[0]!r}; valid: {', '.join(STEPS)}")
    sys.exit(test(args))

if __name__ == '__main__':
    main()
