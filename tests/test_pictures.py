"""Pictures: what is drawn lies where it belongs, once, and nothing covers anything else."""

from unittest import mock
import matplotlib
import nbformat, pytest, torch
from PIL import Image
from fastai.vision.all import Resize, ResizeMethod
from nbclient import NotebookClient
from torch import nn
from imcap_fastai.data.block import CaptionDataLoaders
from imcap_fastai.learner import Caption, caption_learner
from imcap_fastai.models.encoder import create_encoder, map_cells

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# ---- figures in a notebook

SET_UP = '''
%matplotlib inline
import matplotlib.pyplot as plt, numpy as np, pandas as pd, torch
from imcap_fastai.plots import plot_epochs
from imcap_fastai.data.describe import describe
from imcap_fastai.interpret import attention_gif, show_attention, show_captions, show_heads
from imcap_fastai.learner import Caption
image = np.zeros((20, 30, 3), np.uint8)
said = Caption('a dog', ['a', 'dog'], [.5, .5, .5], -2., -2., True, torch.rand(3, 4, 4))
rows = [dict(epoch=i, train_loss=2. - i, valid_loss=2. - i) for i in range(2)]
table = pd.DataFrame(dict(image=['a.jpg', 'b.jpg'], captions=[['a dog'], ['a cat']],
                          split=['train', 'valid']))
'''
CELLS = {  # what is typed -> pictures that appear
    'show_attention(image, said)': 1,
    'show_attention(image, said);': 1,
    'show_attention(image, said)\n1': 1,
    'fig = show_attention(image, said)': 1,
    'fig': 1,
    'plt.close(show_attention(image, said))': 0,
    'for i in range(2): show_attention(image, said)': 2,
    'show_captions([image], [said])': 1,
    'show_heads(image, said, torch.rand(2, 2, 4, 4))': 1,
    'plot_epochs(rows)': 1,
    'describe(table, n_sizes=0).plot()': 1,
}


def test_figures_are_shown_once_and_films_play(tmp_path):
    film = f'show_attention(image, said, fname={str(tmp_path / "a.gif")!r})'
    cells = [nbformat.v4.new_code_cell(source) for source in (SET_UP, *CELLS, film)]
    kernel = dict(name='python3', display_name='python3')
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(tmp_path)}}).execute()
    pictures = {}
    for cell in notebook.cells[1:-1]:
        pictures[cell.source] = sum('image/png' in output.get('data', {}) for output in cell.outputs)
    assert pictures == CELLS
    (output,) = notebook.cells[-1].outputs
    assert output['data']['text/html'].startswith('<img src="data:image/gif;base64,')
    assert 'image/png' not in output['data']


# ---- where the cells of a map lie

ENCODERS = ['resnet18', 'mobilenet_v2', 'vgg11', 'efficientnet_b1', 'googlenet']
TIMM = ['vit_tiny_patch16_224', 'tf_efficientnet_b0']


def positive_averages(module):
    "The network with means for all it computes, so that gradients add up to the area that a cell sees"
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d):
            mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
            setattr(module, name, mean)
        elif isinstance(child, (nn.ReLU, nn.ReLU6, nn.SiLU)) or type(child).__name__.startswith('SqueezeExc'):
            setattr(module, name, nn.Identity())
        else:
            positive_averages(child)
    if isinstance(module, nn.Conv2d):
        nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return module.eval()


def measured_centre(network, side, i):
    "Where down the image the cell in row and column `i` looks: the centre of its gradient"
    x = torch.full((1, 3, side, side), 0.5, requires_grad=True)
    network(x)[0, :, i, i].sum().backward()
    weight = x.grad[0].sum((0, 2))  # (3, H, W) -> (H)
    return ((weight * torch.arange(side)).sum() / weight.sum()).item()


@pytest.mark.parametrize('name', ENCODERS + TIMM)
def test_cells_lie_where_they_look(name):
    if name in TIMM:
        pytest.importorskip('timm')
    enc = create_encoder(name, weights=None)
    side = enc.size[0] if enc.size else 384  # large, so that the borders are far
    (first, step), across = map_cells(enc.body.eval(), torch.zeros(1, 3, side, side))
    assert across == (first, step)
    if name.startswith('vit'):
        assert (first, step) == (7.5, 16)  # patches, whatever the attention mixes
        return
    middle = round((side / 2 - first) / step)  # the borders cut off as much above as below
    centre = measured_centre(positive_averages(enc.body), side, middle)
    assert centre == pytest.approx(first + middle * step, abs=0.1 * step)


def test_the_place_of_a_map():
    enc = create_encoder('resnet18', weights=None)
    assert enc.map_view(224, 160) == pytest.approx((-15.5 / 160, -15.5 / 224, 144.5 / 160, 208.5 / 224))
    was = enc.training
    pooled = create_encoder('resnet18', weights=None, cut=-2, grid=7)  # of 28 × 28 cells
    whole = create_encoder('resnet18', weights=None, cut=-2)
    assert pooled.map_view(224, 224) == pytest.approx(whole.map_view(224, 224))
    assert enc.training == was


def test_a_network_that_cannot_be_followed():
    class Blind(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 8, 4, 4)

    assert map_cells(Blind(), torch.zeros(1, 3, 64, 64)) is None
    assert create_encoder(Blind()).map_view(64, 64) == (0, 0, 1, 1)
    assert create_encoder('swin_t', weights=None).map_view(224, 224) == (0, 0, 1, 1)


