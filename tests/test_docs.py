"""The documentation: broken links, missing pictures and missing references are found, in a small repository of its own."""
import importlib.util, json, os, sys
from pathlib import Path
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason='Sphinx 9 needs Python 3.11: make env PYTHON=python3.11')
ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location('docs_tool', ROOT/'tools'/'docs.py')
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)

SETTINGS = '''[DEFAULT]
lib_path = toycap
title = toycap
version = 1.2
git_url = https://github.com/nobody/toycap
branch = main
copyright = nobody
author = nobody
'''
MODULE = '''from __future__ import annotations
from functools import partial, wraps
from fastcore.basics import patch
from fastcore.meta import delegates
import functools

class Dog:
    "One that `bark`s"
    def __init__(self,
        name,      # What it is called
        age:int=3, # Years | not months, <b>whole</b>
    ): self.name, self.age = name, age
    @property
    def old(self)->bool: return self.age > 10
    def run(self): return self
    @staticmethod
    def kinds(n=2): # How many
        "Kinds of dogs"
    def _hidden(self): pass

class Puppy(Dog):
    "Small"
    def run(self): return self

def bark(
    dog:Dog,            # Who
    how=partial(print), # With what
    *,
    loud:bool=False,    # Can one hear it?
    **kwargs            # More
)->str:                 # What one hears
    "Say something"

@delegates(bark)
def howl(dog, long=True, **kwargs): # A dog, and whether it goes on
    "As `bark`"

@patch
def sit(self:Dog, where=object()):
    "Be seated"
'''

def cell(kind, source, **kwargs):
    extra = dict(outputs=[], execution_count=None) if kind == 'code' else {}
    return dict(cell_type=kind, id=f'id{len(source)}', metadata={}, source=source) | extra | kwargs

def notebook(*cells):
    meta = dict(kernelspec=dict(display_name='python3', language='python', name='python3'))
    return json.dumps(dict(cells=list(cells), metadata=meta, nbformat=4, nbformat_minor=5))

@pytest.fixture
def repo(tmp_path, monkeypatch):
    (tmp_path/'settings.ini').write_text(SETTINGS)
    lib = tmp_path/'toycap'
    lib.mkdir()
    (lib/'__init__.py').write_text('')
    (lib/'core.py').write_text(MODULE)
    tut = tmp_path/'nbs'/'tutorials'
    tut.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path/'nbs'/'dog.png')
    (tmp_path/'README.md').write_text('# Toy\n\n![a dog](nbs/dog.png)\n\n[first](nbs/tutorials/first.ipynb#the-end), [code](toycap/core.py), '
                                      '`Dog`, [x](nbs/00_core.ipynb)\n')
    (tmp_path/'CHANGELOG.md').write_text('# Changes\n\nSee [above](README.md#toy).\n')
    (tmp_path/'nbs'/'00_core.ipynb').write_text(notebook(cell('markdown', '# Core\n> What `bark` needs'), cell('code', '#| default_exp core'),
        cell('code', '#| hide\nsecret = 1'), cell('code', f'#| export\n{MODULE}'), cell('markdown', 'A formula $a^2$; see [above](#core).'),
        cell('code', "#| slow\nassert bark(Dog('Rex')) is None")))
    (tut/'first.ipynb').write_text(notebook(cell('markdown', '# First\n\n![again](../dog.png)\n\n## The end'),
        cell('code', 'print(1)', outputs=[dict(output_type='stream', name='stdout', text='what it printed\n')])))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv('PYTHONDONTWRITEBYTECODE', '1')
    for m in ('toycap', 'toycap.core'): sys.modules.pop(m, None)
    importlib.invalidate_caches()
    return docs.Repo(tmp_path)

def add(repo, name, text):
    f = repo.root/name
    f.write_text((f.read_text() if f.exists() else '') + text)
    return docs.Repo(repo.root)

