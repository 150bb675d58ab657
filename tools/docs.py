"""The documentation site, built offline from the notebooks and the Markdown files.

    tools/docs.py            check all links, build _docs/html (`make docs`)
    tools/docs.py --links    only check the links of Markdown files and notebooks
    tools/docs.py --force    build even if nothing has changed since the last build

Library notebooks become pages with their prose, tests and a description of everything they export: signature, docstring and a table of the
comments on the parameters (docments). The descriptions come from the exported modules, so nothing in a notebook is run again.
Every problem is one line that starts with `problem:` and names the file.
"""
import argparse, ast, hashlib, importlib, importlib.util, inspect, json, os, re, shutil, subprocess, sys, time
from configparser import ConfigParser
from functools import cached_property
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT/'docs'
ROOMS = [('Foundations', range(10)), ('Models', range(10, 20)), ('Captioning', range(20, 29)), ('Data', range(29, 40)),
         ('Training', range(40, 51)), ('Insight', range(51, 60)), ('Commands', range(60, 100))] # by the number of the notebook
PROJECT = {'benchmarks/README.md': 'benchmarks', 'CONTRIBUTING.md': 'contributing', 'CHANGELOG.md': 'changelog'}
TUTORIALS = 'nbs/tutorials/README.md'
RESERVED = {'search', 'genindex', 'py-modindex', 'objects', 'nbs'} # names that Sphinx or the pictures take

# ---- Markdown: links and names, but not those within code

CODE = r'^(?P<fence>```+|~~~+)[^\n]*\n(?:.*?\n)??(?P=fence)[ \t]*$|(?P<tick>(?<!`)`+(?!`))(?:(?!\n\s*\n).)+?(?<!`)(?P=tick)(?!`)'
LINK = re.compile(rf'(?P<code>{CODE})|(?P<pre>\]\(|^ {{0,3}}\[[^\]\n]+\]:[ \t]+|\b(?:src|href)=")(?P<url>[^)\s"]+)', re.M|re.S)
NAME = re.compile(r'(?P<skip>^(?P<fence>```+|~~~+)[^\n]*\n(?:.*?\n)??(?P=fence)[ \t]*$|^#[^\n]*$|\[[^\]]*\]\([^)]*\)|\{[\w:]+\}`[^`]*`|``.+?``)'
                  r'|`(?P<name>[\w.]+)(?:\(\))?`', re.M|re.S)

def relink(md, fn):
    "Markdown with every link target, of pictures too, replaced by `fn(target)`"
    return LINK.sub(lambda m: m[0] if m['code'] else m['pre'] + fn(m['url']), md)

def link_names(md, fn):
    "Markdown with every name in backticks replaced by `fn(name, text)`, which returns None to leave it"
    return NAME.sub(lambda m: m[0] if m['skip'] else fn(m['name'], m[0][1:-1]) or m[0], md)

def slug(title):
    "The anchor that GitHub gives a heading"
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', title).replace('`', '').strip().lower()
    return re.sub(r'[^\w\- ]', '', text).replace(' ', '-')

def headings(md):
    "Anchors of the headings in Markdown text"
    seen, text = {}, re.sub(CODE, lambda m: m[0].replace('\n', ' ').replace('#', '') if m['tick'] else '', md, flags=re.M|re.S)
    for title in re.findall(r'^#{1,6} +(.*?)[ #]*$', text, re.M):
        s = slug(title)
        seen[s] = n = seen.get(s, -1) + 1
        yield f'{s}-{n}' if n else s

def outside_code(text, fn): # `fn` on what is not in backticks
    return ''.join(o if i%2 else fn(o) for i,o in enumerate(re.split(r'(`[^`]*`)', text)))

# ---- what is in the repository

class Problem(Exception): "One that keeps the site from being built"

