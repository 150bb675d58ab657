"Each recipe against what was published: updates per epoch, early stopping, what trains, what the model sees."
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imcap_fastai.core import CaptionError
from imcap_fastai.options import load_recipe, recipe_names
from imcap_fastai.training import batch_images, image_tfms, options, stages

FLICKR8K = pd.DataFrame(dict(image=[str(i) for i in range(6000)], captions=[['a'] * 5] * 6000, split='train'))
PAIRS = dict(A=(25, 5), B=(32, 32), C=(128,), D=(128,),
             E=(64, 32))  # image-caption pairs per batch, as published


def recipe(letter, **kwargs):
    return options(letter, word_vectors=None, **kwargs)


@pytest.mark.parametrize('letter', PAIRS)
def test_updates_per_epoch_are_those_published(letter):
    a = recipe(letter)
    ours = [6000 / batch_images(a, FLICKR8K, stage[4]) for stage in stages(a)]
    published = [30_000 / pairs for pairs in PAIRS[letter]]
    assert np.allclose(ours, published, rtol=.07)


@pytest.mark.parametrize('letter', PAIRS)
def test_early_stopping_can_fire(letter):
    a = recipe(letter)
    for _, epochs, *_ in stages(a):
        assert 0 < a.patience <= epochs


@pytest.mark.parametrize('letter', PAIRS)
def test_each_file_says_what_was_published_and_what_is_ours(letter):
    from imcap_fastai.options import RECIPES
    name = next(n for n in recipe_names() if n.startswith(letter))
    text = (RECIPES/f'{name}.ini').read_text()
    assert '# As published:' in text and '# Ours:' in text


def test_a_has_the_published_word_vectors_and_schedule():
    a = load_recipe('A')
    assert a['word_vectors'] == 'en_core_web_md'
    assert (a['epochs'], a['fine_tune_epochs'], a['pct_start'], a['encoder_lr']) == (12, 10, .3, 1e-4)
    assert options('A', word_vectors='none').word_vectors is None


def test_missing_word_vectors_are_named_before_any_work(tmp_path, scenes):
    from imcap_fastai.training import train_captioner
    with pytest.raises(CaptionError, match='spacy download en_core_web_md'):
        train_captioner(scenes, tmp_path/'run', 'A', arch='resnet18', weights='none', image_size=64,
                        min_freq=1, check='no')
    assert not (tmp_path/'run'/'config.json').exists()


@pytest.mark.parametrize('given, says', [
    (dict(ff_dim=256), '--decoder transformer'),
    (dict(enc_heads=2, dec_heads=4), '--recipe D'),
    (dict(recipe='D', attn_dim=3), "'sat' and 'dotattn' have"),
    (dict(decoder='lstm', attn_dim=3), "'lstm' has no option 'attn_dim'"),
])
def test_options_of_another_decoder_name_the_remedy(given, says):
    with pytest.raises(CaptionError, match=says):
        options(**given)


def test_c_sees_the_whole_image_once_it_is_trained():
    tfm = image_tfms(recipe('C'))[0]
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 400).astype(np.uint8), (300, 1)))
    seen = np.asarray(tfm(ramp, split_idx=1))
    assert seen.shape == (224, 224) and seen[0, 0] <= 2 and seen[0, -1] >= 253
    cut = {tuple(np.asarray(tfm(ramp, split_idx=0))[0, [0, -1]]) for _ in range(10)}
    assert len(cut) > 3


def test_c_loads_from_a_safe_folder_as_it_was_trained(make_learner, tmp_path):
    from fastai.vision.all import FlipItem
    from imcap_fastai.data.block import CaptionDataLoaders, ResizeRandomCrop
    from imcap_fastai.captioner import export_captioner, load_captioner
    from imcap_fastai.learner import caption_learner
    from imcap_fastai.shapes import shapes
    df = shapes(tmp_path/'data', n_train=4, n_valid=2, size=64)
    dls = CaptionDataLoaders.from_df(df, path=tmp_path, bs=2, min_freq=1, num_workers=0,
                                     item_tfms=[ResizeRandomCrop(48), FlipItem()])
    learn = caption_learner(dls, 'resnet18', 'lstm', weights=None, cut=-2,
                            decoder_kwargs=dict(embed_dim=8, hidden_dim=8))
    cap = load_captioner(export_captioner(learn, tmp_path/'captioner'))
    odd = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 90, 3), dtype=np.uint8))
    assert cap.prepare(odd).shape == (3, 48, 48)
    assert cap.caption(odd).log_prob == pytest.approx(learn.predict(odd).log_prob, abs=1e-4)


def test_resizing_to_the_square_that_c_promises(tmp_path):
    from imcap_fastai.cli import resize_cmd
    (tmp_path/'in').mkdir()
    for name, size in dict(wide=(400, 100), small=(40, 30)).items():
        Image.new('RGB', size).save(tmp_path/'in'/f'{name}.png')
    assert resize_cmd([str(tmp_path/'in'), str(tmp_path/'out'), '--max-size', '256', '--square']) == 0
    assert {Image.open(f).size for f in (tmp_path/'out').iterdir()} == {(256, 256)}
