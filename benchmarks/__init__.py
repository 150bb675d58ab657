"Speed of imcap_fastai against plain loops of our own; each module runs as `python -m benchmarks.NAME`."
