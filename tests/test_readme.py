"""README's code, as it stands. Only what it takes from elsewhere is small here: the data set is drawn, in
Flickr8k's layout, and pretrained weights, which would be downloaded, are those of a small network."""
import re
import shlex
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT/'README.md').read_text(encoding='utf-8')
GUIDES = [page.read_text(encoding='utf-8') for page in sorted((ROOT/'docs').glob('*.md'))]
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', '\n'.join([README, *GUIDES]), re.M | re.S)
SCRIPTS = [text.replace('\\\n', ' ') for kind, text in BLOCKS if kind == 'bash']
SHELL = [line for text in SCRIPTS for line in text.splitlines() if line.strip()]


def flickr8k_of_scenes(folder, scenes):
    "Drawn scenes in the layout of the original data set"
    (folder/'Flicker8k_Dataset').mkdir(parents=True)
    (folder/'Flickr8k_text').mkdir()
    lines, splits = [], dict(train=[], valid=[])
    for i, row in enumerate(scenes.itertuples()):
        Image.open(row.image).save(folder/'Flicker8k_Dataset'/f'{i}.jpg')
        lines += [f'{i}.jpg#{k}\t{text}' for k, text in enumerate(row.captions)]
        splits[row.split].append(f'{i}.jpg')
    (folder/'Flickr8k_text'/'Flickr8k.token.txt').write_text('\n'.join(lines))
    for name, split in dict(train='train', dev='valid').items():
        (folder/'Flickr8k_text'/f'Flickr_8k.{name}Images.txt').write_text('\n'.join(splits[split]))


@pytest.fixture
def place(tmp_path, scenes, monkeypatch):
    from torchvision.models import get_model
    from imcap_fastai.models import encoder
    matplotlib.use('Agg')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder, '_get', lambda name, pretrained: get_model('resnet18', weights=None))
    few = scenes.groupby('split', sort=False).head(4)  # four to train with, four to validate with
    flickr8k_of_scenes(tmp_path/'flickr8k', few)
    Image.open(scenes['image'].iloc[0]).save(tmp_path/'dog.jpg')
    return tmp_path


def test_python_blocks_run_as_they_stand(place):
    names = dict(path=place/'flickr8k')
    for block in [text for kind, text in BLOCKS if kind == 'python']:
        exec(compile(block, 'README.md', 'exec'), names)
    assert names['cap'].caption('dog.jpg').text == names['learn'].predict('dog.jpg').text
    for made in re.findall(r"'([\w.]+\.(?:gif|html|pkl))'",
                           ''.join(text for kind, text in BLOCKS if kind == 'python')):
        assert (place/made).exists(), made


@pytest.mark.parametrize('line', [o for o in SHELL if o.startswith('imcap_') and 'serve' not in o])
def test_commands_are_parsed(line):
    from imcap_fastai import cli
    words = shlex.split(line, comments=True)
    parser = getattr(cli, f"{words[0].removeprefix('imcap_')}_parser")()
    parser.parse_args(words[1:])


@pytest.mark.parametrize('line', [o for o in SHELL if o.startswith('imcap_serve')])
def test_server_commands_are_parsed(line):
    from pydantic_settings import CliApp
    from web_app.settings import Settings
    assert CliApp.run(Settings, cli_args=shlex.split(line, comments=True)[1:]).model is not None


@pytest.mark.parametrize('line', [o for o in SHELL if o.startswith('curl')])
def test_requests_name_fields_that_exist(line):
    from web_app.uploads import Options
    fields = re.findall(r'-F (\w+)=', line)
    assert fields and set(fields) <= {'file', 'files'} | set(Options.model_fields)


@pytest.mark.parametrize('target', sorted(set(re.findall(r'\bmake (\w[\w-]*)', ' '.join(SHELL)))))
def test_targets_of_make_exist(target):
    assert re.search(rf'^{target}:', (ROOT/'Makefile').read_text(), re.M)


def test_files_that_are_linked_exist():
    for link in re.findall(r'\]\(([^)#:]+)\)', README):
        assert (ROOT/link).exists(), link

