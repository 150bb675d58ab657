"""The benchmarks run, their checks of correctness hold and their JSON says what it should. No time is judged
here."""
import json
import pytest
import torch
from benchmarks import beam, common, decoders, serve, textbook, train_step, unfrozen
from imcap_fastai.decode import beam_search
from imcap_fastai.models.sat import SATDecoder

MACHINE = {'cpu', 'cores', 'threads', 'system', 'arch', 'python', 'torch', 'load', 'date', 'product',
           'product_gflops'}

@pytest.mark.parametrize('module', [train_step, beam, unfrozen, decoders, serve],
                         ids=lambda m: m.__name__.split('.')[-1])
def test_quick(module, tmp_path, capsys):
    name, out = module.__name__.split('.')[-1], tmp_path/'deep'/'result.json'
    module.main(['--quick', '--out', str(out)])
    res = json.loads(out.read_text())
    assert res['name'] == name and res['quick'] is True
    assert {'machine', 'settings', 'sizes', 'agreement', 'rows', 'ratios'} <= res.keys()
    assert MACHINE <= res['machine'].keys()
    assert res['machine']['product_gflops'].keys() == {'median', 'min', 'max', 'n'}
    assert len(res['rows']) >= 3 and len(res['ratios']) >= 2
    for r in res['rows']:
        assert {'name', 'unit', 'per_second', 'seconds'} <= r.keys()
        assert 0 < r['per_second']['min'] <= r['per_second']['median'] <= r['per_second']['max']
    for r in res['ratios']: assert {'fast', 'slow', 'median', 'min', 'max'} <= r.keys()
    assert str(tmp_path) not in out.read_text()
    text = capsys.readouterr().out
    assert 'GFLOP/s' in text and all(r['name'] in text for r in res['rows'])
    if name == 'train_step':
        alone = [r for r in res['rows'] if r['encoder'] is None]
        assert len(alone) == 3
        assert all(r['gflop_per_caption'] > 0 for r in alone)
        assert all(r['share_of_product_rate']['median'] > 0 for r in alone)
        assert res['agreement']['logits'] < 1e-4
    if name == 'beam':
        n = res['rows'][0]['lengths']
        assert n['ended'] == 1 and 3 < n['mean'] < 25

def test_quick_keeps_real_results(monkeypatch, tmp_path):
    monkeypatch.setattr(common, 'RESULTS', tmp_path)
    args = common.start(common.parser('', 3), ['--quick'], 3)
    common.save('beam', args, {})
    assert not list(tmp_path.iterdir()) and args.reps == 2

def test_caption_lengths():
    caps = common.draw_captions(4000, 5, 100, seed=1)
    n = (caps != 0).sum(-1).float() - 2
    assert 10.6 < n.mean() < 11.2 and 3.5 < n.std() < 4.1 and 1 <= n.min() and n.max() <= 35
    assert torch.equal(caps, common.draw_captions(4000, 5, 100, seed=1))
    assert not torch.equal(caps[:2, :, :3], common.draw_captions(2, 5, 100, seed=2)[:, :, :3])
    assert (caps[..., 0] == 2).all() and ((caps == 3).sum(-1) == 1).all() and ((caps >= 4).sum(-1) == n).all()
    assert sum(common.LENGTHS.values()) == pytest.approx(10_000, rel=.01)

def test_flops():
    "The count of `matmul_flops` is what torch counts, which leaves out the product with the score vector"
    from torch.utils.flop_counter import FlopCounterMode
    dims = dict(feat_dim=24, embed_dim=12, hidden_dim=16, attn_dim=20, vocab_size=60)
    dec, tokens = SATDecoder(**dims), torch.tensor([4, 5])
    with torch.no_grad(), FlopCounterMode(display=False) as f:
        state = dec.init_state(torch.rand(2, 4, 24))
        for t in range(3): state = dec.step(tokens, state)[1]
    forward, both = common.matmul_flops(6, 2, 4, **dims)
    assert f.get_total_flops() + 6*2*4*20 == forward
    assert 2*forward < both < 3*forward
    assert common.conv_flops(torch.nn.Conv2d(3, 8, 3, groups=1), 6) == 2*3*9*8*4*4

@pytest.mark.parametrize('shrink', [True, False])
def test_check_notices_a_difference(shrink, monkeypatch):
    dims = dict(feat_dim=8, vocab_size=20, embed_dim=6, hidden_dim=8, attn_dim=6)
    caps = common.draw_captions(2, 3, 20, seed=0)
    assert train_step.agreement(dims, caps, 4, 0)['gradients'] < 1e-4
    def off(sat, s):
        book = textbook.textbook_decoder(sat, s)
        if s == shrink: book.cell.bias_hh.data[0] += .1
        return book
    monkeypatch.setattr(train_step, 'textbook_decoder', off)
    with pytest.raises(AssertionError, match='differ by'): train_step.agreement(dims, caps, 4, 0)

def test_beam_without_an_end():
    "Where nothing ends, the textbook search too returns the best it has"
    torch.manual_seed(0)
    dec, feats = SATDecoder(8, 30, 6, 8, 6).eval(), common.draw_feats(2, 4, 8, seed=0)
    dec.embed.weight.data.normal_(); dec.out.weight.data.mul_(20); dec.out.bias.data[3] = -100.
    for h,f in zip(beam_search(dec, feats, 3, max_len=5), feats.split(1)):
        for rule in (False, True): assert textbook.textbook_beam(textbook.textbook_decoder(dec), f, 3, 5,
                                                                 rule)[1] == h[0].ids
        assert len(h[0].ids) == 5
