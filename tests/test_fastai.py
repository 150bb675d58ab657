"""Every public method of fastai's `Learner` and every callback that fastai ships: each works, or says in one
sentence why not and what to use. The table in the docs (nbs/50_learner.ipynb) names each of them."""
import importlib
import inspect
import json
import pkgutil
from contextlib import nullcontext
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.text import Text
import pytest
import torch
from fastai.callback.all import (ActivationStats, CSVLogger, CutMix, GradientAccumulation, GradientClip,
                                 HookCallback, MixUp, ModelResetter,
                                 ModelToHalf, NonNativeMixedPrecision, ParamScheduler, ProgressCallback,
                                 ReduceLROnPlateau, RNNCallback,
                                 RNNRegularizer, SaveModelCallback, SchedCos, ShortEpochCallback,
                                 ShowGraphCallback, TerminateOnNaNCallback)
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.data import CollectDataCallback
from fastai.callback.preds import MCDropoutCallback
from fastai.callback.tensorboard import TensorBoardCallback
from fastai.callback.wandb import WandbCallback
from fastai.interpret import Interpretation
from fastai.vision.all import (BnFreeze, Callback, CastToTensor, EarlyStoppingCallback, FetchPredsCallback,
                               GatherPredsCallback, Learner,
                               SkipToEpoch)
from fastai.vision.gan import AdaptiveGANSwitcher, FixedGANSwitcher, GANDiscriminativeLR, GANTrainer

from imcap_fastai.core import CaptionError
from imcap_fastai.tensors import TensorCaption
from imcap_fastai.metrics import Bleu

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def learn(make_learner):
    yield make_learner(metrics=Bleu())
    plt.close('all')


def public(cls):
    return {n for n in dir(cls) if not n.startswith('_')}


def fitted(learn, *args):
    learn.fit(1, 1e-3)
    return learn


# ---- methods

METHODS = dict(
    add_cb=lambda learn: learn.add_cb(GradientClip(1.)), add_cbs=lambda learn: learn.add_cbs([GradientClip]),
    added_cbs=lambda learn: learn.added_cbs(GradientClip(1.)).__enter__(), all_batches=fitted,
    create_opt=lambda learn: learn.create_opt(),
    export=lambda learn: learn.export('here.pkl'), fine_tune=lambda learn: learn.fine_tune(1),
    fit=lambda learn: learn.fit(1),
    fit_flat_cos=lambda learn: learn.fit_flat_cos(1), fit_one_cycle=lambda learn: learn.fit_one_cycle(1),
    fit_sgdr=lambda learn: learn.fit_sgdr(1, 1), freeze=lambda learn: learn.freeze(),
    freeze_to=lambda learn: learn.freeze_to(1),
    get_preds=lambda learn: learn.get_preds(), load=lambda learn: (learn.save('x'), learn.load('x')),
    loss_not_reduced=lambda learn: learn.loss_not_reduced().__enter__(),
    lr_find=lambda learn: learn.lr_find(num_it=12, show_plot=False),
    metrics=lambda learn: learn.metrics, no_bar=lambda learn: learn.no_bar().__enter__(),
    no_logging=lambda learn: learn.no_logging().__enter__(),
    no_mbar=lambda learn: learn.no_mbar().__enter__(), one_batch=fitted,
    ordered_cbs=lambda learn: learn.ordered_cbs('after_batch'),
    predict=lambda learn: learn.predict(learn.dls.valid_ds.items['image'].iloc[0]),
    remove_cb=lambda learn: learn.remove_cb(learn.recorder),
    remove_cbs=lambda learn: learn.remove_cbs([learn.recorder]),
    removed_cbs=lambda learn: learn.removed_cbs([learn.recorder]).__enter__(),
    save=lambda learn: learn.save('x'), show_results=lambda learn: learn.show_results(),
    show_training_loop=lambda learn: learn.show_training_loop(),
    summary=lambda learn: learn.summary(), to_bf16=lambda learn: fitted(learn.to_bf16()),
    to_channelslast=lambda learn: fitted(learn.to_channelslast()),
    to_contiguous=lambda learn: fitted(learn.to_channelslast().to_contiguous()),
    to_detach=lambda learn: learn.to_detach(torch.zeros(2)),
    to_fp16=lambda learn: fitted(learn.to_fp16()), to_fp32=lambda learn: fitted(learn.to_fp16().to_fp32()),
    unfreeze=lambda learn: learn.unfreeze(), validate=lambda learn: learn.validate(),
    validation_context=lambda learn: learn.validation_context().__enter__())
NO_METHODS = dict(tta='beam_size', to_non_native_fp16='to_fp16',
                  to_non_native_fp32=None)  # name -> what its message names instead
