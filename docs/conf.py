"Sphinx's settings for the site; `tools/docs.py` (`make docs`) writes the sources and runs Sphinx."
import json, re
from configparser import ConfigParser
from pathlib import Path
from docutils import nodes
from docutils.utils.math import latex2mathml
from docutils.utils.math import MathError
from sphinx import addnodes
from sphinx.util import logging

_cfg = ConfigParser(delimiters=['='])
_here = Path(__file__).resolve().parent
_cfg.read(_here.parent/'settings.ini', encoding='utf-8')
_cfg = _cfg['DEFAULT']

project, version = _cfg['title'], _cfg['version']
release, copyright, author = version, _cfg['copyright'], _cfg['author']
extensions = ['myst_nb', 'sphinx.ext.linkcode', 'sphinx_copybutton']
nb_execution_mode = 'off'
nb_merge_streams = True
nb_mime_priority_overrides = [('html', 'text/plain', 100)]
myst_enable_extensions = ['colon_fence', 'dollarmath', 'html_image']
myst_dmath_allow_digits = False
myst_dmath_allow_space = False
myst_heading_anchors = 6
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = 'hide'

html_theme = 'furo'
html_title = f'{project} {version}'
html_static_path = ['static']
html_css_files = ['site.css']
html_copy_source = html_show_sourcelink = False
html_math_renderer = 'mathml'
html_theme_options = dict(top_of_page_buttons=[])
copybutton_exclude = '.linenos, .gp, .go'

def linkcode_resolve(domain, info, _cache={}): # noqa: B006
    "Where the code of an object is, on GitHub"
    if not _cache: _cache.update(json.loads((Path(_src)/'lines.json').read_text()))
    return _cache.get(f"{info['module']}.{info['fullname']}")

def _math(self, node, block): # MathML, which browsers draw themselves
    tex = re.sub(r'\\([bB]igg?)(?![a-zA-Z])', r'\\\1l', node.astext()) # docutils has \bigl and \bigr only
    try: self.body.append(latex2mathml.tex2mathml(tex, as_block=block))
    except MathError as e:
        logging.getLogger(__name__).warning('the formula %s cannot be drawn (%s): write it in other commands', tex, e, location=node)
    raise nodes.SkipNode

def _nbdev_ids(app, doctree):
    "nbdev's anchors too (`learner.html#caption_learner`): other projects' documentation links to these"
    for sig in doctree.findall(addnodes.desc_signature):
        name = sig.get('fullname', '').lower()
        if name and name not in doctree.ids and not any(name in o['ids'] for o in doctree.findall(nodes.section)): sig['ids'].append(name)

def setup(app):
    global _src
    _src = app.srcdir
    app.add_html_math_renderer('mathml', inline_renderers=(lambda s,n: _math(s, n, False), None), block_renderers=(lambda s,n: _math(s, n, True), None))
    app.connect('doctree-read', _nbdev_ids)
