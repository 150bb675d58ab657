"""What `make test` did not test, it says: how much, why, and how to have it."""
import importlib.util, json, os, subprocess, sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location('run_tests', ROOT/'tools'/'run_tests.py')
run_tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_tests)

def notebook(path, *sources):
    cells = [dict(cell_type='code', source=source) for source in sources]
    path.write_text(json.dumps(dict(cells=cells)))
    return path

def without_java(missing):
    return [(name, lambda: missing, pattern, remedy) for name, _, pattern, remedy in run_tests.OPTIONAL if name == 'Java']

def test_cells_that_need_something(tmp_path):
    f = notebook(tmp_path/'scores.ipynb', "if shutil.which('java'):\n    pass", 'x = 1\nif has_meteor:\n    pass',
                 "#| export\nif shutil.which('java'):\n    pass", '#| slow\nx = 2', 'x = 3')
    said = list(run_tests.skipped_cells([f], optional=without_java(True)))
    assert said == [(2, '2 notebook cells skipped (scores): no Java: apt install default-jre-headless'),
                    (0, '1 notebook cell marked slow, left out on purpose: make test-slow runs them')]
    assert list(run_tests.skipped_cells([f], ['slow'], optional=without_java(False))) == []

def test_the_cells_are_known():
    "The patterns fit the notebooks as they are: those on metrics need Java"
    said = list(run_tests.skipped_cells(run_tests.notebooks(), ['slow'], optional=without_java(True)))
    assert len(said) == 1 and said[0][0] > 3 and '42_metrics' in said[0][1]

def test_reasons_of_pytest():
    xml = """<testsuites><testsuite>
    <testcase name="a"/>
    <testcase name="b"><skipped message="no chromium on PATH: apt install chromium"/></testcase>
    <testcase name="c"><skipped message="no chromium on PATH: apt install chromium"/></testcase>
    <testcase name="d"><skipped message="no moon: wait"/></testcase>
    </testsuite></testsuites>"""
    said = list(run_tests.skipped_tests(ElementTree.fromstring(xml)))
    assert said == [(2, '2 tests skipped: no chromium on PATH: apt install chromium'), (1, '1 test skipped: no moon: wait')]

def test_page_without_a_browser(tmp_path):
    "Where there is no browser, pytest's last lines say how many tests of the page that cost, and how to have one"
    env = os.environ | dict(PATH=str(tmp_path), PLAYWRIGHT_BROWSERS_PATH=str(tmp_path))
    out = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'web_app/tests/test_page.py'],
                         cwd=ROOT, env=env, capture_output=True, text=True).stdout
    assert 'no chromium on PATH: apt install chromium' in '\n'.join(out.splitlines()[-3:]), out
    assert ' skipped' in out.splitlines()[-1]