WITHIN_A_FIT = {'x', 'y'}  # properties that exist while a batch is at hand
OTHERS = {'distrib_ctx', 'to_parallel', 'detach_parallel', 'parallel_ctx', 'to_distributed',
          'detach_distributed', 'gather_args'}  # added by modules


def test_every_method_is_known():
    importlib.import_module('fastai.callback.all')  # it adds methods
    assert public(Learner) <= set(METHODS) | set(NO_METHODS) | WITHIN_A_FIT | OTHERS


@pytest.mark.parametrize('name', METHODS)
def test_method_works(learn, name):
    METHODS[name](learn)


@pytest.mark.parametrize('name, instead', NO_METHODS.items())
def test_method_without_a_meaning_says_so(learn, name, instead):
    with pytest.raises(CaptionError, match=instead) if instead else nullcontext():
        getattr(learn, name)()


def test_summary_lists_the_layers_of_both_halves(learn):
    text = str(learn.summary())
    assert 'Conv2d' in text and 'Embedding' in text and 'CaptionLoss' in text
    assert not hasattr(learn.dls.train, 'n_inp') or learn.dls.train.n_inp == 1


# ---- predictions in fastai's order

def test_get_preds_gives_what_is_asked_for_in_fastais_order(learn):
    inputs, ids, targs, decoded, losses = learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
    n = len(learn.dls.valid_ds)
    assert inputs.shape == (n, 3, 64, 64) and losses.shape == (n,)
    assert isinstance(ids, TensorCaption) and isinstance(targs, TensorCaption) and torch.equal(ids, decoded)
    assert [len(ids), len(targs)] == [n, n] and targs.ndim == 3
    assert losses.mean().item() == pytest.approx(learn.validate()[0], rel=.2)
    preds, true, alone = learn.get_preds(with_loss=True)
    assert torch.allclose(losses, alone) and torch.equal(ids, preds) and torch.equal(true, targs)


def test_get_preds_of_images_without_captions(learn):
    table = learn.dls.valid_ds.items.iloc[:2]
    ids, targs = learn.get_preds(dl=learn.dls.test_dl(table))
    assert len(ids) == 2 and targs is None
    with pytest.raises(CaptionError, match='with_labels=True'):
        learn.get_preds(dl=learn.dls.test_dl(table), with_loss=True)


@pytest.mark.parametrize('given, says', [(dict(act=torch.sigmoid), 'word ids'),
                                         (dict(cbs=[MCDropoutCallback()]), 'temperature'),
                                         (dict(beam=3), "'beam_size'")])
def test_get_preds_refuses_what_has_no_meaning(learn, given, says):
    with pytest.raises(CaptionError, match=says):
        learn.get_preds(**given)


def test_fastais_interpretation(learn):
    interp = Interpretation.from_learner(learn)
    losses, items = interp.top_losses(3)
    assert losses.tolist() == sorted(losses.tolist(), reverse=True) and len(items) == 3
    interp.plot_top_losses(2)
    assert sum('loss' in text.get_text() for text in plt.gcf().findobj(Text)) == 2
    interp.show_results([0, 1])


# ---- callbacks

CALLBACKS = dict(
    ActivationStats=lambda: ActivationStats(with_hist=True), BnFreeze=BnFreeze, CSVLogger=CSVLogger,
    CastToTensor=CastToTensor,
    ChannelsLast=ChannelsLast, CollectDataCallback=CollectDataCallback,
    EarlyStoppingCallback=lambda: EarlyStoppingCallback(monitor='bleu4'),
    FetchPredsCallback=FetchPredsCallback, GradientAccumulation=lambda: GradientAccumulation(8),
    GradientClip=GradientClip,
    HookCallback=lambda: HookCallback(hook=lambda m, i, o: None), MCDropoutCallback=MCDropoutCallback,
    ParamScheduler=lambda: ParamScheduler({'lr': SchedCos(1e-3, 1e-4)}), ProgressCallback=ProgressCallback,
    ReduceLROnPlateau=lambda: ReduceLROnPlateau(monitor='bleu4', patience=1),
    SaveModelCallback=lambda: SaveModelCallback(monitor='bleu4'),
    ShortEpochCallback=lambda: ShortEpochCallback(short_valid=True),
    ShowGraphCallback=lambda: [ProgressCallback(), ShowGraphCallback()],
    SkipToEpoch=lambda: SkipToEpoch(1), TerminateOnNaNCallback=TerminateOnNaNCallback)
