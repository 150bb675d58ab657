"Drawn scenes and small learners that several test files share."
import os

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import pytest

# Notebooks and test files that take longest, longest first: two workers that begin with these end together
LONGEST = ['test_newest', 'test_fastai', 'test_readme', '61_training', 'test_docs', 'test_api',
           'test_pictures', '00_startup', '55_doctor', '62_cli', '56_inference', 'test_benchmarks',
           'test_page', 'test_fits']

def group(item):
    "What stays together in one worker: a file, but each notebook for itself"
    return item.callspec.id if item.name.startswith('test_notebook[') else item.path.stem

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group(item), len(rank)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    "A tidy table of 16 training and 6 validation scenes, 64 pixels wide"
    from imcap_fastai.shapes import shapes
    return shapes(tmp_path_factory.mktemp('scenes'), n_train=16, n_valid=6, size=64)


@pytest.fixture
def make_learner(scenes, tmp_path):
    """A function that makes an untrained learner: a small ResNet, 16 units everywhere; its arguments are
    `caption_learner`'s"""
    from fastai.vision.all import Resize, ResizeMethod, resnet18, set_seed
    from imcap_fastai.data.block import CaptionDataLoaders
    from imcap_fastai.learner import caption_learner

    def make(df=None, bs=4, decoder='sat', dls_kwargs=None, **kwargs):
        set_seed(1)
        dls = CaptionDataLoaders.from_df(scenes if df is None else df, path=tmp_path, bs=bs, min_freq=1,
                                         num_workers=0, seed=1,
                                         item_tfms=Resize(64, method=ResizeMethod.Squish), check=False,
                                         **(dls_kwargs or {}))
        sizes = dict(sat=dict(embed_dim=16, hidden_dim=16, attn_dim=16),
                     dotattn=dict(embed_dim=16, hidden_dim=16, attn_dim=16),
                     lstm=dict(embed_dim=16, hidden_dim=16), transformer=dict(embed_dim=16, ff_dim=16))
        kwargs = {'weights': None, 'cut': -1, 'decoder_kwargs': sizes[decoder], **kwargs}
        learn = caption_learner(dls, resnet18, decoder, **kwargs)
        learn.remove_cbs([cb for cb in learn.cbs if cb.name == 'progress'])
        return learn
    return make
