import yaml

def read(text):
    # ruleid: yaml-load-of-objects
    return yaml.load(text, Loader=yaml.Loader)

def unsafe(text):
    # ruleid: yaml-load-of-objects
    return yaml.unsafe_load(text)

def safe(text):
    # ok: yaml-load-of-objects
    return yaml.safe_load(text)

def safe_loader(text):
    # ok: yaml-load-of-objects
    return yaml.load(text, Loader=yaml.SafeLoader)

def fast(text):
    # ok: yaml-load-of-objects
    return yaml.load(text, Loader=yaml.CSafeLoader)