class Repo:
    "A repository with `settings.ini`, Markdown files, and notebooks in `nbs`"
    def __init__(self, root=ROOT):
        self.root = Path(root)
        cfg = ConfigParser(delimiters=['='])
        cfg.read(self.root/'settings.ini', encoding='utf-8')
        self.cfg, self.lib = cfg['DEFAULT'], cfg['DEFAULT']['lib_path']

    @cached_property
    def files(self): # Paths of all files, as git sees them: a file that git ignores is a broken link for everybody else
        res = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=self.root, capture_output=True, text=True)
        names = res.stdout.split('\0') if not res.returncode else [f.as_posix() for f in (o.relative_to(self.root) for o in self.root.rglob('*'))
                                                                   if not any(p[0] == '.' or p in ('_docs', 'build', 'dist', 'demo') for p in f.parts)]
        return sorted(o for o in names if o and (self.root/o).is_file())

    @cached_property
    def folders(self): return {p.as_posix() for f in self.files for p in Path(f).parents}

    @cached_property
    def _files(self): return set(self.files)

    def under(self, folder, suffix): # Files directly in a folder
        return [f for f in self.files if Path(f).parent == Path(folder) and f.endswith(suffix) and Path(f).name[0] not in '_.']

    def cells(self, f): # (cell, Markdown text) of a notebook; of a Markdown file one pair, without a cell
        text = (self.root/f).read_text(encoding='utf-8')
        if not f.endswith('.ipynb'): return [(None, text)]
        return [(c, ''.join(c['source'])) for c in json.loads(text)['cells'] if c['cell_type'] == 'markdown']

    def title(self, f):
        return next((m[1] for _,s in self.cells(f) if (m := re.search(r'^# +(.+?) *$', s, re.M))), None)

    def locate(self, url, f): # Target of a link in file `f` -> (path in the repository, anchor); None for another site's
        u = urlsplit(url)
        if u.scheme or u.netloc: return None
        path = unquote(u.path)
        if not path: return f, unquote(u.fragment)
        rel = path[1:] if path[0] == '/' else os.path.join(os.path.dirname(f), path)
        return os.path.normpath(rel), unquote(u.fragment)

    def anchors(self, f):
        if not hasattr(self, '_anchors'): self._anchors = {}
        if f not in self._anchors: self._anchors[f] = set(headings('\n\n'.join(s for _,s in self.cells(f))))
        return self._anchors[f]

    def broken(self, url, f):
        "What is wrong with a link in file `f`, if anything"
        at = self.locate(url, f)
        if at is None: return
        path, anchor = at
        if path.startswith('..'): return f"links to {url}, which is outside of the repository: link to its address"
        if path not in self._files and path not in self.folders:
            why = 'git ignores: add it, or do not link to it' if (self.root/path).exists() else 'does not exist: correct the path'
            return f'links to {url}, which {why}'
        if anchor and path.endswith(('.md', '.ipynb')) and anchor not in self.anchors(path):
            return f"links to {url}, but {path} has no heading with the anchor #{anchor}; it has: {', '.join(sorted(self.anchors(path)))}"

    def broken_links(self):
        "Every broken link in a Markdown file or notebook"
        for f in self.files:
            if not f.endswith(('.md', '.ipynb')): continue
            for cell,text in self.cells(f):
                found = []
                relink(text, lambda u: found.append(u) or u)
                where = f"{f}, cell {cell.get('id')}" if cell else f
                yield from (f'{where}: {bad}' for u in dict.fromkeys(found) if (bad := self.broken(u, f)))

    # ---- pages

    @cached_property
    def pages(self):
        "Page of each file that becomes one; nbdev's links to a notebook lead to the same page"
        res = {'README.md': 'index'} if 'README.md' in self._files else {}
        for f in self.under('nbs', '.ipynb'): res[f] = re.sub(r'^\d+[a-zA-Z0-9]*_', '', Path(f).stem.lower())
        if TUTORIALS in self._files: res[TUTORIALS] = 'tutorials/index'
        for f in self.under('nbs/tutorials', '.ipynb'): res[f] = f'tutorials/{Path(f).stem}'
        res |= {f: page for f,page in PROJECT.items() if f in self._files}
        for f,page in res.items():
            other = next((g for g in res if res[g] == page and g != f), None)
            if other or page in RESERVED: raise Problem(f"{f}: its page would be {page}.html, which is {other or 'Sphinx'}'s: give the notebook another name")
        return res

    def tutorials(self):
        "Tutorials in the order in which their first page links to them"
        files, order = self.under('nbs/tutorials', '.ipynb'), []
        if TUTORIALS not in self._files: return files
        relink(self.cells(TUTORIALS)[0][1], lambda u: order.append((self.locate(u, TUTORIALS) or [''])[0]) or u)
        if (lost := [f for f in files if f not in order]): raise Problem(f"{TUTORIALS}: does not link to {', '.join(lost)}: say what each is for")
        return list(dict.fromkeys(f for f in order if f in files))

    def toctrees(self):
        "The side bar: (title, pages)"
        first = [self.pages[TUTORIALS]] if TUTORIALS in self.pages else []
        yield 'Tutorials', first + [self.pages[f] for f in self.tutorials()]
        nbs = self.under('nbs', '.ipynb')
        number = {f: int(m[0]) if (m := re.match(r'\d+', Path(f).name)) else -1 for f in nbs}
        odd = [f for f in nbs if not any(number[f] in r for _,r in ROOMS)]
        if odd: raise Problem(f"{odd[0]}: has no number from 00 to 99, so it is in no room of the site: begin its name with one")
        for title,room in ROOMS: yield title, [self.pages[f] for f in nbs if number[f] in room]
        yield 'Project', [page for f,page in PROJECT.items() if f in self.pages] + ['Index <genindex>']

    def github(self, path, kind='blob'): return f"{self.cfg['git_url']}/{kind}/{self.cfg['branch']}/{path}"

    def site_link(self, url, f, pictures):
        "Link in file `f` as it is on the site: a page, a picture (noted in `pictures`), or a file on GitHub"
        at = self.locate(url, f)
        if at is None: return url
        path, anchor = at
        if path == f and anchor: return f'#{anchor}'
        if path in self.pages: return f"/{self.pages[path]}{Path(path).suffix}" + (f'#{anchor}' if anchor else '')
        if path.lower().endswith(('.png', '.jpg', '.jpeg', '.gif', '.svg', '.webp')):
            pictures.add(path)
            return f'/{path}'
        return self.github(path, 'tree' if path in self.folders else 'blob') + (f'#{anchor}' if anchor else '')

