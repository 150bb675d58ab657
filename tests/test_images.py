"Opening and resizing: unusual files, bad files, and the same pixels as fastai's."
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imcap_fastai.core import CaptionError
from imcap_fastai.images import (CropStep, ImagePreparation, ResizeStep, image_list, images_below, open_image,
                                 fit_image,
                                 step_from_dict)

NOISE = np.random.default_rng(0)


def noise(height, width):
    return Image.fromarray(NOISE.integers(0, 255, (height, width, 3), dtype=np.uint8))


PHOTO = noise(40, 60)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---- every way of giving an image

def as_file(folder):
    (folder/'a.png').write_bytes(encoded(PHOTO, 'PNG'))
    return folder/'a.png'


WAYS = dict(
    path=as_file, text=lambda folder: str(as_file(folder)), bytes=lambda folder: encoded(PHOTO, 'PNG'),
    bytearray=lambda folder: bytearray(encoded(PHOTO, 'PNG')),
    stream=lambda folder: io.BytesIO(encoded(PHOTO, 'PNG')),
    pil=lambda folder: PHOTO, array=lambda folder: np.asarray(PHOTO),
    floats=lambda folder: np.asarray(PHOTO)/255,
    tensor=lambda folder: torch.tensor(np.asarray(PHOTO)).permute(2, 0, 1),
    float_tensor=lambda folder: torch.tensor(np.asarray(PHOTO)).permute(2, 0, 1)/255)


@pytest.mark.parametrize('way', WAYS)
def test_all_ways_give_the_same_pixels(tmp_path, way):
    image = open_image(WAYS[way](tmp_path))
    assert image.mode == 'RGB' and np.array_equal(np.asarray(image), np.asarray(PHOTO))


def test_an_image_given_as_an_object_is_left_alone():
    given = Image.new('L', (4, 4))
    open_image(given)
    assert given.mode == 'L'


# ---- unusual files

def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PHOTO, 'JPEG', exif=exif)


def moving():
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    return encoded(frames[0], 'GIF', save_all=True, append_images=frames[1:])


