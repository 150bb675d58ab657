"""The documentation site (`make docs`): Sphinx's settings, and what Sphinx, MyST-NB and nbdev lack.

nbdev decides which cells of a notebook are shown; `skip_procs` in settings.ini leaves out what is for Quarto.
"""
import inspect
import re
from importlib import import_module
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from execnb.nbio import mk_cell, nb2str
from fastcore.basics import patch
from fastcore.docments import DocmentTbl
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import NBProcessor
from nbdev.processors import FilterDefaults
from sphinx import addnodes
from sphinx.project import Project
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

ROOT = Path(__file__).resolve().parent.parent
CONFIG = get_config(path=ROOT)
LOG = logging.getLogger(__name__)
SITE = f'{CONFIG.doc_host}{CONFIG.doc_baseurl}'
ROOMS = ['Foundations', 'Models', 'Captioning', 'Data', 'Training', 'Learner and insight', 'Commands']  # tens

project, release, author, copyright = CONFIG.title, CONFIG.version, CONFIG.author, CONFIG.copyright
extensions = ['myst_nb', 'sphinx.ext.linkcode', 'sphinx_copybutton']
include_patterns = ['*.md', 'docs/*.md', 'benchmarks/README.md', 'nbs/*.ipynb', 'nbs/tutorials/*']
exclude_patterns = ['.*', '**/.*', '_*']
nb_execution_mode, nb_merge_streams = 'off', True
nb_mime_priority_overrides = [('html', 'text/plain', 100)]
myst_enable_extensions = ['colon_fence', 'dollarmath', 'html_image']
myst_dmath_allow_digits = myst_dmath_allow_space = False
myst_heading_anchors = 6
add_module_names = html_copy_source = html_show_sourcelink = False
toc_object_entries_show_parents, html_theme, html_math_renderer = 'hide', 'furo', 'mathml'
html_title = f'{project} {release}'
html_static_path, html_css_files = ['static'], ['site.css']

# ---- pages have nbdev's names: README.md is index, nbs/20_decode.ipynb is decode
@patch
def path2doc(self: Project, filename):
    docname = self._orig_path2doc(filename)
    return docname and re.sub(r'^nbs/(\d+[a-z]*_)?', '', docname).replace('README', 'index').lower()

def side_bar(app):
    guide = (ROOT/'nbs/tutorials/README.md').read_text(encoding='utf-8')
    tutorials = re.findall(r'^\| \[.*\]\((\w+)\.ipynb', guide, re.M)
    trees = {'Tutorials': ['tutorials/index', *(f'tutorials/{name}' for name in tutorials)]}
    for number, room in enumerate(ROOMS):
        trees[room] = [app.project.path2doc(f) for f in sorted((ROOT/'nbs').glob(f'{number}*.ipynb'))]
    trees['Guides'] = [f'docs/{name}' for name in ('install', 'data', 'systems', 'serving', 'results', 'limits', 'glossary')]
    trees['Project'] = ['benchmarks/index', 'contributing', 'changelog', 'Index <genindex>']
    for title, pages in trees.items():
        yield '\n'.join(['', '```{toctree}', ':hidden:', f':caption: {title}', '', *pages, '```', ''])

# ---- what a notebook exports, in the place of the cells
def table(obj):
    tbl = DocmentTbl(obj)
    for row in tbl.dm.values():
        if isinstance(row['docment'], str):
            text = re.sub(r'(`[^`]*`)|<', lambda m: m[1] or r'\<', row['docment'])
            row['docment'] = text.replace('|', r'\|')
        if row.get('anno') not in (None, inspect._empty):
            row['anno'] = f"`{getattr(row['anno'], '__name__', row['anno'])}`".replace('|', r'\|')
    return str(tbl)

def describe(module, name, depth=4):
    "A directive for Python; of a class with the methods that say something new"
    owner, obj = None, module
    for part in name.split('.'):
        owner, obj = obj, getattr(obj, part)
    if hasattr(obj, 'dispatch'):  # several of one name: ours
        obj = next(o.implementation for o in obj.methods if o.implementation.__module__ == module.__name__)
    kind = 'function' if owner is module else 'method' if callable(obj) else 'property'
    call, doc, says, methods = '', inspect.cleandoc(obj.__doc__ or ''), [], []
    if inspect.isclass(obj):
        kind, source = 'class', inspect.getsource(obj)
        doc = '' if doc.startswith(f'{name}(') else doc  # a dataclass's own
        methods = [o for o in vars(obj) if o[0] != '_' and f' def {o}(' in source]
    if callable(obj) and (kind != 'class' or '__init__' in vars(obj)):
        call = stringify_signature(inspect.signature(obj), show_annotation=False)
        call = re.sub(r"\bself\b(, )?|<\w+ '?(?:\w+\.)*(\w+)[^>]*>", r'\2', call)
        says = [table(obj)]
    says = [doc, *says, *(describe(module, f'{name}.{method}', depth-1) for method in methods)]
    if inspect.isclass(owner) and not any(says) and any(hasattr(base, part) for base in owner.__mro__[1:]):
        return ''
    return '\n\n'.join([f'{":"*depth}{{py:{kind}}} {name}{call}', *filter(None, says), ':'*depth])

