"""Start the server: `python -m web_app captioner`, or `imcap_serve captioner`."""
import sys, warnings

def _settings(args):
    "Settings of flags and environment; a mistake is one line for each and exit code 2"
    try:
        from pydantic import ValidationError
        from pydantic_settings import CliApp, SettingsError
        from .settings import Settings
    except ModuleNotFoundError as e:
        print(f"error: the server needs a package that is missing ({e.name}): "
              "pip install '.[web]' in a checkout of imcap_fastai", file=sys.stderr)
        sys.exit(1)
    try:
        settings = CliApp.run(Settings, cli_args=args)
        if settings.model is not None: return settings
        print("error: name the folder or file of a captioner, as MODEL or IMCAP_MODEL (see --help)", file=sys.stderr)
    except SettingsError as e: print(f'error: {e}', file=sys.stderr)
    except ValidationError as e:
        for o in e.errors():
            name = str(o['loc'][0]) if o['loc'] else 'settings'
            said = f"{name} = {o['input']!r}: {o['msg']} (--{name.replace('_', '-')} or IMCAP_{name.upper()})" if o['loc'] else o['msg']
            print(f'error: {said}', file=sys.stderr)
    sys.exit(2)

def main(args=None)->int: # Arguments (default: those of the command line)
    "Load, test, serve; returns the exit code"
    warnings.showwarning = lambda m, *a, **k: print(f'note: {m}', file=sys.stderr)
    settings = _settings(args)
    from imcap_fastai.startup import start
    start()
    import torch, uvicorn
    from imcap_fastai.core import CaptionError
    from imcap_fastai.captioner import load_captioner
    from .app import create_app
    if settings.threads: torch.set_num_threads(settings.threads)
    try: cap = load_captioner(settings.model, device=settings.device, trust=settings.trust, sha256=settings.sha256)
    except CaptionError as e: print(f'error: {e}', file=sys.stderr); return 1
    print(f'{cap}, weights {cap.signature}, on {cap.device}', flush=True)
    if settings.host not in ('127.0.0.1', 'localhost', '::1') and not settings.api_key:
        print(f'note: listening at {settings.host} without an API key (IMCAP_API_KEY)', file=sys.stderr)
    uvicorn.run(create_app(cap, settings), host=settings.host, port=settings.port, timeout_graceful_shutdown=settings.shutdown_timeout, server_header=False,
                http='h11', limit_concurrency=1000, h11_max_incomplete_event_size=65536, # headers of 64 kB at most
                proxy_headers=bool(settings.proxy), forwarded_allow_ips=settings.proxy)
    return 0

if __name__ == '__main__': sys.exit(main())