def see_through():
    image = Image.new('P', (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, 'PNG', transparency=0)


RAMP = np.linspace(0, 65535, 256).round().astype('uint16')[None]


def test_a_photograph_held_upright_stands_upright():
    assert open_image(turned()).size == (40, 60)


@pytest.mark.parametrize('mode, kind', [('CMYK', 'JPEG'), ('L', 'JPEG'), ('P', 'PNG'), ('1', 'PNG'),
                                        ('LA', 'PNG'), ('RGBA', 'PNG')])
def test_every_mode_becomes_rgb(mode, kind):
    image = open_image(encoded(PHOTO.convert(mode), kind))
    assert (image.mode, image.size) == ('RGB', (60, 40))


@pytest.mark.parametrize('values, kind', [(RAMP, 'PNG'), (RAMP.astype('float32')/65535, 'TIFF')])
def test_deep_images_keep_their_greys(values, kind):
    red = np.asarray(open_image(encoded(Image.fromarray(values), kind)))[0, :, 0]
    assert np.abs(red.astype(int) - np.arange(256)).max() <= 1


def test_the_first_frame_and_white_behind_transparency():
    assert open_image(moving()).getpixel((0, 0)) == (255, 0, 0)
    clear = open_image(see_through())
    assert [clear.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


# ---- what cannot be opened

BAD = {
    'nowhere': (lambda folder: folder/'none.jpg', 'does not exist'),
    'folder': (lambda folder: folder, 'is a folder'),
    'empty bytes': (lambda folder: b'', 'is empty'),
    'three bytes': (lambda folder: b'abc', '<image of 3 bytes> is not an image'),
    'text': (lambda folder: b'This is not a picture.', 'is not an image'),
    'half a JPEG': (lambda folder: encoded(noise(80, 80), 'JPEG')[:1500], 'cut short'),
    'half a PNG': (lambda folder: encoded(noise(80, 80), 'PNG')[:1500], 'cut short'),
    'no name': (lambda folder: '', 'does not exist'),
    'address': (lambda folder: 'https://example.org/a.jpg', 'is an address'),
    'nothing': (lambda folder: None, 'cannot open an image from NoneType'),
    'two channels': (lambda folder: np.zeros((2, 5, 7)), r'not \(2, 5, 7\)'),
    'normalised': (lambda folder: -torch.ones(3, 4, 5), 'undo the normalisation'),
}


@pytest.mark.parametrize('case', BAD)
def test_what_cannot_be_opened_says_why(tmp_path, case):
    make, says = BAD[case]
    src = make(tmp_path)
    with pytest.raises(CaptionError, match=says) as e:
        open_image(src)
    if isinstance(src, Path):
        assert src.name in str(e.value)


def test_an_empty_file_and_a_suspiciously_large_one(tmp_path, monkeypatch):
    (tmp_path/'empty.jpg').write_bytes(b'')
    with pytest.raises(CaptionError, match=r'empty.jpg is empty \(0 bytes\)'):
        open_image(tmp_path/'empty.jpg')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(CaptionError, match='suspiciously large'):
        open_image(encoded(PHOTO, 'PNG'))


def test_the_images_of_a_folder(tmp_path):
    for name in ('b.jpg', 'A.PNG', 'notes.txt', '.hidden.jpg', 'below/c.webp', '.git/d.jpg'):
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_bytes(b'')
    assert [f.name for f in images_below(tmp_path)] == ['A.PNG', 'b.jpg', 'c.webp']
    assert image_list(tmp_path/'b.jpg') == [tmp_path/'b.jpg']
    (tmp_path/'nothing').mkdir()
    with pytest.raises(CaptionError, match='no images in the folder'):
        image_list(tmp_path/'nothing')


# ---- the same pixels as fastai's

SIZES = (1, 9), (9, 1), (33, 50), (40, 97), (64, 64), (131, 50), (480, 640)


@pytest.mark.parametrize('method, pad_mode', [('squish', 'zeros'), ('crop', 'zeros'), ('pad', 'zeros'),
                                              ('pad', 'border'),
                                              ('pad', 'reflection')])
@pytest.mark.parametrize('target', [(48, 48), (31, 64), (65, 32)])
def test_resizing_is_fastais(method, pad_mode, target):
    from fastai.vision.all import PILImage, Resize
    from imcap_fastai.data.block import ResizeImage
    fastais, training = (cls(target, method=method, pad_mode=pad_mode) for cls in (Resize, ResizeImage))
    step = ResizeStep(target, method, pad_mode)
    for size in SIZES:
        image = noise(*size)
        wanted = np.asarray(fastais(PILImage.create(np.asarray(image)), split_idx=1))
        assert np.array_equal(np.asarray(step(image)), wanted), size
        got = training(PILImage.create(np.asarray(image)), split_idx=1)
        assert np.array_equal(np.asarray(got), wanted), size


def test_random_crops_of_training_are_fastais():
    import random
    from fastai.vision.all import PILImage, Resize
    from imcap_fastai.data.block import ResizeImage
    image = PILImage.create(np.asarray(noise(90, 60)))

    def crops(cls):
        random.seed(3)
        resize = cls(32, method='crop')
        return [np.asarray(resize(image, split_idx=0)) for _ in range(4)]
    assert all(np.array_equal(a, b) for a,b in zip(crops(ResizeImage), crops(Resize)))


def test_crops_without_scaling_are_fastais():
    from fastai.vision.all import PILImage, RandomCrop
    for size in SIZES:
        image = noise(*size)
        wanted = np.asarray(RandomCrop((32, 40))(PILImage.create(np.asarray(image)), split_idx=1))
        assert np.array_equal(np.asarray(CropStep((32, 40))(image)), wanted), size


@pytest.mark.parametrize('size', SIZES)
def test_our_own_crops(size):
    "The middle, scaled by Lanczos, in training and out of it; the other squeezes all of the image"
    from fastai.vision.all import PILImage
    from imcap_fastai.data.block import ResizeCenter, ResizeRandomCrop
    image, lanczos = noise(*size), Image.Resampling.LANCZOS
    middle = fit_image(image, (32, 32), 'crop', resample=lanczos)
    for split_idx in (0, 1):
        got = ResizeCenter(32)(PILImage.create(np.asarray(image)), split_idx=split_idx)
        assert np.array_equal(np.asarray(got), np.asarray(middle))
    whole = ResizeRandomCrop(32)(PILImage.create(np.asarray(image)), split_idx=1)
    assert np.array_equal(np.asarray(whole), np.asarray(image.resize((32, 32), lanczos)))


def test_a_batch_is_normalised_as_fastai_does_it():
    from fastai.vision.all import IntToFloatTensor, Normalize, TensorImage, imagenet_stats
    preparation = ImagePreparation([ResizeStep((32, 32))], imagenet_stats)
    prepared = [preparation.prepare(noise(40, 50)) for _ in range(3)]
    floats = IntToFloatTensor()(TensorImage(torch.stack(prepared)))
    wanted = Normalize.from_stats(*imagenet_stats, cuda=False)(floats)
    assert torch.equal(preparation.batch(prepared), wanted.as_subclass(torch.Tensor))


@pytest.mark.parametrize('about, step', [
    (dict(name='Resize', size=[8, 9], resamples=[2, 0], method='pad', pad_mode='zeros'),
     ResizeStep((8, 9), 'pad', 'zeros', 2)),
    (dict(name='Resize', size=[8, 9]), ResizeStep((8, 9), 'crop')),
    (dict(name='ResizeCenter', size=[8, 8], resamples=[1, 0]), ResizeStep((8, 8), 'crop', resample=1)),
    (dict(name='ResizeRandomCrop', size=[8, 8]), ResizeStep((8, 8), 'squish', resample=1)),
    (dict(name='RandomCrop', size=[8, 8]), CropStep((8, 8))),
])
def test_steps_of_earlier_exports_are_understood(about, step):
    assert step_from_dict(about) == step and step_from_dict(step.to_dict()) == step