def test_links_are_found_but_not_in_code():
    md = 'a [b](c.md) ![d](e.png "title")\n`[no](x)` ``[no`](x)`` <img src="f.png">\n\n```python\n[no](x)\n```\n[g]: h.md\n[![i](j.png)](k.md#l)\n'
    found = []
    assert docs.relink(md, lambda u: found.append(u) or u) == md
    assert found == ['c.md', 'e.png', 'f.png', 'h.md', 'j.png', 'k.md#l']
    assert docs.relink('[a](b) `[a](b)`', lambda u: 'z') == '[a](z) `[a](b)`'
    assert docs.relink('```\n```\n[a](b)', lambda u: 'z') == '```\n```\n[a](z)' # an empty fence does not swallow the rest
    assert docs.relink('one ` tick\n\n[a](b) `', lambda u: 'z') == 'one ` tick\n\n[a](z) `'

def test_headings_as_on_github():
    md = '# One, two\n## `beam_search` & more\n```bash\n# no heading\n```\n## One, two\n## [Linked](x.md) text\n'
    assert list(docs.headings(md)) == ['one-two', 'beam_search--more', 'one-two-1', 'linked-text']

def test_names_become_links():
    link = lambda n, text: f'<{text}>' if n in ('Dog', 'bark') else None # noqa: E731
    assert docs.link_names('`Dog`, `bark()` and `cat`; [`Dog`](x) `Dog x`', link) == '<Dog>, <bark()> and `cat`; [`Dog`](x) `Dog x`'
    assert docs.link_names('# A `Dog`\n```\n`Dog`\n```\n``x `Dog` ``', link) == '# A `Dog`\n```\n`Dog`\n```\n``x `Dog` ``'

def test_a_good_repository_has_no_broken_links(repo): assert list(repo.broken_links()) == []

@pytest.mark.parametrize('name,text,says', [
    ('README.md', '[x](gone.md)', ['README.md: links to gone.md', 'does not exist']),
    ('README.md', '![x](nbs/gone.png)', ['nbs/gone.png', 'does not exist']),
    ('README.md', '![x](nbs/Dog.png)', ['does not exist']),                       # case counts, as it does on GitHub
    ('README.md', '<img src="gone.png">', ['gone.png']),
    ('README.md', '[x](#nowhere)', ['#nowhere', 'README.md has no heading', 'toy']),
    ('CHANGELOG.md', '[x](nbs/00_core.ipynb#nowhere)', ['nbs/00_core.ipynb has no heading', 'core']),
    ('README.md', '[x](../secret.md)', ['outside of the repository']),
    ('docs.md', '[x]: gone/\n', ['docs.md: links to gone/'])])
def test_broken_links_are_named(repo, name, text, says):
    bad = list(add(repo, name, f'\n{text}\n').broken_links())
    assert len(bad) == 1 and all(o in bad[0] for o in says), bad

def test_broken_link_in_a_notebook_names_the_cell(repo):
    (repo.root/'nbs'/'00_core.ipynb').write_text(notebook(cell('markdown', '# Core\n\n[x](gone.ipynb)', id='abc')))
    bad = list(docs.Repo(repo.root).broken_links())
    assert any('nbs/00_core.ipynb, cell abc: links to gone.ipynb' in o for o in bad), bad

def test_a_file_that_git_ignores_is_a_broken_link(repo):
    os.system(f'git -C "{repo.root}" init -q')
    add(repo, '.gitignore', 'mine.md\n')
    add(repo, 'mine.md', '# Mine\n')
    bad = list(add(repo, 'README.md', '\n[x](mine.md)\n').broken_links())
    assert len(bad) == 1 and 'git ignores' in bad[0]

def test_where_links_lead_on_the_site(repo):
    pics = set()
    assert repo.site_link('nbs/tutorials/first.ipynb#the-end', 'README.md', pics) == '/tutorials/first.ipynb#the-end'
    assert repo.site_link('../../toycap/core.py', 'nbs/tutorials/first.ipynb', pics) == 'https://github.com/nobody/toycap/blob/main/toycap/core.py'
    assert repo.site_link('toycap', 'README.md', pics) == 'https://github.com/nobody/toycap/tree/main/toycap'
    assert repo.site_link('https://a.b/c', 'README.md', pics) == 'https://a.b/c' and not pics
    assert repo.site_link('../dog.png', 'nbs/tutorials/first.ipynb', pics) == '/nbs/dog.png' and pics == {'nbs/dog.png'}

