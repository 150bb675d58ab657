"""Every registered decoder, the same questions: is `forward` what `step` says, are its gradients right, does
its state do as beams need, does it take odd captions?

A decoder that is registered later is asked too. Nothing here knows one by name except `VARIANTS`, more ways
to build some of them, and figures and names that must not move.
"""
import copy
import inspect
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from imcap_fastai.core import CaptionError
from imcap_fastai.decode import beam_search, greedy
from imcap_fastai.models import captioner  # noqa: F401, registers the decoders
from imcap_fastai.models.attention import additive_scores, attend, dot_scores
from imcap_fastai.models.decoder import DECODERS, Decoder, Packing, create_decoder
from imcap_fastai.models.recurrence import PerImage, outer
from imcap_fastai.models.sat import AttentionLSTM
from imcap_fastai.models.transformer import SIZES, MultiHead

FEATS = 5  # channels
VOCAB = 10
REGIONS = 4
SMALL = dict(embed_dim=8, hidden_dim=6, attn_dim=5, ff_dim=6, dropout=0., out_drop=0.)
VARIANTS = {
    'lstm, 2 layers': ('lstm', dict(layers=2)),
    'dotattn without ReLU': ('dotattn', dict(relu=False)),
    'transformer, 3 layers, pre-norm': ('transformer', dict(layers=3, pre_norm=True)),
    'transformer, 2 layers, 1 head': ('transformer', dict(layers=2, dec_heads=1)),
}
CASES = {**{name: (name, {}) for name in DECODERS}, **VARIANTS}
CAPTIONS = torch.tensor([[[2, 4, 3, 0, 0], [2, 5, 6, 7, 3]],
                         [[2, 8, 9, 3, 0], [0, 0, 0, 0, 0]],
                         [[2, 8, 9, 9, 3], [2, 3, 0, 0, 0]]])

every_decoder = pytest.mark.parametrize('case', CASES)


def fill(tensor, phase):
    "As if random, between -0.5 and 0.5, and the same whatever the random number generator"
    numbers = torch.arange(tensor.numel(), dtype=torch.double)
    large = 43758.5453*torch.sin(12.9898*numbers + phase)
    return (large - large.floor() - .5).view(tensor.shape).to(tensor.dtype)


def make(case, **options):
    "A small decoder without dropout, its weights the same on every machine"
    name, more = CASES[case]
    known = inspect.signature(DECODERS[name].__init__).parameters
    small = {option: value for option, value in SMALL.items() if option in known}
    decoder = create_decoder(name, FEATS, VOCAB, **{**small, **more, **options})
    with torch.no_grad():
        for phase, param in enumerate(decoder.parameters()):
            if not (param == 1).all():  # a normalisation stays one
                param.copy_(fill(param, phase))
    return decoder.eval()


def features(n_images=3, regions=REGIONS):
    return 2*fill(torch.empty(n_images, regions, FEATS), .3)


def loss_of(results, caps):
    "Cross-entropy, and the doubly stochastic penalty if there is a coverage"
    logits, *coverage = results
    loss = F.cross_entropy(logits, Packing(caps).targets)
    return loss + ((1 - coverage[0])**2).mean() if coverage else loss


def gradients(train, decoder, feats, caps):
    "What `train` gives, and the gradients of features and parameters, by name"
    feats = feats.clone().requires_grad_()
    results = train(decoder, feats, caps)
    params = dict(decoder.named_parameters())
    grads = torch.autograd.grad(loss_of(results, caps), [feats, *params.values()])
    return results, dict(zip(['features', *params], grads))


def step_by_step(decoder, feats, caps):
    "The definition: the base class's loop. A decoder without coverage in training gives none here either"
    results = Decoder.forward(decoder, feats, caps)
    return results[:len(decoder(feats, caps))]


def at_once(decoder, feats, caps): return decoder(feats, caps)


# ---- forward is step, and gradients are right

def assert_same(decoder, feats, caps):
    fast, fast_grads = gradients(at_once, decoder, feats, caps)
    slow, slow_grads = gradients(step_by_step, decoder, feats, caps)
    assert fast[0].shape == (len(Packing(caps)), VOCAB)
    for one, other in zip(fast, slow):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    for name in fast_grads:
        torch.testing.assert_close(fast_grads[name], slow_grads[name], atol=1e-9, rtol=1e-9, msg=name)
    return fast_grads


