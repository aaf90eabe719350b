import os
import zipfile
from pathlib import Path

def unpack(path, folder):
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            # ruleid: zip-member-name-as-path
            with open(os.path.join(folder, name), "wb") as target:
                target.write(archive.read(name))

def flat(path, folder):
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            # ok: zip-member-name-as-path
            with open(os.path.join(folder, os.path.basename(name)), "wb") as target:
                target.write(archive.read(name))

def cleaned(path, folder):
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            # ok: zip-member-name-as-path
            archive.extract(name, folder)