# ---- descriptions of what a notebook exports

DEFS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef

def type_name(o):
    if isinstance(o, str): return o
    name = getattr(o, '__name__', None)
    return name if name and not getattr(o, '__args__', None) else re.sub(r'\b(?:typing|collections\.abc|pathlib)\.', '', str(o))

def _code_type(o): return '' if o in (None, type(None), inspect._empty) else f'`{type_name(o)}`'

def value_name(o):
    name = getattr(o, '__name__', None) or repr(o)
    return re.sub(r' (?:object )?at 0x[0-9a-f]+', '', name)

def comment_text(s): return outside_code(' '.join(str(s).split()), lambda o: o.replace('<', r'\<'))

def cell_text(s): # for a table
    s = comment_text(s)
    return re.sub(r'(?<!\\)\|', r'\|', s)

class Api:
    "Descriptions of the things in one exported module, as MyST Markdown with Sphinx's directives for Python"
    def __init__(self, name, file, known=None):
        self.name, self.file, self.objects, self.params = name, file, {}, set() # objects: name -> (full name, line); names of parameters
        self.known = {} if known is None else known # full names described so far, of all modules
        self.mod = importlib.import_module(name)
        from nbdev.doclinks import patch_name
        self.nodes = {}
        for node in ast.parse(inspect.getsource(self.mod)).body:
            if not isinstance(node, DEFS): continue
            names = patch_name(node)
            for n in [names] if isinstance(names, str) else names: self.nodes.setdefault(n, []).append(node)
            if isinstance(node, ast.ClassDef):
                for o in node.body:
                    if isinstance(o, DEFS): self.nodes.setdefault(f'{node.name}.{o.name}', []).append(o)

    def find(self, name):
        "(object, its syntax tree) of each thing with that name: of a dispatched function, the implementations given here"
        obj = self.mod
        for part in name.split('.'): obj = inspect.getattr_static(obj, part) if inspect.isclass(obj) else getattr(obj, part)
        if isinstance(obj, (staticmethod, classmethod)): obj = obj.__func__
        nodes = self.nodes.get(name, [None])
        if type(obj).__module__.split('.')[0] == 'plum':
            impls = {m.implementation.__code__: m.implementation for m in obj.methods if m.implementation.__module__ == self.name}.values()
            return [(o, next((n for n in nodes if n and _first_line(n) == o.__code__.co_firstlineno), nodes[-1])) for o in impls]
        return [(obj, nodes[-1])]

    def describe(self, name, depth=5):
        "Markdown of the description of `name`"
        return '\n\n'.join(self._describe(name, obj, node, depth) for obj,node in self.find(name))

    def _describe(self, name, obj, node, depth):
        kind = self._kind(name, obj)
        module = self._owner(name)
        full = f'{module}.{name}'
        lines = [f':module: {module}']
        if full in self.known: lines.append(':no-index:')
        elif not node: pass
        else: self.objects[name] = self.known[full] = (full, f'{self.file}#L{node.lineno}')
        if kind in ('method', 'function') and isinstance(node, ast.AsyncFunctionDef): lines.append(':async:')
        if kind == 'method' and node:
            lines += [f':{d.id}:' for d in node.decorator_list if isinstance(d, ast.Name) and d.id in ('classmethod', 'staticmethod')]
        params, table, returns = self._params(obj, node, kind)
        doc = inspect.getdoc(obj) if kind != 'class' else obj.__dict__.get('__doc__')
        if kind == 'class' and doc and doc.startswith(f'{obj.__name__}('): doc = None # a dataclass's own
        doc = outside_code(inspect.cleandoc(doc), lambda o: o.replace('<', r'\<')) if doc else ''
        body = [doc, table, returns]
        bases = [f'`{type_name(b)}`' for b in obj.__bases__ if b is not object] if kind == 'class' else []
        if bases: body.insert(1, f"Bases: {', '.join(bases)}")
        if kind == 'class': body += [self.describe(f'{name}.{o}', depth-1) for o in self._methods(name, obj, node)]
        fence = ':'*(depth+1)
        text = '\n'.join(lines) + '\n\n' + '\n\n'.join(o for o in body if o)
        return f"{fence}{{py:{kind}}} {name}{'' if kind == 'property' else f'({params})'}\n{text}\n{fence}"

    def _kind(self, name, obj):
        if inspect.isclass(obj): return 'class'
        if isinstance(obj, property) or type(obj).__name__ in ('cached_property', 'lazyproperty'): return 'property'
        return 'method' if '.' in name else 'function'

    def _owner(self, name): # A method that is patched into another module's class belongs there
        cls = getattr(self.mod, name.split('.')[0])
        return getattr(cls, '__module__', self.name) if '.' in name and inspect.isclass(cls) else self.name

    def _methods(self, name, cls, node):
        "Public methods with something said about them, and those that no base class has"
        for o in node.body if node else []:
            if not isinstance(o, DEFS[:2]) or o.name.startswith('_'): continue
            if any(isinstance(d, ast.Attribute) and d.attr in ('setter', 'deleter') for d in o.decorator_list): continue
            says = ast.get_docstring(o) or any(self._docments(m)[1] for m,_ in self.find(f'{name}.{o.name}'))
            if says or not any(hasattr(b, o.name) for b in cls.__mro__[1:]): yield o.name

    def _docments(self, obj):
        from fastcore.docments import docments
        obj = getattr(obj, 'fget', None) or getattr(obj, 'func', None) or obj
        if not hasattr(obj, '__signature__'): obj = inspect.unwrap(obj)
        try: dm = docments(obj, full=True, args_kwargs=True)
        except Exception: return {}, False # no source or no signature: nothing to say
        return dm, any(v.get('docment') for v in dm.values())

    def _params(self, obj, node, kind):
        "Signature without types, table of the parameters if anything is said about them, and what it returns if nothing is"
        if kind == 'property': return '', '', ''
        dm, says = self._docments(obj)
        if kind == 'class' and '__init__' not in obj.__dict__: says = False # the base class's
        try: sig = list(inspect.signature(obj).parameters.values())
        except (ValueError, TypeError): sig = []
        drop = kind == 'method' and 'staticmethod' not in {getattr(d, 'id', '') for d in getattr(node, 'decorator_list', ())}
        if drop: sig = sig[1:]
        src, out, rows, star = _defaults(node), [], [], False
        for p in sig:
            if p.name.startswith('_'): continue
            default = '' if p.default is p.empty else src.get(p.name) or value_name(p.default)
            stars = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
            if p.kind == p.KEYWORD_ONLY and not star: out.append('*')
            star = star or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
            out.append(f'{stars}{p.name}' + (f'={default}' if default else ''))
            d = dm.get(p.name, {})
            self.params.add(p.name)
            rows.append([f'``{stars}{p.name}``', _code_type(d.get('anno', p.annotation)), f'`{default}`' if default else '', d.get('docment') or ''])
        ret = dm.get('return', {})
        anno = '' if kind == 'class' else _code_type(ret.get('anno'))
        returns = f'Returns {anno}.' if anno else ''
        if not says: return ', '.join(out), '', returns
        comments = [v['docment'] for v in dm.values() if v.get('docment')]
        if len(comments) == 1 and _one_line(node): # it is about all parameters
            of = f'{rows[0][0]}: ' if len(rows) == 1 else ''
            return ', '.join(out), '', f'{of}{comment_text(comments[0])}\n\n{returns}'
        if anno or ret.get('docment'): rows.append(['**returns**', anno, '', ret.get('docment') or ''])
        return ', '.join(out), _table(['Parameter', 'Type', 'Default', 'Details'], rows), ''

