import os
import secrets
from flask import request
from werkzeug.utils import secure_filename

def save():
    upload = request.files["picture"]
    # ruleid: upload-saved-under-client-name
    upload.save(os.path.join("/srv/pictures", upload.filename))

def cleaned():
    upload = request.files["picture"]
    # ok: upload-saved-under-client-name
    upload.save(os.path.join("/srv/pictures", secure_filename(upload.filename)))

def renamed():
    upload = request.files["picture"]
    # ok: upload-saved-under-client-name
    upload.save(os.path.join("/srv/pictures", secrets.token_hex(16)))