@every_decoder
@pytest.mark.parametrize('training', [True, False], ids=['training', 'evaluating'])
@pytest.mark.parametrize('scale', [1, 3])  # the larger: sharp attention, both sides of every ReLU
def test_whole_captions_are_step_by_step(case, training, scale):
    decoder = make(case).double().train(training)
    with torch.no_grad():
        for param in decoder.parameters():
            param *= scale
    grads = assert_same(decoder, features().double(), CAPTIONS)
    if not training:  # a BatchNorm in training takes the bias before it away
        assert not [name for name, grad in grads.items() if not (grad != 0).any()], 'these never learn'


@every_decoder
def test_gradients_are_finite_differences(case):
    by_hand = issubclass(DECODERS[CASES[case][0]], AttentionLSTM)  # every entry, not a projection
    decoder = make(case, **(dict(embed_dim=2, hidden_dim=2, attn_dim=3) if by_hand else {})).double()
    params = dict(decoder.named_parameters())

    def run(feats, *values):
        return torch.func.functional_call(decoder, dict(zip(params, values)), (feats, CAPTIONS))
    feats = features(regions=3).double().requires_grad_()
    assert torch.autograd.gradcheck(run, (feats, *params.values()), atol=1e-6, fast_mode=not by_hand)


ODD = {
    'one caption per image': [[[2, 4, 5, 3]], [[2, 6, 3, 0]], [[2, 3, 0, 0]]],
    'captions without an axis for N': [[2, 4, 5, 3], [2, 6, 3, 0], [2, 3, 0, 0]],
    'one image': [[[2, 4, 5, 3], [2, 6, 3, 0]]],
    'one image, one caption, no word': [[[2, 3]]],
    'an image without captions': [[[2, 4, 5, 3]], [[0, 0, 0, 0]], [[2, 6, 3, 0]]],
    'padding on the right of all': [[[2, 4, 3, 0, 0, 0, 0]], [[2, 6, 5, 3, 0, 0, 0]]],
    'the empty caption first': [[[0, 0, 0], [2, 4, 3]], [[2, 3, 0], [0, 0, 0]]],
    'the same caption five times': [[[2, 4, 5, 3]]*5],
    'cut before the end token': [[[2, 4, 5, 6], [2, 7, 3, 0]]],
    'only the first token': [[[2, 0, 0], [2, 4, 3]]],
}


@every_decoder
@pytest.mark.parametrize('odd', ODD)
def test_odd_captions(case, odd):
    caps = torch.tensor(ODD[odd])
    assert_same(make(case).double(), features(len(caps)).double(), caps)


@every_decoder
def test_one_region(case):
    assert_same(make(case).double(), features(regions=1).double(), CAPTIONS)


@every_decoder
def test_one_image_trains(case):
    results = make(case).train()(features(1), CAPTIONS[:1])
    assert all(result.isfinite().all() for result in results)


@every_decoder
def test_a_batch_of_nothing_is_refused(case):
    with pytest.raises(CaptionError, match='without a single caption'):
        make(case)(features(), torch.zeros_like(CAPTIONS))


@every_decoder
def test_more_padding_changes_nothing(case):
    decoder = make(case)
    wider = F.pad(CAPTIONS, (0, 3, 0, 2))
    for one, other in zip(decoder(features(), CAPTIONS), decoder(features(), wider)):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@every_decoder
def test_rows_do_not_see_each_other(case):
    decoder, packing = make(case), Packing(CAPTIONS)
    together = packing.unpack(decoder(features(), CAPTIONS)[0])
    for row, logits in zip(packing.rows.tolist(), together):
        image, number = divmod(row, CAPTIONS.shape[1])
        alone, *_ = decoder(features()[image:image+1], CAPTIONS[image:image+1, number:number+1])
        torch.testing.assert_close(logits[:len(alone)], alone, atol=1e-5, rtol=1e-4)


@every_decoder
def test_words_see_no_later_words(case):
    decoder = make(case)
    caption = torch.tensor([[[2, 4, 5, 6, 3]]])
    other = caption.clone()
    other[0, 0, 3] = 9
    before, after = (decoder(features(1), caps)[0] for caps in (caption, other))
    torch.testing.assert_close(before[:3], after[:3], atol=1e-6, rtol=1e-5)
    assert (before[3] - after[3]).abs().max() > 1e-4