def _one_line(node): # Is the signature of a function, or of a class's `__init__`, one line?
    if isinstance(node, ast.ClassDef): node = next((o for o in node.body if isinstance(o, DEFS[:2]) and o.name == '__init__'), None)
    if node is None: return False
    a = node.args
    return max([node.lineno, *(o.end_lineno for o in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg, *a.defaults] if o)]) == node.lineno

def _first_line(node): return min([node.lineno, *(d.lineno for d in node.decorator_list)])

def _defaults(node): # name of a parameter -> its default as it is written
    if node is None: return {}
    if isinstance(node, ast.ClassDef):
        init = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'), None)
        if init: return _defaults(init)
        made = lambda v: re.sub(r'^field\(default_factory=(\w+)\)$', r'\1()', ast.unparse(v))
        return {o.target.id: made(o.value) for o in node.body if isinstance(o, ast.AnnAssign) and o.value and isinstance(o.target, ast.Name)}
    a = node.args
    pos = [*a.posonlyargs, *a.args]
    pairs = [*zip(pos[len(pos)-len(a.defaults):], a.defaults), *((k, d) for k,d in zip(a.kwonlyargs, a.kw_defaults) if d)]
    return {k.arg: ast.unparse(d) for k,d in pairs}

def _table(head, rows): # Without columns that are empty
    keep = [i for i in range(len(head)) if any(r[i] for r in rows)]
    line = lambda r: '| ' + ' | '.join(cell_text(r[i]) or ' ' for i in keep) + ' |'
    return '\n'.join([line(head), '|' + '---|'*len(keep), *map(line, rows)])

