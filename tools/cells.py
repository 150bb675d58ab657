"""Run a notebook's cells, without nbdev: what `make test` does where only the library is installed.

    python tools/cells.py NOTEBOOK
"""
import ast
import json
import os
import re
import sys
import types

def sources(path):
    "The code cells that are not marked slow"
    with open(path, encoding='utf-8') as f:
        cells = json.load(f)['cells']
    for n, cell in enumerate(cells):
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not re.search(r'^#\| *(slow|default_exp)\b', source, re.M):
            yield n, source

def run(path):
    for name in ('nbdev', 'nbdev.showdoc'):  # a hidden cell imports it, for the documentation alone
        sys.modules[name] = types.ModuleType(name)
    path = os.path.abspath(path)
    os.chdir(os.path.dirname(path))
    main = types.ModuleType('__main__')
    sys.modules['__main__'] = main  # where pickle looks for classes of a notebook
    for n, source in sources(path):
        where = f'{os.path.basename(path)}, cell {n}'
        code = compile(source, where, 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        exec(code, main.__dict__)

if __name__ == '__main__':
    run(sys.argv[1])
