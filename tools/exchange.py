"""Captioners travel between environments: one exports and notes its captions, the other says the same.

    python tools/exchange.py make FOLDER     export some captioners, each as a folder and as a pickle
    python tools/exchange.py check FOLDER    load them all and compare captions and log-probabilities
"""
import json
import sys
import warnings
from pathlib import Path

MAX_DIFFERENCE = 1e-3  # of a log-probability
SIZES = dict(lstm=dict(embed_dim=32, hidden_dim=64),
             sat=dict(embed_dim=32, hidden_dim=64, attn_dim=32),
             transformer=dict(embed_dim=32, ff_dim=32, enc_heads=2, dec_heads=4))

def captioner(decoder, df):
    "A small captioner with seeded random weights, whose words are far from equally likely"
    import torch
    from fastai.vision.all import Resize, ResizeMethod, set_seed
    from imcap_fastai.data.block import CaptionDataLoaders
    from imcap_fastai.learner import caption_learner
    set_seed(7)
    dls = CaptionDataLoaders.from_df(df, bs=4, min_freq=1, num_workers=0, check=False,
                                     item_tfms=Resize(64, method=ResizeMethod.Squish))
    learn = caption_learner(dls, 'resnet18', decoder, weights=None, cut=-2, decoder_kwargs=SIZES[decoder])
    with torch.no_grad():
        for p in learn.model.decoder.parameters():
            if p.ndim > 1:
                p.mul_(4)
    learn.decoding = dict(max_len=8)
    return learn

def captions(path, files, **kwargs):
    from imcap_fastai.captioner import load_captioner
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # other versions are what this is about
        found = load_captioner(path, **kwargs).captions(files, beam_size=1)
    return [[c.text, c.log_prob] for c in found]

def make(folder):
    from imcap_fastai.captioner import export_captioner
    from imcap_fastai.shapes import shapes
    df = shapes(folder/'images', n_train=8, n_valid=4, size=64)
    files = [str(Path(f).relative_to(folder)) for f in df['image']]
    said = {}
    for name in SIZES:
        learn = captioner(name, df)
        export_captioner(learn, folder/name)
        learn.export(folder.absolute()/f'{name}.pkl')
        said[name] = captions(folder/name, [folder/f for f in files])
    (folder/'said.json').write_text(json.dumps(dict(files=files, said=said)))

def check(folder):
    note = json.loads((folder/'said.json').read_text())
    files = [folder/f for f in note['files']]
    for name, want in note['said'].items():
        for path, kwargs in ((folder/name, {}), (folder/f'{name}.pkl', dict(trust=True))):
            got = captions(path, files, **kwargs)
            for (text, log_prob), (other, other_log_prob) in zip(want, got):
                same = text == other and abs(log_prob - other_log_prob) < MAX_DIFFERENCE
                assert same, f'{path.name}: {text!r} ({log_prob:.4f}) became {other!r} ({other_log_prob:.4f})'

if __name__ == '__main__':
    action, folder = sys.argv[1:]
    dict(make=make, check=check)[action](Path(folder))