NO_CALLBACKS = {cb: says for says, cbs in {
    'aug_transforms': [MixUp, CutMix], 'dropout': [ModelResetter, RNNCallback, RNNRegularizer],
    'to_fp16': [ModelToHalf, NonNativeMixedPrecision],
    'fit_one_cycle': [lambda: FixedGANSwitcher(), lambda: AdaptiveGANSwitcher(),
                      lambda: GANDiscriminativeLR(1.),
                      lambda: GANTrainer.__new__(GANTrainer)],
    'get_preds': [lambda: GatherPredsCallback(with_loss=True)]}.items() for cb in cbs}
# fastai's own machinery, tried by every fit; bases of others; loggers, tried below or in the notebooks;
# services that need an account
ELSEWHERE = {
    'Callback', 'TrainEvalCallback', 'Recorder', 'MixedPrecision', 'LRFinder', 'GatherPredsCallback',
    'TrackerCallback', 'MixHandler', 'VerboseCallback',
    'TensorBoardBaseCallback', 'TensorBoardCallback', 'TensorBoardProjectorCallback', 'WandbCallback',
    'CometCallback', 'NeptuneCallback',
    'AzureMLCallback', 'CaptumCallback', 'DistributedTrainer', 'GANTrainer', 'FixedGANSwitcher',
    'AdaptiveGANSwitcher', 'GANDiscriminativeLR',
    'MixUp', 'CutMix', 'ModelResetter', 'RNNCallback', 'RNNRegularizer', 'ModelToHalf',
    'NonNativeMixedPrecision'}


def shipped():
    "Names of all callbacks in fastai's modules that can be imported here"
    import fastai
    out = set()
    for info in pkgutil.walk_packages(fastai.__path__, 'fastai.'):
        if '.medical' in info.name:
            continue
        try:
            module = importlib.import_module(info.name)
        except Exception:  # an optional package is missing
            continue
        classes = {n: o for n, o in vars(module).items() if inspect.isclass(o) and o.__module__ == info.name}
        out |= {n for n, o in classes.items() if issubclass(o, Callback)}
    return out


def test_every_callback_is_known():
    assert shipped() <= set(CALLBACKS) | ELSEWHERE


@pytest.mark.parametrize('name', CALLBACKS)
def test_callback_works(learn, name):
    learn.unfreeze()
    learn.fit(1, 1e-3, cbs=CALLBACKS[name]())


@pytest.mark.parametrize('name', ['ActivationStats', 'FetchPredsCallback', 'SaveModelCallback',
                                  'ShortEpochCallback', 'ShowGraphCallback'])
def test_callback_works_from_stored_features(learn, name):
    learn.freeze()
    learn.fit(2, 1e-3, cbs=CALLBACKS[name]())


@pytest.mark.parametrize('cb, says', NO_CALLBACKS.items())
def test_callback_without_a_meaning_says_so(learn, cb, says):
    before = list(learn.cbs)
    with pytest.raises(CaptionError, match=says) as e:
        learn.fit(1, cbs=[GradientClip(1.), cb()])
    assert '\n' not in str(e.value) and list(learn.cbs) == before


@pytest.mark.parametrize('monitor, says', [('bleu4', r'metrics=\[Bleu\(\)\]'),
                                           ('cider', r'metrics=\[Cider\(\)\]'),
                                           ('val_loss', "'valid_loss'")])
@pytest.mark.parametrize('tracker', [SaveModelCallback, EarlyStoppingCallback, ReduceLROnPlateau])
def test_a_tracker_of_what_nobody_measures(make_learner, tracker, monitor, says):
    with pytest.raises(CaptionError, match=says):
        make_learner().fit(1, cbs=tracker(monitor=monitor))


@pytest.mark.parametrize('make', [lambda tmp: TensorBoardCallback(log_dir=tmp), lambda tmp: WandbCallback()],
                         ids=['tensorboard', 'wandb'])
def test_loggers_with_their_defaults(learn, make, tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    with pytest.warns(UserWarning, match='log_preds switched off'):
        cb = make(tmp_path/'log')
        if isinstance(cb, WandbCallback):
            import wandb
            wandb.init(dir=tmp_path)
        learn.fit(1, 1e-3, cbs=cb)


def test_wandb_without_a_saved_model_says_so(learn):
    with pytest.raises(CaptionError, match='SaveModelCallback'):
        learn.fit(1, cbs=WandbCallback(log_preds=False, log_model=True))


# ---- the table

def test_the_docs_table_names_them_all():
    cells = json.loads((ROOT/'nbs'/'50_learner.ipynb').read_text())['cells']
    texts = [''.join(c['source']) for c in cells if c['cell_type'] == 'markdown']
    table = next(text for text in texts if '| fastai |' in text)
    missing = [n for n in [*public(Learner), *CALLBACKS, *ELSEWHERE] if f'`{n}`' not in table]
    assert not missing