@every_decoder
def test_images_and_the_order_of_words_matter(case):
    decoder = make(case)
    caption = torch.tensor([[[2, 4, 5, 6, 3]]])
    swapped = caption[:, :, [0, 2, 1, 3, 4]]
    here, *_ = decoder(features()[:1], caption)
    there, *_ = decoder(features()[1:2], caption)
    turned, *_ = decoder(features()[:1], swapped)
    assert (here - there).abs().max() > 1e-4
    assert (here[3] - turned[3]).abs().max() > 1e-4


@every_decoder
@pytest.mark.parametrize('kind, tol, grad_tol', [('bfloat16', .03, .06), ('float16', .005, .04)])
def test_half_precision(case, kind, tol, grad_tol):
    decoder = make(case)

    def half(decoder, feats, caps):
        with torch.autocast('cpu', dtype=getattr(torch, kind)):
            return [result.float() for result in decoder(feats, caps)]
    exact, exact_grads = gradients(at_once, decoder, features(), CAPTIONS)
    close, grads = gradients(half, decoder, features(), CAPTIONS)
    torch.testing.assert_close(close[0], exact[0], atol=tol, rtol=tol)
    for name in grads:
        torch.testing.assert_close(grads[name], exact_grads[name], atol=grad_tol, rtol=grad_tol, msg=name)


@every_decoder
def test_half_precision_features(case):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = make(case)(features().bfloat16(), CAPTIONS)
    assert all(result.isfinite().all() for result in results)


@every_decoder
def test_scheduled_sampling(case):
    decoder = make(case)
    torch.manual_seed(0)
    own, *_ = decoder(features(), CAPTIONS, tf_ratio=0)
    told, *_ = decoder(features(), CAPTIONS)
    first = Packing(CAPTIONS).sizes[0]
    torch.testing.assert_close(own[:first], told[:first], atol=1e-5, rtol=1e-4)  # all are given xxbos
    assert (own - told).abs().max() > 1e-4
    own.logsumexp(-1).sum().backward()
    assert all(param.grad.isfinite().all() for param in decoder.parameters())


# ---- state, as beams need it

def rollout(decoder, state, tokens):
    logits = []
    for step_tokens in tokens:
        step_logits, state, attention = decoder.step(step_tokens, state)
        logits.append(step_logits)
        assert (attention is not None) == decoder.attends
    return torch.stack(logits), state


@every_decoder
@torch.no_grad()
def test_state_expands_selects_keeps(case):
    decoder = make(case)
    start = decoder.init_state(features())
    assert (start.n_img, start.k) == (3, 1)
    state = start.expand(2)
    assert (state.n_img, state.k) == (3, 2)

    tokens = torch.tensor([[2, 2, 2, 2, 2, 2], [4, 5, 6, 7, 8, 9]])
    logits, state = rollout(decoder, state, tokens)
    alone, _ = rollout(decoder, start, tokens[:1, ::2])
    torch.testing.assert_close(logits[0], alone[0].repeat_interleave(2, 0))

    following = torch.tensor([5, 4, 7, 6, 9, 8])
    after, *_ = decoder.step(following, state)
    within = torch.tensor([1, 1, 2, 3, 5, 4])  # rows of the same image
    torch.testing.assert_close(decoder.step(following[within], state.select(within))[0], after[within])
    kept = state.keep(torch.tensor([2, 0]))
    assert (kept.n_img, kept.k) == (2, 2)
    rows = torch.tensor([4, 5, 0, 1])
    torch.testing.assert_close(decoder.step(following[rows], kept)[0], after[rows])
    again, *_ = decoder.step(following, state)
    torch.testing.assert_close(again, after, msg='a step changed the state it was given')


@every_decoder
@torch.no_grad()
def test_attention_is_a_distribution(case):
    decoder = make(case)
    tokens = torch.full((6,), 2)
    logits, _, alpha = decoder.step(tokens, decoder.init_state(features()).expand(2))
    again, _, heads = decoder.step_heads(tokens, decoder.init_state(features()).expand(2))
    assert logits.shape == (6, VOCAB)
    torch.testing.assert_close(logits, again)
    if not decoder.attends:
        assert alpha is None and heads is None
        return
    assert alpha.shape == (6, REGIONS)
    assert (alpha >= 0).all()
    torch.testing.assert_close(alpha.sum(1), torch.ones(6))
    torch.testing.assert_close(heads.mean(1), alpha)


