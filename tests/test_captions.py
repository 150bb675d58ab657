"Asking for captions: options of the search, wrong names, devices."
import pytest
import torch

from imcap_fastai.core import CaptionError
from imcap_fastai.tensors import best_device


@pytest.fixture
def learn(make_learner):
    return make_learner()


@pytest.mark.parametrize('ask, says', [
    (lambda learn, image: learn.predict(image, beam=3), "'beam_size'"),
    (lambda learn, image: learn.captions([image], num_beams=3), "'beam_size'"),
    (lambda learn, image: learn.predict(image, max_length=9), "'max_len'"),
    (lambda learn, image: learn.predict(image, beam_size=2.5), 'whole number'),
    (lambda learn, image: learn.predict(image, top_p=2), 'at most 1'),
    (lambda learn, image: learn.predict(image, temperature=1, beam_size=3), 'one or the other'),
])
def test_wrong_names_and_values_are_one_line(learn, ask, says):
    with pytest.raises(CaptionError, match=says) as e:
        ask(learn, learn.dls.valid_ds.items['image'].iloc[0])
    assert '\n' not in str(e.value) and len(str(e.value)) < 300


@pytest.mark.parametrize('given, says', [
    (dict(hidden_dim=8), 'decoder_kwargs=dict\\(hidden_dim=8\\)'), (dict(learning_rate=1), "'lr'"),
    (dict(atn_penalty=1), "'attn_penalty'"),
    (dict(arch='resnet_18'), "'resnet18'"), (dict(decoder='sta'), "'sat'"),
])
def test_wrong_arguments_of_caption_learner_are_one_line(learn, given, says):
    from imcap_fastai.learner import caption_learner
    with pytest.raises(CaptionError, match=says) as e:
        caption_learner(learn.dls, **{'arch': 'resnet18', 'weights': None, **given})
    assert '\n' not in str(e.value) and len(str(e.value)) < 400


def test_no_pair_of_words_comes_twice(learn):
    for c in learn.captions(no_repeat_ngram_size=2, min_len=10, max_len=15, progress=False):
        pairs = list(zip(c.words, c.words[1:]))
        assert len(c.words) >= 10 and len(set(pairs)) == len(pairs)


def test_draws_repeat_with_their_seed_in_any_batch(learn):
    images = list(learn.dls.valid_ds.items['image'])
    asked = dict(temperature=2., top_k=20, top_p=.99, seed=4, n_best=3, progress=False)
    together = learn.captions(images, **asked)
    alone = [learn.captions([image], **asked)[0] for image in images]
    assert [[o.text for o in c.n_best] for c in together] == [[o.text for o in c.n_best] for c in alone]
    assert all([o.log_prob for o in c.n_best] == sorted((o.log_prob for o in c.n_best),
                                                        reverse=True) for c in together)
    other = learn.captions(images, **{**asked, 'seed': 5})
    assert [c.text for c in other] != [c.text for c in together]


def test_sampling_without_randomness_is_greedy(learn):
    greedy = [c.text for c in learn.captions(beam_size=1, progress=False)]
    assert [c.text for c in learn.captions(top_k=1, progress=False)] == greedy
    assert [c.text for c in learn.captions(temperature=0, progress=False)] == greedy


def test_asking_for_a_beam_puts_exported_draws_aside(learn):
    learn.decoding = dict(temperature=1., seed=1)
    image = learn.dls.valid_ds.items['image'].iloc[0]
    drawn = learn.predict(image)
    learn.decoding = {}
    searched = learn.predict(image, beam_size=4)
    learn.decoding = dict(temperature=1., seed=1)
    assert learn.predict(image).text == drawn.text and learn.predict(image, beam_size=4).text == searched.text


def test_a_score_card_says_which_repeats_were_forbidden(learn):
    import imcap_fastai.evaluate  # noqa: F401 (learners get `score_card`)
    card = learn.score_card(beam_sizes=1, tokenizer='spacy', meteor=False, times=0, yardsticks=False,
                            progress=False, no_repeat_ngram_size=2)
    assert '|ngram:2|' in card.signature


# ---- devices

def test_the_best_device_there_is(monkeypatch):
    assert best_device('cpu') == torch.device('cpu')
    monkeypatch.setattr('imcap_fastai.tensors._devices', lambda: dict(cuda=1, mps=0, cpu=1))
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
    assert best_device() == best_device('auto') == torch.device('cuda', 0)


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', 'meta', 3.5])
def test_a_device_that_is_not_here(name):
    with pytest.raises(CaptionError, match='device='):
        best_device(name)


def test_captioners_go_to_the_best_device_unless_told_otherwise(learn, tmp_path, monkeypatch):
    from imcap_fastai import captioner as inference
    folder = inference.export_captioner(learn, tmp_path/'captioner')
    learn.export('captioner.pkl')
    asked = []
    monkeypatch.setattr(inference, 'best_device', lambda name=None: asked.append(name) or torch.device('cpu'))
    inference.load_captioner(folder)
    inference.load_captioner(learn.path/'captioner.pkl', trust=True)
    inference.load_captioner(folder, cpu=True)
    inference.load_captioner(folder, device='mps')
    assert [asked[i] for i in range(0, len(asked), 2)] == [None, None, 'cpu', 'mps']


def test_a_captioner_moves_with_its_loaders(learn, tmp_path):
    from imcap_fastai.captioner import export_captioner, load_captioner
    cap = load_captioner(export_captioner(learn, tmp_path/'captioner'), device='cpu')
    assert cap.device == torch.device('cpu')
    cap.model.to('meta')
    assert cap.device.type == 'meta'
