import tarfile
import zipfile

def unpack(path, folder):
    with tarfile.open(path) as archive:
        # ruleid: archive-extracted-without-filter
        archive.extractall(folder)

def checked(path, folder):
    with tarfile.open(path) as archive:
        # ok: archive-extracted-without-filter
        archive.extractall(folder, filter="data")

def zipped(path, folder):
    with zipfile.ZipFile(path) as archive:
        # ok: archive-extracted-without-filter
        archive.extractall(folder)