@every_decoder
def test_coverage_adds_up_to_the_words(case):
    _, *coverage = make(case)(features(), CAPTIONS)
    if coverage:
        torch.testing.assert_close(coverage[0].sum(1), Packing(CAPTIONS).lens.float())


def ids(found): return [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in found]


@every_decoder
def test_search(case):
    decoder = make(case)
    beam_of_one = beam_search(decoder, features(), beam_size=1, max_len=7)
    assert ids(beam_of_one) == ids(greedy(decoder, features(), max_len=7))
    options = dict(beam_size=4, n_best=3, max_len=7)
    many = beam_search(decoder, features(), **options)
    assert ids(many) == [ids(beam_search(decoder, features()[i:i+1], **options))[0] for i in range(3)]
    for image, hypotheses in enumerate(many):
        for found in hypotheses:
            caption = torch.tensor([[[2, *found.ids]]])
            whole = decoder(features()[image:image+1], caption)[0].log_softmax(-1)
            expected = whole[range(len(found.ids)), found.ids].sum().item()
            assert found.log_prob == pytest.approx(expected, abs=1e-4)
            assert (found.attention is not None) == decoder.attends
            if decoder.attends:
                assert found.attention.shape == (len(found.ids), REGIONS)
                torch.testing.assert_close(found.attention.sum(1), torch.ones(len(found.ids)))


@every_decoder
def test_length_limit(case):
    decoder = make(case, seq_length=3)
    assert decoder.max_len == 3
    found = ids(beam_search(decoder, features(), max_len=30))
    assert max(len(words) for hypotheses in found for words in hypotheses) <= 3
    if CASES[case][0] == 'transformer':  # it has so many positions and no more
        with pytest.raises(CaptionError, match='5 tokens does not fit seq_length 3'):
            decoder(features(), CAPTIONS)


# ---- what must not move

@every_decoder
def test_copies_and_pickles(case):
    decoder = make(case)
    for other in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        for one, two in zip(decoder(features(), CAPTIONS), other(features(), CAPTIONS)):
            assert torch.equal(one, two)
    name, _ = CASES[case]
    spec = dict(decoder.spec)
    again = create_decoder(spec.pop('decoder'), FEATS, VOCAB, **spec)
    assert decoder.name == name
    again.load_state_dict(decoder.state_dict())


# Loss, norms of the logits, of the features' gradient and of all parameters' gradient; recorded November 2026
KEPT = {
    'sat': (2.5573, 2.8591, 0.016199, 0.41686),
    'dotattn': (2.6457, 4.2621, 0.016685, 0.45644),
    'lstm': (2.3032, 3.0618, 0.0053323, 0.4492),
    'transformer': (2.4168, 9.8139, 0.19505, 2.1949),
    'lstm, 2 layers': (2.3576, 4.0584, 0.001757, 0.42654),
    'dotattn without ReLU': (2.6461, 4.2622, 0.01683, 0.4565),
    'transformer, 3 layers, pre-norm': (2.5312, 10.968, 0.089434, 1.6169),
    'transformer, 2 layers, 1 head': (2.2527, 11.299, 0.076207, 1.588),
}
# The names of the weights in files of trained models
WEIGHTS = {
    'sat':
        'score embed.weight key.weight key.bias init_h.weight init_h.bias init_c.weight init_c.bias '
        'h_proj.weight h_proj.bias x_proj.weight x_proj.bias z_proj.weight out.weight out.bias',
    'dotattn':
        'embed.weight key.weight key.bias init_h.weight init_h.bias init_c.weight init_c.bias h_proj.weight '
        'h_proj.bias x_proj.weight x_proj.bias z_proj.weight out.weight out.bias value.weight value.bias',
    'lstm':
        'embed.weight img.weight img.bias bn.weight bn.bias bn.running_mean bn.running_var '
        'bn.num_batches_tracked lstm.weight_ih_l0 lstm.weight_hh_l0 lstm.bias_ih_l0 lstm.bias_hh_l0 '
        'out.weight out.bias',
    'transformer':
        'places.norm_in.weight places.norm_in.bias places.proj.weight places.proj.bias places.attn.q.weight '
        'places.attn.q.bias places.attn.kv.weight places.attn.kv.bias places.attn.out.weight '
        'places.attn.out.bias places.norm.weight places.norm.bias embed.weight pos.weight '
        'layers.0.self_attn.q.weight layers.0.self_attn.q.bias layers.0.self_attn.kv.weight '
        'layers.0.self_attn.kv.bias layers.0.self_attn.out.weight layers.0.self_attn.out.bias '
        'layers.0.cross_attn.q.weight layers.0.cross_attn.q.bias layers.0.cross_attn.kv.weight '
        'layers.0.cross_attn.kv.bias layers.0.cross_attn.out.weight layers.0.cross_attn.out.bias '
        'layers.0.ff.0.weight layers.0.ff.0.bias layers.0.ff.3.weight layers.0.ff.3.bias '
        'layers.0.norms.0.weight layers.0.norms.0.bias layers.0.norms.1.weight layers.0.norms.1.bias '
        'layers.0.norms.2.weight layers.0.norms.2.bias out.weight out.bias',
}