def test_every_tutorial_is_on_the_page_that_leads_through_them(repo):
    assert repo.tutorials() == ['nbs/tutorials/first.ipynb']
    for o in 'ab': (repo.root/f'nbs/tutorials/{o}.ipynb').write_text(notebook(cell('markdown', f'# {o}')))
    repo = add(repo, docs.TUTORIALS, '# Tutorials\n\n[b](b.ipynb), [first](first.ipynb), [b](b.ipynb#b), [code](../../toycap/core.py)\n')
    with pytest.raises(docs.Problem, match='a.ipynb'): repo.tutorials()
    repo = add(repo, docs.TUTORIALS, '[a](a.ipynb)')
    assert [Path(f).stem for f in repo.tutorials()] == ['b', 'first', 'a']

def test_pages_of_one_name_and_notebooks_without_a_number(repo):
    (repo.root/'nbs'/'01_core.ipynb').write_text(notebook(cell('markdown', '# Core')))
    with pytest.raises(docs.Problem, match='another name'): docs.Repo(repo.root).pages # noqa: B018
    (repo.root/'nbs'/'01_core.ipynb').rename(repo.root/'nbs'/'odd.ipynb')
    with pytest.raises(docs.Problem, match='odd.ipynb: has no number'): list(docs.Repo(repo.root).toctrees())

def test_descriptions(repo):
    api = docs.Api('toycap.core', 'toycap/core.py')
    text = api.describe('bark')
    assert text.startswith('::::::{py:function} bark(dog, how=partial(print), *, loud=False, **kwargs)\n:module: toycap.core\n\nSay something')
    for row in ('| ``dog`` | `Dog` |   | Who |', '| ``loud`` | `bool` | `False` | Can one hear it? |', '| ``**kwargs`` |   |   | More |',
                '| **returns** | `str` |   | What one hears |'): assert row in text, text
    text = api.describe('Dog')
    assert '{py:class} Dog(name, age=3)' in text and '| ``age`` | `int` | `3` | Years \\| not months, \\<b>whole\\</b> |' in text
    assert '{py:property} Dog.old' in text and '{py:method} Dog.run()' in text and '{py:method} Dog.kinds(n=2)' in text and ':staticmethod:' in text
    assert '``n``: How many' in text and 'hidden' not in text and 'self' not in text
    text = api.describe('Puppy')
    assert 'Bases: `Dog`' in text and 'Puppy.run' not in text and 'Years' not in text # nothing new is said about these
    text = api.describe('Dog.sit')
    assert '{py:method} Dog.sit(where=object())' in text and 'Be seated' in text
    text = api.describe('howl') # delegated parameters and what is said about them
    assert 'howl(dog, long=True, how=<function' not in text and 'loud=False' in text
    assert api.known['toycap.core.Dog.sit'][1].startswith('toycap/core.py#L')
    assert ':no-index:' in api.describe('bark') # a second time

def test_plain_words_are_links_where_they_must_mean_the_function(repo, tmp_path):
    site = docs.Site(repo, tmp_path/'out')
    site.notebook('nbs/00_core.ipynb')
    api = site.apis['nbs/00_core.ipynb']
    assert site.means('bark', 'bark', api) and not site.means('bark', 'bark', None) and site.means('bark', 'bark()', None)
    assert site.means('Dog', 'Dog', None) and site.means('Dog.sit', 'Dog.sit', None)
    api.params.add('bark') # a parameter of that name on the page: nobody knows which is meant
    assert not site.means('bark', 'bark', api)

def test_a_stale_module_names_notebook_and_remedy(repo, tmp_path):
    (repo.root/'toycap'/'core.py').write_text('class Dog: pass\n')
    with pytest.raises(docs.Problem, match=r'nbs/00_core.ipynb: cannot describe `[\w.]+` .*run nbdev_export'):
        docs.Site(repo, tmp_path/'out').notebook('nbs/00_core.ipynb')
    sys.modules.pop('toycap.core')
    (repo.root/'toycap'/'core.py').unlink()
    with pytest.raises(docs.Problem, match='nbs/00_core.ipynb: toycap.core cannot be imported .*run nbdev_export'):
        docs.Site(repo, tmp_path/'out').notebook('nbs/00_core.ipynb')

