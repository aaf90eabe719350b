import shutil

def unpack(archive, folder):
    # ruleid: archive-filter-switched-off
    archive.extractall(folder, filter="fully_trusted")

def unpack_file(path, folder):
    # ok: archive-filter-switched-off
    shutil.unpack_archive(path, folder, filter="data")