@pytest.mark.parametrize('case', KEPT)
def test_figures_kept(case):
    decoder = make(case).double()
    results, grads = gradients(at_once, decoder, features().double(), CAPTIONS)
    of_features = grads.pop('features').norm()
    of_all = torch.stack([grad.norm() for grad in grads.values()]).norm()
    found = [loss_of(results, CAPTIONS), results[0].norm(), of_features, of_all]
    assert [value.item() for value in found] == pytest.approx(KEPT[case], rel=1e-4)


@pytest.mark.parametrize('name', WEIGHTS)
def test_names_of_weights(name):
    assert list(make(name).state_dict()) == WEIGHTS[name].split()


# ---- packing

@pytest.mark.parametrize('odd', ODD)
def test_packing_of_odd_captions(odd):
    caps = torch.tensor(ODD[odd])
    packing = Packing(caps)
    captions = [[word for word in caption if word] for caption in caps.flatten(0, -2).tolist()]
    n_caps = caps.shape[1] if caps.ndim == 3 else 1
    rows = packing.rows.tolist()
    assert packing.n_caps == n_caps
    assert packing.img.tolist() == [row // n_caps for row in rows]
    assert sorted(rows) == [row for row, caption in enumerate(captions) if len(caption) > 1]

    lengths = [len(captions[row]) - 1 for row in rows]
    assert packing.lens.tolist() == lengths == sorted(lengths, reverse=True)
    steps = [[row for row in rows if len(captions[row]) > t + 1] for t in range(max(lengths))]
    assert packing.sizes == [len(going) for going in steps]
    for t, (going, span) in enumerate(zip(steps, packing.slices())):
        assert packing.tokens[span].tolist() == [captions[row][t] for row in going]
        assert packing.targets[span].tolist() == [captions[row][t+1] for row in going]

    rectangle = packing.unpack(packing.targets).tolist()
    assert [[word for word in row if word] for row in rectangle] == [captions[row][1:] for row in rows]
    numbers = torch.arange(2*caps.numel()).view(len(captions), -1, 2)
    entries = [numbers[row, t] for t, going in enumerate(steps) for row in going]
    assert torch.equal(packing.pack(numbers).data, torch.stack(entries))


@pytest.mark.parametrize('odd', ODD)
def test_products_per_image(odd):
    packing = Packing(torch.tensor(ODD[odd]))
    n_images = len(ODD[odd])
    V = torch.randn(n_images, 4, 3)
    weights, vectors = torch.randn(len(packing), 4), torch.randn(len(packing), 3)
    product, total = PerImage(V, packing), torch.zeros_like(V)
    for span in packing.slices():
        images = packing.img[:span.stop-span.start]
        expected = torch.stack([row @ V[image] for row, image in zip(weights[span], images)])
        torch.testing.assert_close(product(weights[span]), expected)
        for image, row, vector in zip(images, weights[span], vectors[span]):
            total[image] += torch.outer(row, vector)
    torch.testing.assert_close(outer(weights, vectors, V, packing), total)


# ---- attention

@pytest.mark.parametrize('B, k, P, A', [(1, 1, 1, 1), (2, 3, 5, 4), (3, 1, 2, 7), (1, 4, 1, 3)])
@pytest.mark.parametrize('grad', [True, False], ids=['with gradients', 'without'])
def test_scores_by_hand(B, k, P, A, grad):
    K, q, w = torch.randn(B, P, A), torch.randn(B, k, A), torch.randn(A)
    with torch.set_grad_enabled(grad):
        additive, dot = additive_scores(K, q, w), dot_scores(K, q)
    for b, query, region in itertools.product(range(B), range(k), range(P)):
        expected = w @ (K[b, region] + q[b, query]).relu()
        torch.testing.assert_close(additive[b, query, region], expected, atol=1e-5, rtol=1e-4)
        expected = K[b, region] @ q[b, query] / A**.5
        torch.testing.assert_close(dot[b, query, region], expected, atol=1e-5, rtol=1e-4)
    V = torch.randn(B, P, 3)
    context, alpha = attend(dot, V)
    torch.testing.assert_close(alpha.sum(-1), torch.ones(B, k))
    torch.testing.assert_close(context[-1, -1], alpha[-1, -1] @ V[-1])


def test_an_attention_needs_scores_only():
    class Plain(AttentionLSTM):
        def scores(self, K, q): return torch.cdist(q, K).neg()  # (B, k, A), (B, P, A) -> (B, k, P)

    decoder = Plain(FEATS, VOCAB, embed_dim=4, hidden_dim=6, attn_dim=5, dropout=0.).double()
    grads = assert_same(decoder, features().double(), CAPTIONS)
    assert all((grad != 0).any() for grad in grads.values())


# ---- what is asked for wrongly

@pytest.mark.parametrize('name, options, says', [
    ('sta', {}, "no decoder is called 'sta'. Did you mean 'sat'"),
    ('nothing like it', {}, 'Valid: '),
    ('sat', dict(hiden_dim=3), "decoder 'sat' has no option 'hiden_dim'. Did you mean 'hidden_dim'"),
    ('dotattn', dict(rellu=False), "Did you mean 'relu'"),
    ('transformer', dict(size='XXL'), "no transformer size is called 'XXL'"),
    ('transformer', dict(dec_heads=7), 'embed_dim 512 cannot be divided among 7 heads'),
    ('transformer', dict(embed_dim=9), 'embed_dim 9 cannot be divided among 2 heads'),
])
def test_wrong_names_and_options(name, options, says):
    with pytest.raises(CaptionError) as error:
        create_decoder(name, FEATS, VOCAB, **options)
    assert says in str(error.value)


def test_a_class_of_ones_own():
    decoder = create_decoder(DECODERS['sat'], FEATS, VOCAB, embed_dim=4)
    assert decoder.spec == dict(decoder='sat', seq_length=None, embed_dim=4)
    with pytest.raises(CaptionError, match="no option 'heads'"):
        create_decoder(DECODERS['sat'], FEATS, VOCAB, heads=4)


# ---- the transformer's parts

@pytest.mark.parametrize('heads', [1, 2, 4])
def test_many_heads_are_those_of_pytorch(heads):
    ours, theirs = MultiHead(8, heads), torch.nn.MultiheadAttention(8, heads, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([ours.q.weight, ours.kv.weight]).data
    theirs.in_proj_bias.data = torch.cat([ours.q.bias, ours.kv.bias]).data
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, y = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    keys, values = ours.keys_values(y)
    result, weights = theirs(x, y, y, average_attn_weights=False)
    torch.testing.assert_close(ours(x, keys, values), result, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.weights(x, keys), weights, atol=1e-5, rtol=1e-4)


def test_heads_divide_the_width():
    with pytest.raises(CaptionError, match='cannot be divided among 3 heads'):
        MultiHead(8, 3)


def test_sizes_grow():
    def weights(**options):
        with torch.device('meta'):
            decoder = create_decoder('transformer', 1280, 10_000, **options)
        return sum(param.numel() for param in decoder.parameters())

    sizes = [weights(size=size) for size in SIZES]
    assert sizes == sorted(sizes)
    assert weights() == weights(size='S')
    assert weights(size='xs', layers=3) > sizes[0]