def on_source_read(app, docname, source):
    path = app.env.doc2path(docname)
    if docname == 'index':
        source[0] += ''.join(side_bar(app))
    if path.suffix != '.ipynb':
        return
    exports = re.search(r'#\| *default_exp +([\w.]+)', source[0])
    module = exports and import_module(f'{CONFIG.lib_name}.{exports[1]}')
    nb = NBProcessor(path, procs=FilterDefaults().procs(), process=True).nb
    described = {}
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == 'code':
            cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
        if show := re.match(r'show_doc\(([\w.]+)', cell.source):
            nb.cells[i] = mk_cell('' if show[1] in described else describe(module, show[1]), 'markdown')
            described[show[1]] = True
    if module:
        where = f'`{module.__name__}`, written in [nbs/{path.name}]({github("nbs/"+path.name)})'
        nb.cells[0].source += f'\n\n{where}\n\n```{{py:currentmodule}} {module.__name__}\n```'
    source[0] = nb2str(nb)

# ---- links: names in backticks to their description, files that are no page to GitHub
def github(path):
    return f'{CONFIG.git_url}/{"tree" if (ROOT/path).is_dir() else "blob"}/{CONFIG.branch}/{path}'

def linkcode_resolve(domain, info):
    return NbdevLookup().code(info['fullname'])

def on_doctree_read(app, doctree):
    here = app.env.docname
    for node in list(doctree.findall(nodes.literal)):
        url = NbdevLookup().doc(node.astext().removesuffix('()')) or ''
        plain = re.fullmatch('[a-z]+', node.astext())  # `captions` may be a column, `captions()` not
        if url.startswith(SITE) and not plain and isinstance(node.parent, (nodes.paragraph, nodes.strong)):
            url = '../'*here.count('/') + url[len(SITE):]
            node.replace_self(nodes.reference('', '', node.deepcopy(), refuri=url))
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        path = app.env.relfn2path(node['reftarget'], here)[0]
        if node['reftype'] == 'myst' and not node['refdomain'] and (ROOT/path).exists():
            node.replace_self(nodes.reference('', '', *node.children, refuri=github(path)))
    for node in doctree.findall(addnodes.desc_signature):  # nbdev's anchors too: other projects link to them
        if node['fullname'].lower() not in doctree.ids:
            node['ids'].append(node['fullname'].lower())

# ---- formulas as MathML, which browsers draw themselves; nothing is loaded from elsewhere
def formula(self, node):
    tex = re.sub(r'\\([bB]igg?)(?![a-zA-Z])', r'\\\1l', node.astext())  # docutils has \bigl and \bigr only
    try:
        self.body.append(latex2mathml.tex2mathml(tex, as_block=isinstance(node, nodes.math_block)))
    except MathError as e:
        LOG.warning('the formula %s cannot be drawn: %s', tex, e, location=node)
    raise nodes.SkipNode

FOREIGN = re.compile(r'''
    (?:<(?!a\b|link rel="(?:canonical|alternate))[a-z][^<>]*?\b(?:src|srcset|data|poster|href)="
    |\burl\(["']?|@import\s+["']|\b(?:import|from)\s*\(?["'])\s*((?:https?:)?//[^"')\s>]+)''', re.X)

def on_build_finished(app, error):
    for f in [*app.outdir.rglob('*.html'), *app.outdir.rglob('*.css')]:
        for address in FOREIGN.findall(f.read_text(encoding='utf-8')):
            LOG.warning('%s loads %s: the site must hold all that it needs', f.name, address)

def setup(app):
    app.add_html_math_renderer('mathml', inline_renderers=(formula, None), block_renderers=(formula, None))
    app.connect('source-read', on_source_read)
    app.connect('doctree-read', on_doctree_read, priority=400)  # before Sphinx collects downloads
    app.connect('build-finished', on_build_finished)
