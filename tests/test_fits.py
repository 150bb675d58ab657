"What a fit does with little data, and what it leaves behind when something ends it."
import gc
import math

import pytest
import torch
from fastai.callback.core import Callback
from fastai.vision.all import TensorImage

from imcap_fastai.core import CaptionError


class StopWith(Callback):
    "Raise an exception at an event"
    order = 50

    def __init__(self, event, exception):
        setattr(self, event, self._raise)
        self.exception = exception

    def _raise(self):
        raise self.exception


# ---- little data

def test_a_last_short_batch_counts(make_learner):
    learn = make_learner(bs=12)
    assert [len(b[0]) for b in learn.dls.train] == [12, 4]


def test_fewer_images_than_a_batch_train(make_learner):
    learn = make_learner(bs=100)
    was = learn.model.decoder.out.weight.detach().clone()
    learn.fit(1, 1e-2)
    assert math.isfinite(learn.recorder.values[0][0])
    assert not torch.equal(was, learn.model.decoder.out.weight)


def test_lr_find_on_one_batch(make_learner):
    learn = make_learner(bs=100)
    found = learn.lr_find(num_it=12, show_plot=False)
    assert 0 < found.valley < 10


@pytest.mark.parametrize('way', ['fit', 'fit_one_cycle', 'lr_find'])
def test_no_step_is_an_error_that_names_bs(make_learner, way):
    learn = make_learner(bs=100, dls_kwargs=dict(drop_last=True))
    args = () if way == 'lr_find' else (1,)
    with pytest.raises(CaptionError, match='bs=100 is more than the 16 training images'):
        getattr(learn, way)(*args)


# ---- interrupted

INTERRUPTED = [*((event, KeyboardInterrupt()) for event in ('before_fit', 'after_pred', 'after_step',
                                                            'before_validate', 'after_epoch')),
               ('after_pred', RuntimeError('out of memory')),
               ('after_step', CaptionError('a loss that is not a number'))]


@pytest.mark.parametrize('event, exception', INTERRUPTED)
def test_an_interrupted_frozen_fit_gives_the_images_back(make_learner, event, exception):
    learn = make_learner()
    learn.freeze()
    images = learn.dls
    with pytest.raises(type(exception)):
        learn.fit(1, 1e-3, cbs=StopWith(event, exception))
    assert learn.dls is images
    assert isinstance(learn.dls.train.one_batch()[0], TensorImage)
    assert learn.predict(images.valid_ds.items['image'].iloc[0]).text is not None
    assert len(learn.captions(progress=False)) == 6
    learn.dls.show_batch(max_n=1)
    learn.fit(1, 1e-3)


def test_an_interrupted_lr_find_gives_the_weights_back(make_learner):
    learn = make_learner()
    was = [p.detach().clone() for p in learn.model.parameters()]

    class Late(Callback):
        def after_step(self):
            if self.train_iter > 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), learn.added_cbs(Late()):
        learn.lr_find(num_it=100, start_lr=1, end_lr=10, show_plot=False)
    assert all(torch.equal(a, b) for a, b in zip(was, learn.model.parameters()))


# ---- metrics to stop on

def test_cider_is_watched_and_each_image_captioned_once(make_learner, monkeypatch):
    from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
    from imcap_fastai import metrics
    calls = []
    decode = metrics.greedy
    monkeypatch.setattr(metrics, 'greedy', lambda *args, **kwargs: calls.append(1) or decode(*args, **kwargs))
    learn = make_learner(metrics=[metrics.Bleu(), metrics.Cider()])
    learn.fit(2, 1e-12, cbs=[SaveModelCallback(monitor='cider'),
                             EarlyStoppingCallback(monitor='cider', patience=1)])
    assert learn.recorder.metric_names[-2:] == ['cider', 'time']
    assert len(calls) == 2 * len(learn.dls.valid)


# ---- memory over a long run

class CountTensors(Callback):
    "Live tensors and the bytes they hold, after each epoch"
    order = 99

    def __init__(self):
        self.counts = []

    def after_epoch(self):
        gc.collect()
        tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        self.counts.append((len(tensors), sum(storages.values())))


@pytest.mark.parametrize('frozen', [True, False])
def test_an_epoch_more_costs_no_memory_more(make_learner, frozen):
    from imcap_fastai.metrics import Bleu, TopKAccuracy
    learn = make_learner(decoder='transformer', metrics=[TopKAccuracy(5), Bleu()])
    learn.freeze() if frozen else learn.unfreeze()
    count = CountTensors()
    learn.fit(6, 1e-3, cbs=count)
    assert len(set(count.counts[1:])) == 1, count.counts
    assert all(isinstance(loss, float) for loss in learn.recorder.losses)
