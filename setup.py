"Everything is in settings.ini; this file only hands it to setuptools."
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']

readme = here/'README.md'
statuses = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable', '6 - Mature', '7 - Inactive']
SERVER = f"{cfg['lib_path']}.web_app"
packages = [cfg['lib_path'], *('.'.join(p.parent.relative_to(here).parts)
                               for p in sorted((here/cfg['lib_path']).glob('*/**/__init__.py')))]

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else cfg['description'],
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    keywords=cfg['keywords'],
    license='Apache-2.0',
    classifiers=[f"Development Status :: {statuses[int(cfg['status'])-1]}", 'Intended Audience :: Developers',
                 'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    packages=[*packages, SERVER],
    package_dir={SERVER: 'web_app'}, # a package of ours when installed, so that nobody's `web_app` is in the way
    include_package_data=True,
    package_data={cfg['lib_path']: ['recipes/*.ini'], SERVER: ['static/*']},
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(),
    extras_require=dict(dev=cfg['dev_requirements'].split(), web=cfg['web_requirements'].split(), timm=['timm'], wandb=['wandb'], tensorboard=['tensorboard']),
    entry_points=dict(console_scripts=cfg.get('console_scripts', '').split(),
                      nbdev=[f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]),
    zip_safe=False,
)