def test_what_a_page_loads_and_links_to(tmp_path):
    (tmp_path/'a.css').write_text('@font-face { src: url("https://fonts.example/f.woff") } b { background: url(data:image/png;base64,xx) }')
    (tmp_path/'good.html').write_text('<a href="https://elsewhere.example">x</a><a href="bad.html#here">y</a><svg xmlns="http://www.w3.org/2000/svg"></svg>')
    (tmp_path/'bad.html').write_text('<p id="here"><script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="//cdn.example/y.css"><img src="http://e.example/z.png">'
        '<img src="gone.png"><a href="gone.html">a</a><a href="good.html#nowhere">b</a><style>@import "https://css.example/w.css";</style>'
        '<script>import("https://cdn.example/m.js")</script><img srcset="https://e.example/2x.png 2x">')
    bad = list(docs.html_problems(tmp_path))
    for o in ('fonts.example/f.woff', 'x.js', 'y.css', 'z.png', 'gone.png', 'gone.html', 'good.html#nowhere', 'w.css', 'm.js', '2x.png'):
        assert sum(o in b for b in bad) == 1, (o, bad)
    assert len(bad) == 10 and not any(b.startswith('good.html') for b in bad)

@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning')
def test_a_small_site(repo, tmp_path, monkeypatch):
    "Good: pages, descriptions, anchors. Then a broken reference and a formula that cannot be drawn"
    monkeypatch.setattr(docs, 'CONF', _conf(tmp_path))
    repo = add(repo, docs.TUTORIALS, '# Tutorials\n\nStart with the [first](first.ipynb#the-end).\n')
    out, said = tmp_path/'_docs', []
    assert docs.build(repo, out, say=said.append) == []
    core, first, index = ((out/'html'/f'{o}.html').read_text() for o in ('core', 'tutorials/first', 'index'))
    assert 'secret' not in core and 'assert' in core and '#|' not in core and '<math' in core and 'Can one hear it?' in core
    assert 'toycap/blob/main/toycap/core.py#L' in core
    ids = docs.Page(core).ids
    assert '<code class="xref py py-obj docutils literal notranslate"><span class="pre">Dog</span></code></a></p></td>' in core # types lead on
    assert {'toycap.core.bark', 'bark', 'dog.sit', 'core'} <= ids # Sphinx's anchors, and nbdev's
    assert index.index('href="tutorials/index.html"') < index.index('href="tutorials/first.html"') < index.index('href="changelog.html"') # side bar
    assert 'what it printed' in first and '_images/dog.png' in first
    assert 'href="core.html#toycap.core.Dog"' in index and 'href="tutorials/first.html#the-end"' in index
    assert docs.build(docs.Repo(repo.root), out, say=said.append) == [] and 'nothing has changed' in said[-1]
    repo = add(repo, 'CHANGELOG.md', '\n{py:obj}`nothing.of.the.kind` and $\\nosuchcommand$\n')
    (repo.root/'nbs/tutorials/first.ipynb').write_text(notebook(cell('markdown', '# First\n\n## The end'), cell('markdown', 'Here\n{py:obj}`gone.thing`')))
    bad = docs.build(repo, out, say=said.append)
    assert any(o.startswith('nbs/tutorials/first.ipynb, cell that begins “Here”: ') and 'gone.thing' in o for o in bad), bad
    assert any(o.startswith('CHANGELOG.md') and 'nothing.of.the.kind' in o for o in bad), bad
    assert any('nosuchcommand' in o and 'cannot be drawn' in o for o in bad), bad
    assert docs.build(docs.Repo(repo.root), out, say=said.append), 'a failure must not be taken for built'

def _conf(folder): # our settings, beside the toy's settings.ini
    dst = folder/'docs'
    dst.mkdir()
    (dst/'conf.py').write_text((ROOT/'docs'/'conf.py').read_text())
    (dst/'static').mkdir()
    (dst/'static'/'site.css').write_text((ROOT/'docs'/'static'/'site.css').read_text())
    return dst