# ---- sources for Sphinx

def drop_directives(cell): # `#| echo: false` and its like speak to nbdev and Quarto
    if cell.cell_type == 'code' and cell.source: cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip()

def default_exp(nb):
    code = (''.join(c['source']) for c in nb['cells'] if c['cell_type'] == 'code')
    return next((m[1] for o in code if (m := re.search(r'^\s*#\|\s*default_exp\s+(\S+)', o, re.M))), None)

def _toctree(title, pages): return f'\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n' + '\n'.join(pages) + '\n```\n'

class Site:
    "The sources of the site and its build"
    def __init__(self, repo, out):
        self.repo, self.out = repo, Path(out)
        self.src, self.html = self.out/'src', self.out/'html'
        self.known, self.names, self.pictures, self.texts, self.first_lines, self.apis = {}, {}, set(), {}, {}, {}

    def notebook(self, f):
        "A notebook as a page: nbdev decides what is hidden, `Api` describes what is exported"
        from nbdev.process import NBProcessor
        from nbdev.processors import (add_show_docs, clean_magics, filter_stream_, hide_, hide_line, mv_exports, populate_language, rm_export,
                                      rm_header_dash, strip_ansi)
        nb = json.loads((self.repo.root/f).read_text(encoding='utf-8'))
        exp, api = default_exp(nb), None
        if exp:
            name = f'{self.repo.lib}.{exp}'
            file = f"{self.repo.lib}/{exp.replace('.', '/')}.py"
            try:
                api = Api(name, file, self.known)
                if not Path(api.mod.__file__).samefile(self.repo.root/file): raise ImportError(f'{api.mod.__file__} is found instead of {file}')
            except Exception as e: raise Problem(f"{f}: {name} cannot be imported ({type(e).__name__}: {e}): run nbdev_export, then the notebook") from e
        def show(cell):
            if cell.cell_type != 'code' or not (m := re.match(r'show_doc\(([\w.]+)', cell.source or '')): return
            try: text = api.describe(m[1])
            except Exception as e: raise Problem(f"{f}: cannot describe `{m[1]}` ({type(e).__name__}: {e}): run nbdev_export, so that "
                                                 f"{api.name if api else 'a module'} has it") from e
            cell.cell_type, cell.source, cell.directives_ = 'markdown', text, {}
        procs = [populate_language, add_show_docs, strip_ansi, hide_line, filter_stream_, rm_header_dash, show, rm_export, clean_magics, hide_,
                 mv_exports, drop_directives]
        proc = NBProcessor(self.repo.root/f, procs=procs)
        try: proc.process()
        except SyntaxError as e: raise Problem(f"{f}: a cell is not Python ({e}): run the notebook") from e
        cells = [self._cell(c, i) for i,c in enumerate(proc.nb.cells) if c.source.strip()]
        if api:
            self.apis[f] = api
            self.names |= {k: v[0] for k,v in api.objects.items() if k not in self.names}
            self._head(cells, api, f)
        return dict(cells=cells, nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')))

    def _cell(self, c, i):
        res = dict(id=f'c{i}', cell_type=c.cell_type, metadata={}, source=c.source)
        if c.cell_type == 'code': res |= dict(execution_count=None, outputs=[dict(o) for o in c.get('outputs', [])])
        return res

    def _head(self, cells, api, f): # Below the title: what to import, and where it is written
        where = f"`{api.name}`, written in [{f}]({self.repo.github(f)})"
        m = re.match(r'(# .*\n?)((?:>.*\n?)*)', cells[0]['source']) if cells and cells[0]['cell_type'] == 'markdown' else None
        if not m: raise Problem(f"{f}: its first cell is not a title: start it with `# Title`, and `> one line` on what it is for")
        cells[0]['source'] = f"```{{py:module}} {api.name}\n```\n\n{m[1]}\n{m[2]}\n\n{where}\n\n{cells[0]['source'][m.end():]}"

    def means(self, name, text, api):
        "Does the writer mean what is exported? A plain word (`captions`, `score`) may be a column or parameter: only as `score()`, or on its own page"
        if text.endswith('()') or not re.fullmatch('[a-z]+', name): return True
        return api is not None and name in api.objects and name not in api.params

    def sources(self):
        "Write what Sphinx reads"
        shutil.rmtree(self.src, ignore_errors=True)
        pages = self.repo.pages
        nbs = {f: self.notebook(f) for f in pages if f.endswith('.ipynb')}
        by_stem = {Path(f).stem: page for f,page in pages.items() if Path(f).parent == Path('nbs')}
        def name(n, text, f):
            if n in self.names and self.means(n, text, self.apis.get(f)): return f'{{py:obj}}`{text} <{self.names[n]}>`'
            if n in by_stem: return f'[`{text}`](/{by_stem[n]}.ipynb)'
        for f,page in pages.items():
            md = lambda s: link_names(relink(s, lambda u: self.repo.site_link(u, f, self.pictures)), lambda n,t: name(n, t, f)) # noqa: B023
            dst = self.src/f'{page}{Path(f).suffix}'
            dst.parent.mkdir(parents=True, exist_ok=True)
            if f in nbs:
                for c in nbs[f]['cells']:
                    if c['cell_type'] == 'markdown': c['source'] = md(c['source'])
                text = json.dumps(nbs[f])
                self.first_lines[page] = [(c['source'].strip().splitlines() or [''])[0] for c in nbs[f]['cells']]
            else: text = md(self.repo.cells(f)[0][1])
            self.texts[page] = f
            if page == 'index': text += ''.join(_toctree(t, p) for t,p in self.repo.toctrees() if p)
            dst.write_text(text, encoding='utf-8')
        for p in self.pictures:
            (self.src/p).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.repo.root/p, self.src/p)
        (self.src/'lines.json').write_text(json.dumps({k: self.repo.github(line) for k,(_,line) in self.known.items()}))

    def sphinx(self):
        "Run Sphinx; its warnings, with the names of our files"
        from sphinx.cmd.build import build_main
        shutil.rmtree(self.html, ignore_errors=True)
        log = self.out/'warnings.txt'
        rc = build_main(['-n', '-W', '--keep-going', '-q', '-E', '-a', '-b', 'html', '-c', str(CONF), '-d', str(self.out/'doctrees'), '-w', str(log),
                         str(self.src), str(self.html)])
        said = log.read_text(encoding='utf-8').strip() if log.exists() else ''
        if rc > 1: return [f'Sphinx stopped: {said}']
        return [self.named(o) for o in said.splitlines()] or ([f'Sphinx ended with status {rc}; what it said is above'] if rc else [])

    def named(self, warning):
        "A warning of Sphinx's with the file and cell that it is about"
        m = re.match(rf'{re.escape(str(self.src))}/([^:]+?)\.(ipynb|md)(?::(\d+))?: (?:WARNING: |ERROR: )?(.*)', warning)
        if not m: return warning.replace(str(self.src), '_docs/src')
        f, line, text = self.texts.get(m[1], f'{m[1]}.{m[2]}'), int(m[3] or 0), m[4]
        if m[2] == 'md': return f"{f}{f', line {line}' if line else ''}: {text}"
        firsts = self.first_lines.get(m[1], [])
        cell = firsts[line//10000 - 1] if 0 < line//10000 <= len(firsts) else ''
        return f"{f}{f', cell that begins “{cell[:70]}”' if cell else ''}: {text}"

# ---- what was built

class Page(HTMLParser):
    "Ids, links, and what a browser would load, of an HTML page"
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get('id'): self.ids.add(a['id'])
        if tag == 'a' and a.get('name'): self.ids.add(a['name'])
        if tag in ('a', 'area') and a.get('href'): self.links.append(a['href'])
        if tag == 'link' and a.get('rel') and not {'canonical', 'alternate'} & set(a['rel'].split()): self.loads.append(a.get('href', ''))
        if tag != 'a': self.loads += [a[k] for k in ('src', 'data', 'poster') if a.get(k)]
        if a.get('srcset'): self.loads += [o.split()[0] for o in a['srcset'].split(',')]
        if 'style' in a: self.loads += css_loads(a['style'] or '')
    def handle_data(self, data): # a <style> or an inline module
        if self.rawdata and self.cdata_elem == 'style': self.loads += css_loads(data)
        if self.cdata_elem == 'script': self.loads += re.findall(r'''(?:import|from|\.src *=) *\(?["'](https?:[^"']+)''', data)

def css_loads(css): return [a or b for a,b in re.findall(r'''url\(\s*["']?([^)"']+)|@import\s+["']([^"']+)''', css)]

def foreign(url): return bool(re.match(r'(?:https?:)?//', url.strip()))

def html_problems(folder):
    "Links that lead nowhere, and anything that a browser would load from elsewhere, in the pages of a folder"
    folder = Path(folder)
    pages = {f.relative_to(folder).as_posix(): Page(f.read_text(encoding='utf-8')) for f in sorted(folder.rglob('*.html'))}
    for name,page in pages.items():
        for u in dict.fromkeys(page.loads):
            if foreign(u): yield f'{name} loads {u}: the site must hold all that it needs'
            elif not re.match(r'\w+:|#', u) and not (folder/os.path.normpath(os.path.join(os.path.dirname(name), unquote(urlsplit(u).path)))).exists():
                yield f'{name} loads {u}, which is not there'
        for u in dict.fromkeys(page.links):
            p = urlsplit(u)
            if p.scheme or p.netloc: continue
            path = os.path.normpath(os.path.join(os.path.dirname(name), unquote(p.path))) if p.path else name
            if not (folder/path).is_file(): yield f'{name} links to {u}, which is not there'
            elif path in pages and p.fragment and unquote(p.fragment) not in pages[path].ids: yield f'{name} links to {u}: {path} has no such anchor'
    for f in sorted(folder.rglob('*.css')):
        yield from (f'{f.relative_to(folder)} loads {u}: the site must hold all that it needs'
                    for u in css_loads(f.read_text(encoding='utf-8')) if foreign(u))

# ----

PACKAGES = 'sphinx', 'myst-nb', 'myst-parser', 'furo', 'sphinx-copybutton', 'nbdev', 'fastcore', 'fastai', 'docutils'

def fingerprint(repo):
    "Of everything that the site is made from"
    h = hashlib.sha256('\n'.join(repo.files).encode())
    for p in PACKAGES:
        try: h.update(f'{p} {version(p)}'.encode())
        except PackageNotFoundError: pass
    for f in repo.files:
        if f.endswith(('.md', '.ipynb', '.png', '.jpg', '.gif', '.svg')) or f.startswith((f'{repo.lib}/', 'docs/', 'tools/docs', 'settings.ini')):
            h.update(hashlib.sha256((repo.root/f).read_bytes()).digest())
    return h.hexdigest()

def build(repo, out, force=False, say=print):
    "Build the site of `repo` into `out`/html; returns the problems"
    out, bad = Path(out), list(repo.broken_links())
    if bad: return bad
    stamp, mark = out/'built', fingerprint(repo)
    if not force and stamp.exists() and stamp.read_text() == mark and (out/'html'/'index.html').exists():
        say(f'nothing has changed since the last build: {out/"html"/"index.html"}')
        return []
    if sys.version_info < (3, 11):
        say('the links are right; the site itself needs Python 3.11 or newer, for Sphinx 9')
        return []
    for o in ('sphinx', 'myst_nb', 'furo', 'sphinx_copybutton'):
        if not importlib.util.find_spec(o): return [f"{o.replace('_', '-')} is not installed: run `make env`"]
    stamp.unlink(missing_ok=True)
    site = Site(repo, out)
    t0 = time.time()
    try: site.sources()
    except Problem as e: return [str(e)]
    t1 = time.time()
    bad = site.sphinx() or list(html_problems(site.html))
    say(f'{len(repo.pages)} pages, {len(site.known)} descriptions: sources {t1-t0:.1f} s, site {time.time()-t1:.1f} s: {out/"html"/"index.html"}')
    if not bad: stamp.write_text(mark)
    return bad

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--links', action='store_true', help='only check the links of Markdown files and notebooks')
    p.add_argument('--force', action='store_true', help='build even if nothing has changed')
    p.add_argument('--out', default=ROOT/'_docs', help='folder of the site (default: _docs)')
    args = p.parse_args()
    os.environ.setdefault('MPLBACKEND', 'Agg')
    sys.path.insert(0, str(ROOT)) # the modules of this checkout
    repo = Repo()
    bad = list(repo.broken_links()) if args.links else build(repo, args.out, args.force)
    for o in bad: print(f'problem: {o}')
    sys.exit(bool(bad))

if __name__ == '__main__': main()
