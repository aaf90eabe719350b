import os

# ruleid: django-debug-on
DEBUG = True
INSTALLED_APPS = ["shop"]

class Settings:
    # ok: django-debug-on
    DEBUG = os.environ.get("DEBUG") == "1"