# ---- images with captions

LONG = [
    'A black and white dog is running through the tall , dry grass with a bright orange frisbee '
    'in its mouth .',
    'Two men in ice hockey uniforms , one of whom wears the number 12 , are fighting for the puck '
    'near the boards .',
    'Donaudampfschifffahrtsgesellschaftskapitänsmütze',
    'It costs $5 or $6 to get in , WWWWWWWWWWWWWWWW MMMMMMMMMMMM .',
    'People .',
]


@pytest.fixture(scope='module')
def loaders(tmp_path_factory):
    "Nine images with five long captions each, loaded as 40 × 60 pixels"
    path = tmp_path_factory.mktemp('pictures')
    rows = []
    for i in range(18):
        Image.new('RGB', (90, 60), (10 * i, 100, 50)).save(path/f'{i}.png')
        captions = [f'{text} No. {i}' for text in LONG]
        rows.append(dict(image=str(path/f'{i}.png'), captions=captions, split='train' if i < 9 else 'valid'))
    size = Resize((40, 60), method=ResizeMethod.Squish)
    return CaptionDataLoaders.from_df(rows, path=path, bs=9, min_freq=10, item_tfms=size, num_workers=0)


def assert_nothing_overlaps(fig):
    "No text covers another text or an image, and none leaves the figure"
    fig.canvas.draw()
    boxes = []
    for ax in fig.axes:
        boxes += [(ax, f'image {len(boxes)}', image.get_window_extent()) for image in ax.images]
        texts = [t for t in [*ax.texts, ax.title] if t.get_text()]
        boxes += [(ax, t.get_text()[:20], t.get_window_extent()) for t in texts]
    left, bottom, right, top = fig.bbox.extents
    for i, (_, name, box) in enumerate(boxes):
        inside = box.x0 >= left and box.y0 >= bottom and box.x1 <= right and box.y1 <= top
        assert inside, f'{name} leaves the figure'
        for _, other, its in boxes[:i]:
            width = min(box.x1, its.x1) - max(box.x0, its.x0)
            height = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert width <= 0.5 or height <= 0.5, f'{name} and {other} overlap by {width:.0f} × {height:.0f}'


SIZES = [{}, dict(figsize=(6, 4)), dict(ncols=5), dict(ncols=9, figsize=(9, 3)), dict(nrows=1),
         dict(figsize=(14, 40))]


@pytest.mark.parametrize('size', [*SIZES, dict(max_n=1), dict(max_n=4, ncols=2)])
def test_captions_of_a_batch_stay_clear(loaders, size):
    plt.close('all')
    loaders.show_batch(**size)
    fig = plt.gcf()
    assert len(fig.axes) == size.get('max_n', 9)
    assert_nothing_overlaps(fig)
    width, height = fig.get_size_inches()
    if 'figsize' in size:
        assert width == size['figsize'][0] and height >= size['figsize'][1]
    plt.close('all')


@pytest.mark.parametrize('size', SIZES)
def test_results_stay_clear(loaders, size):
    dims = dict(embed_dim=8, hidden_dim=8, attn_dim=8)
    learn = caption_learner(loaders, nn.Conv2d(3, 4, 8, 8), decoder_kwargs=dims, cache=False)
    said = [Caption(LONG[i % 2], ['dog'], [1.0], 0.0, 0.0) for i in range(9)]
    plt.close('all')
    with mock.patch.object(type(learn), '_caption_batch', return_value=said):
        with mock.patch.object(type(learn.num), 'text', lambda self, ids: LONG[1]):
            learn.show_results(**size)
    fig = plt.gcf()
    assert len(fig.axes) == 9
    titles = [ax.get_title().replace('\n', ' ')[:20] for ax in fig.axes]
    assert titles == [LONG[1][:20]] * 9 or 'ncols' in size
    assert_nothing_overlaps(fig)
    plt.close('all')


def shown_texts(fig):
    texts = [ax.texts[0].get_text().replace('\\$', '$') for ax in fig.axes]
    return [[' '.join(o.split()) for o in text.split('·')[1:]] for text in texts]


def test_raw_captions_are_shown(loaders):
    plt.close('all')
    wide = dict(figsize=(40, 5))
    loaders.show_batch(**wide)
    texts = shown_texts(plt.gcf())
    numbers = [int(captions[0].split()[-1]) for captions in texts]
    assert sorted(numbers) == list(range(9))
    assert texts == [[f'{text} No. {i}' for text in LONG] for i in numbers]
    dims = dict(embed_dim=8, hidden_dim=8, attn_dim=8)
    learn = caption_learner(loaders, nn.Conv2d(3, 4, 8, 8), decoder_kwargs=dims, cache=False)
    plt.close('all')
    learn.show_results(max_n=4, **wide)
    texts = shown_texts(plt.gcf())
    numbers = [int(captions[0].split()[-1]) for captions in texts]
    assert len(set(numbers)) == 4 and min(numbers) >= 9
    assert texts == [[f'{text} No. {i}' for text in LONG] for i in numbers]
    plt.close('all')


def test_axes_of_ones_own_and_a_batch_of_ones_own(loaders):
    fig, axs = plt.subplots(1, 2, figsize=(8, 6))
    loaders.show_batch(max_n=2, ctxs=axs)
    assert all(ax.texts for ax in axs)
    batch = loaders.train.one_batch()
    loaders.train.one_batch()  # another order
    loaders.show_batch(batch, max_n=2)
    plt.close('all')
