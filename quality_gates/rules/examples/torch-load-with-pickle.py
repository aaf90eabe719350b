import numpy
import torch

def model(path):
    # ruleid: torch-load-with-pickle
    return torch.load(path, weights_only=False)

def table(path):
    # ruleid: torch-load-with-pickle
    return numpy.load(path, allow_pickle=True)

def weights(path):
    # ok: torch-load-with-pickle
    return torch.load(path, weights_only=True)
